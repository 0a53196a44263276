//! The façade of the core: one worker's share of the process, as a state machine.
//!
//! The shell calls a `handle_…` method, then [`Shard::poll_transmit`] until it gives no more, then
//! [`Shard::poll_output`] until it is empty, and comes back at [`Shard::next_timeout`]. Every worker has every
//! transport, track and subscription in its tables, so that any of them can authenticate a check; only the
//! one that has claimed a transport holds keys and state for it.

mod commands;
mod fanout;
mod layers;
mod media;
mod peers;
mod rtcp;
mod stun;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{HashMap, VecDeque};

use dataplane_protocol::{Subscribe, SubscriptionId, TrackId, TransportId, TransportState};
use foldhash::fast::FixedState;
use slab::Slab;

use crate::buffer::{BufferId, Pool};
use crate::ingress::track::Track;
use crate::io::{Claims, Datagram, HandshakeInput, MAX_DATAGRAM, Output, Path, PeerMessage, ShardSnapshot};
use crate::stats::{Counters, DropReason};
use crate::time::{Duration, Instant};
use crate::timers::Wheel;
use crate::transport::Transport;
use crate::wire::demux::{self, Packet};
use crate::wire::stun::IntegrityKey;

/// Keyed with the shard's seed: keys are addresses and ids that clients can choose.
type Map<K, V> = HashMap<K, V, FixedState>;

/// The pool counts its surplus in such steps.
const POOL_TICK: Duration = Duration::from_secs(1);

/// Bounds of one shard.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of packet buffers, receive slots and retransmission histories together. A video track with
    /// traffic holds what came in the last second and a half, up to 512 packets (0.8 MB).
    pub max_buffer_bytes: usize,
    /// Control datagrams (STUN, DTLS, RTCP) that wait to be sent.
    pub max_control_queue: usize,
    /// Outputs that wait for the shell.
    pub max_outputs: usize,
    /// Retransmissions that wait to be sent.
    pub max_resends: usize,
    /// Refused binding requests answered per second; the rest are dropped unanswered.
    pub max_refusals_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_buffer_bytes: 1 << 30,
            max_control_queue: 4_096,
            max_outputs: 8_192,
            max_resends: 4_096,
            max_refusals_per_second: 200,
        }
    }
}

/// What a shard is made with.
#[derive(Clone, Copy, Debug)]
pub struct ShardConfig {
    /// Its number, below `workers`.
    pub worker: u32,
    /// Workers of the process, at most 64.
    pub workers: u32,
    /// Seeds what must be hard to guess only in the sense of RFC 3550 (SSRCs, first sequence numbers) and the
    /// hash tables.
    pub seed: u64,
    /// The wall clock at [`Instant`] zero, microseconds since 1970: for the NTP times of sender reports.
    pub unix_micros_at_zero: u64,
    /// Bounds.
    pub limits: Limits,
}

/// One worker's packets, transports, tracks and subscriptions.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    random: u64,
    pool: Pool,
    counters: Counters,
    /// When the pool may give memory back next.
    pool_due: Instant,
    wheel: Wheel,
    endpoints: Slab<Endpoint>,
    transports: Map<TransportId, usize>,
    ufrags: Map<Box<str>, usize>,
    routes: Map<Path, Route>,
    tracks: Slab<Box<Track>>,
    track_ids: Map<TrackId, usize>,
    subscriptions: Map<SubscriptionId, SubscriptionKey>,
    /// Tracks with something pending, and how far their fan-out has come.
    dirty: Vec<usize>,
    cursor: fanout::Cursor,
    resends: VecDeque<fanout::Resend>,
    control: VecDeque<Control>,
    outputs: VecDeque<Output>,
    /// The endpoint being handled, for [`Shard::recover_from_panic`].
    current: Option<usize>,
    /// Whether the datagram being handled was received by another worker.
    by_ring: bool,
    refusals: Refusals,
}

/// A transport as every worker knows it.
#[derive(Debug)]
struct Endpoint {
    id: TransportId,
    slot: u32,
    ufrag: Box<str>,
    key: IntegrityKey,
    remote_ufrag: Option<Box<str>>,
    /// Keys of the tracks that arrive on it.
    tracks: Vec<usize>,
    /// Subscriptions that leave on it, active or not.
    subscriptions: Vec<Wanted>,
    /// Paths routed to another worker, which owns it.
    foreign: Vec<Path>,
    /// Present where it has been claimed.
    live: Option<Box<Transport>>,
}

impl Endpoint {
    /// Whether it has been claimed here and media may be sent on it.
    fn is_connected(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.is_connected())
    }
}

/// A subscription as every worker knows it.
#[derive(Debug)]
struct Wanted {
    spec: Subscribe,
    /// Keys of its tracks, layers in rising quality; never empty.
    sources: Vec<usize>,
    active: bool,
}

/// Where a subscription is found, and which track it rides.
#[derive(Clone, Copy, Debug)]
struct SubscriptionKey {
    endpoint: usize,
    track: usize,
}

/// Whom a path belongs to.
#[derive(Clone, Copy, Debug)]
enum Route {
    Local(usize),
    Foreign { transport: TransportId, worker: u32 },
}

/// A datagram without media, ready to send.
#[derive(Clone, Copy, Debug)]
struct Control {
    path: Path,
    buffer: BufferId,
    len: usize,
}

/// What became of a received buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Something holds it.
    Kept,
    /// It can go back to the pool.
    Done,
}

/// Refused checks of the current second.
#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    second: u64,
    count: u32,
}

fn table<K, V>(seed: u64) -> Map<K, V> {
    Map::with_hasher(FixedState::with_seed(seed))
}

impl Shard {
    /// An empty shard.
    pub fn new(config: ShardConfig) -> Self {
        Self {
            config,
            random: config.seed ^ (u64::from(config.worker) << 32),
            pool: Pool::new(config.limits.max_buffer_bytes),
            counters: Counters::default(),
            pool_due: Instant::default(),
            wheel: Wheel::new(),
            endpoints: Slab::new(),
            transports: table(config.seed),
            ufrags: table(config.seed),
            routes: table(config.seed),
            tracks: Slab::new(),
            track_ids: table(config.seed),
            subscriptions: table(config.seed),
            dirty: Vec::with_capacity(64),
            cursor: fanout::Cursor::default(),
            resends: VecDeque::with_capacity(256),
            control: VecDeque::with_capacity(256),
            outputs: VecDeque::with_capacity(256),
            current: None,
            by_ring: false,
            refusals: Refusals::default(),
        }
    }

    /// A buffer to receive into, or `None` when the pool is at its bound.
    pub fn receive_buffer(&mut self) -> Option<BufferId> {
        self.pool.take_large()
    }

    /// The bytes of a buffer: at least [`crate::MAX_DATAGRAM`], at an address that stays until it is released.
    pub fn buffer_mut(&mut self, buffer: BufferId) -> &mut [u8] {
        self.pool.bytes_mut(buffer)
    }

    /// Gives an unused receive buffer back.
    pub fn release_buffer(&mut self, buffer: BufferId) {
        self.pool.release(buffer);
    }

    /// Takes in one datagram and its buffer.
    pub fn handle_datagram(&mut self, now: Instant, claims: &dyn Claims, datagram: Datagram) {
        self.counters.datagrams_received += 1;
        self.counters.bytes_received += datagram.len as u64;
        self.take_in(now, claims, datagram);
    }

    /// Takes in a word of the handshake service. Of a transport that is gone or not claimed here, nothing is left
    /// to say.
    pub fn handle_handshake(&mut self, now: Instant, claims: &dyn Claims, input: HandshakeInput) {
        let (HandshakeInput::Send { transport, .. }
        | HandshakeInput::Keys { transport, .. }
        | HandshakeInput::Failed { transport, .. }
        | HandshakeInput::Closed { transport }) = &input;
        let Some(key) = self.transports.get(transport).copied() else { return };
        self.current = Some(key);
        let Some(live) = self.endpoints[key].live.as_mut() else { return };
        match input {
            HandshakeInput::Send { data, .. } => {
                if let Some(path) = live.paths.selected() {
                    self.send_control(path, &data);
                }
            }
            HandshakeInput::Keys { keys, .. } => match live.set_keys(&keys) {
                Ok(()) => self.connected(now, claims, key),
                Err(error) => self.fail(key, TransportState::Failed, error.to_string()),
            },
            HandshakeInput::Failed { detail, .. } => self.fail(key, TransportState::Failed, detail),
            HandshakeInput::Closed { .. } => self.fail(key, TransportState::Closed, String::new()),
        }
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant, claims: &dyn Claims) {
        while let Some(key) = self.wheel.pop_due(now) {
            let key = key as usize;
            if self.endpoints.contains(key) {
                self.current = Some(key);
                self.run_timers(now, claims, key);
            }
        }
        if now >= self.pool_due && self.pool.has_surplus() {
            self.pool.tick();
            self.pool_due = now + POOL_TICK;
        }
    }

    /// When to call [`Shard::handle_timeout`]; [`Instant::FAR_FUTURE`] if nothing is due.
    pub fn next_timeout(&self) -> Instant {
        let due = self.wheel.next();
        if self.pool.has_surplus() { due.min(self.pool_due) } else { due }
    }

    /// The next thing to tell.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A peer message of this shard could not be delivered.
    pub fn count_peer_ring_full(&mut self) {
        self.counters.drop(DropReason::PeerRingFull);
    }

    /// After a panic in any method: fails the transport that was being handled, so that nothing of it is touched
    /// again, and forgets what was pending. The buffer in hand stays lost; panics are counted.
    pub fn recover_from_panic(&mut self, _now: Instant) {
        self.counters.panics += 1;
        self.counters.drop(DropReason::Panic);
        // What was about to be sent may be what panics: it must not be met again.
        while let Some(key) = self.dirty.pop() {
            if let Some(track) = self.tracks.get_mut(key) {
                track.clear_pending();
                track.switch_at = None;
            }
        }
        self.cursor = fanout::Cursor::default();
        self.by_ring = false;
        if let Some(key) = self.current.take()
            && self.endpoints.contains(key)
        {
            self.fail(key, TransportState::Failed, "internal error".to_owned());
        }
    }

    fn take_in(&mut self, now: Instant, claims: &dyn Claims, datagram: Datagram) {
        self.current = None;
        match self.dispatch(now, claims, &datagram) {
            Ok(Fate::Kept) => {}
            Ok(Fate::Done) => self.pool.release(datagram.buffer),
            Err(reason) => {
                self.counters.drop(reason);
                self.pool.release(datagram.buffer);
            }
        }
    }

    fn dispatch(&mut self, now: Instant, claims: &dyn Claims, datagram: &Datagram) -> Result<Fate, DropReason> {
        let bytes = &self.pool.bytes(datagram.buffer)[..datagram.len];
        let kind = demux::classify(bytes);
        if kind == Packet::Unknown {
            return Err(DropReason::UnknownProtocol);
        }
        if kind == Packet::Stun {
            return self.on_stun(now, claims, datagram);
        }
        let key = match self.routes.get(&datagram.path) {
            Some(Route::Local(key)) => *key,
            Some(Route::Foreign { transport, worker }) => {
                let (transport, worker) = (*transport, *worker);
                return self.hand_over(worker, transport, datagram);
            }
            None => return Err(DropReason::UnknownPath),
        };
        self.current = Some(key);
        let Some(live) = self.endpoints[key].live.as_mut() else { return Err(DropReason::UnknownPath) };
        live.packets_received += 1;
        live.bytes_received += datagram.len as u64;
        match kind {
            Packet::Dtls => self.on_dtls(key, datagram),
            Packet::Rtp => self.on_rtp(now, key, datagram),
            Packet::Rtcp => self.on_rtcp(now, claims, key, datagram),
            Packet::Stun | Packet::Unknown => Err(DropReason::UnknownProtocol),
        }
    }

    fn on_dtls(&mut self, key: usize, datagram: &Datagram) -> Result<Fate, DropReason> {
        let endpoint = &self.endpoints[key];
        let over = endpoint
            .live
            .as_ref()
            .is_none_or(|live| matches!(live.state, TransportState::Failed | TransportState::Closed));
        if over {
            return Err(DropReason::DtlsUnexpected);
        }
        let data = self.pool.bytes(datagram.buffer)[..datagram.len].to_vec();
        let transport = endpoint.id;
        self.output(Output::Dtls { transport, data });
        Ok(Fate::Done)
    }

    /// Keys are in place: everything that waited for them begins.
    fn connected(&mut self, now: Instant, claims: &dyn Claims, key: usize) {
        self.tell_state(key);
        self.wheel.schedule(key as u32, now);
        for at in 0..self.endpoints[key].subscriptions.len() {
            self.activate(now, claims, key, at);
        }
    }

    /// Ends a transport for good; it stays in the tables until the control plane removes it.
    fn fail(&mut self, key: usize, state: TransportState, detail: String) {
        let Some(live) = self.endpoints[key].live.as_mut() else { return };
        if live.state == state {
            return;
        }
        live.state = state;
        live.detail = detail;
        live.inbound = None;
        live.outbound = None;
        self.tell_state(key);
    }

    fn tell_state(&mut self, key: usize) {
        let endpoint = &self.endpoints[key];
        if let Some(live) = &endpoint.live {
            let event = live.event(endpoint.id);
            self.output(Output::Event(event));
        }
    }

    /// Queues a datagram without media.
    fn send_control(&mut self, path: Path, bytes: &[u8]) {
        if self.control.len() >= self.config.limits.max_control_queue {
            self.counters.drop(DropReason::QueueFull);
            return;
        }
        if bytes.len() > MAX_DATAGRAM {
            self.counters.drop(DropReason::TooLong);
            return;
        }
        match self.pool.copy_in(bytes) {
            Some(buffer) => self.control.push_back(Control { path, buffer, len: bytes.len() }),
            None => self.counters.drop(DropReason::NoBuffer),
        }
    }

    fn output(&mut self, output: Output) {
        if self.outputs.len() >= self.config.limits.max_outputs {
            self.counters.drop(DropReason::QueueFull);
            return;
        }
        self.outputs.push_back(output);
    }

    fn tell_peer(&mut self, worker: u32, message: PeerMessage) {
        self.output(Output::Peer { worker, message });
    }

    fn tell_all_peers(&mut self, message: &PeerMessage) {
        let ShardConfig { worker: me, workers, .. } = self.config;
        for worker in (0..workers).filter(|worker| *worker != me) {
            self.tell_peer(worker, message.clone());
        }
    }

    /// The wall clock, in microseconds since 1970.
    fn unix_micros(&self, now: Instant) -> u64 {
        self.config.unix_micros_at_zero + now.as_micros()
    }

    /// SplitMix64: for numbers that need only be unlike each other.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn snapshot(&self) -> ShardSnapshot {
        let worker = self.config.worker;
        let mut part = ShardSnapshot {
            stats: self.counters.to_worker_stats(worker, self.pool.in_use(), self.pool.high_water()),
            ..Default::default()
        };
        for (_, endpoint) in &self.endpoints {
            if let Some(live) = &endpoint.live {
                part.transports.push(live.info(endpoint.id, worker));
            }
        }
        for (_, track) in &self.tracks {
            part.tracks.extend(track.info());
            part.subscriptions.extend(track.outgoing.iter().map(|out| out.info(track.id.0)));
        }
        part
    }

    /// Counts a refused check; false when this second's answers are used up.
    fn may_refuse(&mut self, now: Instant) -> bool {
        let second = now.as_micros() / Duration::from_secs(1).as_micros();
        if self.refusals.second != second {
            self.refusals = Refusals { second, count: 0 };
        }
        self.refusals.count += 1;
        self.refusals.count <= self.config.limits.max_refusals_per_second
    }
}
