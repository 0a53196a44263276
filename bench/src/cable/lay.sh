# Joins two network namespaces, this one (the client's) and that of the file $1 (the servers'), by a veth pair whose ends
# are named c$2 and s$2. Servers keep 127.0.0.1, and clients their addresses of 127.16.0.0/12: they are routed over
# the cable here. $3 is on or off: whether the servers' card cuts runs of UDP datagrams apart by itself.
# $4 is the time in nanoseconds between two looks of a receiving end at what has come.
set -eu
servers=$1 client_end=c$2 server_end=s$2 cuts=$3 pause=$4

# Runs a command where the servers are.
there() { nsenter --net="$servers" "$@"; }

# The settings of an end, in the namespace that this runs in: /sys shows devices of the namespace that mounted it.
tune='
    mount -t sysfs sysfs /sys
    cd "/sys/class/net/$1"
    echo 1 >threaded
    # As a card that moderates its interrupts: after the first packet a clock makes the end look for more, on the core of
    # its thread, and no sender ever pays for waking it.
    echo "$2" >gro_flush_timeout
    echo 2147483647 >napi_defer_hard_irqs
'
ip link add "$client_end" address 02:00:00:00:00:01 numtxqueues 1 numrxqueues 1 \
    type veth peer name "$server_end" address 02:00:00:00:00:02 numtxqueues 1 numrxqueues 1 netns "$servers"

for inside in "" there; do
    $inside sh -euc 'cd /proc/sys/net/ipv4/conf
        for of in all default; do echo 0 >$of/rp_filter; echo 1 >$of/route_localnet; done'
    # Without IPv6 there is nothing on the cable but the load.
    $inside sh -c 'f=/proc/sys/net/ipv6/conf/all/disable_ipv6; [ ! -e $f ] || echo 1 >$f'
    $inside ip link set lo up
    $inside ip address del 127.0.0.1/8 dev lo
done
# So that a free port can be looked for, and a log of a server's address be bound, as if it were here.
echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind
# An address of the cable's own end, not of the loopback: there are servers that bind a socket to its address's device.
there ip address add 127.0.0.1/32 dev "$server_end" scope global

# The kernel leaves the receiving end's thread out, and receives on the sender's core, unless the thread could put TCP
# segments together again: so the sending end does not take long ones. The load is UDP.
there ethtool -K "$server_end" gro on tso off tx-udp-segmentation "$cuts" >/dev/null
ethtool -K "$client_end" gro on tso off >/dev/null
ip link set "$client_end" up
there ip link set "$server_end" up
# A full ring holds the sender up, as a card's does, instead of losing what comes.
tc qdisc replace dev "$client_end" root pfifo limit 20000
there tc qdisc replace dev "$server_end" root pfifo limit 20000
unshare --mount sh -euc "$tune" sh "$client_end" "$pause"
there unshare --mount sh -euc "$tune" sh "$server_end" "$pause"

ip route add local 127.16.0.0/12 dev lo
ip address add 192.0.2.1/30 dev "$client_end"
there ip address add 192.0.2.2/30 dev "$server_end"
ip neighbour replace 192.0.2.2 lladdr 02:00:00:00:00:02 nud permanent dev "$client_end"
there ip neighbour replace 192.0.2.1 lladdr 02:00:00:00:00:01 nud permanent dev "$server_end"
ip route add 127.0.0.1/32 via 192.0.2.2 dev "$client_end" onlink src 127.16.0.1
there ip route add 127.16.0.0/12 via 192.0.2.1 dev "$server_end" onlink src 127.0.0.1
