//! Writing descriptions, line by line, in the order that browsers use themselves.

use std::fmt::Write;
use std::net::IpAddr;

use dataplane_protocol::{CodecParameters, DtlsRole, Fingerprint, HeaderExtension};

use super::extension;
use super::simulcast::Layer;
use super::types::{Line, LocalTransport, Skeleton};

/// One codec line of an m-line.
pub(super) struct CodecLines<'a> {
    pub(super) codec: &'a CodecParameters,
    pub(super) name: &'a str,
    pub(super) channels: Option<u8>,
    pub(super) fmtp: Option<&'a str>,
}

/// What identifies a track that is sent.
pub(super) struct Sending<'a> {
    pub(super) cname: &'a str,
    pub(super) stream_id: &'a str,
    pub(super) ssrc: u32,
    pub(super) rtx_ssrc: Option<u32>,
}

/// One accepted m-line.
pub(super) struct Accepted<'a> {
    pub(super) line: &'a Line,
    pub(super) codec: CodecLines<'a>,
    pub(super) extensions: &'a [HeaderExtension],
    /// `recvonly`, `sendonly` or `sendrecv`.
    pub(super) direction: &'static str,
    pub(super) sending: Option<Sending<'a>>,
    /// In kbit/s; 0: not written.
    pub(super) max_kbps: u32,
}

/// A description under construction.
pub(super) struct Writer<'a> {
    out: String,
    local: &'a LocalTransport,
    setup: &'static str,
    candidates: Vec<(IpAddr, u32)>,
    first: bool,
}

/// Appends one line.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{
        // Writing to a String cannot fail.
        let _ = write!($out, $($arg)*);
        $out.push_str("\r\n");
    }};
}

impl<'a> Writer<'a> {
    /// Begins with the session's lines.
    pub(super) fn new(local: &'a LocalTransport, setup: &'static str, skeleton: &Skeleton) -> Self {
        let mut out = String::with_capacity(4096);
        line!(out, "v=0");
        line!(out, "o=- {} 2 IN IP4 127.0.0.1", local.session_id & (u64::MAX >> 1));
        line!(out, "s=-");
        line!(out, "t=0 0");
        line!(out, "a=ice-lite");
        if skeleton.bundle {
            let mids: Vec<_> =
                skeleton.lines.iter().filter(|l| l.accepted.is_some()).filter_map(|l| l.mid.as_deref()).collect();
            line!(out, "a=group:BUNDLE {}", mids.join(" "));
        }
        if skeleton.allow_mixed {
            line!(out, "a=extmap-allow-mixed");
        }
        line!(out, "a=msid-semantic: WMS *");
        let candidates = local
            .candidates
            .iter()
            .filter_map(|c| Some((c.address.parse::<IpAddr>().ok()?, c.port)))
            .filter(|(_, port)| (1..=65_535).contains(port))
            .collect();
        Self { out, local, setup, candidates, first: true }
    }

    /// An m-line that is not accepted (RFC 3264 6).
    pub(super) fn rejected(&mut self, line: &Line) {
        line!(self.out, "m={} 0 {} {}", line.media, line.proto, line.format);
        line!(self.out, "c=IN IP4 0.0.0.0");
        if let Some(mid) = &line.mid {
            line!(self.out, "a=mid:{mid}");
        }
        line!(self.out, "a=inactive");
    }

    /// An accepted m-line. The first one carries the addresses of the bundle.
    pub(super) fn accepted(&mut self, media: &Accepted<'_>) {
        let first = std::mem::take(&mut self.first);
        let codec = media.codec.codec;
        let line = media.line;
        let (address, port) = match self.candidates.first() {
            Some((address, port)) if first => (*address, *port),
            _ => (IpAddr::from([0, 0, 0, 0]), 9),
        };
        let rtx = codec.rtx_payload_type.map(|pt| format!(" {pt}")).unwrap_or_default();
        line!(self.out, "m={} {port} {} {}{rtx}", line.media, line.proto, codec.payload_type);
        let family = if address.is_ipv6() { "IP6" } else { "IP4" };
        line!(self.out, "c=IN {family} {address}");
        if media.max_kbps > 0 {
            line!(self.out, "b=AS:{}", media.max_kbps);
            line!(self.out, "b=TIAS:{}", u64::from(media.max_kbps) * 1000);
        }
        if first {
            self.candidate_lines();
        }
        self.transport_lines();
        if let Some(mid) = &line.mid {
            line!(self.out, "a=mid:{mid}");
        }
        for HeaderExtension { id, .. } in media.extensions {
            let params = line.extension_params.iter().find(|(own, _)| own == id).map(|(_, p)| p.as_str());
            let params = params.map(|p| format!(" {p}")).unwrap_or_default();
            let uri = media.extensions.iter().find(|e| e.id == *id).map_or("", |e| extension::uri_of(e.kind()));
            line!(self.out, "a=extmap:{id} {uri}{params}");
        }
        line!(self.out, "a={}", media.direction);
        if let Some(sending) = &media.sending {
            let (stream, track) = msid(sending, line);
            line!(self.out, "a=msid:{stream} {track}");
        }
        line!(self.out, "a=rtcp-mux");
        if line.rtcp_rsize {
            line!(self.out, "a=rtcp-rsize");
        }
        self.codec_lines(&media.codec);
        self.layer_lines(&line.layers);
        if let Some(sending) = &media.sending {
            self.ssrc_lines(sending, line);
        }
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.out
    }

    fn candidate_lines(&mut self) {
        for (i, (address, port)) in self.candidates.iter().enumerate() {
            // RFC 8445 5.1.2.1: host type preference 126, local preference by order, component 1.
            let local_preference = 65_535u32.saturating_sub(i as u32);
            let priority = (126u32 << 24) | (local_preference << 8) | 255;
            line!(self.out, "a=candidate:{} 1 udp {priority} {address} {port} typ host", i + 1);
        }
        line!(self.out, "a=end-of-candidates");
    }

    fn transport_lines(&mut self) {
        line!(self.out, "a=ice-ufrag:{}", self.local.ice_ufrag);
        line!(self.out, "a=ice-pwd:{}", self.local.ice_pwd);
        line!(self.out, "a=fingerprint:{}", fingerprint(&self.local.fingerprint));
        line!(self.out, "a=setup:{}", self.setup);
    }

    fn codec_lines(&mut self, lines: &CodecLines<'_>) {
        let CodecLines { codec, name, channels, fmtp } = lines;
        let pt = codec.payload_type;
        let channels = channels.map(|n| format!("/{n}")).unwrap_or_default();
        line!(self.out, "a=rtpmap:{pt} {name}/{}{channels}", codec.clock_rate);
        let feedback = [
            (codec.remb, "goog-remb"),
            (codec.transport_cc, "transport-cc"),
            (codec.fir, "ccm fir"),
            (codec.nack, "nack"),
            (codec.pli, "nack pli"),
        ];
        for (_, text) in feedback.iter().filter(|(on, _)| *on) {
            line!(self.out, "a=rtcp-fb:{pt} {text}");
        }
        if let Some(fmtp) = fmtp {
            line!(self.out, "a=fmtp:{pt} {fmtp}");
        }
        if let Some(rtx) = codec.rtx_payload_type {
            line!(self.out, "a=rtpmap:{rtx} rtx/{}", codec.clock_rate);
            line!(self.out, "a=fmtp:{rtx} apt={pt}");
        }
    }

    /// RFC 8853 5.3: what the client sends, as we receive it. A paused layer stays paused.
    fn layer_lines(&mut self, layers: &[Layer]) {
        for Layer { rid, .. } in layers {
            line!(self.out, "a=rid:{rid} recv");
        }
        if layers.len() > 1 {
            let names: Vec<_> =
                layers.iter().map(|l| format!("{}{}", if l.paused { "~" } else { "" }, l.rid)).collect();
            line!(self.out, "a=simulcast:recv {}", names.join(";"));
        }
    }

    fn ssrc_lines(&mut self, sending: &Sending<'_>, line: &Line) {
        let (stream, track) = msid(sending, line);
        let cname = token(sending.cname);
        if let Some(rtx) = sending.rtx_ssrc {
            line!(self.out, "a=ssrc-group:FID {} {rtx}", sending.ssrc);
        }
        for ssrc in std::iter::once(sending.ssrc).chain(sending.rtx_ssrc) {
            line!(self.out, "a=ssrc:{ssrc} cname:{cname}");
            line!(self.out, "a=ssrc:{ssrc} msid:{stream} {track}");
        }
    }
}

/// Our own `a=setup` in an answer.
pub(super) fn answer_setup(remote_role: DtlsRole) -> &'static str {
    match remote_role {
        DtlsRole::Server => "passive",
        DtlsRole::Client => "active",
    }
}

fn msid(sending: &Sending<'_>, line: &Line) -> (String, String) {
    let stream = token(sending.stream_id);
    let track = format!("{stream}_{}", line.media);
    (stream, track)
}

/// A token of RFC 8866: anything else would break the line it stands in.
fn token(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.+!#$%&'*^`{|}~".contains(c) { c } else { '_' };
    let token: String = text.chars().map(safe).collect();
    if token.is_empty() { "-".to_owned() } else { token }
}

fn fingerprint(fingerprint: &Fingerprint) -> String {
    let digest: Vec<_> = fingerprint.digest.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("{} {}", fingerprint.hash, digest.join(":"))
}
