//! Golden answers to offers of real clients, and a table of what is refused. The text of every answer is also read by
//! an independent parser (`webrtc-sdp`). Run with `UPDATE_GOLDEN=1` to write the answers anew after a wanted change.

mod hostile;
mod loopback;
mod publish;
mod server_offer;
mod simulcast;
mod subscribe;

use dataplane_protocol::{Candidate, ExtensionKind, Fingerprint, HeaderExtension};
use webrtc_sdp::attribute_type::{SdpAttribute, SdpAttributeType};

use super::*;

/// With SSRCs in order.
pub(super) fn negotiate_publish(offer: &str, policy: &Policy) -> Result<PublishPlan, SdpError> {
    super::negotiate_publish(offer, policy, &mut counter())
}

pub(super) const CHROMIUM: &str = include_str!("tests/offers/chromium156_publish.sdp");
pub(super) const CHROMIUM_AUDIO: &str = include_str!("tests/offers/chromium156_publish_audio.sdp");
pub(super) const CHROMIUM_H264: &str = include_str!("tests/offers/chromium156_publish_h264.sdp");
pub(super) const CHROMIUM_SIMULCAST: &str = include_str!("tests/offers/chromium156_publish_simulcast.sdp");
pub(super) const CHROMIUM_RECVONLY: &str = include_str!("tests/offers/chromium156_recvonly.sdp");
pub(super) const FIREFOX: &str = include_str!("tests/offers/firefox_publish.sdp");
pub(super) const FIREFOX_RECVONLY: &str = include_str!("tests/offers/firefox_recvonly.sdp");
pub(super) const GSTREAMER: &str = include_str!("tests/offers/gstreamer_publish.sdp");
pub(super) const SAFARI: &str = include_str!("tests/offers/safari_publish.sdp");

pub(super) fn local() -> LocalTransport {
    let candidate = |address: &str| Candidate { address: address.to_owned(), port: 40_000 };
    LocalTransport {
        ice_ufrag: "millrace1".to_owned(),
        ice_pwd: "0123456789abcdefghijklmn".to_owned(),
        fingerprint: Fingerprint { hash: "sha-256".to_owned(), digest: (0..32).collect() },
        candidates: vec![candidate("203.0.113.7"), candidate("2001:db8::7"), candidate("not an address")],
        session_id: 0xffff_ffff_ffff_fff1,
    }
}

/// SSRCs in order, so that texts repeat.
pub(super) fn counter() -> impl FnMut() -> u32 {
    let mut next = 1000;
    move || {
        next += 1;
        next
    }
}

pub(super) fn policy(forced: Option<VideoCodec>) -> Policy {
    Policy { forced_video_codec: forced, max_video_receive_kbps: 1000, loopback: false }
}

pub(super) fn published(offer: &str, forced: Option<VideoCodec>) -> Vec<PublishedMedia> {
    negotiate_publish(offer, &policy(forced)).unwrap().media
}

/// The kinds negotiated, with their ids.
pub(super) fn kinds(extensions: &[HeaderExtension]) -> Vec<(ExtensionKind, u32)> {
    extensions.iter().map(|e| (e.kind(), e.id)).collect()
}

/// Compares with the committed text, after the independent parser took it.
pub(super) fn golden(name: &str, text: &str) {
    well_formed(text);
    let path = format!("{}/src/sdp/tests/answers/{name}.sdp", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(text == want, "{name} differs from {path}:\n{text}");
}

/// What every answer and offer of ours must be, in the eyes of an independent parser.
pub(super) fn well_formed(text: &str) {
    assert!(text.ends_with("\r\n") && !text.replace("\r\n", "").contains(['\r', '\n']));
    let session = webrtc_sdp::parse_sdp(text, false).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(session.warnings.is_empty(), "{:?}\n{text}", session.warnings);
    assert!(session.get_attribute(SdpAttributeType::IceLite).is_some());
    let mut candidates = 0;
    for media in session.media.iter().filter(|media| media.get_port() != 0) {
        for needed in [
            SdpAttributeType::IceUfrag,
            SdpAttributeType::IcePwd,
            SdpAttributeType::Fingerprint,
            SdpAttributeType::Setup,
            SdpAttributeType::RtcpMux,
            SdpAttributeType::Rtpmap,
        ] {
            let name = needed.to_string();
            assert!(media.get_attribute(needed).is_some(), "no {name}\n{text}");
        }
        assert!(media.get_attribute(SdpAttributeType::IceOptions).is_none());
        candidates += media.get_attributes_of_type(SdpAttributeType::Candidate).len();
    }
    assert_eq!(candidates, 2, "candidates stand in the first m-line alone\n{text}");
    for media in &session.media {
        for candidate in media.get_attributes_of_type(SdpAttributeType::Candidate) {
            let SdpAttribute::Candidate(candidate) = candidate else { panic!() };
            assert_eq!((candidate.component, candidate.port), (1, 40_000));
            assert!(candidate.priority >= (126 << 24) + (65_000 << 8));
        }
    }
}
