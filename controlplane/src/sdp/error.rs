//! Why a session description was refused.

use dataplane_protocol::MediaKind;

/// A session description that cannot be used. The text is for the person who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Longer than accepted.
    #[error("SDP of {len} bytes exceeds the limit of {max}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// Not the line format of RFC 8866.
    #[error("SDP does not parse: {0}")]
    Syntax(String),
    /// More of something than accepted.
    #[error("SDP has more than {max} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// An attribute whose value cannot be used.
    #[error("{place}: a={attribute}: {reason} (in \"{value}\")")]
    Attribute {
        /// The m-line, or the session.
        place: String,
        /// Its name.
        attribute: &'static str,
        /// Its value, shortened.
        value: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// An attribute that must be there.
    #[error("{place}: a={attribute} is missing: {reason}")]
    Missing {
        /// The m-line.
        place: String,
        /// Its name.
        attribute: &'static str,
        /// Why it is needed.
        reason: &'static str,
    },
    /// Several m-lines that are not all in one BUNDLE group.
    #[error("{place}: not in the first m-line's a=group:BUNDLE; all media must share one transport (RFC 9143)")]
    NotBundled {
        /// The m-line left out.
        place: String,
    },
    /// No m-line that can be accepted.
    #[error("SDP has no {wanted} audio or video m-line")]
    NoMedia {
        /// `sending`, or `receiving`.
        wanted: &'static str,
    },
    /// No codec of an m-line is supported.
    #[error("{place}: none of its codecs is supported; offered: {}; supported: {supported}", list(.offered))]
    NoUsableCodec {
        /// The m-line.
        place: String,
        /// Encoding names as offered.
        offered: Vec<String>,
        /// What would have been accepted.
        supported: &'static str,
    },
    /// The session forces a video codec that the client does not offer.
    #[error("the session forces video codec {forced}, which was not offered; offered: {}", list(.offered))]
    ForcedCodecNotOffered {
        /// The forced codec.
        forced: &'static str,
        /// Encoding names as offered.
        offered: Vec<String>,
    },
    /// The subscriber cannot receive what the publisher sends.
    #[error(
        "publisher and subscriber share no {} codec; published: {published}; subscriber takes: {}",
        kind_name(*.kind), list(.offered)
    )]
    NoCommonCodec {
        /// Audio or video.
        kind: MediaKind,
        /// The publisher's codec with its format parameters.
        published: String,
        /// Encoding names of the subscriber, with their format parameters.
        offered: Vec<String>,
    },
    /// An answer that does not fit the offer it answers.
    #[error("answer does not fit the offer: {0}")]
    AnswerMismatch(String),
}

impl SdpError {
    /// Whether codecs are what the two sides disagree about (OpenVidu's error 800).
    pub fn is_codec_mismatch(&self) -> bool {
        matches!(self, Self::NoUsableCodec { .. } | Self::ForcedCodecNotOffered { .. } | Self::NoCommonCodec { .. })
    }

    pub(super) fn attribute(place: &str, attribute: &'static str, value: &str, reason: &'static str) -> Self {
        Self::Attribute { place: place.to_owned(), attribute, value: shorten(value), reason }
    }

    pub(super) fn missing(place: &str, attribute: &'static str, reason: &'static str) -> Self {
        Self::Missing { place: place.to_owned(), attribute, reason }
    }
}

pub(super) fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

/// Longest attribute value repeated in an error, in characters.
const SHOWN: usize = 60;

fn shorten(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
