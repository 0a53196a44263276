//! Subscriptions: how participants begin and cease to receive streams.

use crate::command::{self, Destination, create, remove, set_remote};
use crate::effect::{Effect, EndReason, Reply};
use crate::error::Error;
use crate::input::{IceCredentials, Subscription};
use crate::media::{Op, OpKind};
use crate::participant::{Participant, Stream};
use crate::room::{Room, Turn};
use crate::subscriptions::SubscriptionState;
use crate::view::label;

impl Room {
    pub(crate) fn prepare(
        &mut self,
        turn: &mut Turn<'_>,
        id: &str,
        stream: String,
        ice: &IceCredentials,
    ) -> Result<(), Error> {
        let publisher = self.receivable(id, &stream)?.1.transport;
        self.drop_own(turn, id, &stream);
        let transport = turn.ids.number();
        let commands = vec![create(transport, ice, None, &label(&self.id, id, &stream), Some(publisher))];
        self.start(turn, Op::new(id, OpKind::Prepare { stream, transport }), commands);
        Ok(())
    }

    pub(crate) fn subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        id: &str,
        name: String,
        subscription: Subscription,
    ) -> Result<(), Error> {
        let publisher = self.receivable(id, &name)?.1.transport;
        let label = label(&self.id, id, &name);
        let (transport, first) = match &subscription.ice {
            Some(ice) => {
                self.drop_own(turn, id, &name);
                let transport = turn.ids.number();
                (transport, create(transport, ice, Some(subscription.remote), &label, Some(publisher)))
            }
            None => {
                let prepared = self.roster.receiver_mut(id, &name).and_then(|p| p.prepared.remove(&name));
                let transport = prepared.ok_or_else(|| Error::NotPrepared(name.clone()))?;
                (transport, set_remote(transport, subscription.remote))
            }
        };
        let (_, stream) = self.receivable(id, &name)?;
        let to = Destination { transport, stream: &name, label: &label };
        let wanted = subscription.tracks.len();
        let mut commands = vec![first];
        let mut tracks = Vec::with_capacity(wanted);
        for track in subscription.tracks {
            // Its stream may look different than when this was negotiated.
            let source = stream.tracks.get(track.source).filter(|source| source.carries(&track.codec));
            let Some(source) = source else { continue };
            let number = turn.ids.number();
            commands.push(command::subscribe(number, source, &track, &to));
            tracks.push((number, track));
        }
        let (source, outdated) = (stream.transport, tracks.len() < wanted);
        let subscription = SubscriptionState { stream: name, created_at: turn.now_ms, transport, tracks, outdated };
        self.start(turn, Op::new(id, OpKind::Subscribe { subscription, source }), commands);
        Ok(())
    }

    /// The data plane has made a subscription. If its stream has moved meanwhile, it follows.
    pub(crate) fn subscribed(
        &mut self,
        turn: &mut Turn<'_>,
        id: String,
        mut subscription: SubscriptionState,
        source: u64,
    ) {
        turn.reply(Ok(Reply::Subscribed));
        let mut commands = Vec::new();
        let name = subscription.stream.clone();
        let mut publisher = None;
        if let Some((owner, stream)) = self.published(&name) {
            if stream.transport != source {
                subscription.follow(&stream.tracks, &mut commands);
            }
            publisher = subscription.outdated.then(|| owner.id.clone());
        }
        if let Some(participant) = self.roster.receiver_mut(&id, &name) {
            let before = participant.subscriptions.insert(subscription);
            commands.extend(before.map(|before| remove(before.transport)));
        }
        turn.clean_up(commands);
        self.began_receiving(turn, &id, &name);
        if let Some(publisher) = publisher {
            turn.effects.push(Effect::Reoffer { participant: id, publisher, stream: name });
        }
    }

    pub(crate) fn unsubscribe(&mut self, turn: &mut Turn<'_>, id: &str, publisher: &str) -> Result<(), Error> {
        self.known(id)?;
        let stream = self.known(publisher)?.stream.as_ref().map(|s| s.id.clone());
        if let Some(stream) = stream {
            self.ended_receiving(turn, id, &stream, EndReason::Unsubscribed);
            self.drop_own(turn, id, &stream);
        }
        turn.reply(Ok(Reply::Done));
        Ok(())
    }

    /// A stream that somebody else publishes, for a participant.
    fn receivable(&self, id: &str, stream: &str) -> Result<(&Participant, &Stream), Error> {
        self.known(id)?;
        let (publisher, stream) = self.published(stream).ok_or_else(|| Error::UnknownStream(stream.to_owned()))?;
        if publisher.id == id { Err(Error::OwnStream) } else { Ok((publisher, stream)) }
    }

    fn published(&self, stream: &str) -> Option<(&Participant, &Stream)> {
        let publisher = self.publisher_of(stream)?;
        Some((publisher, publisher.stream.as_ref()?))
    }

    /// Ends a participant's own subscription or offer of a stream, silently.
    fn drop_own(&mut self, turn: &mut Turn<'_>, id: &str, stream: &str) {
        if let Some(participant) = self.roster.receiver_mut(id, stream) {
            turn.clean_up(participant.forget(stream).map(remove).collect());
        }
    }
}
