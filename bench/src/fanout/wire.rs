//! The system calls: many datagrams at once in either direction, each received one with the kernel's time of its
//! arrival and the address that it was sent to.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, sendmsg, setsockopt,
    sockopt,
};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use crate::drivers::Failure;

/// Datagrams of one call.
pub(crate) const BATCH: usize = 256;
/// Room for one.
const DATAGRAM: usize = 1_504;
/// Room for a run that comes as it was sent.
const RUN: usize = 1 << 16;
/// Runs of one call.
const RUNS: usize = 32;
/// Kernel memory for what the client has not taken yet: a quarter of a second at 100,000 packets a second.
const KERNEL_BUFFER: usize = 64 << 20;

/// The one socket that all subscribers receive on.
pub(crate) struct Receiver {
    socket: UdpSocket,
    headers: MultiHeaders<SockaddrIn>,
    buffers: Vec<u8>,
    /// Bytes of the room for each message.
    room: usize,
}

/// How datagrams come that a server has sent as one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// One by one: the kernel cuts runs apart, and charges the server with that and with queueing each.
    Datagrams,
    /// As one (`UDP_GRO`): the run passes the kernel whole, as to a network card that cuts it apart by itself.
    Runs,
}

fn headers(count: usize) -> MultiHeaders<SockaddrIn> {
    MultiHeaders::preallocate(count, Some(cmsg_space!(TimeSpec, libc::in_pktinfo, libc::c_int)))
}

/// Nanoseconds since 1970, on the clock that arrivals are stamped with.
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// CPU seconds of this process.
pub(crate) fn own_cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

impl Receiver {
    /// A socket bound to `port` at every address.
    pub(crate) fn bind(port: u16, intake: Intake) -> Result<UdpSocket, Failure> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &KERNEL_BUFFER).is_err() {
            // Without the privilege the kernel's limit holds; what it then drops is counted and voids a run.
            let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
        }
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        if intake == Intake::Runs {
            setsockopt(&socket, sockopt::UdpGroSegment, &true)?;
        }
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        socket.bind(&address.into()).map_err(|error| {
            format!("UDP port {port}, where the bench's subscribers are: {error}; is another bench running?")
        })?;
        Ok(socket.into())
    }

    /// Receives on such a socket, on this thread.
    pub(crate) fn new(socket: UdpSocket, intake: Intake) -> Self {
        let (count, room) = match intake {
            Intake::Datagrams => (BATCH, DATAGRAM),
            Intake::Runs => (RUNS, RUN),
        };
        Self { socket, headers: headers(count), buffers: vec![0; count * room], room }
    }

    /// Gives what has arrived, at most a batch, as (sent to, arrival, bytes), and returns how many there were.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(Ipv4Addr, u64, &[u8])) -> Result<usize, Failure> {
        if self.room == RUN {
            // A header has no more room for control messages than its last use took; a run's length is one more.
            self.headers = headers(RUNS);
        }
        let mut slices: Vec<_> = self.buffers.chunks_exact_mut(self.room).map(|room| [IoSliceMut::new(room)]).collect();
        let got = recvmmsg(self.socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None);
        let messages = match got {
            Ok(messages) => messages,
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let mut count = 0;
        for message in messages {
            let (mut stamp, mut to, mut segment) = (0, Ipv4Addr::UNSPECIFIED, usize::MAX);
            for control in message.cmsgs()? {
                match control {
                    ControlMessageOwned::ScmTimestampns(time) => {
                        stamp = time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64;
                    }
                    ControlMessageOwned::Ipv4PacketInfo(info) => {
                        to = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    }
                    ControlMessageOwned::UdpGroSegments(bytes) => segment = usize::try_from(bytes)?.max(1),
                    _ => {}
                }
            }
            for datagram in message.iovs().flat_map(|bytes| bytes.chunks(segment)) {
                count += 1;
                each(to, stamp, datagram);
            }
        }
        Ok(count)
    }

    /// Sends from one of the addresses.
    pub(crate) fn send_from(&self, from: Ipv4Addr, to: SocketAddrV4, bytes: &[u8]) {
        let source = libc::in_addr { s_addr: u32::from(from).to_be() };
        let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: libc::in_addr { s_addr: 0 } };
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        // What the network refuses is lost, as on any network.
        let _ = sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            &control,
            MsgFlags::MSG_DONTWAIT,
            Some(&SockaddrIn::from(to)),
        );
    }
}

/// Sends datagrams on a connected socket with one call.
pub(crate) struct Burst {
    headers: MultiHeaders<SockaddrIn>,
    bytes: Vec<u8>,
    lengths: Vec<usize>,
}

impl Burst {
    pub(crate) fn new() -> Self {
        Self { headers: MultiHeaders::preallocate(BATCH, None), bytes: vec![0; BATCH * DATAGRAM], lengths: Vec::new() }
    }

    /// Adds what `write` puts into the room that it gets; it returns the length. A full burst takes no more.
    pub(crate) fn add(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
        let at = self.lengths.len() * DATAGRAM;
        if let Some(room) = self.bytes.get_mut(at..at + DATAGRAM) {
            self.lengths.push(write(room).min(DATAGRAM));
        }
    }

    /// Sends and empties it; returns how many the kernel took.
    pub(crate) fn send(&mut self, socket: &UdpSocket) -> usize {
        let slices: Vec<_> = self
            .bytes
            .chunks_exact(DATAGRAM)
            .zip(&self.lengths)
            .map(|(room, len)| [IoSlice::new(&room[..*len])])
            .collect();
        let addresses: Vec<Option<SockaddrIn>> = vec![None; slices.len()];
        let no_control: [ControlMessage<'_>; 0] = [];
        let mut sent = 0;
        while sent < slices.len() {
            let rest = (&slices[sent..], &addresses[sent..]);
            let flags = MsgFlags::MSG_DONTWAIT;
            match sendmmsg(socket.as_raw_fd(), &mut self.headers, rest.0, rest.1, no_control, flags) {
                Ok(taken) => sent += taken.count(),
                // A refusal by ICMP is told once and belongs to an earlier datagram.
                Err(Errno::ECONNREFUSED | Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        drop(slices);
        self.lengths.clear();
        sent
    }
}

/// Datagrams that the kernel has dropped so far for want of room in the receiver on `port`.
pub(crate) fn kernel_drops(port: u16) -> u64 {
    let text = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
    let wanted = format!("00000000:{port:04X}");
    let line = text.lines().find(|line| line.split_whitespace().nth(1) == Some(&wanted));
    line.and_then(|line| line.split_whitespace().last()?.parse().ok()).unwrap_or(0)
}
