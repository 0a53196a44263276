//! Order of effects, input by input; random interleavings are in `tests/interleavings.rs`.

mod interleavings;

use dataplane_protocol::{Codec, CodecParameters, Command, DtlsRole, MediaKind, RemoteParameters};

use crate::*;

/// Ids that count up, so that a test can name them; every third one repeats, as random ones might.
#[derive(Debug, Default)]
pub(crate) struct Counting(u64);

impl Counting {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

impl Ids for Counting {
    fn participant(&mut self) -> String {
        format!("p{}", self.next() * 2 / 3)
    }

    fn token(&mut self) -> String {
        format!("t{}", self.next() * 2 / 3)
    }

    fn stream(&mut self, participant: &str, _: &StreamDescription) -> String {
        format!("s{}-{participant}", self.next() * 2 / 3)
    }

    fn number(&mut self) -> u64 {
        self.next()
    }
}

/// A room with its ids and a clock.
pub(crate) struct Bench {
    pub(crate) room: Room,
    pub(crate) ids: Counting,
    pub(crate) now: u64,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { room: Room::new("room"), ids: Counting::default(), now: 1_000 }
    }

    pub(crate) fn apply(&mut self, input: Input) -> Vec<Effect> {
        self.room.apply(self.now, &mut self.ids, input)
    }

    fn invite(&mut self, role: Role) -> (String, String) {
        match reply(&self.apply(Input::Invite(grant(role)))) {
            Ok(Reply::Invited { participant, token }) => (participant, token),
            other => panic!("{other:?}"),
        }
    }

    fn join(&mut self, role: Role) -> String {
        let (participant, token) = self.invite(role);
        let effects = self.apply(join(Admission::Token(token)));
        assert_eq!(reply(&effects), Ok(Reply::Joined { participant: participant.clone() }));
        participant
    }

    /// Applies, and lets the data plane say yes; gives the effects of both steps.
    fn run(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = self.apply(input);
        let ops: Vec<u64> = runs(&effects).filter_map(|run| run.op).collect();
        for op in ops {
            effects.extend(self.apply(Input::Ran { op, result: Ok(()) }));
        }
        effects
    }

    fn publish(&mut self, participant: &str) -> String {
        match reply(&self.run(publish(participant))) {
            Ok(Reply::Published { stream, .. }) => stream,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn grant(role: Role) -> Grant {
    Grant { role, server_data: "server".into(), record: true, participant: None }
}

pub(crate) fn join(admission: Admission) -> Input {
    Input::Join(Join { admission, client_data: "client".into(), origin: Origin::default() })
}

pub(crate) fn ice() -> IceCredentials {
    IceCredentials { ufrag: "ufrag".into(), pwd: "pwd".into() }
}

fn remote() -> RemoteParameters {
    RemoteParameters {
        ice_ufrag: "u".into(),
        ice_pwd: "p".into(),
        fingerprints: vec![],
        dtls_role: DtlsRole::Server as i32,
    }
}

pub(crate) fn publication() -> Publication {
    let track = |kind, codec: Codec, mid: &str| PublishedTrack {
        kind,
        mid: mid.into(),
        codec: CodecParameters { codec: codec as i32, ..CodecParameters::default() },
        ssrc: None,
        rtx_ssrc: None,
        extensions: vec![],
        rids: vec![],
        max_bitrate_bps: 0,
    };
    let tracks = vec![track(MediaKind::Audio, Codec::Opus, "0"), track(MediaKind::Video, Codec::Vp8, "1")];
    Publication { ice: ice(), remote: remote(), tracks, echo: Vec::new() }
}

pub(crate) fn publish(participant: &str) -> Input {
    let description = StreamDescription { has_audio: true, has_video: true, ..StreamDescription::default() };
    Input::Publish { participant: participant.into(), description, publication: publication() }
}

pub(crate) fn subscribe(participant: &str, stream: &str, offered: bool) -> Input {
    let tracks = publication().tracks.into_iter().enumerate();
    let tracks = tracks.map(|(source, track)| SubscribedTrack {
        source,
        mid: track.mid,
        codec: track.codec,
        ssrc: 1 + source as u32,
        rtx_ssrc: None,
        extensions: vec![],
    });
    let subscription = Subscription { ice: offered.then(ice), remote: remote(), tracks: tracks.collect() };
    Input::Subscribe { participant: participant.into(), stream: stream.into(), subscription }
}

pub(crate) fn reply(effects: &[Effect]) -> Result<Reply, Error> {
    let mut replies = effects.iter().filter_map(|effect| match effect {
        Effect::Reply(outcome) => Some(outcome.clone()),
        _ => None,
    });
    let reply = replies.next().unwrap_or_else(|| panic!("no reply in {effects:?}"));
    assert_eq!(replies.next(), None, "two replies");
    reply
}

fn runs(effects: &[Effect]) -> impl Iterator<Item = &Run> {
    effects.iter().filter_map(|effect| match effect {
        Effect::Run(run) => Some(run),
        _ => None,
    })
}

/// The effects in few words, without what goes to the data plane.
fn told(effects: &[Effect]) -> Vec<String> {
    let word = |effect: &Effect| match effect {
        Effect::Reply(Ok(_)) => Some("reply".to_owned()),
        Effect::Reply(Err(error)) => Some(format!("error {error:?}")),
        Effect::Notify { to, notice } => {
            let what = match notice {
                Notice::Joined { participant } => format!("joined {participant}"),
                Notice::Left { participant, reason } => format!("left {participant} {reason:?}"),
                Notice::Evicted { participant, reason } => format!("evicted {participant} {reason:?}"),
                Notice::Published { participant } => format!("published {participant}"),
                Notice::Unpublished { participant, reason } => format!("unpublished {participant} {reason:?}"),
                Notice::StreamChanged { value, .. } => format!("changed {value}"),
                Notice::Signal { data, .. } => format!("signal {}", data.clone().unwrap_or_default()),
            };
            Some(format!("{} <- {what}", to.join(",")))
        }
        Effect::Run(_) => None,
        Effect::Reoffer { participant, publisher, .. } => Some(format!("reoffer {publisher} to {participant}")),
        Effect::CloseSocket { participant, after_ms } => Some(format!("close {participant} {after_ms}")),
        Effect::WakeAt(at) => Some(format!("wake {at}")),
        Effect::Ended { reason } => Some(format!("ended {reason:?}")),
    };
    effects.iter().filter_map(word).collect()
}

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

fn name(command: &Command) -> &'static str {
    match command {
        Command::CreateTransport(_) => "create",
        Command::SetRemote(_) => "remote",
        Command::RemoveTransport(_) => "remove",
        Command::Publish(_) => "publish",
        Command::Unpublish(_) => "unpublish",
        Command::Subscribe(_) => "subscribe",
        Command::Retarget(_) => "retarget",
        _ => "other",
    }
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
