//! A publisher's offer and its answer.

use dataplane_protocol::{CodecParameters, HeaderExtension, MediaKind};

use super::error::SdpError;
use super::parse::{OfferedCodec, Parsed, Section, Side, parse};
use super::types::{LocalTransport, Policy, PublishPlan, PublishedMedia, Skeleton};
use super::write::{Accepted, CodecLines, Writer, answer_setup};
use super::{codec, extension};

/// Reads a publishing offer: the first sending audio and the first sending video m-line are accepted, each with exactly
/// one codec (and its retransmissions); all others are rejected.
///
/// `ssrcs` gives SSRCs that are unique on the publisher's transport, for what is sent back to it.
///
/// # Errors
/// [`SdpError`] when the text cannot be used; [`SdpError::is_codec_mismatch`] tells disagreements about codecs apart.
pub fn negotiate_publish(
    offer: &str,
    policy: &Policy,
    ssrcs: &mut dyn FnMut() -> u32,
) -> Result<PublishPlan, SdpError> {
    let _ = ssrcs;
    let parsed = parse(offer)?;
    let accepted = first_of_each_kind(&parsed);
    let Some(&first) = accepted.first() else { return Err(SdpError::NoMedia { wanted: "sending" }) };
    parsed.check_accepted(&accepted)?;
    let media = accepted
        .iter()
        .map(|&i| published(&parsed.sections[i], policy, parsed.allow_mixed))
        .collect::<Result<Vec<_>, _>>()?;
    let remote = parsed.sections[first].remote(Side::Offer)?;
    let position = |i| accepted.iter().position(|a| *a == i);
    let lines = parsed.sections.iter().enumerate().map(|(i, section)| section.line(position(i))).collect();
    let bundle = accepted.iter().all(|&i| parsed.sections[i].mid.as_ref().is_some_and(|m| parsed.bundle.contains(m)));
    let skeleton = Skeleton { lines, allow_mixed: parsed.allow_mixed, bundle };
    Ok(PublishPlan { remote, media, echo: Vec::new(), skeleton, max_video_receive_kbps: policy.max_video_receive_kbps })
}

/// Writes the answer to a publishing offer.
pub fn answer_publish(plan: &PublishPlan, local: &LocalTransport) -> String {
    let mut writer = Writer::new(local, answer_setup(plan.remote.dtls_role()), &plan.skeleton);
    for line in &plan.skeleton.lines {
        let Some(media) = line.accepted.and_then(|i| plan.media.get(i)) else {
            writer.rejected(line);
            continue;
        };
        writer.accepted(&Accepted {
            line,
            codec: CodecLines {
                codec: &media.codec,
                name: &media.codec_name,
                channels: media.channels,
                fmtp: media.fmtp.as_deref(),
            },
            extensions: &media.extensions,
            direction: "recvonly",
            sending: None,
            max_kbps: if media.kind == MediaKind::Video { plan.max_video_receive_kbps } else { 0 },
        });
    }
    writer.finish()
}

fn first_of_each_kind(parsed: &Parsed) -> Vec<usize> {
    let mut seen = Vec::new();
    let mut accepted = Vec::new();
    for (i, section) in parsed.sections.iter().enumerate() {
        let Some(kind) = section.kind else { continue };
        if !section.rejected && section.direction.sends() && !seen.contains(&kind) {
            seen.push(kind);
            accepted.push(i);
        }
    }
    accepted
}

fn published(section: &Section, policy: &Policy, allow_mixed: bool) -> Result<PublishedMedia, SdpError> {
    let kind = section.kind.unwrap_or(MediaKind::Audio);
    let Some((offered, codec, name)) = codec::choose(kind, &section.codecs, policy.forced_video_codec) else {
        return Err(no_codec(section, kind, policy));
    };
    let parameters = parameters(offered, codec as i32, kind);
    Ok(PublishedMedia {
        kind,
        mid: section.mid.clone().unwrap_or_default(),
        codec_name: name.to_owned(),
        channels: offered.channels,
        fmtp: codec::fmtp_to_repeat(codec, offered),
        ssrc: section.ssrc,
        rtx_ssrc: section.rtx_ssrc.filter(|_| parameters.rtx_payload_type.is_some()),
        extensions: extensions(section, kind, allow_mixed),
        direction: section.direction,
        rids: Vec::new(),
        codec: parameters,
    })
}

fn no_codec(section: &Section, kind: MediaKind, policy: &Policy) -> SdpError {
    match (kind, policy.forced_video_codec) {
        (MediaKind::Video, Some(forced)) => {
            SdpError::ForcedCodecNotOffered { forced: forced.name(), offered: section.codec_names() }
        }
        _ => SdpError::NoUsableCodec {
            place: section.place.clone(),
            offered: section.codec_names(),
            supported: if kind == MediaKind::Audio { codec::SUPPORTED_AUDIO } else { codec::SUPPORTED_VIDEO },
        },
    }
}

/// The protocol's view of an offered codec, feedback included as offered.
pub(super) fn parameters(offered: &OfferedCodec, codec: i32, kind: MediaKind) -> CodecParameters {
    let video = kind == MediaKind::Video;
    CodecParameters {
        codec,
        payload_type: offered.payload_type.into(),
        clock_rate: offered.clock_rate,
        rtx_payload_type: offered.rtx.map(u32::from),
        nack: offered.feedback.nack,
        pli: offered.feedback.pli && video,
        fir: offered.feedback.fir && video,
        transport_cc: offered.feedback.transport_cc,
        remb: offered.feedback.remb,
    }
}

/// The extensions of an m-line that are accepted, in the offer's order. Ids above 14 need the two-byte form, which may
/// only be mixed with the one-byte form when both sides say so (RFC 8285 4.1.2).
pub(super) fn extensions(section: &Section, kind: MediaKind, allow_mixed: bool) -> Vec<HeaderExtension> {
    section
        .extensions
        .iter()
        .filter(|e| extension::is_wanted(e.kind, kind) && (e.id <= 14 || allow_mixed))
        .map(|e| HeaderExtension { kind: e.kind as i32, id: e.id })
        .collect()
}
