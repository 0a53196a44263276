//! Streams and subscriptions: what a room asks of the data plane and what it makes of the answers.
//!
//! Every transport belongs to an [`Op`] until its commands have ended, then to a stream, a subscription or an
//! offer, and is removed by whoever holds it last. So nothing is removed before it was surely made, and a
//! participant that goes meanwhile leaves nothing behind.

use dataplane_protocol::{Command, CreateTransport, Publish, RemoteParameters, SetRemote, Subscribe};

use crate::effect::{Effect, EndReason, Notice, Reply};
use crate::error::{Error, MediaError};
use crate::input::{IceCredentials, Input, Publication, Role, StreamDescription, SubscribedTrack, Subscription};
use crate::participant::{Prepared, Stream, SubscriptionState, remove};
use crate::room::{Room, Turn};
use crate::view::{cname, label};

/// Something that waits for the data plane.
#[derive(Debug)]
pub(crate) struct Op {
    participant: String,
    kind: OpKind,
    /// The data plane restarted after the commands were given out.
    stale: bool,
}

#[derive(Debug)]
enum OpKind {
    Publish(Stream),
    Republish(Stream),
    Prepare(Prepared),
    Subscribe(SubscriptionState),
}

impl Op {
    fn removal(&self) -> Vec<Command> {
        match &self.kind {
            OpKind::Publish(stream) | OpKind::Republish(stream) => stream.removal(),
            OpKind::Prepare(prepared) => vec![remove(prepared.transport)],
            OpKind::Subscribe(subscription) => vec![remove(subscription.transport)],
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
            Input::PrepareSubscribe { participant, stream, ice } => self.prepare(turn, &participant, stream, ice),
            Input::Subscribe { participant, stream, subscription } => {
                self.subscribe(turn, &participant, stream, subscription)
            }
            Input::Unsubscribe { participant, publisher } => self.unsubscribe(turn, &participant, &publisher),
            // Everything else is dealt with before.
            _ => Ok(()),
        }
    }

    fn publish(
        &mut self,
        turn: &mut Turn<'_>,
        id: &str,
        description: StreamDescription,
        publication: Publication,
    ) -> Result<(), Error> {
        let participant = self.known(id)?;
        if !participant.may(Role::Publisher) {
            return Err(Error::Forbidden);
        }
        if participant.stream.is_some() || participant.publishing {
            return Err(Error::AlreadyPublishing(id.to_owned()));
        }
        let mut name = turn.ids.stream(id, &description);
        while self.publisher_of(&name).is_some() {
            name = turn.ids.stream(id, &description);
        }
        self.set_publishing(id, true);
        let (stream, commands) = self.new_stream(turn, id, name, description, publication);
        self.start(turn, Op { participant: id.to_owned(), kind: OpKind::Publish(stream), stale: false }, commands);
        Ok(())
    }

    fn republish(&mut self, turn: &mut Turn<'_>, id: &str, publication: Publication) -> Result<(), Error> {
        let stream = self.known(id)?.stream.as_ref().ok_or_else(|| Error::NotPublishing(id.to_owned()))?;
        let (name, description) = (stream.id.clone(), stream.description.clone());
        let (stream, commands) = self.new_stream(turn, id, name, description, publication);
        self.start(turn, Op { participant: id.to_owned(), kind: OpKind::Republish(stream), stale: false }, commands);
        Ok(())
    }

    fn new_stream(
        &self,
        turn: &mut Turn<'_>,
        participant: &str,
        id: String,
        description: StreamDescription,
        publication: Publication,
    ) -> (Stream, Vec<Command>) {
        let label = label(&self.id, participant, &id);
        let transport = turn.ids.number();
        let mut commands = vec![create(transport, &publication.ice, Some(publication.remote), &label)];
        let mut tracks = Vec::with_capacity(publication.tracks.len());
        for track in publication.tracks {
            let number = turn.ids.number();
            commands.push(Command::Publish(Publish {
                track: number,
                transport,
                kind: track.kind as i32,
                mid: track.mid.clone(),
                codec: Some(track.codec.clone()),
                ssrc: track.ssrc,
                rtx_ssrc: track.rtx_ssrc,
                extensions: track.extensions.clone(),
                label: label.clone(),
                ..Publish::default()
            }));
            tracks.push((number, track));
        }
        (Stream { id, created_at: turn.now_ms, description, transport, tracks }, commands)
    }

    fn unpublish(&mut self, turn: &mut Turn<'_>, id: &str) -> Result<(), Error> {
        self.known(id)?;
        let at = self.participants.iter().position(|p| p.id == id && p.stream.is_some());
        let at = at.ok_or_else(|| Error::NotPublishing(id.to_owned()))?;
        self.end_stream(turn, at);
        turn.reply(Ok(Reply::Done));
        let notice = Notice::Unpublished { participant: id.to_owned(), reason: EndReason::Unpublished };
        turn.notify(self.everyone_but(id), notice);
        Ok(())
    }

    fn force_unpublish(&mut self, turn: &mut Turn<'_>, by: Option<&str>, stream: &str) -> Result<(), Error> {
        let reason = match by {
            Some(moderator) if !self.known(moderator)?.may(Role::Moderator) => return Err(Error::Forbidden),
            Some(_) => EndReason::UnpublishedByModerator,
            None => EndReason::UnpublishedByApplication,
        };
        let has = |p: &crate::Participant| p.stream.as_ref().is_some_and(|s| s.id == stream);
        let at = self.participants.iter().position(has).ok_or_else(|| Error::UnknownStream(stream.to_owned()))?;
        let participant = self.participants[at].id.clone();
        self.end_stream(turn, at);
        turn.reply(Ok(Reply::Done));
        turn.notify(self.everyone(), Notice::Unpublished { participant, reason });
        Ok(())
    }

    /// Ends the stream of the participant at `at`, if any, with all subscriptions to it; tells nobody.
    pub(crate) fn end_stream(&mut self, turn: &mut Turn<'_>, at: usize) {
        let Some(stream) = self.participants[at].stream.take() else { return };
        let mut commands = stream.removal();
        commands.extend(self.drop_subscriptions(&stream.id).into_iter().map(remove));
        turn.clean_up(commands);
    }

    /// Forgets everybody's subscriptions and offers of a stream; gives their transports.
    fn drop_subscriptions(&mut self, stream: &str) -> Vec<u64> {
        let mut transports = Vec::new();
        for participant in &mut self.participants {
            transports.extend(participant.take_subscriptions(stream));
        }
        transports
    }

    fn prepare(&mut self, turn: &mut Turn<'_>, id: &str, stream: String, ice: IceCredentials) -> Result<(), Error> {
        self.subscribable(id, &stream)?;
        self.drop_own(turn, id, &stream);
        let transport = turn.ids.number();
        let commands = vec![create(transport, &ice, None, &label(&self.id, id, &stream))];
        let kind = OpKind::Prepare(Prepared { stream, transport });
        self.start(turn, Op { participant: id.to_owned(), kind, stale: false }, commands);
        Ok(())
    }

    fn subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        id: &str,
        stream: String,
        subscription: Subscription,
    ) -> Result<(), Error> {
        self.subscribable(id, &stream)?;
        let label = label(&self.id, id, &stream);
        let (transport, first) = match &subscription.ice {
            Some(ice) => {
                self.drop_own(turn, id, &stream);
                let transport = turn.ids.number();
                (transport, create(transport, ice, Some(subscription.remote), &label))
            }
            None => {
                let transport = self.take_prepared(id, &stream).ok_or_else(|| Error::NotPrepared(stream.clone()))?;
                (transport, set_remote(transport, subscription.remote))
            }
        };
        let mut commands = vec![first];
        let mut tracks = Vec::with_capacity(subscription.tracks.len());
        for track in subscription.tracks {
            let Some(source) = self.track_number(&stream, track.source) else { continue };
            let number = turn.ids.number();
            commands.push(subscribe_command(number, transport, source, &track, &stream, &label));
            tracks.push((number, track));
        }
        let kind = OpKind::Subscribe(SubscriptionState { stream, created_at: turn.now_ms, transport, tracks });
        self.start(turn, Op { participant: id.to_owned(), kind, stale: false }, commands);
        Ok(())
    }

    fn unsubscribe(&mut self, turn: &mut Turn<'_>, id: &str, publisher: &str) -> Result<(), Error> {
        self.known(id)?;
        let stream = self.known(publisher)?.stream.as_ref().map(|s| s.id.clone());
        if let Some(stream) = stream {
            self.drop_own(turn, id, &stream);
        }
        turn.reply(Ok(Reply::Done));
        Ok(())
    }

    /// The data plane is done with an op: keep what it made, or remove it.
    pub(crate) fn ran(&mut self, turn: &mut Turn<'_>, number: u64, result: Result<(), MediaError>) {
        let Some(op) = self.ops.remove(&number) else { return };
        if matches!(op.kind, OpKind::Publish(_)) {
            self.set_publishing(&op.participant, false);
        }
        let result = if op.stale { Err(MediaError::Restarted) } else { result };
        match result.map_err(Error::Media).and_then(|()| self.still_wanted(&op)) {
            Ok(()) => self.commit(turn, op),
            Err(error) => {
                turn.clean_up(op.removal());
                turn.reply(Err(error));
            }
        }
    }

    /// Whether those for whom an op was begun are still there.
    fn still_wanted(&self, op: &Op) -> Result<(), Error> {
        let participant = self.known(&op.participant)?;
        match &op.kind {
            OpKind::Publish(_) => Ok(()),
            OpKind::Republish(stream) => match &participant.stream {
                Some(current) if current.id == stream.id => Ok(()),
                _ => Err(Error::NotPublishing(op.participant.clone())),
            },
            OpKind::Prepare(Prepared { stream, .. }) | OpKind::Subscribe(SubscriptionState { stream, .. }) => {
                self.publisher_of(stream).map(|_| ()).ok_or_else(|| Error::UnknownStream(stream.clone()))
            }
        }
    }

    fn commit(&mut self, turn: &mut Turn<'_>, op: Op) {
        let id = op.participant;
        match op.kind {
            OpKind::Publish(mut stream) => {
                stream.created_at = turn.now_ms;
                turn.reply(Ok(Reply::Published { stream: stream.id.clone(), created_at: stream.created_at }));
                self.with(&id, |p| p.stream = Some(stream));
                turn.notify(self.everyone_but(&id), Notice::Published { participant: id });
            }
            OpKind::Republish(mut stream) => {
                stream.created_at = turn.now_ms;
                turn.reply(Ok(Reply::Published { stream: stream.id.clone(), created_at: stream.created_at }));
                self.splice(turn, &id, stream);
            }
            OpKind::Prepare(prepared) => {
                self.with(&id, |p| p.prepared.push(prepared));
                turn.reply(Ok(Reply::Prepared));
            }
            OpKind::Subscribe(subscription) => {
                self.drop_own(turn, &id, &subscription.stream);
                self.with(&id, |p| p.subscriptions.push(subscription));
                turn.reply(Ok(Reply::Subscribed));
            }
        }
    }

    /// Puts running subscriptions on the tracks of a stream's new transport, with new SSRCs on their old m-lines,
    /// and takes the old transport away.
    fn splice(&mut self, turn: &mut Turn<'_>, publisher: &str, stream: Stream) {
        let (room, name, tracks) = (self.id.clone(), stream.id.clone(), stream.tracks.clone());
        let mut old = None;
        self.with(publisher, |p| old = p.stream.replace(stream));
        for participant in &mut self.participants {
            let label = label(&room, &participant.id, &name);
            for subscription in participant.subscriptions.iter_mut().filter(|s| s.stream == name) {
                let transport = subscription.transport;
                let mut commands = Vec::new();
                for (number, track) in &mut subscription.tracks {
                    let Some((source, published)) = tracks.get(track.source) else { continue };
                    if published.codec.codec != track.codec.codec {
                        continue;
                    }
                    *number = turn.ids.number();
                    track.ssrc = ssrc(turn);
                    track.rtx_ssrc = track.rtx_ssrc.map(|_| ssrc(turn));
                    commands.push(subscribe_command(*number, transport, *source, track, &name, &label));
                }
                turn.clean_up(commands);
            }
        }
        if let Some(old) = old {
            turn.clean_up(old.removal());
        }
    }

    pub(crate) fn media_restarted(&mut self, turn: &mut Turn<'_>) {
        for op in self.ops.values_mut() {
            op.stale = true;
        }
        for participant in &mut self.participants {
            participant.subscriptions.clear();
            participant.prepared.clear();
        }
        for at in 0..self.participants.len() {
            if self.participants[at].stream.take().is_some() {
                let participant = self.participants[at].id.clone();
                let notice = Notice::Unpublished { participant, reason: EndReason::MediaRestarted };
                turn.effects.push(Effect::Notify { to: self.everyone(), notice });
            }
        }
    }

    fn subscribable(&self, id: &str, stream: &str) -> Result<(), Error> {
        self.known(id)?;
        let publisher = self.publisher_of(stream).ok_or_else(|| Error::UnknownStream(stream.to_owned()))?;
        if publisher.id == id { Err(Error::OwnStream) } else { Ok(()) }
    }

    /// Ends a participant's own subscription or offer of a stream, silently.
    fn drop_own(&mut self, turn: &mut Turn<'_>, id: &str, stream: &str) {
        let mut transports = Vec::new();
        self.with(id, |p| transports = p.take_subscriptions(stream));
        turn.clean_up(transports.into_iter().map(remove).collect());
    }

    fn take_prepared(&mut self, id: &str, stream: &str) -> Option<u64> {
        let participant = self.participants.iter_mut().find(|p| p.id == id)?;
        let at = participant.prepared.iter().position(|p| p.stream == stream)?;
        Some(participant.prepared.remove(at).transport)
    }

    fn track_number(&self, stream: &str, source: usize) -> Option<u64> {
        let stream = self.publisher_of(stream)?.stream.as_ref()?;
        stream.tracks.get(source).map(|(number, _)| *number)
    }

    fn set_publishing(&mut self, id: &str, publishing: bool) {
        self.with(id, |p| p.publishing = publishing);
    }

    fn with(&mut self, id: &str, change: impl FnOnce(&mut crate::Participant)) {
        if let Some(participant) = self.participants.iter_mut().find(|p| p.id == id) {
            change(participant);
        }
    }
}

impl crate::Participant {
    /// Forgets subscriptions and offers of a stream; gives their transports.
    fn take_subscriptions(&mut self, stream: &str) -> Vec<u64> {
        let mut transports = Vec::new();
        self.subscriptions.retain(|s| {
            s.stream != stream || {
                transports.push(s.transport);
                false
            }
        });
        self.prepared.retain(|p| {
            p.stream != stream || {
                transports.push(p.transport);
                false
            }
        });
        transports
    }
}

fn create(transport: u64, ice: &IceCredentials, remote: Option<RemoteParameters>, label: &str) -> Command {
    Command::CreateTransport(CreateTransport {
        transport,
        ice_ufrag: ice.ufrag.clone(),
        ice_pwd: ice.pwd.clone(),
        remote,
        label: label.to_owned(),
    })
}

fn set_remote(transport: u64, remote: RemoteParameters) -> Command {
    Command::SetRemote(SetRemote { transport, remote: Some(remote) })
}

fn subscribe_command(
    subscription: u64,
    transport: u64,
    track: u64,
    wanted: &SubscribedTrack,
    stream: &str,
    label: &str,
) -> Command {
    Command::Subscribe(Subscribe {
        subscription,
        transport,
        track,
        mid: wanted.mid.clone(),
        codec: Some(wanted.codec.clone()),
        ssrc: wanted.ssrc,
        rtx_ssrc: wanted.rtx_ssrc,
        extensions: wanted.extensions.clone(),
        cname: cname(stream).to_owned(),
        label: label.to_owned(),
        ..Subscribe::default()
    })
}

/// A random SSRC; 0 is left out since some stacks take it for "none".
fn ssrc(turn: &mut Turn<'_>) -> u32 {
    (turn.ids.number() as u32).max(1)
}
