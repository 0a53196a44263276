//! From text to the typed subset that negotiation needs. Line splitting is `sdp-types`'; what attributes mean is ours.

use std::collections::HashMap;

use dataplane_protocol::{DtlsRole, ExtensionKind, Fingerprint, MediaKind, RemoteParameters};
use sdp_types::{Attribute, Media, Session};

use super::error::SdpError;
use super::simulcast::Simulcast;
use super::types::{Direction, Line};
use super::{codec, extension};

/// Browsers' offers are below 10 kB.
const MAX_SDP: usize = 256 * 1024;
/// Lines of a whole description.
const MAX_LINES: usize = 4096;
/// OpenVidu clients use two m-lines.
const MAX_MEDIA: usize = 16;
/// Payload types are 0 to 127.
const MAX_FORMATS: usize = 128;
/// SSRC lines kept of an m-line, and fingerprints of a transport.
pub(super) const MAX_KEPT: usize = 64;
/// A mid must fit a one-byte header extension (RFC 8285).
const MAX_MID: usize = 16;

/// Profiles that mean RTP over DTLS-SRTP; JSEP 5.1.2 has them all accepted.
const RTP_PROTOCOLS: [&str; 5] =
    ["UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/DTLS/RTP/SAVPF", "RTP/SAVPF", "RTP/SAVP"];

/// A description, understood.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) bundle: Vec<String>,
    pub(super) allow_mixed: bool,
    pub(super) sections: Vec<Section>,
}

/// One m-line. Session-level values are already filled in.
#[derive(Debug)]
pub(super) struct Section {
    /// For errors: `m-line 2 (video)`.
    pub(super) place: String,
    /// `None`: not RTP over DTLS, or neither audio nor video; nothing further is parsed then.
    pub(super) kind: Option<MediaKind>,
    pub(super) media: String,
    pub(super) proto: String,
    pub(super) format: String,
    pub(super) mid: Option<String>,
    /// Port 0 without `a=bundle-only`.
    pub(super) rejected: bool,
    pub(super) direction: Direction,
    pub(super) rtcp_mux: bool,
    pub(super) rtcp_rsize: bool,
    pub(super) transport: Transport,
    pub(super) codecs: Vec<OfferedCodec>,
    pub(super) extensions: Vec<OfferedExtension>,
    pub(super) ssrc: Option<u32>,
    pub(super) rtx_ssrc: Option<u32>,
    pub(super) simulcast: Simulcast,
}

/// ICE and DTLS attributes, of the session or an m-line.
#[derive(Clone, Debug, Default)]
pub(super) struct Transport {
    ice_ufrag: Option<String>,
    ice_pwd: Option<String>,
    fingerprints: Vec<Fingerprint>,
    /// A fingerprint was there, of a hash that is not supported.
    unknown_hash: bool,
    setup: Option<Setup>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setup {
    ActPass,
    Active,
    Passive,
}

/// One payload type with what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OfferedCodec {
    pub(super) payload_type: u8,
    pub(super) name: String,
    pub(super) clock_rate: u32,
    pub(super) channels: Option<u8>,
    /// Keys in lower case.
    pub(super) fmtp: Vec<(String, String)>,
    pub(super) feedback: Feedback,
    /// Payload type of its RFC 4588 stream.
    pub(super) rtx: Option<u8>,
}

/// `a=rtcp-fb` of one payload type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Feedback {
    pub(super) nack: bool,
    pub(super) pli: bool,
    pub(super) fir: bool,
    pub(super) transport_cc: bool,
    pub(super) remb: bool,
}

/// One `a=extmap` of a known kind.
#[derive(Clone, Debug)]
pub(super) struct OfferedExtension {
    pub(super) kind: ExtensionKind,
    pub(super) id: u32,
    pub(super) params: String,
}

/// Which side of the exchange a description is: it decides what `a=setup` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Offer,
    Answer,
}

/// Parses a description.
pub(super) fn parse(text: &str) -> Result<Parsed, SdpError> {
    check_text(text)?;
    let session = Session::parse(text.as_bytes()).map_err(|e| SdpError::Syntax(e.to_string()))?;
    if session.medias.len() > MAX_MEDIA {
        return Err(SdpError::TooMany { what: "m-lines", max: MAX_MEDIA });
    }
    let bundle = session
        .attributes
        .iter()
        .filter(|a| a.attribute == "group")
        .filter_map(|a| a.value.as_deref()?.strip_prefix("BUNDLE"))
        .flat_map(|mids| mids.split_whitespace().map(str::to_owned))
        .collect();
    let common = Transport::default().with(&session.attributes, "session")?;
    let direction = direction_of(&session.attributes).unwrap_or_default();
    let sections = session
        .medias
        .iter()
        .enumerate()
        .map(|(i, media)| Section::parse(i, media, &common, direction))
        .collect::<Result<Vec<_>, _>>()?;
    // RFC 8285 6: at session level, or at every m-line.
    let mixed = |attributes: &[Attribute]| flag(attributes, "extmap-allow-mixed");
    let allow_mixed = mixed(&session.attributes)
        || (!session.medias.is_empty() && session.medias.iter().all(|m| mixed(&m.attributes)));
    Ok(Parsed { bundle, allow_mixed, sections })
}

/// Refuses what is too large, and characters that would end a line in the answer.
fn check_text(text: &str) -> Result<(), SdpError> {
    if text.len() > MAX_SDP {
        return Err(SdpError::TooLong { len: text.len(), max: MAX_SDP });
    }
    for (i, line) in text.split('\n').enumerate() {
        if i >= MAX_LINES {
            return Err(SdpError::TooMany { what: "lines", max: MAX_LINES });
        }
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.contains(|c: char| c.is_control() && c != '\t') {
            return Err(SdpError::Syntax(format!("line {} contains a control character", i + 1)));
        }
    }
    Ok(())
}

impl Section {
    fn parse(index: usize, media: &Media, session: &Transport, session_direction: Direction) -> Result<Self, SdpError> {
        let place = format!("m-line {} ({})", index + 1, media.media);
        let attributes = &media.attributes;
        let rtp = RTP_PROTOCOLS.contains(&media.proto.as_str());
        let kind = match media.media.as_str() {
            "audio" if rtp => Some(MediaKind::Audio),
            "video" if rtp => Some(MediaKind::Video),
            _ => None,
        };
        let mid = value(attributes, "mid").map(str::trim);
        if let Some(mid) = mid.filter(|mid| mid.is_empty() || mid.len() > MAX_MID || !mid.bytes().all(is_token)) {
            return Err(SdpError::attribute(&place, "mid", mid, "must be a token of 1 to 16 bytes"));
        }
        let mut section = Self {
            kind,
            media: media.media.clone(),
            proto: media.proto.clone(),
            format: media.fmt.split_whitespace().next().unwrap_or("0").to_owned(),
            mid: mid.map(str::to_owned),
            rejected: media.port == 0 && !flag(attributes, "bundle-only"),
            direction: direction_of(attributes).unwrap_or(session_direction),
            rtcp_mux: flag(attributes, "rtcp-mux"),
            rtcp_rsize: flag(attributes, "rtcp-rsize"),
            transport: Transport::default(),
            codecs: Vec::new(),
            extensions: Vec::new(),
            ssrc: None,
            rtx_ssrc: None,
            simulcast: Simulcast::default(),
            place,
        };
        if section.kind.is_some() && !section.rejected {
            section.transport = session.clone().with(attributes, &section.place)?;
            section.codecs = codecs(media, &section.place)?;
            section.extensions = extensions(attributes, &section.place)?;
            (section.ssrc, section.rtx_ssrc) = ssrcs(attributes, &section.place)?;
            section.simulcast = Simulcast::parse(attributes, &section.place)?;
        }
        Ok(section)
    }

    /// Encoding names in order, for errors.
    pub(super) fn codec_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for codec in &self.codecs {
            if !names.contains(&codec.name) {
                names.push(codec.name.clone());
            }
        }
        names
    }

    /// Encoding names with their format parameters, for errors about shapes of one codec.
    pub(super) fn codec_shapes(&self) -> Vec<String> {
        let shapes = self.codecs.iter().filter(|c| !c.name.eq_ignore_ascii_case("rtx"));
        shapes.map(|c| shape(&c.name, c.fmtp.iter().map(|(k, v)| format!("{k}={v}")))).collect()
    }

    /// The m-line's place in an answer.
    pub(super) fn line(&self, accepted: Option<usize>) -> Line {
        Line {
            media: self.media.clone(),
            proto: self.proto.clone(),
            format: self.format.clone(),
            mid: self.mid.clone(),
            rtcp_rsize: self.rtcp_rsize,
            extension_params: self
                .extensions
                .iter()
                .filter(|e| !e.params.is_empty())
                .map(|e| (e.id, e.params.clone()))
                .collect(),
            layers: Vec::new(),
            accepted,
        }
    }

    /// The writer's end of the transport, from the attributes of this m-line and the session.
    pub(super) fn remote(&self, side: Side) -> Result<RemoteParameters, SdpError> {
        let transport = &self.transport;
        let place = self.place.as_str();
        let need = |value: &Option<String>, name| {
            value.clone().ok_or_else(|| SdpError::missing(place, name, "ICE is the only way in"))
        };
        let ice_ufrag = need(&transport.ice_ufrag, "ice-ufrag")?;
        let ice_pwd = need(&transport.ice_pwd, "ice-pwd")?;
        if transport.fingerprints.is_empty() {
            return Err(SdpError::missing(
                place,
                "fingerprint",
                if transport.unknown_hash {
                    "only sha-1, sha-256, sha-384 and sha-512 are supported"
                } else {
                    "media is encrypted by DTLS-SRTP only"
                },
            ));
        }
        let dtls_role = match (transport.setup, side) {
            // RFC 8842 5.2: an offer should say actpass, and the server then waits for the ClientHello.
            (Some(Setup::Active), _) | (Some(Setup::ActPass) | None, Side::Offer) => DtlsRole::Server,
            (Some(Setup::Passive), _) => DtlsRole::Client,
            (Some(Setup::ActPass), Side::Answer) => {
                return Err(SdpError::attribute(place, "setup", "actpass", "an answer must choose active or passive"));
            }
            (None, Side::Answer) => return Err(SdpError::missing(place, "setup", "an answer must choose its role")),
        };
        let fingerprints = transport.fingerprints.clone();
        Ok(RemoteParameters { ice_ufrag, ice_pwd, fingerprints, dtls_role: dtls_role as i32 })
    }
}

/// `name (parameters)`.
pub(super) fn shape(name: &str, params: impl Iterator<Item = String>) -> String {
    let params: Vec<_> = params.collect();
    if params.is_empty() { name.to_owned() } else { format!("{name} ({})", params.join(";")) }
}

impl Transport {
    /// These attributes over the session's.
    fn with(mut self, attributes: &[Attribute], place: &str) -> Result<Self, SdpError> {
        if let Some(ufrag) = value(attributes, "ice-ufrag") {
            self.ice_ufrag = Some(ice_chars(ufrag, 4, place, "ice-ufrag")?);
        }
        if let Some(pwd) = value(attributes, "ice-pwd") {
            self.ice_pwd = Some(ice_chars(pwd, 22, place, "ice-pwd")?);
        }
        if let Some(setup) = value(attributes, "setup") {
            self.setup = Some(match setup.trim() {
                "actpass" => Setup::ActPass,
                "active" => Setup::Active,
                "passive" => Setup::Passive,
                _ => return Err(SdpError::attribute(place, "setup", setup, "must be actpass, active or passive")),
            });
        }
        let mut own = Vec::new();
        for text in values(attributes, "fingerprint").take(MAX_KEPT) {
            match fingerprint(text, place)? {
                Some(fingerprint) => own.push(fingerprint),
                None => self.unknown_hash = true,
            }
        }
        if !own.is_empty() {
            self.fingerprints = own;
        }
        Ok(self)
    }
}

/// RFC 8839 5.4: at most 256 characters. Stricter alphabets than "visible, no colon" would gain nothing.
fn ice_chars(text: &str, min: usize, place: &str, name: &'static str) -> Result<String, SdpError> {
    let text = text.trim();
    if text.len() < min || text.len() > 256 || !text.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
        return Err(SdpError::attribute(place, name, text, "has a wrong length or character (RFC 8839 5.4)"));
    }
    Ok(text.to_owned())
}

/// `None` for a hash function that is not supported.
fn fingerprint(text: &str, place: &str) -> Result<Option<Fingerprint>, SdpError> {
    let bad = |reason| SdpError::attribute(place, "fingerprint", text, reason);
    let (hash, hex) = text.trim().split_once(' ').ok_or_else(|| bad("must be a hash function and a digest"))?;
    let hash = hash.to_ascii_lowercase();
    let len = match hash.as_str() {
        "sha-1" => 20,
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return Ok(None),
    };
    let octet = |pair: &str| {
        let hex = pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
    };
    let digest = hex.trim().split(':').take(len + 1).map(octet).collect::<Option<Vec<u8>>>();
    match digest {
        Some(digest) if digest.len() == len => Ok(Some(Fingerprint { hash, digest })),
        Some(_) => Err(bad("its digest has not the length of its hash function")),
        None => Err(bad("its digest is not hexadecimal pairs with colons")),
    }
}

fn codecs(media: &Media, place: &str) -> Result<Vec<OfferedCodec>, SdpError> {
    let mut order = Vec::new();
    for format in media.fmt.split_whitespace() {
        if order.len() >= MAX_FORMATS {
            return Err(SdpError::TooMany { what: "formats on an m-line", max: MAX_FORMATS });
        }
        let bad = || SdpError::Syntax(format!("{place}: payload type \"{format}\" is not a number from 0 to 127"));
        let payload_type = format.parse::<u8>().ok().filter(|pt| *pt < 128).ok_or_else(bad)?;
        if !order.contains(&payload_type) {
            order.push(payload_type);
        }
    }
    let mut known: HashMap<u8, OfferedCodec> = HashMap::new();
    // RFC 3551 6: these need no a=rtpmap.
    for (payload_type, name) in [(0, "PCMU"), (8, "PCMA"), (9, "G722")] {
        let name = name.to_owned();
        known.insert(payload_type, OfferedCodec { payload_type, name, clock_rate: 8000, ..Default::default() });
    }
    for text in values(&media.attributes, "rtpmap") {
        let codec = rtpmap(text).map_err(|reason| SdpError::attribute(place, "rtpmap", text, reason))?;
        known.insert(codec.payload_type, codec);
    }
    for text in values(&media.attributes, "fmtp") {
        let (payload_type, rest) = words(text);
        let payload_type = payload_type
            .parse::<u8>()
            .map_err(|_| SdpError::attribute(place, "fmtp", text, "must begin with a payload type"))?;
        if let Some(codec) = known.get_mut(&payload_type) {
            codec.fmtp = codec::params(rest);
        }
    }
    for text in values(&media.attributes, "rtcp-fb") {
        let (target, feedback) = words(text);
        match target.parse::<u8>() {
            Ok(payload_type) => {
                if let Some(codec) = known.get_mut(&payload_type) {
                    codec.feedback.add(feedback);
                }
            }
            Err(_) if target == "*" => known.values_mut().for_each(|codec| codec.feedback.add(feedback)),
            Err(_) => return Err(SdpError::attribute(place, "rtcp-fb", text, "must begin with a payload type or *")),
        }
    }
    let mut codecs: Vec<_> = order.iter().filter_map(|pt| known.remove(pt)).collect();
    link_rtx(&mut codecs);
    Ok(codecs)
}

/// RFC 4588 8.6: `apt` names the payload type that a retransmission stream repeats.
fn link_rtx(codecs: &mut [OfferedCodec]) {
    let links: Vec<(u8, u8)> = codecs
        .iter()
        .filter(|c| c.name.eq_ignore_ascii_case("rtx"))
        .filter_map(|c| {
            let apt = c.fmtp.iter().find(|(key, _)| key == "apt")?;
            Some((apt.1.parse().ok()?, c.payload_type))
        })
        .collect();
    for codec in codecs.iter_mut().filter(|c| !c.name.eq_ignore_ascii_case("rtx")) {
        codec.rtx = links.iter().find(|(apt, _)| *apt == codec.payload_type).map(|(_, rtx)| *rtx);
    }
}

fn rtpmap(text: &str) -> Result<OfferedCodec, &'static str> {
    let (payload_type, encoding) = text.trim().split_once(' ').ok_or("must be a payload type and an encoding")?;
    let payload_type = payload_type.parse::<u8>().map_err(|_| "must begin with a payload type")?;
    let mut parts = encoding.trim().split('/');
    let name = parts.next().filter(|name| !name.is_empty()).ok_or("has no encoding name")?.to_owned();
    let clock_rate = parts.next().and_then(|rate| rate.parse().ok()).ok_or("has no clock rate")?;
    let channels = match parts.next() {
        Some(channels) => Some(channels.parse().map_err(|_| "its number of channels is not a number")?),
        None => None,
    };
    Ok(OfferedCodec { payload_type, name, clock_rate, channels, ..Default::default() })
}

impl Feedback {
    fn add(&mut self, text: &str) {
        let mut words = text.split_whitespace();
        match (words.next(), words.next()) {
            (Some("nack"), None) => self.nack = true,
            (Some("nack"), Some("pli")) => self.pli = true,
            (Some("ccm"), Some("fir")) => self.fir = true,
            (Some("transport-cc"), None) => self.transport_cc = true,
            (Some("goog-remb"), None) => self.remb = true,
            _ => {}
        }
    }
}

fn extensions(attributes: &[Attribute], place: &str) -> Result<Vec<OfferedExtension>, SdpError> {
    let mut found: Vec<OfferedExtension> = Vec::new();
    for text in values(attributes, "extmap") {
        let bad = |reason| SdpError::attribute(place, "extmap", text, reason);
        let mut words = text.trim().splitn(3, ' ');
        let (Some(id), Some(uri)) = (words.next(), words.next()) else { return Err(bad("must be an id and a URI")) };
        // The direction after the slash adds nothing for the extensions in use here.
        let id = id.split('/').next().unwrap_or_default();
        let id = id.parse::<u32>().map_err(|_| bad("its id is not a number"))?;
        let kind = extension::kind_of(uri);
        let taken = found.iter().any(|e| e.id == id || e.kind == kind);
        // 15 is reserved in the one-byte form (RFC 8285 4.2); ids above 255 are asked for, never sent (RFC 8285 7).
        if kind == ExtensionKind::Unknown || taken || id == 0 || id == 15 || id > 255 {
            continue;
        }
        found.push(OfferedExtension { kind, id, params: words.next().unwrap_or_default().trim().to_owned() });
    }
    Ok(found)
}

/// The first SSRC and its retransmission stream. With simulcast by SSRC groups that is the first layer.
fn ssrcs(attributes: &[Attribute], place: &str) -> Result<(Option<u32>, Option<u32>), SdpError> {
    let mut groups = Vec::new();
    for text in values(attributes, "ssrc-group").take(MAX_KEPT) {
        let mut words = text.split_whitespace();
        let semantics = words.next().unwrap_or_default();
        let ids = words
            .map(str::parse::<u32>)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| SdpError::attribute(place, "ssrc-group", text, "its SSRCs are not numbers"))?;
        groups.push((semantics.to_owned(), ids));
    }
    let mut listed = None;
    for text in values(attributes, "ssrc").take(MAX_KEPT) {
        let id = text.split_whitespace().next().unwrap_or_default();
        let id = id.parse().map_err(|_| SdpError::attribute(place, "ssrc", text, "must begin with a number"))?;
        listed.get_or_insert(id);
    }
    let first_of = |name: &str| groups.iter().find(|(s, _)| s == name).and_then(|(_, ids)| ids.first().copied());
    let primary = first_of("SIM").or_else(|| first_of("FID")).or(listed);
    let rtx = groups
        .iter()
        .filter(|(semantics, ids)| semantics == "FID" && ids.first().copied() == primary)
        .find_map(|(_, ids)| ids.get(1).copied());
    Ok((primary, rtx))
}

fn direction_of(attributes: &[Attribute]) -> Option<Direction> {
    attributes.iter().find_map(|a| match a.attribute.as_str() {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    })
}

fn flag(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|a| a.attribute == name)
}

fn value<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    values(attributes, name).next()
}

pub(super) fn values<'a>(attributes: &'a [Attribute], name: &str) -> impl Iterator<Item = &'a str> {
    attributes.iter().filter(move |a| a.attribute == name).filter_map(|a| a.value.as_deref())
}

impl Parsed {
    /// The transport's m-line is the first accepted one; all accepted ones must share it.
    pub(super) fn check_accepted(&self, accepted: &[usize]) -> Result<(), SdpError> {
        for &index in accepted {
            let section = &self.sections[index];
            if !section.rtcp_mux {
                return Err(SdpError::missing(&section.place, "rtcp-mux", "there is one port for RTP and RTCP"));
            }
            if accepted.len() < 2 {
                continue;
            }
            let Some(mid) = &section.mid else {
                return Err(SdpError::missing(&section.place, "mid", "several m-lines share one transport"));
            };
            if !self.bundle.contains(mid) {
                return Err(SdpError::NotBundled { place: section.place.clone() });
            }
        }
        Ok(())
    }
}

/// RFC 8866 9: token-char.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&byte)
}

/// The first word and the rest.
pub(super) fn words(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(' ').unwrap_or((text, ""))
}
