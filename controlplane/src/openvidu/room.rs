//! One room at work: the pure model behind a short lock, and the sockets that its effects go to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use controlplane_room::{Effect, Error, Input, Reply, Room, Run};

use super::compat::RandomIds;
use super::dto::{self, ConnectionProperties, SessionProperties};
use super::session::RpcSession;
use crate::sdp::{PublishedMedia, SubscribePlan};

/// A session of OpenVidu.
#[derive(Debug)]
pub(super) struct RoomHandle {
    pub(super) id: String,
    pub(super) created_at: u64,
    pub(super) properties: SessionProperties,
    inner: Mutex<Inner>,
}

/// What the lock guards. It is held for one step, never across an await.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) room: Room,
    /// Sockets of participants, until their close effect.
    pub(super) peers: HashMap<String, Arc<RpcSession>>,
    /// What was negotiated with publishers, by stream id.
    pub(super) published: HashMap<String, Arc<Vec<PublishedMedia>>>,
    /// Offers that wait for an answer, by subscriber and stream.
    pub(super) offers: HashMap<(String, String), SubscribePlan>,
    /// What REST said of connections, by connection id.
    pub(super) connections: HashMap<String, Arc<ConnectionProperties>>,
}

/// What is left to do after a step.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) outcome: Option<Result<Reply, Error>>,
    pub(super) runs: Vec<Run>,
    pub(super) wake_at: Option<u64>,
    pub(super) ended: bool,
    pub(super) closing: Vec<(Arc<RpcSession>, u64)>,
}

/// Answers a request while the room is locked, so that the answer takes its place among the notifications.
pub(super) type Respond<'a> = &'a mut (dyn FnMut(&mut Inner, &Reply) + Send);

impl RoomHandle {
    pub(super) fn new(id: String, created_at: u64, properties: SessionProperties) -> Self {
        let inner = Inner {
            room: Room::new(id.clone()),
            peers: HashMap::new(),
            published: HashMap::new(),
            offers: HashMap::new(),
            connections: HashMap::new(),
        };
        Self { id, created_at, properties, inner: Mutex::new(inner) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic inside a step is a bug of that step; the room's own invariants hold between effects.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies one input and carries out, in order, what can be done at once.
    pub(super) fn step(&self, now_ms: u64, input: Input, respond: Respond<'_>) -> Step {
        let mut inner = self.lock();
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
                        for peer in to.iter().filter_map(|id| inner.peers.get(id)) {
                            peer.send(text.clone());
                        }
                    }
                }
                Effect::Run(run) => step.runs.push(run),
                Effect::CloseSocket { participant, after_ms } => {
                    if let Some(peer) = inner.peers.remove(&participant) {
                        step.closing.push((peer, after_ms));
                    }
                }
                Effect::Reoffer { participant, stream, .. } => {
                    tracing::warn!(session = self.id, connection = participant, stream, "a subscription cannot follow");
                }
                Effect::WakeAt(at) => step.wake_at = Some(step.wake_at.map_or(at, |earlier| earlier.min(at))),
                Effect::Ended { .. } => step.ended = true,
            }
        }
        inner.sweep();
        step
    }
}

impl Inner {
    /// Forgets what belonged to streams and connections that are gone.
    fn sweep(&mut self) {
        let room = &self.room;
        self.published.retain(|stream, _| room.publisher_of(stream).is_some());
        self.offers.retain(|(subscriber, stream), _| {
            room.participant(subscriber).is_some() && room.publisher_of(stream).is_some()
        });
        let invited = |id: &str| room.invites().iter().any(|i| i.participant == id);
        self.connections.retain(|id, _| room.participant(id).is_some() || invited(id));
    }

    pub(super) fn properties_of(&self, connection: &str) -> Arc<ConnectionProperties> {
        self.connections.get(connection).cloned().unwrap_or_default()
    }
}
