//! Streams: how they begin, move to another transport, and end.

use dataplane_protocol::Command;

use crate::command::{self, Destination, create, removal, remove};
use crate::effect::{Effect, EndReason, Notice, Reply};
use crate::error::Error;
use crate::input::{Publication, PublishedTrack, Role, StreamDescription};
use crate::media::{Op, OpKind};
use crate::participant::{Stream, StreamTrack};
use crate::room::{Room, Turn};
use crate::view::label;

/// Layers per track: one, and the three higher ones that a subscription can name.
const MAX_LAYERS: usize = 4;

impl Room {
    pub(crate) fn publish(
        &mut self,
        turn: &mut Turn<'_>,
        id: &str,
        description: StreamDescription,
        publication: Publication,
    ) -> Result<(), Error> {
        let participant = self.known(id)?;
        // Nobody knows of a hidden one, so nobody could be told of its stream.
        if !participant.may(Role::Publisher) || participant.hidden.is_some() {
            return Err(Error::Forbidden);
        }
        if participant.stream.is_some() || participant.publishing.is_some() {
            return Err(Error::AlreadyPublishing(id.to_owned()));
        }
        let mut name = turn.ids.stream(id, &description);
        while self.roster.is_stream_taken(&name) {
            name = turn.ids.stream(id, &description);
        }
        self.roster.reserve_stream(&name, id);
        let (stream, commands) = self.new_stream(turn, id, (name, description), publication, None);
        self.start(turn, Op::new(id, OpKind::Publish(stream)), commands);
        Ok(())
    }

    pub(crate) fn republish(&mut self, turn: &mut Turn<'_>, id: &str, publication: Publication) -> Result<(), Error> {
        let stream = self.known(id)?.stream.as_ref().ok_or_else(|| Error::NotPublishing(id.to_owned()))?;
        let (known_as, near) = ((stream.id.clone(), stream.description.clone()), Some(stream.transport));
        let (stream, commands) = self.new_stream(turn, id, known_as, publication, near);
        self.start(turn, Op::new(id, OpKind::Republish(stream)), commands);
        Ok(())
    }

    /// `near` is the stream's transport so far, if it had one: its subscribers are there.
    fn new_stream(
        &self,
        turn: &mut Turn<'_>,
        participant: &str,
        (id, description): (String, StreamDescription),
        publication: Publication,
        near: Option<u64>,
    ) -> (Stream, Vec<Command>) {
        let label = label(&self.id, participant, &id);
        let transport = turn.ids.number();
        let mut commands = vec![create(transport, &publication.ice, Some(publication.remote), &label, near)];
        let tracks: Vec<_> = publication.tracks.into_iter().map(|track| stream_track(turn, track)).collect();
        commands.extend(tracks.iter().flat_map(|track| command::publish(track, transport, &label)));
        let to = Destination { transport, stream: &id, label: &label };
        for echo in &publication.echo {
            if let Some(track) = tracks.get(echo.source) {
                commands.push(command::subscribe(turn.ids.number(), track, echo, &to));
            }
        }
        (Stream { id, created_at: turn.now_ms, description, transport, tracks }, commands)
    }

    /// Puts a stream on its new transport and running subscriptions on its new tracks, and takes the old transport
    /// away.
    pub(crate) fn splice(&mut self, turn: &mut Turn<'_>, publisher: &str, mut stream: Stream) {
        let (name, tracks) = (stream.id.clone(), stream.tracks.clone());
        // It may have been described anew while the data plane worked.
        if let Some(old) = self.roster.get(publisher).and_then(|p| p.stream.as_ref()) {
            stream.description = old.description.clone();
        }
        let old = self.roster.set_stream(publisher, stream);
        let mut commands = Vec::new();
        let mut outdated = Vec::new();
        for receiver in self.roster.ids(|p| p.subscriptions.get(&name).is_some()) {
            let Some(participant) = self.roster.receiver_mut(&receiver, &name) else { continue };
            let Some(subscription) = participant.subscriptions.get_mut(&name) else { continue };
            subscription.follow(&tracks, &mut commands);
            if subscription.outdated {
                outdated.push(participant.id.clone());
            }
        }
        if let Some(old) = old {
            if self.under_way.contains_key(&old.transport) {
                self.replaced.insert(old.transport, old);
            } else {
                commands.extend(removal(&old));
            }
        }
        turn.clean_up(commands);
        for participant in outdated {
            let (publisher, stream) = (publisher.to_owned(), name.clone());
            turn.effects.push(Effect::Reoffer { participant, publisher, stream });
        }
    }

    pub(crate) fn unpublish(&mut self, turn: &mut Turn<'_>, id: &str) -> Result<(), Error> {
        if self.known(id)?.stream.is_none() {
            return Err(Error::NotPublishing(id.to_owned()));
        }
        self.end_stream(turn, id, EndReason::Unpublished);
        turn.reply(Ok(Reply::Done));
        let notice = Notice::Unpublished { participant: id.to_owned(), reason: EndReason::Unpublished };
        turn.notify(self.everyone_but(id), notice);
        Ok(())
    }

    pub(crate) fn force_unpublish(&mut self, turn: &mut Turn<'_>, by: Option<&str>, stream: &str) -> Result<(), Error> {
        let reason = match by {
            Some(moderator) if !self.known(moderator)?.may(Role::Moderator) => return Err(Error::Forbidden),
            Some(_) => EndReason::UnpublishedByModerator,
            None => EndReason::UnpublishedByApplication,
        };
        let publisher = self.publisher_of(stream).ok_or_else(|| Error::UnknownStream(stream.to_owned()))?;
        let participant = publisher.id.clone();
        self.end_stream(turn, &participant, reason);
        turn.reply(Ok(Reply::Done));
        turn.notify(self.everyone(), Notice::Unpublished { participant, reason });
        Ok(())
    }

    /// Ends the stream of a participant, if any, with all subscriptions to it; tells no participant.
    pub(crate) fn end_stream(&mut self, turn: &mut Turn<'_>, id: &str, reason: EndReason) {
        self.ended_sending(turn, id, reason);
        let Some(stream) = self.roster.take_stream(id) else { return };
        let mut commands: Vec<_> = removal(&stream).collect();
        if let Some(publisher) = self.roster.passing_mut(id) {
            publisher.publishing = None;
        }
        for receiver in self.roster.ids(|p| p.has_part_in(&stream.id)) {
            let receiver = self.roster.receiver_mut(&receiver, &stream.id);
            commands.extend(receiver.into_iter().flat_map(|receiver| receiver.forget(&stream.id)).map(remove));
        }
        turn.clean_up(commands);
    }
}

fn stream_track(turn: &mut Turn<'_>, mut spec: PublishedTrack) -> StreamTrack {
    spec.rids.truncate(MAX_LAYERS);
    let lowest = turn.ids.number();
    let higher = spec.rids.iter().skip(1).map(|_| turn.ids.number()).collect();
    StreamTrack { lowest, higher, spec }
}
