//! Who is in a room and what they send.

use std::collections::BTreeMap;
use std::sync::Arc;

use dataplane_protocol::CodecParameters;
use serde::{Deserialize, Serialize};

use crate::input::{Grant, Hidden, Origin, PublishedTrack, Role, StreamDescription};
use crate::subscriptions::Subscriptions;

/// An unused invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Who will join with it.
    pub participant: String,
    /// The secret to join with.
    pub token: String,
    /// What it allows.
    pub grant: Grant,
    /// Milliseconds since 1970.
    pub created_at: u64,
}

/// Somebody who is in the room. As it is kept, it is without what it receives: see [`crate::Receipt`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Participant {
    /// Unique in the room.
    pub id: String,
    /// What it may do.
    pub role: Role,
    /// Passes every role check (joined with the server's secret).
    pub privileged: bool,
    /// Set for helpers, who are not shown to the others.
    pub hidden: Option<Hidden>,
    /// The token it came with.
    pub token: Option<String>,
    /// Whether its streams are recorded individually.
    pub record: bool,
    /// The application's data about it.
    pub server_data: String,
    /// The client's data about itself.
    pub client_data: String,
    /// Where it comes from.
    pub origin: Origin,
    /// When its invitation was minted, milliseconds since 1970.
    pub created_at: u64,
    /// When it came in, milliseconds since 1970.
    pub joined_at: u64,
    /// Until when its socket may come back; absent while it has one.
    #[serde(skip)]
    pub lost_until: Option<u64>,
    /// What it publishes.
    pub stream: Option<Stream>,
    /// What it receives.
    #[serde(skip)]
    pub subscriptions: Subscriptions,
    /// Transports made for offers that are not answered yet, by stream.
    #[serde(skip)]
    pub(crate) prepared: BTreeMap<String, u64>,
    /// The op that is to make or remake its stream; the outcome of any other is unwanted.
    #[serde(skip)]
    pub(crate) publishing: Option<u64>,
    /// The op that is to make its subscription or offer of a stream; the outcome of any other is unwanted.
    #[serde(skip)]
    pub(crate) subscribing: BTreeMap<String, u64>,
    /// How its stream began, which has been told.
    pub(crate) sending: Option<Sending>,
    /// When it began to receive which streams, which has been told; it may be between two paths of one.
    #[serde(skip)]
    pub(crate) receiving: BTreeMap<String, u64>,
}

/// How a stream began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sending {
    /// Milliseconds since 1970.
    pub(crate) began_at: u64,
    /// What the publisher said of it then.
    pub(crate) description: Arc<StreamDescription>,
}

impl Participant {
    pub(crate) fn may(&self, role: Role) -> bool {
        self.privileged || self.role >= role
    }

    /// Forgets its subscription and offer of a stream, and whatever is under way for them; gives their transports.
    pub(crate) fn forget(&mut self, stream: &str) -> impl Iterator<Item = u64> + use<> {
        self.subscribing.remove(stream);
        let subscription = self.subscriptions.remove(stream).map(|s| s.transport);
        subscription.into_iter().chain(self.prepared.remove(stream))
    }

    /// Whether it has anything of a stream, or is about to.
    pub(crate) fn has_part_in(&self, stream: &str) -> bool {
        self.subscribing.contains_key(stream)
            || self.prepared.contains_key(stream)
            || self.subscriptions.get(stream).is_some()
    }

    /// Every stream that it receives, received, or was offered, perhaps more than once.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &str> {
        let subscriptions = self.subscriptions.iter().map(|s| s.stream.as_str());
        subscriptions.chain(self.prepared.keys().map(String::as_str)).chain(self.receiving.keys().map(String::as_str))
    }

    /// The transports of all its subscriptions and offers.
    pub(crate) fn receiving(&self) -> impl Iterator<Item = u64> + '_ {
        self.subscriptions.iter().map(|s| s.transport).chain(self.prepared.values().copied())
    }
}

/// A published stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// Unique in the room.
    pub id: String,
    /// Milliseconds since 1970.
    pub created_at: u64,
    /// What the publisher says of it.
    pub description: StreamDescription,
    /// The publisher's path: another one after each republication.
    pub transport: u64,
    /// Its media, in m-line order.
    pub tracks: Vec<StreamTrack>,
}

/// One kind of media of a stream: one track of the data plane per simulcast layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamTrack {
    /// The data plane's id of the only track, or of the lowest layer.
    pub lowest: u64,
    /// Those of the other layers, in rising quality.
    pub higher: Vec<u64>,
    /// What was published.
    pub spec: PublishedTrack,
}

impl StreamTrack {
    /// The data plane's ids of all layers, in rising quality.
    pub fn layers(&self) -> impl Iterator<Item = u64> + '_ {
        std::iter::once(self.lowest).chain(self.higher.iter().copied())
    }

    /// Whether it can be sent to whom this codec was negotiated with.
    pub(crate) fn carries(&self, codec: &CodecParameters) -> bool {
        self.spec.codec.codec == codec.codec && self.spec.codec.clock_rate == codec.clock_rate
    }
}
