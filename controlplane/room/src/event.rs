//! What happened in a room, for whoever keeps its books: who came and went, which media flowed between whom.
//!
//! Events are facts in the order in which they became true. Whatever began ends once, with a reason, before its
//! participant goes and before the room does. Hidden participants are in no event but as receivers of signals.

use std::sync::Arc;

use crate::effect::{Effect, EndReason};
use crate::input::{Origin, StreamDescription};
use crate::participant::{Participant, Sending};
use crate::room::{Room, Turn};

/// Something that happened at the time at which its input was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody came in.
    Joined(Person),
    /// Somebody went.
    Left {
        /// Who.
        person: Person,
        /// Why.
        reason: EndReason,
    },
    /// A participant began to send or to receive a stream. A new path for the same stream is no event.
    MediaBegan(Media),
    /// It ended.
    MediaEnded {
        /// What.
        media: Media,
        /// Why.
        reason: EndReason,
    },
    /// A text message was sent.
    Signalled {
        /// The sender; absent: the application.
        from: Option<String>,
        /// Who got it, each once, hidden ones too.
        to: Vec<String>,
        /// Its kind, when told.
        kind: Option<String>,
        /// Its text, when told.
        data: Option<String>,
    },
}

/// A participant as the books have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Unique in the room.
    pub participant: String,
    /// The client's data about itself.
    pub client_data: String,
    /// The application's data about it.
    pub server_data: String,
    /// Where it comes from.
    pub origin: Origin,
    /// When it came in, milliseconds since 1970.
    pub joined_at: u64,
}

/// A stream on its way from its publisher, or to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// The stream.
    pub stream: String,
    /// Who sends or receives it.
    pub participant: String,
    /// For a receiver: who publishes it.
    pub publisher: Option<String>,
    /// What the publisher said of it when it began to send.
    pub description: Arc<StreamDescription>,
    /// Milliseconds since 1970.
    pub began_at: u64,
}

impl Turn<'_> {
    pub(crate) fn event(&mut self, event: Event) {
        self.effects.push(Effect::Event(event));
    }
}

impl Participant {
    pub(crate) fn person(&self) -> Person {
        Person {
            participant: self.id.clone(),
            client_data: self.client_data.clone(),
            server_data: self.server_data.clone(),
            origin: self.origin.clone(),
            joined_at: self.joined_at,
        }
    }
}

impl Room {
    /// A participant has begun to send its stream.
    pub(crate) fn began_sending(&mut self, turn: &mut Turn<'_>, id: &str) {
        let Some(participant) = self.roster.get_mut(id) else { return };
        let Some(stream) = &participant.stream else { return };
        let description = Arc::new(stream.description.clone());
        let media = Media {
            stream: stream.id.clone(),
            participant: id.to_owned(),
            publisher: None,
            description: description.clone(),
            began_at: stream.created_at,
        };
        participant.sending = Some(Sending { began_at: stream.created_at, description });
        turn.event(Event::MediaBegan(media));
    }

    /// A participant has begun to receive a stream, or goes on to over another path.
    pub(crate) fn began_receiving(&mut self, turn: &mut Turn<'_>, id: &str, stream: &str) {
        let Some(media) = self.received(stream, id, turn.now_ms) else { return };
        let Some(participant) = self.roster.receiver_mut(id, stream).filter(|p| p.hidden.is_none()) else { return };
        if !participant.receiving.contains_key(stream) {
            participant.receiving.insert(stream.to_owned(), turn.now_ms);
            turn.event(Event::MediaBegan(media));
        }
    }

    /// A participant ceases to receive a stream, which is still there.
    pub(crate) fn ended_receiving(&mut self, turn: &mut Turn<'_>, id: &str, stream: &str, reason: EndReason) {
        let began_at = self.roster.receiver_mut(id, stream).and_then(|p| p.receiving.remove(stream));
        if let Some(media) = began_at.and_then(|began_at| self.received(stream, id, began_at)) {
            turn.event(Event::MediaEnded { media, reason });
        }
    }

    /// A participant ceases to receive anything.
    pub(crate) fn ended_receiving_all(&mut self, turn: &mut Turn<'_>, id: &str, reason: EndReason) {
        let Some(participant) = self.participant(id) else { return };
        let mut streams: Vec<_> =
            participant.receiving.iter().map(|(stream, began)| (*began, stream.clone())).collect();
        streams.sort();
        for (_, stream) in streams {
            self.ended_receiving(turn, id, &stream, reason);
        }
    }

    /// A participant's stream, which is still there, ends for itself and for all who receive it.
    pub(crate) fn ended_sending(&mut self, turn: &mut Turn<'_>, id: &str, reason: EndReason) {
        let Some(publisher) = self.participant(id) else { return };
        let (Some(stream), Some(sending)) = (&publisher.stream, &publisher.sending) else { return };
        let stream = stream.id.clone();
        let media = Media {
            stream: stream.clone(),
            participant: id.to_owned(),
            publisher: None,
            description: sending.description.clone(),
            began_at: sending.began_at,
        };
        turn.event(Event::MediaEnded { media, reason });
        let receives = |p: &&Participant| p.receiving.contains_key(&stream);
        let receivers: Vec<String> = self.participants().iter().filter(receives).map(|p| p.id.clone()).collect();
        for receiver in receivers {
            self.ended_receiving(turn, &receiver, &stream, reason);
        }
        if let Some(publisher) = self.roster.get_mut(id) {
            publisher.sending = None;
        }
    }

    fn received(&self, stream: &str, by: &str, began_at: u64) -> Option<Media> {
        let publisher = self.publisher_of(stream)?;
        Some(Media {
            stream: stream.to_owned(),
            participant: by.to_owned(),
            publisher: Some(publisher.id.clone()),
            description: publisher.sending.as_ref()?.description.clone(),
            began_at,
        })
    }
}
