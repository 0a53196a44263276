//! What of a room outlives its process: which parts an input has changed, those parts as values, and the room again
//! from them.
//!
//! A room is kept in small parts, so that a step writes as much as it changes and not as much as there is. What is under
//! way at the data plane is not kept: its commands are given out before their outcome is known, so that after a loss the
//! data plane may hold more than the room, but never less. [`Room::reconcile`] tells what to do about it.

use std::collections::{BTreeSet, HashMap, HashSet};

use dataplane_protocol::Command;
use serde::{Deserialize, Serialize};

use crate::command::retarget;
use crate::participant::{Invite, Participant, StreamTrack};
use crate::room::Room;
use crate::subscriptions::SubscriptionState;

/// A part of a room that is kept by itself. What is not in the room any more is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// [`Room::participant`], by id.
    Participant(String),
    /// [`Room::invite_of`], by the id of the participant to be.
    Invite(String),
    /// [`Room::receipt`].
    Receipt {
        /// Who receives.
        participant: String,
        /// Which stream.
        stream: String,
    },
}

/// What a participant has of a stream: offered, received, or between two paths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The subscription that runs, and its place among those of the participant.
    pub subscription: Option<(u64, SubscriptionState)>,
    /// Since when it receives, as was told; milliseconds since 1970.
    pub began_at: Option<u64>,
    /// The transport of an offer that is not answered.
    pub prepared: Option<u64>,
}

impl Receipt {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The parts of a room, in any order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// Participants with their places.
    pub participants: Vec<(u64, Participant)>,
    /// Invitations with their places.
    pub invites: Vec<(u64, Invite)>,
    /// By participant and stream.
    pub receipts: Vec<(String, String, Receipt)>,
}

/// What the data plane sends: of all rooms, since it knows of none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The track, or layer, that is sent, by subscription.
    tracks: HashMap<u64, u64>,
    /// The transports that something is sent on.
    used: HashSet<u64>,
}

impl Held {
    /// From subscriptions, each with its transport and the track that is sent.
    pub fn new(subscriptions: impl IntoIterator<Item = (u64, u64, u64)>) -> Self {
        let mut held = Self::default();
        for (number, transport, track) in subscriptions {
            held.tracks.insert(number, track);
            held.used.insert(transport);
        }
        held
    }
}

impl Room {
    /// A room as it was, with nobody connected: every participant has until `lost_until` (milliseconds since 1970) to
    /// come back. The caller sees to an [`crate::Input::Tick`] at that time. Parts that belong to nobody are left out.
    pub fn restore(id: impl Into<String>, saved: Saved, lost_until: u64) -> Self {
        let mut room = Self::new(id);
        let Saved { mut participants, mut invites, receipts } = saved;
        participants.sort_by_key(|(place, _)| *place);
        for (place, mut participant) in participants {
            participant.lost_until = Some(lost_until);
            room.roster.put_back(place, participant);
        }
        invites.sort_by_key(|(place, _)| *place);
        for (place, invite) in invites {
            room.invites.put_back(place, invite);
        }
        for (participant, stream, receipt) in receipts {
            let is_published = room.publisher_of(&stream).is_some();
            let Some(participant) = room.roster.get_mut(&participant).filter(|_| is_published) else { continue };
            if let Some((place, subscription)) = receipt.subscription {
                participant.subscriptions.put_back(place, subscription);
            }
            if let Some(began_at) = receipt.began_at {
                participant.receiving.insert(stream.clone(), began_at);
            }
            if let Some(transport) = receipt.prepared {
                participant.prepared.insert(stream, transport);
            }
        }
        room.take_changed();
        room
    }

    /// The parts that inputs since the last call may have changed.
    pub fn take_changed(&mut self) -> BTreeSet<Part> {
        let mut changed = std::mem::take(&mut self.roster.changed);
        changed.append(&mut self.invites.changed);
        changed
    }

    /// A participant's place in the order of joining.
    pub fn place_of(&self, participant: &str) -> Option<u64> {
        self.roster.place(participant)
    }

    /// An invitation's place in their order.
    pub fn place_of_invite(&self, participant: &str) -> Option<u64> {
        self.invites.place(participant)
    }

    /// What a participant has of a stream, perhaps nothing.
    pub fn receipt(&self, participant: &str, stream: &str) -> Receipt {
        let Some(participant) = self.participant(participant) else { return Receipt::default() };
        let subscriptions = &participant.subscriptions;
        Receipt {
            subscription: subscriptions.number(stream).zip(subscriptions.get(stream).cloned()),
            began_at: participant.receiving.get(stream).copied(),
            prepared: participant.prepared.get(stream).copied(),
        }
    }

    /// Commands that make the data plane send for this room what the room has, after both went on without each other.
    /// An offer whose answer the data plane has seen, and the room has not, is given up: its SSRCs are used. Transports
    /// that are nobody's are for the caller to remove, afterwards.
    pub fn reconcile(&mut self, held: &Held) -> Vec<Command> {
        for id in self.everyone() {
            let Some(participant) = self.participant(&id) else { continue };
            let doubtful = participant.prepared.iter().filter(|(_, transport)| held.used.contains(transport));
            for stream in doubtful.map(|(stream, _)| stream.clone()).collect::<Vec<_>>() {
                self.roster.receiver_mut(&id, &stream).map(|p| p.prepared.remove(&stream));
            }
        }
        let astray = self.sources().filter_map(|(number, track)| {
            let sent = held.tracks.get(&number)?;
            track.layers().all(|layer| layer != *sent).then(|| retarget(number, track))
        });
        astray.collect()
    }

    /// The data plane's transports that its streams, subscriptions and offers have.
    pub fn transports(&self) -> impl Iterator<Item = u64> + '_ {
        let streams = self.participants().iter().filter_map(|p| p.stream.as_ref()).map(|stream| stream.transport);
        streams.chain(self.participants().iter().flat_map(Participant::receiving))
    }

    /// The data plane's subscriptions with the tracks that they are of.
    fn sources(&self) -> impl Iterator<Item = (u64, &StreamTrack)> {
        let subscriptions = self.participants().iter().flat_map(|p| p.subscriptions.iter());
        subscriptions.flat_map(|subscription| {
            let stream = self.publisher_of(&subscription.stream).and_then(|p| p.stream.as_ref());
            let tracks = stream.map_or(&[][..], |stream| &stream.tracks);
            subscription.tracks.iter().filter_map(|(number, wanted)| Some((*number, tracks.get(wanted.source)?)))
        })
    }
}
