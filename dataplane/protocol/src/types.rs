//! Values that commands, events and snapshots share.

use prost::{Enumeration, Message};

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum MediaKind {
    /// Audio.
    Audio = 0,
    /// Video.
    Video = 1,
}

/// The codecs that the data plane can recognise a keyframe in (audio has none to recognise).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Codec {
    /// Not given; refused by the data plane.
    Unknown = 0,
    /// RFC 7587.
    Opus = 1,
    /// RFC 7741.
    Vp8 = 2,
    /// RFC 9628.
    Vp9 = 3,
    /// RFC 6184, packetization mode 0 or 1.
    H264 = 4,
    /// AV1 RTP payload specification 1.0.
    Av1 = 5,
    /// Any other audio codec (PCMU, PCMA, G722): forwarded as it is.
    OtherAudio = 6,
    /// Any other video codec: forwarded as it is, every packet taken as a possible start.
    OtherVideo = 7,
}

/// RTP header extensions that the data plane reads or writes. Others are left out of what it forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum ExtensionKind {
    /// Not given; ignored.
    Unknown = 0,
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`, RFC 9143.
    Mid = 1,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`, RFC 8852.
    Rid = 2,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id`, RFC 8852.
    RepairedRid = 3,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`.
    AbsSendTime = 4,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`.
    TransportCc = 5,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level`, RFC 6464.
    AudioLevel = 6,
    /// `urn:3gpp:video-orientation`.
    VideoOrientation = 7,
    /// `https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension`.
    DependencyDescriptor = 8,
}

/// The data plane's part in the DTLS handshake of a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enumeration)]
#[repr(i32)]
pub enum DtlsRole {
    /// Waits for a ClientHello (`a=setup:passive`).
    Server = 0,
    /// Sends the ClientHello once the first check has claimed the transport (`a=setup:active`).
    Client = 1,
}

/// SRTP protection profiles, in the order of preference that the handshake uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enumeration)]
#[repr(i32)]
pub enum SrtpProfile {
    /// No keys yet.
    None = 0,
    /// `SRTP_AEAD_AES_128_GCM`, RFC 7714.
    AeadAes128Gcm = 1,
    /// `SRTP_AEAD_AES_256_GCM`, RFC 7714.
    AeadAes256Gcm = 2,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`, RFC 5764.
    Aes128CmSha1_80 = 3,
}

/// One certificate fingerprint of `a=fingerprint`, RFC 8122.
#[derive(Clone, PartialEq, Eq, Message)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Fingerprint {
    /// Hash function as SDP spells it, lower case: `sha-256`, `sha-384`, `sha-512` or `sha-1`.
    #[prost(string, tag = "1")]
    pub hash: String,
    /// The digest itself, not its text form.
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
}

/// Where clients can send to: one announced address of the data plane.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Candidate {
    /// IPv4 or IPv6 address in text form.
    #[prost(string, tag = "1")]
    pub address: String,
    /// UDP port, 1 to 65535.
    #[prost(uint32, tag = "2")]
    pub port: u32,
}

/// What the client's SDP says of its end of a transport.
#[derive(Clone, PartialEq, Eq, Message)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RemoteParameters {
    /// `a=ice-ufrag`, RFC 8839, 4 to 256 characters.
    #[prost(string, tag = "1")]
    pub ice_ufrag: String,
    /// `a=ice-pwd`, RFC 8839, 22 to 256 characters. Kept for the day the data plane sends checks itself.
    #[prost(string, tag = "2")]
    pub ice_pwd: String,
    /// Certificates that the client may show; one match is enough, none is a refusal.
    #[prost(message, repeated, tag = "3")]
    pub fingerprints: Vec<Fingerprint>,
    /// The data plane's own part, from the client's `a=setup`.
    #[prost(enumeration = "DtlsRole", tag = "4")]
    pub dtls_role: i32,
}

/// A codec as negotiated on one m-line, seen from RTP.
#[derive(Clone, PartialEq, Eq, Message)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CodecParameters {
    /// Which codec.
    #[prost(enumeration = "Codec", tag = "1")]
    pub codec: i32,
    /// RTP payload type, 0 to 127.
    #[prost(uint32, tag = "2")]
    pub payload_type: u32,
    /// RTP clock rate in Hz.
    #[prost(uint32, tag = "3")]
    pub clock_rate: u32,
    /// Payload type of RFC 4588 retransmissions of this codec; absent: none negotiated.
    #[prost(uint32, optional, tag = "4")]
    pub rtx_payload_type: Option<u32>,
    /// `a=rtcp-fb … nack`.
    #[prost(bool, tag = "5")]
    pub nack: bool,
    /// `a=rtcp-fb … nack pli`.
    #[prost(bool, tag = "6")]
    pub pli: bool,
    /// `a=rtcp-fb … ccm fir`.
    #[prost(bool, tag = "7")]
    pub fir: bool,
    /// `a=rtcp-fb … transport-cc`.
    #[prost(bool, tag = "8")]
    pub transport_cc: bool,
    /// `a=rtcp-fb … goog-remb`.
    #[prost(bool, tag = "9")]
    pub remb: bool,
}

/// One negotiated `a=extmap`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HeaderExtension {
    /// What it carries.
    #[prost(enumeration = "ExtensionKind", tag = "1")]
    pub kind: i32,
    /// Its local identifier, 1 to 14 (one-byte form) or up to 255 (two-byte form), RFC 8285.
    #[prost(uint32, tag = "2")]
    pub id: u32,
}
