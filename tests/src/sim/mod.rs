//! A seeded world in virtual time: shards of one process, clients around it, and a network between them that
//! loses, delays and reorders. A second of it takes milliseconds, and a seed gives the same run every time.

mod client;
mod layer;
mod media;
mod random;
mod received;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use dataplane_core::wire::demux;
use dataplane_core::wire::rtp::RtpHeader;
use dataplane_core::{
    Claims, Datagram, Duration, HandshakeInput, Instant, Limits, Output, Path, Registry, RegistryLimits, Shard,
    ShardCommand, ShardConfig, SrtpKeys, TxBatch,
};
use dataplane_protocol::{Command, Failure, SrtpProfile, TransportEvent, TransportId};

pub use client::{Client, ClientKind};
pub use layer::{Layer, RIDS};
pub use media::{AUDIO_SSRC, Part, VIDEO_RTX_SSRC, VIDEO_SSRC};
pub use random::Random;
pub use received::{Received, Seen};

/// The host's own address in the simulated network.
pub const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
/// The wall clock at the world's beginning, microseconds since 1970.
pub const EPOCH: u64 = 1_790_000_000_000_000;

/// What the network does to datagrams, in both directions alike.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Share of datagrams lost, 0 to 1.
    pub loss: f64,
    /// One-way delay.
    pub delay: Duration,
    /// Added to the delay of each datagram by chance, from nothing to this much: what reorders.
    pub jitter: Duration,
}

impl Link {
    /// Neither loss nor jitter, 10 ms.
    pub const CLEAN: Self = Self { loss: 0.0, delay: Duration::from_millis(10), jitter: Duration::from_millis(0) };
    /// 5 % loss, 20 ms, and up to 15 ms more: reordering within a frame and between frames.
    pub const ROUGH: Self = Self { loss: 0.05, delay: Duration::from_millis(20), jitter: Duration::from_millis(15) };
}

/// The claim table of the simulated process.
#[derive(Debug, Default)]
pub struct Table {
    owners: RefCell<HashMap<u32, u32>>,
    assigned: RefCell<HashMap<u32, u32>>,
}

impl Table {
    fn assign(&self, slot: u32, worker: u32) {
        self.assigned.borrow_mut().insert(slot, worker);
    }

    fn reset(&self, slot: u32) {
        self.owners.borrow_mut().remove(&slot);
        self.assigned.borrow_mut().remove(&slot);
    }
}

impl Claims for Table {
    fn owner(&self, slot: u32) -> Option<u32> {
        self.owners.borrow().get(&slot).copied()
    }

    fn claim(&self, slot: u32, worker: u32) -> u32 {
        match self.assigned.borrow().get(&slot) {
            Some(assigned) if *assigned != worker => *assigned,
            _ => *self.owners.borrow_mut().entry(slot).or_insert(worker),
        }
    }

    fn is_assigned(&self, slot: u32, worker: u32) -> bool {
        self.assigned.borrow().get(&slot) == Some(&worker) && self.owner(slot).is_none()
    }
}

/// A datagram under way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Instant,
    order: u64,
    to: Destination,
    bytes: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Destination {
    Host { worker: u32, from: SocketAddr },
    Client(usize),
}

/// The simulated world.
pub struct World {
    /// Virtual now.
    pub now: Instant,
    /// The network.
    pub link: Link,
    /// All clients, by the number that [`World::add`] gave.
    pub clients: Vec<Client>,
    /// The workers' shards.
    pub shards: Vec<Shard>,
    /// Every event that the shards told.
    pub events: Vec<TransportEvent>,
    /// Who owns what.
    pub claims: Table,
    /// The worker that every transport is assigned to from here on; what clients send is then delivered where the shards
    /// say, like by a kernel that is told of flows.
    pub assign_to: Option<u32>,
    flows: HashMap<SocketAddr, u32>,
    registry: Registry,
    random: Random,
    flights: BinaryHeap<Reverse<Flight>>,
    order: u64,
    batch: TxBatch,
    /// Transport ids, by client.
    transports: HashMap<u64, usize>,
    profile: SrtpProfile,
    /// Hashes of the sealed RTP packets that clients were sent, by client, SSRC and sequence number.
    sealed: HashMap<(usize, u32, u16), u64>,
    /// Datagrams that differ from what the same client was sent under the same SSRC and sequence number before.
    pub resealed: u64,
}

impl World {
    /// A process of `workers` workers and no clients.
    pub fn new(seed: u64, workers: u32, link: Link, profile: SrtpProfile) -> Self {
        let shards = (0..workers)
            .map(|worker| {
                Shard::new(ShardConfig {
                    worker,
                    workers,
                    seed,
                    unix_micros_at_zero: EPOCH,
                    limits: Limits { max_buffer_bytes: 64 << 20, ..Limits::default() },
                })
            })
            .collect();
        Self {
            now: Instant::from_micros(1_000_000),
            link,
            clients: Vec::new(),
            shards,
            events: Vec::new(),
            claims: Table::default(),
            assign_to: None,
            flows: HashMap::new(),
            registry: Registry::new(RegistryLimits::default()),
            random: Random::new(seed),
            flights: BinaryHeap::new(),
            order: 0,
            batch: TxBatch::new(1 << 20, 1_024),
            transports: HashMap::new(),
            profile,
            sealed: HashMap::new(),
            resealed: 0,
        }
    }

    /// Adds a client of a kind, whose packets the kernel gives to `worker`; returns its number.
    pub fn add(&mut self, kind: ClientKind, worker: u32) -> usize {
        let number = self.clients.len();
        let client = Client::new(number, kind, worker, self.now, self.profile, self.random.next());
        for command in client.commands() {
            self.command(command).expect("a well-formed command");
        }
        self.transports.insert(client.transport(), number);
        self.clients.push(client);
        number
    }

    /// Gives a command to every worker, as the control thread does.
    ///
    /// # Errors
    /// As the registry refuses it.
    pub fn command(&mut self, command: Command) -> Result<(), Failure> {
        let applied = self.registry.apply(command)?;
        for command in &applied.commands {
            if let (ShardCommand::CreateTransport { slot, .. }, Some(worker)) = (command, self.assign_to) {
                self.claims.assign(*slot, worker);
            }
            for worker in 0..self.shards.len() {
                self.shards[worker].handle_command(self.now, &self.claims, command.clone());
                self.settle(worker);
            }
        }
        if let Some(slot) = applied.retired_slot {
            self.claims.reset(slot);
            self.registry.release_slot(slot);
        }
        Ok(())
    }

    /// Tells the owner of a client's transport what the handshake service would.
    pub fn handshake(&mut self, client: usize, input: impl Fn(TransportId) -> HandshakeInput) {
        let transport = TransportId(self.clients[client].transport());
        for worker in 0..self.shards.len() {
            self.shards[worker].handle_handshake(self.now, &self.claims, input(transport));
            self.settle(worker);
        }
    }

    /// Lets `span` pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.next_event().filter(|at| *at <= end) {
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    /// Runs until `done`, at most for `limit`; returns whether it came true.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) {
            let Some(next) = self.next_event().filter(|at| *at <= end) else { return false };
            self.now = self.now.max(next);
            self.step();
        }
        true
    }

    /// Puts a datagram of anybody on a worker's socket, past the network.
    pub fn inject(&mut self, worker: u32, from: SocketAddr, bytes: &[u8]) {
        self.take_in(worker, from, bytes);
        self.settle(worker as usize);
    }

    /// Addresses that clients' datagrams are delivered by.
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Sum over all shards of what they dropped for this reason.
    pub fn drops(&mut self, reason: &str) -> u64 {
        self.stats()
            .iter()
            .flat_map(|stats| &stats.drops)
            .filter(|drop| drop.reason == reason)
            .map(|drop| drop.count)
            .sum()
    }

    /// Every shard's counters.
    pub fn stats(&mut self) -> Vec<dataplane_protocol::WorkerStats> {
        self.snapshots().into_iter().map(|part| part.stats).collect()
    }

    /// Every shard's part of a snapshot.
    pub fn snapshots(&mut self) -> Vec<dataplane_core::ShardSnapshot> {
        let mut parts = Vec::new();
        for worker in 0..self.shards.len() {
            self.shards[worker].handle_command(self.now, &self.claims, ShardCommand::Snapshot { token: 1 });
            while let Some(output) = self.shards[worker].poll_output() {
                match output {
                    Output::Snapshot { part, .. } => parts.push(*part),
                    other => self.route(worker, other),
                }
            }
        }
        parts
    }

    fn next_event(&self) -> Option<Instant> {
        let flights = self.flights.peek().map(|Reverse(flight)| flight.at);
        let clients = self.clients.iter().map(Client::next_timeout);
        let shards = self.shards.iter().map(Shard::next_timeout);
        clients.chain(shards).chain(flights).min().filter(|at| *at != Instant::FAR_FUTURE)
    }

    fn step(&mut self) {
        // What arrives at one instant is one batch, as a worker receives it.
        let mut touched = vec![false; self.shards.len()];
        while let Some(Reverse(flight)) = self.flights.pop() {
            if flight.at > self.now {
                self.flights.push(Reverse(flight));
                break;
            }
            match flight.to {
                Destination::Host { worker, from } => {
                    self.take_in(worker, from, &flight.bytes);
                    touched[worker as usize] = true;
                }
                Destination::Client(number) => {
                    self.clients[number].handle_datagram(self.now, &flight.bytes);
                    self.flush_client(number);
                }
            }
        }
        for worker in touched.iter().enumerate().filter_map(|(worker, touched)| touched.then_some(worker)) {
            self.settle(worker);
        }
        for number in 0..self.clients.len() {
            if self.clients[number].next_timeout() <= self.now {
                self.clients[number].handle_timeout(self.now);
                self.flush_client(number);
            }
        }
        for worker in 0..self.shards.len() {
            if self.shards[worker].next_timeout() <= self.now {
                self.shards[worker].handle_timeout(self.now, &self.claims);
                self.settle(worker);
            }
        }
    }

    fn take_in(&mut self, worker: u32, from: SocketAddr, bytes: &[u8]) {
        let shard = &mut self.shards[worker as usize];
        let buffer = shard.receive_buffer().expect("a free buffer");
        shard.buffer_mut(buffer)[..bytes.len()].copy_from_slice(bytes);
        let path = Path { remote: from, local: HOST };
        shard.handle_datagram(self.now, &self.claims, Datagram { buffer, len: bytes.len(), path });
    }

    /// Sends what a shard has to send and delivers what it has to tell, until it is quiet.
    fn settle(&mut self, worker: usize) {
        loop {
            let more = self.shards[worker].poll_transmit(self.now, &mut self.batch);
            let sent: Vec<_> = self.batch.datagrams().map(|(path, bytes)| (path, bytes.to_vec())).collect();
            self.batch.clear();
            for (path, bytes) in sent {
                if let Some(number) = self.clients.iter().position(|client| client.address() == path.remote) {
                    self.note_sealed(number, &bytes);
                    self.send(Destination::Client(number), bytes);
                }
            }
            if !more {
                break;
            }
        }
        // Messages of one turn are one batch to the other workers too.
        let mut touched = vec![false; self.shards.len()];
        while let Some(output) = self.shards[worker].poll_output() {
            if let Output::Peer { worker: to, message } = output {
                self.shards[to as usize].handle_peer(self.now, &self.claims, worker as u32, message);
                touched[to as usize] = true;
            } else {
                self.route(worker, output);
            }
        }
        for worker in touched.iter().enumerate().filter_map(|(worker, touched)| touched.then_some(worker)) {
            self.settle(worker);
        }
    }

    fn note_sealed(&mut self, client: usize, bytes: &[u8]) {
        if let (demux::Packet::Rtp, Ok(header)) = (demux::classify(bytes), RtpHeader::parse(bytes)) {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            let hash = hasher.finish();
            let before = self.sealed.insert((client, header.ssrc, header.sequence), hash);
            self.resealed += u64::from(before.is_some_and(|before| before != hash));
        }
    }

    fn route(&mut self, worker: usize, output: Output) {
        match output {
            Output::Event(event) => self.events.push(event),
            Output::Claimed { transport } => {
                let client = &self.clients[self.transports[&transport.0]];
                let keys = client.server_keys();
                let input = HandshakeInput::Keys { transport, keys };
                self.shards[worker].handle_handshake(self.now, &self.claims, input);
                self.settle(worker);
            }
            Output::Peer { worker: to, message } => {
                self.shards[to as usize].handle_peer(self.now, &self.claims, worker as u32, message);
                self.settle(to as usize);
            }
            Output::FlowHere { remote } => {
                if self.assign_to.is_some() {
                    self.flows.insert(remote, worker as u32);
                }
            }
            Output::FlowGone { remote } => {
                self.flows.remove(&remote);
            }
            Output::Dtls { .. } | Output::Snapshot { .. } => {}
        }
    }

    fn flush_client(&mut self, number: usize) {
        let from = self.clients[number].address();
        let worker = self.flows.get(&from).copied().unwrap_or(self.clients[number].worker);
        while let Some(bytes) = self.clients[number].poll_transmit() {
            self.send(Destination::Host { worker, from }, bytes);
        }
    }

    fn send(&mut self, to: Destination, bytes: Vec<u8>) {
        if self.random.chance(self.link.loss) {
            return;
        }
        let jitter = Duration::from_micros(self.random.below(self.link.jitter.as_micros() + 1));
        self.order += 1;
        let at = self.now + self.link.delay + jitter;
        self.flights.push(Reverse(Flight { at, order: self.order, to, bytes }));
    }
}

/// Keys of one client, for both ends.
pub(crate) fn keys(profile: SrtpProfile, seed: u64) -> SrtpKeys {
    let mut random = Random::new(seed);
    let (key, salt) = match profile {
        SrtpProfile::AeadAes256Gcm => (32, 12),
        SrtpProfile::AeadAes128Gcm => (16, 12),
        SrtpProfile::Aes128CmSha1_80 | SrtpProfile::None => (16, 14),
    };
    let mut bytes = |len: usize| (0..len).map(|_| random.next() as u8).collect::<Vec<_>>();
    SrtpKeys {
        profile,
        local_key: bytes(key),
        local_salt: bytes(salt),
        remote_key: bytes(key),
        remote_salt: bytes(salt),
    }
}
