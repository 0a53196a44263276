//! A subscriber's offer and its answer.

use dataplane_protocol::{Codec, MediaKind};

use super::error::SdpError;
use super::extension::Streams;
use super::parse::{OfferedCodec, Parsed, Section, Side, parse, shape};
use super::types::{LocalTransport, PublishedMedia, Skeleton, SubscribePlan, SubscribedMedia};
use super::write::{Accepted, CodecLines, Sending, Writer, answer_setup};
use super::{codec, extension, publish};

/// Reads a subscriber's offer against what is published. Each published track takes the first receiving m-line of its
/// kind; a track without one is left out, an m-line without a track is rejected. `ssrcs` gives SSRCs that are unique on
/// the subscriber's transport.
///
/// # Errors
/// [`SdpError`] when the text cannot be used, or [`SdpError::NoCommonCodec`].
pub fn negotiate_subscribe(
    offer: &str,
    published: &[PublishedMedia],
    ssrcs: &mut dyn FnMut() -> u32,
) -> Result<SubscribePlan, SdpError> {
    let parsed = parse(offer)?;
    let matched = match_lines(&parsed, published);
    let accepted: Vec<usize> = matched.iter().map(|(line, _)| *line).collect();
    let Some(&first) = accepted.first() else { return Err(SdpError::NoMedia { wanted: "receiving" }) };
    parsed.check_accepted(&accepted)?;
    let mut media = Vec::with_capacity(matched.len());
    for &(line, source) in &matched {
        media.push(subscribed(&parsed.sections[line], published, source, parsed.allow_mixed, ssrcs)?);
    }
    let remote = parsed.sections[first].remote(Side::Offer)?;
    let position = |i| accepted.iter().position(|a| *a == i);
    let lines = parsed.sections.iter().enumerate().map(|(i, section)| section.line(position(i))).collect();
    let bundle = accepted.iter().all(|&i| parsed.sections[i].mid.as_ref().is_some_and(|m| parsed.bundle.contains(m)));
    let skeleton = Skeleton { lines, allow_mixed: parsed.allow_mixed, bundle };
    Ok(SubscribePlan { remote: Some(remote), media, skeleton })
}

/// Writes the answer to a subscriber's offer. Tracks that share `cname` are played in sync.
pub fn answer_subscribe(plan: &SubscribePlan, local: &LocalTransport, cname: &str, stream_id: &str) -> String {
    let setup = plan.remote.as_ref().map_or("passive", |remote| answer_setup(remote.dtls_role()));
    write(plan, local, setup, cname, stream_id)
}

/// The whole text, for an answer or an offer.
pub(super) fn write(
    plan: &SubscribePlan,
    local: &LocalTransport,
    setup: &'static str,
    cname: &str,
    stream_id: &str,
) -> String {
    let mut writer = Writer::new(local, setup, &plan.skeleton);
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
            direction: "sendonly",
            sending: Some(Sending { cname, stream_id, ssrc: media.ssrc, rtx_ssrc: media.rtx_ssrc }),
            max_kbps: 0,
        });
    }
    writer.finish()
}

/// Pairs of m-line and published index, in m-line order.
fn match_lines(parsed: &Parsed, published: &[PublishedMedia]) -> Vec<(usize, usize)> {
    let mut taken = vec![false; published.len()];
    let mut pairs = Vec::new();
    for (line, section) in parsed.sections.iter().enumerate() {
        if section.rejected || !section.direction.receives() {
            continue;
        }
        let free = published.iter().enumerate().find(|(i, p)| !taken[*i] && Some(p.kind) == section.kind);
        if let Some((source, _)) = free {
            taken[source] = true;
            pairs.push((line, source));
        }
    }
    pairs
}

fn subscribed(
    section: &Section,
    published: &[PublishedMedia],
    source: usize,
    allow_mixed: bool,
    ssrcs: &mut dyn FnMut() -> u32,
) -> Result<SubscribedMedia, SdpError> {
    let track = &published[source];
    let offered =
        codec::find_match(track, &section.codecs).ok_or_else(|| no_common_codec(track, section.codec_shapes()))?;
    let parameters = publish::parameters(offered, track.codec.codec, track.kind);
    let extensions = publish::extensions(section, track.kind, Streams::One, allow_mixed)
        .into_iter()
        .filter(|e| !extension::passes_through(e.kind()) || track.extensions.iter().any(|sent| sent.kind == e.kind))
        .collect();
    let ssrc = ssrcs();
    Ok(SubscribedMedia {
        kind: track.kind,
        mid: section.mid.clone().unwrap_or_default(),
        codec_name: track.codec_name.clone(),
        channels: offered.channels,
        fmtp: fmtp_of_answer(track, offered),
        ssrc,
        rtx_ssrc: parameters.rtx_payload_type.map(|_| ssrcs()),
        extensions,
        source,
        codec: parameters,
    })
}

/// An answer repeats the shape that was offered for H264, VP9 and AV1, since it is part of the codec's identity; for
/// audio it says what is sent.
fn fmtp_of_answer(track: &PublishedMedia, offered: &OfferedCodec) -> Option<String> {
    match track.kind {
        MediaKind::Video => codec::fmtp_to_repeat(track.codec.codec(), offered),
        MediaKind::Audio => codec::fmtp_to_offer(track),
    }
}

/// [`SdpError::NoCommonCodec`] with both sides spelled out.
pub(super) fn no_common_codec(track: &PublishedMedia, offered: Vec<String>) -> SdpError {
    let shaped = matches!(track.codec.codec(), Codec::H264 | Codec::Vp9 | Codec::Av1);
    let params = track.fmtp.iter().filter(|_| shaped).cloned();
    SdpError::NoCommonCodec { kind: track.kind, published: shape(&track.codec_name, params), offered }
}
