//! The media sockets: one per worker and bind address, all of an address in one SO_REUSEPORT group.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

/// Kernel buffer asked for in each direction, in bytes: 1,800 datagrams with what the kernel books for each (2,304 bytes),
/// some 50 ms of the most that a worker receives. The kernel may give less.
pub(crate) const KERNEL_BUFFER: usize = 4 << 20;

/// A bound, non-blocking UDP socket that tells and takes the local address of each datagram.
#[derive(Debug)]
pub struct MediaSocket {
    socket: Socket,
    bound: SocketAddr,
    is_ipv6: bool,
}

impl MediaSocket {
    /// What it is bound to.
    pub(crate) fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// Whether it is an IPv6 socket (which may carry IPv4 in mapped form).
    pub(crate) fn is_ipv6(&self) -> bool {
        self.is_ipv6
    }

    /// Whether datagrams from `local` leave by this socket.
    pub(crate) fn serves(&self, local: IpAddr) -> bool {
        match (self.bound.ip(), local) {
            (IpAddr::V6(any), _) if any.is_unspecified() => true,
            (IpAddr::V4(any), IpAddr::V4(_)) if any.is_unspecified() => true,
            (bound, local) => bound == local,
        }
    }

    /// Asks the kernel whether it knows `UDP_SEGMENT` (Linux 4.18).
    pub(crate) fn knows_gso(&self) -> bool {
        let off: libc::c_int = 0;
        set_option(self.fd(), libc::SOL_UDP, libc::UDP_SEGMENT, off).is_ok()
    }

    /// The smaller of its two kernel buffers, in bytes.
    pub(crate) fn kernel_buffer(&self) -> usize {
        let smaller = self.socket.recv_buffer_size().and_then(|recv| Ok(recv.min(self.socket.send_buffer_size()?)));
        // The kernel tells twice of what was asked for: half is for its own books (socket(7)).
        smaller.map_or(0, |bytes| bytes / 2)
    }

    /// Whether IPv4 datagrams may be cut into fragments. As bound they may not: most fit every path, and one that never is a
    /// fragment needs no number (RFC 6864 4.1), which the kernel takes a twentieth of a small send's time to find.
    pub(super) fn allow_fragments(&self, allow: bool) -> io::Result<()> {
        let how = if allow { libc::IP_PMTUDISC_DONT } else { libc::IP_PMTUDISC_DO };
        set_option(self.fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, how)
    }

    /// Lets a BPF program pick the member of this socket's SO_REUSEPORT group that gets a datagram (Linux 4.19).
    pub(super) fn pick_member_by(&self, program: RawFd) -> io::Result<()> {
        set_option(self.fd(), libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_EBPF, program)
    }

    /// Takes a datagram off it, if one is there.
    #[cfg(test)]
    pub(super) fn take_one(&self) -> bool {
        self.socket.recv(&mut [std::mem::MaybeUninit::uninit(); 16]).is_ok()
    }

    /// The descriptor, for poll and the batch calls.
    pub(crate) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Makes the kernel refuse `UDP_SEGMENT` on this socket: segmentation needs checksums.
    #[cfg(test)]
    pub(super) fn forbid_gso(&self) {
        let on: libc::c_int = 1;
        set_option(self.fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, on).unwrap();
    }
}

impl AsFd for MediaSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Binds `workers` sockets to each of `addresses` at `port` (0: a port that the kernel picks for the first and
/// all others share). Returns the sockets by worker, and the port. With no addresses, both families on all
/// interfaces are meant, or IPv4 alone on a machine without IPv6.
///
/// # Errors
/// What the kernel reports; `AddrInUse` also when another process has a group on the port, which
/// SO_REUSEPORT alone would silently join.
pub fn bind_group(addresses: &[IpAddr], port: u16, workers: usize) -> io::Result<(Vec<Vec<MediaSocket>>, u16)> {
    if !addresses.is_empty() {
        return bind_all(addresses, port, workers);
    }
    match bind_all(&[Ipv6Addr::UNSPECIFIED.into()], port, workers) {
        Err(error) if lacks_ipv6(&error) => bind_all(&[IpAddr::from([0, 0, 0, 0])], port, workers),
        outcome => outcome,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn bind_all(addresses: &[IpAddr], port: u16, workers: usize) -> io::Result<(Vec<Vec<MediaSocket>>, u16)> {
    let mut by_worker: Vec<Vec<MediaSocket>> = (0..workers).map(|_| Vec::new()).collect();
    let mut port = port;
    for ip in addresses {
        // Without SO_REUSEPORT a bind fails if anyone at all holds the port, and one that the system picks is nobody's.
        port = bind(SocketAddr::new(*ip, port), false)?.bound.port();
        for sockets in &mut by_worker {
            sockets.push(bind(SocketAddr::new(*ip, port), true)?);
        }
    }
    Ok((by_worker, port))
}

fn bind(address: SocketAddr, in_group: bool) -> io::Result<MediaSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_port(in_group)?;
    socket.set_nonblocking(true)?;
    widen(&socket);
    let on: libc::c_int = 1;
    if address.is_ipv6() {
        set_option(socket.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, on)?;
        set_option(socket.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)?;
    } else {
        set_option(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_PKTINFO, on)?;
    }
    // On a dual-stack socket this is for its IPv4 half; on an IPv6-only one the kernel may refuse it.
    let whole = set_option(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO);
    if address.is_ipv4() {
        whole?;
    }
    socket.bind(&address.into())?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(MediaSocket { socket, bound, is_ipv6: address.is_ipv6() })
}

/// Asks for [`KERNEL_BUFFER`] in both directions: past the system's limit where this process has CAP_NET_ADMIN, else up to
/// it. A smaller buffer costs bursts, not correctness.
pub(super) fn widen(socket: &Socket) {
    let wanted = KERNEL_BUFFER as libc::c_int;
    if set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, wanted).is_err() {
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    }
    if set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, wanted).is_err() {
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    }
}

pub(super) fn set_option(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which outlives the call; the descriptor is open.
    let outcome = unsafe {
        libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<libc::c_int>() as libc::socklen_t)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
