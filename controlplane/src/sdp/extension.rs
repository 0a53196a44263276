//! Header extension URIs.

use dataplane_protocol::{ExtensionKind, MediaKind};

const URIS: [(ExtensionKind, &str); 8] = [
    (ExtensionKind::Mid, "urn:ietf:params:rtp-hdrext:sdes:mid"),
    (ExtensionKind::Rid, "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"),
    (ExtensionKind::RepairedRid, "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"),
    (ExtensionKind::AbsSendTime, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"),
    (ExtensionKind::TransportCc, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"),
    (ExtensionKind::AudioLevel, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
    (ExtensionKind::VideoOrientation, "urn:3gpp:video-orientation"),
    (
        ExtensionKind::DependencyDescriptor,
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
    ),
];

/// The kind that a URI names, `Unknown` for all others.
pub(super) fn kind_of(uri: &str) -> ExtensionKind {
    URIS.iter().find(|(_, known)| *known == uri).map_or(ExtensionKind::Unknown, |(kind, _)| *kind)
}

/// The URI of a kind; empty for `Unknown`.
pub(super) fn uri_of(kind: ExtensionKind) -> &'static str {
    URIS.iter().find(|(known, _)| *known == kind).map_or("", |(_, uri)| *uri)
}

/// Whether the data plane only repeats what the publisher sent, so that it is worth offering to a subscriber only when
/// the publisher has it.
pub(super) fn passes_through(kind: ExtensionKind) -> bool {
    matches!(kind, ExtensionKind::AudioLevel | ExtensionKind::VideoOrientation | ExtensionKind::DependencyDescriptor)
}

/// How many streams an m-line carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streams {
    One,
    /// Simulcast layers of a publisher.
    ByRid,
}

/// Whether a kind is negotiated. The two stream ids tell simulcast layers apart; elsewhere they would only cost bytes.
pub(super) fn is_wanted(kind: ExtensionKind, media: MediaKind, streams: Streams) -> bool {
    match kind {
        ExtensionKind::Mid | ExtensionKind::AbsSendTime | ExtensionKind::TransportCc => true,
        ExtensionKind::AudioLevel => media == MediaKind::Audio,
        ExtensionKind::VideoOrientation | ExtensionKind::DependencyDescriptor => media == MediaKind::Video,
        ExtensionKind::Rid | ExtensionKind::RepairedRid => streams == Streams::ByRid,
        ExtensionKind::Unknown => false,
    }
}
