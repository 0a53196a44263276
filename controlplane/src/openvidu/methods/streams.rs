//! Publishing and subscribing: SDP in, SDP out, and the room between.

use std::sync::Arc;

use controlplane_room::{
    Error, IceCredentials, Input, Publication, PublishedTrack, Reply, Role, StreamDescription, SubscribedTrack,
    Subscription, cname,
};
use serde_json::{Map, Value};

use super::Seated;
use crate::config::{ForcedVideoCodec, MediaServer};
use crate::openvidu::compat::{self, code};
use crate::openvidu::room::Inner;
use crate::openvidu::rpc::Failure;
use crate::sdp::{
    self, LocalTransport, Policy, PublishPlan, PublishedMedia, SdpError, SubscribePlan, VideoCodec, accept_answer,
    answer_publish, answer_subscribe, negotiate_publish, negotiate_subscribe, offer_subscribe,
};

/// A remote stream that somebody wants to receive.
struct Remote {
    owner: String,
    stream: String,
    media: Arc<Vec<PublishedMedia>>,
}

impl Seated<'_> {
    pub(super) async fn publish(&self) -> Result<(), Failure> {
        let request = self.call.request;
        let offer = request.text("sdpOffer")?;
        request.flag("doLoopback")?;
        let description = StreamDescription {
            has_audio: request.flag("hasAudio")?,
            has_video: request.flag("hasVideo")?,
            audio_active: request.optional_flag("audioActive"),
            video_active: request.optional_flag("videoActive"),
            type_of_video: request.optional_text("typeOfVideo").map(str::to_owned),
            frame_rate: request.params.get("frameRate").and_then(Value::as_f64).map(|rate| rate as i64),
            video_dimensions: request.optional_text("videoDimensions").map(str::to_owned),
        };
        self.require(Role::Publisher, "publish video")?;
        let already = self.room.lock().room.participant(self.me).is_some_and(|me| me.stream.is_some());
        if already {
            return Err(self.already_publishing());
        }
        if request.params.get("filter").and_then(Value::as_object).is_some_and(|filter| !filter.is_empty()) {
            return Err(Failure::thrown(
                code::FILTER_NOT_APPLIED,
                "'filter' parameter wrong: this server has no filters",
            ));
        }
        let (plan, publication, answer) = self.negotiate(offer)?;
        let input = Input::Publish { participant: self.me.to_owned(), description, publication };
        self.run_publication(input, plan, answer).await?;
        tracing::info!(session = self.room.id, connection = self.me, "stream published");
        Ok(())
    }

    async fn republish(&self, offer: &str) -> Result<(), Failure> {
        let (plan, publication, answer) = self.negotiate(offer)?;
        self.run_publication(Input::Republish { participant: self.me.to_owned(), publication }, plan, answer).await
    }

    /// Our answer to a publisher's offer, and what the data plane is to do for it.
    fn negotiate(&self, offer: &str) -> Result<(PublishPlan, Publication, String), Failure> {
        let policy = Policy {
            forced_video_codec: self.forced_codec(),
            max_video_receive_kbps: self.call.hub.settings.max_receive_kbps,
            loopback: false,
        };
        let plan = negotiate_publish(offer, &policy, &mut compat::ssrc).map_err(|error| {
            self.sdp_failure(&error, format!("Error generating SDP response for publishing user {}", self.me))
        })?;
        let (ice, local) = self.local().ok_or_else(|| self.no_endpoint("publisher"))?;
        let answer = answer_publish(&plan, &local);
        let tracks = plan.media.iter().map(published_track).collect();
        let publication = Publication { ice, remote: plan.remote.clone(), tracks, echo: Vec::new() };
        Ok((plan, publication, answer))
    }

    async fn run_publication(&self, input: Input, plan: PublishPlan, answer: String) -> Result<(), Failure> {
        let media = Arc::new(plan.media);
        let mut respond = |inner: &mut Inner, reply: &Reply| {
            let Reply::Published { stream, created_at } = reply else { return };
            inner.published.insert(stream.clone(), media.clone());
            let mut result = Map::new();
            result.insert("sdpAnswer".into(), answer.clone().into());
            result.insert("id".into(), stream.clone().into());
            result.insert("createdAt".into(), (*created_at).into());
            self.succeed(result);
        };
        let outcome = self.call.hub.perform(self.room, input, &mut respond).await;
        outcome.map(|_| ()).map_err(|error| {
            self.common(error, |error| match error {
                Error::Forbidden => {
                    Failure::thrown(code::UNAUTHORIZED, "Unable to publish video. The user does not have a valid token")
                }
                Error::AlreadyPublishing(_) => self.already_publishing(),
                Error::NotPublishing(_) => self.not_streaming(),
                error => {
                    tracing::warn!(session = self.room.id, connection = self.me, %error, "publishing failed");
                    self.no_endpoint("publisher")
                }
            })
        })
    }

    pub(super) async fn unpublish(&self) -> Result<(), Failure> {
        let input = Input::Unpublish { participant: self.me.to_owned() };
        self.perform(input, |error| match error {
            Error::NotPublishing(_) => self.not_streaming(),
            other => Failure::thrown(code::GENERIC, other.to_string()),
        })
        .await
    }

    pub(super) async fn prepare_receive(&self) -> Result<(), Failure> {
        let remote = self.remote(self.call.request.text("sender")?)?;
        let (ice, local) = self.local().ok_or_else(|| self.no_endpoint("subscriber"))?;
        let name = cname(&remote.stream);
        let (offer, plan) = offer_subscribe(&remote.media, &local, name, &remote.stream, &mut compat::ssrc);
        let (participant, stream) = (self.me.to_owned(), remote.stream.clone());
        let key = (participant.clone(), stream.clone());
        let mut waiting = Some(plan);
        let input = Input::PrepareSubscribe { participant, stream, ice };
        let mut respond = |inner: &mut Inner, _: &Reply| {
            if let Some(plan) = waiting.take() {
                inner.offers.insert(key.clone(), plan);
            }
            let mut result = Map::new();
            result.insert("sdpOffer".into(), offer.clone().into());
            self.succeed(result);
        };
        let outcome = self.call.hub.perform(self.room, input, &mut respond).await;
        outcome.map(|_| ()).map_err(|error| self.subscribe_failure(error, &remote))
    }

    pub(super) async fn receive(&self) -> Result<(), Failure> {
        let request = self.call.request;
        let sender = request.text("sender")?;
        match (request.optional_text("sdpOffer"), request.optional_text("sdpAnswer")) {
            (Some(offer), _) => self.receive_offer(sender, offer).await,
            (None, Some(answer)) => self.receive_answer(sender, answer).await,
            (None, None) => Err(Failure::missing(&request.method, "sdpOffer")),
        }
    }

    pub(super) async fn reconnect_stream(&self) -> Result<(), Failure> {
        let request = self.call.request;
        let stream = request.text("stream")?;
        let (text, offer) = (request.optional_text("sdpString"), request.optional_text("sdpOffer"));
        let own = self.room.lock().room.publisher_of(stream).map(|publisher| publisher.id == self.me);
        match (own, offer, text) {
            (None, ..) => Err(Failure::answered(
                code::NOT_STREAMING,
                format!("Stream '{stream}' does not exist in Session '{}'", self.room.id),
            )),
            (Some(true), offer, text) => {
                let offer = offer.or(text).ok_or_else(|| Failure::missing(&request.method, "sdpString"))?;
                self.republish(offer).await
            }
            (Some(false), Some(offer), _) => self.receive_offer(stream, offer).await,
            (Some(false), None, Some(answer)) => self.receive_answer(stream, answer).await,
            (Some(false), None, None) => Err(Failure::missing(&request.method, "sdpString")),
        }
    }

    /// The client offers, we answer.
    async fn receive_offer(&self, sender: &str, offer: &str) -> Result<(), Failure> {
        let remote = self.remote(sender)?;
        let plan = negotiate_subscribe(offer, &remote.media, &mut compat::ssrc)
            .map_err(|error| self.sdp_failure(&error, self.no_answer(&remote)))?;
        let (ice, local) = self.local().ok_or_else(|| self.no_endpoint("subscriber"))?;
        let answer = answer_subscribe(&plan, &local, cname(&remote.stream), &remote.stream);
        let subscription = subscription(plan, Some(ice), || self.no_remote(&remote))?;
        let mut result = Map::new();
        result.insert("sdpAnswer".into(), answer.into());
        self.run_subscription(&remote, subscription, result).await
    }

    /// We offered, the client answers.
    async fn receive_answer(&self, sender: &str, answer: &str) -> Result<(), Failure> {
        let remote = self.remote(sender)?;
        let offered = self.room.lock().offers.remove(&(self.me.to_owned(), remote.stream.clone()));
        let offered = offered.ok_or_else(|| self.no_remote(&remote))?;
        let plan =
            accept_answer(&offered, answer).map_err(|error| self.sdp_failure(&error, self.no_answer(&remote)))?;
        let subscription = subscription(plan, None, || self.no_remote(&remote))?;
        self.run_subscription(&remote, subscription, Map::new()).await
    }

    async fn run_subscription(
        &self,
        remote: &Remote,
        subscription: Subscription,
        result: Map<String, Value>,
    ) -> Result<(), Failure> {
        let (participant, stream) = (self.me.to_owned(), remote.stream.clone());
        let input = Input::Subscribe { participant, stream, subscription };
        let mut respond = |_: &mut Inner, _: &Reply| self.succeed(result.clone());
        let outcome = self.call.hub.perform(self.room, input, &mut respond).await;
        outcome.map(|_| ()).map_err(|error| self.subscribe_failure(error, remote))
    }

    pub(super) async fn unsubscribe(&self) -> Result<(), Failure> {
        let publisher = self.call.request.text("sender")?.to_owned();
        let input = Input::Unsubscribe { participant: self.me.to_owned(), publisher };
        self.perform(input, |error| match error {
            Error::UnknownParticipant(id) => self.no_user(&id),
            other => Failure::thrown(code::GENERIC, other.to_string()),
        })
        .await
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
        let media = stream.and_then(|stream| inner.published.get(&stream.id)).cloned();
        let media = media.ok_or_else(|| self.owner_not_streaming(owner))?;
        if owner == self.me {
            return Err(Failure::answered(code::NOT_STREAMING, "Can loopback only when publishing media"));
        }
        Ok(Remote { owner: owner.to_owned(), stream: sender.to_owned(), media })
    }

    /// The data plane's end of a new transport.
    fn local(&self) -> Option<(IceCredentials, LocalTransport)> {
        let ice = compat::ice_credentials();
        let local = self.call.hub.media.local(&ice)?;
        Some((ice, local))
    }

    fn forced_codec(&self) -> Option<VideoCodec> {
        let codec = ForcedVideoCodec::from_name(&self.room.properties.forced_video_codec).unwrap_or_default();
        let kurento = self.call.hub.settings.media_server == MediaServer::Kurento.name();
        codec.resolve(if kurento { MediaServer::Kurento } else { MediaServer::Mediasoup })
    }

    fn sdp_failure(&self, error: &SdpError, what: String) -> Failure {
        tracing::debug!(session = self.room.id, connection = self.me, %error, "SDP refused");
        if error.is_codec_mismatch() {
            return Failure::thrown(code::FORCED_CODEC, error.to_string());
        }
        Failure::answered(code::SDP, format!("{what}: {error}"))
    }

    fn no_answer(&self, remote: &Remote) -> String {
        format!("Unable to generate SDP answer when subscribing '{}' to '{}'", self.me, remote.owner)
    }

    fn no_remote(&self, remote: &Remote) -> Failure {
        Failure::answered(code::SDP, format!("{}: there was no offer to answer", self.no_answer(remote)))
    }

    fn subscribe_failure(&self, error: Error, remote: &Remote) -> Failure {
        self.common(error, |error| match error {
            Error::UnknownStream(_) | Error::NotPublishing(_) => self.owner_not_streaming(&remote.owner),
            Error::NotPrepared(_) => self.no_remote(remote),
            error => {
                tracing::warn!(session = self.room.id, connection = self.me, %error, "subscribing failed");
                self.no_endpoint("subscriber")
            }
        })
    }

    fn owner_not_streaming(&self, owner: &str) -> Failure {
        let text = format!("User '{owner} not streaming media in session '{}'", self.room.id);
        Failure::answered(code::NOT_STREAMING, text)
    }

    fn already_publishing(&self) -> Failure {
        let text = format!("User {} is already publishing in session {}", self.me, self.room.id);
        Failure::thrown(code::ALREADY_STREAMING, text)
    }

    fn not_streaming(&self) -> Failure {
        Failure::answered(code::NOT_STREAMING, format!("Participant '{}' is not streaming media", self.me))
    }

    fn no_endpoint(&self, which: &str) -> Failure {
        let text = format!("Unable to create {which} endpoint");
        if which == "publisher" {
            Failure::thrown(code::ENDPOINT, text)
        } else {
            Failure::answered(code::ENDPOINT, text)
        }
    }
}

fn published_track(media: &PublishedMedia) -> PublishedTrack {
    PublishedTrack {
        kind: media.kind,
        mid: media.mid.clone(),
        codec: media.codec.clone(),
        ssrc: media.ssrc,
        rtx_ssrc: media.rtx_ssrc,
        extensions: media.extensions.clone(),
        rids: media.rids.clone(),
        max_bitrate_bps: 0,
    }
}

fn subscribed_track(media: &sdp::SubscribedMedia) -> SubscribedTrack {
    SubscribedTrack {
        source: media.source,
        mid: media.mid.clone(),
        codec: media.codec.clone(),
        ssrc: media.ssrc,
        rtx_ssrc: media.rtx_ssrc,
        extensions: media.extensions.clone(),
    }
}

fn subscription(
    plan: SubscribePlan,
    ice: Option<IceCredentials>,
    missing: impl FnOnce() -> Failure,
) -> Result<Subscription, Failure> {
    let tracks = plan.media.iter().map(subscribed_track).collect();
    let remote = plan.remote.ok_or_else(missing)?;
    Ok(Subscription { ice, remote, tracks })
}
