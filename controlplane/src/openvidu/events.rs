//! The events of webhooks and CDR files: exact members in OpenVidu's order.

use controlplane_room::{EndReason, Event, Media, Person};
use serde_json::{Map, Value};

use super::compat::reason;
use crate::eventlog::Record;

/// What clients put before the types of their signals.
const SIGNAL_PREFIX: &str = "signal:";

/// The session that events are of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session<'a> {
    pub(super) id: &'a str,
    /// Milliseconds since 1970.
    pub(super) created_at: u64,
}

/// Members in order of insertion.
struct Members(Map<String, Value>);

impl Members {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn person(&mut self, person: &Person) {
        self.put("participantId", person.participant.as_str());
        self.put("connectionId", person.participant.as_str());
        self.put("location", "unknown");
        self.put("ip", person.origin.address.as_str());
        self.put("platform", person.origin.platform.as_str());
        self.put("clientData", person.client_data.as_str());
        self.put("serverData", person.server_data.as_str());
    }

    fn media(&mut self, media: &Media) {
        self.put("streamId", media.stream.as_str());
        self.put("participantId", media.participant.as_str());
        self.put("connectionId", media.participant.as_str());
        self.put("connection", if media.publisher.is_some() { "INBOUND" } else { "OUTBOUND" });
        if let Some(publisher) = &media.publisher {
            self.put("receivingFrom", publisher.as_str());
        }
        let description = &*media.description;
        if description.has_video {
            self.put("videoSource", description.type_of_video.clone());
            self.put("videoFramerate", description.frame_rate);
            self.put("videoDimensions", description.video_dimensions.clone());
        }
        self.put("audioEnabled", description.has_audio);
        self.put("videoEnabled", description.has_video);
    }

    fn end(&mut self, began_at: u64, at_ms: u64, why: EndReason) {
        self.put("startTime", began_at);
        self.put("duration", at_ms.saturating_sub(began_at) / 1000);
        self.put("reason", reason(why));
    }
}

impl Session<'_> {
    /// The session was created.
    pub(super) fn created(&self) -> Record {
        self.record("sessionCreated", self.created_at, |_| {})
    }

    /// The session has ended.
    pub(super) fn destroyed(&self, at_ms: u64, why: EndReason) -> Record {
        self.record("sessionDestroyed", at_ms, |members| members.end(self.created_at, at_ms, why))
    }

    /// Something happened in the session.
    pub(super) fn happened(&self, at_ms: u64, event: &Event) -> Record {
        match event {
            Event::Joined(person) => self.record("participantJoined", at_ms, |members| members.person(person)),
            Event::Left { person, reason } => self.record("participantLeft", at_ms, |members| {
                members.person(person);
                members.end(person.joined_at, at_ms, *reason);
            }),
            Event::MediaBegan(media) => self.record("webrtcConnectionCreated", at_ms, |members| members.media(media)),
            Event::MediaEnded { media, reason } => self.record("webrtcConnectionDestroyed", at_ms, |members| {
                members.media(media);
                members.end(media.began_at, at_ms, *reason);
            }),
            Event::Signalled { from, to, kind, data } => self.record("signalSent", at_ms, |members| {
                let is_client = from.is_some();
                let kind = kind.as_deref().map(|kind| if is_client { without_prefix(kind) } else { kind });
                members.put("from", from.clone());
                members.put("to", to.clone());
                members.put("type", kind);
                members.put("data", data.clone());
            }),
        }
    }

    fn record(&self, name: &'static str, at_ms: u64, fill: impl FnOnce(&mut Members)) -> Record {
        let mut members = Members(Map::new());
        members.put("sessionId", self.id);
        members.put("uniqueSessionId", format!("{}_{}", self.id, self.created_at));
        members.put("timestamp", at_ms);
        fill(&mut members);
        Record { session: self.id.to_owned(), name: name.to_owned(), at_ms, members: members.0 }
    }
}

fn without_prefix(kind: &str) -> &str {
    kind.strip_prefix(SIGNAL_PREFIX).unwrap_or(kind)
}
