//! What one client believes, from nothing but its join result, the answers to it and what it is told.

use std::collections::{BTreeMap, VecDeque};

use crate::{Notice, Participant, Role, Room, Stream, StreamProperty};

/// A stream as others see it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    id: String,
    audio_active: Option<bool>,
    video_active: Option<bool>,
    video_dimensions: Option<String>,
}

impl Seen {
    fn of(stream: &Stream) -> Self {
        let description = &stream.description;
        Self {
            id: stream.id.clone(),
            audio_active: description.audio_active,
            video_active: description.video_active,
            video_dimensions: description.video_dimensions.clone(),
        }
    }

    fn is(&self, stream: &Stream) -> bool {
        let description = &stream.description;
        self.id == stream.id
            && self.audio_active == description.audio_active
            && self.video_active == description.video_active
            && self.video_dimensions == description.video_dimensions
    }
}

/// A notice with what the room said of its subject when it was sent.
pub(super) type Told = (Notice, Option<Seen>);

/// Describes a notice, as whoever sends it does.
pub(super) fn tell(room: &Room, notice: Notice) -> Told {
    let seen = match &notice {
        Notice::Published { participant } => {
            let stream = room.participant(participant).and_then(|p| p.stream.as_ref());
            Some(Seen::of(stream.expect("a stream that is told of is there")))
        }
        _ => None,
    };
    (notice, seen)
}

/// What reaches a client.
#[derive(Debug)]
enum Incoming {
    Notice(Told),
    /// An answer that says what it publishes now.
    Own(Option<String>),
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    me: String,
    pub(super) role: Role,
    pub(super) is_privileged: bool,
    pub(super) is_online: bool,
    /// It has been told that it was evicted.
    pub(super) is_evicted: bool,
    /// What it publishes, as it was answered or told.
    own: Option<String>,
    others: BTreeMap<String, Option<Seen>>,
    missed: VecDeque<Incoming>,
}

impl Client {
    /// With the join result.
    pub(super) fn new(room: &Room, me: &Participant) -> Self {
        let others = room.visible().filter(|p| p.id != me.id);
        Self {
            me: me.id.clone(),
            role: me.role,
            is_privileged: me.privileged,
            is_online: true,
            is_evicted: false,
            own: None,
            others: others.map(|p| (p.id.clone(), p.stream.as_ref().map(Seen::of))).collect(),
            missed: VecDeque::new(),
        }
    }

    /// A notice is due; it waits while there is no socket.
    pub(super) fn deliver(&mut self, told: Told) {
        self.receive(Incoming::Notice(told));
    }

    /// An answer says that it publishes a stream from now on, or none.
    pub(super) fn answer(&mut self, own: Option<String>) {
        assert_eq!(self.published().is_none(), own.is_some(), "{} began or ended its stream twice", self.me);
        self.receive(Incoming::Own(own));
    }

    /// What it publishes, with all that is on its way to it.
    pub(super) fn published(&self) -> Option<&String> {
        let own = |incoming: &'_ Incoming| match incoming {
            Incoming::Own(_) => true,
            Incoming::Notice((Notice::Unpublished { participant, .. }, _)) => *participant == self.me,
            Incoming::Notice(_) => false,
        };
        match self.missed.iter().rev().find(|incoming| own(incoming)) {
            Some(Incoming::Own(own)) => own.as_ref(),
            Some(Incoming::Notice(_)) => None,
            None => self.own.as_ref(),
        }
    }

    /// The socket is back.
    pub(super) fn catch_up(&mut self) {
        self.is_online = true;
        while let Some(incoming) = self.missed.pop_front() {
            self.receive(incoming);
        }
    }

    pub(super) fn knows(&self, participant: &str) -> bool {
        participant == self.me || self.others.contains_key(participant)
    }

    fn receive(&mut self, incoming: Incoming) {
        match incoming {
            incoming if !self.is_online => self.missed.push_back(incoming),
            Incoming::Notice(told) => self.hear(told),
            Incoming::Own(own) => self.own = own,
        }
    }

    fn hear(&mut self, (notice, seen): Told) {
        assert!(!self.is_evicted, "{} hears {notice:?} after its eviction", self.me);
        match notice {
            Notice::Joined { participant } => {
                assert!(!hidden(&participant) && participant != self.me, "told of {participant}");
                assert!(self.others.insert(participant, None).is_none(), "joined twice");
            }
            Notice::Left { participant, .. } => assert!(self.others.remove(&participant).is_some(), "left unseen"),
            Notice::Published { participant } => {
                assert_eq!(self.others.insert(participant, seen), Some(None), "published by a stranger, or twice");
            }
            Notice::Unpublished { participant, .. } if participant == self.me => {
                assert!(self.own.take().is_some(), "told twice of the end of its stream");
            }
            Notice::Unpublished { participant, .. } => {
                let before = self.others.insert(participant, None);
                assert!(matches!(before, Some(Some(_))), "unpublished unseen");
            }
            Notice::StreamChanged { participant, stream, property, .. } => {
                let seen = self.others.get_mut(&participant).and_then(Option::as_mut).expect("changed unseen");
                assert_eq!(seen.id, stream);
                match property {
                    StreamProperty::AudioActive(active) => seen.audio_active = Some(active),
                    StreamProperty::VideoActive(active) => seen.video_active = Some(active),
                    StreamProperty::VideoDimensions(text) => seen.video_dimensions = Some(text),
                    StreamProperty::Other(_) => {}
                }
            }
            Notice::Signal { from, .. } => {
                assert!(from.is_none_or(|from| self.knows(&from)), "a signal from a stranger");
            }
            // Of itself, and nothing that its picture of the others holds.
            Notice::RoleChanged { .. } | Notice::RecordChanged { .. } => {}
            Notice::Evicted { participant, .. } if participant == self.me => self.is_evicted = true,
            Notice::Evicted { participant, .. } => {
                assert!(participant != "RECORDER" && !self.knows(&participant), "evicted before it left");
            }
        }
    }

    /// Its picture is the room.
    pub(super) fn assert_sees(&self, room: &Room) {
        let mut others = 0;
        for other in room.visible().filter(|p| p.id != self.me) {
            let seen = self.others.get(&other.id).expect("everybody is known");
            let same = match (seen, &other.stream) {
                (Some(seen), Some(stream)) => seen.is(stream),
                (seen, stream) => seen.is_none() && stream.is_none(),
            };
            assert!(same, "{} sees {seen:?} of {}: {:?}", self.me, other.id, other.stream);
            others += 1;
        }
        assert_eq!(self.others.len(), others, "{} knows somebody who is not there", self.me);
        let own = room.participant(&self.me).and_then(|me| me.stream.as_ref()).map(|stream| &stream.id);
        assert_eq!(self.own.as_ref(), own, "{} is mistaken about its own stream", self.me);
    }
}

/// Whether an id is one of a helper.
fn hidden(participant: &str) -> bool {
    matches!(participant, "RECORDER" | "SPEECH_TO_TEXT")
}
