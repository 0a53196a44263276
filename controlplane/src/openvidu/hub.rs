//! All rooms and all RPC sessions, and the tasks that carry effects out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use controlplane_room::{EndReason, Error, Held, Input, Reply};
use dataplane_protocol::{Command, RemoveTransport};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument;

use super::compat;
use super::dto::SessionProperties;
use super::journal::{Journal, Restored};
use super::media::Media;
use super::methods;
use super::rest::Logins;
use super::room::{Respond, RoomHandle, Step};
use super::session::{Asked, Detached, Loss, RpcSession, Seat, Ticket};
use super::settings::Settings;
use crate::dataplane::Client;
use crate::eventlog::EventLog;
use crate::metrics::Metrics;
use crate::store::{Keeping, StoreError};

/// How long removals may take when everything is shut down.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(3);

/// How long events that have arrived may wait for more of them to be forgotten.
const TIDY: Duration = Duration::from_millis(5);

/// The adapter's state.
pub struct Hub {
    pub(super) settings: Settings,
    pub(super) media: Media,
    pub(crate) metrics: Metrics,
    pub(super) events: EventLog,
    pub(super) journal: Arc<Journal>,
    pub(super) logins: Logins,
    clock: Clock,
    rooms: Mutex<HashMap<String, Arc<RoomHandle>>>,
    sessions: Mutex<HashMap<String, Arc<RpcSession>>>,
}

/// Wall time that never goes back.
#[derive(Debug)]
struct Clock {
    started_unix_ms: u64,
    started: Instant,
}

impl Clock {
    fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started_unix_ms: since_epoch.as_millis() as u64, started: Instant::now() }
    }

    fn now_ms(&self) -> u64 {
        self.started_unix_ms + self.started.elapsed().as_millis() as u64
    }
}

impl Hub {
    /// A hub with the rooms of an earlier one. Call inside a tokio runtime: it watches the data plane and collects unused
    /// sessions.
    ///
    /// # Errors
    /// When what the earlier one wrote down cannot be read.
    pub fn start(
        settings: Settings,
        dataplane: Client,
        metrics: Metrics,
        events: EventLog,
        keeping: Keeping,
    ) -> Result<Arc<Self>, StoreError> {
        let clock = Clock::new();
        let restored = Restored::load(keeping, events.clone(), metrics.store.clone(), clock.now_ms())?;
        let Restored { journal, rooms, sessions, instance, lost_until } = restored;
        let hub = Arc::new(Self {
            settings,
            media: Media::new(dataplane),
            metrics,
            events,
            journal,
            clock,
            rooms: Mutex::new(rooms.iter().map(|room| (room.id.clone(), room.clone())).collect()),
            sessions: Mutex::new(sessions.iter().map(|(session, _)| (session.id.clone(), session.clone())).collect()),
            logins: Logins::default(),
        });
        if !rooms.is_empty() {
            tracing::info!(sessions = rooms.len(), connections = sessions.len(), "sessions of an earlier run go on");
        }
        for (session, requests) in sessions {
            tokio::spawn(work(hub.clone(), session, requests));
        }
        for room in rooms {
            hub.wake(&room, lost_until);
        }
        tokio::spawn(watch_dataplane(hub.clone(), instance));
        tokio::spawn(collect_garbage(hub.clone()));
        tokio::spawn(tidy(hub.journal.clone()));
        Ok(hub)
    }

    /// Ends all sessions; clients are told why.
    pub async fn stop(&self) {
        let rooms: Vec<_> = self.rooms().drain().map(|(_, room)| room).collect();
        let mut peers = Vec::new();
        for room in &rooms {
            let step = room.step(self.now_ms(), Input::Close { reason: EndReason::ServerStopping }, &mut |_, _| {});
            peers.extend(step.closing.into_iter().map(|(peer, _)| peer));
        }
        let removals = async {
            for room in &rooms {
                room.carry_out(&self.media).await;
            }
        };
        if tokio::time::timeout(SHUTDOWN_PATIENCE, removals).await.is_err() {
            tracing::warn!("the data plane did not take all removals before the end");
        }
        for peer in peers {
            peer.close(1001, "server stops");
        }
    }

    /// Forgets events that have arrived where they go.
    pub(crate) fn tidy(&self) {
        self.journal.tidy();
    }

    /// Sets the gauges to what is there now.
    pub(crate) fn measure(&self) {
        let rooms = self.all_rooms();
        let (mut connections, mut streams) = (0, 0);
        for room in &rooms {
            let inner = room.lock();
            connections += inner.room.visible().count() as i64;
            streams += inner.room.visible().filter(|p| p.stream.is_some()).count() as i64;
        }
        self.metrics.sessions.set(rooms.len() as i64);
        self.metrics.connections.set(connections);
        self.metrics.streams.set(streams);
    }

    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    pub(super) fn room(&self, id: &str) -> Option<Arc<RoomHandle>> {
        self.rooms().get(id).cloned()
    }

    /// All rooms, oldest first.
    pub(super) fn all_rooms(&self) -> Vec<Arc<RoomHandle>> {
        let mut rooms: Vec<_> = self.rooms().values().cloned().collect();
        rooms.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        rooms
    }

    /// A new room; `None` when the wanted id is taken.
    pub(super) fn create_room(&self, properties: SessionProperties) -> Option<Arc<RoomHandle>> {
        let mut rooms = self.rooms();
        let mut id = properties.custom_session_id.clone();
        if id.is_empty() {
            id = compat::session_id();
            while rooms.contains_key(&id) {
                id = compat::session_id();
            }
        } else if rooms.contains_key(&id) {
            return None;
        }
        let room = Arc::new(RoomHandle::new(id.clone(), self.now_ms(), properties, self.journal.clone()));
        // Nobody gets at it before it is written down.
        let mut inner = room.lock();
        rooms.insert(id, room.clone());
        drop(rooms);
        room.open(&mut inner);
        drop(inner);
        Some(room)
    }

    /// Applies an input, drives the data plane for it, and gives the room's answer. The room is free for others
    /// while the data plane works.
    pub(super) async fn perform(
        self: &Arc<Self>,
        room: &Arc<RoomHandle>,
        input: Input,
        respond: Respond<'_>,
    ) -> Result<Reply, Error> {
        let mut outcome = None;
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut step = room.step(self.now_ms(), input, respond);
            outcome = step.outcome.take().or(outcome);
            for (op, commands) in self.follow_up(room, step) {
                let result = self.media.run(commands).await;
                inputs.push_back(Input::Ran { op, result });
            }
        }
        outcome.unwrap_or(Ok(Reply::Done))
    }

    /// The same for callers that may be dropped half-way (REST handlers): the work goes on without them.
    pub(super) async fn perform_detached(
        self: &Arc<Self>,
        room: &Arc<RoomHandle>,
        input: Input,
    ) -> Result<Reply, Error> {
        let (hub, room) = (self.clone(), room.clone());
        let task = tokio::spawn(async move { hub.perform(&room, input, &mut |_, _| {}).await });
        task.await.unwrap_or(Err(Error::Closed))
    }

    /// Starts what a step left to do; gives back what its op waits for.
    fn follow_up(self: &Arc<Self>, room: &Arc<RoomHandle>, step: Step) -> Vec<(u64, Vec<Command>)> {
        if step.ended {
            let mut rooms = self.rooms();
            if rooms.get(&room.id).is_some_and(|current| Arc::ptr_eq(current, room)) {
                rooms.remove(&room.id);
            }
        }
        for (peer, after_ms) in step.closing {
            self.retire(peer, Duration::from_millis(after_ms));
        }
        if let Some(at) = step.wake_at {
            self.wake(room, at);
        }
        if step.has_changes {
            let (hub, room) = (self.clone(), room.clone());
            tokio::spawn(async move { room.carry_out(&hub.media).await });
        }
        for participant in step.lapsed {
            tracing::warn!(session = room.id, connection = participant, "too much was missed, participant evicted");
            let (hub, room) = (self.clone(), room.clone());
            tokio::spawn(async move {
                let _ = hub.perform(&room, Input::Lapse { participant }, &mut |_, _| {}).await;
            });
        }
        for reoffer in step.reoffers {
            let (hub, room) = (self.clone(), room.clone());
            tokio::spawn(async move { methods::reoffer(&hub, &room, reoffer).await });
        }
        step.ops
    }

    fn wake(self: &Arc<Self>, room: &Arc<RoomHandle>, at_ms: u64) {
        let (hub, room) = (self.clone(), room.clone());
        let wait = Duration::from_millis(at_ms.saturating_sub(self.now_ms()));
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let _ = hub.perform(&room, Input::Tick, &mut |_, _| {}).await;
        });
    }

    /// A participant has gone: its RPC session cannot come back, and its socket is closed if it does not do so itself.
    fn retire(self: &Arc<Self>, peer: Arc<RpcSession>, after: Duration) {
        self.sessions().remove(&peer.id);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            peer.close(1000, "");
            peer.ended.cancel();
        });
    }

    /// A new RPC session with the task that works on its requests.
    pub(super) fn new_session(self: &Arc<Self>, user: String, address: String) -> Arc<RpcSession> {
        let (session, requests) = RpcSession::new(compat::rpc_session_id(), user, address);
        self.sessions().insert(session.id.clone(), session.clone());
        tokio::spawn(work(self.clone(), session.clone(), requests));
        session
    }

    pub(super) fn session(&self, id: &str) -> Option<Arc<RpcSession>> {
        self.sessions().get(id).cloned()
    }

    /// A session has lost a socket.
    pub(super) async fn socket_lost(self: &Arc<Self>, session: &Arc<RpcSession>, generation: u64, loss: Loss) {
        let detached = session.detach(generation, loss);
        if detached == Detached::Replaced {
            return;
        }
        let Some(Seat { room, participant }) = session.seat.get() else { return self.forget(session) };
        let participant = || participant.clone();
        let input = match detached {
            Detached::Lapsed => Input::Lapse { participant: participant() },
            Detached::Lost | Detached::Replaced => Input::SocketLost { participant: participant() },
        };
        let _ = self.perform(room, input, &mut |_, _| {}).await;
        // It may have come back between its socket's end and this loss.
        if session.is_attached() {
            let _ = self.perform(room, Input::SocketBack { participant: participant() }, &mut |_, _| {}).await;
        }
    }

    /// A client ends its session without more ado.
    pub(super) async fn leave(self: &Arc<Self>, session: &Arc<RpcSession>) {
        if let Some(Seat { room, participant }) = session.seat.get() {
            let _ = self.perform(room, Input::Leave { participant: participant.clone() }, &mut |_, _| {}).await;
        }
        self.forget(session);
    }

    fn forget(&self, session: &RpcSession) {
        self.sessions().remove(&session.id);
        session.ended.cancel();
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<String, Arc<RoomHandle>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<RpcSession>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works on a session's requests, one after the other, until it has ended.
async fn work(hub: Arc<Hub>, session: Arc<RpcSession>, mut requests: mpsc::Receiver<Asked>) {
    loop {
        let asked = tokio::select! {
            asked = requests.recv() => asked,
            () = session.ended.cancelled() => None,
        };
        let Some((request, generation)) = asked else { break };
        let ticket = Arc::new(Ticket::new(session.clone(), generation, request.id.clone()));
        let span = tracing::info_span!("signalling", method = methods::known(&request.method), id = %request.id);
        let task = {
            let (hub, session, ticket) = (hub.clone(), session.clone(), ticket.clone());
            async move { methods::handle(&hub, &session, &ticket, request).await }
        };
        // A task of its own, so that a panic costs this request and not the client.
        let _ = tokio::spawn(task.instrument(span)).await;
        // Without effect on a request that has its answer.
        ticket.refuse(-32603, "Internal error");
        // Whoever joined on a socket that has ended meanwhile cannot know it.
        if !session.is_attached()
            && let Some(Seat { room, participant }) = session.seat.get()
            && room.lock().room.participant(participant).is_some_and(|me| me.lost_until.is_none())
        {
            let input = Input::SocketLost { participant: participant.clone() };
            let _ = hub.perform(room, input, &mut |_, _| {}).await;
        }
    }
}

/// Tells the rooms when the data plane comes back as another process, and catches up on removals when it is the same.
/// `last` is the one that an earlier control plane worked with.
async fn watch_dataplane(hub: Arc<Hub>, mut last: Option<u64>) {
    let mut watch = hub.media.watch();
    let mut is_first = true;
    loop {
        let instance = watch.borrow_and_update().as_ref().map(|hello| hello.instance);
        if let Some(instance) = instance {
            let removals = hub.media.take_orphans();
            if last.is_some_and(|last| last != instance) {
                tracing::warn!("the data plane restarted: its streams are ended");
                for room in hub.all_rooms() {
                    let _ = hub.perform(&room, Input::MediaRestarted, &mut |_, _| {}).await;
                }
            } else if !is_first {
                // Whatever was to be removed before the first connection is nobody's, and is found out below.
                hub.media.clean_up(removals).await;
            }
            if last != Some(instance) {
                hub.journal.write_instance(instance);
            }
            last = Some(instance);
            if std::mem::take(&mut is_first) {
                take_over(&hub).await;
            }
        }
        if watch.changed().await.is_err() {
            return;
        }
    }
}

/// Makes what the data plane holds and what the rooms hold one, before anything is asked of it.
async fn take_over(hub: &Arc<Hub>) {
    let Some(snapshot) = hub.media.last_snapshot() else { return hub.media.open() };
    let held = Held::new(snapshot.subscriptions.iter().map(|s| (s.subscription, s.transport, s.track)));
    let rooms = hub.all_rooms();
    let astray: Vec<Command> = rooms.iter().flat_map(|room| room.reconcile(hub.now_ms(), &held)).collect();
    let known: HashSet<u64> = rooms.iter().flat_map(|room| room.lock().room.transports().collect::<Vec<_>>()).collect();
    let (kept, orphans): (Vec<u64>, Vec<u64>) =
        snapshot.transports.iter().map(|info| info.transport).partition(|transport| known.contains(transport));
    if !snapshot.transports.is_empty() {
        tracing::info!(transports = kept.len(), removed = orphans.len(), moved = astray.len(), "taken over");
    }
    hub.media.settle(astray).await;
    hub.media
        .settle(orphans.into_iter().map(|transport| Command::RemoveTransport(RemoveTransport { transport })))
        .await;
    hub.media.open();
}

/// Forgets events that have arrived, when no session does anything.
async fn tidy(journal: Arc<Journal>) {
    loop {
        journal.arrival().await;
        // What arrives together goes together.
        tokio::time::sleep(TIDY).await;
        journal.tidy();
    }
}

/// Drops sessions that nobody has joined for too long, as silently as OpenVidu does.
async fn collect_garbage(hub: Arc<Hub>) {
    let Settings { garbage_interval_s, garbage_threshold_s, .. } = hub.settings;
    if garbage_interval_s == 0 {
        return;
    }
    let mut interval = tokio::time::interval(Duration::from_secs(garbage_interval_s));
    loop {
        interval.tick().await;
        let oldest = hub.now_ms().saturating_sub(garbage_threshold_s * 1000);
        for room in hub.all_rooms().into_iter().filter(|room| room.created_at < oldest) {
            if room.lock().room.participants().is_empty() {
                let input = Input::Close { reason: EndReason::Unused };
                let _ = hub.perform(&room, input, &mut |_, _| {}).await;
            }
        }
    }
}
