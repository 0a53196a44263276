//! Subscribing, with the client's offer or ours, and taking streams up again.

use std::sync::Arc;

use controlplane_room::{Error, Input, Reply, Subscription, cname};
use serde_json::{Map, json};

use super::Seated;
use super::sdp::{local, subscribed_track};
use crate::openvidu::compat::{self, code};
use crate::openvidu::hub::Hub;
use crate::openvidu::room::{Inner, Reoffer, RoomHandle};
use crate::openvidu::rpc::{self, Failure, Shape};
use crate::sdp::{
    PublishedMedia, SubscribePlan, accept_answer, answer_subscribe, negotiate_subscribe, offer_subscribe,
};

/// A remote stream that somebody wants to receive.
struct Remote {
    owner: String,
    stream: String,
    media: Arc<Vec<PublishedMedia>>,
}

/// Offers a subscription anew that cannot follow its stream, which the client takes for the order to replace its peer
/// connection. One that does not answer keeps its seat, and its silence.
pub(in crate::openvidu) async fn reoffer(hub: &Arc<Hub>, room: &Arc<RoomHandle>, wanted: Reoffer) {
    let Reoffer { participant, publisher, stream } = wanted;
    let media = room.lock().published.get(&stream).map(|published| published.media.clone());
    let (Some(media), Some((ice, local))) = (media, local(hub)) else { return };
    let (offer, plan) = offer_subscribe(&media, &local, cname(&stream), &stream, &mut compat::ssrc);
    let params = json!({"connectionId": publisher, "streamId": stream, "sdpOffer": offer});
    let text = rpc::notification("forciblyReconnectSubscriber", params).into();
    let mut waiting = Some((plan, text));
    let mut respond = |inner: &mut Inner, _: &Reply| {
        if let Some((plan, text)) = waiting.take() {
            inner.keep_offer(&participant, &stream, plan);
            inner.endpoints.local(&participant, &publisher, &offer);
            inner.notify(&hub.journal, vec![participant.clone()], text);
        }
    };
    let input = Input::PrepareSubscribe { participant: participant.clone(), stream: stream.clone(), ice };
    match hub.perform(room, input, &mut respond).await {
        Ok(_) => tracing::info!(session = room.id, connection = participant, stream, "subscription offered anew"),
        Err(error) => {
            tracing::warn!(session = room.id, connection = participant, stream, %error, "no new offer could be made");
        }
    }
}

impl Seated<'_> {
    pub(super) async fn prepare_receive(&self) -> Result<(), Failure> {
        let request = self.call.request;
        let sender = request.text("sender")?;
        // Whether it is said or not: an earlier subscription to the same stream is dropped.
        request.flag("reconnect")?;
        let remote = self.remote(&sender)?;
        let (ice, local) = local(self.call.hub).ok_or_else(no_endpoint)?;
        let name = cname(&remote.stream);
        let (offer, plan) = offer_subscribe(&remote.media, &local, name, &remote.stream, &mut compat::ssrc);
        let mut waiting = Some(plan);
        let mut respond = |inner: &mut Inner, _: &Reply| {
            if let Some(plan) = waiting.take() {
                inner.keep_offer(self.me, &remote.stream, plan);
                inner.endpoints.local(self.me, &remote.owner, &offer);
            }
            let mut result = Map::new();
            result.insert("sdpOffer".into(), offer.clone().into());
            self.answer(inner, result);
        };
        let input = Input::PrepareSubscribe { participant: self.me.to_owned(), stream: remote.stream.clone(), ice };
        let outcome = self.call.hub.perform(self.room, input, &mut respond).await;
        outcome.map(|_| ()).map_err(|error| self.subscribe_failure(error, &remote, "offer"))
    }

    pub(super) async fn receive(&self) -> Result<(), Failure> {
        let request = self.call.request;
        let sender = request.text("sender")?;
        match (request.optional_text("sdpOffer")?, request.optional_text("sdpAnswer")?) {
            (Some(offer), _) => self.receive_offer(&sender, &offer).await,
            (None, Some(answer)) => self.receive_answer(&sender, &answer).await,
            (None, None) => Err(Failure::missing(&request.method, "sdpOffer")),
        }
    }

    pub(super) async fn reconnect_stream(&self) -> Result<(), Failure> {
        let request = self.call.request;
        let stream = request.text("stream")?;
        let (text, offer) = (request.optional_text("sdpString")?, request.optional_text("sdpOffer")?);
        request.optional_flag("forciblyReconnect")?;
        let missing = || Failure::missing(&request.method, "sdpString");
        let publisher = self.room.lock().room.publisher_of(&stream).map(|publisher| publisher.id.clone());
        match publisher {
            Some(publisher) if publisher == self.me => {
                let offer = offer.or(text).ok_or_else(missing)?;
                self.republish(&stream, &offer).await
            }
            Some(_) => match (offer, text) {
                (Some(offer), _) => self.receive_offer(&stream, &offer).await,
                (None, Some(answer)) => self.receive_answer(&stream, &answer).await,
                (None, None) => Err(missing()),
            },
            None if compat::stream_owner(&stream) == Some(self.me)
                && self.call.session.has_published.get().is_none() =>
            {
                Err(self.never_published())
            }
            None => {
                let text = format!("Stream '{stream}' does not exist in Session '{}'", self.room.id);
                Err(Failure::answered(code::NOT_STREAMING, text))
            }
        }
    }

    pub(super) async fn unsubscribe(&self) -> Result<(), Failure> {
        let publisher = self.call.request.text("sender")?.into_owned();
        let input = Input::Unsubscribe { participant: self.me.to_owned(), publisher };
        self.perform(input, |error| match error {
            Error::UnknownParticipant(id) => self.no_user(&id),
            other => Failure::thrown(code::GENERIC, other.to_string()),
        })
        .await
    }

    /// The client offers, we answer.
    async fn receive_offer(&self, sender: &str, offer: &str) -> Result<(), Failure> {
        let remote = self.remote(sender)?;
        let plan = negotiate_subscribe(compat::session_description(offer), &remote.media, &mut compat::ssrc)
            .map_err(|error| self.sdp_failure(&error, Shape::R, &self.no_sdp(&remote, "answer")))?;
        let (ice, local) = local(self.call.hub).ok_or_else(no_endpoint)?;
        let answer = answer_subscribe(&plan, &local, cname(&remote.stream), &remote.stream);
        let subscription = Subscription { ice: Some(ice), ..self.subscription(plan, &remote)? };
        self.run_subscription(&remote, subscription, offer, Some(answer)).await
    }

    /// We offered, the client answers.
    async fn receive_answer(&self, sender: &str, answer: &str) -> Result<(), Failure> {
        let remote = self.remote(sender)?;
        let offered = self.room.lock().take_offer(self.me, &remote.stream);
        let offered = offered.ok_or_else(|| self.no_offer(&remote))?;
        let plan = accept_answer(&offered, compat::session_description(answer))
            .map_err(|error| self.sdp_failure(&error, Shape::R, &self.no_sdp(&remote, "answer")))?;
        let subscription = self.subscription(plan, &remote)?;
        self.run_subscription(&remote, subscription, answer, None).await
    }

    async fn run_subscription(
        &self,
        remote: &Remote,
        subscription: Subscription,
        said: &str,
        answer: Option<String>,
    ) -> Result<(), Failure> {
        let (participant, stream) = (self.me.to_owned(), remote.stream.clone());
        let input = Input::Subscribe { participant, stream, subscription };
        let mut respond = |inner: &mut Inner, _: &Reply| {
            let mut result = Map::new();
            inner.endpoints.remote(self.me, &remote.owner, said);
            if let Some(answer) = &answer {
                inner.endpoints.local(self.me, &remote.owner, answer);
                result.insert("sdpAnswer".into(), answer.clone().into());
            }
            self.answer(inner, result);
        };
        let outcome = self.call.hub.perform(self.room, input, &mut respond).await;
        outcome.map(|_| ()).map_err(|error| self.subscribe_failure(error, remote, "answer"))
    }

    /// A negotiated subscription over the transport that the offer named.
    fn subscription(&self, plan: SubscribePlan, remote: &Remote) -> Result<Subscription, Failure> {
        let tracks = plan.media.iter().map(subscribed_track).collect();
        let remote = plan.remote.ok_or_else(|| self.no_offer(remote))?;
        Ok(Subscription { ice: None, remote, tracks })
    }

    /// The stream that a subscriber names.
    fn remote(&self, sender: &str) -> Result<Remote, Failure> {
        let inner = self.room.lock();
        let owner = compat::stream_owner(sender).unwrap_or(sender);
        let participant = inner.room.participant(owner).ok_or_else(|| {
            let text = format!("User '{owner} not found in session '{}'", self.room.id);
            Failure::answered(code::USER_NOT_FOUND, text)
        })?;
        let stream = participant.stream.as_ref().filter(|stream| stream.id == sender);
        let published = stream.and_then(|stream| inner.published.get(&stream.id));
        let media = published.map(|published| published.media.clone());
        let media = media.ok_or_else(|| self.owner_not_streaming(owner))?;
        if owner == self.me {
            return Err(Failure::answered(code::NOT_STREAMING, "Can loopback only when publishing media"));
        }
        Ok(Remote { owner: owner.to_owned(), stream: sender.to_owned(), media })
    }

    /// `what`: `offer` or `answer`.
    fn no_sdp(&self, remote: &Remote, what: &str) -> String {
        format!("Unable to generate SDP {what} when subscribing '{}' to '{}'", self.me, remote.owner)
    }

    fn no_offer(&self, remote: &Remote) -> Failure {
        Failure::answered(code::SDP, format!("{}: there was no offer to answer", self.no_sdp(remote, "answer")))
    }

    fn subscribe_failure(&self, error: Error, remote: &Remote, what: &str) -> Failure {
        self.common(error, |error| match error {
            Error::UnknownStream(_) | Error::NotPublishing(_) => self.owner_not_streaming(&remote.owner),
            Error::NotPrepared(_) => self.no_offer(remote),
            Error::Overtaken => Failure::answered(code::SDP, format!("{}: {error}", self.no_sdp(remote, what))),
            error => {
                tracing::warn!(session = self.room.id, connection = self.me, %error, "subscribing failed");
                no_endpoint()
            }
        })
    }

    fn owner_not_streaming(&self, owner: &str) -> Failure {
        let text = format!("User '{owner} not streaming media in session '{}'", self.room.id);
        Failure::answered(code::NOT_STREAMING, text)
    }
}

fn no_endpoint() -> Failure {
    Failure::answered(code::ENDPOINT, "Unable to create subscriber endpoint")
}
