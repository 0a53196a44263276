//! One worker: a thread, a core, a socket, a shard.
//!
//! The loop waits until something arrives or the shard's next deadline, takes the time once, and then does a
//! bounded amount of everything: commands, handshake results, messages of other workers, received datagrams
//! (each batch followed by sending what it caused), deadlines. What is left is done in the next turn without
//! waiting, so that no source of work starves another.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use core_affinity::CoreId;
use dataplane_core::{BufferId, Claims, Datagram, Instant, Output, PeerMessage, Shard, ShardConfig, TxBatch};
use dataplane_protocol::TransportId;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::handoff::{ClaimTable, Doorbell, Report, Rings, WorkerInbox};
use crate::handshake;
use crate::net::{BATCH, Card, MediaSocket, Receiver, Sender, Slots, Steering};
use crate::telemetry::ShellCounters;

/// Commands carried out per turn.
const COMMAND_BUDGET: usize = 256;
/// Handshake results taken per turn.
const HANDSHAKE_BUDGET: usize = 256;
/// Messages taken per turn from each other worker.
const PEER_BUDGET: usize = 256;
/// Messages of one ring between two flushes, so that a worker which was held up does not take in more of a track
/// than the track remembers.
const PEER_BATCH: usize = 32;
/// Batches of datagrams received per turn and socket.
const RECEIVE_BUDGET: usize = 8;
/// Bytes sent by one flush: a frame of 6 kB to 40 subscribers. What is sealed is still in the core's own cache when the
/// kernel copies it, and the first subscriber does not wait for the last.
const TX_BYTES: usize = 256 << 10;
/// Runs sent by one flush.
const TX_RUNS: usize = 1024;
/// Wait before a claim is told again to a handshake thread that is behind.
const CLAIM_RETRY: Duration = Duration::from_millis(1);
/// The waker's token; sockets have theirs from 0.
const WAKER: Token = Token(usize::MAX);

/// The monotonic clock that all workers share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    fn at(self, moment: std::time::Instant) -> Instant {
        Instant::from_micros(moment.duration_since(self.start).as_micros() as u64)
    }

    /// Time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        self.start.elapsed()
    }
}

/// Makes a worker's poll and the doorbell that wakes it.
///
/// # Errors
/// When the kernel has no more descriptors.
pub(crate) fn poll_with_doorbell() -> io::Result<(Poll, Arc<Doorbell>)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    Ok((poll, Arc::new(Doorbell::new(waker))))
}

/// Everything a worker is given.
pub(crate) struct Setup {
    pub(crate) shard: ShardConfig,
    pub(crate) core: Option<CoreId>,
    pub(crate) gso: bool,
    pub(crate) clock: Clock,
    pub(crate) poll: Poll,
    pub(crate) sockets: Vec<MediaSocket>,
    /// To send by, where packets are to leave as frames.
    pub(crate) card: Option<Card>,
    pub(crate) inbox: WorkerInbox,
    pub(crate) rings: Arc<Rings>,
    pub(crate) doorbells: Vec<Arc<Doorbell>>,
    pub(crate) claims: Arc<ClaimTable>,
    pub(crate) steering: Option<Arc<Steering>>,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) handshakes: mpsc::Sender<handshake::Input>,
    pub(crate) stop: Arc<AtomicBool>,
}

/// Runs a worker on the calling thread until `stop` is set and its doorbell rung.
///
/// # Errors
/// When polling fails, which nothing can be done about.
pub(crate) fn run(setup: Setup) -> io::Result<()> {
    if let Some(core) = setup.core
        && !core_affinity::set_for_current(core)
    {
        tracing::warn!(worker = setup.shard.worker, core = core.id, "cannot pin the worker");
    }
    Worker::new(setup)?.run()
}

struct Worker {
    index: u32,
    core: Guarded,
    clock: Clock,
    poll: Poll,
    sockets: Vec<MediaSocket>,
    /// Sockets that may hold more than was taken; the poll tells only of changes.
    readable: Vec<bool>,
    receiver: Receiver<BufferId>,
    sender: Sender,
    batch: TxBatch,
    inbox: WorkerInbox,
    rings: Arc<Rings>,
    doorbells: Vec<Arc<Doorbell>>,
    /// Workers with new messages of this turn.
    touched: Vec<bool>,
    steering: Option<Arc<Steering>>,
    reports: mpsc::Sender<Report>,
    handshakes: mpsc::Sender<handshake::Input>,
    /// Claims that the handshake thread has not been told yet.
    untold_claims: Vec<TransportId>,
    stop: Arc<AtomicBool>,
    counters: ShellCounters,
    has_more: bool,
}

impl Worker {
    fn new(setup: Setup) -> io::Result<Self> {
        for (token, socket) in setup.sockets.iter().enumerate() {
            setup.poll.registry().register(&mut SourceFd(&socket.fd()), Token(token), Interest::READABLE)?;
        }
        Ok(Self {
            index: setup.shard.worker,
            core: Guarded {
                worker: setup.shard.worker,
                shard: Shard::new(setup.shard),
                claims: setup.claims,
                panics: 0,
            },
            clock: setup.clock,
            poll: setup.poll,
            readable: vec![true; setup.sockets.len()],
            sockets: setup.sockets,
            receiver: Receiver::new(),
            sender: Sender::with_card(setup.gso, setup.card),
            batch: TxBatch::new(TX_BYTES, TX_RUNS),
            inbox: setup.inbox,
            touched: vec![false; setup.doorbells.len()],
            rings: setup.rings,
            steering: setup.steering,
            doorbells: setup.doorbells,
            reports: setup.reports,
            handshakes: setup.handshakes,
            untold_claims: Vec::new(),
            stop: setup.stop,
            counters: ShellCounters::default(),
            has_more: true,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(16);
        while !self.stop.load(Ordering::Acquire) {
            let wait = self.wait();
            match self.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            let woken = std::time::Instant::now();
            for event in &events {
                if let Some(readable) = self.readable.get_mut(event.token().0) {
                    *readable = true;
                }
            }
            self.turn(self.clock.at(woken));
            self.counters.loops.record(woken.elapsed());
        }
        self.receiver.release(&mut ShardSlots(&mut self.core.shard));
        Ok(())
    }

    /// How long there is nothing to do; `None`: until something arrives.
    fn wait(&self) -> Option<Duration> {
        if self.has_more {
            return Some(Duration::ZERO);
        }
        let deadline = self.core.shard.next_timeout();
        let until = deadline.since(self.clock.at(std::time::Instant::now()));
        let wait = (deadline != Instant::FAR_FUTURE).then(|| Duration::from_micros(until.as_micros()));
        if self.untold_claims.is_empty() { wait } else { Some(wait.map_or(CLAIM_RETRY, |wait| wait.min(CLAIM_RETRY))) }
    }

    fn turn(&mut self, now: Instant) {
        self.has_more = false;
        self.inbox.doorbell.answer();
        self.take_commands(now);
        self.take_handshakes(now);
        let held = self.has_more;
        self.take_peer_messages(now);
        self.has_more |= held;
        for socket in 0..self.sockets.len() {
            self.receive(now, socket);
        }
        self.core.call(now, |shard, claims| shard.handle_timeout(now, claims));
        self.transmit(now);
        self.route_outputs();
        self.tell_claims();
        self.wake_peers();
    }

    fn take_commands(&mut self, now: Instant) {
        for _ in 0..COMMAND_BUDGET {
            let Ok(command) = self.inbox.commands.try_recv() else { return };
            self.core.call(now, |shard, claims| shard.handle_command(now, claims, command));
            self.inbox.done.fetch_add(1, Ordering::Release);
        }
        self.has_more = true;
    }

    fn take_handshakes(&mut self, now: Instant) {
        for _ in 0..HANDSHAKE_BUDGET {
            let Ok(input) = self.inbox.handshakes.try_recv() else { return };
            self.core.call(now, |shard, claims| shard.handle_handshake(now, claims, input));
        }
        self.has_more = true;
    }

    fn take_peer_messages(&mut self, now: Instant) {
        for _ in 0..PEER_BUDGET / PEER_BATCH {
            self.has_more = self.take_peer_batch(now);
            if !self.has_more {
                return;
            }
        }
    }

    /// Takes a batch from every ring and sends what came of it; true if a ring may hold more.
    fn take_peer_batch(&mut self, now: Instant) -> bool {
        let own = self.index as usize;
        let (mut is_more, mut got) = (false, false);
        for from in (0..self.rings.workers()).filter(|from| *from != own) {
            let mut taken = 0;
            while taken < PEER_BATCH
                && let Some(message) = self.rings.pop(from, own)
            {
                taken += 1;
                // A transport's first datagram may be here before its command was looked for; it is in the queue by now.
                if matches!(message, PeerMessage::Datagram { .. }) {
                    self.take_commands(now);
                }
                self.core.call(now, |shard, claims| shard.handle_peer(now, claims, from as u32, message));
            }
            is_more |= taken == PEER_BATCH;
            got |= taken > 0;
        }
        if got {
            self.transmit(now);
            self.route_outputs();
        }
        is_more
    }

    fn receive(&mut self, now: Instant, socket: usize) {
        for _ in 0..RECEIVE_BUDGET {
            if !self.readable[socket] {
                return;
            }
            let got = self.receiver.receive(&self.sockets[socket], &mut ShardSlots(&mut self.core.shard));
            self.readable[socket] = got == BATCH;
            // Whoever was answered by the control plane may have sent already: what it was promised is in the
            // queue before its datagram is here, if only this thread looks in this order.
            self.take_commands(now);
            for index in 0..got {
                let Some(received) = self.receiver.take(index) else { continue };
                let datagram = Datagram { buffer: received.id, len: received.len, path: received.path };
                self.core.call(now, |shard, claims| shard.handle_datagram(now, claims, datagram));
            }
            if got > 0 {
                self.transmit(now);
                self.route_outputs();
            }
        }
        self.has_more |= self.readable[socket];
    }

    /// Sends all that the shard has to send.
    fn transmit(&mut self, now: Instant) {
        loop {
            let (mut is_full, batch) = (false, &mut self.batch);
            self.core.call(now, |shard, _| is_full = shard.poll_transmit(now, batch));
            if self.batch.is_empty() {
                return;
            }
            self.sender.flush(&self.sockets, &self.batch);
            self.batch.clear();
            if !is_full {
                return;
            }
        }
    }

    fn route_outputs(&mut self) {
        while let Some(output) = self.core.shard.poll_output() {
            match output {
                Output::Event(event) => self.report(Report::Event(event)),
                Output::Snapshot { token, mut part } => {
                    self.counters.recv = self.receiver.counters();
                    self.counters.send = self.sender.counters();
                    self.counters.gso = self.sender.gso();
                    self.counters.panics = self.core.panics;
                    self.counters.complete(self.index, &mut part.stats);
                    self.report(Report::Snapshot { token, part });
                }
                Output::Dtls { transport, data } => {
                    let input = handshake::Input::Datagram { transport, worker: self.index, data };
                    if self.handshakes.try_send(input).is_err() {
                        self.counters.handshake_queue_full += 1;
                    }
                }
                Output::Claimed { transport } => self.untold_claims.push(transport),
                Output::FlowHere { remote } => self.steer(remote),
                Output::FlowGone { remote } => {
                    if let Some(steering) = &self.steering {
                        steering.release(remote, self.index);
                    }
                }
                Output::Peer { worker, message } => {
                    let to = worker as usize;
                    if self.rings.push(self.index as usize, to, message) {
                        self.touched[to] = true;
                    } else {
                        self.core.shard.count_peer_ring_full();
                    }
                }
            }
        }
    }

    /// Tells the kernel to deliver what comes from `remote` to this worker.
    fn steer(&mut self, remote: SocketAddr) {
        match self.steering.as_ref().map(|steering| steering.steer(remote, self.index)) {
            Some(Ok(())) => self.counters.flows_steered += 1,
            Some(Err(_)) => self.counters.flows_unsteered += 1,
            None => {}
        }
    }

    fn report(&mut self, report: Report) {
        if self.reports.try_send(report).is_err() {
            self.counters.control_queue_full += 1;
        }
    }

    /// Tells the handshake thread of new claims, and keeps those that it has no room for.
    fn tell_claims(&mut self) {
        while let Some(transport) = self.untold_claims.last() {
            let input = handshake::Input::Claimed { transport: *transport, worker: self.index };
            if let Err(TrySendError::Full(_)) = self.handshakes.try_send(input) {
                return;
            }
            self.untold_claims.pop();
        }
    }

    fn wake_peers(&mut self) {
        for (peer, touched) in self.touched.iter_mut().enumerate() {
            if std::mem::take(touched) {
                self.doorbells[peer].ring();
            }
        }
    }
}

/// The shard behind a net: a panic costs the transport that caused it, not the worker.
struct Guarded {
    worker: u32,
    shard: Shard,
    claims: Arc<ClaimTable>,
    panics: u64,
}

impl Guarded {
    fn call(&mut self, now: Instant, call: impl FnOnce(&mut Shard, &dyn Claims)) {
        let (shard, claims) = (&mut self.shard, &*self.claims);
        if catch_unwind(AssertUnwindSafe(|| call(shard, claims))).is_ok() {
            return;
        }
        self.panics += 1;
        tracing::error!(worker = self.worker, "a panic was caught; the transport that caused it fails");
        let shard = &mut self.shard;
        if catch_unwind(AssertUnwindSafe(|| shard.recover_from_panic(now))).is_err() {
            tracing::error!(worker = self.worker, "recovering from the panic panicked too");
        }
    }
}

/// The shard's pool as the receiver sees it.
struct ShardSlots<'a>(&'a mut Shard);

impl Slots for ShardSlots<'_> {
    type Id = BufferId;

    fn take(&mut self) -> Option<BufferId> {
        self.0.receive_buffer()
    }

    fn bytes(&mut self, id: BufferId) -> &mut [u8] {
        self.0.buffer_mut(id)
    }

    fn give_back(&mut self, id: BufferId) {
        self.0.release_buffer(id);
    }
}

#[cfg(test)]
mod tests {
    use dataplane_core::Limits;

    use super::*;

    #[test]
    fn a_panic_is_counted_and_the_shard_goes_on() {
        let shard = ShardConfig { worker: 0, workers: 1, seed: 1, unix_micros_at_zero: 0, limits: Limits::default() };
        let mut core = Guarded { worker: 0, shard: Shard::new(shard), claims: Arc::new(ClaimTable::new(1)), panics: 0 };
        let now = Instant::from_micros(1);
        core.call(now, |_, _| panic!("provoked by the test"));
        let mut went_on = false;
        core.call(now, |shard, claims| {
            shard.handle_timeout(now, claims);
            went_on = true;
        });
        assert!(went_on);
        assert_eq!(core.panics, 1);
    }
}
