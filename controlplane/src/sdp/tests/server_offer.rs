use dataplane_protocol::{Codec, DtlsRole, ExtensionKind};

use super::*;

/// Chromium 156's own answer to the offer of [`offered`].
const CHROMIUM_ANSWER: &str = include_str!("offers/chromium156_answer.sdp");

fn offered() -> (String, SubscribePlan) {
    offer_subscribe(&published(CHROMIUM, None), &local(), "con_A1b2", "str_CAM_x", &mut counter())
}

#[test]
fn an_offer_has_one_m_line_per_track() {
    let (text, plan) = offered();
    golden("server_offer", &text);
    assert!(plan.remote.is_none());
    let [audio, video] = plan.media.as_slice() else { panic!() };
    assert_eq!((audio.mid.as_str(), audio.codec.payload_type, audio.ssrc, audio.rtx_ssrc), ("0", 111, 1001, None));
    assert_eq!((video.mid.as_str(), video.codec.payload_type, video.ssrc, video.rtx_ssrc), ("1", 96, 1002, Some(1003)));
    assert_eq!(
        kinds(&video.extensions),
        [
            (ExtensionKind::Mid, 1),
            (ExtensionKind::AbsSendTime, 2),
            (ExtensionKind::TransportCc, 3),
            (ExtensionKind::VideoOrientation, 5)
        ]
    );
    assert!(plan.media.iter().flat_map(|m| &m.extensions).all(|e| (1..=14).contains(&e.id)));
}

#[test]
fn every_codec_is_offered_in_its_shape() {
    for codec in [VideoCodec::Vp9, VideoCodec::H264, VideoCodec::Av1] {
        let media = published(CHROMIUM, Some(codec));
        let (text, _) = offer_subscribe(&media, &local(), "c", "s", &mut counter());
        golden(&format!("server_offer_{}", codec.name().to_lowercase()), &text);
    }
    let (text, _) = offer_subscribe(&published(FIREFOX, None), &local(), "c", "s", &mut counter());
    assert!(text.contains("a=fmtp:111 minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1\r\n"), "{text}");
    let pcma = CHROMIUM_AUDIO.replace("SAVPF 111 63 9 0 8 13 110 126", "SAVPF 8");
    let (text, plan) = offer_subscribe(&published(&pcma, None), &local(), "c", "s", &mut counter());
    assert!(text.contains("m=audio 40000 UDP/TLS/RTP/SAVPF 8\r\n"), "{text}");
    assert_eq!(plan.media[0].codec.codec(), Codec::OtherAudio);
}

#[test]
fn chromiums_answer_completes_the_plan() {
    let (_, plan) = offered();
    let done = accept_answer(&plan, CHROMIUM_ANSWER).unwrap();
    let remote = done.remote.as_ref().unwrap();
    assert_eq!(remote.dtls_role(), DtlsRole::Server);
    assert!(remote.ice_pwd.len() >= 22);
    assert_eq!(done.media.len(), 2);
    for (got, want) in done.media.iter().zip(&plan.media) {
        assert_eq!((got.ssrc, got.rtx_ssrc, got.mid.as_str()), (want.ssrc, want.rtx_ssrc, want.mid.as_str()));
        assert_eq!(got.codec, want.codec);
        assert_eq!(sorted(&got.extensions), sorted(&want.extensions));
    }
    for (codec, answer) in [
        (VideoCodec::Vp9, include_str!("offers/chromium156_answer_vp9.sdp")),
        (VideoCodec::H264, include_str!("offers/chromium156_answer_h264.sdp")),
        (VideoCodec::Av1, include_str!("offers/chromium156_answer_av1.sdp")),
    ] {
        let (_, plan) = offer_subscribe(&published(CHROMIUM, Some(codec)), &local(), "c", "s", &mut counter());
        assert_eq!(accept_answer(&plan, answer).unwrap().media[1].codec, plan.media[1].codec);
    }
}

fn sorted(extensions: &[HeaderExtension]) -> Vec<(i32, u32)> {
    let mut list: Vec<_> = extensions.iter().map(|e| (e.kind, e.id)).collect();
    list.sort_unstable();
    list
}

#[test]
fn an_answer_may_take_away() {
    let (_, plan) = offered();
    let less = CHROMIUM_ANSWER
        .replace("a=rtcp-fb:96 transport-cc\r\n", "")
        .replace("SAVPF 96 97", "SAVPF 96")
        .replace("a=extmap:5 ", "a=extmap:9 ")
        .replace("m=audio 9", "m=audio 0")
        .replace("BUNDLE 0 1", "BUNDLE 1");
    let done = accept_answer(&plan, &less).unwrap();
    let [video] = done.media.as_slice() else { panic!() };
    assert_eq!((video.source, video.rtx_ssrc, video.codec.rtx_payload_type), (1, None, None));
    assert!(!video.codec.transport_cc && video.codec.nack);
    // An id that was not offered for this extension is none.
    assert!(!kinds(&video.extensions).iter().any(|(kind, _)| *kind == ExtensionKind::VideoOrientation));
    // A client may also answer in numbers of its own; they are used to send.
    let renumbered =
        CHROMIUM_ANSWER.replace("SAVPF 96 97", "SAVPF 120 121").replace(":96 ", ":120 ").replace(":97 ", ":121 ");
    let renumbered = renumbered.replace("apt=96", "apt=120");
    let codec = &accept_answer(&plan, &renumbered).unwrap().media[1].codec;
    assert_eq!((codec.payload_type, codec.rtx_payload_type), (120, Some(121)));
}

#[test]
fn an_answer_must_fit_its_offer() {
    let (_, plan) = offered();
    for (from, to, want) in [
        ("a=setup:active", "a=setup:actpass", "an answer must choose active or passive"),
        ("a=setup:active\r\n", "", "a=setup is missing"),
        ("a=recvonly", "a=inactive", "no receiving audio or video m-line"),
        ("a=mid:1", "a=mid:7", "m-line 2 (video) answers video with a=mid:1"),
        ("VP8/90000", "VP9/90000", "share no video codec; published: VP8; subscriber takes: VP9"),
        ("a=rtcp-mux\r\n", "", "m-line 1 (audio): a=rtcp-mux is missing"),
        ("a=group:BUNDLE 0 1\r\n", "", "not in the first m-line's a=group:BUNDLE"),
        ("a=fingerprint:sha-256", "a=fingerprint:md5", "a=fingerprint is missing: only sha-1"),
    ] {
        let error = accept_answer(&plan, &CHROMIUM_ANSWER.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(want), "{from} → {to}: {error}");
    }
    let half = &CHROMIUM_ANSWER[..CHROMIUM_ANSWER.find("m=video").unwrap()];
    assert!(matches!(accept_answer(&plan, half), Err(SdpError::AnswerMismatch(_))));
    let passive = CHROMIUM_ANSWER.replace("a=setup:active", "a=setup:passive");
    assert_eq!(accept_answer(&plan, &passive).unwrap().remote.unwrap().dtls_role(), DtlsRole::Client);
}
