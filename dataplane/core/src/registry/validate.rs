//! Checks of a command that need nothing but the command itself: lengths, ranges, members that contradict.

use dataplane_protocol::{
    Codec, CodecParameters, CreateTransport, DtlsRole, ErrorCode, ExtensionKind, Failure, HeaderExtension, MediaKind,
    Publish, RemoteParameters, Subscribe,
};

/// Longest label, in bytes.
const MAX_LABEL: usize = 256;
/// Longest `a=mid`, in bytes: what a one-byte header extension carries (RFC 8285 4.2).
const MAX_MID: usize = 16;
/// Longest RTCP CNAME, in bytes.
const MAX_CNAME: usize = 64;
/// Most fingerprints of one client: an SDP has one per hash function and certificate.
const MAX_FINGERPRINTS: usize = 16;
/// Most header extensions of one m-line.
const MAX_EXTENSIONS: usize = 32;
/// Most layers of one stream: browsers send three.
const MAX_LAYERS: usize = 4;
/// Highest RTP payload type, RFC 3550 5.1.
const MAX_PAYLOAD_TYPE: u32 = 127;
/// Highest header extension id, RFC 8285 4.3.
const MAX_EXTENSION_ID: u32 = 255;

pub(super) fn invalid(detail: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::Invalid, detail)
}

pub(super) fn create_transport(spec: &CreateTransport) -> Result<(), Failure> {
    id("transport", spec.transport)?;
    own_ice("ice_ufrag", &spec.ice_ufrag, 4, 32)?;
    own_ice("ice_pwd", &spec.ice_pwd, 22, 64)?;
    at_most("label", &spec.label, MAX_LABEL)?;
    spec.remote.as_ref().map_or(Ok(()), remote)
}

pub(super) fn remote(spec: &RemoteParameters) -> Result<(), Failure> {
    remote_ice("remote.ice_ufrag", &spec.ice_ufrag, 4, 256)?;
    remote_ice("remote.ice_pwd", &spec.ice_pwd, 22, 256)?;
    if spec.fingerprints.is_empty() || spec.fingerprints.len() > MAX_FINGERPRINTS {
        return Err(invalid(format!("remote.fingerprints: 1 to {MAX_FINGERPRINTS} are needed")));
    }
    for fingerprint in &spec.fingerprints {
        let expected = match fingerprint.hash.as_str() {
            "sha-1" => 20,
            "sha-256" => 32,
            "sha-384" => 48,
            "sha-512" => 64,
            _ => return Err(invalid("remote.fingerprints: unknown hash")),
        };
        if fingerprint.digest.len() != expected {
            return Err(invalid("remote.fingerprints: the digest's length does not fit its hash"));
        }
    }
    DtlsRole::try_from(spec.dtls_role).map(|_| ()).map_err(|_| invalid("remote.dtls_role is unknown"))
}

pub(super) fn publish(spec: &Publish) -> Result<(), Failure> {
    id("track", spec.track)?;
    id("transport", spec.transport)?;
    let kind = MediaKind::try_from(spec.kind).map_err(|_| invalid("kind is unknown"))?;
    mid(&spec.mid)?;
    let of_codec = codec(spec.codec.as_ref())?;
    if of_codec != kind {
        return Err(invalid("kind does not fit the codec"));
    }
    if spec.ssrc.is_none() && spec.mid.is_empty() {
        return Err(invalid("ssrc or mid is needed to tell the track's packets"));
    }
    if spec.ssrc.is_some() && spec.ssrc == spec.rtx_ssrc {
        return Err(invalid("rtx_ssrc equals ssrc"));
    }
    rid(&spec.rid)?;
    if !spec.rid.is_empty() && spec.mid.is_empty() && spec.ssrc.is_none() {
        return Err(invalid("rid needs a mid or an ssrc beside it"));
    }
    extensions(&spec.extensions)?;
    at_most("label", &spec.label, MAX_LABEL)
}

pub(super) fn subscribe(spec: &Subscribe) -> Result<(), Failure> {
    id("subscription", spec.subscription)?;
    id("transport", spec.transport)?;
    id("track", spec.track)?;
    mid(&spec.mid)?;
    codec(spec.codec.as_ref())?;
    if spec.ssrc == 0 {
        return Err(invalid("ssrc is missing"));
    }
    if spec.rtx_ssrc == Some(0) || spec.rtx_ssrc == Some(spec.ssrc) {
        return Err(invalid("rtx_ssrc is zero or equals ssrc"));
    }
    let has_rtx = spec.codec.as_ref().is_some_and(|codec| codec.rtx_payload_type.is_some());
    if has_rtx && spec.rtx_ssrc.is_none() {
        return Err(invalid("rtx_ssrc is needed with an rtx_payload_type"));
    }
    extensions(&spec.extensions)?;
    at_most("cname", &spec.cname, MAX_CNAME)?;
    at_most("label", &spec.label, MAX_LABEL)
}

/// The tracks of a subscription, as far as their ids tell.
pub(super) fn sources(lowest: u64, higher: &[u64]) -> Result<(), Failure> {
    id("track", lowest)?;
    if higher.len() >= MAX_LAYERS {
        return Err(invalid(format!("higher: more than {} tracks", MAX_LAYERS - 1)));
    }
    for (at, track) in higher.iter().enumerate() {
        id("higher", *track)?;
        if *track == lowest || higher[..at].contains(track) {
            return Err(invalid("higher: a track occurs twice"));
        }
    }
    Ok(())
}

/// A subscription carries its track's codec; only the numbering may differ.
pub(super) fn same_codec(own: Option<&CodecParameters>, tracks: Option<&CodecParameters>) -> Result<(), Failure> {
    match (own, tracks) {
        (Some(own), Some(tracks)) if own.codec != tracks.codec => Err(invalid("codec is not the track's")),
        (Some(own), Some(tracks)) if own.clock_rate != tracks.clock_rate => {
            Err(invalid("codec.clock_rate is not the track's"))
        }
        (Some(_), Some(_)) => Ok(()),
        (None, _) | (_, None) => Err(invalid("codec is missing")),
    }
}

/// Checks codec parameters and tells the kind of media they carry.
fn codec(parameters: Option<&CodecParameters>) -> Result<MediaKind, Failure> {
    let parameters = parameters.ok_or_else(|| invalid("codec is missing"))?;
    let kind = match Codec::try_from(parameters.codec) {
        Ok(Codec::Opus | Codec::OtherAudio) => MediaKind::Audio,
        Ok(Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::Av1 | Codec::OtherVideo) => MediaKind::Video,
        Ok(Codec::Unknown) | Err(_) => return Err(invalid("codec.codec is unknown")),
    };
    if parameters.payload_type > MAX_PAYLOAD_TYPE {
        return Err(invalid("codec.payload_type exceeds 127"));
    }
    if parameters.clock_rate == 0 {
        return Err(invalid("codec.clock_rate is missing"));
    }
    match parameters.rtx_payload_type {
        Some(rtx) if rtx > MAX_PAYLOAD_TYPE => Err(invalid("codec.rtx_payload_type exceeds 127")),
        Some(rtx) if rtx == parameters.payload_type => Err(invalid("codec.rtx_payload_type equals payload_type")),
        Some(_) | None => Ok(kind),
    }
}

fn extensions(list: &[HeaderExtension]) -> Result<(), Failure> {
    if list.len() > MAX_EXTENSIONS {
        return Err(invalid(format!("extensions: more than {MAX_EXTENSIONS}")));
    }
    for (at, extension) in list.iter().enumerate() {
        if extension.id == 0 || extension.id > MAX_EXTENSION_ID {
            return Err(invalid("extensions: an id is not in 1 to 255"));
        }
        let earlier = &list[..at];
        if earlier.iter().any(|other| other.id == extension.id) {
            return Err(invalid("extensions: an id occurs twice"));
        }
        let is_named = extension.kind != ExtensionKind::Unknown as i32;
        if is_named && earlier.iter().any(|other| other.kind == extension.kind) {
            return Err(invalid("extensions: a kind occurs twice"));
        }
    }
    Ok(())
}

/// Zero is what an absent member decodes to, so it cannot be an id.
fn id(member: &str, value: u64) -> Result<(), Failure> {
    if value == 0 { Err(invalid(format!("{member} is missing"))) } else { Ok(()) }
}

fn mid(value: &str) -> Result<(), Failure> {
    at_most("mid", value, MAX_MID)?;
    if value.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(()) } else { Err(invalid("mid: not a token")) }
}

/// RFC 8852 3.1: letters and digits; older browsers' `-` and `_` are let through.
fn rid(value: &str) -> Result<(), Failure> {
    at_most("rid", value, MAX_MID)?;
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if value.bytes().all(is_fit) { Ok(()) } else { Err(invalid("rid: not letters and digits")) }
}

fn at_most(member: &str, value: &str, max: usize) -> Result<(), Failure> {
    if value.len() > max { Err(invalid(format!("{member}: longer than {max} bytes"))) } else { Ok(()) }
}

/// Our own credentials follow the grammar to the letter: ice-char of RFC 8839 5.4.
fn own_ice(member: &str, value: &str, min: usize, max: usize) -> Result<(), Failure> {
    length(member, value, min, max)?;
    let is_ice_char = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    if value.bytes().all(is_ice_char) { Ok(()) } else { Err(invalid(format!("{member}: not all ice-chars"))) }
}

/// Clients are known to use other characters; only what would break the `ufrag:ufrag` user name is refused.
fn remote_ice(member: &str, value: &str, min: usize, max: usize) -> Result<(), Failure> {
    length(member, value, min, max)?;
    let is_fit = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    if value.bytes().all(is_fit) { Ok(()) } else { Err(invalid(format!("{member}: a character is unfit"))) }
}

fn length(member: &str, value: &str, min: usize, max: usize) -> Result<(), Failure> {
    if (min..=max).contains(&value.len()) {
        Ok(())
    } else {
        Err(invalid(format!("{member}: {min} to {max} characters are needed")))
    }
}
