//! The control plane's side: a Unix socket, the table of what there is, and the way to the workers.
//!
//! One task holds everything. It takes the commands of all connections in the order of their arrival, applies
//! each to the [`Registry`], hands what follows to all workers, and answers the requester. Nothing here is on
//! the packet path, and nothing that workers hold depends on a connection: a client that goes away leaves
//! everything as it is.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dataplane_core::{Registry, RegistryLimits, ShardCommand, ShardSnapshot};
use dataplane_protocol::{
    Command, Done, ErrorCode, Event, Failure, FromDataPlane, HelloReply, Message, Outcome, Reply, Stats, ToDataPlane,
    TransportId, WorkerStats, encode,
};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::handoff::{ClaimTable, Report, WorkerPort};
use crate::handshake;
use crate::placement::Placement;
use crate::telemetry::HandshakeCounters;
use crate::worker::Clock;

mod connection;
mod socket;

use connection::{Connection, ConnectionId, Inbound};
pub(crate) use socket::ControlSocket;

/// Most connections at a time: a control plane, its successor, and a few tools.
const MAX_CONNECTIONS: usize = 16;
/// Commands that wait for this task at most; beyond it connections are not read.
const INBOUND_QUEUE: usize = 256;
/// Reports of workers that wait for this task at most.
pub(crate) const REPORT_QUEUE: usize = 16_384;
/// Most snapshots being gathered at a time.
const MAX_GATHERS: usize = 64;
/// Longest wait for the workers' parts of a snapshot.
const GATHER_TIMEOUT: Duration = Duration::from_secs(2);
/// Wait before a full worker queue, or a listener out of descriptors, is tried again.
const RETRY: Duration = Duration::from_millis(1);

/// Everything the control thread is given.
pub(crate) struct Setup {
    pub(crate) hello: HelloReply,
    pub(crate) clock: Clock,
    pub(crate) limits: RegistryLimits,
    pub(crate) workers: Vec<WorkerPort>,
    /// Chooses the workers of new transports; without it the first check does.
    pub(crate) placement: Option<Placement>,
    pub(crate) claims: Arc<ClaimTable>,
    pub(crate) handshakes: mpsc::Sender<handshake::Input>,
    pub(crate) handshake_counters: Arc<HandshakeCounters>,
    pub(crate) reports: mpsc::Receiver<Report>,
}

/// Serves the socket on the calling thread until `stop` completes. The socket's file is removed at the end.
///
/// # Errors
/// When the runtime cannot be made or the listener not be registered with it.
pub(crate) fn run(setup: Setup, socket: ControlSocket, stop: oneshot::Receiver<()>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = UnixListener::from_std(socket.listener()?)?;
        let (inbound_tx, inbound) = mpsc::channel(INBOUND_QUEUE);
        let mut control = Control::new(setup, inbound_tx);
        tokio::select! {
            () = control.serve(&listener, inbound) => {}
            _ = stop => {}
        }
        Ok(())
    })
}

struct Control {
    hello: HelloReply,
    clock: Clock,
    registry: Registry,
    workers: Vec<WorkerPort>,
    placement: Option<Placement>,
    claims: Arc<ClaimTable>,
    handshakes: mpsc::Sender<handshake::Input>,
    handshake_counters: Arc<HandshakeCounters>,
    reports: mpsc::Receiver<Report>,
    inbound_tx: mpsc::Sender<Inbound>,
    connections: BTreeMap<ConnectionId, Connection>,
    next_connection: ConnectionId,
    /// Commands given to each worker so far.
    broadcast: u64,
    /// Slots of removed transports, each with the value of `broadcast` after its removal.
    retired: VecDeque<(u64, u32)>,
    gathers: BTreeMap<u64, Gather>,
    next_gather: u64,
    commands: u64,
    commands_failed: u64,
}

/// A snapshot that waits for parts.
struct Gather {
    connection: ConnectionId,
    request_id: u64,
    is_stats_only: bool,
    parts: Vec<ShardSnapshot>,
    deadline: Instant,
}

impl Control {
    fn new(setup: Setup, inbound_tx: mpsc::Sender<Inbound>) -> Self {
        Self {
            hello: setup.hello,
            clock: setup.clock,
            registry: Registry::new(setup.limits),
            workers: setup.workers,
            placement: setup.placement,
            claims: setup.claims,
            handshakes: setup.handshakes,
            handshake_counters: setup.handshake_counters,
            reports: setup.reports,
            inbound_tx,
            connections: BTreeMap::new(),
            next_connection: 0,
            broadcast: 0,
            retired: VecDeque::new(),
            gathers: BTreeMap::new(),
            next_gather: 0,
            commands: 0,
            commands_failed: 0,
        }
    }

    async fn serve(&mut self, listener: &UnixListener, mut inbound: mpsc::Receiver<Inbound>) {
        loop {
            // Gathers have one time-out, so that the oldest is due first.
            let due = self.gathers.values().next().map(|gather| gather.deadline);
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.open(stream),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a control connection");
                        tokio::time::sleep(RETRY).await;
                    }
                },
                Some(message) = inbound.recv() => match message {
                    Inbound::Command(connection, command) => self.command(connection, command).await,
                    Inbound::Closed(connection) => self.close(connection, "by its client"),
                },
                Some(report) = self.reports.recv() => self.report(report),
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.expire(),
            }
        }
    }

    fn open(&mut self, stream: tokio::net::UnixStream) {
        if self.connections.len() >= MAX_CONNECTIONS {
            tracing::warn!(bound = MAX_CONNECTIONS, "refused a control connection: too many");
            return;
        }
        let id = self.next_connection;
        self.next_connection += 1;
        self.connections.insert(id, Connection::open(id, stream, self.inbound_tx.clone()));
        tracing::debug!(connection = id, "control connection opened");
    }

    fn close(&mut self, id: ConnectionId, why: &str) {
        if self.connections.remove(&id).is_some() {
            tracing::info!(connection = id, why, "control connection closed");
        }
    }

    fn give_up(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(&id) {
            connection.give_up();
        }
        self.close(id, "it does not read");
    }

    async fn command(&mut self, connection: ConnectionId, frame: ToDataPlane) {
        self.commands += 1;
        let outcome = match frame.command {
            None => Err(Failure::new(ErrorCode::Unsupported, "the command is unknown to this data plane")),
            Some(Command::Hello(hello)) => Ok(Some(self.hello(connection, &hello))),
            Some(_) if !self.has_said_hello(connection) => {
                Err(Failure::new(ErrorCode::HelloFirst, "the first command must be Hello"))
            }
            Some(Command::Snapshot(_)) => self.gather(connection, frame.request_id, false).await.map(|()| None),
            Some(Command::Stats(_)) => self.gather(connection, frame.request_id, true).await.map(|()| None),
            Some(command) => self.apply(command).await.map(|()| Some(Outcome::Done(Done {}))),
        };
        match outcome {
            Ok(None) => {}
            Ok(Some(outcome)) => self.reply(connection, frame.request_id, outcome),
            Err(failure) => {
                self.commands_failed += 1;
                tracing::debug!(connection, %failure, "refused a command");
                self.reply(connection, frame.request_id, Outcome::Failure(failure));
            }
        }
    }

    fn hello(&mut self, id: ConnectionId, hello: &dataplane_protocol::Hello) -> Outcome {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.has_said_hello = true;
        }
        tracing::info!(connection = id, version = hello.version, software = hello.software, "control plane connected");
        Outcome::Hello(self.hello.clone())
    }

    fn has_said_hello(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.has_said_hello)
    }

    /// Enters a command into the table and hands what follows to all.
    async fn apply(&mut self, command: Command) -> Result<(), Failure> {
        self.reclaim_slots();
        let applied = self.registry.apply(command)?;
        // The handshake thread must know a transport before a worker can claim it.
        for command in &applied.commands {
            match command {
                ShardCommand::CreateTransport { slot, spec } => {
                    let transport = spec.transport.into();
                    if let Some(placement) = &mut self.placement {
                        self.claims.assign(*slot, placement.place(transport, spec.near.map(TransportId)));
                    }
                    self.tell(handshake::Input::Create { transport, remote: spec.remote.clone() }).await;
                }
                ShardCommand::SetRemote { transport, remote } => {
                    let (transport, remote) = (*transport, remote.clone());
                    self.tell(handshake::Input::SetRemote { transport, remote }).await;
                }
                ShardCommand::RemoveTransport(transport) => {
                    if let Some(placement) = &mut self.placement {
                        placement.remove(*transport);
                    }
                    self.tell(handshake::Input::Remove { transport: *transport }).await;
                }
                ShardCommand::Publish(_)
                | ShardCommand::Unpublish(_)
                | ShardCommand::Subscribe(_)
                | ShardCommand::Unsubscribe(_)
                | ShardCommand::Retarget(_)
                | ShardCommand::Snapshot { .. } => {}
            }
        }
        self.hand_out(&applied.commands).await;
        self.retired.extend(applied.retired_slot.map(|slot| (self.broadcast, slot)));
        Ok(())
    }

    async fn tell(&self, input: handshake::Input) {
        if self.handshakes.send(input).await.is_err() {
            tracing::error!("the handshake thread is gone");
        }
    }

    /// Gives commands to every worker, in order; waits while a queue is full.
    async fn hand_out(&mut self, commands: &[ShardCommand]) {
        while !self.workers.iter().all(|worker| worker.has_room(commands.len())) {
            tokio::time::sleep(RETRY).await;
        }
        for worker in &self.workers {
            for command in commands {
                if !worker.command(command.clone()) {
                    tracing::error!("a worker is gone");
                }
            }
            worker.ring();
        }
        self.broadcast += commands.len() as u64;
    }

    /// Makes slots usable again whose removal every worker has carried out: from then on no shard looks at
    /// the old claim, and none can know the slot's next transport before it is created.
    fn reclaim_slots(&mut self) {
        let done = self.workers.iter().map(WorkerPort::commands_done).min().unwrap_or(self.broadcast);
        while let Some((removed_at, slot)) = self.retired.front().copied()
            && removed_at <= done
        {
            self.claims.reset(slot);
            self.registry.release_slot(slot);
            self.retired.pop_front();
        }
    }

    async fn gather(&mut self, connection: ConnectionId, request_id: u64, is_stats_only: bool) -> Result<(), Failure> {
        if self.gathers.len() >= MAX_GATHERS {
            return Err(Failure::new(ErrorCode::Full, format!("snapshots under way: at the bound of {MAX_GATHERS}")));
        }
        let token = self.next_gather;
        self.next_gather += 1;
        let deadline = Instant::now() + GATHER_TIMEOUT;
        self.gathers.insert(token, Gather { connection, request_id, is_stats_only, parts: Vec::new(), deadline });
        self.hand_out(&[ShardCommand::Snapshot { token }]).await;
        Ok(())
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Event(event) => {
                self.announce(&FromDataPlane { message: Some(Message::Event(Event { transport: Some(event) })) });
            }
            Report::Snapshot { token, part } => {
                let Some(gather) = self.gathers.get_mut(&token) else { return };
                gather.parts.push(*part);
                if gather.parts.len() == self.workers.len()
                    && let Some(gather) = self.gathers.remove(&token)
                {
                    self.finish(gather);
                }
            }
        }
    }

    fn finish(&mut self, gather: Gather) {
        let mut workers: Vec<_> = gather.parts.iter().map(|part| part.stats.clone()).collect();
        workers.sort_by_key(|stats| stats.worker);
        let stats = self.stats(workers);
        let outcome = if gather.is_stats_only {
            Outcome::Stats(stats)
        } else {
            let mut snapshot = self.registry.snapshot(gather.parts);
            snapshot.stats = Some(stats);
            Outcome::Snapshot(snapshot)
        };
        self.reply(gather.connection, gather.request_id, outcome);
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(oldest) = self.gathers.first_entry()
            && oldest.get().deadline <= now
        {
            let gather = oldest.remove();
            self.commands_failed += 1;
            let (answered, all) = (gather.parts.len(), self.workers.len());
            tracing::error!(answered, all, "a snapshot timed out");
            let failure = Failure::new(ErrorCode::Internal, format!("{answered} of {all} workers answered in time"));
            self.reply(gather.connection, gather.request_id, Outcome::Failure(failure));
        }
    }

    fn stats(&self, workers: Vec<WorkerStats>) -> Stats {
        let handshakes = &self.handshake_counters;
        Stats {
            workers,
            handshakes_started: HandshakeCounters::read(&handshakes.started),
            handshakes_completed: HandshakeCounters::read(&handshakes.completed),
            handshakes_failed: HandshakeCounters::read(&handshakes.failed),
            handshakes_active: HandshakeCounters::read(&handshakes.active),
            handshakes_refused: HandshakeCounters::read(&handshakes.refused),
            transports: self.registry.transports() as u64,
            tracks: self.registry.tracks() as u64,
            subscriptions: self.registry.subscriptions() as u64,
            commands: self.commands,
            commands_failed: self.commands_failed,
            control_connections: self.connections.len() as u64,
            uptime_ms: self.clock.elapsed().as_millis() as u64,
        }
    }

    fn reply(&mut self, to: ConnectionId, request_id: u64, outcome: Outcome) {
        let reply = Reply { request_id, outcome: Some(outcome) };
        let frame = framed(&FromDataPlane { message: Some(Message::Reply(reply)) });
        if self.connections.get(&to).is_some_and(|connection| !connection.send(frame)) {
            self.give_up(to);
        }
    }

    fn announce(&mut self, message: &FromDataPlane) {
        let frame = framed(message);
        let is_stuck = |connection: &Connection| connection.has_said_hello && !connection.send(frame.clone());
        let stuck: Vec<_> =
            self.connections.iter().filter(|(_, connection)| is_stuck(connection)).map(|(id, _)| *id).collect();
        for id in stuck {
            self.give_up(id);
        }
    }
}

fn framed(message: &FromDataPlane) -> Bytes {
    let mut frame = BytesMut::new();
    encode(message, &mut frame);
    frame.freeze()
}
