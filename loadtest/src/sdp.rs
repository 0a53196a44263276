//! The few lines of SDP that bots need: a publishing offer, what a server answers or offers, and the answer to that.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::media::Codec;

/// Header extension: m-line, RFC 9143.
pub(crate) const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// Header extension: simulcast layer, RFC 8852.
pub(crate) const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
/// Header extension: layer of a retransmission, RFC 8852.
pub(crate) const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
/// Header extension: sequence number of the whole transport.
pub(crate) const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

const AUDIO_PAYLOAD_TYPE: u8 = 111;
const VIDEO_PAYLOAD_TYPE: u8 = 96;
const RTX_PAYLOAD_TYPE: u8 = 97;

/// Why an SDP cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the server's SDP {0}")]
pub(crate) struct SdpError(&'static str);

/// The bot's end.
pub(crate) struct Local<'a> {
    pub(crate) ufrag: &'a str,
    pub(crate) password: &'a str,
    pub(crate) fingerprint: &'a str,
    /// `actpass`, `active` or `passive`.
    pub(crate) setup: &'static str,
    /// Whether transport-wide congestion control is negotiated.
    pub(crate) transport_cc: bool,
}

/// A track to offer.
pub(crate) struct Track {
    pub(crate) codec: Codec,
    /// SSRC and that of its retransmissions; with layers the rids tell.
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: Option<u32>,
    /// Simulcast layers, low to high; fewer than two: none.
    pub(crate) rids: Vec<String>,
}

/// A server's description.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) candidates: Vec<SocketAddr>,
    pub(crate) ufrag: String,
    pub(crate) password: String,
    /// Lower-case name of the hash, and the digest in upper-case hexadecimal with colons.
    pub(crate) fingerprint: (String, String),
    pub(crate) setup: String,
    pub(crate) media: Vec<Media>,
}

/// One m-line of a server.
#[derive(Debug, Default)]
pub(crate) struct Media {
    pub(crate) video: bool,
    pub(crate) rejected: bool,
    pub(crate) protocol: String,
    pub(crate) mid: String,
    pub(crate) payload_type: u8,
    pub(crate) rtx_payload_type: Option<u8>,
    /// `a=rtpmap` of the payload type.
    pub(crate) codec: String,
    pub(crate) fmtp: Option<String>,
    pub(crate) ssrc: Option<u32>,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) extensions: Vec<(u8, String)>,
    pub(crate) feedback: Vec<String>,
}

macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{
        // Writing to a String cannot fail.
        let _ = write!($out, $($arg)*);
        $out.push_str("\r\n");
    }};
}

/// An offer to send these tracks, in the shape of a browser's.
pub(crate) fn offer(local: &Local<'_>, tracks: &[Track]) -> String {
    let mids: Vec<_> = (0..tracks.len()).map(|mid| mid.to_string()).collect();
    let mut out = head(&mids);
    for (mid, track) in mids.iter().zip(tracks) {
        let video = track.codec != Codec::Opus;
        if video {
            line!(out, "m=video 9 UDP/TLS/RTP/SAVPF {VIDEO_PAYLOAD_TYPE} {RTX_PAYLOAD_TYPE}");
        } else {
            line!(out, "m=audio 9 UDP/TLS/RTP/SAVPF {AUDIO_PAYLOAD_TYPE}");
        }
        transport(&mut out, local, mid);
        line!(out, "a=extmap:1 {MID}");
        if video && track.rids.len() > 1 {
            line!(out, "a=extmap:2 {RID}");
            line!(out, "a=extmap:3 {REPAIRED_RID}");
        }
        if local.transport_cc {
            line!(out, "a=extmap:4 {TRANSPORT_CC}");
        }
        line!(out, "a=sendonly");
        line!(out, "a=msid:loadtest loadtest_{mid}");
        line!(out, "a=rtcp-mux");
        line!(out, "a=rtcp-rsize");
        let pt = if video { VIDEO_PAYLOAD_TYPE } else { AUDIO_PAYLOAD_TYPE };
        codec_lines(&mut out, track.codec, pt, local.transport_cc);
        track_lines(&mut out, track, video);
    }
    out
}

/// An offer to receive sound and a picture in any codec that is known here.
pub(crate) fn offer_to_receive(local: &Local<'_>, audio: bool, video: bool) -> String {
    let kinds = [(audio, false), (video, true)].into_iter().filter(|(wanted, _)| *wanted).map(|(_, video)| video);
    let lines: Vec<_> = kinds.enumerate().map(|(mid, video)| (mid.to_string(), video)).collect();
    let mids: Vec<_> = lines.iter().map(|(mid, _)| mid.clone()).collect();
    let mut out = head(&mids);
    for (mid, video) in &lines {
        if *video {
            line!(out, "m=video 9 UDP/TLS/RTP/SAVPF {VIDEO_PAYLOAD_TYPE} {RTX_PAYLOAD_TYPE} 98 99");
        } else {
            line!(out, "m=audio 9 UDP/TLS/RTP/SAVPF {AUDIO_PAYLOAD_TYPE}");
        }
        transport(&mut out, local, mid);
        line!(out, "a=extmap:1 {MID}");
        if local.transport_cc {
            line!(out, "a=extmap:4 {TRANSPORT_CC}");
        }
        line!(out, "a=recvonly");
        line!(out, "a=rtcp-mux");
        line!(out, "a=rtcp-rsize");
        if *video {
            codec_lines(&mut out, Codec::Vp8, VIDEO_PAYLOAD_TYPE, local.transport_cc);
            codec_lines(&mut out, Codec::H264, 98, local.transport_cc);
        } else {
            codec_lines(&mut out, Codec::Opus, AUDIO_PAYLOAD_TYPE, local.transport_cc);
        }
    }
    out
}

/// The answer to a server's offer: everything it sends, in its numbering. Of its header extensions and feedback only
/// what is understood here.
pub(crate) fn answer(local: &Local<'_>, remote: &Remote) -> String {
    let mids: Vec<_> = remote.media.iter().filter(|media| !media.rejected).map(|media| media.mid.clone()).collect();
    let mut out = head(&mids);
    for media in &remote.media {
        let kind = if media.video { "video" } else { "audio" };
        let pt = media.payload_type;
        let rtx = media.rtx_payload_type.map(|rtx| format!(" {rtx}")).unwrap_or_default();
        let port = if media.rejected { 0 } else { 9 };
        line!(out, "m={kind} {port} {} {pt}{rtx}", media.protocol);
        transport(&mut out, local, &media.mid);
        for (id, uri) in media.extensions.iter().filter(|(_, uri)| is_understood(uri, local.transport_cc)) {
            line!(out, "a=extmap:{id} {uri}");
        }
        line!(out, "a=recvonly");
        line!(out, "a=rtcp-mux");
        line!(out, "a=rtcp-rsize");
        line!(out, "a=rtpmap:{pt} {}", media.codec);
        let known = |feedback: &&String| match feedback.as_str() {
            "transport-cc" => local.transport_cc,
            "nack" | "nack pli" => true,
            _ => false,
        };
        for feedback in media.feedback.iter().filter(known) {
            line!(out, "a=rtcp-fb:{pt} {feedback}");
        }
        if let Some(fmtp) = &media.fmtp {
            line!(out, "a=fmtp:{pt} {fmtp}");
        }
        if let Some(rtx) = media.rtx_payload_type {
            line!(out, "a=rtpmap:{rtx} rtx/90000");
            line!(out, "a=fmtp:{rtx} apt={pt}");
        }
    }
    out
}

/// Reads a server's offer or answer.
pub(crate) fn parse(text: &str) -> Result<Remote, SdpError> {
    let mut media: Vec<Media> = Vec::new();
    let mut session: Vec<&str> = Vec::new();
    let mut candidates = Vec::new();
    let mut all: Vec<(&str, &str)> = Vec::new();
    for line in text.lines() {
        if let Some(m_line) = line.strip_prefix("m=") {
            media.push(m_line_of(m_line)?);
        } else if let Some(attribute) = line.strip_prefix("a=") {
            let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            all.push((name, value));
            if name == "candidate" {
                candidates.extend(candidate(value));
            }
            match media.last_mut() {
                Some(media) => media.attribute(name, value),
                None => session.push(name),
            }
        }
    }
    let find = |wanted: &str| all.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
    let fingerprint = find("fingerprint").ok_or(SdpError("has no a=fingerprint"))?;
    let (hash, digest) = fingerprint.split_once(' ').ok_or(SdpError("has a broken a=fingerprint"))?;
    Ok(Remote {
        candidates,
        ufrag: find("ice-ufrag").ok_or(SdpError("has no a=ice-ufrag"))?,
        password: find("ice-pwd").ok_or(SdpError("has no a=ice-pwd"))?,
        fingerprint: (hash.to_ascii_lowercase(), digest.trim().to_ascii_uppercase()),
        setup: find("setup").ok_or(SdpError("has no a=setup"))?,
        media,
    })
}

impl Remote {
    /// The address to send to: one of the same machine if the server itself is reached there, else the first.
    pub(crate) fn address(&self, on_this_machine: bool) -> Result<SocketAddr, SdpError> {
        let own = self.candidates.iter().find(|address| on_this_machine && address.ip().is_loopback());
        let usable = || self.candidates.iter().find(|address| on_this_machine || !address.ip().is_loopback());
        let found = own.or_else(usable).or_else(|| self.candidates.first());
        found.copied().ok_or(SdpError("has no UDP candidate; candidates that come later are not understood"))
    }
}

impl Media {
    /// The codec, if it is known here.
    pub(crate) fn known_codec(&self) -> Option<Codec> {
        let name = self.codec.split('/').next().unwrap_or_default();
        [Codec::Vp8, Codec::H264, Codec::Opus].into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// The id of a header extension.
    pub(crate) fn extension(&self, uri: &str) -> Option<u8> {
        self.extensions.iter().find(|(_, known)| known == uri).map(|(id, _)| *id)
    }

    fn attribute(&mut self, name: &str, value: &str) {
        let (first, rest) = value.split_once(' ').unwrap_or((value, ""));
        let own = first == self.payload_type.to_string();
        match name {
            "mid" => value.clone_into(&mut self.mid),
            "rtpmap" if own => rest.clone_into(&mut self.codec),
            "fmtp" if own => self.fmtp = Some(rest.to_owned()),
            "fmtp" if rest.strip_prefix("apt=") == Some(&self.payload_type.to_string()) => {
                self.rtx_payload_type = first.parse().ok();
            }
            "rtcp-fb" if own || first == "*" => self.feedback.push(rest.to_owned()),
            "extmap" => {
                let id = first.split('/').next().and_then(|id| id.parse().ok());
                let uri = rest.split(' ').next().unwrap_or_default();
                self.extensions.extend(id.map(|id| (id, uri.to_owned())));
            }
            "ssrc" if self.ssrc.is_none() => self.ssrc = first.parse().ok(),
            "ssrc-group" if first == "FID" => {
                let mut ssrcs = rest.split(' ').filter_map(|ssrc| ssrc.parse().ok());
                self.ssrc = ssrcs.next();
                self.rtx_ssrc = ssrcs.next();
            }
            _ => {}
        }
    }
}

fn is_understood(uri: &str, transport_cc: bool) -> bool {
    uri == MID || (transport_cc && uri == TRANSPORT_CC)
}

fn m_line_of(text: &str) -> Result<Media, SdpError> {
    let words: Vec<_> = text.split(' ').collect();
    let [kind, port, protocol, format, ..] = words[..] else { return Err(SdpError("has a broken m-line")) };
    Ok(Media {
        video: kind == "video",
        rejected: port == "0",
        protocol: protocol.to_owned(),
        payload_type: format.parse().map_err(|_| SdpError("has an m-line without a payload type"))?,
        ..Media::default()
    })
}

fn candidate(value: &str) -> Option<SocketAddr> {
    let words: Vec<_> = value.split(' ').collect();
    let [_, "1", transport, _, address, port, "typ", ..] = words[..] else { return None };
    let address: IpAddr = address.parse().ok()?;
    transport.eq_ignore_ascii_case("udp").then_some(SocketAddr::new(address, port.parse().ok()?))
}

fn head(mids: &[String]) -> String {
    let mut out = String::with_capacity(2_048);
    line!(out, "v=0");
    line!(out, "o=- 4611731400430051336 2 IN IP4 127.0.0.1");
    line!(out, "s=-");
    line!(out, "t=0 0");
    line!(out, "a=group:BUNDLE {}", mids.join(" "));
    line!(out, "a=extmap-allow-mixed");
    line!(out, "a=msid-semantic: WMS loadtest");
    out
}

fn transport(out: &mut String, local: &Local<'_>, mid: &str) {
    line!(out, "c=IN IP4 0.0.0.0");
    line!(out, "a=rtcp:9 IN IP4 0.0.0.0");
    line!(out, "a=ice-ufrag:{}", local.ufrag);
    line!(out, "a=ice-pwd:{}", local.password);
    line!(out, "a=ice-options:trickle");
    line!(out, "a=fingerprint:sha-256 {}", local.fingerprint);
    line!(out, "a=setup:{}", local.setup);
    line!(out, "a=mid:{mid}");
}

/// A codec's lines; retransmissions have the payload type after its own.
fn codec_lines(out: &mut String, codec: Codec, pt: u8, transport_cc: bool) {
    match codec {
        Codec::Opus => {
            line!(out, "a=rtpmap:{pt} opus/48000/2");
            if transport_cc {
                line!(out, "a=rtcp-fb:{pt} transport-cc");
            }
            line!(out, "a=fmtp:{pt} minptime=10;useinbandfec=1");
        }
        Codec::Vp8 | Codec::H264 => {
            line!(out, "a=rtpmap:{pt} {}/90000", codec.name());
            let transport_cc = transport_cc.then_some("transport-cc");
            for feedback in ["goog-remb"].into_iter().chain(transport_cc).chain(["ccm fir", "nack", "nack pli"]) {
                line!(out, "a=rtcp-fb:{pt} {feedback}");
            }
            if codec == Codec::H264 {
                let shape = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
                line!(out, "a=fmtp:{pt} {shape}");
            }
            line!(out, "a=rtpmap:{} rtx/90000", pt + 1);
            line!(out, "a=fmtp:{} apt={pt}", pt + 1);
        }
    }
}

fn track_lines(out: &mut String, track: &Track, video: bool) {
    if video && track.rids.len() > 1 {
        for rid in &track.rids {
            line!(out, "a=rid:{rid} send");
        }
        line!(out, "a=simulcast:send {}", track.rids.join(";"));
        return;
    }
    if let Some(rtx) = track.rtx_ssrc {
        line!(out, "a=ssrc-group:FID {} {rtx}", track.ssrc);
    }
    for ssrc in std::iter::once(track.ssrc).chain(track.rtx_ssrc) {
        line!(out, "a=ssrc:{ssrc} cname:loadtest");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: Local<'static> = Local {
        ufrag: "bots",
        password: "0123456789012345678901",
        fingerprint: "AB:CD",
        setup: "active",
        transport_cc: true,
    };
    const PLAIN: Local<'static> = Local { transport_cc: false, ..LOCAL };
    const SERVER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\na=group:BUNDLE 0 1\r\n\
        m=audio 40000 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 192.0.2.1\r\n\
        a=candidate:1 1 udp 2130706431 192.0.2.1 40000 typ host\r\na=candidate:2 1 udp 2130706175 127.0.0.1 40000 typ host\r\n\
        a=candidate:3 1 tcp 1 192.0.2.1 9 typ host tcptype active\r\n\
        a=ice-ufrag:UFRA\r\na=ice-pwd:PASSWORD\r\na=fingerprint:SHA-256 0a:0b\r\na=setup:actpass\r\na=mid:0\r\n\
        a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=rtpmap:111 opus/48000/2\r\na=ssrc:5 cname:x\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\na=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
        a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
        a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n\
        a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=ssrc-group:FID 7 8\r\na=ssrc:7 cname:x\r\n";

    #[test]
    fn a_servers_description_is_read() {
        let remote = parse(SERVER).unwrap();
        assert_eq!(remote.address(true).unwrap().to_string(), "127.0.0.1:40000");
        assert_eq!(remote.address(false).unwrap().to_string(), "192.0.2.1:40000");
        assert_eq!(remote.fingerprint, ("sha-256".to_owned(), "0A:0B".to_owned()));
        let [audio, video] = &remote.media[..] else { panic!("{remote:?}") };
        assert_eq!((audio.video, audio.payload_type, audio.ssrc, audio.rtx_payload_type), (false, 111, Some(5), None));
        assert_eq!((video.ssrc, video.rtx_ssrc, video.rtx_payload_type), (Some(7), Some(8), Some(97)));
        assert_eq!(video.extension(TRANSPORT_CC), Some(3));
    }

    #[test]
    fn an_answer_takes_only_what_is_understood() {
        let remote = parse(SERVER).unwrap();
        let without = answer(&PLAIN, &remote);
        assert!(!without.contains("transport"), "{without}");
        let with = answer(&LOCAL, &remote);
        assert!(with.contains("a=extmap:3 ") && with.contains("a=rtcp-fb:96 transport-cc"), "{with}");
        assert_eq!(parse(&with).unwrap().media[1].rtx_payload_type, Some(97));
    }

    #[test]
    fn congestion_control_is_offered_unless_it_is_not_wanted() {
        let tracks = [Codec::Opus, Codec::Vp8].map(|codec| Track { codec, ssrc: 1, rtx_ssrc: None, rids: vec![] });
        for offer in [offer(&LOCAL, &tracks), offer_to_receive(&LOCAL, true, true)] {
            let media = parse(&format!("a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n{offer}")).unwrap().media;
            let agreed = |media: &Media| {
                media.extension(TRANSPORT_CC) == Some(4) && media.feedback.contains(&"transport-cc".to_owned())
            };
            assert!(media.len() == 2 && media.iter().all(agreed), "{offer}");
        }
        for offer in [offer(&PLAIN, &tracks), offer_to_receive(&PLAIN, true, true)] {
            assert!(!offer.contains("transport-"), "{offer}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = parse(&SERVER.replace("a=ice-pwd", "a=x")).unwrap_err().to_string();
        assert!(error.contains("a=ice-pwd"), "{error}");
        let lonely = parse(&SERVER.replace("a=candidate", "a=x")).unwrap();
        assert!(lonely.address(true).is_err());
    }

    #[test]
    fn layers_are_offered_by_rid_and_streams_by_ssrc() {
        let track = |rids: &[&str]| Track {
            codec: Codec::Vp8,
            ssrc: 1,
            rtx_ssrc: Some(2),
            rids: rids.iter().map(|rid| (*rid).to_owned()).collect(),
        };
        let layers = offer(&LOCAL, &[track(&["a", "b"])]);
        assert!(layers.contains("a=simulcast:send a;b") && !layers.contains("a=ssrc"), "{layers}");
        let one = offer(&LOCAL, &[track(&[])]);
        assert!(one.contains("a=ssrc-group:FID 1 2") && !one.contains("simulcast"), "{one}");
    }
}
