//! What the books get to know, and in which order.

use super::*;

/// The events in few words.
fn events(effects: &[Effect]) -> Vec<String> {
    let media = |media: &Media| match &media.publisher {
        Some(publisher) => format!("{} from {publisher} since {}", media.participant, media.began_at),
        None => format!("{} out since {}", media.participant, media.began_at),
    };
    let word = |event: &Event| match event {
        Event::Joined(person) => format!("joined {} {}", person.participant, person.joined_at),
        Event::Left { person, reason } => format!("left {} {reason:?}", person.participant),
        Event::MediaBegan(began) => format!("began {}", media(began)),
        Event::MediaEnded { media: ended, reason } => format!("ended {} {reason:?}", media(ended)),
        Event::Signalled { from, to, kind, .. } => format!("signal {from:?} {} {kind:?}", to.join(",")),
    };
    let event = |effect: &Effect| match effect {
        Effect::Event(event) => Some(word(event)),
        Effect::Ended { reason } => Some(format!("over {reason:?}")),
        _ => None,
    };
    effects.iter().filter_map(event).collect()
}

/// A publisher of a stream, its subscriber, and a bench on which each step takes a second.
fn call() -> (Bench, String, String, String) {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Moderator), bench.join(Role::Publisher));
    bench.now = 2_000;
    let stream = bench.publish(&a);
    bench.now = 3_000;
    assert_eq!(events(&bench.run(subscribe(&b, &stream, true))), [format!("began {b} from {a} since 3000")]);
    bench.now = 4_000;
    (bench, a, b, stream)
}

#[test]
fn joining_and_publishing_are_told_once_they_are_true() {
    let mut bench = Bench::new();
    let (a, token) = bench.invite(Role::Publisher);
    assert_eq!(events(&bench.apply(join(Admission::Token(token)))), [format!("joined {a} 1000")]);
    let effects = bench.apply(publish(&a));
    assert!(events(&effects).is_empty(), "the data plane may still refuse");
    let op = runs(&effects).next().unwrap().op.unwrap();
    bench.now = 1_500;
    let effects = bench.apply(Input::Ran { op, result: Ok(()) });
    assert_eq!(events(&effects), [format!("began {a} out since 1500")]);
}

#[test]
fn leaving_ends_all_media_of_a_participant_before_it_goes() {
    let (mut bench, a, b, _) = call();
    let own = bench.publish(&b);
    bench.run(subscribe(&a, &own, true));
    let effects = bench.apply(Input::Leave { participant: b.clone() });
    let expected = [
        format!("ended {b} from {a} since 3000 Left"),
        format!("ended {b} out since 4000 Left"),
        format!("ended {a} from {b} since 4000 Left"),
        format!("left {b} Left"),
    ];
    assert_eq!(events(&effects), expected);
    let effects = bench.apply(Input::Lapse { participant: a.clone() });
    let expected = [
        format!("ended {a} out since 2000 NetworkLost"),
        format!("left {a} NetworkLost"),
        "over LastParticipantLeft".to_owned(),
    ];
    assert_eq!(events(&effects), expected);
}

#[test]
fn closing_gives_everything_one_reason_and_the_room_ends_last() {
    let (mut bench, a, b, _) = call();
    let effects = bench.apply(Input::Close { reason: EndReason::RoomClosedByApplication });
    let expected = [
        format!("ended {a} out since 2000 RoomClosedByApplication"),
        format!("ended {b} from {a} since 3000 RoomClosedByApplication"),
        format!("left {a} RoomClosedByApplication"),
        format!("left {b} RoomClosedByApplication"),
        "over RoomClosedByApplication".to_owned(),
    ];
    assert_eq!(events(&effects), expected);
}

#[test]
fn streams_end_for_their_receivers_with_their_own_reason() {
    type Ending = fn(&str, &str) -> Input;
    let endings: [(Ending, EndReason); 4] = [
        (|a, _| Input::Unpublish { participant: a.into() }, EndReason::Unpublished),
        (
            |a, stream| Input::ForceUnpublish { participant: Some(a.into()), stream: stream.into() },
            EndReason::UnpublishedByModerator,
        ),
        (
            |_, stream| Input::ForceUnpublish { participant: None, stream: stream.into() },
            EndReason::UnpublishedByApplication,
        ),
        (|_, _| Input::MediaRestarted, EndReason::MediaRestarted),
    ];
    for (ending, reason) in endings {
        let (mut bench, a, b, stream) = call();
        let effects = bench.apply(ending(&a, &stream));
        let expected =
            [format!("ended {a} out since 2000 {reason:?}"), format!("ended {b} from {a} since 3000 {reason:?}")];
        assert_eq!(events(&effects), expected);
    }
}

#[test]
fn another_path_for_a_stream_is_no_event() {
    let (mut bench, a, b, stream) = call();
    let republish = Input::Republish { participant: a.clone(), publication: publication() };
    assert!(events(&bench.run(republish)).is_empty());
    assert!(events(&bench.run(subscribe(&b, &stream, true))).is_empty());
    let prepare = Input::PrepareSubscribe { participant: b.clone(), stream: stream.clone(), ice: ice() };
    assert!(events(&bench.run(prepare)).is_empty());
    let unsubscribe = Input::Unsubscribe { participant: b.clone(), publisher: a.clone() };
    let expected = [format!("ended {b} from {a} since 3000 Unsubscribed")];
    assert_eq!(events(&bench.apply(unsubscribe.clone())), expected, "though it was between two paths");
    assert!(events(&bench.apply(unsubscribe)).is_empty());
    assert_eq!(events(&bench.run(subscribe(&b, &stream, true))), [format!("began {b} from {a} since 4000")]);
}

#[test]
fn receivers_are_told_what_the_stream_was_when_it_began() {
    let (mut bench, a, b, _) = call();
    let change = Input::ChangeStream {
        participant: a.clone(),
        property: StreamProperty::AudioActive(false),
        value: "false".into(),
        reason: "publishAudio".into(),
    };
    bench.apply(change);
    let effects = bench.apply(Input::Leave { participant: b });
    let ended = effects.iter().find_map(|effect| match effect {
        Effect::Event(Event::MediaEnded { media, .. }) => Some(media.description.audio_active),
        _ => None,
    });
    assert_eq!(ended, Some(None));
}

#[test]
fn signals_are_told_with_all_who_get_them() {
    let mut bench = Bench::new();
    let a = bench.join(Role::Publisher);
    bench.apply(join(Admission::Secret { participant: Some("REC".into()), hidden: Some(Hidden::Recorder) }));
    let signal = |from: Option<&str>, to: &[&str]| Input::Signal {
        participant: from.map(str::to_owned),
        to: to.iter().map(|id| (*id).to_owned()).collect(),
        kind: Some("chat".into()),
        data: None,
    };
    let expected = [format!("signal None {a},REC Some(\"chat\")")];
    assert_eq!(events(&bench.apply(signal(None, &[]))), expected);
    let expected = [format!("signal Some({a:?}) {a} Some(\"chat\")")];
    assert_eq!(events(&bench.apply(signal(Some(&a), &[&a, &a]))), expected);
    assert!(events(&bench.apply(signal(Some(&a), &["nobody"]))).is_empty());
}

#[test]
fn hidden_participants_are_in_no_event() {
    let (mut bench, a, _, stream) = call();
    let helper = Admission::Secret { participant: Some("REC".into()), hidden: Some(Hidden::Recorder) };
    assert!(events(&bench.apply(join(helper))).is_empty());
    assert!(events(&bench.run(subscribe("REC", &stream, true))).is_empty());
    let signal = Input::Signal { participant: Some("REC".into()), to: Vec::new(), kind: None, data: None };
    assert!(events(&bench.apply(signal)).is_empty());
    let unsubscribe = Input::Unsubscribe { participant: "REC".into(), publisher: a };
    assert!(events(&bench.apply(unsubscribe)).is_empty());
    bench.run(subscribe("REC", &stream, true));
    assert!(events(&bench.apply(Input::Leave { participant: "REC".into() })).is_empty());
}

#[test]
fn a_room_in_use_is_not_collected() {
    let mut bench = Bench::new();
    bench.join(Role::Publisher);
    let collect = || Input::Close { reason: EndReason::Unused };
    assert_eq!(told(&bench.apply(collect())), ["reply"]);
    assert!(!bench.room.ended());
    bench = Bench::new();
    bench.invite(Role::Publisher);
    assert_eq!(told(&bench.apply(collect())), ["ended Unused", "reply"]);
    assert!(bench.room.ended());
}
