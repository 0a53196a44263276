use dataplane_protocol::{Codec, DtlsRole, ExtensionKind, MediaKind};

use super::*;

/// Negotiates, compares the answer with the committed one, gives the plan.
fn answered(name: &str, offer: &str, forced: Option<VideoCodec>) -> PublishPlan {
    let plan = negotiate_publish(offer, &policy(forced)).unwrap();
    golden(name, &answer_publish(&plan, &local()));
    plan
}

#[test]
fn chromium_gets_its_first_codec() {
    let plan = answered("chromium156_publish", CHROMIUM, None);
    assert_eq!((plan.remote.ice_ufrag.as_str(), plan.remote.ice_pwd.len()), ("xJ/r", 24));
    assert_eq!(plan.remote.dtls_role(), DtlsRole::Server);
    assert_eq!((plan.remote.fingerprints[0].hash.as_str(), plan.remote.fingerprints[0].digest[0]), ("sha-256", 0x8f));
    let [audio, video] = plan.media.as_slice() else { panic!() };
    assert_eq!(
        (audio.kind, audio.mid.as_str(), audio.ssrc, audio.rtx_ssrc),
        (MediaKind::Audio, "0", Some(3709309273), None)
    );
    assert_eq!((audio.codec.codec(), audio.codec.payload_type, audio.channels), (Codec::Opus, 111, Some(2)));
    assert!(audio.codec.transport_cc && !audio.codec.nack);
    assert_eq!(
        kinds(&audio.extensions),
        [
            (ExtensionKind::AudioLevel, 1),
            (ExtensionKind::AbsSendTime, 2),
            (ExtensionKind::TransportCc, 3),
            (ExtensionKind::Mid, 4)
        ]
    );
    assert_eq!(
        (video.codec.codec(), video.codec.payload_type, video.codec.rtx_payload_type),
        (Codec::Vp8, 96, Some(97))
    );
    assert_eq!((video.ssrc, video.rtx_ssrc), (Some(2957125511), Some(2958844364)));
    let codec = &video.codec;
    assert!(codec.nack && codec.pli && codec.fir && codec.transport_cc && codec.remb);
    assert_eq!(
        kinds(&video.extensions),
        [
            (ExtensionKind::AbsSendTime, 2),
            (ExtensionKind::VideoOrientation, 13),
            (ExtensionKind::TransportCc, 3),
            (ExtensionKind::Mid, 4)
        ]
    );
    assert_eq!(video.direction, Direction::SendOnly);
}

#[test]
fn a_forced_codec_is_the_only_one_answered() {
    let vp9 = answered("chromium156_publish_vp9", CHROMIUM, Some(VideoCodec::Vp9));
    assert_eq!((vp9.media[1].codec.payload_type, vp9.media[1].fmtp.as_deref()), (98, Some("profile-id=0")));
    let av1 = answered("chromium156_publish_av1", CHROMIUM, Some(VideoCodec::Av1));
    assert_eq!((av1.media[1].codec.payload_type, av1.media[1].codec.rtx_payload_type), (45, Some(46)));
    // Constrained baseline (108), although plain baseline (102) comes first: every browser decodes it.
    let h264 = answered("chromium156_publish_h264", CHROMIUM, Some(VideoCodec::H264));
    assert_eq!((h264.media[1].codec.payload_type, h264.media[1].codec.rtx_payload_type), (108, Some(109)));
    assert_eq!(negotiate_publish(CHROMIUM_H264, &policy(None)).unwrap().media[1].codec_name, "H264");
}

#[test]
fn a_forced_codec_that_is_not_offered_names_what_is() {
    let error = negotiate_publish(GSTREAMER, &policy(Some(VideoCodec::Vp8))).unwrap_err();
    assert_eq!(error, SdpError::ForcedCodecNotOffered { forced: "VP8", offered: vec!["H264".to_owned()] });
    assert!(error.is_codec_mismatch());
    assert_eq!(error.to_string(), "the session forces video codec VP8, which was not offered; offered: H264");
}

#[test]
fn firefox_and_safari_are_answered_in_their_own_numbering() {
    let firefox = answered("firefox_publish", FIREFOX, None);
    assert_eq!((firefox.media[0].codec.payload_type, firefox.media[1].codec.payload_type), (109, 120));
    assert_eq!((firefox.media[1].ssrc, firefox.media[1].rtx_ssrc), (Some(3128741234), Some(1739482012)));
    assert_eq!(firefox.media[0].fmtp.as_deref(), Some("stereo=1;useinbandfec=1"));
    let safari = answered("safari_publish", SAFARI, None);
    assert_eq!((safari.media[1].codec.codec(), safari.media[1].codec.payload_type), (Codec::H264, 98));
    assert!(answer_publish(&safari, &local()).contains("ssrc-audio-level vad=on\r\n"));
}

#[test]
fn a_lone_m_line_needs_neither_mid_nor_bundle() {
    let plan = answered("gstreamer_publish", GSTREAMER, None);
    assert_eq!(plan.media[0].mid, "");
    assert_eq!(plan.media[0].fmtp.as_deref(), Some("packetization-mode=1;profile-level-id=42c01e"));
    assert_eq!((plan.remote.fingerprints[0].hash.as_str(), plan.remote.dtls_role()), ("sha-1", DtlsRole::Server));
    let audio = answered("chromium156_publish_audio", CHROMIUM_AUDIO, None);
    assert_eq!(audio.media.len(), 1);
}

#[test]
fn a_passive_client_makes_us_active() {
    let plan = negotiate_publish(&GSTREAMER.replace("setup:active", "setup:passive"), &policy(None)).unwrap();
    assert_eq!(plan.remote.dtls_role(), DtlsRole::Client);
    assert!(answer_publish(&plan, &local()).contains("a=setup:active\r\n"));
}

#[test]
fn red_alone_is_no_audio_and_other_audio_is_forwarded() {
    let red = CHROMIUM_AUDIO.replace("SAVPF 111 63 9 0 8 13 110 126", "SAVPF 63");
    let error = negotiate_publish(&red, &policy(None)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "m-line 1 (audio): none of its codecs is supported; offered: red; supported: opus, PCMU, PCMA, G722"
    );
    let bare =
        CHROMIUM_AUDIO.replace("SAVPF 111 63 9 0 8 13 110 126", "SAVPF 8 0").replace("a=rtpmap:8 PCMA/8000\r\n", "");
    let plan = negotiate_publish(&bare, &policy(None)).unwrap();
    let audio = &plan.media[0];
    assert_eq!(
        (audio.codec.codec(), audio.codec.payload_type, audio.codec_name.as_str()),
        (Codec::OtherAudio, 8, "PCMA")
    );
    // A client may prefer PCMA to opus; opus is still taken.
    let second = CHROMIUM_AUDIO.replace("SAVPF 111 63 9 0 8 13 110 126", "SAVPF 8 111");
    assert_eq!(negotiate_publish(&second, &policy(None)).unwrap().media[0].codec.codec(), Codec::Opus);
}

#[test]
fn what_is_not_published_is_rejected_in_its_place() {
    let second_video = CHROMIUM.replace("m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=text 9 UDP/TLS/RTP/SAVPF 111");
    let plan = negotiate_publish(&second_video, &policy(None)).unwrap();
    let answer = answer_publish(&plan, &local());
    well_formed_with_rejection(&answer);
    assert!(answer.contains("a=group:BUNDLE 1\r\n"), "{answer}");
    assert!(answer.contains("m=text 0 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=inactive\r\n"));
    // Of two cameras the first is taken.
    let at = CHROMIUM.find("m=video").unwrap();
    let again = CHROMIUM[at..].replace("a=mid:1", "a=mid:2");
    let two = format!("{}{again}", CHROMIUM.replace("BUNDLE 0 1", "BUNDLE 0 1 2"));
    let plan = negotiate_publish(&two, &policy(None)).unwrap();
    assert_eq!(plan.media.len(), 2);
    let answer = answer_publish(&plan, &local());
    well_formed(&answer);
    assert!(answer.contains("a=group:BUNDLE 0 1\r\n") && answer.contains("m=video 0 UDP/TLS/RTP/SAVPF 96\r\n"));
    // What the client only receives is not published.
    let one = CHROMIUM.replacen("a=sendonly", "a=recvonly", 1);
    assert_eq!(negotiate_publish(&one, &policy(None)).unwrap().media.len(), 1);
    let sendrecv = CHROMIUM.replace("a=sendonly", "a=sendrecv");
    assert_eq!(negotiate_publish(&sendrecv, &policy(None)).unwrap().media[0].direction, Direction::SendRecv);
}

/// The independent parser does not know `m=text`; everything else of the text is checked with that line as audio.
fn well_formed_with_rejection(answer: &str) {
    well_formed(&answer.replace("m=text", "m=audio"));
}

#[test]
fn without_a_maximum_there_is_no_bandwidth_line() {
    let plan = negotiate_publish(CHROMIUM, &Policy::default()).unwrap();
    assert!(!answer_publish(&plan, &local()).contains("\r\nb="));
}

#[test]
fn ids_of_the_two_byte_form_need_both_sides_to_mix_them() {
    let high = CHROMIUM.replace("a=extmap:13 ", "a=extmap:16 ");
    let orientation = |offer: &str| {
        let plan = negotiate_publish(offer, &policy(None)).unwrap();
        kinds(&plan.media[1].extensions).iter().find(|(kind, _)| *kind == ExtensionKind::VideoOrientation).copied()
    };
    assert_eq!(orientation(&high), Some((ExtensionKind::VideoOrientation, 16)));
    assert_eq!(orientation(&high.replace("a=extmap-allow-mixed\r\n", "")), None);
    assert_eq!(orientation(&CHROMIUM.replace("a=extmap:13 ", "a=extmap:15 ")), None);
}
