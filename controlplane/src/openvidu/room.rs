//! One room at work: the pure model behind a short lock, and the sockets that its effects go to.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Utf8Bytes;
use controlplane_room::{Effect, EndReason, Error, Held, Input, Reply, Room};
use dataplane_protocol::Command;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::compat::RandomIds;
use super::dto::{self, ConnectionProperties, SessionProperties};
use super::endpoints::Endpoints;
use super::events::Session;
use super::journal::{Journal, Unwritten};
use super::media::Media;
use super::outbox::Note;
use super::session::{RpcSession, Ticket};
use crate::eventlog::Record;
use crate::sdp::{PublishedMedia, SubscribePlan};

/// A session of OpenVidu.
#[derive(Debug)]
pub(super) struct RoomHandle {
    pub(super) id: String,
    pub(super) created_at: u64,
    pub(super) properties: SessionProperties,
    journal: Arc<Journal>,
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
    /// What is not written down yet.
    pub(super) unwritten: Unwritten,
    /// What goes out once it is, in order.
    pub(super) outgoing: Vec<Outgoing>,
}

/// Something for clients.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A notification.
    Notice {
        /// Rises within the room.
        number: u64,
        /// Connections and their sessions.
        to: Vec<(String, Arc<RpcSession>)>,
        text: Utf8Bytes,
    },
    /// A response, to the socket of this number.
    Answer(Arc<RpcSession>, u64, Utf8Bytes),
}

/// What a room has from an earlier control plane, besides the model.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    pub(super) published: HashMap<String, Negotiated>,
    pub(super) offers: HashMap<String, HashMap<String, SubscribePlan>>,
    pub(super) connections: HashMap<String, Arc<ConnectionProperties>>,
    pub(super) unwritten: Unwritten,
}

/// What was negotiated with a publisher.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// A new session, for [`Self::open`] to write down.
    pub(super) fn new(id: String, created_at: u64, properties: SessionProperties, journal: Arc<Journal>) -> Self {
        let inherited = Inherited { unwritten: Unwritten::new_session(), ..Inherited::default() };
        Self::restored(Room::new(id), created_at, properties, journal, inherited)
    }

    /// A session as it was.
    pub(super) fn restored(
        room: Room,
        created_at: u64,
        properties: SessionProperties,
        journal: Arc<Journal>,
        inherited: Inherited,
    ) -> Self {
        let Inherited { published, offers, connections, unwritten } = inherited;
        let id = room.id().to_owned();
        let inner = Inner {
            room,
            peers: HashMap::new(),
            published,
            offers,
            connections,
            endpoints: Endpoints::default(),
            changes: VecDeque::new(),
            is_changing: false,
            unwritten,
            outgoing: Vec::new(),
        };
        Self { id, created_at, properties, journal, inner: Mutex::new(inner) }
    }

    /// Writes a new session down, and tells of it.
    pub(super) fn open(&self, inner: &mut Inner) {
        let mut events = Vec::new();
        self.record(&mut events, |session| session.created());
        self.journal.write(self, inner, self.created_at, events);
    }

    /// Adds to the events of a step, when anybody reads them.
    fn record(&self, events: &mut Vec<Record>, record: impl FnOnce(Session<'_>) -> Record) {
        if self.journal.has_readers() {
            events.push(record(Session { id: &self.id, created_at: self.created_at }));
        }
    }

    /// Makes the room's picture of the data plane true again, after both went on without each other; gives what the data
    /// plane is to do.
    pub(super) fn reconcile(&self, now_ms: u64, held: &Held) -> Vec<Command> {
        let mut inner = self.lock();
        let commands = inner.room.reconcile(held);
        self.write_down(&mut inner, now_ms, Vec::new());
        commands
    }

    /// Writes down what has changed; then what is outgoing goes out. Gives those who have lapsed by it.
    fn write_down(&self, inner: &mut Inner, now_ms: u64, events: Vec<Record>) -> Vec<String> {
        for part in inner.room.take_changed() {
            inner.unwritten.add(part);
        }
        self.journal.write(self, inner, now_ms, events);
        let mut lapsed = Vec::new();
        for outgoing in inner.outgoing.drain(..) {
            match outgoing {
                Outgoing::Notice { number, to, text } => {
                    let told = |peer: &RpcSession| peer.notify(Note::new(text.clone(), number, peer.cursor.get()));
                    lapsed.extend(to.into_iter().filter(|(_, peer)| !told(peer)).map(|(id, _)| id));
                }
                Outgoing::Answer(session, generation, text) => session.answer(generation, text),
            }
        }
        lapsed
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
        let (mut step, mut events) = (Step::default(), Vec::new());
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
                        inner.notify(&self.journal, to, text.into());
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
                Effect::Event(event) => self.record(&mut events, |session| session.happened(now_ms, &event)),
                Effect::WakeAt(at) => step.wake_at = Some(step.wake_at.map_or(at, |earlier| earlier.min(at))),
                Effect::Ended { reason } => {
                    step.ended = true;
                    // OpenVidu's garbage collector leaves no trace.
                    if reason != EndReason::Unused {
                        self.record(&mut events, |session| session.destroyed(now_ms, reason));
                    }
                }
            }
        }
        if has_removed {
            inner.sweep();
        }
        step.lapsed = self.write_down(&mut inner, now_ms, events);
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
    /// Sends a notification at the end of the step.
    pub(super) fn notify(&mut self, journal: &Journal, to: Vec<String>, text: Utf8Bytes) {
        let to: Vec<_> = to
            .into_iter()
            .filter_map(|id| {
                let peer = self.peers.get(&id)?.clone();
                Some((id, peer))
            })
            .collect();
        if !to.is_empty() {
            self.outgoing.push(Outgoing::Notice { number: journal.number(), to, text });
        }
    }

    /// Answers a request at the end of the step.
    pub(super) fn answer(&mut self, ticket: &Ticket, result: Map<String, Value>) {
        let answer = ticket.take(result);
        self.outgoing.extend(answer.map(|(session, generation, text)| Outgoing::Answer(session, generation, text)));
    }

    /// Keeps an offer until it is answered.
    pub(super) fn keep_offer(&mut self, subscriber: &str, stream: &str, plan: SubscribePlan) {
        self.unwritten.add_receipt(subscriber, stream);
        self.offers.entry(subscriber.to_owned()).or_default().insert(stream.to_owned(), plan);
    }

    /// The offer that is not answered yet.
    pub(super) fn offer(&self, subscriber: &str, stream: &str) -> Option<&SubscribePlan> {
        self.offers.get(subscriber)?.get(stream)
    }

    /// Takes the offer that is being answered.
    pub(super) fn take_offer(&mut self, subscriber: &str, stream: &str) -> Option<SubscribePlan> {
        self.unwritten.add_receipt(subscriber, stream);
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
