use dataplane_protocol::ExtensionKind;

use super::*;

fn loopback() -> Policy {
    Policy { loopback: true, ..policy(None) }
}

fn both_ways() -> String {
    CHROMIUM.replace("a=sendonly", "a=sendrecv")
}

#[test]
fn what_is_published_comes_back_in_the_same_numbering() {
    let plan = negotiate_publish(&both_ways(), &loopback()).unwrap();
    golden("chromium156_publish_loopback", &answer_publish(&plan, &local()));
    let [audio, video] = plan.echo.as_slice() else { panic!("{:?}", plan.echo) };
    assert_eq!((audio.source, audio.ssrc, audio.rtx_ssrc), (0, 1001, None));
    assert_eq!((video.source, video.ssrc, video.rtx_ssrc), (1, 1002, Some(1003)));
    for (echo, media) in plan.echo.iter().zip(&plan.media) {
        assert_eq!((&echo.mid, &echo.codec, &echo.extensions), (&media.mid, &media.codec, &media.extensions));
        assert_eq!((&echo.codec_name, &echo.fmtp, echo.channels), (&media.codec_name, &media.fmtp, media.channels));
    }
}

#[test]
fn only_who_asks_and_may_gets_an_echo() {
    for (offer, policy) in [(both_ways(), policy(None)), (CHROMIUM.to_owned(), loopback())] {
        let plan = negotiate_publish(&offer, &policy).unwrap();
        assert!(plan.echo.is_empty());
        let answer = answer_publish(&plan, &local());
        assert_eq!(answer, answer_publish(&negotiate_publish(CHROMIUM, &super::policy(None)).unwrap(), &local()));
        assert!(!answer.contains("a=sendrecv") && !answer.contains("a=ssrc"));
    }
}

#[test]
fn each_m_line_is_sent_back_on_its_own() {
    let video_only =
        CHROMIUM.replace("a=sendonly\r\na=msid:", "a=sendrecv\r\na=msid:").replacen("sendrecv", "sendonly", 1);
    let plan = negotiate_publish(&video_only, &loopback()).unwrap();
    let [echo] = plan.echo.as_slice() else { panic!("{:?}", plan.echo) };
    assert_eq!((echo.source, echo.mid.as_str()), (1, "1"));
    let answer = answer_publish(&plan, &local());
    well_formed(&answer);
    let (audio, video) = answer.split_at(answer.find("m=video").unwrap());
    assert!(audio.contains("a=recvonly\r\n") && !audio.contains("a=ssrc:"), "{audio}");
    assert!(video.contains("a=sendrecv\r\na=msid:loopback loopback_video\r\n"), "{video}");
}

#[test]
fn layers_come_back_as_one_stream() {
    let offer = CHROMIUM_SIMULCAST.replace("a=sendonly", "a=sendrecv");
    let plan = negotiate_publish(&offer, &loopback()).unwrap();
    let answer = answer_publish(&plan, &local());
    golden("chromium156_publish_simulcast_loopback", &answer);
    assert_eq!(plan.media[1].rids.len(), 3);
    let rids = [ExtensionKind::Rid, ExtensionKind::RepairedRid];
    assert!(kinds(&plan.media[1].extensions).iter().any(|(kind, _)| rids.contains(kind)));
    assert!(!kinds(&plan.echo[1].extensions).iter().any(|(kind, _)| rids.contains(kind)));
}
