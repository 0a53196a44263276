//! Codecs: which offered ones are supported, which of them to take, and which of a subscriber's fits a published one.

use dataplane_protocol::{Codec, MediaKind};

use super::parse::OfferedCodec;
use super::types::{PublishedMedia, VideoCodec};

/// Supported encodings, for error texts.
pub(super) const SUPPORTED_AUDIO: &str = "opus, PCMU, PCMA, G722";
/// Supported encodings, for error texts.
pub(super) const SUPPORTED_VIDEO: &str = "VP8, VP9 (profile 0), H264, AV1 (profile 0)";

/// What an offered codec is to us: the protocol's codec and its canonical encoding name, or `None` when unsupported.
pub(super) fn recognise(kind: MediaKind, offered: &OfferedCodec) -> Option<(Codec, &'static str)> {
    let is = |name: &str, clock: u32| offered.name.eq_ignore_ascii_case(name) && offered.clock_rate == clock;
    match kind {
        MediaKind::Audio if is("opus", 48_000) => Some((Codec::Opus, "opus")),
        MediaKind::Audio => ["PCMU", "PCMA", "G722"]
            .into_iter()
            .find(|name| is(name, 8_000) && offered.channels.unwrap_or(1) == 1)
            .map(|name| (Codec::OtherAudio, name)),
        MediaKind::Video if is("VP8", 90_000) => Some((Codec::Vp8, "VP8")),
        MediaKind::Video if is("VP9", 90_000) && zero_or_absent(offered, "profile-id") => Some((Codec::Vp9, "VP9")),
        MediaKind::Video if is("H264", 90_000) && H264::of(offered).mode <= 1 => Some((Codec::H264, "H264")),
        MediaKind::Video if is("AV1", 90_000) && zero_or_absent(offered, "profile") => Some((Codec::Av1, "AV1")),
        MediaKind::Video => None,
    }
}

/// The codec to take from a publisher, in the offer's order of preference; opus before all other audio.
pub(super) fn choose(
    kind: MediaKind,
    offered: &[OfferedCodec],
    forced: Option<VideoCodec>,
) -> Option<(&OfferedCodec, Codec, &'static str)> {
    let supported = || offered.iter().filter_map(|o| recognise(kind, o).map(|(codec, name)| (o, codec, name)));
    match kind {
        MediaKind::Audio => supported().find(|(_, codec, _)| *codec == Codec::Opus).or_else(|| supported().next()),
        MediaKind::Video => {
            let first = supported().find(|(_, _, name)| forced.is_none_or(|forced| forced.name() == *name))?;
            if first.1 != Codec::H264 {
                return Some(first);
            }
            // Browsers offer H264 in several shapes. One that every subscriber can decode is worth more than the
            // offer's order among them, because nothing here transcodes.
            supported().filter(|(_, codec, _)| *codec == Codec::H264).min_by_key(|(o, _, _)| H264::of(o).reach())
        }
    }
}

/// The subscriber's payload type that can take what the publisher sends: the closest match, then the offer's order.
pub(super) fn find_match<'a>(published: &PublishedMedia, offered: &'a [OfferedCodec]) -> Option<&'a OfferedCodec> {
    let codec = published.codec.codec();
    let same = offered.iter().filter(|o| {
        recognise(published.kind, o)
            .is_some_and(|(c, name)| c == codec && name.eq_ignore_ascii_case(&published.codec_name))
    });
    if codec != Codec::H264 {
        return { same }.next();
    }
    let sent = H264::parse(&params(published.fmtp.as_deref().unwrap_or_default()));
    same.filter_map(|o| H264::of(o).distance_from(sent).map(|d| (d, o))).min_by_key(|(d, _)| *d).map(|(_, o)| o)
}

/// The format parameters to repeat to a publisher and to build a subscriber's from.
pub(super) fn fmtp_to_repeat(codec: Codec, offered: &OfferedCodec) -> Option<String> {
    let keep = |keys: &[&str]| {
        let wanted = |(key, value): &&(String, String)| keys.contains(&key.as_str()) && is_sane(key, value);
        let kept: Vec<_> = offered.fmtp.iter().filter(wanted).map(pair).collect();
        (!kept.is_empty()).then(|| kept.join(";"))
    };
    match codec {
        Codec::Opus => {
            keep(&["minptime", "useinbandfec", "stereo", "sprop-stereo", "usedtx", "maxaveragebitrate", "cbr"])
                .or_else(|| Some("minptime=10;useinbandfec=1".to_owned()))
        }
        Codec::Vp9 => Some("profile-id=0".to_owned()),
        Codec::H264 => keep(&["level-asymmetry-allowed", "packetization-mode", "profile-level-id"]),
        Codec::Av1 => keep(&["level-idx", "profile", "tier"]),
        _ => None,
    }
}

/// The format parameters that the server offers to subscribers of a published codec.
pub(super) fn fmtp_to_offer(published: &PublishedMedia) -> Option<String> {
    let given = params(published.fmtp.as_deref().unwrap_or_default());
    match published.codec.codec() {
        Codec::Opus => {
            let stereo = given.iter().any(|(k, v)| (k == "stereo" || k == "sprop-stereo") && v == "1");
            let base = "minptime=10;useinbandfec=1";
            Some(if stereo { format!("{base};stereo=1;sprop-stereo=1") } else { base.to_owned() })
        }
        Codec::H264 => {
            let id = value(&given, "profile-level-id").unwrap_or(H264::DEFAULT_PROFILE_LEVEL_ID);
            let mode = H264::parse(&given).mode;
            Some(format!("level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={id}"))
        }
        _ => published.fmtp.clone(),
    }
}

/// Splits `key=value;key=value`, keys in lower case.
pub(super) fn params(fmtp: &str) -> Vec<(String, String)> {
    fmtp.split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (key.trim().to_ascii_lowercase(), value.trim().to_owned())
        })
        .collect()
}

/// Whether a value may be repeated: a broken one would make the answer unreadable to its receiver.
fn is_sane(key: &str, value: &str) -> bool {
    match key {
        "profile-level-id" => H264::level_id(value).is_some(),
        "minptime" | "maxaveragebitrate" | "packetization-mode" | "level-idx" | "profile" | "tier" => {
            value.parse::<u32>().is_ok()
        }
        _ => value == "0" || value == "1",
    }
}

fn pair((key, value): &(String, String)) -> String {
    format!("{key}={value}")
}

fn value<'a>(params: &'a [(String, String)], key: &str) -> Option<&'a str> {
    params.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
}

fn zero_or_absent(offered: &OfferedCodec, key: &str) -> bool {
    value(&offered.fmtp, key).is_none_or(|v| v == "0")
}

/// What of an H264 payload type decides whether another can receive it (RFC 6184 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct H264 {
    mode: u8,
    profile: Profile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
    Other(u8),
}

impl H264 {
    /// What browsers assume when the parameter is missing: constrained baseline, level 3.1.
    const DEFAULT_PROFILE_LEVEL_ID: &'static str = "42e01f";

    fn of(offered: &OfferedCodec) -> Self {
        Self::parse(&offered.fmtp)
    }

    fn parse(params: &[(String, String)]) -> Self {
        // Absent means 0; a value that does not parse is one that nobody supports.
        let mode = value(params, "packetization-mode").map_or(0, |v| v.parse().unwrap_or(u8::MAX));
        let id = value(params, "profile-level-id").unwrap_or(Self::DEFAULT_PROFILE_LEVEL_ID);
        let Some(id) = Self::level_id(id) else { return Self { mode: u8::MAX, profile: Profile::Other(0) } };
        let (idc, iop) = ((id >> 16) as u8, (id >> 8) as u8);
        // RFC 6184 table 5: profile_idc with constraint_set0 (0x80) to constraint_set5 (0x04).
        let profile = match idc {
            0x42 if iop & 0x40 != 0 => Profile::ConstrainedBaseline,
            0x4d if iop & 0x80 != 0 => Profile::ConstrainedBaseline,
            0x58 if iop & 0xc0 == 0xc0 => Profile::ConstrainedBaseline,
            0x42 => Profile::Baseline,
            0x58 if iop & 0x80 != 0 => Profile::Baseline,
            0x4d => Profile::Main,
            0x64 if iop & 0x0c == 0x0c => Profile::ConstrainedHigh,
            0x64 => Profile::High,
            other => Profile::Other(other),
        };
        Self { mode, profile }
    }

    /// Six hexadecimal digits.
    fn level_id(text: &str) -> Option<u32> {
        let hex = text.len() == 6 && text.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| u32::from_str_radix(text, 16).ok()).flatten()
    }

    /// Order in which a publisher's shapes are taken: packetization mode 1 first, then the profile most widely decoded.
    fn reach(self) -> (u8, Profile) {
        (1u8.saturating_sub(self.mode), self.profile)
    }

    /// How far a receiver's shape is from what is sent: 0 is the same, `None` cannot decode it.
    fn distance_from(self, sent: Self) -> Option<u8> {
        use Profile::{Baseline, ConstrainedBaseline, ConstrainedHigh, High, Main};
        // A mode 1 receiver takes single NAL units too (RFC 6184 6.2 and 6.3), not the other way round.
        if self.mode < sent.mode {
            return None;
        }
        let profile = match (sent.profile, self.profile) {
            (a, b) if a == b => 0,
            // WebRTC encoders never use the features (FMO, ASO) that baseline has over constrained baseline.
            (ConstrainedBaseline, Baseline) | (Baseline, ConstrainedBaseline) => 1,
            (ConstrainedBaseline | Baseline, Main) | (ConstrainedHigh, High) => 2,
            (ConstrainedBaseline | Baseline, ConstrainedHigh) => 3,
            (ConstrainedBaseline | Baseline | Main, High) => 4,
            _ => return None,
        };
        Some(profile * 2 + (self.mode - sent.mode))
    }
}
