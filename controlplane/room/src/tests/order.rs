//! Who hears of what in which order, rule by rule.

use super::*;

#[test]
fn others_hear_of_a_join_before_the_joiner_is_answered() {
    let mut bench = Bench::new();
    let a = bench.join(Role::Publisher);
    let (b, token) = bench.invite(Role::Publisher);
    let effects = bench.apply(join(Admission::Token(token.clone())));
    assert_eq!(told(&effects), [format!("{a} <- joined {b}"), "reply".into()]);
    assert_eq!(reply(&bench.apply(join(Admission::Token(token)))), Err(Error::UnknownToken), "a token is good once");
    assert_eq!(bench.room.participant(&b).unwrap().server_data, "server");
}

#[test]
fn a_publisher_is_answered_before_others_hear_of_its_stream() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Subscriber));
    let effects = bench.apply(publish(&a));
    assert!(told(&effects).is_empty(), "nothing is told until the data plane is ready");
    let run = runs(&effects).next().unwrap().clone();
    let kinds: Vec<_> = run.commands.iter().map(name).collect();
    assert_eq!(kinds, ["create", "publish", "publish"]);
    assert_eq!(reply(&bench.apply(publish(&a))), Err(Error::AlreadyPublishing(a.clone())));
    let effects = bench.apply(Input::Ran { op: run.op.unwrap(), result: Ok(()) });
    assert_eq!(told(&effects), ["reply".into(), format!("{b} <- published {a}")]);
    assert_eq!(reply(&bench.apply(publish(&b))), Err(Error::Forbidden));
}

#[test]
fn leaving_tells_the_others_first_and_the_last_one_ends_the_room() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    bench.publish(&a);
    let effects = bench.apply(Input::Leave { participant: a.clone() });
    assert_eq!(told(&effects), [format!("{b} <- left {a} Left"), "reply".into(), format!("close {a} 10000")]);
    let effects = bench.apply(Input::Leave { participant: b.clone() });
    assert_eq!(told(&effects), ["reply".into(), format!("close {b} 10000"), "ended LastParticipantLeft".into()]);
    assert!(bench.room.ended());
    assert_eq!(reply(&bench.apply(Input::Invite(grant(Role::Publisher)))), Err(Error::Closed));
}

#[test]
fn an_eviction_is_told_to_all_who_were_there() {
    let mut bench = Bench::new();
    let (m, b, c) = (bench.join(Role::Moderator), bench.join(Role::Publisher), bench.join(Role::Publisher));
    let expel = |by: &str, target: &str| Input::Expel { participant: by.into(), target: target.into() };
    assert_eq!(reply(&bench.apply(expel(&b, &c))), Err(Error::Forbidden));
    let effects = bench.apply(expel(&m, &b));
    let expected = [
        format!("{m},{c} <- left {b} ExpelledByModerator"),
        "reply".into(),
        format!("{m},{b},{c} <- evicted {b} ExpelledByModerator"),
        format!("close {b} 10000"),
    ];
    assert_eq!(told(&effects), expected);
    let effects = bench.apply(Input::Close { reason: EndReason::RoomClosedByApplication });
    let expected = [
        format!("{c} <- left {m} RoomClosedByApplication"),
        format!("{m},{c} <- evicted {m} RoomClosedByApplication"),
        format!("close {m} 10000"),
        format!("{c} <- evicted {c} RoomClosedByApplication"),
        format!("close {c} 10000"),
        "ended RoomClosedByApplication".into(),
        "reply".into(),
    ];
    assert_eq!(told(&effects), expected);
}

#[test]
fn the_end_of_a_stream_is_answered_before_it_is_told() {
    let mut bench = Bench::new();
    let (m, a, b) = (bench.join(Role::Moderator), bench.join(Role::Publisher), bench.join(Role::Subscriber));
    bench.publish(&a);
    let effects = bench.apply(Input::Unpublish { participant: a.clone() });
    assert_eq!(told(&effects), ["reply".into(), format!("{m},{b} <- unpublished {a} Unpublished")]);
    let force = |by: Option<&str>, stream: &str| Input::ForceUnpublish {
        participant: by.map(str::to_owned),
        stream: stream.into(),
    };
    let stream = bench.publish(&a);
    assert_eq!(reply(&bench.apply(force(Some(&b), &stream))), Err(Error::Forbidden));
    let effects = bench.apply(force(Some(&m), &stream));
    let all = format!("{m},{a},{b} <- unpublished {a}");
    assert_eq!(told(&effects), ["reply".into(), format!("{all} UnpublishedByModerator")]);
    assert_eq!(reply(&bench.apply(force(Some(&m), &stream))), Err(Error::UnknownStream(stream)));
    let stream = bench.publish(&a);
    let effects = bench.apply(force(None, &stream));
    assert_eq!(told(&effects), ["reply".into(), format!("{all} UnpublishedByApplication")]);
}

#[test]
fn the_application_removes_like_a_moderator_and_is_answered_last() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let remove = |participant: &str| Input::Remove { participant: participant.into() };
    let effects = bench.apply(remove(&b));
    let expected = [
        format!("{a} <- left {b} RemovedByApplication"),
        format!("{a},{b} <- evicted {b} RemovedByApplication"),
        format!("close {b} 10000"),
        "reply".into(),
    ];
    assert_eq!(told(&effects), expected);
    let (invited, token) = bench.invite(Role::Publisher);
    assert_eq!(bench.room.invite_of(&invited).unwrap().token, token);
    assert_eq!(told(&bench.apply(remove(&invited))), ["reply"]);
    assert!(bench.room.invites().is_empty() && bench.room.invite_of(&invited).is_none());
    assert_eq!(reply(&bench.apply(join(Admission::Token(token)))), Err(Error::UnknownToken), "it was taken back");
    assert_eq!(reply(&bench.apply(remove(&invited))), Err(Error::UnknownParticipant(invited)));
}

#[test]
fn who_lapses_goes_at_once_as_if_its_network_were_lost() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let effects = bench.apply(Input::Lapse { participant: a.clone() });
    let expected = [
        format!("{b} <- left {a} NetworkLost"),
        format!("{a},{b} <- evicted {a} NetworkLost"),
        format!("close {a} 10000"),
    ];
    assert_eq!(told(&effects), expected);
    assert!(bench.apply(Input::Lapse { participant: a }).is_empty(), "it has gone");
    let effects = bench.apply(Input::Lapse { participant: b.clone() });
    let expected =
        [format!("{b} <- evicted {b} NetworkLost"), format!("close {b} 10000"), "ended LastParticipantLeft".into()];
    assert_eq!(told(&effects), expected);
}

#[test]
fn a_lost_socket_keeps_its_seat_for_ten_seconds() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let lost = || Input::SocketLost { participant: b.clone() };
    assert_eq!(told(&bench.apply(lost())), ["wake 11000"]);
    bench.apply(Input::SocketBack { participant: b.clone() });
    bench.now = 11_000;
    assert!(bench.apply(Input::Tick).is_empty());
    bench.apply(lost());
    bench.now = 20_999;
    assert!(bench.apply(Input::Tick).is_empty());
    bench.now = 21_000;
    let effects = bench.apply(Input::Tick);
    let expected = [
        format!("{a} <- left {b} NetworkLost"),
        format!("{a},{b} <- evicted {b} NetworkLost"),
        format!("close {b} 10000"),
    ];
    assert_eq!(told(&effects), expected);
}

#[test]
fn hidden_helpers_are_not_told_of_and_keep_nothing_alive() {
    let mut bench = Bench::new();
    let a = bench.join(Role::Publisher);
    let helper = Admission::Secret { participant: Some("REC".into()), hidden: Some(Hidden::Recorder) };
    assert_eq!(told(&bench.apply(join(helper.clone()))), ["reply"]);
    assert_eq!(reply(&bench.apply(join(helper))), Err(Error::IdTaken("REC".into())));
    let effects = bench.apply(Input::Leave { participant: a.clone() });
    let expected = [
        format!("REC <- left {a} Left"),
        "reply".into(),
        format!("close {a} 10000"),
        "REC <- evicted REC LastParticipantLeft".into(),
        "close REC 0".into(),
        "ended LastParticipantLeft".into(),
    ];
    assert_eq!(told(&effects), expected);
}

#[test]
fn signals_reach_whom_they_name_or_nobody() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let signal =
        |to: Vec<String>| Input::Signal { participant: Some(a.clone()), to, kind: None, data: Some("hi".into()) };
    assert_eq!(told(&bench.apply(signal(vec![]))), [format!("{a},{b} <- signal hi"), "reply".into()]);
    let twice = vec![b.clone(), b.clone()];
    assert_eq!(told(&bench.apply(signal(twice))), [format!("{b} <- signal hi"), "reply".into()]);
    let unknown = bench.apply(signal(vec![b, "x".into()]));
    assert_eq!(told(&unknown), [format!("error {:?}", Error::UnknownParticipant("x".into()))]);
}

#[test]
fn a_changed_stream_is_answered_and_told_to_the_others() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let change = Input::ChangeStream {
        participant: a.clone(),
        property: StreamProperty::AudioActive(false),
        value: "false".into(),
        reason: "publishAudio".into(),
    };
    assert_eq!(reply(&bench.apply(change.clone())), Err(Error::NotPublishing(a.clone())));
    bench.publish(&a);
    assert_eq!(told(&bench.apply(change)), ["reply".into(), format!("{b} <- changed false")]);
    let stream = bench.room.participant(&a).unwrap().stream.as_ref().unwrap();
    assert_eq!(stream.description.audio_active, Some(false), "later joiners see it");
}

#[test]
fn only_the_eviction_of_a_transcriber_is_told() {
    let mut bench = Bench::new();
    let a = bench.join(Role::Moderator);
    let helper = |id: &str, hidden| join(Admission::Secret { participant: Some(id.into()), hidden: Some(hidden) });
    assert_eq!(told(&bench.apply(helper("REC", Hidden::Recorder))), ["reply"]);
    assert_eq!(told(&bench.apply(helper("STT", Hidden::Transcriber))), ["reply"]);
    assert_eq!(bench.room.visible().map(|p| &p.id).collect::<Vec<_>>(), [&a]);
    assert_eq!(reply(&bench.apply(publish("REC"))), Err(Error::Forbidden), "nobody could be told of its stream");
    let signal = |from: &str| Input::Signal {
        participant: Some(from.into()),
        to: Vec::new(),
        kind: None,
        data: Some("hi".into()),
    };
    assert_eq!(told(&bench.apply(signal(&a))), [format!("{a},REC,STT <- signal hi"), "reply".into()]);
    assert_eq!(told(&bench.apply(signal("STT"))), ["STT <- signal hi", "reply"], "nobody else knows the sender");
    let expel = |target: &str| Input::Expel { participant: a.clone(), target: target.into() };
    let effects = bench.apply(expel("REC"));
    assert_eq!(told(&effects), ["reply", "REC <- evicted REC ExpelledByModerator", "close REC 0"]);
    let effects = bench.apply(expel("STT"));
    let evicted = format!("{a},STT <- evicted STT ExpelledByModerator");
    assert_eq!(told(&effects), ["reply".into(), evicted, "close STT 10000".into()]);
    assert!(!bench.room.ended());
}

#[test]
fn a_helper_that_goes_first_ends_nothing() {
    let mut bench = Bench::new();
    let (_, token) = bench.invite(Role::Publisher);
    bench.apply(join(Admission::Secret { participant: Some("REC".into()), hidden: Some(Hidden::Recorder) }));
    let effects = bench.apply(Input::Leave { participant: "REC".into() });
    assert_eq!(told(&effects), ["reply", "close REC 0"]);
    assert!(reply(&bench.apply(join(Admission::Token(token)))).is_ok(), "it never counted");
}

#[test]
fn who_joins_by_secret_is_seen_and_passes_every_check() {
    let mut bench = Bench::new();
    let a = bench.join(Role::Publisher);
    let effects = bench.apply(join(Admission::Secret { participant: None, hidden: None }));
    let Ok(Reply::Joined { participant }) = reply(&effects) else { panic!("{effects:?}") };
    assert_eq!(told(&effects), [format!("{a} <- joined {participant}"), "reply".into()]);
    assert_eq!(bench.room.participant(&participant).unwrap().role, Role::Subscriber);
    bench.publish(&participant);
    assert!(reply(&bench.apply(Input::Expel { participant, target: a })).is_ok());
}

#[test]
fn who_is_amended_hears_of_what_changes_and_nobody_else_does() {
    let mut bench = Bench::new();
    let (a, _b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    bench.publish(&a);
    let amend = |participant: &str, role, record| Input::Amend { participant: participant.into(), role, record };
    assert_eq!(told(&bench.apply(amend(&a, Some(Role::Publisher), Some(true)))), ["reply"], "nothing changed");
    let effects = bench.apply(amend(&a, Some(Role::Subscriber), Some(false)));
    assert_eq!(told(&effects), [format!("{a} <- role Subscriber"), format!("{a} <- record false"), "reply".into()]);
    let amended = bench.room.participant(&a).unwrap();
    assert!(amended.role == Role::Subscriber && !amended.record && amended.stream.is_some());
    assert_eq!(told(&bench.apply(amend(&a, None, Some(true)))), [format!("{a} <- record true"), "reply".into()]);
    bench.apply(Input::Unpublish { participant: a.clone() });
    assert_eq!(reply(&bench.apply(publish(&a))), Err(Error::Forbidden));

    let (invited, token) = bench.invite(Role::Publisher);
    assert_eq!(told(&bench.apply(amend(&invited, Some(Role::Moderator), Some(false)))), ["reply"]);
    bench.apply(join(Admission::Token(token)));
    let joined = bench.room.participant(&invited).unwrap();
    assert!(joined.role == Role::Moderator && !joined.record);
    let nobody = bench.apply(amend("nobody", Some(Role::Moderator), None));
    assert_eq!(reply(&nobody), Err(Error::UnknownParticipant("nobody".into())));
}
