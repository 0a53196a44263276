use proptest::prelude::*;

use super::*;

#[test]
fn errors_name_the_line_and_attribute() {
    for (from, to, want) in [
        ("v=0", "v=1", "SDP does not parse"),
        ("s=-", "s=\u{0}", "line 3 contains a control character"),
        ("a=mid:1", "a=mid:01234567890123456", "m-line 2 (video): a=mid: must be a token of 1 to 16 bytes"),
        ("a=ice-ufrag:xJ/r\r\n", "", "m-line 1 (audio): a=ice-ufrag is missing"),
        ("a=ice-ufrag:xJ/r", "a=ice-ufrag:x", "m-line 1 (audio): a=ice-ufrag: has a wrong length"),
        ("a=ice-pwd:nLaHQKt4z7+mRQHPUej+jKox", "a=ice-pwd:short", "a=ice-pwd: has a wrong length"),
        ("sha-256 8F:BE", "sha-256 8F:", "a=fingerprint: its digest is not hexadecimal"),
        ("sha-256 8F:BE", "sha-256 8F", "a=fingerprint: its digest has not the length"),
        ("sha-256 8F:BE", "sha-1 8F:BE", "a=fingerprint: its digest has not the length"),
        ("a=setup:actpass", "a=setup:holdconn", "a=setup: must be actpass, active or passive (in \"holdconn\")"),
        ("a=rtcp-mux\r\n", "", "m-line 1 (audio): a=rtcp-mux is missing"),
        ("a=group:BUNDLE 0 1", "a=group:BUNDLE 0", "m-line 2 (video): not in the first m-line's a=group:BUNDLE"),
        ("a=mid:0\r\n", "", "m-line 1 (audio): a=mid is missing"),
        ("a=rtpmap:96 VP8/90000", "a=rtpmap:96 VP8", "m-line 2 (video): a=rtpmap: has no clock rate (in \"96 VP8\")"),
        ("a=rtpmap:111 opus/48000/2", "a=rtpmap:x opus/48000/2", "a=rtpmap: must begin with a payload type"),
        ("a=fmtp:97 ", "a=fmtp:apt ", "m-line 2 (video): a=fmtp: must begin with a payload type"),
        ("a=rtcp-fb:96 nack\r\n", "a=rtcp-fb:x nack\r\n", "a=rtcp-fb: must begin with a payload type or *"),
        ("a=extmap:14 ", "a=extmap:x ", "m-line 2 (video): a=extmap: its id is not a number"),
        ("a=ssrc:2957125511 cname", "a=ssrc:-1 cname", "m-line 2 (video): a=ssrc: must begin with a number"),
        ("FID 2957125511 ", "FID 99999999999 ", "a=ssrc-group: its SSRCs are not numbers"),
        ("SAVPF 96 97", "SAVPF 96 200", "m-line 2 (video): payload type \"200\" is not a number from 0 to 127"),
        ("a=sendonly", "a=inactive", "no sending audio or video m-line"),
    ] {
        let offer = CHROMIUM.replace(from, to);
        assert_ne!(offer, CHROMIUM, "{from} is not in the offer");
        let error = negotiate_publish(&offer, &policy(None)).unwrap_err().to_string();
        assert!(error.contains(want), "{from} → {to}: {error}");
    }
}

#[test]
fn sizes_are_bounded() {
    let long = format!("{CHROMIUM}a=x:{}\r\n", "y".repeat(256 * 1024));
    assert!(matches!(negotiate_publish(&long, &policy(None)), Err(SdpError::TooLong { .. })));
    let lines = format!("{CHROMIUM}{}", "a=x\r\n".repeat(5000));
    assert!(matches!(negotiate_publish(&lines, &policy(None)), Err(SdpError::TooMany { what: "lines", .. })));
    let media = format!("{CHROMIUM}{}", "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n".repeat(20));
    assert!(matches!(negotiate_publish(&media, &policy(None)), Err(SdpError::TooMany { what: "m-lines", .. })));
    let long_value = CHROMIUM.replace("a=setup:actpass", &format!("a=setup:{}", "é".repeat(500)));
    assert!(negotiate_publish(&long_value, &policy(None)).unwrap_err().to_string().len() < 300);
}

/// One change of a text.
#[derive(Clone, Debug)]
enum Change {
    Drop(usize),
    Double(usize),
    Swap(usize, usize),
    Cut(usize, usize),
    Insert(usize, usize, char),
    Join(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<usize>().prop_map(Change::Drop),
        any::<usize>().prop_map(Change::Double),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Change::Swap(a, b)),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Change::Cut(a, b)),
        (any::<usize>(), any::<usize>(), any::<char>()).prop_map(|(a, b, c)| Change::Insert(a, b, c)),
        any::<usize>().prop_map(Change::Join),
    ]
}

fn apply(text: &str, changes: &[Change]) -> String {
    let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    for change in changes {
        let n = lines.len().max(1);
        let at = |line: &str, i: usize| {
            line.char_indices().nth(i % (line.chars().count() + 1)).map_or(line.len(), |(i, _)| i)
        };
        match change {
            _ if lines.is_empty() => {}
            Change::Drop(i) => drop(lines.remove(i % n)),
            Change::Double(i) => lines.insert(i % n, lines[i % n].clone()),
            Change::Swap(a, b) => lines.swap(a % n, b % n),
            Change::Cut(i, j) => {
                let line = &mut lines[i % n];
                let cut = at(line, *j);
                line.truncate(cut);
            }
            Change::Insert(i, j, c) => {
                let line = &mut lines[i % n];
                let place = at(line, *j);
                line.insert(place, *c);
            }
            Change::Join(i) => {
                let line = lines.remove(i % n);
                if let Some(last) = lines.last_mut() {
                    last.push_str(&line);
                }
            }
        }
    }
    lines.join("\r\n")
}

/// Errors say something about the description, and answers are readable and as long as the offer.
fn check(result: Result<(String, usize), SdpError>, offer: &str) {
    match result {
        Err(error) => {
            let text = error.to_string();
            let names = ["m-line", "session", "SDP", "codec", "answer"];
            assert!(names.iter().any(|name| text.contains(name)), "{text}");
        }
        Ok((answer, accepted)) => {
            assert!((1..=2).contains(&accepted));
            let lines = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
            assert_eq!(lines(&answer), lines(offer), "{answer}");
            // The other parser refuses media it does not know; ours rejects them politely.
            let known = answer.lines().filter(|l| l.starts_with("m=")).all(|l| {
                let rejected = l.split(' ').nth(1) == Some("0");
                !rejected
            });
            if known && let Err(error) = webrtc_sdp::parse_sdp(&answer, false) {
                panic!("{error}\n{answer}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_offers_never_panic(
        which in 0usize..9,
        changes in proptest::collection::vec(change(), 1..6),
    ) {
        let offers = [CHROMIUM, CHROMIUM_AUDIO, CHROMIUM_H264, CHROMIUM_SIMULCAST, CHROMIUM_RECVONLY, FIREFOX,
            FIREFOX_RECVONLY, GSTREAMER, SAFARI];
        let offer = apply(offers[which], &changes);
        let publish = negotiate_publish(&offer, &policy(None));
        check(publish.map(|plan| (answer_publish(&plan, &local()), plan.media.len())), &offer);
        let media = published(CHROMIUM, None);
        let subscribe = negotiate_subscribe(&offer, &media, &mut counter());
        check(subscribe.map(|plan| (answer_subscribe(&plan, &local(), "c", "s"), plan.media.len())), &offer);
        let (_, plan) = offer_subscribe(&media, &local(), "c", "s", &mut counter());
        if let Err(error) = accept_answer(&plan, &offer) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_text_is_an_error_or_an_answer(text in "\\PC{0,400}") {
        check(negotiate_publish(&text, &policy(None)).map(|p| (answer_publish(&p, &local()), p.media.len())), &text);
    }

    #[test]
    fn lines_of_sdp_shape_never_panic(lines in proptest::collection::vec("[vosmabct]=[a-z0-9:/ ;=.-]{0,40}", 0..40)) {
        let text = format!("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{}\r\n", lines.join("\r\n"));
        check(negotiate_publish(&text, &policy(None)).map(|p| (answer_publish(&p, &local()), p.media.len())), &text);
    }
}
