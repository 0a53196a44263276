//! Who is in a room and what they send and receive.

use dataplane_protocol::Command;
use dataplane_protocol::{RemoveTransport, Unpublish};

use crate::input::{Grant, Origin, PublishedTrack, Role, StreamDescription, SubscribedTrack};

/// An unused invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Somebody who is in the room.
#[derive(Clone, Debug, PartialEq)]
pub struct Participant {
    /// Unique in the room.
    pub id: String,
    /// What it may do.
    pub role: Role,
    /// Passes every role check (joined with the server's secret).
    pub privileged: bool,
    /// Not shown to the others (a recorder).
    pub hidden: bool,
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
    pub lost_until: Option<u64>,
    /// What it publishes.
    pub stream: Option<Stream>,
    /// What it receives, in order of subscribing.
    pub subscriptions: Vec<SubscriptionState>,
    /// Transports made for offers that are not answered yet.
    pub(crate) prepared: Vec<Prepared>,
    /// A publication is under way.
    pub(crate) publishing: bool,
}

impl Participant {
    pub(crate) fn may(&self, role: Role) -> bool {
        self.privileged || self.role >= role
    }
}

/// A published stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Unique in the room.
    pub id: String,
    /// Milliseconds since 1970.
    pub created_at: u64,
    /// What the publisher says of it.
    pub description: StreamDescription,
    /// The publisher's path.
    pub transport: u64,
    /// Its media, with the data plane's track ids.
    pub tracks: Vec<(u64, PublishedTrack)>,
}

impl Stream {
    /// Commands that end it: tracks first, so that subscribers get their BYE.
    pub(crate) fn removal(&self) -> Vec<Command> {
        let tracks = self.tracks.iter().map(|(track, _)| Command::Unpublish(Unpublish { track: *track }));
        tracks.chain([remove(self.transport)]).collect()
    }
}

/// A running subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionState {
    /// The stream received.
    pub stream: String,
    /// Milliseconds since 1970.
    pub created_at: u64,
    /// The subscriber's path.
    pub transport: u64,
    /// Its media, with the data plane's subscription ids.
    pub tracks: Vec<(u64, SubscribedTrack)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Prepared {
    pub(crate) stream: String,
    pub(crate) transport: u64,
}

pub(crate) fn remove(transport: u64) -> Command {
    Command::RemoveTransport(RemoveTransport { transport })
}
