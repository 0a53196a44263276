//! Runs sent past the kernel's IP stack: as frames of plain Ethernet, through a packet socket, to the network card's queue.
//!
//! For a run the kernel then looks for no route, passes no firewall and books no socket's memory for each datagram. It still
//! queues, cuts runs apart where the card does not, and computes checksums where the card does not. What is no plain
//! Ethernet, or is refused, goes by the socket as ever.

mod frame;
mod lookup;
mod ways;

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use dataplane_core::{TxBatch, TxRun};
use socket2::{Domain, Socket, Type};

pub(crate) use lookup::Lookup;
use lookup::WayPort;
use ways::{Ends, Turn, Way, Ways};

use super::BATCH;
use super::address::Zeroed;
use super::socket::{set_option, widen};

impl Zeroed for libc::sockaddr_ll {}

/// The kernel's note stands before each frame (packet(7); from linux/if_packet.h).
const PACKET_VNET_HDR: libc::c_int = 15;

/// A worker's packet socket and what it knows of its destinations.
pub(crate) struct Card {
    socket: Socket,
    port: u16,
    lookup: WayPort,
    ways: Ways,
    /// What is gathered; of each run the frame's head, the interface, and the vectors of both and the run's bytes.
    runs: Vec<TxRun>,
    blocks: Box<[[u8; frame::MAX]]>,
    names: Box<[libc::sockaddr_ll]>,
    vectors: Box<[[libc::iovec; 2]]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers of `vectors` and `headers` point into boxes of the same value, which stay where they are when it
// moves, or are left over from an earlier call and written before the next one.
unsafe impl Send for Card {}

impl Card {
    /// A packet socket that sends datagrams from `port`.
    ///
    /// # Errors
    /// What the kernel reports: a packet socket needs CAP_NET_RAW.
    pub(crate) fn open(port: u16, lookup: WayPort, seed: u64) -> io::Result<Self> {
        // Of no protocol: it receives nothing.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?;
        set_option(socket.as_raw_fd(), libc::SOL_PACKET, PACKET_VNET_HDR, 1)?;
        widen(&socket);
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Ok(Self {
            socket,
            port,
            lookup,
            ways: Ways::new(seed),
            runs: Vec::with_capacity(BATCH),
            blocks: vec![[0; frame::MAX]; BATCH].into_boxed_slice(),
            names: vec![Zeroed::zeroed(); BATCH].into_boxed_slice(),
            vectors: vec![[vector; 2]; BATCH].into_boxed_slice(),
            headers: vec![Zeroed::zeroed(); BATCH].into_boxed_slice(),
        })
    }

    /// Takes what has become known since the last flush.
    pub(super) fn begin(&mut self) {
        self.ways.renew(self.lookup.generation());
        while let Some(answer) = self.lookup.answer() {
            self.ways.learn(answer.ends, answer.generation, answer.way);
        }
    }

    /// Gathers a run, if frames can be sent to its destination and it is not the socket's turn.
    pub(super) fn take(&mut self, run: &TxRun) -> bool {
        let ends = Ends::of(&run.path);
        match self.ways.turn(ends, run.segment) {
            Turn::Card(way) => self.gather(run, &way),
            Turn::Ask => {
                if !self.lookup.ask(ends) {
                    self.ways.postpone(ends);
                }
                false
            }
            Turn::Socket => false,
        }
    }

    fn gather(&mut self, run: &TxRun, way: &Way) -> bool {
        let at = self.runs.len();
        let (block, name) = (&mut self.blocks[at], &mut self.names[at]);
        let segment = (run.count > 1).then_some(run.segment as u16);
        let Some(len) = frame::write(block, &way.ethernet, &run.path, self.port, run.len, segment) else {
            return false;
        };
        self.vectors[at][0] = libc::iovec { iov_base: block.as_mut_ptr().cast(), iov_len: len };
        name.sll_family = libc::AF_PACKET as libc::sa_family_t;
        name.sll_protocol = u16::from_ne_bytes([way.ethernet[12], way.ethernet[13]]);
        name.sll_ifindex = way.interface as libc::c_int;
        let header = &mut self.headers[at].msg_hdr;
        header.msg_name = ptr::from_mut(name).cast();
        header.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        header.msg_iov = self.vectors[at].as_mut_ptr();
        header.msg_iovlen = 2;
        self.runs.push(*run);
        true
    }

    /// How many are gathered; at most [`BATCH`] may be.
    pub(super) fn gathered(&self) -> usize {
        self.runs.len()
    }

    /// A gathered run.
    pub(super) fn run(&self, at: usize) -> TxRun {
        self.runs[at]
    }

    /// Sends what is gathered from run `at` on; returns how many runs the kernel has taken.
    ///
    /// # Errors
    /// What it says of the first one, when it has taken none.
    pub(super) fn send(&mut self, batch: &TxBatch, at: usize) -> io::Result<usize> {
        for (run, vectors) in self.runs.iter().zip(&mut self.vectors).skip(at) {
            let bytes = batch.run_bytes(run);
            vectors[1] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        }
        // SAFETY: the headers of gathered runs point to names, vectors and blocks of this value, which do not move, and those
        // from `at` on, as has just been seen to, to bytes of `batch`, which is borrowed for the whole call; the kernel only
        // reads the bytes.
        let outcome = unsafe {
            libc::sendmmsg(
                self.socket.as_raw_fd(),
                self.headers[at..].as_mut_ptr(),
                (self.runs.len() - at) as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(outcome).map_err(|_| io::Error::last_os_error())
    }

    /// Takes note that the socket has found a run's datagrams too long for their path.
    pub(super) fn doubt(&mut self, run: &TxRun) {
        self.ways.doubt(Ends::of(&run.path), run.segment);
    }

    /// Leaves a gathered run's destination to the socket for a while.
    pub(super) fn refuse(&mut self, at: usize) {
        self.ways.refuse(Ends::of(&self.runs[at].path));
    }

    /// Forgets what was gathered.
    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }

    /// The descriptor, for poll.
    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests;
