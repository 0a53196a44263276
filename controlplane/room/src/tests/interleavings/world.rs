//! A room with everything around it: clients, a data plane that takes its time, and an adapter.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dataplane_protocol::Command;

use super::books::Books;
use super::chance::{Chance, Drawn};
use super::client::{Client, tell};
use super::kept::Kept;
use super::ledger::Ledger;
use crate::*;

/// What a request asked for, as far as its answer changes what is believed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked {
    Join { token: Option<String> },
    Publish { by: String },
    Republish { by: String },
    Unpublish { by: String },
    Prepare { by: String, stream: String },
    Subscribe { by: String, stream: String, tracks: usize },
    Unsubscribe { by: String, stream: Option<String> },
    Moderation { by: String },
    Other,
}

impl Asked {
    /// Where a later request takes the place of an earlier one: a publication, or the subscription of a stream.
    fn place(&self) -> Option<(String, Option<String>)> {
        match self {
            Self::Publish { by } | Self::Republish { by } => Some((by.clone(), None)),
            Self::Prepare { by, stream } | Self::Subscribe { by, stream, .. } => {
                Some((by.clone(), Some(stream.clone())))
            }
            Self::Unsubscribe { by, stream } => Some((by.clone(), Some(stream.clone()?))),
            _ => None,
        }
    }
}

/// Commands with a number that the data plane is carrying out.
#[derive(Debug)]
pub(super) struct Pending {
    op: u64,
    commands: Vec<Command>,
    done: usize,
    asked: Asked,
    /// The data plane restarted meanwhile.
    stale: bool,
}

/// How often something happened, over all histories: a test that never gets there shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) joins: usize,
    pub(super) streams: usize,
    pub(super) subscriptions: usize,
    pub(super) republications: usize,
    pub(super) retargets: usize,
    pub(super) retargets_on_arrival: usize,
    pub(super) reoffers: usize,
    pub(super) overtaken: usize,
    pub(super) refused_subscribes: usize,
    pub(super) lapses: usize,
    pub(super) ends: usize,
    pub(super) crashes: usize,
    pub(super) retargets_after_crash: usize,
    pub(super) orphans: usize,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) room: Room,
    pub(super) now: u64,
    pub(super) chance: Chance,
    pub(super) clients: BTreeMap<String, Client>,
    pub(super) pending: Vec<Pending>,
    pub(super) unused: Vec<String>,
    pub(super) used: Vec<String>,
    pub(super) tally: Tally,
    ids: Drawn,
    books: Books,
    ledger: Ledger,
    kept: Kept,
    /// Commands without a number, on their way in order.
    changes: VecDeque<Command>,
    /// Everybody and every stream that ever was.
    known: BTreeSet<String>,
    /// How many tracks were asked for, by subscriber and stream.
    wanted: BTreeMap<(String, String), usize>,
    pub(super) reoffers: BTreeSet<(String, String)>,
    /// The last op of each place, until somebody thinks better of it.
    latest: BTreeMap<(String, Option<String>), u64>,
    /// The op whose end is being applied.
    arriving: Option<u64>,
    has_ended: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            room: Room::new("room"),
            now: 1_000,
            chance: Chance::new(seed),
            clients: BTreeMap::new(),
            pending: Vec::new(),
            unused: Vec::new(),
            used: Vec::new(),
            tally: Tally::default(),
            ids: Drawn::new(seed),
            books: Books::default(),
            ledger: Ledger::default(),
            kept: Kept::default(),
            changes: VecDeque::new(),
            known: BTreeSet::new(),
            wanted: BTreeMap::new(),
            reoffers: BTreeSet::new(),
            latest: BTreeMap::new(),
            arriving: None,
            has_ended: false,
        }
    }

    /// A request: it is answered once, now or when the data plane is done.
    pub(super) fn ask(&mut self, input: Input, asked: Asked) {
        let (replies, runs) = self.apply(input, Some(&asked));
        assert_eq!(replies + runs, 1, "answered {replies} times, waiting for {runs} runs: {asked:?}");
    }

    /// Something that has no answer.
    pub(super) fn happen(&mut self, input: Input) {
        assert_eq!(self.apply(input, None), (0, 0));
    }

    /// Gives how many answers and runs with a number there were.
    fn apply(&mut self, input: Input, asked: Option<&Asked>) -> (usize, usize) {
        self.recall_ids();
        let on_arrival = matches!(asked, Some(Asked::Subscribe { .. }));
        let effects = self.room.apply(self.now, &mut self.ids, input);
        self.kept.write(&mut self.room);
        let (mut replies, mut runs) = (0, 0);
        for effect in effects {
            match effect {
                Effect::Reply(outcome) => {
                    replies += 1;
                    self.answer(asked.expect("an answer has a request"), outcome);
                }
                Effect::Notify { to, notice } => self.notify(&to, notice),
                Effect::Run(Run { op: Some(op), commands }) => {
                    runs += 1;
                    self.books.give_out(&commands);
                    let asked = asked.expect("a run has a request").clone();
                    self.latest.extend(asked.place().map(|place| (place, op)));
                    self.pending.push(Pending { op, commands, done: 0, asked, stale: false });
                }
                Effect::Run(Run { op: None, commands }) => {
                    let retargets = commands.iter().filter(|c| matches!(c, Command::Retarget(_))).count();
                    self.tally.retargets += retargets;
                    self.tally.retargets_on_arrival += if on_arrival { retargets } else { 0 };
                    self.changes.extend(commands);
                }
                Effect::CloseSocket { participant, after_ms } => {
                    assert_eq!(after_ms, if participant == "RECORDER" { 0 } else { SOCKET_CLOSE_DELAY_MS });
                    assert!(self.clients.remove(&participant).is_some(), "closed twice");
                    self.reoffers.retain(|(subscriber, _)| *subscriber != participant);
                    self.latest.retain(|(by, _), _| *by != participant);
                }
                Effect::Reoffer { participant, publisher, stream } => {
                    self.tally.reoffers += 1;
                    assert_eq!(self.room.publisher_of(&stream).unwrap().id, publisher);
                    assert!(self.room.participant(&participant).unwrap().subscriptions.get(&stream).is_some());
                    self.reoffers.insert((participant, stream));
                }
                Effect::Event(event) => {
                    assert!(!self.has_ended, "an event after the end");
                    self.ledger.enter(event, self.now);
                }
                Effect::WakeAt(at) => assert!(at > self.now),
                Effect::Ended { .. } => {
                    assert!(!std::mem::replace(&mut self.has_ended, true), "ended twice");
                    self.tally.ends += 1;
                }
            }
        }
        self.compare();
        self.ledger.compare(&self.room);
        (replies, runs)
    }

    fn answer(&mut self, asked: &Asked, outcome: Result<Reply, Error>) {
        self.tally.overtaken += usize::from(outcome == Err(Error::Overtaken));
        if let (Some(place), true) = (asked.place(), outcome.is_ok()) {
            let latest = self.latest.remove(&place);
            assert!(self.arriving.is_none() || latest == self.arriving, "an earlier request won: {asked:?}");
        }
        match (asked, outcome) {
            (Asked::Join { token }, outcome) => self.joined(token.as_deref(), outcome),
            (Asked::Publish { by }, Ok(Reply::Published { stream, .. })) => {
                self.tally.streams += 1;
                assert!(self.known.insert(stream.clone()), "stream {stream} came twice");
                let client = self.clients.get_mut(by).unwrap();
                assert!(client.is_privileged || client.role >= Role::Publisher);
                client.answer(Some(stream));
            }
            (Asked::Republish { by }, Ok(Reply::Published { stream, .. })) => {
                self.tally.republications += 1;
                assert_eq!(self.clients[by].published(), Some(&stream), "the stream keeps its id");
            }
            (Asked::Unpublish { by }, Ok(Reply::Done)) => {
                self.clients.get_mut(by).unwrap().answer(None);
            }
            (Asked::Prepare { by, stream }, Ok(Reply::Prepared)) => {
                self.reoffers.remove(&(by.clone(), stream.clone()));
            }
            (Asked::Subscribe { by, stream, tracks }, Ok(Reply::Subscribed)) => {
                self.tally.subscriptions += 1;
                self.reoffers.remove(&(by.clone(), stream.clone()));
                self.wanted.insert((by.clone(), stream.clone()), *tracks);
            }
            (Asked::Moderation { by }, Ok(_)) => {
                let allowed = |client: &Client| client.is_privileged || client.role == Role::Moderator;
                assert!(self.clients.get(by).is_none_or(allowed));
            }
            (Asked::Other, Ok(Reply::Invited { participant, token })) => {
                assert!(self.known.insert(participant.clone()), "participant {participant} came twice");
                assert!(!self.used.contains(&token) && !self.unused.contains(&token));
                self.unused.push(token);
            }
            (Asked::Other | Asked::Unsubscribe { .. }, Ok(Reply::Done)) | (_, Err(_)) => {}
            (asked, outcome) => panic!("{outcome:?} is no answer to {asked:?}"),
        }
    }

    /// A token is good for one attempt, and for none once its invitation was taken back or the room closed.
    fn joined(&mut self, token: Option<&str>, outcome: Result<Reply, Error>) {
        if let Some(token) = token {
            let unused = self.unused.iter().position(|unused| unused == token);
            let good = unused.map(|at| self.used.push(self.unused.swap_remove(at))).is_some();
            assert!(good || outcome.is_err(), "the token {token} let somebody in twice");
        }
        let Ok(Reply::Joined { participant }) = outcome else { return };
        self.tally.joins += 1;
        let me = self.room.participant(&participant).unwrap();
        if token.is_none() && me.hidden.is_none() {
            assert!(self.known.insert(participant.clone()), "participant {participant} came twice");
        }
        let told = |other: &Client| me.hidden.is_some() || !other.is_online || other.knows(&participant);
        assert!(self.clients.values().all(told), "the others hear of it first");
        let client = Client::new(&self.room, me);
        assert!(self.clients.insert(participant, client).is_none(), "joined twice");
    }

    fn notify(&mut self, to: &[String], notice: Notice) {
        assert!(!to.is_empty());
        if let Notice::Published { participant } = &notice {
            let owner = self.clients.get(participant).expect("the owner is there");
            assert!(owner.published().is_some(), "others hear of a stream before its owner");
        }
        let told = tell(&self.room, notice);
        for id in to {
            self.clients.get_mut(id).expect("only who is there is told").deliver(told.clone());
        }
    }

    fn compare(&self) {
        assert_eq!(self.clients.len(), self.room.participants().len());
        for participant in self.room.participants() {
            let client = &self.clients[&participant.id];
            assert_eq!(client.is_online, participant.lost_until.is_none());
            if client.is_online {
                client.assert_sees(&self.room);
            }
        }
        assert_eq!(self.room.ended(), self.has_ended);
        let shown = self.room.visible().count();
        assert!(shown > 0 || self.clients.is_empty() || !self.has_ended, "a room that ended holds nobody");
    }

    /// The data plane carries out one command of a run, and answers after the last.
    pub(super) fn advance(&mut self, n: usize) {
        let Some(at) = (!self.pending.is_empty()).then(|| n % self.pending.len()) else { return };
        let failure = if self.chance.once_in(40) {
            Some(MediaError::Refused("by chance".into()))
        } else {
            let run = &mut self.pending[at];
            let command = &run.commands[run.done];
            run.done += 1;
            let fine = self.books.make(command);
            if !fine {
                self.assert_refusal(at);
            }
            // An answer may be lost after all was done.
            let last = self.pending[at].done == self.pending[at].commands.len();
            match (fine, last) {
                (false, _) => Some(MediaError::Refused("not there".into())),
                (true, true) if self.chance.once_in(40) => Some(MediaError::TimedOut),
                (true, _) => None,
            }
        };
        let run = &self.pending[at];
        if failure.is_none() && run.done < run.commands.len() {
            return;
        }
        let run = self.pending.swap_remove(at);
        if failure.is_some() || run.stale {
            self.books.doubt(&run.commands);
        }
        let input = Input::Ran { op: run.op, result: failure.map_or(Ok(()), Err) };
        self.arriving = Some(run.op);
        assert_eq!(self.apply(input, Some(&run.asked)), (1, 0), "the end of a run is answered once");
        self.arriving = None;
    }

    /// What is refused names a stream that has ended, or what a data plane held before it restarted: a stream that
    /// only moved is there until nobody needs its old tracks.
    fn assert_refusal(&mut self, at: usize) {
        let run = &self.pending[at];
        match &run.asked {
            _ if run.stale => {}
            Asked::Subscribe { stream, .. } => {
                self.tally.refused_subscribes += 1;
                assert!(self.room.publisher_of(stream).is_none(), "refused though it is published: {run:?}");
            }
            other => panic!("nothing else can be refused: {other:?}"),
        }
    }

    /// The data plane carries out the next command without a number.
    pub(super) fn change(&mut self) {
        if let Some(command) = self.changes.pop_front() {
            self.books.change(&command);
        }
    }

    pub(super) fn restart(&mut self) {
        self.books.clear();
        self.changes.clear();
        self.pending.iter_mut().for_each(|run| run.stale = true);
        self.happen(Input::MediaRestarted);
    }

    /// The room's process ends in the midst of everything, and another one goes on with what was kept. The data plane
    /// and the clients' belief are as they were.
    pub(super) fn crash(&mut self) {
        if self.room.ended() {
            return;
        }
        self.tally.crashes += 1;
        self.pending.clear();
        self.changes.clear();
        self.latest.clear();
        let mut room = self.kept.restore(self.now + RECONNECTION_WINDOW_MS);
        assert_eq!(room.invites(), self.room.invites());
        for client in self.clients.values_mut() {
            client.is_online = false;
        }
        for command in room.reconcile(&self.books.held()) {
            self.tally.retargets_after_crash += 1;
            self.books.change(&command);
        }
        let known: BTreeSet<u64> = room.transports().collect();
        for orphan in self.books.transports().into_iter().filter(|transport| !known.contains(transport)) {
            self.tally.orphans += 1;
            self.books.change(&command::remove(orphan));
        }
        self.kept.write(&mut room);
        self.room = room;
        self.compare();
        self.ledger.compare(&self.room);
    }

    /// Lets all that is under way end; then the data plane holds what the room knows of.
    pub(super) fn settle(&mut self) {
        while !self.pending.is_empty() {
            self.advance(0);
        }
        while !self.changes.is_empty() {
            self.change();
        }
        self.books.assert_is(&self.room);
        for participant in self.room.participants() {
            for subscription in participant.subscriptions.iter() {
                let key = (participant.id.clone(), subscription.stream.clone());
                let whole = subscription.tracks.len() == self.wanted[&key];
                assert!(whole || self.reoffers.contains(&key), "neither whole nor offered anew: {key:?}");
            }
        }
    }

    /// Everybody leaves; nothing remains.
    pub(super) fn finish(&mut self) {
        self.settle();
        while let Some(first) = self.room.participants().first() {
            let participant = first.id.clone();
            self.ask(Input::Leave { participant }, Asked::Other);
        }
        self.settle();
        self.books.assert_bare();
        assert!(self.room.is_bare(), "left: {:?}", self.room);
        assert!(self.clients.is_empty());
    }

    fn recall_ids(&mut self) {
        let (room, ids) = (&self.room, &mut self.ids);
        let invites = room.invites();
        let participants = room.participants().iter().map(|p| &p.id);
        ids.participants = participants.chain(invites.iter().map(|i| &i.participant)).cloned().collect();
        ids.tokens = invites.iter().map(|invite| invite.token.clone()).collect();
        ids.streams = room.participants().iter().filter_map(|p| p.stream.as_ref()).map(|s| s.id.clone()).collect();
        let publishing = self.pending.iter().filter(|run| matches!(run.asked, Asked::Publish { .. }));
        let names = publishing.filter_map(|run| match &run.commands[0] {
            Command::CreateTransport(c) => c.label.rsplit('/').next().map(str::to_owned),
            _ => None,
        });
        ids.streams.extend(names);
    }
}
