//! What the control plane asks for.

use prost::{Message, Oneof};

use crate::types::{CodecParameters, HeaderExtension, MediaKind, RemoteParameters};

/// One frame towards the data plane.
#[derive(Clone, PartialEq, Message)]
pub struct ToDataPlane {
    /// Chosen by the sender, echoed in the reply. Unique among the requests in flight on a connection.
    #[prost(uint64, tag = "1")]
    pub request_id: u64,
    /// The command; absent when the sender is newer and the command unknown here.
    #[prost(oneof = "Command", tags = "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20")]
    pub command: Option<Command>,
}

/// Every command. The comment of each names the reply it gets on success.
#[derive(Clone, PartialEq, Oneof)]
pub enum Command {
    /// First on every connection: `HelloReply`, and events flow from here on.
    #[prost(message, tag = "10")]
    Hello(Hello),
    /// `Done`.
    #[prost(message, tag = "11")]
    CreateTransport(CreateTransport),
    /// `Done`.
    #[prost(message, tag = "12")]
    SetRemote(SetRemote),
    /// `Done`; takes the transport's tracks and subscriptions with it.
    #[prost(message, tag = "13")]
    RemoveTransport(RemoveTransport),
    /// `Done`.
    #[prost(message, tag = "14")]
    Publish(Publish),
    /// `Done`; takes the subscriptions that have no other track with it, each ended by an RTCP BYE.
    #[prost(message, tag = "15")]
    Unpublish(Unpublish),
    /// `Done`.
    #[prost(message, tag = "16")]
    Subscribe(Subscribe),
    /// `Done`.
    #[prost(message, tag = "17")]
    Unsubscribe(Unsubscribe),
    /// `Snapshot`: everything the data plane holds.
    #[prost(message, tag = "18")]
    Snapshot(SnapshotRequest),
    /// `Stats`: counters only.
    #[prost(message, tag = "19")]
    Stats(StatsRequest),
    /// `Done`.
    #[prost(message, tag = "20")]
    Retarget(Retarget),
}

/// Introduces the control plane.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Hello {
    /// [`crate::VERSION`] of the sender.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Program and version, for the log.
    #[prost(string, tag = "2")]
    pub software: String,
}

/// Makes a client path known to every worker. The data plane chooses one of them for it, or leaves
/// it to the first authenticated check to claim it for the worker that it reaches.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateTransport {
    /// [`crate::TransportId`].
    #[prost(uint64, tag = "1")]
    pub transport: u64,
    /// The data plane's own `a=ice-ufrag`: 4 to 32 characters, unique among live transports.
    #[prost(string, tag = "2")]
    pub ice_ufrag: String,
    /// The data plane's own `a=ice-pwd`: 22 to 64 characters.
    #[prost(string, tag = "3")]
    pub ice_pwd: String,
    /// The client's end, when its SDP came first; otherwise `SetRemote` follows.
    #[prost(message, optional, tag = "4")]
    pub remote: Option<RemoteParameters>,
    /// Free text that snapshots give back, so that a restarted control plane can tell what this is
    /// (at most 256 bytes).
    #[prost(string, tag = "5")]
    pub label: String,
    /// The [`crate::TransportId`] of the publisher whose media will leave on this one: the data plane tries to give both to
    /// one worker, so that media need not cross. Absent, unknown or gone: any worker is as good.
    #[prost(uint64, optional, tag = "6")]
    pub near: Option<u64>,
}

/// Gives the client's end of a transport after the data plane's offer was answered.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SetRemote {
    /// [`crate::TransportId`].
    #[prost(uint64, tag = "1")]
    pub transport: u64,
    /// From the client's answer.
    #[prost(message, optional, tag = "2")]
    pub remote: Option<RemoteParameters>,
}

/// Ends a client path.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RemoveTransport {
    /// [`crate::TransportId`].
    #[prost(uint64, tag = "1")]
    pub transport: u64,
}

/// Announces a track that the client sends on a transport.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Publish {
    /// [`crate::TrackId`].
    #[prost(uint64, tag = "1")]
    pub track: u64,
    /// [`crate::TransportId`] it arrives on.
    #[prost(uint64, tag = "2")]
    pub transport: u64,
    /// Audio or video.
    #[prost(enumeration = "MediaKind", tag = "3")]
    pub kind: i32,
    /// `a=mid` of its m-line, at most 16 bytes; binds SSRCs that the SDP did not name.
    #[prost(string, tag = "4")]
    pub mid: String,
    /// The negotiated codec, in the publisher's numbering.
    #[prost(message, optional, tag = "5")]
    pub codec: Option<CodecParameters>,
    /// `a=ssrc` of the media, when the SDP names it.
    #[prost(uint32, optional, tag = "6")]
    pub ssrc: Option<u32>,
    /// SSRC of its RFC 4588 stream (`a=ssrc-group:FID`), when the SDP names it.
    #[prost(uint32, optional, tag = "7")]
    pub rtx_ssrc: Option<u32>,
    /// The negotiated header extensions, in the publisher's numbering.
    #[prost(message, repeated, tag = "8")]
    pub extensions: Vec<HeaderExtension>,
    /// Free text given back by snapshots (at most 256 bytes).
    #[prost(string, tag = "9")]
    pub label: String,
    /// `a=rid` of a simulcast layer, at most 16 bytes; empty for an m-line with one stream. Each layer is a track
    /// of its own: all of them have the m-line's mid, and are told apart by their rid.
    #[prost(string, tag = "10")]
    pub rid: String,
    /// Most that the client should send on the transport for this kind, in bit/s; 0: no bound. Told by REMB where
    /// that was negotiated.
    #[prost(uint64, tag = "11")]
    pub max_bitrate_bps: u64,
}

/// Ends a track and all subscriptions that have no other.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Unpublish {
    /// [`crate::TrackId`].
    #[prost(uint64, tag = "1")]
    pub track: u64,
}

/// Sends a track to a client.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Subscribe {
    /// [`crate::SubscriptionId`].
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// [`crate::TransportId`] of the subscriber.
    #[prost(uint64, tag = "2")]
    pub transport: u64,
    /// [`crate::TrackId`] to send: the lowest of several layers.
    #[prost(uint64, tag = "3")]
    pub track: u64,
    /// `a=mid` of the subscriber's m-line, at most 16 bytes; written into the mid extension if negotiated.
    #[prost(string, tag = "4")]
    pub mid: String,
    /// The same codec as the track's, in the subscriber's numbering.
    #[prost(message, optional, tag = "5")]
    pub codec: Option<CodecParameters>,
    /// SSRC to send with. It must never have been used before on the subscriber's transport, not even by a
    /// subscription that has ended: its packet indices begin anew, and with them the cipher's nonces.
    #[prost(uint32, tag = "6")]
    pub ssrc: u32,
    /// SSRC for RFC 4588 retransmissions; needed when the codec has an RTX payload type.
    #[prost(uint32, optional, tag = "7")]
    pub rtx_ssrc: Option<u32>,
    /// The negotiated header extensions, in the subscriber's numbering.
    #[prost(message, repeated, tag = "8")]
    pub extensions: Vec<HeaderExtension>,
    /// CNAME of the outgoing RTCP, at most 64 bytes; tracks that share one are played in sync.
    #[prost(string, tag = "9")]
    pub cname: String,
    /// Free text given back by snapshots (at most 256 bytes).
    #[prost(string, tag = "10")]
    pub label: String,
    /// [`crate::TrackId`]s of the same content in rising quality, above `track`, at most 3. The highest that flows
    /// is sent, and changes take place at keyframes; to the client it is one stream.
    #[prost(uint64, repeated, tag = "11")]
    pub higher: Vec<u64>,
}

/// Gives a running subscription other tracks to send, of the same codec. The client sees one stream that goes on:
/// what was sent before is sent until one of the new tracks has a keyframe, or until its track ends.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Retarget {
    /// [`crate::SubscriptionId`].
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// As in [`Subscribe`].
    #[prost(uint64, tag = "2")]
    pub track: u64,
    /// As in [`Subscribe`].
    #[prost(uint64, repeated, tag = "3")]
    pub higher: Vec<u64>,
}

/// Ends one subscription.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Unsubscribe {
    /// [`crate::SubscriptionId`].
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
}

/// Asks for everything the data plane holds.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct SnapshotRequest {}

/// Asks for the counters.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct StatsRequest {}
