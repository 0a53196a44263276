//! The server's offer to a subscriber, and the client's answer to it.

use dataplane_protocol::{Codec, CodecParameters, ExtensionKind, HeaderExtension, MediaKind};

use super::codec::{self, fmtp_to_offer};
use super::error::SdpError;
use super::extension::Streams;
use super::parse::{OfferedCodec, Section, Side, parse};
use super::subscribe::{no_common_codec, write};
use super::types::{Line, LocalTransport, PublishedMedia, Skeleton, SubscribePlan, SubscribedMedia};
use super::{extension, publish};

/// What the server offers besides the codec, with ids of its own choice. One table for all m-lines, since an id must
/// mean the same on every m-line of a bundle (RFC 9143 9).
const EXTENSION_IDS: [(ExtensionKind, u32); 6] = [
    (ExtensionKind::Mid, 1),
    (ExtensionKind::AbsSendTime, 2),
    (ExtensionKind::TransportCc, 3),
    (ExtensionKind::AudioLevel, 4),
    (ExtensionKind::VideoOrientation, 5),
    (ExtensionKind::DependencyDescriptor, 6),
];
const AUDIO_PAYLOAD_TYPE: u32 = 111;
const VIDEO_PAYLOAD_TYPE: u32 = 96;
const VIDEO_RTX_PAYLOAD_TYPE: u32 = 97;

/// Writes an offer with one m-line per published track, in the given order. The plan still lacks the client's end.
/// `ssrcs` gives SSRCs that are unique on the subscriber's transport.
pub fn offer_subscribe(
    published: &[PublishedMedia],
    local: &LocalTransport,
    cname: &str,
    stream_id: &str,
    ssrcs: &mut dyn FnMut() -> u32,
) -> (String, SubscribePlan) {
    let media: Vec<_> = published.iter().enumerate().map(|(i, track)| offered_media(i, track, ssrcs)).collect();
    let lines = media
        .iter()
        .enumerate()
        .map(|(i, media)| Line {
            media: super::error::kind_name(media.kind).to_owned(),
            proto: "UDP/TLS/RTP/SAVPF".to_owned(),
            format: media.codec.payload_type.to_string(),
            mid: Some(media.mid.clone()),
            rtcp_rsize: true,
            extension_params: Vec::new(),
            layers: Vec::new(),
            accepted: Some(i),
        })
        .collect();
    let plan = SubscribePlan { remote: None, media, skeleton: Skeleton { lines, allow_mixed: true, bundle: true } };
    (write(&plan, local, "actpass", cname, stream_id), plan)
}

/// Reads the client's answer to [`offer_subscribe`]'s offer: the plan with the client's end, without the tracks it
/// refused, in the numbering that it answered.
///
/// # Errors
/// [`SdpError`] when the text cannot be used, does not fit the offer, or refuses every track.
pub fn accept_answer(plan: &SubscribePlan, answer: &str) -> Result<SubscribePlan, SdpError> {
    let parsed = parse(answer)?;
    let offered = &plan.skeleton.lines;
    if parsed.sections.len() != offered.len() {
        let (got, want) = (parsed.sections.len(), offered.len());
        return Err(SdpError::AnswerMismatch(format!("{got} m-lines for {want} offered")));
    }
    let mut media = Vec::new();
    let mut accepted = Vec::new();
    let mut lines = offered.clone();
    for (i, section) in parsed.sections.iter().enumerate() {
        let line = &mut lines[i];
        let offered = line.accepted.take().and_then(|index| plan.media.get(index));
        let Some(offered) = offered.filter(|_| !section.rejected && section.direction.receives()) else { continue };
        if section.kind != Some(offered.kind) || section.mid.as_deref().is_some_and(|mid| mid != offered.mid) {
            return Err(SdpError::AnswerMismatch(format!(
                "{} answers {} with a=mid:{}",
                section.place, line.media, offered.mid
            )));
        }
        line.accepted = Some(media.len());
        media.push(answered_media(offered, section, parsed.allow_mixed)?);
        accepted.push(i);
    }
    let Some(&first) = accepted.first() else { return Err(SdpError::NoMedia { wanted: "receiving" }) };
    parsed.check_accepted(&accepted)?;
    let remote = parsed.sections[first].remote(Side::Answer)?;
    let skeleton = Skeleton { lines, allow_mixed: parsed.allow_mixed, bundle: plan.skeleton.bundle };
    Ok(SubscribePlan { remote: Some(remote), media, skeleton })
}

fn offered_media(source: usize, track: &PublishedMedia, ssrcs: &mut dyn FnMut() -> u32) -> SubscribedMedia {
    let video = track.kind == MediaKind::Video;
    let codec = CodecParameters {
        codec: track.codec.codec,
        payload_type: payload_type(track),
        clock_rate: track.codec.clock_rate,
        rtx_payload_type: video.then_some(VIDEO_RTX_PAYLOAD_TYPE),
        nack: video,
        pli: video,
        fir: video,
        transport_cc: true,
        remb: false,
    };
    let extensions = EXTENSION_IDS
        .iter()
        .filter(|(kind, _)| extension::is_wanted(*kind, track.kind, Streams::One))
        .filter(|(kind, _)| !extension::passes_through(*kind) || track.extensions.iter().any(|e| e.kind() == *kind))
        .map(|(kind, id)| HeaderExtension { kind: *kind as i32, id: *id })
        .collect();
    let ssrc = ssrcs();
    SubscribedMedia {
        kind: track.kind,
        mid: source.to_string(),
        codec_name: track.codec_name.clone(),
        channels: track.channels,
        fmtp: fmtp_to_offer(track),
        ssrc,
        rtx_ssrc: codec.rtx_payload_type.map(|_| ssrcs()),
        extensions,
        source,
        codec,
    }
}

/// Static payload types stay (RFC 3551 6), all others are ours.
fn payload_type(track: &PublishedMedia) -> u32 {
    match (track.kind, track.codec.codec(), track.codec_name.as_str()) {
        (MediaKind::Audio, Codec::OtherAudio, "PCMU") => 0,
        (MediaKind::Audio, Codec::OtherAudio, "PCMA") => 8,
        (MediaKind::Audio, Codec::OtherAudio, "G722") => 9,
        (MediaKind::Audio, ..) => AUDIO_PAYLOAD_TYPE,
        (MediaKind::Video, ..) => VIDEO_PAYLOAD_TYPE,
    }
}

fn answered_media(
    offered: &SubscribedMedia,
    section: &Section,
    allow_mixed: bool,
) -> Result<SubscribedMedia, SdpError> {
    let answered = answered_codec(offered, &section.codecs)
        .ok_or_else(|| no_common_codec(&as_track(offered), section.codec_shapes()))?;
    let mut codec = publish::parameters(answered, offered.codec.codec, offered.kind);
    // An answer may only take away from what was offered (RFC 4585 4.2).
    codec.nack &= offered.codec.nack;
    codec.pli &= offered.codec.pli;
    codec.fir &= offered.codec.fir;
    codec.transport_cc &= offered.codec.transport_cc;
    codec.remb &= offered.codec.remb;
    codec.rtx_payload_type = codec.rtx_payload_type.filter(|_| offered.rtx_ssrc.is_some());
    let extensions = publish::extensions(section, offered.kind, Streams::One, allow_mixed)
        .into_iter()
        .filter(|e| offered.extensions.contains(e))
        .collect();
    let rtx_ssrc = offered.rtx_ssrc.filter(|_| codec.rtx_payload_type.is_some());
    Ok(SubscribedMedia { codec, rtx_ssrc, extensions, ..offered.clone() })
}

/// The answered payload type of the offered codec. One codec was offered, so that its name identifies it; format
/// parameters of an answer may differ, as an H264 level does.
fn answered_codec<'a>(offered: &SubscribedMedia, codecs: &'a [OfferedCodec]) -> Option<&'a OfferedCodec> {
    let same = |c: &&OfferedCodec| {
        codec::recognise(offered.kind, c).is_some_and(|(_, name)| name.eq_ignore_ascii_case(&offered.codec_name))
    };
    let numbered = codecs.iter().filter(same).find(|c| u32::from(c.payload_type) == offered.codec.payload_type);
    numbered.or_else(|| codecs.iter().find(same))
}

fn as_track(media: &SubscribedMedia) -> PublishedMedia {
    PublishedMedia {
        kind: media.kind,
        mid: media.mid.clone(),
        codec: media.codec.clone(),
        codec_name: media.codec_name.clone(),
        channels: media.channels,
        fmtp: media.fmtp.clone(),
        ssrc: None,
        rtx_ssrc: None,
        extensions: Vec::new(),
        direction: super::types::Direction::SendOnly,
        rids: Vec::new(),
    }
}
