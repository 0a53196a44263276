//! Publishing: the client's offer, our answer, and the room between.

use std::sync::Arc;

use controlplane_room::{Error, Input, Publication, Reply, Role, StreamDescription};
use dataplane_protocol::MediaKind;
use serde_json::{Map, Value};

use super::Seated;
use super::sdp::{local, published_track, subscribed_track};
use crate::config::{ForcedVideoCodec, MediaServer};
use crate::openvidu::compat::{self, code};
use crate::openvidu::room::{Inner, Negotiated};
use crate::openvidu::rpc::{Failure, Shape};
use crate::sdp::{Policy, PublishPlan, VideoCodec, answer_publish, negotiate_publish};

impl Seated<'_> {
    pub(super) async fn publish(&self) -> Result<(), Failure> {
        let request = self.call.request;
        let offer = request.text("sdpOffer")?;
        let loopback = request.flag("doLoopback")?;
        let mut description = StreamDescription {
            has_audio: request.flag("hasAudio")?,
            has_video: request.flag("hasVideo")?,
            audio_active: request.optional_flag("audioActive")?,
            video_active: request.optional_flag("videoActive")?,
            type_of_video: request.optional_text("typeOfVideo")?.map(String::from),
            frame_rate: request.optional_integer("frameRate")?,
            video_dimensions: request.optional_text("videoDimensions")?.map(String::from),
        };
        if !description.has_audio && !description.has_video {
            return Err(Failure::unexpected("A stream needs audio or video"));
        }
        self.require(Role::Publisher, "publish video")?;
        self.check_can_publish()?;
        check_filter(request.params.get("filter"))?;
        let (plan, publication, answer) = self.negotiate(&offer, loopback, Shape::T)?;
        // Subscribers fail when they are promised a kind of media that no m-line brings.
        let is_negotiated = |kind| plan.media.iter().any(|media| media.kind == kind);
        description.has_audio &= is_negotiated(MediaKind::Audio);
        description.has_video &= is_negotiated(MediaKind::Video);
        let input = Input::Publish { participant: self.me.to_owned(), description, publication };
        self.run_publication(input, plan, (&offer, answer), loopback, Shape::T).await?;
        tracing::info!(session = self.room.id, connection = self.me, "stream published");
        Ok(())
    }

    /// A publisher's stream over a new transport.
    pub(super) async fn republish(&self, stream: &str, offer: &str) -> Result<(), Failure> {
        let loopback = self.room.lock().published.get(stream).is_some_and(|before| before.loopback);
        let (plan, publication, answer) = self.negotiate(offer, loopback, Shape::R)?;
        let input = Input::Republish { participant: self.me.to_owned(), publication };
        self.run_publication(input, plan, (offer, answer), loopback, Shape::R).await
    }

    pub(super) async fn unpublish(&self) -> Result<(), Failure> {
        let input = Input::Unpublish { participant: self.me.to_owned() };
        self.perform(input, |error| match error {
            Error::NotPublishing(_) => self.not_streaming(),
            other => Failure::thrown(code::GENERIC, other.to_string()),
        })
        .await
    }

    fn check_can_publish(&self) -> Result<(), Failure> {
        let inner = self.room.lock();
        let me = inner.room.participant(self.me).ok_or_else(|| self.no_user(self.me))?;
        if me.hidden.is_some() {
            return Err(Failure::unexpected(format!("Participant '{}' has no publisher endpoint", self.me)));
        }
        if me.stream.is_some() { Err(self.already_publishing()) } else { Ok(()) }
    }

    /// Our answer to a publisher's offer, and what the data plane is to do for it.
    fn negotiate(
        &self,
        offer: &str,
        loopback: bool,
        shape: Shape,
    ) -> Result<(PublishPlan, Publication, String), Failure> {
        let max_video_receive_kbps = self.call.hub.settings.max_receive_kbps;
        let policy = Policy { forced_video_codec: self.forced_codec(), max_video_receive_kbps, loopback };
        let plan =
            negotiate_publish(compat::session_description(offer), &policy, &mut compat::ssrc).map_err(|error| {
                let what = format!("Error generating SDP response for publishing user {}", self.me);
                self.sdp_failure(&error, shape, &what)
            })?;
        let (ice, local) = local(self.call.hub).ok_or_else(|| no_endpoint(shape))?;
        let answer = answer_publish(&plan, &local);
        let tracks = plan.media.iter().map(|media| published_track(media, max_video_receive_kbps)).collect();
        let echo = plan.echo.iter().map(subscribed_track).collect();
        let publication = Publication { ice, remote: plan.remote.clone(), tracks, echo };
        Ok((plan, publication, answer))
    }

    async fn run_publication(
        &self,
        input: Input,
        plan: PublishPlan,
        (offer, answer): (&str, String),
        loopback: bool,
        shape: Shape,
    ) -> Result<(), Failure> {
        let negotiated = Negotiated { media: Arc::new(plan.media), loopback };
        let mut respond = |inner: &mut Inner, reply: &Reply| {
            let Reply::Published { stream, created_at } = reply else { return };
            let _ = self.call.session.has_published.set(());
            inner.published.insert(stream.clone(), negotiated.clone());
            inner.endpoints.remote(self.me, self.me, offer);
            inner.endpoints.local(self.me, self.me, &answer);
            let mut result = Map::new();
            result.insert("sdpAnswer".into(), answer.clone().into());
            result.insert("id".into(), stream.clone().into());
            result.insert("createdAt".into(), (*created_at).into());
            self.answer(inner, result);
        };
        let outcome = self.call.hub.perform(self.room, input, &mut respond).await;
        outcome.map(|_| ()).map_err(|error| {
            self.common(error, |error| match error {
                Error::Forbidden => super::unauthorized("publish video"),
                Error::AlreadyPublishing(_) => self.already_publishing(),
                Error::NotPublishing(_) => self.not_streaming(),
                error => {
                    tracing::warn!(session = self.room.id, connection = self.me, %error, "publishing failed");
                    no_endpoint(shape)
                }
            })
        })
    }

    fn forced_codec(&self) -> Option<VideoCodec> {
        let codec = ForcedVideoCodec::from_name(&self.room.properties.forced_video_codec).unwrap_or_default();
        let kurento = self.call.hub.settings.media_server == MediaServer::Kurento.name();
        codec.resolve(if kurento { MediaServer::Kurento } else { MediaServer::Mediasoup })
    }

    fn already_publishing(&self) -> Failure {
        let text = format!("User {} is already publishing in session {}", self.me, self.room.id);
        Failure::thrown(code::ALREADY_STREAMING, text)
    }

    fn not_streaming(&self) -> Failure {
        Failure::answered(code::NOT_STREAMING, format!("Participant '{}' is not streaming media", self.me))
    }
}

fn no_endpoint(shape: Shape) -> Failure {
    Failure { shape, code: code::ENDPOINT, message: "Unable to create publisher endpoint".to_owned() }
}

/// A stream cannot be published with a filter.
fn check_filter(filter: Option<&Value>) -> Result<(), Failure> {
    let why = match filter {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(filter)) if filter.is_empty() => return Ok(()),
        Some(Value::Object(_)) => "this server has no filters",
        Some(_) => "it is no object",
    };
    Err(Failure::thrown(code::FILTER_NOT_APPLIED, format!("'filter' parameter wrong:{why}")))
}
