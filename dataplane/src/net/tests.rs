use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use dataplane_core::{MAX_DATAGRAM, Path, TxBatch};

use super::{BATCH, KERNEL_BUFFER, MediaSocket, Receiver, Sender, Slots, bind_group};

/// Slots as the shard gives them, at stable addresses.
struct Boxes {
    slots: Vec<Box<[u8]>>,
    free: Vec<usize>,
}

impl Boxes {
    fn new(count: usize) -> Self {
        Self {
            slots: (0..count).map(|_| vec![0; MAX_DATAGRAM].into_boxed_slice()).collect(),
            free: (0..count).collect(),
        }
    }
}

impl Slots for Boxes {
    type Id = usize;

    fn take(&mut self) -> Option<usize> {
        self.free.pop()
    }

    fn bytes(&mut self, id: usize) -> &mut [u8] {
        &mut self.slots[id]
    }

    fn give_back(&mut self, id: usize) {
        self.free.push(id);
    }
}

fn bind(ip: &str) -> MediaSocket {
    let (mut sockets, _) = bind_group(&[ip.parse().unwrap()], 0, 1).unwrap();
    sockets.remove(0).remove(0)
}

fn client(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn wait_readable(socket: &MediaSocket) {
    let mut poll = libc::pollfd { fd: socket.fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that outlives the call.
    assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 5000) }, 1, "nothing came");
}

/// Receives until `count` datagrams came; gives their bytes and paths, slots back to the pool.
fn receive(
    receiver: &mut Receiver<usize>,
    socket: &MediaSocket,
    slots: &mut Boxes,
    count: usize,
) -> Vec<(Vec<u8>, Path)> {
    let mut all = Vec::new();
    while all.len() < count {
        wait_readable(socket);
        let got = receiver.receive(socket, slots);
        for index in 0..got {
            if let Some(received) = receiver.take(index) {
                all.push((slots.slots[received.id][..received.len].to_vec(), received.path));
                slots.give_back(received.id);
            }
        }
    }
    all
}

fn push(batch: &mut TxBatch, path: Path, fill: u8, len: usize) {
    assert!(batch.push(path, |out| {
        out[..len].fill(fill);
        Some(len)
    }));
}

fn path(remote: SocketAddr, local: &str) -> Path {
    Path { remote, local: local.parse().unwrap() }
}

fn take(client: &UdpSocket, count: usize) -> Vec<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 2000];
    (0..count)
        .map(|_| {
            let (len, from) = client.recv_from(&mut buffer).unwrap();
            (buffer[..len].to_vec(), from)
        })
        .collect()
}

#[test]
fn batches_arrive_whole_with_source_and_destination() {
    let socket = bind("127.0.0.1");
    let client = client("127.0.0.1");
    let sent: Vec<Vec<u8>> = (0..150u8).map(|n| vec![n; 1 + usize::from(n) * 9]).collect();
    for data in &sent {
        client.send_to(data, socket.bound()).unwrap();
    }
    let (mut receiver, mut slots) = (Receiver::new(), Boxes::new(2 * BATCH));
    let got = receive(&mut receiver, &socket, &mut slots, sent.len());
    assert_eq!(got.iter().map(|(data, _)| data.clone()).collect::<Vec<_>>(), sent);
    let expected = path(client.local_addr().unwrap(), "127.0.0.1");
    assert!(got.iter().all(|(_, path)| *path == expected));
    assert_eq!(receiver.receive(&socket, &mut slots), 0);
    let counters = receiver.counters();
    assert_eq!((counters.datagrams, counters.calls), (150, 3));
    assert_eq!(counters.bytes, sent.iter().map(|data| data.len() as u64).sum::<u64>());
    receiver.release(&mut slots);
    assert_eq!(slots.free.len(), 2 * BATCH);
}

#[test]
fn few_slots_receive_in_smaller_batches_and_no_slots_drop() {
    let socket = bind("127.0.0.1");
    let client = client("127.0.0.1");
    let (mut receiver, mut slots) = (Receiver::new(), Boxes::new(3));
    for n in 0..10u8 {
        client.send_to(&[n], socket.bound()).unwrap();
    }
    let got = receive(&mut receiver, &socket, &mut slots, 10);
    assert_eq!(got.iter().map(|(data, _)| data[0]).collect::<Vec<_>>(), (0..10).collect::<Vec<u8>>());
    receiver.release(&mut slots);
    slots.free.clear();
    for n in 0..5u8 {
        client.send_to(&[n], socket.bound()).unwrap();
    }
    wait_readable(&socket);
    assert_eq!(receiver.receive(&socket, &mut slots), 5);
    assert!((0..5).all(|index| receiver.take(index).is_none()));
    assert_eq!(receiver.counters().no_buffer, 5);
}

#[test]
fn a_datagram_that_is_too_long_is_dropped_and_the_next_one_is_not() {
    let socket = bind("127.0.0.1");
    let client = client("127.0.0.1");
    for len in [MAX_DATAGRAM + 1, MAX_DATAGRAM] {
        client.send_to(&vec![1; len], socket.bound()).unwrap();
    }
    let (mut receiver, mut slots) = (Receiver::new(), Boxes::new(4));
    let got = receive(&mut receiver, &socket, &mut slots, 1);
    assert_eq!((got[0].0.len(), receiver.counters().too_long), (MAX_DATAGRAM, 1));
}

#[test]
fn segmented_and_single_sending_give_the_same_datagrams() {
    let mut outcomes = BTreeMap::new();
    for gso in [true, false] {
        let socket = bind("127.0.0.1");
        let clients = [client("127.0.0.1"), client("127.0.0.1")];
        let mut batch = TxBatch::new(1 << 20, 256);
        let lens = [1200, 1200, 1200, 700, 300, 300, 1500, 1, 900];
        for (fill, len) in lens.into_iter().enumerate() {
            for client in &clients {
                push(&mut batch, path(client.local_addr().unwrap(), "127.0.0.1"), fill as u8, len);
            }
        }
        for fill in 0..130u8 {
            push(&mut batch, path(clients[0].local_addr().unwrap(), "127.0.0.1"), fill, 200);
        }
        let mut sender = Sender::new(gso);
        sender.flush(std::slice::from_ref(&socket), &batch);
        let counters = sender.counters();
        assert_eq!(counters.datagrams, 148);
        assert_eq!(counters.runs < 148, gso, "{counters:?}");
        let got = [take(&clients[0], 139), take(&clients[1], 9)];
        assert!(got.iter().flatten().all(|(_, from)| *from == socket.bound()));
        outcomes.insert(gso, got.map(|list| list.into_iter().map(|(data, _)| data).collect::<Vec<_>>()));
    }
    assert_eq!(outcomes[&true], outcomes[&false]);
}

#[test]
fn a_kernel_that_refuses_segmentation_gets_single_datagrams_and_is_not_asked_again() {
    let socket = bind("127.0.0.1");
    socket.forbid_gso();
    let client = client("127.0.0.1");
    let mut sender = Sender::new(true);
    let mut expected = Vec::new();
    let mut got = Vec::new();
    for round in 0..10u8 {
        let mut batch = TxBatch::new(100_000, 16);
        for fill in 0..3 {
            push(&mut batch, path(client.local_addr().unwrap(), "127.0.0.1"), round * 3 + fill, 500);
            expected.push(vec![round * 3 + fill; 500]);
        }
        sender.flush(std::slice::from_ref(&socket), &batch);
        got.extend(take(&client, 3).into_iter().map(|(data, _)| data));
    }
    assert_eq!(got, expected);
    assert!(!sender.gso());
    let counters = sender.counters();
    assert_eq!((counters.datagrams, counters.runs, counters.failed), (30, 30, 0));
    assert!((1..=8).contains(&counters.refused_runs), "{counters:?}");
}

/// Gives the calling thread a network of its own, a loopback that carries no more than `mtu` bytes at once; `None` where
/// the system does not permit that, which is said.
fn narrow_network(mtu: libc::c_int) -> Option<()> {
    // SAFETY: it takes no pointers, and only this thread has another network afterwards.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        eprintln!("not tested: no network of our own, {}", std::io::Error::last_os_error());
        return None;
    }
    let any = UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: all bytes zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    for (name, up) in [(libc::SIOCSIFMTU, false), (libc::SIOCSIFFLAGS, true)] {
        if up {
            request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        } else {
            request.ifr_ifru.ifru_mtu = mtu;
        }
        // SAFETY: both requests read an ifreq, and the union holds what each of them reads.
        assert_eq!(unsafe { libc::ioctl(any.as_raw_fd(), name as _, &raw const request) }, 0);
    }
    Some(())
}

#[test]
fn what_is_too_long_for_its_path_is_sent_in_fragments_and_runs_go_on() {
    let checked = std::thread::spawn(|| {
        narrow_network(1_000)?;
        let (socket, client) = (bind("127.0.0.1"), client("127.0.0.1"));
        let to = path(client.local_addr().unwrap(), "127.0.0.1");
        let (mut sender, mut batch) = (Sender::new(true), TxBatch::new(1 << 20, 64));
        for frame in 0..12 {
            for part in 0..3 {
                push(&mut batch, to, 3 * frame + part, 1_200);
            }
        }
        // Alone, then a run that fits.
        push(&mut batch, to, 36, 1_100);
        push(&mut batch, to, 37, 600);
        push(&mut batch, to, 38, 600);
        sender.flush(&[socket], &batch);
        let got = take(&client, 39);
        let expected = (0..39).map(|n| {
            (
                n,
                if n < 36 {
                    1_200
                } else if n == 36 {
                    1_100
                } else {
                    600
                },
            )
        });
        assert_eq!(
            got.iter().map(|(bytes, _)| (bytes[0], bytes.len())).collect::<Vec<_>>(),
            expected.collect::<Vec<_>>()
        );
        let counters = sender.counters();
        assert_eq!((counters.datagrams, counters.fragmented, counters.failed), (39, 37, 0), "{counters:?}");
        assert!(sender.gso(), "a narrow path is not the kernel's refusal");
        Some(())
    });
    checked.join().unwrap();
}

#[test]
fn an_unreachable_destination_costs_only_its_own_run() {
    let socket = bind("127.0.0.1");
    let client = client("127.0.0.1");
    let mut batch = TxBatch::new(100_000, 16);
    let good = path(client.local_addr().unwrap(), "127.0.0.1");
    // From a loopback source there is no way to a global address.
    let bad = path(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9)), "127.0.0.1");
    for (path, fill) in [(good, 1), (bad, 2), (bad, 3), (good, 4)] {
        push(&mut batch, path, fill, 100);
    }
    let mut sender = Sender::new(true);
    sender.flush(std::slice::from_ref(&socket), &batch);
    let got: Vec<u8> = take(&client, 2).into_iter().map(|(data, _)| data[0]).collect();
    assert_eq!(got, [1, 4]);
    let counters = sender.counters();
    assert_eq!(counters.datagrams, 2);
    assert_eq!(counters.failed + counters.unreachable + counters.forbidden, 2, "{counters:?}");
    assert!(sender.gso(), "one destination says nothing of the kernel");
}

#[test]
fn the_source_address_is_the_one_asked_for() {
    let socket = bind("0.0.0.0");
    let port = socket.bound().port();
    let client = client("127.0.0.1");
    let (mut receiver, mut slots) = (Receiver::new(), Boxes::new(BATCH));
    for local in ["127.0.0.1", "127.0.0.2"] {
        let ip: IpAddr = local.parse().unwrap();
        client.send_to(b"to", (ip, port)).unwrap();
        let (_, seen) = receive(&mut receiver, &socket, &mut slots, 1).remove(0);
        assert_eq!(seen.local, ip);
        for segments in [1, 3] {
            let mut batch = TxBatch::new(10_000, 4);
            for fill in 0..segments {
                push(&mut batch, seen, fill, 50);
            }
            Sender::new(true).flush(std::slice::from_ref(&socket), &batch);
            let got = take(&client, usize::from(segments));
            assert!(got.iter().all(|(_, from)| *from == SocketAddr::new(ip, port)), "{got:?}");
        }
    }
}

/// `None` where the machine has no IPv6; that machine's own fall-back is tested then.
fn dual_stack() -> Option<MediaSocket> {
    let (mut sockets, _) = bind_group(&[], 0, 1).unwrap();
    Some(sockets.remove(0).remove(0)).filter(MediaSocket::is_ipv6)
}

#[test]
fn ipv4_and_ipv6_clients_share_a_dual_stack_socket() {
    let Some(socket) = dual_stack() else {
        assert!(bind_group(&[], 0, 1).unwrap().0[0][0].bound().is_ipv4());
        return;
    };
    let port = socket.bound().port();
    let (mut receiver, mut slots) = (Receiver::new(), Boxes::new(BATCH));
    for ip in ["127.0.0.1", "127.0.0.2", "::1"] {
        let to: IpAddr = ip.parse().unwrap();
        let client = client(if to.is_ipv4() { "127.0.0.1" } else { "::1" });
        client.send_to(b"hello", (to, port)).unwrap();
        let (data, seen) = receive(&mut receiver, &socket, &mut slots, 1).remove(0);
        assert_eq!((data.as_slice(), seen), (&b"hello"[..], path(client.local_addr().unwrap(), ip)));
        let mut batch = TxBatch::new(10_000, 4);
        for fill in 0..3 {
            push(&mut batch, seen, fill, 50);
        }
        let mut sender = Sender::new(true);
        sender.flush(std::slice::from_ref(&socket), &batch);
        let got = take(&client, 3);
        assert!(got.iter().all(|(_, from)| *from == SocketAddr::new(to, port)), "{got:?}");
        assert_eq!(sender.counters().refused_runs, 0);
    }
}

#[test]
fn with_several_addresses_each_run_leaves_by_its_own_socket() {
    let addresses = ["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()];
    let (mut sockets, port) = bind_group(&addresses, 0, 1).unwrap();
    let sockets = sockets.remove(0);
    let client = client("127.0.0.1");
    let mut batch = TxBatch::new(10_000, 4);
    for local in ["127.0.0.2", "127.0.0.1", "127.0.0.3"] {
        push(&mut batch, path(client.local_addr().unwrap(), local), 1, 50);
    }
    let mut sender = Sender::new(true);
    sender.flush(&sockets, &batch);
    let mut from: Vec<SocketAddr> = take(&client, 2).into_iter().map(|(_, from)| from).collect();
    from.sort_unstable();
    assert_eq!(from, addresses.map(|ip| SocketAddr::new(ip, port)));
    assert_eq!(sender.counters().unreachable, 1);
}

#[test]
fn kernel_buffers_are_as_large_as_the_system_allows() {
    let limit = |name: &str| -> usize {
        std::fs::read_to_string(format!("/proc/sys/net/core/{name}")).unwrap().trim().parse().unwrap()
    };
    let (sockets, _) = bind_group(&["127.0.0.1".parse().unwrap()], 0, 1).unwrap();
    let least = KERNEL_BUFFER.min(limit("rmem_max")).min(limit("wmem_max"));
    assert!((least..=KERNEL_BUFFER).contains(&sockets[0][0].kernel_buffer()), "{}", sockets[0][0].kernel_buffer());
}

#[test]
fn the_workers_of_a_group_share_a_port_that_nobody_else_can_join() {
    let ip: IpAddr = "127.0.0.1".parse().unwrap();
    let (sockets, port) = bind_group(&[ip], 0, 3).unwrap();
    assert!(sockets.iter().all(|of_worker| of_worker.len() == 1 && of_worker[0].bound().port() == port));
    let error = bind_group(&[ip], port, 1).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(sockets);
    assert!(bind_group(&[ip], port, 2).is_ok());
}

#[test]
fn every_flow_arrives_at_one_worker_of_the_group() {
    let (sockets, port) = bind_group(&["127.0.0.1".parse().unwrap()], 0, 2).unwrap();
    let clients: Vec<_> = (0..40).map(|_| client("127.0.0.1")).collect();
    for _ in 0..3 {
        for client in &clients {
            client.send_to(b"x", ("127.0.0.1", port)).unwrap();
        }
    }
    let mut by_flow: BTreeMap<SocketAddr, Vec<usize>> = BTreeMap::new();
    let mut total = 0;
    for (worker, of_worker) in sockets.iter().enumerate() {
        let (mut receiver, mut slots) = (Receiver::new(), Boxes::new(4 * BATCH));
        loop {
            let got = receiver.receive(&of_worker[0], &mut slots);
            for index in 0..got {
                let Some(received) = receiver.take(index) else { continue };
                by_flow.entry(received.path.remote).or_default().push(worker);
                total += 1;
            }
            if got < BATCH {
                break;
            }
        }
    }
    assert_eq!((total, by_flow.len()), (120, 40));
    assert!(by_flow.values().all(|workers| workers.iter().all(|worker| *worker == workers[0])));
}
