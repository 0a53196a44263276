//! Random interleavings: whatever happens in whatever order, everybody's picture of the room is the room, and
//! nothing is left in the data plane once all have gone.

use std::collections::{BTreeMap, BTreeSet};

use dataplane_protocol::Command;
use proptest::prelude::*;

use super::*;

/// Something that a random script does; numbers pick among what is there.
#[derive(Clone, Debug)]
enum Step {
    Invite(u8),
    Join(usize),
    JoinAgain(usize),
    Leave(usize),
    Remove(usize),
    Expel(usize, usize),
    Publish(usize),
    Republish(usize),
    Unpublish(usize),
    ForceUnpublish(usize, usize),
    Prepare(usize, usize),
    Subscribe(usize, usize, bool),
    Unsubscribe(usize, usize),
    Lose(usize),
    Back(usize),
    Wait(u64),
    Finish(usize, bool),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let n = || 0usize..6;
    prop_oneof![
        3 => any::<u8>().prop_map(Step::Invite),
        4 => n().prop_map(Step::Join),
        1 => n().prop_map(Step::JoinAgain),
        1 => n().prop_map(Step::Leave),
        1 => n().prop_map(Step::Remove),
        1 => (n(), n()).prop_map(|(a, b)| Step::Expel(a, b)),
        4 => n().prop_map(Step::Publish),
        1 => n().prop_map(Step::Republish),
        1 => n().prop_map(Step::Unpublish),
        1 => (n(), n()).prop_map(|(a, b)| Step::ForceUnpublish(a, b)),
        2 => (n(), n()).prop_map(|(a, b)| Step::Prepare(a, b)),
        4 => (n(), n(), any::<bool>()).prop_map(|(a, b, o)| Step::Subscribe(a, b, o)),
        1 => (n(), n()).prop_map(|(a, b)| Step::Unsubscribe(a, b)),
        1 => n().prop_map(Step::Lose),
        1 => n().prop_map(Step::Back),
        1 => (0u64..12_000).prop_map(Step::Wait),
        8 => (n(), prop::bool::weighted(0.85)).prop_map(|(n, ok)| Step::Finish(n, ok)),
        1 => Just(Step::Restart),
    ]
}

/// What one participant believes: who is there, and which stream each of them has.
type Picture = BTreeMap<String, Option<String>>;

/// The room with everything around it.
struct World {
    bench: Bench,
    pending: Vec<Run>,
    pictures: BTreeMap<String, Picture>,
    transports: BTreeSet<u64>,
    tracks: BTreeSet<u64>,
    used: Vec<String>,
    numbers: BTreeSet<u64>,
    ended: bool,
}

impl World {
    fn new() -> Self {
        Self {
            bench: Bench::new(),
            pending: Vec::new(),
            pictures: BTreeMap::new(),
            transports: BTreeSet::new(),
            tracks: BTreeSet::new(),
            used: Vec::new(),
            numbers: BTreeSet::new(),
            ended: false,
        }
    }

    fn apply(&mut self, input: Input) {
        let effects = self.bench.apply(input);
        for effect in effects {
            match effect {
                Effect::Reply(Ok(Reply::Joined { participant })) => {
                    let picture = self.truth(&participant);
                    assert!(self.pictures.insert(participant, picture).is_none(), "an id came twice");
                }
                Effect::Reply(_) | Effect::WakeAt(_) | Effect::Reoffer { .. } => {}
                Effect::Notify { to, notice } => {
                    for id in to {
                        self.hear(&id, &notice);
                    }
                }
                Effect::Run(run) if run.op.is_some() => self.pending.push(run),
                Effect::Run(run) => run.commands.iter().for_each(|command| self.carry_out(command)),
                Effect::CloseSocket { participant, .. } => {
                    assert!(self.pictures.remove(&participant).is_some(), "closed twice");
                }
                Effect::Ended { .. } => {
                    assert!(!self.ended, "ended twice");
                    self.ended = true;
                }
            }
        }
        self.compare();
    }

    fn hear(&mut self, id: &str, notice: &Notice) {
        let Some(picture) = self.pictures.get_mut(id) else { return };
        match notice {
            Notice::Joined { participant } => {
                assert!(picture.insert(participant.clone(), None).is_none(), "joined twice");
            }
            Notice::Left { participant, .. } => assert!(picture.remove(participant).is_some(), "left unseen"),
            Notice::Published { participant } => {
                let stream = self.bench.room.participant(participant).and_then(|p| p.stream.as_ref());
                let stream = stream.map(|s| s.id.clone());
                assert_eq!(picture.insert(participant.clone(), stream), Some(None), "published unseen");
            }
            Notice::Unpublished { participant, .. } if participant == id => {}
            Notice::Unpublished { participant, .. } => {
                assert!(matches!(picture.insert(participant.clone(), None), Some(Some(_))), "unpublished unseen");
            }
            Notice::Evicted { .. } | Notice::StreamChanged { .. } | Notice::Signal { .. } => {}
        }
    }

    fn truth(&self, me: &str) -> Picture {
        let others = self.bench.room.participants().iter().filter(|p| p.id != me);
        others.map(|p| (p.id.clone(), p.stream.as_ref().map(|s| s.id.clone()))).collect()
    }

    fn compare(&self) {
        for participant in self.bench.room.participants() {
            assert_eq!(self.pictures.get(&participant.id), Some(&self.truth(&participant.id)));
        }
        assert_eq!(self.pictures.len(), self.bench.room.participants().len());
        for participant in self.bench.room.participants() {
            let streams: BTreeSet<_> = participant.subscriptions.iter().map(|s| &s.stream).collect();
            assert_eq!(streams.len(), participant.subscriptions.len(), "one subscription per stream");
            for subscription in participant.subscriptions.iter() {
                assert!(self.bench.room.publisher_of(&subscription.stream).is_some());
                assert!(self.transports.contains(&subscription.transport), "a subscription without a transport");
            }
        }
    }

    /// The data plane carries out one command.
    fn carry_out(&mut self, command: &Command) {
        match command {
            Command::CreateTransport(c) => {
                assert!(self.numbers.insert(c.transport), "a transport id came twice");
                self.transports.insert(c.transport);
            }
            Command::Publish(c) => {
                assert!(self.numbers.insert(c.track), "a track id came twice");
                self.tracks.insert(c.track);
            }
            Command::Subscribe(c) => assert!(self.numbers.insert(c.subscription), "a subscription id came twice"),
            Command::RemoveTransport(c) => {
                self.transports.remove(&c.transport);
            }
            Command::Unpublish(c) => {
                self.tracks.remove(&c.track);
            }
            _ => {}
        }
    }

    /// The data plane ends one run, at its first command or at its last.
    fn finish(&mut self, run: &Run, ok: bool) {
        let done = if ok { run.commands.len() } else { run.commands.len() - 1 };
        for command in &run.commands[..done] {
            self.carry_out(command);
        }
        let result = if ok { Ok(()) } else { Err(MediaError::Refused("as the script wants it".into())) };
        self.apply(Input::Ran { op: run.op.unwrap(), result });
    }

    fn pick(&self, n: usize) -> Option<String> {
        let all = self.bench.room.participants();
        (!all.is_empty()).then(|| all[n % all.len()].id.clone())
    }

    fn stream(&self, n: usize) -> Option<String> {
        let all: Vec<_> = self.bench.room.participants().iter().filter_map(|p| p.stream.as_ref()).collect();
        (!all.is_empty()).then(|| all[n % all.len()].id.clone())
    }

    fn play(&mut self, step: &Step) -> Option<()> {
        let participant = |n: &usize| self.pick(*n);
        let input = match step {
            Step::Invite(n) => {
                let role = [Role::Subscriber, Role::Publisher, Role::Publisher, Role::Moderator][usize::from(*n) % 4];
                Input::Invite(grant(role))
            }
            Step::Join(n) => {
                let invites = self.bench.room.invites();
                let token = invites.get(n % invites.len().max(1))?.token.clone();
                self.used.push(token.clone());
                join(Admission::Token(token))
            }
            Step::JoinAgain(n) => {
                let token = self.used.get(n % self.used.len().max(1))?.clone();
                let effects = self.bench.apply(join(Admission::Token(token)));
                assert!(matches!(reply(&effects), Err(Error::UnknownToken | Error::Closed)));
                return None;
            }
            Step::Leave(n) => Input::Leave { participant: participant(n)? },
            Step::Remove(n) => Input::Remove { participant: participant(n)? },
            Step::Expel(a, b) => Input::Expel { participant: participant(a)?, target: participant(b)? },
            Step::Publish(n) => publish(&participant(n)?),
            Step::Republish(n) => Input::Republish { participant: participant(n)?, publication: publication() },
            Step::Unpublish(n) => Input::Unpublish { participant: participant(n)? },
            Step::ForceUnpublish(a, b) => {
                Input::ForceUnpublish { participant: Some(participant(a)?), stream: self.stream(*b)? }
            }
            Step::Prepare(a, b) => {
                Input::PrepareSubscribe { participant: participant(a)?, stream: self.stream(*b)?, ice: ice() }
            }
            Step::Subscribe(a, b, offered) => subscribe(&participant(a)?, &self.stream(*b)?, *offered),
            Step::Unsubscribe(a, b) => Input::Unsubscribe { participant: participant(a)?, publisher: participant(b)? },
            Step::Lose(n) => Input::SocketLost { participant: participant(n)? },
            Step::Back(n) => Input::SocketBack { participant: participant(n)? },
            Step::Wait(ms) => {
                self.bench.now += ms;
                Input::Tick
            }
            Step::Finish(n, ok) => {
                if self.pending.is_empty() {
                    return None;
                }
                let run = self.pending.remove(n % self.pending.len());
                self.finish(&run, *ok);
                return None;
            }
            Step::Restart => {
                self.transports.clear();
                self.tracks.clear();
                Input::MediaRestarted
            }
        };
        self.apply(input);
        None
    }
}

proptest! {
    #[test]
    fn everybody_sees_the_room_and_nothing_stays_behind(script in proptest::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for step in &script {
            world.play(step);
        }
        while let Some(participant) = world.pick(0) {
            world.apply(Input::Leave { participant });
        }
        for run in std::mem::take(&mut world.pending) {
            world.finish(&run, true);
        }
        prop_assert!(world.transports.is_empty(), "transports left: {:?}", world.transports);
        prop_assert!(world.tracks.is_empty(), "tracks left: {:?}", world.tracks);
        prop_assert!(world.pictures.is_empty());
        prop_assert_eq!(world.bench.room.ended(), world.ended);
    }
}
