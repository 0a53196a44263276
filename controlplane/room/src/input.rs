//! What can happen to a room.

use dataplane_protocol::{CodecParameters, HeaderExtension, MediaKind, RemoteParameters};

use serde::{Deserialize, Serialize};

use crate::effect::{EndReason, StreamProperty};
use crate::error::MediaError;

/// Where ids come from. Implementations draw them from a random source; the room asks again when one is taken.
pub trait Ids {
    /// The id of a participant to be.
    fn participant(&mut self) -> String;
    /// The secret part of an invitation: never one that was given out before, since a used one must stay unknown.
    fn token(&mut self) -> String;
    /// The id of a stream that `participant` publishes.
    fn stream(&mut self, participant: &str, description: &StreamDescription) -> String;
    /// A number for the data plane's ids: random, so that it stays unique over restarts of the control plane.
    fn number(&mut self) -> u64;
}

/// What a participant may do, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Receives only.
    Subscriber,
    /// Receives and publishes.
    Publisher,
    /// May also expel others and end their streams.
    Moderator,
}

/// What an invitation allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The role of who joins with it.
    pub role: Role,
    /// The application's own data about the participant.
    pub server_data: String,
    /// Whether its streams are recorded individually.
    pub record: bool,
    /// A participant id of the application's choice; otherwise one is drawn.
    pub participant: Option<String>,
}

/// A server-side helper, which receives everything and is neither shown to the others nor counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Hidden {
    /// Records the room. Nobody hears of its eviction, and its socket is closed at once when it goes.
    Recorder,
    /// Turns speech into text. The others hear of its eviction, like of anybody's.
    Transcriber,
}

/// How a participant gets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// With an unused invitation's token; it is used up by the attempt.
    Token(String),
    /// With the server's secret: no invitation, and every role check passes.
    Secret {
        /// A fixed id, for server-side helpers such as a recorder.
        participant: Option<String>,
        /// Set for helpers.
        hidden: Option<Hidden>,
    },
}

/// What the adapter knows of who joins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Software and system, free text.
    pub platform: String,
    /// Network address, free text.
    pub address: String,
    /// Stable over the visits of one browser.
    pub user: String,
}

/// A request to get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Token or secret.
    pub admission: Admission,
    /// The client's own data.
    pub client_data: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// The data plane's own end of a new transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceCredentials {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub pwd: String,
}

/// What a publisher says of its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamDescription {
    /// An audio track exists.
    pub has_audio: bool,
    /// A video track exists.
    pub has_video: bool,
    /// The audio is not muted, when told.
    pub audio_active: Option<bool>,
    /// The video is not muted, when told.
    pub video_active: Option<bool>,
    /// Camera, screen, …: the client's own word.
    pub type_of_video: Option<String>,
    /// Frames per second as told by the client; -1: unknown.
    pub frame_rate: Option<i64>,
    /// Width and height in the client's own text form.
    pub video_dimensions: Option<String>,
}

/// One kind of media of a publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedTrack {
    /// Audio or video.
    pub kind: MediaKind,
    /// `a=mid`.
    pub mid: String,
    /// In the publisher's numbering.
    pub codec: CodecParameters,
    /// When the SDP names it.
    pub ssrc: Option<u32>,
    /// When the SDP names it.
    pub rtx_ssrc: Option<u32>,
    /// In the publisher's numbering.
    pub extensions: Vec<HeaderExtension>,
    /// `a=rid` of simulcast layers, in rising quality, at most 4 of which are used; empty: one stream.
    pub rids: Vec<String>,
    /// Most that the client should send of this kind, in bit/s; 0: no bound.
    pub max_bitrate_bps: u64,
}

/// What a publisher sends and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The data plane's end.
    pub ice: IceCredentials,
    /// The client's end.
    pub remote: RemoteParameters,
    /// Its media, in m-line order.
    pub tracks: Vec<PublishedTrack>,
    /// What is sent back to the publisher of its own stream on the same transport (loopback), usually nothing.
    pub echo: Vec<SubscribedTrack>,
}

/// One kind of media of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribedTrack {
    /// Which of the publication's tracks.
    pub source: usize,
    /// `a=mid` at the subscriber.
    pub mid: String,
    /// In the subscriber's numbering.
    pub codec: CodecParameters,
    /// To send with.
    pub ssrc: u32,
    /// For retransmissions.
    pub rtx_ssrc: Option<u32>,
    /// In the subscriber's numbering.
    pub extensions: Vec<HeaderExtension>,
}

/// What a subscriber receives and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The data plane's end of a new transport; absent when `PrepareSubscribe` has made it already.
    pub ice: Option<IceCredentials>,
    /// The client's end.
    pub remote: RemoteParameters,
    /// Its media, in m-line order.
    pub tracks: Vec<SubscribedTrack>,
}

/// Everything that can happen to a room. `participant` is who asks or is concerned.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Mint an invitation. Replies [`crate::Reply::Invited`].
    Invite(Grant),
    /// Somebody wants to get in. Replies [`crate::Reply::Joined`].
    Join(Join),
    /// A participant goes by itself.
    Leave {
        /// Who.
        participant: String,
    },
    /// The application removes a participant or takes an invitation back.
    Remove {
        /// Who, present or invited.
        participant: String,
    },
    /// The application changes what a participant or an invitation was given. Who is in the room hears of each change
    /// to it; a stream that runs goes on, whatever the new role.
    Amend {
        /// Whose, present or invited.
        participant: String,
        /// The new role.
        role: Option<Role>,
        /// Whether its streams are recorded individually from now on.
        record: Option<bool>,
    },
    /// A moderator removes a participant.
    Expel {
        /// The moderator.
        participant: String,
        /// Who goes.
        target: String,
    },
    /// A participant that is not hidden starts a stream. Replies [`crate::Reply::Published`] once the data plane is ready.
    Publish {
        /// Who.
        participant: String,
        /// What it says of the stream.
        description: StreamDescription,
        /// How it sends.
        publication: Publication,
    },
    /// A publisher sends its running stream over a new transport. Replies [`crate::Reply::Published`]. Running
    /// subscriptions go over to it, with [`crate::Effect::Reoffer`] for those that cannot.
    Republish {
        /// Who.
        participant: String,
        /// How it sends now.
        publication: Publication,
    },
    /// A participant ends its stream.
    Unpublish {
        /// Who.
        participant: String,
    },
    /// A moderator ends somebody's stream.
    ForceUnpublish {
        /// The moderator; absent: the application.
        participant: Option<String>,
        /// Which stream.
        stream: String,
    },
    /// Make the transport that an offer to a subscriber names. Replies [`crate::Reply::Prepared`].
    PrepareSubscribe {
        /// The subscriber.
        participant: String,
        /// Which stream.
        stream: String,
        /// The data plane's end.
        ice: IceCredentials,
    },
    /// Send a stream to a participant. Replies [`crate::Reply::Subscribed`]; replaces an earlier subscription. When
    /// the stream has changed since it was negotiated, [`crate::Effect::Reoffer`] follows.
    Subscribe {
        /// The subscriber.
        participant: String,
        /// Which stream.
        stream: String,
        /// How it receives.
        subscription: Subscription,
    },
    /// Stop sending the stream of `publisher`; fine when there is none.
    Unsubscribe {
        /// The subscriber.
        participant: String,
        /// Whose stream.
        publisher: String,
    },
    /// A publisher tells that its stream looks different.
    ChangeStream {
        /// Who.
        participant: String,
        /// What changed.
        property: StreamProperty,
        /// The new value, as the others are to read it.
        value: String,
        /// Why, in the client's own word.
        reason: String,
    },
    /// A text message. That of a hidden participant reaches nobody but itself: the others do not know the sender.
    Signal {
        /// The sender; absent: the application.
        participant: Option<String>,
        /// Who gets it; empty: everybody, the sender too.
        to: Vec<String>,
        /// Its kind, when told.
        kind: Option<String>,
        /// Its text, when told.
        data: Option<String>,
    },
    /// A participant cannot be served any more: what it missed overflowed, or what it sent cannot be read. It is
    /// evicted at once with [`EndReason::NetworkLost`].
    Lapse {
        /// Who.
        participant: String,
    },
    /// A participant's socket closed without a leave.
    SocketLost {
        /// Whose.
        participant: String,
    },
    /// The participant came back on another socket.
    SocketBack {
        /// Who.
        participant: String,
    },
    /// The commands of a [`crate::Run`] with this number ended.
    Ran {
        /// The run's number.
        op: u64,
        /// How.
        result: Result<(), MediaError>,
    },
    /// The data plane restarted and holds nothing of before.
    MediaRestarted,
    /// Time passed; due timers fire.
    Tick,
    /// End the room.
    Close {
        /// Why.
        reason: EndReason,
    },
}
