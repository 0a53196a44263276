use dataplane_protocol::ExtensionKind;
use proptest::prelude::*;

use super::*;

const RID: &str = "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n";
const REPAIRED: &str = "a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n";
const LAYERS: &str =
    "a=rid:rdiv4 send\r\na=rid:rdiv2 send\r\na=rid:rdiv1 send\r\na=simulcast:send rdiv4;rdiv2;rdiv1\r\n";

/// Chromium's offer with other layer lines.
fn with(layers: &str) -> String {
    let offer = CHROMIUM_SIMULCAST.replace(LAYERS, layers);
    assert_ne!(offer, CHROMIUM_SIMULCAST);
    offer
}

/// The layers taken of an offer, and those that its answer names.
fn taken(offer: &str) -> (Vec<String>, String) {
    let plan = negotiate_publish(offer, &policy(None)).unwrap();
    let answer = answer_publish(&plan, &local());
    well_formed(&answer);
    let simulcast = answer.lines().find_map(|l| l.strip_prefix("a=simulcast:recv ")).unwrap_or_default().to_owned();
    let rids: Vec<_> = answer.lines().filter_map(|l| l.strip_prefix("a=rid:")?.strip_suffix(" recv")).collect();
    assert_eq!(rids, plan.media[1].rids);
    (plan.media[1].rids.clone(), simulcast)
}

fn has_stream_ids(media: &PublishedMedia) -> (bool, bool) {
    let has = |wanted| kinds(&media.extensions).iter().any(|(kind, _)| *kind == wanted);
    (has(ExtensionKind::Rid), has(ExtensionKind::RepairedRid))
}

#[test]
fn both_clients_layers_are_taken_in_their_order() {
    let plan = negotiate_publish(CHROMIUM_SIMULCAST, &policy(None)).unwrap();
    golden("chromium156_publish_simulcast", &answer_publish(&plan, &local()));
    let [audio, video] = plan.media.as_slice() else { panic!() };
    assert_eq!(video.rids, ["rdiv4", "rdiv2", "rdiv1"]);
    assert_eq!((video.ssrc, video.rtx_ssrc, video.codec.rtx_payload_type), (None, None, Some(97)));
    assert_eq!((has_stream_ids(video), has_stream_ids(audio)), ((true, true), (false, false)));
    assert!(audio.rids.is_empty());

    let plain = CHROMIUM_SIMULCAST.replace("rdiv4", "r0").replace("rdiv2", "r1").replace("rdiv1", "r2");
    let plan = negotiate_publish(&plain, &policy(None)).unwrap();
    golden("chromium156_publish_simulcast_r", &answer_publish(&plan, &local()));
    assert_eq!(plan.media[1].rids, ["r0", "r1", "r2"]);
}

#[test]
fn subscribers_never_see_layers() {
    let media = published(CHROMIUM_SIMULCAST, None);
    let (offer, plan) = offer_subscribe(&media, &local(), "c", "s", &mut counter());
    assert!(!offer.contains("rid") && !offer.contains("stream-id"), "{offer}");
    assert_eq!(plan.media.len(), 2);
    // An offer that has the stream ids is answered without them.
    let asking = CHROMIUM_SIMULCAST.replace("a=sendonly", "a=recvonly");
    let plan = negotiate_subscribe(&asking, &media, &mut counter()).unwrap();
    let answer = answer_subscribe(&plan, &local(), "c", "s");
    well_formed(&answer);
    assert!(!answer.contains("rid") && !answer.contains("stream-id"), "{answer}");
}

#[test]
fn layers_that_cannot_be_told_apart_are_one_stream() {
    let video = CHROMIUM_SIMULCAST.find("m=video").unwrap();
    let (head, tail) = CHROMIUM_SIMULCAST.split_at(video);
    let mid = "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n";
    let high = CHROMIUM_SIMULCAST.replace("a=extmap:10 ", "a=extmap:20 ");
    for offer in [
        CHROMIUM_SIMULCAST.replace(RID, ""),
        format!("{head}{}", tail.replace(mid, "")),
        high.replace("a=extmap-allow-mixed\r\n", ""),
        // Which of them would be sent is not said.
        with("a=rid:a send\r\na=rid:b send\r\n"),
        with("a=rid:a recv\r\na=simulcast:recv a\r\n"),
    ] {
        let plan = negotiate_publish(&offer, &policy(None)).unwrap();
        assert!(plan.media[1].rids.is_empty());
        assert_eq!(has_stream_ids(&plan.media[1]), (false, false));
        let answer = answer_publish(&plan, &local());
        well_formed(&answer);
        assert!(!answer.contains("rid") && !answer.contains("a=simulcast"), "{answer}");
    }
    assert_eq!(taken(&high).0.len(), 3);
}

#[test]
fn layers_without_a_repaired_id_have_no_retransmission_stream() {
    let plan = negotiate_publish(&CHROMIUM_SIMULCAST.replace(REPAIRED, ""), &policy(None)).unwrap();
    assert_eq!((plan.media[1].rids.len(), plan.media[1].codec.rtx_payload_type), (3, None));
    assert!(!answer_publish(&plan, &local()).contains("rtx"));
}

#[test]
fn the_list_is_read_as_the_rfc_has_it() {
    let rids = |names: &str| -> String { names.split(' ').map(|r| format!("a=rid:{r} send\r\n")).collect() };
    for (layers, rids, simulcast) in [
        (format!("{}a=simulcast:send a,b;c\r\n", rids("a b c")), vec!["a", "c"], "a;c"),
        (format!("{}a=simulcast:send ~a;b\r\n", rids("a b")), vec!["a", "b"], "~a;b"),
        (format!("{}a=simulcast:send a;~b,c\r\n", rids("a b c")), vec!["a", "b"], "a;~b"),
        (format!("{}a=rid:x recv\r\na=simulcast:recv x send a;b\r\n", rids("a b")), vec!["a", "b"], "a;b"),
        (format!("{}a=rid:x recv\r\na=simulcast:send b;a recv x\r\n", rids("a b")), vec!["b", "a"], "b;a"),
        // More than the data plane forwards: the first four.
        (format!("{}a=simulcast:send a;b;c;d;e\r\n", rids("a b c d e")), vec!["a", "b", "c", "d"], "a;b;c;d"),
        // A layer that may not use the chosen payload type makes room for its alternative, or goes.
        (
            "a=rid:a send pt=102\r\na=rid:b send pt=97,96;max-width=640\r\na=rid:c send pt=98\r\n\
          a=simulcast:send a,b;c\r\n"
                .to_owned(),
            vec!["b"],
            "",
        ),
        (
            "a=rid:a send max-width=320;max-fps=15\r\na=rid:b send\r\na=simulcast: send a;b\r\n".to_owned(),
            vec!["a", "b"],
            "a;b",
        ),
        // A lone layer, in either form.
        (rids("h"), vec!["h"], ""),
        (format!("{}a=simulcast:send h\r\n", rids("h")), vec!["h"], ""),
        (format!("{}a=simulcast:send a-1;b_2\r\n", rids("a-1 b_2")), vec!["a-1", "b_2"], "a-1;b_2"),
    ] {
        let (got, answered) = taken(&with(&layers));
        assert_eq!((got, answered.as_str()), (rids.iter().map(|r| (*r).to_owned()).collect(), simulcast), "{layers}");
    }
}

#[test]
fn rids_win_over_ssrcs_but_for_a_lone_one() {
    let ssrcs = "a=ssrc:11 cname:x\r\na=ssrc:12 cname:x\r\na=ssrc-group:FID 11 12\r\n";
    let plan = negotiate_publish(&with(&format!("{LAYERS}{ssrcs}")), &policy(None)).unwrap();
    assert_eq!((plan.media[1].rids.len(), plan.media[1].ssrc, plan.media[1].rtx_ssrc), (3, None, None));
    let plan = negotiate_publish(&with(&format!("a=rid:a send\r\n{ssrcs}")), &policy(None)).unwrap();
    let video = &plan.media[1];
    assert_eq!((video.rids.len(), video.ssrc, video.rtx_ssrc), (0, Some(11), Some(12)));
    assert_eq!(has_stream_ids(video), (false, false));
}

#[test]
fn forced_codecs_have_layers_too() {
    for codec in [VideoCodec::Vp9, VideoCodec::H264, VideoCodec::Av1] {
        let plan = negotiate_publish(CHROMIUM_SIMULCAST, &policy(Some(codec))).unwrap();
        assert_eq!((plan.media[1].codec_name.as_str(), plan.media[1].rids.len()), (codec.name(), 3));
    }
}

#[test]
fn what_is_malformed_names_its_line() {
    let many = "a=rid:x send\r\n".repeat(65);
    let list = (0..70).map(|i| format!("l{i}")).collect::<Vec<_>>().join(";");
    let long = format!("a=rid:{} send\r\n", "x".repeat(17));
    let two = "a=rid:a send\r\na=rid:b send\r\n";
    for (layers, want) in [
        ("a=rid:a\r\n".to_owned(), "a=rid: its direction must be send or recv"),
        ("a=rid:a sendrecv\r\n".to_owned(), "a=rid: its direction must be send or recv"),
        ("a=rid:é send\r\n".to_owned(), "a=rid: must begin with 1 to 16 letters"),
        ("a=rid: send\r\n".to_owned(), "a=rid: its direction must be send or recv"),
        (long, "a=rid: must begin with 1 to 16 letters"),
        ("a=rid:a send pt=96,x\r\n".to_owned(), "a=rid: its payload types are not numbers"),
        ("a=rid:a send pt=128\r\n".to_owned(), "a=rid: its payload types are not numbers"),
        (format!("{two}a=rid:a recv\r\n"), "a=rid: its name is taken"),
        (many, "a=rid: its name is taken"),
        ((0..65).map(|i| format!("a=rid:l{i} send\r\n")).collect(), "a=rid: stands on too many lines"),
        (format!("{two}a=simulcast:\r\n"), "a=simulcast: must be lists"),
        (format!("{two}a=simulcast:send\r\n"), "a=simulcast: has a direction without a list"),
        (format!("{two}a=simulcast:a;b\r\n"), "a=simulcast: must be lists"),
        (format!("{two}a=simulcast:send a send b\r\n"), "a=simulcast: has two lists of one direction"),
        (format!("{two}a=simulcast:send a;;b\r\n"), "a=simulcast: names a layer by other than"),
        (format!("{two}a=simulcast:send a;~\r\n"), "a=simulcast: names a layer by other than"),
        (format!("{two}a=simulcast:send ~~a;b\r\n"), "a=simulcast: names a layer by other than"),
        (format!("{two}a=simulcast:send a;b,a\r\n"), "a=simulcast: names a layer twice"),
        (format!("{two}a=simulcast:send a;c\r\n"), "a=simulcast: names a layer that no a=rid line sends"),
        (format!("{two}a=simulcast:send a\r\na=simulcast:send b\r\n"), "a=simulcast: stands twice"),
        (format!("{two}a=simulcast:send {list}\r\n"), "a=simulcast: names too many layers"),
    ] {
        let error = negotiate_publish(&with(&layers), &policy(None)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("m-line 2 (video): {want}")), "{layers}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever list is well-formed, the answer names some of its layers, each once and in order.
    #[test]
    fn the_answer_is_a_part_of_the_offer(
        streams in proptest::collection::vec((1usize..4, any::<bool>()), 1..9),
        loopback in any::<bool>(),
    ) {
        let mut next = 0;
        let mut rids = Vec::new();
        let list: Vec<_> = streams.iter().map(|(alternatives, paused)| {
            let names: Vec<_> = (0..*alternatives).map(|_| { next += 1; format!("l{next}") }).collect();
            rids.extend(names.clone());
            format!("{}{}", if *paused { "~" } else { "" }, names.join(","))
        }).collect();
        let lines: String = rids.iter().map(|rid| format!("a=rid:{rid} send\r\n")).collect();
        let offer = with(&format!("{lines}a=simulcast:send {}\r\n", list.join(";")));
        let offer = offer.replace("a=sendonly", "a=sendrecv");
        let plan = negotiate_publish(&offer, &Policy { loopback, ..policy(None) }).unwrap();
        let first: Vec<_> = list.iter().take(4).map(|s| s.split(',').next().unwrap().to_owned()).collect();
        let bare: Vec<_> = first.iter().map(|rid| rid.trim_start_matches('~').to_owned()).collect();
        prop_assert_eq!(&plan.media[1].rids, &bare);
        let answer = answer_publish(&plan, &local());
        well_formed(&answer);
        prop_assert_eq!(answer.contains(&format!("a=simulcast:recv {}\r\n", first.join(";"))), first.len() > 1);
        prop_assert_eq!(plan.echo.len(), if loopback { 2 } else { 0 });
    }

    #[test]
    fn any_layer_lines_are_an_error_or_an_answer(
        rids in proptest::collection::vec("[a-c~]{0,3} ?(send|recv|)( pt=[0-9,]{0,4})?", 0..5),
        list in "(send|recv|) ?[a-c,;~]{0,9} ?(send|recv|) ?[a-c,;~]{0,5}",
    ) {
        let lines: String = rids.iter().map(|rid| format!("a=rid:{rid}\r\n")).collect();
        let offer = with(&format!("{lines}a=simulcast:{list}\r\n"));
        match negotiate_publish(&offer, &policy(None)) {
            Ok(plan) => well_formed(&answer_publish(&plan, &local())),
            Err(error) => prop_assert!(error.to_string().starts_with("m-line 2 (video): a="), "{}", error),
        }
    }
}
