//! What negotiations take and give.

use dataplane_protocol::{Candidate, CodecParameters, Fingerprint, HeaderExtension, MediaKind, RemoteParameters};

use serde::{Deserialize, Serialize};

use super::simulcast::Layer;

/// The data plane's end of a transport, as an answer or offer announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalTransport {
    /// `a=ice-ufrag`, 4 to 32 ice-chars.
    pub ice_ufrag: String,
    /// `a=ice-pwd`, 22 to 64 ice-chars.
    pub ice_pwd: String,
    /// Of the data plane's certificate.
    pub fingerprint: Fingerprint,
    /// Announced addresses, best first. Addresses that are not IP literals are left out.
    pub candidates: Vec<Candidate>,
    /// `o=` session id; the upper bit is cleared, since some parsers read it as a signed number.
    pub session_id: u64,
}

/// Video codecs that can be forced or forwarded with keyframe recognition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// RFC 7741.
    Vp8,
    /// RFC 9628, profile 0.
    Vp9,
    /// RFC 6184.
    H264,
    /// AV1 RTP payload specification 1.0, profile 0.
    Av1,
}

impl VideoCodec {
    /// The encoding name of `a=rtpmap`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H264",
            Self::Av1 => "AV1",
        }
    }
}

/// What the session wants of a publisher.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The one video codec allowed; `None`: the first supported one in the offer's order.
    pub forced_video_codec: Option<VideoCodec>,
    /// Upper bound announced for video towards the server, in kbit/s; 0: none.
    pub max_video_receive_kbps: u32,
    /// Whether the client is to get its own stream back on the same transport, where its m-lines allow.
    pub loopback: bool,
}

/// Direction attributes of RFC 8866, from the point of view of who wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// `a=sendrecv`, also when nothing is said.
    #[default]
    SendRecv,
    /// `a=sendonly`.
    SendOnly,
    /// `a=recvonly`.
    RecvOnly,
    /// `a=inactive`.
    Inactive,
}

impl Direction {
    /// Whether its writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether its writer receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// One accepted m-line of a publisher, in its numbering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedMedia {
    /// Audio or video.
    pub kind: MediaKind,
    /// `a=mid`, at most 16 bytes; empty when a lone m-line has none.
    pub mid: String,
    /// The chosen codec.
    pub codec: CodecParameters,
    /// Its encoding name, as in `a=rtpmap`: `opus`, `VP8`, …
    pub codec_name: String,
    /// Audio channels of `a=rtpmap`, when written.
    pub channels: Option<u8>,
    /// Format parameters to repeat, without the payload type.
    pub fmtp: Option<String>,
    /// `a=ssrc` of the media, when the offer names it.
    pub ssrc: Option<u32>,
    /// SSRC of its retransmissions, when the offer names it.
    pub rtx_ssrc: Option<u32>,
    /// Accepted header extensions.
    pub extensions: Vec<HeaderExtension>,
    /// As offered; `SendRecv` is a client that would also receive (loopback).
    pub direction: Direction,
    /// `a=rid` of the accepted simulcast layers, at most 4, as offered: in rising quality by the clients' custom; empty:
    /// one stream that its SSRC or mid identifies.
    pub rids: Vec<String>,
}

/// A publishing offer, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishPlan {
    /// The client's end of the transport.
    pub remote: RemoteParameters,
    /// The accepted m-lines, at most one of each kind, in the offer's order.
    pub media: Vec<PublishedMedia>,
    /// What is sent back on them (loopback), in the publisher's numbering: one for each `sendrecv` m-line if the policy
    /// has it so, else nothing.
    pub echo: Vec<SubscribedMedia>,
    pub(super) skeleton: Skeleton,
    pub(super) max_video_receive_kbps: u32,
}

/// One m-line that carries a published track to a subscriber, in the subscriber's numbering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribedMedia {
    /// Audio or video.
    pub kind: MediaKind,
    /// `a=mid`, at most 16 bytes; empty when a lone m-line has none.
    pub mid: String,
    /// The publisher's codec.
    pub codec: CodecParameters,
    /// Its encoding name, as in `a=rtpmap`.
    pub codec_name: String,
    /// Audio channels of `a=rtpmap`, when written.
    pub channels: Option<u8>,
    /// Format parameters, without the payload type.
    pub fmtp: Option<String>,
    /// SSRC to send with.
    pub ssrc: u32,
    /// SSRC for retransmissions, when the codec has an RTX payload type.
    pub rtx_ssrc: Option<u32>,
    /// Negotiated header extensions.
    pub extensions: Vec<HeaderExtension>,
    /// Index of the track in the published media that were given.
    pub source: usize,
}

/// A subscription, negotiated or offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribePlan {
    /// The client's end of the transport; `None` until it answered the server's offer.
    pub remote: Option<RemoteParameters>,
    /// What is sent, in m-line order.
    pub media: Vec<SubscribedMedia>,
    pub(super) skeleton: Skeleton,
}

/// What writing an answer needs beyond the accepted media: every m-line in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Skeleton {
    pub(super) lines: Vec<Line>,
    pub(super) allow_mixed: bool,
    /// Whether `a=group:BUNDLE` is written.
    pub(super) bundle: bool,
}

/// One m-line of the offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// `audio`, `video`, `application`, …
    pub(super) media: String,
    pub(super) proto: String,
    /// First format, for a rejection.
    pub(super) format: String,
    pub(super) mid: Option<String>,
    pub(super) rtcp_rsize: bool,
    /// Extension attributes (`vad=on`) by extension id.
    pub(super) extension_params: Vec<(u32, String)>,
    /// Simulcast layers to receive.
    pub(super) layers: Vec<Layer>,
    /// Index of the plan's media; `None`: rejected.
    pub(super) accepted: Option<usize>,
}
