//! A publisher's offer and its answer.

use dataplane_protocol::{CodecParameters, ExtensionKind, HeaderExtension, MediaKind};

use super::error::SdpError;
use super::extension::Streams;
use super::parse::{OfferedCodec, Parsed, Section, Side, parse};
use super::simulcast::Layer;
use super::types::{LocalTransport, Policy, PublishPlan, PublishedMedia, Skeleton, SubscribedMedia};
use super::write::{Accepted, CodecLines, Sending, Writer, answer_setup};
use super::{codec, extension};

/// Stream and cname of what is sent back; a transport has one publisher, so that the name needs not be its own.
const LOOPBACK: &str = "loopback";

/// Reads a publishing offer: the first sending audio and the first sending video m-line are accepted, each with exactly
/// one codec (and its retransmissions); all others are rejected. A video m-line with layers told apart by rid is accepted
/// with at most four of them. With [`Policy::loopback`] the accepted m-lines that also receive are sent back.
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
    let parsed = parse(offer)?;
    let accepted = first_of_each_kind(&parsed);
    let Some(&first) = accepted.first() else { return Err(SdpError::NoMedia { wanted: "sending" }) };
    parsed.check_accepted(&accepted)?;
    let mut lines: Vec<_> = parsed.sections.iter().map(|section| section.line(None)).collect();
    let mut media = Vec::with_capacity(accepted.len());
    for &i in &accepted {
        let (published, layers) = published(&parsed.sections[i], policy, parsed.allow_mixed)?;
        lines[i].accepted = Some(media.len());
        lines[i].layers = layers;
        media.push(published);
    }
    let sent_back = |(_, media): &(usize, &PublishedMedia)| policy.loopback && media.direction.receives();
    let echo = media.iter().enumerate().filter(sent_back).map(|(i, media)| echo(i, media, ssrcs)).collect();
    let remote = parsed.sections[first].remote(Side::Offer)?;
    let bundle = accepted.iter().all(|&i| parsed.sections[i].mid.as_ref().is_some_and(|m| parsed.bundle.contains(m)));
    let skeleton = Skeleton { lines, allow_mixed: parsed.allow_mixed, bundle };
    Ok(PublishPlan { remote, media, echo, skeleton, max_video_receive_kbps: policy.max_video_receive_kbps })
}

/// Writes the answer to a publishing offer.
pub fn answer_publish(plan: &PublishPlan, local: &LocalTransport) -> String {
    let mut writer = Writer::new(local, answer_setup(plan.remote.dtls_role()), &plan.skeleton);
    for line in &plan.skeleton.lines {
        let Some(media) = line.accepted.and_then(|i| plan.media.get(i)) else {
            writer.rejected(line);
            continue;
        };
        let echo = plan.echo.iter().find(|echo| Some(echo.source) == line.accepted);
        writer.accepted(&Accepted {
            line,
            codec: CodecLines {
                codec: &media.codec,
                name: &media.codec_name,
                channels: media.channels,
                fmtp: media.fmtp.as_deref(),
            },
            extensions: &media.extensions,
            direction: if echo.is_some() { "sendrecv" } else { "recvonly" },
            sending: echo.map(|echo| Sending {
                cname: LOOPBACK,
                stream_id: LOOPBACK,
                ssrc: echo.ssrc,
                rtx_ssrc: echo.rtx_ssrc,
            }),
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

fn published(section: &Section, policy: &Policy, allow_mixed: bool) -> Result<(PublishedMedia, Vec<Layer>), SdpError> {
    let kind = section.kind.unwrap_or(MediaKind::Audio);
    let Some((offered, codec, name)) = codec::choose(kind, &section.codecs, policy.forced_video_codec) else {
        return Err(no_codec(section, kind, policy));
    };
    let mut parameters = parameters(offered, codec as i32, kind);
    let layers = layers(section, kind, offered.payload_type, allow_mixed);
    let streams = if layers.is_empty() { Streams::One } else { Streams::ByRid };
    let extensions = extensions(section, kind, streams, allow_mixed);
    let is_negotiated = |kind| extensions.iter().any(|e| e.kind() == kind);
    if streams == Streams::ByRid && !is_negotiated(ExtensionKind::RepairedRid) {
        // Nothing would tell which layer a retransmission belongs to (RFC 8852 3.2).
        parameters.rtx_payload_type = None;
    }
    // A layer's SSRC is known by its packets; what the SDP lists beside rids is not said to belong to one of them.
    let ssrc = section.ssrc.filter(|_| streams == Streams::One);
    let media = PublishedMedia {
        kind,
        mid: section.mid.clone().unwrap_or_default(),
        codec_name: name.to_owned(),
        channels: offered.channels,
        fmtp: codec::fmtp_to_repeat(codec, offered),
        ssrc,
        rtx_ssrc: section.rtx_ssrc.filter(|_| ssrc.is_some() && parameters.rtx_payload_type.is_some()),
        extensions,
        direction: section.direction,
        rids: layers.iter().map(|layer| layer.rid.clone()).collect(),
        codec: parameters,
    };
    Ok((media, layers))
}

/// The simulcast layers to accept; none: one stream.
fn layers(section: &Section, kind: MediaKind, payload_type: u8, allow_mixed: bool) -> Vec<Layer> {
    // RFC 8853 5.6 and RFC 8852 3: the first packets of a layer say by mid and rid what they belong to. Without either
    // extension layers cannot be told apart, so that the m-line is answered without them, as one stream.
    let extensions = extensions(section, kind, Streams::ByRid, allow_mixed);
    let has = |kind| extensions.iter().any(|e| e.kind() == kind);
    if kind != MediaKind::Video || section.mid.is_none() || !has(ExtensionKind::Mid) || !has(ExtensionKind::Rid) {
        return Vec::new();
    }
    let layers = section.simulcast.accept(payload_type);
    // One layer of a known SSRC is an ordinary stream.
    if layers.len() == 1 && section.ssrc.is_some() { Vec::new() } else { layers }
}

/// A published track on its way back, on the m-line that it came on.
fn echo(source: usize, media: &PublishedMedia, ssrcs: &mut dyn FnMut() -> u32) -> SubscribedMedia {
    let for_one = |e: &&HeaderExtension| extension::is_wanted(e.kind(), media.kind, Streams::One);
    let ssrc = ssrcs();
    SubscribedMedia {
        kind: media.kind,
        mid: media.mid.clone(),
        codec: media.codec.clone(),
        codec_name: media.codec_name.clone(),
        channels: media.channels,
        fmtp: media.fmtp.clone(),
        ssrc,
        rtx_ssrc: media.codec.rtx_payload_type.map(|_| ssrcs()),
        extensions: media.extensions.iter().filter(for_one).copied().collect(),
        source,
    }
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
pub(super) fn extensions(
    section: &Section,
    kind: MediaKind,
    streams: Streams,
    allow_mixed: bool,
) -> Vec<HeaderExtension> {
    section
        .extensions
        .iter()
        .filter(|e| extension::is_wanted(e.kind, kind, streams) && (e.id <= 14 || allow_mixed))
        .map(|e| HeaderExtension { kind: e.kind as i32, id: e.id })
        .collect()
}
