//! What rooms ask of the data plane for streams and subscriptions.

use dataplane_protocol::{Publish, Retarget, Subscribe};

use super::*;

fn republish(participant: &str, publication: Publication) -> Input {
    Input::Republish { participant: participant.into(), publication }
}

/// Audio, and video in three layers.
fn layered() -> Publication {
    let mut publication = publication();
    publication.tracks[1].rids = ["q", "h", "f"].map(str::to_owned).to_vec();
    publication.tracks[1].ssrc = Some(7);
    publication.tracks[1].max_bitrate_bps = 600_000;
    publication
}

/// As `publication`, with other video.
fn other_codec() -> Publication {
    let mut publication = publication();
    publication.tracks[1].codec.codec = Codec::H264 as i32;
    publication
}

fn commands(effects: &[Effect]) -> impl Iterator<Item = &Command> {
    runs(effects).flat_map(|run| &run.commands)
}

fn kinds(effects: &[Effect]) -> Vec<&'static str> {
    commands(effects).map(name).collect()
}

fn published(effects: &[Effect]) -> Vec<&Publish> {
    commands(effects).filter_map(|command| if let Command::Publish(c) = command { Some(c) } else { None }).collect()
}

fn subscribed(effects: &[Effect]) -> Vec<&Subscribe> {
    commands(effects).filter_map(|command| if let Command::Subscribe(c) = command { Some(c) } else { None }).collect()
}

fn retargeted(effects: &[Effect]) -> Vec<&Retarget> {
    commands(effects).filter_map(|command| if let Command::Retarget(c) = command { Some(c) } else { None }).collect()
}

fn op(effects: &[Effect]) -> u64 {
    runs(effects).find_map(|run| run.op).unwrap()
}

fn ran(op: u64) -> Input {
    Input::Ran { op, result: Ok(()) }
}

#[test]
fn a_stream_ends_with_its_tracks_before_any_transport() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let stream = bench.publish(&a);
    assert_eq!(reply(&bench.run(subscribe(&b, &stream, true))), Ok(Reply::Subscribed));
    let effects = bench.apply(Input::Unpublish { participant: a.clone() });
    assert_eq!(told(&effects), ["reply".into(), format!("{b} <- unpublished {a} Unpublished")]);
    let kinds: Vec<_> = runs(&effects).flat_map(|run| &run.commands).map(name).collect();
    assert_eq!(kinds, ["unpublish", "unpublish", "remove", "remove"]);
    assert!(bench.room.participant(&b).unwrap().subscriptions.is_empty());
    let again = bench.apply(Input::Unpublish { participant: a.clone() });
    assert_eq!(reply(&again), Err(Error::NotPublishing(a)));
}

#[test]
fn who_goes_while_the_data_plane_works_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let effects = bench.apply(publish(&a));
    let op = runs(&effects).find_map(|run| run.op).unwrap();
    bench.apply(Input::Leave { participant: a.clone() });
    let effects = bench.apply(Input::Ran { op, result: Ok(()) });
    assert_eq!(told(&effects), [format!("error {:?}", Error::UnknownParticipant(a))]);
    let kinds: Vec<_> = runs(&effects).flat_map(|run| &run.commands).map(name).collect();
    assert_eq!(kinds, ["unpublish", "unpublish", "remove"]);
    assert!(bench.room.participant(&b).is_some());
}

#[test]
fn an_answer_needs_an_offer() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Subscriber));
    let stream = bench.publish(&a);
    assert_eq!(reply(&bench.apply(subscribe(&b, &stream, false))), Err(Error::NotPrepared(stream.clone())));
    assert_eq!(reply(&bench.apply(subscribe(&a, &stream, true))), Err(Error::OwnStream));
    assert_eq!(reply(&bench.apply(subscribe(&b, "none", true))), Err(Error::UnknownStream("none".into())));
    let prepare = Input::PrepareSubscribe { participant: b.clone(), stream: stream.clone(), ice: ice() };
    assert_eq!(reply(&bench.run(prepare)), Ok(Reply::Prepared));
    let effects = bench.run(subscribe(&b, &stream, false));
    assert_eq!(reply(&effects), Ok(Reply::Subscribed));
    let kinds: Vec<_> = runs(&effects).flat_map(|run| &run.commands).map(name).collect();
    assert_eq!(kinds, ["remote", "subscribe", "subscribe"]);
}

#[test]
fn a_restarted_data_plane_ends_streams_and_what_was_under_way() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let stream = bench.publish(&a);
    let effects = bench.apply(subscribe(&b, &stream, true));
    let op = runs(&effects).find_map(|run| run.op).unwrap();
    let effects = bench.apply(Input::MediaRestarted);
    assert_eq!(told(&effects), [format!("{a},{b} <- unpublished {a} MediaRestarted")]);
    assert_eq!(runs(&effects).count(), 0, "it holds nothing that could be removed");
    let effects = bench.apply(Input::Ran { op, result: Ok(()) });
    assert_eq!(reply(&effects), Err(Error::Media(MediaError::Restarted)));
}

#[test]
fn a_republished_stream_takes_its_subscriptions_along() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let stream = bench.publish(&a);
    bench.run(subscribe(&b, &stream, true));
    let before = bench.room.participant(&b).unwrap().subscriptions.get(&stream).unwrap().clone();
    let effects = bench.run(Input::Republish { participant: a.clone(), publication: publication() });
    assert!(matches!(reply(&effects), Ok(Reply::Published { stream: same, .. }) if same == stream));
    let kinds: Vec<_> = runs(&effects).flat_map(|run| &run.commands).map(name).collect();
    let expected = ["create", "publish", "publish", "retarget", "retarget", "unpublish", "unpublish", "remove"];
    assert_eq!(kinds, expected);
    let after = bench.room.participant(&b).unwrap().subscriptions.get(&stream).unwrap();
    assert_eq!(*after, before, "the same subscriptions with the same SSRCs");
}

#[test]
fn labels_and_cnames_are_bounded_at_characters() {
    let long = "é".repeat(200);
    assert!(label("r", "p", &long).len() <= 256 && label("r", "p", &long).starts_with("r/p/é"));
    assert_eq!(cname(&long).len(), 64);
    assert_eq!(cname("short"), "short");
}

#[test]
fn each_layer_is_a_track_and_a_subscription_names_them_all() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let description = StreamDescription::default();
    let effects = bench.run(Input::Publish { participant: a.clone(), description, publication: layered() });
    let layers = published(&effects);
    let said: Vec<_> = layers.iter().map(|p| (p.mid.as_str(), p.rid.as_str(), p.ssrc, p.max_bitrate_bps)).collect();
    let expected =
        [("0", "", None, 0), ("1", "q", None, 600_000), ("1", "h", None, 600_000), ("1", "f", None, 600_000)];
    assert_eq!(said, expected);
    let stream = bench.room.participant(&a).unwrap().stream.clone().unwrap();
    assert_eq!(stream.tracks[1].layers().collect::<Vec<_>>(), [layers[1].track, layers[2].track, layers[3].track]);
    let effects = bench.run(subscribe(&b, &stream.id, true));
    let video = subscribed(&effects)[1];
    assert_eq!((video.track, video.higher.as_slice()), (layers[1].track, &[layers[2].track, layers[3].track][..]));
    assert!(subscribed(&effects)[0].higher.is_empty());
    let ended = bench.apply(Input::Unpublish { participant: a });
    assert_eq!(kinds(&ended), ["unpublish", "unpublish", "unpublish", "unpublish", "remove", "remove"]);
}

#[test]
fn there_are_no_more_layers_than_a_subscription_can_name() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let mut publication = publication();
    publication.tracks[1].rids = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    let input = Input::Publish { participant: a.clone(), description: StreamDescription::default(), publication };
    let effects = bench.run(input);
    assert_eq!(published(&effects).iter().map(|p| p.rid.as_str()).collect::<Vec<_>>(), ["", "a", "b", "c", "d"]);
    let stream = bench.room.participant(&a).unwrap().stream.as_ref().unwrap().id.clone();
    assert_eq!(subscribed(&bench.run(subscribe(&b, &stream, true)))[1].higher.len(), 3);
}

#[test]
fn an_echo_is_subscribed_on_the_publishers_own_transport() {
    let mut bench = Bench::new();
    let a = bench.join(Role::Publisher);
    let mut publication = layered();
    let video = publication.tracks[1].clone();
    let echo = |source| SubscribedTrack {
        source,
        mid: video.mid.clone(),
        codec: video.codec.clone(),
        ssrc: 99,
        rtx_ssrc: None,
        extensions: vec![],
    };
    publication.echo = vec![echo(1), echo(5)];
    let description = StreamDescription::default();
    let input = Input::Publish { participant: a.clone(), description, publication: publication.clone() };
    for effects in [bench.run(input), bench.run(republish(&a, publication))] {
        let own = ["create", "publish", "publish", "publish", "publish", "subscribe"];
        assert_eq!(kinds(&effects)[..6], own, "no echo of what is not there");
        let (layers, echo) = (published(&effects), subscribed(&effects)[0]);
        assert_eq!((echo.transport, echo.ssrc), (layers[1].transport, 99));
        assert_eq!((echo.track, echo.higher.as_slice()), (layers[1].track, &[layers[2].track, layers[3].track][..]));
    }
}

#[test]
fn a_subscription_follows_to_the_layers_of_a_republished_stream() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let stream = bench.publish(&a);
    let first = bench.run(subscribe(&b, &stream, true));
    let (audio, video) = (subscribed(&first)[0].subscription, subscribed(&first)[1].subscription);
    let effects = bench.run(republish(&a, layered()));
    let layers: Vec<_> = published(&effects).iter().map(|p| p.track).collect();
    let expected = [
        Retarget { subscription: audio, track: layers[0], higher: vec![] },
        Retarget { subscription: video, track: layers[1], higher: vec![layers[2], layers[3]] },
    ];
    assert_eq!(retargeted(&effects), expected.each_ref());
    assert_eq!(told(&effects), ["reply"], "nobody is told");
}

#[test]
fn what_cannot_follow_is_offered_anew() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let stream = bench.publish(&a);
    bench.run(subscribe(&b, &stream, true));
    let effects = bench.run(republish(&a, other_codec()));
    assert_eq!(told(&effects), ["reply".into(), format!("reoffer {a} to {b}")]);
    assert_eq!(retargeted(&effects).len(), 1, "the audio goes on");
    let me = bench.room.participant(&b).unwrap();
    assert_eq!(me.subscriptions.get(&stream).unwrap().tracks.len(), 1, "the video is not addressed any more");
    // Also when the stream moves again before the offer, and though the first codec is back.
    let effects = bench.run(republish(&a, publication()));
    assert_eq!(told(&effects), ["reply".into(), format!("reoffer {a} to {b}")]);
    assert_eq!(retargeted(&effects).len(), 1);
    let prepare = Input::PrepareSubscribe { participant: b.clone(), stream: stream.clone(), ice: ice() };
    assert_eq!(kinds(&bench.run(prepare)), ["remove", "create"], "the offer replaces it");
    assert!(bench.room.participant(&b).unwrap().subscriptions.is_empty());
    assert_eq!(told(&bench.run(subscribe(&b, &stream, false))), ["reply"]);
    let mut sound = publication();
    sound.tracks.truncate(1);
    let effects = bench.run(republish(&a, sound));
    assert_eq!(told(&effects), ["reply".into(), format!("reoffer {a} to {b}")], "the video has gone");
}

#[test]
fn another_clock_rate_is_another_codec() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let stream = bench.publish(&a);
    bench.run(subscribe(&b, &stream, true));
    let mut slower = publication();
    slower.tracks[1].codec.clock_rate = 45_000;
    assert_eq!(told(&bench.run(republish(&a, slower)))[1], format!("reoffer {a} to {b}"));
}

#[test]
fn a_subscription_under_way_ends_on_the_new_tracks() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let stream = bench.publish(&a);
    let under_way = op(&bench.apply(subscribe(&b, &stream, true)));
    let moved = bench.run(republish(&a, publication()));
    assert_eq!(kinds(&moved), ["create", "publish", "publish"], "the old tracks are still needed");
    let moved = bench.run(republish(&a, publication()));
    let between = ["create", "publish", "publish", "unpublish", "unpublish", "remove"];
    assert_eq!(kinds(&moved), between, "those between are not");
    let effects = bench.apply(ran(under_way));
    assert_eq!(told(&effects), ["reply"]);
    assert_eq!(kinds(&effects), ["retarget", "retarget", "unpublish", "unpublish", "remove"]);
    let now: Vec<_> = published(&moved).iter().map(|p| p.track).collect();
    assert_eq!(retargeted(&effects).iter().map(|r| r.track).collect::<Vec<_>>(), now);
}

#[test]
fn a_subscription_under_way_that_cannot_follow_is_answered_and_offered_anew() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let stream = bench.publish(&a);
    let under_way = op(&bench.apply(subscribe(&b, &stream, true)));
    bench.run(republish(&a, other_codec()));
    let effects = bench.apply(ran(under_way));
    assert_eq!(told(&effects), ["reply".into(), format!("reoffer {a} to {b}")]);
    assert_eq!(kinds(&effects), ["retarget", "unpublish", "unpublish", "remove"]);
    // An answer to an offer of before is the same.
    let prepare = Input::PrepareSubscribe { participant: b.clone(), stream: stream.clone(), ice: ice() };
    bench.run(prepare);
    let effects = bench.run(subscribe(&b, &stream, false));
    assert_eq!(told(&effects), ["reply".into(), format!("reoffer {a} to {b}")]);
    assert_eq!(kinds(&effects), ["remote", "subscribe"], "in no codec that the stream has not");
}

#[test]
fn old_tracks_go_with_the_last_subscription_under_way_to_them() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let stream = bench.publish(&a);
    let under_way = op(&bench.apply(subscribe(&b, &stream, true)));
    bench.run(republish(&a, publication()));
    let effects = bench.apply(Input::Leave { participant: a });
    assert_eq!(kinds(&effects), ["unpublish", "unpublish", "remove"]);
    let effects = bench.apply(ran(under_way));
    assert_eq!(reply(&effects), Err(Error::UnknownStream(stream)));
    assert_eq!(kinds(&effects), ["remove", "unpublish", "unpublish", "remove"]);
}

#[test]
fn the_later_of_two_requests_wins_whichever_ends_first() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let stream = bench.publish(&a);
    let (first, second) = (bench.apply(republish(&a, publication())), bench.apply(republish(&a, publication())));
    let later = published(&second)[0].transport;
    assert!(reply(&bench.apply(ran(op(&second)))).is_ok());
    let effects = bench.apply(ran(op(&first)));
    assert_eq!(reply(&effects), Err(Error::Overtaken));
    assert_eq!(kinds(&effects), ["unpublish", "unpublish", "remove"]);
    assert_eq!(bench.room.participant(&a).unwrap().stream.as_ref().unwrap().transport, later);

    let (first, second) = (bench.apply(subscribe(&b, &stream, true)), bench.apply(subscribe(&b, &stream, true)));
    let effects = bench.apply(ran(op(&first)));
    assert_eq!((reply(&effects), kinds(&effects)), (Err(Error::Overtaken), vec!["remove"]));
    assert_eq!(reply(&bench.apply(ran(op(&second)))), Ok(Reply::Subscribed));
    let third = bench.apply(subscribe(&b, &stream, true));
    assert_eq!(told(&bench.apply(Input::Unsubscribe { participant: b.clone(), publisher: a })), ["reply"]);
    assert_eq!(reply(&bench.apply(ran(op(&third)))), Err(Error::Overtaken));
    assert!(bench.room.participant(&b).unwrap().subscriptions.is_empty());
}

#[test]
fn a_helper_that_comes_back_inherits_nothing() {
    let mut bench = Bench::new();
    let a = bench.join(Role::Publisher);
    let stream = bench.publish(&a);
    let helper = || join(Admission::Secret { participant: Some("REC".into()), hidden: Some(Hidden::Recorder) });
    bench.apply(helper());
    let under_way = op(&bench.apply(subscribe("REC", &stream, true)));
    bench.apply(Input::Leave { participant: "REC".into() });
    bench.apply(helper());
    let effects = bench.apply(ran(under_way));
    assert_eq!((reply(&effects), kinds(&effects)), (Err(Error::Overtaken), vec!["remove"]));
    assert!(bench.room.participant("REC").unwrap().subscriptions.is_empty());
}

/// The transports that effects make, each with the one that it is to be near.
fn created(effects: &[Effect]) -> Vec<(u64, Option<u64>)> {
    let commands = runs(effects).flat_map(|run| &run.commands);
    let created = commands.filter_map(|command| match command {
        Command::CreateTransport(create) => Some((create.transport, create.near)),
        _ => None,
    });
    created.collect()
}

#[test]
fn transports_of_a_stream_are_to_be_near_its_publishers() {
    let mut bench = Bench::new();
    let (a, b, c) = (bench.join(Role::Publisher), bench.join(Role::Publisher), bench.join(Role::Publisher));
    let effects = bench.run(publish(&a));
    let [(home, None)] = created(&effects)[..] else { panic!("{effects:?}") };
    let Ok(Reply::Published { stream, .. }) = reply(&effects) else { panic!("{effects:?}") };
    assert!(matches!(created(&bench.run(subscribe(&b, &stream, true)))[..], [(_, Some(near))] if near == home));
    let prepare = Input::PrepareSubscribe { participant: c.clone(), stream: stream.clone(), ice: ice() };
    assert!(matches!(created(&bench.run(prepare))[..], [(_, Some(near))] if near == home));
    let again = Input::Republish { participant: a.clone(), publication: publication() };
    let [(moved, Some(near))] = created(&bench.run(again))[..] else { panic!("no transport") };
    assert_eq!(near, home, "its subscribers are there");
    assert!(matches!(created(&bench.run(subscribe(&b, &stream, true)))[..], [(_, Some(near))] if near == moved));
}
