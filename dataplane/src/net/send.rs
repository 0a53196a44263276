//! sendmmsg of a [`TxBatch`]: one message per run, cut into datagrams by the kernel (`UDP_SEGMENT`), or, where that is
//! wanted and can be, one frame per run, cut by the card ([`Card`]).
//!
//! Where the kernel or a device refuses segmentation, the run is sent as single datagrams, and after an error
//! that is about the device or keeps coming back segmentation is left off for good. What is too long for its path, which
//! the kernel knows from an ICMP message, is sent again in fragments. A full socket buffer is
//! waited for once per flush and for at most a millisecond, because a keyframe to many subscribers may well
//! exceed it; what then still does not fit is dropped and counted. Errors of one destination skip its run only.

use std::io;
use std::os::fd::RawFd;
use std::ptr;

use dataplane_core::{Path, TxBatch, TxRun};

use super::address::{Control, Zeroed, write_control, write_name};
use super::card::Card;
use super::{BATCH, MediaSocket};

/// Refused runs without an accepted one in between after which segmentation is left off: one can be a path
/// with a small MTU, so many in a row are the kernel.
const MAX_REFUSED_RUNS: u32 = 8;
/// Longest wait for room in the socket buffer, in milliseconds.
const WRITABLE_WAIT_MS: libc::c_int = 1;

/// What was sent and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendCounters {
    /// sendmmsg and sendmsg calls.
    pub calls: u64,
    /// Messages accepted by the kernel.
    pub runs: u64,
    /// Datagrams in them.
    pub datagrams: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Datagrams dropped: the socket buffer stayed full.
    pub would_block: u64,
    /// Datagrams dropped: no route, or the network or host is unreachable.
    pub unreachable: u64,
    /// Datagrams dropped: a local filter forbids them.
    pub forbidden: u64,
    /// Datagrams dropped for another error.
    pub failed: u64,
    /// Runs that were sent as single datagrams because segmentation was refused.
    pub refused_runs: u64,
    /// Datagrams that were sent in fragments because they are too long for their path.
    pub fragmented: u64,
    /// Datagrams, of those accepted, that left as frames by the card.
    pub by_card: u64,
    /// Runs that were to leave by the card, were refused, and went by the socket.
    pub card_refused: u64,
}

/// The arrays of one worker's sendmmsg calls.
pub struct Sender {
    gso: bool,
    refused_in_a_row: u32,
    has_waited: bool,
    messages: Vec<TxRun>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    card: Option<Card>,
    /// Frames refused without an accepted one in between.
    card_refused_in_a_row: u32,
    counters: SendCounters,
}

impl Sender {
    /// Arrays for one call; `gso` says whether to try segmentation at all.
    pub fn new(gso: bool) -> Self {
        Self {
            gso,
            refused_in_a_row: 0,
            has_waited: false,
            messages: Vec::with_capacity(BATCH),
            names: vec![Zeroed::zeroed(); BATCH].into_boxed_slice(),
            controls: vec![Control::EMPTY; BATCH].into_boxed_slice(),
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH].into_boxed_slice(),
            headers: vec![Zeroed::zeroed(); BATCH].into_boxed_slice(),
            card: None,
            card_refused_in_a_row: 0,
            counters: SendCounters::default(),
        }
    }

    /// The same, with a card that takes what it can.
    pub(crate) fn with_card(gso: bool, card: Option<Card>) -> Self {
        Self { card, ..Self::new(gso) }
    }

    /// The counters.
    pub fn counters(&self) -> SendCounters {
        self.counters
    }

    /// Whether segmentation is in use.
    pub fn gso(&self) -> bool {
        self.gso
    }

    /// Sends everything in the batch, in order, each run by the first socket that serves its local address.
    pub fn flush(&mut self, sockets: &[MediaSocket], batch: &TxBatch) {
        self.has_waited = false;
        if let Some(card) = &mut self.card {
            card.begin();
        }
        if let [socket] = sockets {
            self.flush_by(socket, batch, |_| true);
            return;
        }
        for (index, socket) in sockets.iter().enumerate() {
            self.flush_by(socket, batch, |run| {
                sockets.iter().position(|socket| socket.serves(run.path.local)) == Some(index)
            });
        }
        let orphans = batch.runs().iter().filter(|run| !sockets.iter().any(|socket| socket.serves(run.path.local)));
        self.counters.unreachable += orphans.map(|run| run.count as u64).sum::<u64>();
    }

    fn flush_by(&mut self, socket: &MediaSocket, batch: &TxBatch, is_ours: impl Fn(&TxRun) -> bool) {
        self.messages.clear();
        for run in batch.runs().iter().filter(|run| is_ours(run)) {
            if self.gso
                && let Some(card) = &mut self.card
                && card.take(run)
            {
                let is_full = card.gathered() == BATCH;
                // What came first leaves first.
                self.submit(socket, batch);
                if is_full {
                    self.submit_to_card(socket, batch);
                }
                continue;
            }
            self.submit_to_card(socket, batch);
            if self.gso {
                self.add(socket, batch, *run);
            } else {
                for single in singles(run) {
                    self.add(socket, batch, single);
                }
            }
        }
        self.submit(socket, batch);
        self.submit_to_card(socket, batch);
    }

    /// Sends the gathered frames.
    fn submit_to_card(&mut self, socket: &MediaSocket, batch: &TxBatch) {
        let count = self.card.as_ref().map_or(0, Card::gathered);
        let mut at = 0;
        while at < count
            && let Some(card) = &mut self.card
        {
            self.counters.calls += 1;
            match card.send(batch, at) {
                Ok(sent) => {
                    self.card_refused_in_a_row = 0;
                    for index in at..at + sent {
                        let run = card.run(index);
                        if run.count > 1 {
                            self.refused_in_a_row = 0;
                        }
                        self.counters.runs += 1;
                        self.counters.datagrams += run.count as u64;
                        self.counters.by_card += run.count as u64;
                        self.counters.bytes += run.len as u64;
                    }
                    at += sent;
                }
                Err(error) => at = self.after_card_error(socket, batch, at, &error),
            }
        }
        if let Some(card) = &mut self.card {
            card.clear();
        }
    }

    /// Handles the error of gathered frame `at`; returns the one to go on with.
    fn after_card_error(&mut self, socket: &MediaSocket, batch: &TxBatch, at: usize, error: &io::Error) -> usize {
        let Some(card) = &mut self.card else { return at };
        let run = card.run(at);
        match error.raw_os_error() {
            Some(libc::EINTR) => return at,
            Some(libc::EAGAIN) if !self.has_waited => {
                self.has_waited = true;
                wait_writable(card.fd());
                return at;
            }
            Some(libc::EAGAIN) => {
                let rest = at..card.gathered();
                self.counters.would_block += rest.clone().map(|at| card.run(at).count as u64).sum::<u64>();
                return rest.end;
            }
            // The card's queue is full.
            Some(libc::ENOBUFS) => {
                self.counters.would_block += run.count as u64;
                return at + 1;
            }
            _ => {}
        }
        card.refuse(at);
        self.counters.card_refused += 1;
        self.card_refused_in_a_row += u32::from(!is_of_interface(error));
        self.add(socket, batch, run);
        self.submit(socket, batch);
        if self.card_refused_in_a_row >= MAX_REFUSED_RUNS {
            tracing::warn!(%error, "the kernel refuses frames: sending by the socket from now on");
            self.send_rest_by_socket(socket, batch, at + 1);
        }
        at + 1
    }

    /// Gives up the card, and sends what is still gathered for it, from `at` on.
    fn send_rest_by_socket(&mut self, socket: &MediaSocket, batch: &TxBatch, at: usize) {
        let Some(card) = self.card.take() else { return };
        for index in at..card.gathered() {
            self.add(socket, batch, card.run(index));
        }
        self.submit(socket, batch);
    }

    fn add(&mut self, socket: &MediaSocket, batch: &TxBatch, message: TxRun) {
        self.messages.push(message);
        if self.messages.len() == BATCH {
            self.submit(socket, batch);
        }
    }

    /// Sends the gathered messages.
    fn submit(&mut self, socket: &MediaSocket, batch: &TxBatch) {
        let count = self.messages.len();
        if count == 0 {
            return;
        }
        for index in 0..count {
            self.point(index, socket, batch);
        }
        let mut at = 0;
        while at < count {
            self.counters.calls += 1;
            // SAFETY: the headers from `at` to `count` have just been pointed to names, controls and vectors of
            // this sender, which do not move, and to bytes of `batch`, which is borrowed for the whole call;
            // the kernel only reads the bytes.
            let outcome = unsafe {
                libc::sendmmsg(
                    socket.fd(),
                    self.headers[at..].as_mut_ptr(),
                    (count - at) as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            let Ok(sent) = usize::try_from(outcome) else {
                at = self.after_error(socket, batch, at, io::Error::last_os_error());
                continue;
            };
            for index in at..at + sent {
                self.count_sent(self.messages[index]);
            }
            at += sent;
        }
        self.messages.clear();
    }

    /// Handles the error of message `at`; returns the message to go on with.
    fn after_error(&mut self, socket: &MediaSocket, batch: &TxBatch, at: usize, error: io::Error) -> usize {
        let message = self.messages[at];
        match error.raw_os_error() {
            Some(libc::EINTR) => at,
            Some(libc::EAGAIN | libc::ENOBUFS) => {
                if !self.has_waited {
                    self.has_waited = true;
                    wait_writable(socket.fd());
                    return at;
                }
                self.counters.would_block += self.messages[at..].iter().map(|left| left.count as u64).sum::<u64>();
                self.messages.len()
            }
            Some(code @ (libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP)) if message.count > 1 => {
                self.send_singly(socket, batch, &message, code);
                at + 1
            }
            Some(libc::EMSGSIZE) => {
                self.doubt_way(&message);
                if self.send_fragmented(socket, batch, &message) {
                    self.count_sent(message);
                }
                at + 1
            }
            _ => {
                self.count_error(&error, message.count);
                at + 1
            }
        }
    }

    /// Has the card's way for a run asked for again: that a path has become narrow is told to sockets only.
    fn doubt_way(&mut self, run: &TxRun) {
        if let Some(card) = &mut self.card {
            card.doubt(run);
        }
    }

    /// Sends a refused run as single datagrams and draws the conclusion about segmentation.
    fn send_singly(&mut self, socket: &MediaSocket, batch: &TxBatch, run: &TxRun, code: i32) {
        self.counters.refused_runs += 1;
        let (mut is_path_good, mut is_path_narrow) = (false, code == libc::EMSGSIZE);
        for single in singles(run) {
            match self.send_one(socket, batch, &single) {
                Ok(()) => {
                    is_path_good = true;
                    self.count_sent(single);
                }
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                    is_path_narrow = true;
                    if self.send_fragmented(socket, batch, &single) {
                        self.count_sent(single);
                    }
                }
                Err(error) => self.count_error(&error, 1),
            }
        }
        // Some kernels call a run for a narrow path invalid, and only its datagrams too long.
        if is_path_narrow {
            self.doubt_way(run);
        }
        self.refused_in_a_row += u32::from(is_path_good && !is_path_narrow);
        // EIO: the device cannot checksum what it would have to segment.
        let is_device = code == libc::EIO && is_path_good;
        if self.gso && (is_device || self.refused_in_a_row >= MAX_REFUSED_RUNS) {
            self.gso = false;
            tracing::warn!(errno = code, "the kernel refuses UDP_SEGMENT: sending single datagrams from now on");
        }
    }

    /// Sends a datagram that is too long for its path in fragments; false if that fails too, which is counted. Such paths
    /// are rare, so that they may cost two calls more for each datagram.
    fn send_fragmented(&mut self, socket: &MediaSocket, batch: &TxBatch, single: &TxRun) -> bool {
        let sent = socket.allow_fragments(true).and_then(|()| self.send_one(socket, batch, single));
        if let Err(error) = socket.allow_fragments(false) {
            tracing::error!(%error, "cannot forbid fragments again");
        }
        match sent {
            Ok(()) => self.counters.fragmented += 1,
            Err(ref error) => self.count_error(error, 1),
        }
        sent.is_ok()
    }

    fn send_one(&mut self, socket: &MediaSocket, batch: &TxBatch, single: &TxRun) -> io::Result<()> {
        let mut name = <libc::sockaddr_storage as Zeroed>::zeroed();
        let mut control = Control::EMPTY;
        let mut header = <libc::msghdr as Zeroed>::zeroed();
        let bytes = batch.run_bytes(single);
        let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        header.msg_namelen = write_name(&mut name, single.path.remote, socket.is_ipv6());
        header.msg_name = (&raw mut name).cast();
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        write_control(&mut header, &mut control, single.path.local, socket.is_ipv6(), None);
        self.counters.calls += 1;
        // SAFETY: the header points to locals and to bytes of `batch`, all alive during the call, and the kernel
        // only reads them.
        if unsafe { libc::sendmsg(socket.fd(), &raw const header, libc::MSG_DONTWAIT) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn point(&mut self, index: usize, socket: &MediaSocket, batch: &TxBatch) {
        let message = &self.messages[index];
        let bytes = batch.run_bytes(message);
        self.vectors[index] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let header = &mut self.headers[index].msg_hdr;
        header.msg_namelen = write_name(&mut self.names[index], message.path.remote, socket.is_ipv6());
        header.msg_name = (&raw mut self.names[index]).cast();
        header.msg_iov = &raw mut self.vectors[index];
        header.msg_iovlen = 1;
        let segment = (message.count > 1).then_some(message.segment as u16);
        write_control(header, &mut self.controls[index], message.path.local, socket.is_ipv6(), segment);
    }

    fn count_sent(&mut self, message: TxRun) {
        if message.count > 1 {
            self.refused_in_a_row = 0;
        }
        self.counters.runs += 1;
        self.counters.datagrams += message.count as u64;
        self.counters.bytes += message.len as u64;
    }

    fn count_error(&mut self, error: &io::Error, datagrams: usize) {
        let counter = match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS) => &mut self.counters.would_block,
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EADDRNOTAVAIL) => {
                &mut self.counters.unreachable
            }
            Some(libc::EPERM | libc::EACCES) => &mut self.counters.forbidden,
            _ => &mut self.counters.failed,
        };
        *counter += datagrams as u64;
    }
}

/// Whether an error tells of an interface that is down, gone or too narrow, and nothing of what the kernel takes.
fn is_of_interface(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV | libc::ENOMEM | libc::EMSGSIZE))
}

/// The datagrams of a run, each as a run of its own.
fn singles(run: &TxRun) -> impl Iterator<Item = TxRun> + use<> {
    let run = *run;
    (0..run.count).map(move |index| {
        let offset = index * run.segment;
        let len = run.segment.min(run.len - offset);
        TxRun { path: Path { ..run.path }, start: run.start + offset, len, segment: len, count: 1 }
    })
}

fn wait_writable(fd: RawFd) {
    let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: the pointer describes one pollfd, which outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, WRITABLE_WAIT_MS) };
}
