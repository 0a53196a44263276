//! One room at work: the pure model behind a short lock, and the sockets that its effects go to.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Utf8Bytes;
use controlplane_room::{Effect, EndReason, Error, Input, Reply, Room};
use dataplane_protocol::Command;

use super::compat::RandomIds;
use super::dto::{self, ConnectionProperties, SessionProperties};
use super::endpoints::Endpoints;
use super::events::Session;
use super::media::Media;
use super::session::RpcSession;
use crate::eventlog::{EventLog, Record};
use crate::sdp::{PublishedMedia, SubscribePlan};

/// A session of OpenVidu.
#[derive(Debug)]
pub(super) struct RoomHandle {
    pub(super) id: String,
    pub(super) created_at: u64,
    pub(super) properties: SessionProperties,
    events: EventLog,
    inner: Mutex<Inner>,
}

/// What the lock guards. It is held for one step, never across an await.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) room: Room,
    /// Sockets of participants, until their close effect.
    pub(super) peers: HashMap<String, Arc<RpcSession>>,
    /// What was negotiated with publishers, by stream id.
    pub(super) published: HashMap<String, Negotiated>,
    /// Offers that wait for an answer, by subscriber, then by stream.
    offers: HashMap<String, HashMap<String, SubscribePlan>>,
    /// What REST said of connections, by connection id.
    pub(super) connections: HashMap<String, Arc<ConnectionProperties>>,
    /// What was said about media paths.
    pub(super) endpoints: Endpoints,
    /// Changes and removals for the data plane that are not carried out yet, in order.
    changes: VecDeque<Vec<Command>>,
    /// Somebody carries them out.
    is_changing: bool,
}

/// What was negotiated with a publisher.
#[derive(Clone, Debug)]
pub(super) struct Negotiated {
    pub(super) media: Arc<Vec<PublishedMedia>>,
    /// It gets its own stream back, also over its next transport.
    pub(super) loopback: bool,
}

/// What is left to do after a step.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) outcome: Option<Result<Reply, Error>>,
    /// What is to be made, with the number to tell the room how it went.
    pub(super) ops: Vec<(u64, Vec<Command>)>,
    /// The caller is to see to it that [`RoomHandle::carry_out`] runs.
    pub(super) has_changes: bool,
    pub(super) wake_at: Option<u64>,
    pub(super) ended: bool,
    pub(super) closing: Vec<(Arc<RpcSession>, u64)>,
    /// Participants who missed more than is kept for them.
    pub(super) lapsed: Vec<String>,
    pub(super) reoffers: Vec<Reoffer>,
}

/// A subscription that cannot follow its stream.
#[derive(Debug)]
pub(super) struct Reoffer {
    pub(super) participant: String,
    pub(super) publisher: String,
    pub(super) stream: String,
}

/// Answers a request while the room is locked, so that the answer takes its place among the notifications.
pub(super) type Respond<'a> = &'a mut (dyn FnMut(&mut Inner, &Reply) + Send);

impl RoomHandle {
    /// A new session, of which the event log is told.
    pub(super) fn new(id: String, created_at: u64, properties: SessionProperties, events: EventLog) -> Self {
        let inner = Inner {
            room: Room::new(id.clone()),
            peers: HashMap::new(),
            published: HashMap::new(),
            offers: HashMap::new(),
            connections: HashMap::new(),
            endpoints: Endpoints::default(),
            changes: VecDeque::new(),
            is_changing: false,
        };
        let room = Self { id, created_at, properties, events, inner: Mutex::new(inner) };
        room.record(|session| session.created());
        room
    }

    /// Tells the event log, when there is one. Under the lock, so that events keep the order of the room.
    fn record(&self, record: impl FnOnce(Session<'_>) -> Record) {
        if self.events.is_on() {
            self.events.record(record(Session { id: &self.id, created_at: self.created_at }));
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic inside a step is a bug of that step; the room's own invariants hold between effects.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies one input and carries out, in order, what can be done at once.
    pub(super) fn step(&self, now_ms: u64, input: Input, respond: Respond<'_>) -> Step {
        let mut inner = self.lock();
        let mut has_removed = matches!(input, Input::Remove { .. } | Input::MediaRestarted);
        let effects = inner.room.apply(now_ms, &mut RandomIds, input);
        let mut step = Step::default();
        for effect in effects {
            match effect {
                Effect::Reply(outcome) => {
                    if let Ok(reply) = &outcome {
                        respond(&mut inner, reply);
                    }
                    step.outcome = Some(outcome);
                }
                Effect::Notify { to, notice } => {
                    if let Some(text) = dto::notice(&inner.room, &notice) {
                        step.lapsed.extend(inner.notify(to, &text.into()));
                    }
                }
                Effect::Run(run) => match run.op {
                    Some(op) => step.ops.push((op, run.commands)),
                    None => {
                        has_removed = true;
                        inner.changes.push_back(run.commands);
                    }
                },
                Effect::CloseSocket { participant, after_ms } => {
                    has_removed = true;
                    if let Some(peer) = inner.peers.remove(&participant) {
                        step.closing.push((peer, after_ms));
                    }
                }
                Effect::Reoffer { participant, publisher, stream } => {
                    step.reoffers.push(Reoffer { participant, publisher, stream });
                }
                Effect::Event(event) => self.record(|session| session.happened(now_ms, &event)),
                Effect::WakeAt(at) => step.wake_at = Some(step.wake_at.map_or(at, |earlier| earlier.min(at))),
                Effect::Ended { reason } => {
                    step.ended = true;
                    // OpenVidu's garbage collector leaves no trace.
                    if reason != EndReason::Unused {
                        self.record(|session| session.destroyed(now_ms, reason));
                    }
                }
            }
        }
        if has_removed {
            inner.sweep();
        }
        step.has_changes = !inner.changes.is_empty() && !std::mem::replace(&mut inner.is_changing, true);
        step
    }

    /// Tells the data plane of all changes, one after the other.
    pub(super) async fn carry_out(&self, media: &Media) {
        while let Some(commands) = self.next_change() {
            media.clean_up(commands).await;
        }
    }

    fn next_change(&self) -> Option<Vec<Command>> {
        let mut inner = self.lock();
        let next = inner.changes.pop_front();
        inner.is_changing = next.is_some();
        next
    }
}

impl Inner {
    /// Sends a notification; gives those who have lapsed by it.
    pub(super) fn notify(&self, to: Vec<String>, text: &Utf8Bytes) -> impl Iterator<Item = String> {
        to.into_iter().filter(|id| self.peers.get(id).is_some_and(|peer| !peer.notify(text.clone())))
    }

    /// Keeps an offer until it is answered.
    pub(super) fn keep_offer(&mut self, subscriber: &str, stream: &str, plan: SubscribePlan) {
        self.offers.entry(subscriber.to_owned()).or_default().insert(stream.to_owned(), plan);
    }

    /// Takes the offer that is being answered.
    pub(super) fn take_offer(&mut self, subscriber: &str, stream: &str) -> Option<SubscribePlan> {
        self.offers.get_mut(subscriber)?.remove(stream)
    }

    /// Forgets what belonged to streams and connections that are gone: one walk over what there is.
    fn sweep(&mut self) {
        let Self { room, published, offers, connections, endpoints, .. } = self;
        endpoints.sweep(room);
        let gone: Vec<String> =
            published.extract_if(|stream, _| room.publisher_of(stream).is_none()).map(|(stream, _)| stream).collect();
        offers.retain(|subscriber, offers| {
            for stream in &gone {
                offers.remove(stream);
            }
            !offers.is_empty() && room.participant(subscriber).is_some()
        });
        connections.retain(|id, _| room.participant(id).is_some() || room.invite_of(id).is_some());
    }

    pub(super) fn properties_of(&self, connection: &str) -> Arc<ConnectionProperties> {
        self.connections.get(connection).cloned().unwrap_or_default()
    }
}
