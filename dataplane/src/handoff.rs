//! What crosses threads: the claim table, the queues into a worker, the rings between workers, and the
//! doorbells that wake them. Everything here is bounded, and no lock is taken by a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crossbeam::channel::{self, TrySendError};
use crossbeam::queue::ArrayQueue;
use dataplane_core::{Claims, HandshakeInput, PeerMessage, ShardCommand, ShardSnapshot};
use dataplane_protocol::TransportEvent;
use mio::Waker;

/// Commands that wait for one worker at most; the control thread waits when it is reached.
pub(crate) const COMMAND_QUEUE: usize = 8192;
/// Handshake results and datagrams that wait for one worker at most.
const HANDSHAKE_QUEUE: usize = 4096;
/// Bytes of all rings into one worker together; a message has about 1.5 kB.
const RING_BYTES: usize = 8 << 20;

/// A claim nobody has made.
const UNCLAIMED: u32 = u32::MAX;
/// Set in a slot that only the worker in its lower bits may claim.
const ASSIGNED: u32 = 1 << 31;

/// Who owns each transport, or is to: one atomic per slot.
pub(crate) struct ClaimTable {
    slots: Box<[AtomicU32]>,
}

impl ClaimTable {
    pub(crate) fn new(slots: u32) -> Self {
        Self { slots: (0..slots).map(|_| AtomicU32::new(UNCLAIMED)).collect() }
    }

    /// Decides which worker may claim the transport in a slot. Only before any worker knows of it.
    pub(crate) fn assign(&self, slot: u32, worker: u32) {
        if let Some(owner) = self.slots.get(slot as usize) {
            owner.store(ASSIGNED | worker, Ordering::Release);
        }
    }

    /// Makes a slot claimable again. Only once every worker has dropped the transport that had it.
    pub(crate) fn reset(&self, slot: u32) {
        if let Some(owner) = self.slots.get(slot as usize) {
            owner.store(UNCLAIMED, Ordering::Release);
        }
    }
}

impl Claims for ClaimTable {
    fn owner(&self, slot: u32) -> Option<u32> {
        let owner = self.slots.get(slot as usize)?.load(Ordering::Acquire);
        (owner & ASSIGNED == 0).then_some(owner)
    }

    fn claim(&self, slot: u32, worker: u32) -> u32 {
        let Some(owner) = self.slots.get(slot as usize) else { return worker };
        let claim = |from| owner.compare_exchange(from, worker, Ordering::AcqRel, Ordering::Acquire);
        match claim(UNCLAIMED).or_else(|_| claim(ASSIGNED | worker)) {
            Ok(_) => worker,
            Err(earlier) => earlier & !ASSIGNED,
        }
    }

    fn is_assigned(&self, slot: u32, worker: u32) -> bool {
        self.slots.get(slot as usize).is_some_and(|owner| owner.load(Ordering::Acquire) == ASSIGNED | worker)
    }
}

/// Wakes a worker, with one system call however many ring before it looks.
pub(crate) struct Doorbell {
    is_rung: AtomicBool,
    waker: Waker,
}

impl Doorbell {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { is_rung: AtomicBool::new(false), waker }
    }

    /// To be called after the queue was filled.
    pub(crate) fn ring(&self) {
        if !self.is_rung.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "cannot wake a worker");
        }
    }

    /// To be called by the worker before it looks into its queues. The swap reads what the last ringer wrote,
    /// so that what was queued before an unheard ring is seen.
    pub(crate) fn answer(&self) {
        self.is_rung.swap(false, Ordering::AcqRel);
    }
}

/// The way into one worker, for the control and handshake threads.
#[derive(Clone)]
pub(crate) struct WorkerPort {
    commands: channel::Sender<ShardCommand>,
    handshakes: channel::Sender<HandshakeInput>,
    done: Arc<AtomicU64>,
    doorbell: Arc<Doorbell>,
}

/// The worker's end.
pub(crate) struct WorkerInbox {
    pub(crate) commands: channel::Receiver<ShardCommand>,
    pub(crate) handshakes: channel::Receiver<HandshakeInput>,
    /// Number of commands carried out; counted up after each.
    pub(crate) done: Arc<AtomicU64>,
    pub(crate) doorbell: Arc<Doorbell>,
}

/// Makes the queues into one worker.
pub(crate) fn worker_port(doorbell: Arc<Doorbell>) -> (WorkerPort, WorkerInbox) {
    let (command_tx, command_rx) = channel::bounded(COMMAND_QUEUE);
    let (handshake_tx, handshake_rx) = channel::bounded(HANDSHAKE_QUEUE);
    let done = Arc::new(AtomicU64::new(0));
    let port = WorkerPort {
        commands: command_tx,
        handshakes: handshake_tx,
        done: Arc::clone(&done),
        doorbell: Arc::clone(&doorbell),
    };
    (port, WorkerInbox { commands: command_rx, handshakes: handshake_rx, done, doorbell })
}

impl WorkerPort {
    /// Whether `count` more commands fit. There is one sender, so that it stays true until it sends.
    pub(crate) fn has_room(&self, count: usize) -> bool {
        self.commands.len() + count <= COMMAND_QUEUE
    }

    /// Queues a command; the caller rings afterwards. Gives false if the worker is gone or its queue full.
    pub(crate) fn command(&self, command: ShardCommand) -> bool {
        self.commands.try_send(command).is_ok()
    }

    /// Queues a handshake input and rings; gives it back if the queue is full. A worker that is gone takes all.
    pub(crate) fn handshake(&self, input: HandshakeInput) -> Result<(), HandshakeInput> {
        match self.handshakes.try_send(input) {
            Ok(()) => {
                self.doorbell.ring();
                Ok(())
            }
            Err(TrySendError::Full(input)) => Err(input),
            Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// Wakes the worker.
    pub(crate) fn ring(&self) {
        self.doorbell.ring();
    }

    /// Commands carried out so far.
    pub(crate) fn commands_done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }
}

/// What a worker tells the control thread.
#[derive(Debug)]
pub(crate) enum Report {
    /// For every connection.
    Event(TransportEvent),
    /// One worker's part of a snapshot.
    Snapshot {
        /// As asked.
        token: u64,
        /// Its part, shell counters included.
        part: Box<ShardSnapshot>,
    },
}

/// One ring per ordered pair of workers: one producer, one consumer each.
pub(crate) struct Rings {
    rings: Vec<ArrayQueue<PeerMessage>>,
    workers: usize,
}

impl Rings {
    pub(crate) fn new(workers: usize) -> Self {
        let capacity = (RING_BYTES / size_of::<PeerMessage>() / workers.max(1)).clamp(128, 1024);
        let of_pair = |pair: usize| if pair % workers == pair / workers { 1 } else { capacity };
        Self { rings: (0..workers * workers).map(|pair| ArrayQueue::new(of_pair(pair))).collect(), workers }
    }

    /// Hands `message` over; false if the ring is full or there is no such worker.
    pub(crate) fn push(&self, from: usize, to: usize, message: PeerMessage) -> bool {
        to < self.workers && to != from && self.rings[from * self.workers + to].push(message).is_ok()
    }

    /// The oldest message on the way from one worker to another.
    pub(crate) fn pop(&self, from: usize, to: usize) -> Option<PeerMessage> {
        self.rings[from * self.workers + to].pop()
    }

    /// Number of workers.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::time::Duration;

    use dataplane_protocol::TransportId;
    use mio::{Events, Poll, Token};

    use super::*;

    #[test]
    fn of_many_claimants_one_wins_and_all_agree() {
        let table = ClaimTable::new(64);
        let start = Barrier::new(4);
        let seen: Vec<Vec<u32>> = std::thread::scope(|scope| {
            let claimants: Vec<_> = (0..4)
                .map(|worker| {
                    let (table, start) = (&table, &start);
                    scope.spawn(move || {
                        start.wait();
                        (0..64).map(|slot| table.claim(slot, worker)).collect()
                    })
                })
                .collect();
            claimants.into_iter().map(|claimant| claimant.join().unwrap()).collect()
        });
        assert!(seen.iter().all(|owners| *owners == seen[0]));
        assert_eq!(table.owner(5), Some(seen[0][5]));
        table.reset(5);
        assert_eq!(table.owner(5), None);
        assert_eq!(table.claim(5, 3), 3);
        assert_eq!(table.owner(64), None);
    }

    #[test]
    fn an_assigned_slot_is_owned_once_its_worker_claims_it_and_by_no_other() {
        let table = ClaimTable::new(2);
        table.assign(1, 3);
        assert_eq!((table.owner(1), table.is_assigned(1, 3), table.is_assigned(1, 0)), (None, true, false));
        assert_eq!(table.claim(1, 0), 3);
        assert_eq!(table.owner(1), None);
        assert_eq!(table.claim(1, 3), 3);
        assert_eq!((table.owner(1), table.is_assigned(1, 3)), (Some(3), false));
        table.reset(1);
        assert_eq!(table.claim(1, 0), 0);
        assert!(!table.is_assigned(0, 0), "not assigned to anybody");
    }

    #[test]
    fn a_ring_before_the_answer_is_one_wake_and_a_ring_after_it_is_another() {
        let mut poll = Poll::new().unwrap();
        let doorbell = Doorbell::new(Waker::new(poll.registry(), Token(7)).unwrap());
        let mut events = Events::with_capacity(4);
        let mut wakes = |poll: &mut Poll| {
            poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            events.iter().count()
        };
        doorbell.ring();
        doorbell.ring();
        assert_eq!(wakes(&mut poll), 1);
        doorbell.ring();
        assert_eq!(wakes(&mut poll), 0);
        doorbell.answer();
        doorbell.ring();
        assert_eq!(wakes(&mut poll), 1);
    }

    #[test]
    fn a_ring_is_bounded_and_keeps_order() {
        let rings = Rings::new(2);
        let claimed = |id| PeerMessage::Claimed { transport: TransportId(id) };
        let sent = (0..).take_while(|id| rings.push(0, 1, claimed(*id))).count();
        assert_eq!(sent, 1024);
        assert!(!rings.push(0, 0, claimed(0)) && !rings.push(0, 2, claimed(0)));
        for id in 0..sent as u64 {
            assert_eq!(rings.pop(0, 1), Some(claimed(id)));
        }
        assert_eq!((rings.pop(0, 1), rings.pop(1, 0)), (None, None));
    }
}
