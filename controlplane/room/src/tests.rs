//! What the tests share: a room on a bench, and its effects in few words.

mod events;
mod interleavings;
mod order;
mod saved;
mod streams;

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
                Notice::RoleChanged { role } => format!("role {role:?}"),
                Notice::RecordChanged { record } => format!("record {record}"),
                Notice::Signal { data, .. } => format!("signal {}", data.clone().unwrap_or_default()),
            };
            Some(format!("{} <- {what}", to.join(",")))
        }
        Effect::Run(_) | Effect::Event(_) => None,
        Effect::Reoffer { participant, publisher, .. } => Some(format!("reoffer {publisher} to {participant}")),
        Effect::CloseSocket { participant, after_ms } => Some(format!("close {participant} {after_ms}")),
        Effect::WakeAt(at) => Some(format!("wake {at}")),
        Effect::Ended { reason } => Some(format!("ended {reason:?}")),
    };
    effects.iter().filter_map(word).collect()
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
