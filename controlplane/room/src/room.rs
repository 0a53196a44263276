//! The room itself: who comes, who goes, who hears of it.

use std::collections::BTreeMap;

use crate::command::remove;
use crate::effect::{Effect, EndReason, Notice, Reply, Run, StreamProperty};
use crate::error::Error;
use crate::event::Event;
use crate::input::{Admission, Grant, Hidden, Ids, Input, Join, Role};
use crate::media::Op;
use crate::participant::{Invite, Participant, Stream};
use crate::roster::{Invites, Roster};
use crate::subscriptions::Subscriptions;

/// How long the seat of a participant whose socket was lost is kept.
pub const RECONNECTION_WINDOW_MS: u64 = 10_000;
/// How long a client that has gone may take to close its socket.
pub const SOCKET_CLOSE_DELAY_MS: u64 = 10_000;

type Outcome = Result<Reply, Error>;

/// One room.
#[derive(Debug)]
pub struct Room {
    pub(crate) id: String,
    pub(crate) invites: Invites,
    pub(crate) roster: Roster,
    pub(crate) ops: BTreeMap<u64, Op>,
    pub(crate) next_op: u64,
    /// How many subscriptions under way name the tracks of a stream, by the stream's transport.
    pub(crate) under_way: BTreeMap<u64, usize>,
    /// What streams were before they were republished, by transport, while subscriptions to it are under way.
    pub(crate) replaced: BTreeMap<u64, Stream>,
    ended: bool,
}

/// What one input works with: the time, the ids, and the list of effects that it fills.
pub(crate) struct Turn<'a> {
    pub(crate) now_ms: u64,
    pub(crate) ids: &'a mut dyn Ids,
    pub(crate) effects: Vec<Effect>,
}

impl Turn<'_> {
    pub(crate) fn notify(&mut self, to: Vec<String>, notice: Notice) {
        if !to.is_empty() {
            self.effects.push(Effect::Notify { to, notice });
        }
    }

    pub(crate) fn clean_up(&mut self, commands: Vec<dataplane_protocol::Command>) {
        if !commands.is_empty() {
            self.effects.push(Effect::Run(Run { op: None, commands }));
        }
    }

    pub(crate) fn reply(&mut self, outcome: Outcome) {
        self.effects.push(Effect::Reply(outcome));
    }
}

impl Room {
    /// An empty room. It lives until [`Effect::Ended`].
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            invites: Invites::default(),
            roster: Roster::default(),
            ops: BTreeMap::new(),
            next_op: 1,
            under_way: BTreeMap::new(),
            replaced: BTreeMap::new(),
            ended: false,
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is over: every input is refused from then on.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Unused invitations, oldest first.
    pub fn invites(&self) -> &[Invite] {
        self.invites.all()
    }

    /// The unused invitation of this participant to be.
    pub fn invite_of(&self, participant: &str) -> Option<&Invite> {
        self.invites.of(participant)
    }

    /// Everybody in the room, hidden ones too, in order of joining.
    pub fn participants(&self) -> &[Participant] {
        self.roster.all()
    }

    /// Everybody but the hidden ones, in order of joining: who is shown and counted.
    pub fn visible(&self) -> impl Iterator<Item = &Participant> {
        self.participants().iter().filter(|p| p.hidden.is_none())
    }

    /// The participant with this id.
    pub fn participant(&self, id: &str) -> Option<&Participant> {
        self.roster.get(id)
    }

    /// Who publishes this stream.
    pub fn publisher_of(&self, stream: &str) -> Option<&Participant> {
        self.roster.publisher_of(stream)
    }

    /// Applies one input at `now_ms` (milliseconds since 1970, never going back). Every input but `Tick`,
    /// `SocketLost`, `SocketBack`, `Lapse` and `MediaRestarted` has exactly one [`Effect::Reply`], at once or, for
    /// those that drive the data plane, in the effects of their [`Input::Ran`].
    pub fn apply(&mut self, now_ms: u64, ids: &mut dyn Ids, input: Input) -> Vec<Effect> {
        let mut turn = Turn { now_ms, ids, effects: Vec::new() };
        match input {
            Input::Ran { op, result } => self.ran(&mut turn, op, result),
            Input::Tick => self.tick(&mut turn),
            Input::SocketLost { participant } => self.socket_lost(&mut turn, &participant),
            Input::SocketBack { participant } => {
                if let Some(participant) = self.roster.passing_mut(&participant) {
                    participant.lost_until = None;
                }
            }
            Input::Lapse { participant } => self.lapse(&mut turn, &participant),
            Input::MediaRestarted => self.media_restarted(&mut turn),
            request => {
                if self.ended {
                    turn.reply(Err(Error::Closed));
                } else if let Err(error) = self.request(&mut turn, request) {
                    turn.reply(Err(error));
                }
            }
        }
        turn.effects
    }

    /// An input with a reply. `Ok`: the reply is among the effects, or follows the data plane's answer.
    fn request(&mut self, turn: &mut Turn<'_>, input: Input) -> Result<(), Error> {
        match input {
            Input::Invite(grant) => self.invite(turn, grant),
            Input::Join(join) => self.join(turn, join),
            Input::Leave { participant } => self.leave(turn, &participant),
            Input::Remove { participant } => self.remove(turn, &participant),
            Input::Amend { participant, role, record } => self.amend(turn, &participant, role, record),
            Input::Expel { participant, target } => self.expel(turn, &participant, &target),
            Input::Close { reason } => {
                if reason != EndReason::Unused || self.participants().is_empty() {
                    self.close(turn, reason);
                }
                turn.reply(Ok(Reply::Done));
                Ok(())
            }
            Input::ChangeStream { participant, property, value, reason } => {
                self.change_stream(turn, &participant, property, value, reason)
            }
            Input::Signal { participant, to, kind, data } => self.signal(turn, participant, to, kind, data),
            media => self.media_request(turn, media),
        }
    }

    fn invite(&mut self, turn: &mut Turn<'_>, grant: Grant) -> Result<(), Error> {
        let participant = match grant.participant.clone() {
            Some(id) if self.id_taken(&id) => return Err(Error::IdTaken(id)),
            Some(id) => id,
            None => self.draw_participant(turn),
        };
        let mut token = turn.ids.token();
        while self.invites.has_token(&token) {
            token = turn.ids.token();
        }
        self.invites.push(Invite {
            participant: participant.clone(),
            token: token.clone(),
            grant,
            created_at: turn.now_ms,
        });
        turn.reply(Ok(Reply::Invited { participant, token }));
        Ok(())
    }

    fn join(&mut self, turn: &mut Turn<'_>, join: Join) -> Result<(), Error> {
        let (invite, privileged, hidden) = match join.admission {
            Admission::Token(token) => (self.invites.redeem(&token).ok_or(Error::UnknownToken)?, false, None),
            Admission::Secret { participant, hidden } => {
                let participant = match participant {
                    Some(id) if self.id_taken(&id) => return Err(Error::IdTaken(id)),
                    Some(id) => id,
                    None => self.draw_participant(turn),
                };
                let grant =
                    Grant { role: Role::Subscriber, server_data: String::new(), record: true, participant: None };
                (Invite { participant, token: String::new(), grant, created_at: turn.now_ms }, true, hidden)
            }
        };
        let Invite { participant: id, token, grant, created_at } = invite;
        let others = self.everyone();
        self.roster.push(Participant {
            id: id.clone(),
            role: grant.role,
            privileged,
            hidden,
            token: (!token.is_empty()).then_some(token),
            record: grant.record,
            server_data: grant.server_data,
            client_data: join.client_data,
            origin: join.origin,
            created_at,
            joined_at: turn.now_ms,
            lost_until: None,
            stream: None,
            subscriptions: Subscriptions::default(),
            prepared: BTreeMap::new(),
            publishing: None,
            subscribing: BTreeMap::new(),
            sending: None,
            receiving: BTreeMap::new(),
        });
        if hidden.is_none() {
            turn.notify(others, Notice::Joined { participant: id.clone() });
        }
        if let Some(person) = self.participant(&id).filter(|p| p.hidden.is_none()).map(Participant::person) {
            turn.event(Event::Joined(person));
        }
        turn.reply(Ok(Reply::Joined { participant: id }));
        Ok(())
    }

    fn leave(&mut self, turn: &mut Turn<'_>, participant: &str) -> Result<(), Error> {
        let hidden = self.known(participant)?.hidden;
        self.take_out(turn, participant, EndReason::Left);
        turn.reply(Ok(Reply::Done));
        close_socket(turn, participant, hidden);
        self.end_if_empty(turn, hidden);
        Ok(())
    }

    fn remove(&mut self, turn: &mut Turn<'_>, participant: &str) -> Result<(), Error> {
        if self.invites.withdraw(participant).is_some() {
            turn.reply(Ok(Reply::Done));
            return Ok(());
        }
        let hidden = self.known(participant)?.hidden;
        self.evict(turn, participant, EndReason::RemovedByApplication, None);
        turn.reply(Ok(Reply::Done));
        self.end_if_empty(turn, hidden);
        Ok(())
    }

    fn amend(
        &mut self,
        turn: &mut Turn<'_>,
        participant: &str,
        role: Option<Role>,
        record: Option<bool>,
    ) -> Result<(), Error> {
        if let Some(grant) = self.invites.grant_mut(participant) {
            grant.role = role.unwrap_or(grant.role);
            grant.record = record.unwrap_or(grant.record);
        } else {
            let known = self.roster.get_mut(participant).filter(|known| known.hidden.is_none());
            let known = known.ok_or_else(|| Error::UnknownParticipant(participant.to_owned()))?;
            if let Some(role) = role.filter(|role| *role != known.role) {
                known.role = role;
                turn.notify(vec![participant.to_owned()], Notice::RoleChanged { role });
            }
            if let Some(record) = record.filter(|record| *record != known.record) {
                known.record = record;
                turn.notify(vec![participant.to_owned()], Notice::RecordChanged { record });
            }
        }
        turn.reply(Ok(Reply::Done));
        Ok(())
    }

    fn expel(&mut self, turn: &mut Turn<'_>, moderator: &str, target: &str) -> Result<(), Error> {
        if !self.known(moderator)?.may(Role::Moderator) {
            return Err(Error::Forbidden);
        }
        let hidden = self.known(target)?.hidden;
        self.evict(turn, target, EndReason::ExpelledByModerator, Some(Ok(Reply::Done)));
        self.end_if_empty(turn, hidden);
        Ok(())
    }

    fn lapse(&mut self, turn: &mut Turn<'_>, participant: &str) {
        let Some(hidden) = self.participant(participant).map(|p| p.hidden) else { return };
        self.evict(turn, participant, EndReason::NetworkLost, None);
        self.end_if_empty(turn, hidden);
    }

    /// Takes a participant out: the others hear that it left, then the asker gets its answer, then all who were
    /// there, the evicted one too, hear of the eviction.
    fn evict(&mut self, turn: &mut Turn<'_>, participant: &str, reason: EndReason, answer: Option<Outcome>) {
        let hidden = self.participant(participant).and_then(|p| p.hidden);
        let audience = match hidden {
            Some(Hidden::Recorder) => vec![participant.to_owned()],
            None | Some(Hidden::Transcriber) => self.everyone(),
        };
        self.take_out(turn, participant, reason);
        if let Some(answer) = answer {
            turn.reply(answer);
        }
        turn.notify(audience, Notice::Evicted { participant: participant.to_owned(), reason });
        close_socket(turn, participant, hidden);
    }

    /// Removes a participant and all its media, and tells the rest.
    fn take_out(&mut self, turn: &mut Turn<'_>, participant: &str, reason: EndReason) {
        self.ended_receiving_all(turn, participant, reason);
        self.end_stream(turn, participant, reason);
        let Some(gone) = self.roster.remove(participant) else { return };
        turn.clean_up(gone.receiving().map(remove).collect());
        if gone.hidden.is_none() {
            turn.event(Event::Left { person: gone.person(), reason });
            turn.notify(self.everyone(), Notice::Left { participant: gone.id, reason });
        }
    }

    /// Hidden participants do not keep a room alive; nor does one end by the going of somebody who never counted.
    fn end_if_empty(&mut self, turn: &mut Turn<'_>, gone: Option<Hidden>) {
        if !self.ended && gone.is_none() && self.roster.visible() == 0 {
            self.close(turn, EndReason::LastParticipantLeft);
        }
    }

    fn close(&mut self, turn: &mut Turn<'_>, reason: EndReason) {
        self.ended = true;
        self.invites.clear();
        while let Some(first) = self.participants().first() {
            let id = first.id.clone();
            self.evict(turn, &id, reason, None);
        }
        turn.effects.push(Effect::Ended { reason });
    }

    fn socket_lost(&mut self, turn: &mut Turn<'_>, participant: &str) {
        let until = turn.now_ms + RECONNECTION_WINDOW_MS;
        if let Some(participant) = self.roster.passing_mut(participant) {
            participant.lost_until = Some(until);
            turn.effects.push(Effect::WakeAt(until));
        }
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        let due = |p: &&Participant| p.lost_until.is_some_and(|until| until <= turn.now_ms);
        let due: Vec<String> = self.participants().iter().filter(due).map(|p| p.id.clone()).collect();
        for participant in &due {
            self.lapse(turn, participant);
        }
    }

    fn change_stream(
        &mut self,
        turn: &mut Turn<'_>,
        participant: &str,
        property: StreamProperty,
        value: String,
        reason: String,
    ) -> Result<(), Error> {
        self.known(participant)?;
        let stream = self.roster.get_mut(participant).and_then(|p| p.stream.as_mut());
        let stream = stream.ok_or_else(|| Error::NotPublishing(participant.to_owned()))?;
        match &property {
            StreamProperty::AudioActive(active) => stream.description.audio_active = Some(*active),
            StreamProperty::VideoActive(active) => stream.description.video_active = Some(*active),
            StreamProperty::VideoDimensions(text) => stream.description.video_dimensions = Some(text.clone()),
            StreamProperty::Other(_) => {}
        }
        let stream = stream.id.clone();
        turn.reply(Ok(Reply::Done));
        let participant = participant.to_owned();
        let to = self.everyone_but(&participant);
        turn.notify(to, Notice::StreamChanged { participant, stream, property, value, reason });
        Ok(())
    }

    fn signal(
        &self,
        turn: &mut Turn<'_>,
        from: Option<String>,
        mut to: Vec<String>,
        kind: Option<String>,
        data: Option<String>,
    ) -> Result<(), Error> {
        let sender = from.as_deref().map(|from| self.known(from)).transpose()?;
        let is_hidden = sender.is_some_and(|sender| sender.hidden.is_some());
        if to.is_empty() {
            to = self.everyone();
        } else {
            let mut named = vec![false; self.participants().len()];
            for id in &to {
                self.known(id)?;
            }
            to.retain(|id| self.roster.position(id).is_some_and(|at| !std::mem::replace(&mut named[at], true)));
        }
        // Only itself knows of a hidden one, and clients drop what comes from somebody unknown.
        if let Some(sender) = sender.filter(|sender| sender.hidden.is_some()) {
            to.retain(|id| *id == sender.id);
        }
        if !is_hidden {
            let (from, to, kind, data) = (from.clone(), to.clone(), kind.clone(), data.clone());
            turn.event(Event::Signalled { from, to, kind, data });
        }
        turn.notify(to, Notice::Signal { from, kind, data });
        turn.reply(Ok(Reply::Done));
        Ok(())
    }

    /// Whether it holds nothing but invitations.
    #[cfg(test)]
    pub(crate) fn is_bare(&self) -> bool {
        self.roster.is_bare() && self.ops.is_empty() && self.under_way.is_empty() && self.replaced.is_empty()
    }

    pub(crate) fn known(&self, participant: &str) -> Result<&Participant, Error> {
        self.participant(participant).ok_or_else(|| Error::UnknownParticipant(participant.to_owned()))
    }

    pub(crate) fn everyone(&self) -> Vec<String> {
        self.participants().iter().map(|p| p.id.clone()).collect()
    }

    pub(crate) fn everyone_but(&self, participant: &str) -> Vec<String> {
        self.participants().iter().filter(|p| p.id != participant).map(|p| p.id.clone()).collect()
    }

    fn draw_participant(&self, turn: &mut Turn<'_>) -> String {
        let mut id = turn.ids.participant();
        while self.id_taken(&id) {
            id = turn.ids.participant();
        }
        id
    }

    fn id_taken(&self, id: &str) -> bool {
        self.participant(id).is_some() || self.invites.of(id).is_some()
    }
}

fn close_socket(turn: &mut Turn<'_>, participant: &str, hidden: Option<Hidden>) {
    let after_ms = if hidden == Some(Hidden::Recorder) { 0 } else { SOCKET_CLOSE_DELAY_MS };
    turn.effects.push(Effect::CloseSocket { participant: participant.to_owned(), after_ms });
}
