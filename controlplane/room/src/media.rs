//! What a room waits for from the data plane, and what it makes of the answers.
//!
//! Every transport belongs to an [`Op`] until its commands have ended, then to a stream, a subscription or an
//! offer, and is removed by whoever holds it last. So nothing is removed before it was surely made, and a
//! participant that goes meanwhile leaves nothing behind.
//!
//! A stream that was replaced by its republication stays in the data plane until no subscription is under way to it:
//! only then can each of them be given the new tracks.

use dataplane_protocol::Command;

use crate::command::{removal, remove};
use crate::effect::{Effect, EndReason, Notice, Reply, Run};
use crate::error::{Error, MediaError};
use crate::input::Input;
use crate::participant::{Participant, Stream};
use crate::room::{Room, Turn};
use crate::subscriptions::SubscriptionState;

/// Something that waits for the data plane.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) participant: String,
    pub(crate) kind: OpKind,
    /// The data plane restarted after the commands were given out.
    stale: bool,
}

#[derive(Debug)]
pub(crate) enum OpKind {
    Publish(Stream),
    Republish(Stream),
    Prepare {
        stream: String,
        transport: u64,
    },
    Subscribe {
        subscription: SubscriptionState,
        /// The transport of the stream that the commands name.
        source: u64,
    },
}

impl Op {
    pub(crate) fn new(participant: &str, kind: OpKind) -> Self {
        Self { participant: participant.to_owned(), kind, stale: false }
    }

    fn removal(&self) -> Vec<Command> {
        match &self.kind {
            OpKind::Publish(stream) | OpKind::Republish(stream) => removal(stream).collect(),
            OpKind::Prepare { transport, .. } => vec![remove(*transport)],
            OpKind::Subscribe { subscription, .. } => vec![remove(subscription.transport)],
        }
    }
}

impl Room {
    pub(crate) fn media_request(&mut self, turn: &mut Turn<'_>, input: Input) -> Result<(), Error> {
        match input {
            Input::Publish { participant, description, publication } => {
                self.publish(turn, &participant, description, publication)
            }
            Input::Republish { participant, publication } => self.republish(turn, &participant, publication),
            Input::Unpublish { participant } => self.unpublish(turn, &participant),
            Input::ForceUnpublish { participant, stream } => {
                self.force_unpublish(turn, participant.as_deref(), &stream)
            }
            Input::PrepareSubscribe { participant, stream, ice } => self.prepare(turn, &participant, stream, &ice),
            Input::Subscribe { participant, stream, subscription } => {
                self.subscribe(turn, &participant, stream, subscription)
            }
            Input::Unsubscribe { participant, publisher } => self.unsubscribe(turn, &participant, &publisher),
            // Everything else is dealt with before.
            _ => Ok(()),
        }
    }

    /// Gives out the commands of an op; its number is the outcome that its participant awaits from now on.
    pub(crate) fn start(&mut self, turn: &mut Turn<'_>, op: Op, commands: Vec<Command>) {
        let number = self.next_op;
        self.next_op += 1;
        if let Some(participant) = self.roster.passing_mut(&op.participant) {
            match &op.kind {
                OpKind::Publish(_) | OpKind::Republish(_) => participant.publishing = Some(number),
                OpKind::Prepare { stream, .. } => {
                    participant.subscribing.insert(stream.clone(), number);
                }
                OpKind::Subscribe { subscription, .. } => {
                    participant.subscribing.insert(subscription.stream.clone(), number);
                }
            }
        }
        if let OpKind::Subscribe { source, .. } = op.kind {
            *self.under_way.entry(source).or_default() += 1;
        }
        self.ops.insert(number, op);
        turn.effects.push(Effect::Run(Run { op: Some(number), commands }));
    }

    /// The data plane is done with an op: keep what it made, or remove it.
    pub(crate) fn ran(&mut self, turn: &mut Turn<'_>, number: u64, result: Result<(), MediaError>) {
        let Some(op) = self.ops.remove(&number) else { return };
        let replaced = self.arrived(&op);
        let awaited = self.no_longer_awaits(number, &op);
        let result = if op.stale { Err(MediaError::Restarted) } else { result };
        match result.map_err(Error::Media).and(awaited) {
            Ok(()) => self.commit(turn, op),
            Err(error) => {
                if let OpKind::Publish(stream) = &op.kind {
                    self.roster.release_stream(&stream.id);
                }
                turn.clean_up(op.removal());
                turn.reply(Err(error));
            }
        }
        turn.clean_up(replaced.iter().flat_map(removal).collect());
    }

    /// Counts a subscription off; gives the replaced stream that was kept for it when it was the last one.
    fn arrived(&mut self, op: &Op) -> Option<Stream> {
        let OpKind::Subscribe { source, .. } = &op.kind else { return None };
        let waiting = self.under_way.get_mut(source)?;
        *waiting -= 1;
        if *waiting > 0 {
            return None;
        }
        self.under_way.remove(source);
        self.replaced.remove(source)
    }

    /// Takes note that an op has ended; `Err` when its participant did not wait for it.
    fn no_longer_awaits(&mut self, number: u64, op: &Op) -> Result<(), Error> {
        let participant = self.roster.passing_mut(&op.participant);
        let participant = participant.ok_or_else(|| Error::UnknownParticipant(op.participant.clone()))?;
        let stream = match &op.kind {
            OpKind::Publish(_) | OpKind::Republish(_) => {
                return match participant.publishing.take_if(|awaited| *awaited == number) {
                    Some(_) => Ok(()),
                    None if participant.stream.is_some() => Err(Error::Overtaken),
                    None => Err(Error::NotPublishing(op.participant.clone())),
                };
            }
            OpKind::Prepare { stream, .. } => stream,
            OpKind::Subscribe { subscription, .. } => &subscription.stream,
        };
        if participant.subscribing.get(stream) == Some(&number) {
            participant.subscribing.remove(stream);
            return Ok(());
        }
        Err(self.publisher_of(stream).map_or_else(|| Error::UnknownStream(stream.clone()), |_| Error::Overtaken))
    }

    fn commit(&mut self, turn: &mut Turn<'_>, op: Op) {
        let id = op.participant;
        match op.kind {
            OpKind::Publish(mut stream) => {
                stream.created_at = turn.now_ms;
                turn.reply(Ok(Reply::Published { stream: stream.id.clone(), created_at: stream.created_at }));
                self.roster.set_stream(&id, stream);
                self.began_sending(turn, &id);
                turn.notify(self.everyone_but(&id), Notice::Published { participant: id });
            }
            OpKind::Republish(mut stream) => {
                stream.created_at = turn.now_ms;
                turn.reply(Ok(Reply::Published { stream: stream.id.clone(), created_at: stream.created_at }));
                self.splice(turn, &id, stream);
            }
            OpKind::Prepare { stream, transport } => {
                if let Some(participant) = self.roster.receiver_mut(&id, &stream) {
                    participant.prepared.insert(stream, transport);
                }
                turn.reply(Ok(Reply::Prepared));
            }
            OpKind::Subscribe { subscription, source } => self.subscribed(turn, id, subscription, source),
        }
    }

    pub(crate) fn media_restarted(&mut self, turn: &mut Turn<'_>) {
        for op in self.ops.values_mut() {
            op.stale = true;
        }
        self.replaced.clear();
        let mut publishers = Vec::new();
        for id in self.everyone() {
            let streams: Vec<_> =
                self.participant(&id).into_iter().flat_map(Participant::streams).map(str::to_owned).collect();
            for stream in streams {
                self.roster.receiver_mut(&id, &stream);
            }
            let Some(participant) = self.roster.passing_mut(&id) else { continue };
            participant.subscriptions.clear();
            participant.prepared.clear();
            participant.subscribing.clear();
            participant.publishing = None;
            publishers.extend(participant.stream.is_some().then_some(id));
        }
        for participant in publishers {
            self.ended_sending(turn, &participant, EndReason::MediaRestarted);
            self.roster.take_stream(&participant);
            let notice = Notice::Unpublished { participant, reason: EndReason::MediaRestarted };
            turn.notify(self.everyone(), notice);
        }
    }
}
