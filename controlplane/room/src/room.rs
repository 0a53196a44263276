//! The room itself: who comes, who goes, who hears of it.

use std::collections::BTreeMap;

use crate::effect::{Effect, EndReason, Notice, Reply, Run, StreamProperty};
use crate::error::Error;
use crate::input::{Admission, Grant, Ids, Input, Join, Role};
use crate::media::Op;
use crate::participant::{Invite, Participant, remove};

/// How long the seat of a participant whose socket was lost is kept.
pub const RECONNECTION_WINDOW_MS: u64 = 10_000;
/// How long a client that has gone may take to close its socket.
pub const SOCKET_CLOSE_DELAY_MS: u64 = 10_000;

type Outcome = Result<Reply, Error>;

/// One room.
#[derive(Debug)]
pub struct Room {
    pub(crate) id: String,
    pub(crate) invites: Vec<Invite>,
    pub(crate) participants: Vec<Participant>,
    pub(crate) ops: BTreeMap<u64, Op>,
    next_op: u64,
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
            invites: Vec::new(),
            participants: Vec::new(),
            ops: BTreeMap::new(),
            next_op: 1,
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
        &self.invites
    }

    /// Everybody in the room, hidden ones too, in order of joining.
    pub fn participants(&self) -> &[Participant] {
        &self.participants
    }

    /// The participant with this id.
    pub fn participant(&self, id: &str) -> Option<&Participant> {
        self.participants.iter().find(|p| p.id == id)
    }

    /// Who publishes this stream.
    pub fn publisher_of(&self, stream: &str) -> Option<&Participant> {
        self.participants.iter().find(|p| p.stream.as_ref().is_some_and(|s| s.id == stream))
    }

    /// Applies one input at `now_ms` (milliseconds since 1970, never going back). Every input but `Tick`,
    /// `SocketLost`, `SocketBack` and `MediaRestarted` has exactly one [`Effect::Reply`], at once or, for those
    /// that drive the data plane, in the effects of their [`Input::Ran`].
    pub fn apply(&mut self, now_ms: u64, ids: &mut dyn Ids, input: Input) -> Vec<Effect> {
        let mut turn = Turn { now_ms, ids, effects: Vec::new() };
        match input {
            Input::Ran { op, result } => self.ran(&mut turn, op, result),
            Input::Tick => self.tick(&mut turn),
            Input::SocketLost { participant } => self.socket_lost(&mut turn, &participant),
            Input::SocketBack { participant } => {
                if let Some(participant) = self.participants.iter_mut().find(|p| p.id == participant) {
                    participant.lost_until = None;
                }
            }
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
            Input::Expel { participant, target } => self.expel(turn, &participant, &target),
            Input::Close { reason } => {
                self.close(turn, reason);
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
        while self.token_taken(&token) {
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
        let invite = match join.admission {
            Admission::Token(token) => {
                let at = self.invites.iter().position(|i| i.token == token).ok_or(Error::UnknownToken)?;
                (self.invites.remove(at), false, false)
            }
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
        let (Invite { participant: id, token, grant, created_at }, privileged, hidden) = invite;
        let others = self.everyone();
        self.participants.push(Participant {
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
            subscriptions: Vec::new(),
            prepared: Vec::new(),
            publishing: false,
        });
        if !hidden {
            turn.notify(others, Notice::Joined { participant: id.clone() });
        }
        turn.reply(Ok(Reply::Joined { participant: id }));
        Ok(())
    }

    fn leave(&mut self, turn: &mut Turn<'_>, participant: &str) -> Result<(), Error> {
        self.known(participant)?;
        let gone = self.take_out(turn, participant, EndReason::Left);
        turn.reply(Ok(Reply::Done));
        self.close_socket(turn, participant, gone);
        self.end_if_empty(turn);
        Ok(())
    }

    fn remove(&mut self, turn: &mut Turn<'_>, participant: &str) -> Result<(), Error> {
        if let Some(at) = self.invites.iter().position(|i| i.participant == participant) {
            self.invites.remove(at);
            turn.reply(Ok(Reply::Done));
            return Ok(());
        }
        self.known(participant)?;
        self.evict(turn, participant, EndReason::RemovedByApplication, None);
        turn.reply(Ok(Reply::Done));
        self.end_if_empty(turn);
        Ok(())
    }

    fn expel(&mut self, turn: &mut Turn<'_>, moderator: &str, target: &str) -> Result<(), Error> {
        if !self.known(moderator)?.may(Role::Moderator) {
            return Err(Error::Forbidden);
        }
        self.known(target)?;
        self.evict(turn, target, EndReason::ExpelledByModerator, Some(Ok(Reply::Done)));
        self.end_if_empty(turn);
        Ok(())
    }

    /// Takes a participant out: the others hear that it left, then the asker gets its answer, then all who were
    /// there, the evicted one too, hear of the eviction.
    fn evict(&mut self, turn: &mut Turn<'_>, participant: &str, reason: EndReason, answer: Option<Outcome>) {
        let mut audience = self.everyone();
        let gone = self.take_out(turn, participant, reason);
        if let Some(answer) = answer {
            turn.reply(answer);
        }
        if gone {
            audience.retain(|id| id == participant);
        }
        turn.notify(audience, Notice::Evicted { participant: participant.to_owned(), reason });
        self.close_socket(turn, participant, gone);
    }

    /// Removes a participant and all its media, and tells the rest; `true` when it was a hidden one.
    fn take_out(&mut self, turn: &mut Turn<'_>, participant: &str, reason: EndReason) -> bool {
        let Some(at) = self.participants.iter().position(|p| p.id == participant) else { return false };
        self.end_stream(turn, at);
        let gone = self.participants.remove(at);
        let transports = gone.subscriptions.iter().map(|s| s.transport);
        let commands = transports.chain(gone.prepared.iter().map(|p| p.transport)).map(remove).collect();
        turn.clean_up(commands);
        if !gone.hidden {
            turn.notify(self.everyone(), Notice::Left { participant: gone.id, reason });
        }
        gone.hidden
    }

    fn close_socket(&self, turn: &mut Turn<'_>, participant: &str, hidden: bool) {
        let after_ms = if hidden { 0 } else { SOCKET_CLOSE_DELAY_MS };
        turn.effects.push(Effect::CloseSocket { participant: participant.to_owned(), after_ms });
    }

    /// Hidden participants do not keep a room alive.
    fn end_if_empty(&mut self, turn: &mut Turn<'_>) {
        if !self.ended && self.participants.iter().all(|p| p.hidden) {
            self.close(turn, EndReason::LastParticipantLeft);
        }
    }

    fn close(&mut self, turn: &mut Turn<'_>, reason: EndReason) {
        self.ended = true;
        self.invites.clear();
        while let Some(first) = self.participants.first() {
            let id = first.id.clone();
            self.evict(turn, &id, reason, None);
        }
        turn.effects.push(Effect::Ended { reason });
    }

    fn socket_lost(&mut self, turn: &mut Turn<'_>, participant: &str) {
        let until = turn.now_ms + RECONNECTION_WINDOW_MS;
        if let Some(participant) = self.participants.iter_mut().find(|p| p.id == participant) {
            participant.lost_until = Some(until);
            turn.effects.push(Effect::WakeAt(until));
        }
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        let due = |p: &Participant| p.lost_until.is_some_and(|until| until <= turn.now_ms);
        let due: Vec<String> = self.participants.iter().filter(|p| due(p)).map(|p| p.id.clone()).collect();
        for participant in &due {
            self.evict(turn, participant, EndReason::NetworkLost, None);
        }
        if !due.is_empty() {
            self.end_if_empty(turn);
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
        let stream = self.participants.iter_mut().find(|p| p.id == participant).and_then(|p| p.stream.as_mut());
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
        if let Some(from) = &from {
            self.known(from)?;
        }
        for id in &to {
            self.known(id)?;
        }
        if to.is_empty() {
            to = self.everyone();
        } else {
            let mut seen = std::collections::HashSet::new();
            to.retain(|id| seen.insert(id.clone()));
        }
        turn.notify(to, Notice::Signal { from, kind, data });
        turn.reply(Ok(Reply::Done));
        Ok(())
    }

    pub(crate) fn known(&self, participant: &str) -> Result<&Participant, Error> {
        self.participant(participant).ok_or_else(|| Error::UnknownParticipant(participant.to_owned()))
    }

    pub(crate) fn everyone(&self) -> Vec<String> {
        self.participants.iter().map(|p| p.id.clone()).collect()
    }

    pub(crate) fn everyone_but(&self, participant: &str) -> Vec<String> {
        self.participants.iter().filter(|p| p.id != participant).map(|p| p.id.clone()).collect()
    }

    pub(crate) fn start(&mut self, turn: &mut Turn<'_>, op: Op, commands: Vec<dataplane_protocol::Command>) {
        let number = self.next_op;
        self.next_op += 1;
        self.ops.insert(number, op);
        turn.effects.push(Effect::Run(Run { op: Some(number), commands }));
    }

    fn draw_participant(&self, turn: &mut Turn<'_>) -> String {
        let mut id = turn.ids.participant();
        while self.id_taken(&id) {
            id = turn.ids.participant();
        }
        id
    }

    fn id_taken(&self, id: &str) -> bool {
        self.participant(id).is_some() || self.invites.iter().any(|i| i.participant == id)
    }

    fn token_taken(&self, token: &str) -> bool {
        self.invites.iter().any(|i| i.token == token)
            || self.participants.iter().any(|p| p.token.as_deref() == Some(token))
    }
}
