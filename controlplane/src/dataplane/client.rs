//! The client: a cheap handle over one background task that owns the connection.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use dataplane_protocol::{
    Command, CreateTransport, ErrorCode, Event, HelloReply, Message, Outcome, Publish, RemoteParameters,
    RemoveTransport, Reply, SetRemote, Snapshot, SnapshotRequest, Stats, StatsRequest, Subscribe, SubscriptionId,
    TrackId, TransportEvent, TransportId, Unpublish, Unsubscribe,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::connection::{Connection, ConnectionError};
use super::{CallError, Holdings};

/// First pause before connecting again; doubles up to [`BACK_OFF_MAX`]. The socket is local: trying is cheap.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// Longest introduction, and longest silence to a counters request before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait of a caller: browsers give up on a request after 10 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const STATS_INTERVAL: Duration = Duration::from_secs(1);
/// Commands waiting to be written.
const QUEUE: usize = 256;
/// Commands written and not yet answered.
const MAX_IN_FLIGHT: usize = 1024;
/// Notices kept for a slow listener: a restart of a data plane with 1,000 transports makes some 3,000.
const NOTICES: usize = 8192;

/// Something that the data plane, or the connection to it, does by itself.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A connection is ready for calls.
    Connected {
        /// What the data plane said of itself.
        hello: Arc<HelloReply>,
        /// It is another process than at the last connection: what was created before is gone.
        restarted: bool,
        /// What it holds.
        holdings: Arc<Holdings>,
    },
    /// The connection ended. Media goes on without it.
    Disconnected,
    /// A transport changed its state.
    Transport(TransportEvent),
}

/// A handle to one data plane. Clones share the connection, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Client {
    requests: mpsc::Sender<Request>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hello: watch::Sender<Option<Arc<HelloReply>>>,
    stats: watch::Sender<Option<Arc<Stats>>>,
    notices: broadcast::Sender<Notice>,
    snapshot: RwLock<Option<Arc<Snapshot>>>,
}

#[derive(Debug)]
struct Request {
    command: Command,
    reply: oneshot::Sender<Result<Outcome, CallError>>,
}

impl Client {
    /// Starts connecting to a socket, and keeps at it. Must be called within a tokio runtime.
    pub fn spawn(socket: PathBuf) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            hello: watch::Sender::new(None),
            stats: watch::Sender::new(None),
            notices: broadcast::Sender::new(NOTICES),
            snapshot: RwLock::new(None),
        });
        let task = Task { socket, queue, shared: Arc::clone(&shared), created: HashSet::new(), instance: None };
        tokio::spawn(task.run());
        Self { requests, shared }
    }

    /// What the data plane said of itself; `None` while there is no connection. A change of
    /// [`HelloReply::instance`] is a restart.
    pub fn hello(&self) -> watch::Receiver<Option<Arc<HelloReply>>> {
        self.shared.hello.subscribe()
    }

    /// The last counters, asked for every second; `None` while there is no connection.
    pub fn stats(&self) -> watch::Receiver<Option<Arc<Stats>>> {
        self.shared.stats.subscribe()
    }

    /// Everything that happens from now on. A listener that lags by thousands of notices is told so by the channel, and
    /// should ask for a [`Self::snapshot`].
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.shared.notices.subscribe()
    }

    /// What the data plane held at the last connection or call of [`Self::snapshot`].
    pub fn last_snapshot(&self) -> Option<Arc<Snapshot>> {
        self.shared.snapshot.read().map_or(None, |snapshot| snapshot.clone())
    }

    /// Waits until there is a connection, and gives what the data plane said of itself; `None` when the client ended.
    pub async fn connected(&self) -> Option<Arc<HelloReply>> {
        let mut hello = self.hello();
        hello.wait_for(Option::is_some).await.ok().and_then(|hello| hello.clone())
    }

    /// Sends one command and waits for its reply. Any number of calls may be under way.
    ///
    /// # Errors
    /// [`CallError`]; at once when there is no connection, after 5 s when no reply came.
    pub async fn call(&self, command: Command) -> Result<Outcome, CallError> {
        if self.shared.hello.borrow().is_none() {
            return Err(CallError::NotConnected);
        }
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.requests.send(Request { command, reply }).await.map_err(|_| CallError::NotConnected)?;
            answer.await.unwrap_or(Err(CallError::Interrupted))
        };
        timeout(CALL_TIMEOUT, exchange).await.unwrap_or(Err(CallError::TimedOut))
    }

    /// Makes a client path known.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn create_transport(&self, command: CreateTransport) -> Result<(), CallError> {
        self.done(Command::CreateTransport(command)).await
    }

    /// Gives the client's end of a transport.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn set_remote(&self, transport: TransportId, remote: RemoteParameters) -> Result<(), CallError> {
        self.done(Command::SetRemote(SetRemote { transport: transport.0, remote: Some(remote) })).await
    }

    /// Ends a client path with its tracks and subscriptions.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn remove_transport(&self, transport: TransportId) -> Result<(), CallError> {
        self.done(Command::RemoveTransport(RemoveTransport { transport: transport.0 })).await
    }

    /// Announces a track.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn publish(&self, command: Publish) -> Result<(), CallError> {
        self.done(Command::Publish(command)).await
    }

    /// Ends a track and its subscriptions.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn unpublish(&self, track: TrackId) -> Result<(), CallError> {
        self.done(Command::Unpublish(Unpublish { track: track.0 })).await
    }

    /// Sends a track to a client.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn subscribe(&self, command: Subscribe) -> Result<(), CallError> {
        self.done(Command::Subscribe(command)).await
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn unsubscribe(&self, subscription: SubscriptionId) -> Result<(), CallError> {
        self.done(Command::Unsubscribe(Unsubscribe { subscription: subscription.0 })).await
    }

    /// Asks for everything that the data plane holds now.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, CallError> {
        match self.call(Command::Snapshot(SnapshotRequest {})).await? {
            Outcome::Snapshot(snapshot) => Ok(self.shared.keep(snapshot)),
            _ => Err(CallError::UnexpectedReply),
        }
    }

    async fn done(&self, command: Command) -> Result<(), CallError> {
        match self.call(command).await? {
            Outcome::Done(_) => Ok(()),
            _ => Err(CallError::UnexpectedReply),
        }
    }
}

impl Shared {
    fn keep(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        if let Ok(mut kept) = self.snapshot.write() {
            *kept = Some(Arc::clone(&snapshot));
        }
        snapshot
    }

    fn notify(&self, notice: Notice) {
        // Nobody listening is no error.
        let _ = self.notices.send(notice);
    }

    fn event(&self, event: Event) {
        if let Some(transport) = event.transport {
            self.notify(Notice::Transport(transport));
        }
    }
}

/// Owns the connection.
struct Task {
    socket: PathBuf,
    queue: mpsc::Receiver<Request>,
    shared: Arc<Shared>,
    /// Transports that this control plane created and did not remove.
    created: HashSet<TransportId>,
    /// Of the data plane, at the last connection.
    instance: Option<u64>,
}

/// Who waits for a reply.
enum Waiting {
    Caller { reply: oneshot::Sender<Result<Outcome, CallError>>, change: Option<Change> },
    Stats,
}

/// What a success changes about the transports that this control plane owns.
#[derive(Clone, Copy)]
enum Change {
    Created(TransportId),
    Removed(TransportId),
}

/// Why serving ended.
enum End {
    /// Connect again.
    Connection(ConnectionError),
    /// Every [`Client`] is gone.
    Unused,
}

impl Task {
    async fn run(mut self) {
        let mut pause = BACK_OFF_MIN;
        let mut quiet = false;
        loop {
            let end = self.connect_and_serve(&mut pause, &mut quiet).await;
            self.shared.stats.send_replace(None);
            if self.shared.hello.send_replace(None).is_some() {
                self.shared.notify(Notice::Disconnected);
            }
            match end {
                End::Unused => return,
                End::Connection(error) if quiet => tracing::debug!(%error, "the data plane is still away"),
                End::Connection(error) => {
                    quiet = true;
                    tracing::warn!(%error, socket = %self.socket.display(), "the data plane is not connected");
                }
            }
            if !self.refuse_while_away(pause).await {
                return;
            }
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
    }

    /// Answers callers for the length of a pause; false when every handle is gone.
    async fn refuse_while_away(&mut self, pause: Duration) -> bool {
        let pause = sleep(pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return true,
                request = self.queue.recv() => match request {
                    Some(request) => drop(request.reply.send(Err(CallError::NotConnected))),
                    None => return false,
                },
            }
        }
    }

    async fn connect_and_serve(&mut self, pause: &mut Duration, quiet: &mut bool) -> End {
        let introduction = timeout(PATIENCE, async {
            let mut connection = Connection::open(&self.socket).await?;
            let introduction = connection.introduce().await?;
            Ok((connection, introduction))
        });
        let (connection, introduction) = match introduction.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return End::Connection(error),
            Err(_) => return End::Connection(ConnectionError::TimedOut),
        };
        *pause = BACK_OFF_MIN;
        *quiet = false;
        let hello = Arc::new(introduction.hello);
        let restarted = self.instance.replace(hello.instance).is_some_and(|before| before != hello.instance);
        let holdings = Holdings::compare(&introduction.snapshot, &self.created);
        tracing::info!(software = %hello.software, workers = hello.workers, restarted, "connected to the data plane");
        holdings.log();
        for lost in &holdings.lost {
            self.created.remove(lost);
        }
        self.shared.keep(introduction.snapshot);
        self.shared.hello.send_replace(Some(Arc::clone(&hello)));
        self.shared.notify(Notice::Connected { hello, restarted, holdings: Arc::new(holdings) });
        for event in introduction.events {
            self.shared.event(event);
        }
        self.serve(connection).await
    }

    async fn serve(&mut self, mut connection: Connection) -> End {
        let mut waiting: HashMap<u64, Waiting> = HashMap::new();
        let mut ticks = interval(STATS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked: Option<Instant> = None;
        loop {
            tokio::select! {
                message = connection.next() => match message {
                    Ok(Message::Event(event)) => self.shared.event(event),
                    Ok(Message::Reply(reply)) => {
                        let Some(waiter) = waiting.remove(&reply.request_id) else { continue };
                        if matches!(waiter, Waiting::Stats) {
                            asked = None;
                        }
                        self.answer(waiter, reply);
                    }
                    // Dropping the waiters tells their callers.
                    Err(error) => return End::Connection(error),
                },
                request = self.queue.recv(), if waiting.len() < MAX_IN_FLIGHT => {
                    let Some(Request { command, reply }) = request else { return End::Unused };
                    let change = Change::of(&command);
                    let id = connection.queue(command);
                    waiting.insert(id, Waiting::Caller { reply, change });
                }
                now = ticks.tick() => match asked {
                    Some(at) if now.duration_since(at) > PATIENCE => return End::Connection(ConnectionError::TimedOut),
                    Some(_) => {}
                    None => {
                        asked = Some(now);
                        waiting.insert(connection.queue(Command::Stats(StatsRequest {})), Waiting::Stats);
                    }
                },
            }
        }
    }

    fn answer(&mut self, waiter: Waiting, reply: Reply) {
        match (waiter, reply.outcome) {
            (Waiting::Stats, Some(Outcome::Stats(stats))) => {
                self.shared.stats.send_replace(Some(Arc::new(stats)));
            }
            (Waiting::Stats, outcome) => tracing::warn!(?outcome, "no counters from the data plane"),
            (Waiting::Caller { reply, change }, outcome) => {
                if let (Some(change), Some(outcome)) = (change, &outcome) {
                    change.apply(outcome, &mut self.created);
                }
                let result = match outcome {
                    Some(Outcome::Failure(failure)) => Err(CallError::Refused(failure)),
                    Some(outcome) => Ok(outcome),
                    None => Err(CallError::UnexpectedReply),
                };
                // A caller that gave up does not listen any more.
                let _ = reply.send(result);
            }
        }
    }
}

impl Change {
    fn of(command: &Command) -> Option<Self> {
        match command {
            Command::CreateTransport(create) => Some(Self::Created(TransportId(create.transport))),
            Command::RemoveTransport(remove) => Some(Self::Removed(TransportId(remove.transport))),
            _ => None,
        }
    }

    fn apply(self, outcome: &Outcome, created: &mut HashSet<TransportId>) {
        match (self, outcome) {
            (Self::Created(id), Outcome::Done(_)) => drop(created.insert(id)),
            (Self::Removed(id), Outcome::Done(_)) => drop(created.remove(&id)),
            (Self::Removed(id), Outcome::Failure(f)) if f.code() == ErrorCode::NotFound => drop(created.remove(&id)),
            _ => {}
        }
    }
}
