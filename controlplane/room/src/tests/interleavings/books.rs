//! What a data plane would hold: it refuses what a real one refuses, and takes no command without a number that
//! names something it does not have.

use std::collections::{BTreeMap, BTreeSet};

use dataplane_protocol::{CodecParameters, Command};

use crate::{Held, Participant, Room};

#[derive(Debug)]
struct Track {
    transport: u64,
    codec: CodecParameters,
}

#[derive(Debug)]
struct Running {
    transport: u64,
    codec: CodecParameters,
    /// The layers it is sent from.
    sources: Vec<u64>,
}

/// Transports, tracks and subscriptions.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// With all SSRCs that were ever sent with on them.
    transports: BTreeMap<u64, BTreeSet<u32>>,
    tracks: BTreeMap<u64, Track>,
    running: BTreeMap<u64, Running>,
    /// All ids that were ever given to anything.
    given: BTreeSet<u64>,
    /// What a run without an answer may or may not have made.
    doubtful: BTreeSet<u64>,
}

impl Books {
    /// Ids in commands that the room gives out must be new.
    pub(super) fn give_out(&mut self, commands: &[Command]) {
        for id in commands.iter().filter_map(made) {
            assert!(self.given.insert(id), "the id {id} came twice");
        }
    }

    /// One command of a run with a number; `false`: refused.
    pub(super) fn make(&mut self, command: &Command) -> bool {
        match command {
            Command::CreateTransport(c) => self.transports.insert(c.transport, BTreeSet::new()).is_none(),
            Command::SetRemote(c) => self.transports.contains_key(&c.transport),
            Command::Publish(c) => {
                let track = Track { transport: c.transport, codec: c.codec.clone().unwrap() };
                self.transports.contains_key(&c.transport) && self.tracks.insert(c.track, track).is_none()
            }
            Command::Subscribe(c) => {
                let sources: Vec<_> = std::iter::once(c.track).chain(c.higher.iter().copied()).collect();
                let codec = c.codec.clone().unwrap();
                if !sources.iter().all(|source| self.carries(*source, &codec)) {
                    return false;
                }
                let Some(ssrcs) = self.transports.get_mut(&c.transport) else { return false };
                assert!(ssrcs.insert(c.ssrc), "SSRC {} came twice on a transport", c.ssrc);
                let running = Running { transport: c.transport, codec, sources };
                self.running.insert(c.subscription, running).is_none()
            }
            other => panic!("{other:?} makes nothing"),
        }
    }

    /// A run ended without making all that it names, or too late: its removals may name what is not there.
    pub(super) fn doubt(&mut self, commands: &[Command]) {
        self.doubtful.extend(commands.iter().filter_map(|command| match command {
            Command::SetRemote(c) => (!self.transports.contains_key(&c.transport)).then_some(c.transport),
            command => made(command),
        }));
    }

    /// One command of a run without a number: it must name what is there.
    pub(super) fn change(&mut self, command: &Command) {
        match command {
            Command::Retarget(c) => {
                let sources: Vec<_> = std::iter::once(c.track).chain(c.higher.iter().copied()).collect();
                let codec = self.running.get(&c.subscription).expect("a retargeted subscription runs").codec.clone();
                assert!(sources.iter().all(|source| self.carries(*source, &codec)), "retargeted to what does not fit");
                self.running.get_mut(&c.subscription).unwrap().sources = sources;
            }
            Command::Unpublish(c) => {
                let doubtful = self.doubtful.remove(&c.track);
                assert!(self.tracks.remove(&c.track).is_some() || doubtful, "no track {} to end", c.track);
                self.end_track(c.track);
            }
            Command::RemoveTransport(c) => {
                let doubtful = self.doubtful.remove(&c.transport);
                assert!(self.transports.remove(&c.transport).is_some() || doubtful, "no transport {}", c.transport);
                self.running.retain(|_, running| running.transport != c.transport);
                let on_it = |(_, track): &(&u64, &Track)| track.transport == c.transport;
                let tracks: Vec<_> = self.tracks.iter().filter(on_it).map(|(track, _)| *track).collect();
                for track in tracks {
                    self.tracks.remove(&track);
                    self.end_track(track);
                }
            }
            other => panic!("{other:?} is not for runs without a number"),
        }
    }

    /// It restarts, holding nothing.
    /// What a snapshot would show.
    pub(super) fn held(&self) -> Held {
        let running = self.running.iter();
        Held::new(running.map(|(number, running)| (*number, running.transport, *running.sources.last().unwrap())))
    }

    pub(super) fn transports(&self) -> Vec<u64> {
        self.transports.keys().copied().collect()
    }

    pub(super) fn clear(&mut self) {
        *self = Self { given: std::mem::take(&mut self.given), ..Self::default() };
    }

    pub(super) fn assert_bare(&self) {
        assert!(self.transports.is_empty(), "left: {:?}", self.transports);
        assert!(self.tracks.is_empty() && self.running.is_empty(), "left: {:?} {:?}", self.tracks, self.running);
    }

    /// Once nothing is under way, it holds what the room knows of, and each subscription sends the tracks that its
    /// stream has now.
    pub(super) fn assert_is(&self, room: &Room) {
        let mut transports = BTreeSet::new();
        let mut tracks = BTreeSet::new();
        let mut running = 0;
        for participant in room.participants() {
            transports.extend(participant.receiving());
            if let Some(stream) = &participant.stream {
                transports.insert(stream.transport);
                tracks.extend(stream.tracks.iter().flat_map(|track| track.layers()));
            }
            running += self.assert_receives(room, participant);
        }
        assert_eq!(self.transports.keys().copied().collect::<BTreeSet<_>>(), transports);
        assert_eq!(self.tracks.keys().copied().collect::<BTreeSet<_>>(), tracks);
        let echo = |r: &&Running| self.tracks.values().any(|track| track.transport == r.transport);
        let echoes = self.running.values().filter(echo).count();
        assert_eq!(self.running.len(), running + echoes, "subscriptions that nobody knows of");
    }

    fn assert_receives(&self, room: &Room, participant: &Participant) -> usize {
        let mut running = 0;
        for subscription in participant.subscriptions.iter() {
            let publisher = room.publisher_of(&subscription.stream).expect("a stream that ended is not received");
            let stream = publisher.stream.as_ref().unwrap();
            for (number, wanted) in &subscription.tracks {
                let layers: Vec<_> = stream.tracks[wanted.source].layers().collect();
                let held = self.running.get(number).expect("a known subscription runs");
                assert_eq!((held.transport, &held.sources), (subscription.transport, &layers), "on old tracks");
                running += 1;
            }
        }
        running
    }

    fn carries(&self, track: u64, codec: &CodecParameters) -> bool {
        let track = self.tracks.get(&track).map(|track| &track.codec);
        track.is_some_and(|c| (c.codec, c.clock_rate) == (codec.codec, codec.clock_rate))
    }

    /// Ends the subscriptions that have no other track.
    fn end_track(&mut self, track: u64) {
        self.running.retain(|_, running| {
            running.sources.retain(|source| *source != track);
            !running.sources.is_empty()
        });
    }
}

fn made(command: &Command) -> Option<u64> {
    match command {
        Command::CreateTransport(c) => Some(c.transport),
        Command::Publish(c) => Some(c.track),
        Command::Subscribe(c) => Some(c.subscription),
        _ => None,
    }
}
