use dataplane_protocol::{Codec, DtlsRole, ExtensionKind};

use super::*;

fn answered(name: &str, offer: &str, published: &[PublishedMedia]) -> SubscribePlan {
    let plan = negotiate_subscribe(offer, published, &mut counter()).unwrap();
    golden(name, &answer_subscribe(&plan, &local(), "con_A1b2", "str_CAM_x"));
    plan
}

#[test]
fn chromium_subscribes_to_chromium() {
    let plan = answered("chromium156_recvonly", CHROMIUM_RECVONLY, &published(CHROMIUM, None));
    assert_eq!(plan.remote.as_ref().unwrap().dtls_role(), DtlsRole::Server);
    let [audio, video] = plan.media.as_slice() else { panic!() };
    assert_eq!((audio.source, audio.ssrc, audio.rtx_ssrc, audio.codec.rtx_payload_type), (0, 1001, None, None));
    assert_eq!((video.source, video.ssrc, video.rtx_ssrc), (1, 1002, Some(1003)));
    assert_eq!(video.codec.codec(), Codec::Vp8);
    assert!(kinds(&video.extensions).iter().any(|(kind, _)| *kind == ExtensionKind::VideoOrientation));
}

#[test]
fn numbers_are_the_subscribers() {
    let plan = answered("firefox_recvonly", FIREFOX_RECVONLY, &published(CHROMIUM, None));
    let [audio, video] = plan.media.as_slice() else { panic!() };
    assert_eq!(
        (audio.codec.payload_type, video.codec.payload_type, video.codec.rtx_payload_type),
        (109, 120, Some(124))
    );
    assert!(!video.codec.transport_cc && video.codec.remb);
    // Firefox did not offer the orientation; audio level has its own number.
    assert_eq!(kinds(&audio.extensions), [(ExtensionKind::AudioLevel, 1), (ExtensionKind::Mid, 3)]);
    assert_eq!(kinds(&video.extensions), [(ExtensionKind::Mid, 3), (ExtensionKind::AbsSendTime, 4)]);
}

#[test]
fn every_forced_codec_finds_its_counterpart() {
    for (codec, name) in [
        (VideoCodec::Vp9, "profile-id=0"),
        (VideoCodec::H264, "profile-level-id=42e01f"),
        (VideoCodec::Av1, "profile=0"),
    ] {
        let plan = negotiate_subscribe(CHROMIUM_RECVONLY, &published(CHROMIUM, Some(codec)), &mut counter()).unwrap();
        assert_eq!(plan.media[1].codec_name, codec.name());
        assert!(plan.media[1].fmtp.as_deref().unwrap().contains(name), "{:?}", plan.media[1].fmtp);
        well_formed(&answer_subscribe(&plan, &local(), "c", "s"));
    }
    let h264 = negotiate_subscribe(FIREFOX_RECVONLY, &published(SAFARI, None), &mut counter()).unwrap();
    assert_eq!(h264.media[1].codec.payload_type, 126);
}

/// The subscriber's payload type for what a publisher with these format parameters sends.
fn h264_match(sent: &str, received: &[&str]) -> Option<u32> {
    let offer = |shapes: &[&str], direction: &str| {
        let formats: Vec<_> = (0..shapes.len()).map(|i| (100 + i).to_string()).collect();
        let maps: String = shapes
            .iter()
            .enumerate()
            .map(|(i, shape)| format!("a=rtpmap:{0} H264/90000\r\na=fmtp:{0} {shape}\r\n", 100 + i))
            .collect();
        let head = GSTREAMER.split("m=video").next().unwrap();
        format!(
            "{head}m=video 9 UDP/TLS/RTP/SAVPF {}\r\nc=IN IP4 0.0.0.0\r\na=rtcp-mux\r\na={direction}\r\n{maps}",
            formats.join(" ")
        )
    };
    let published = negotiate_publish(&offer(&[sent], "sendonly"), &Policy::default()).unwrap().media;
    match negotiate_subscribe(&offer(received, "recvonly"), &published, &mut counter()) {
        Ok(plan) => Some(plan.media[0].codec.payload_type - 100),
        Err(SdpError::NoCommonCodec { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn h264_shapes_must_fit() {
    let cb1 = "packetization-mode=1;profile-level-id=42e01f";
    let cb0 = "packetization-mode=0;profile-level-id=42e01f";
    let baseline1 = "packetization-mode=1;profile-level-id=42001f";
    let main1 = "packetization-mode=1;profile-level-id=4d001f";
    let high1 = "packetization-mode=1;profile-level-id=64001f";
    let constrained_high1 = "packetization-mode=1;profile-level-id=640c1f";
    assert_eq!(h264_match(cb1, &[baseline1, cb0, cb1]), Some(2));
    assert_eq!(h264_match(baseline1, &[main1, cb1]), Some(1));
    // A level of the other side is no reason (level asymmetry), another spelling of the same profile neither.
    assert_eq!(h264_match(cb1, &["packetization-mode=1;profile-level-id=42c034"]), Some(0));
    assert_eq!(h264_match(cb1, &["packetization-mode=1;profile-level-id=4d8028"]), Some(0));
    // Fragments cannot go to who takes single units only; the other way round they can.
    assert_eq!(h264_match(cb1, &[cb0]), None);
    assert_eq!(h264_match(cb0, &[cb1]), Some(0));
    // What decodes more decodes less, not the other way round.
    assert_eq!(h264_match(cb1, &[high1, main1]), Some(1));
    assert_eq!(h264_match(constrained_high1, &[cb1, high1]), Some(1));
    assert_eq!(h264_match(high1, &[cb1, main1, constrained_high1]), None);
    // Nothing said means mode 0 and constrained baseline, as browsers have it.
    assert_eq!(h264_match("level-asymmetry-allowed=1", &[cb0]), Some(0));
    assert_eq!(h264_match(cb1, &["packetization-mode=2;profile-level-id=42e01f"]), None);
}

#[test]
fn no_common_codec_lists_both_sides() {
    let error =
        negotiate_subscribe(FIREFOX_RECVONLY, &published(CHROMIUM, Some(VideoCodec::Av1)), &mut counter()).unwrap_err();
    assert!(error.is_codec_mismatch());
    let text = error.to_string();
    assert!(text.contains("published: AV1 (level-idx=5;profile=0;tier=0)"), "{text}");
    assert!(text.contains("VP8, H264 (profile-level-id=42e01f"), "{text}");
}

#[test]
fn kinds_that_are_missing_on_one_side_are_left_out() {
    let media = published(CHROMIUM, None);
    let plan = negotiate_subscribe(CHROMIUM_RECVONLY, &media[1..], &mut counter()).unwrap();
    assert_eq!((plan.media.len(), plan.media[0].source), (1, 0));
    let answer = answer_subscribe(&plan, &local(), "c", "s");
    well_formed(&answer);
    assert!(answer.contains("m=audio 0 "));
    let error = negotiate_subscribe(CHROMIUM_RECVONLY, &[], &mut counter()).unwrap_err();
    assert_eq!(error, SdpError::NoMedia { wanted: "receiving" });
    let sending = CHROMIUM_RECVONLY.replace("a=recvonly", "a=sendonly");
    assert!(matches!(negotiate_subscribe(&sending, &media, &mut counter()), Err(SdpError::NoMedia { .. })));
}

#[test]
fn names_cannot_break_out_of_their_line() {
    let plan = negotiate_subscribe(CHROMIUM_RECVONLY, &published(CHROMIUM, None), &mut counter()).unwrap();
    let answer = answer_subscribe(&plan, &local(), "a\r\na=evil:1 b", "");
    well_formed(&answer);
    assert!(!answer.contains("\r\na=evil") && answer.contains("cname:a__a_evil_1_b\r\n"));
}
