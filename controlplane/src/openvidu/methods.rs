//! What each signalling method does, in OpenVidu's words.

use std::sync::Arc;

use controlplane_room::{Admission, Error, Hidden, Input, Join, Origin, Reply, Role, StreamProperty};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::compat::{self, RECORDER, SPEECH_TO_TEXT, code};
use super::dto::{self, IceServer, JoinFacts};
use super::hub::Hub;
use super::rest;
use super::room::{Inner, RoomHandle};
use super::rpc::{self, Failure, Request};
use super::session::{RpcSession, Seat};

mod streams;

/// Methods that are counted by name; clients can send any other.
const METHODS: &[&str] = &[
    "joinRoom",
    "leaveRoom",
    "publishVideo",
    "unpublishVideo",
    "prepareReceiveVideoFrom",
    "receiveVideoFrom",
    "unsubscribeFromVideo",
    "reconnectStream",
    "sendMessage",
    "streamPropertyChanged",
    "forceDisconnect",
    "forceUnpublish",
    "onIceCandidate",
    "echo",
    "videoData",
];

/// One request under way.
struct Call<'a> {
    hub: &'a Arc<Hub>,
    session: &'a Arc<RpcSession>,
    request: &'a Request,
}

/// A request of somebody who is in a room.
struct Seated<'a> {
    call: &'a Call<'a>,
    room: &'a Arc<RoomHandle>,
    me: &'a str,
}

/// Works on one request and sees to it that it gets exactly one answer.
pub(super) async fn handle(hub: &Arc<Hub>, session: &Arc<RpcSession>, request: Request) {
    let call = Call { hub, session, request: &request };
    let result = match call.dispatch().await {
        Ok(()) => "ok".to_owned(),
        Err(failure) => {
            tracing::debug!(method = request.method, code = failure.code, "request refused");
            session.send(rpc::failure(&request.id, &failure, &session.id));
            failure.code.to_string()
        }
    };
    hub.metrics.signalling_request(known(&request.method), &result);
}

/// The name of a method for logs and metrics: clients can send any text.
pub(super) fn known(method: &str) -> &'static str {
    METHODS.iter().find(|known| **known == method).copied().unwrap_or("other")
}

impl Call<'_> {
    async fn dispatch(&self) -> Result<(), Failure> {
        if self.request.method == "joinRoom" {
            return self.join_room().await;
        }
        let Some(Seat { room, participant }) = self.session.seat.get() else { return Err(self.not_joined()) };
        let seated = Seated { call: self, room, me: participant };
        match self.request.method.as_str() {
            "leaveRoom" => seated.leave().await,
            "publishVideo" => seated.publish().await,
            "unpublishVideo" => seated.unpublish().await,
            "prepareReceiveVideoFrom" => seated.prepare_receive().await,
            "receiveVideoFrom" => seated.receive().await,
            "unsubscribeFromVideo" => seated.unsubscribe().await,
            "reconnectStream" => seated.reconnect_stream().await,
            "sendMessage" => seated.send_message().await,
            "streamPropertyChanged" => seated.stream_property_changed().await,
            "forceDisconnect" => seated.force_disconnect().await,
            "forceUnpublish" => seated.force_unpublish().await,
            // All candidates of this server are in its SDP, and it learns the client's from their checks.
            "onIceCandidate" | "echo" => seated.acknowledge(),
            "videoData" => seated.video_data(),
            "applyFilter" => {
                Err(Failure::thrown(code::FILTER_NOT_APPLIED, "Error applying filter: this server has none"))
            }
            "removeFilter" | "execFilterMethod" | "addFilterEventListener" | "removeFilterEventListener" => {
                Err(Failure::thrown(code::FILTER_NOT_APPLIED, "The stream has no filter applied"))
            }
            "subscribeToSpeechToText" | "unsubscribeFromSpeechToText" => {
                Err(Failure::answered(code::WRONG_EDITION, "Speech To Text requires OpenVidu Pro/Enterprise edition"))
            }
            method => {
                let text = format!("Unknown method '{method}'");
                self.session.send(rpc::protocol_error(&self.request.id, -32601, &text));
                Ok(())
            }
        }
    }

    fn not_joined(&self) -> Failure {
        let what = if self.session.join_tried.get().is_some() { "session information" } else { "connection" };
        Failure::thrown(
            code::TRANSPORT,
            format!(
                "No {what} found for participant with privateId {}. Method 'Session.connect()' must be the first \
                 operation called in any session",
                self.session.id
            ),
        )
    }

    async fn join_room(&self) -> Result<(), Failure> {
        let request = self.request;
        let (token, id) = (request.text("token")?, request.text("session")?);
        let (platform, metadata, secret) =
            (request.text("platform")?, request.text("metadata")?, request.text("secret")?);
        if self.session.seat.get().is_some() {
            return Err(Failure::thrown(code::GENERIC, "'Session.connect()' was called already"));
        }
        let _ = self.session.join_tried.set(());
        let trusted = !secret.is_empty() && bool::from(secret.as_bytes().ct_eq(self.hub.settings.secret.as_bytes()));
        let admission = if trusted {
            let helper = match (request.optional_flag("recorder"), request.optional_flag("stt")) {
                (Some(true), _) => Some((RECORDER, Hidden::Recorder)),
                (_, Some(true)) => Some((SPEECH_TO_TEXT, Hidden::Transcriber)),
                _ => None,
            };
            let (participant, hidden) = helper.unzip();
            Admission::Secret { participant: participant.map(str::to_owned), hidden }
        } else {
            // A token for another session is no token for this one, wherever its URL points.
            let own = compat::token_param(token, "sessionId") == Some(id);
            let token = compat::token_param(token, "token").filter(|_| own);
            Admission::Token(token.unwrap_or_default().to_owned())
        };
        let room = self.hub.room(id).or_else(|| if trusted { rest::create_for_secret(self.hub, id) } else { None });
        let room = room.ok_or_else(|| {
            let text = format!("Unable to join session {id}. Session {id} cannot be found");
            Failure::thrown(code::ROOM_NOT_FOUND, text)
        })?;
        let session = self.session;
        let origin =
            Origin { platform: platform.to_owned(), address: session.address.clone(), user: session.user.clone() };
        let input = Input::Join(Join { admission, client_data: metadata.to_owned(), origin });
        let outcome = self.hub.perform(&room, input, &mut |inner, reply| self.welcome(&room, inner, reply)).await;
        outcome.map(|_| ()).map_err(|error| match error {
            Error::UnknownToken => {
                Failure::thrown(code::UNAUTHORIZED, format!("Unable to join session {id}. Token {token} is not valid"))
            }
            Error::Closed => {
                Failure::thrown(code::ROOM_CLOSED, format!("Unable to join the session. Session {id} is closed"))
            }
            other => Failure::thrown(code::GENERIC, format!("Unable to join session {id}: {other}")),
        })
    }

    /// Seats a participant that was let in, and answers it.
    fn welcome(&self, room: &Arc<RoomHandle>, inner: &mut Inner, reply: &Reply) {
        let Reply::Joined { participant } = reply else { return };
        let seat = Seat { room: room.clone(), participant: participant.clone() };
        let _ = self.session.seat.set(seat);
        inner.peers.insert(participant.clone(), self.session.clone());
        let Some(me) = inner.room.participant(participant) else { return };
        let settings = &self.hub.settings;
        let (username, credential) = compat::turn_credentials(&settings.turn_secret, self.hub.now_ms());
        let own = inner.properties_of(participant);
        let ice_servers = if own.ice_servers.is_empty() {
            dto::ice_servers(&[IceServer {
                url: format!("turn:{}:{}", settings.coturn_ip, settings.coturn_port),
                username: Some(username.clone()),
                credential: Some(credential.clone()),
            }])
        } else {
            dto::ice_servers(&own.ice_servers)
        };
        let facts = JoinFacts {
            version: version(self.request),
            media_server: &settings.media_server,
            coturn_ip: &settings.coturn_ip,
            coturn_port: settings.coturn_port,
            turn_username: &username,
            turn_credential: &credential,
            ice_servers,
        };
        let result = dto::join_result(&inner.room, me, facts);
        self.session.send(rpc::success(&self.request.id, result, Some(&self.session.id)));
        tracing::info!(session = room.id, connection = participant, "participant joined");
    }
}

/// The client's own version keeps both generations quiet; one that is no semver would hang 2.32.
fn version(request: &Request) -> &str {
    let told = request.optional_text("sdkVersion").filter(|version| {
        let core = version.split(['-', '+']).next().unwrap_or_default();
        core.split('.').count() == 3 && core.split('.').all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    });
    told.unwrap_or(compat::SILENT_CLIENT_VERSION)
}

impl Seated<'_> {
    /// Applies an input and answers with an empty result.
    async fn perform(&self, input: Input, wrong: impl FnOnce(Error) -> Failure) -> Result<(), Failure> {
        let outcome = self.call.hub.perform(self.room, input, &mut |_, _| self.succeed(Map::new())).await;
        outcome.map(|_| ()).map_err(|error| self.common(error, wrong))
    }

    fn succeed(&self, result: Map<String, Value>) {
        let session = self.call.session;
        session.send(rpc::success(&self.call.request.id, result, Some(&session.id)));
    }

    /// Errors that mean the same for every method; the rest is for the method to word.
    fn common(&self, error: Error, wrong: impl FnOnce(Error) -> Failure) -> Failure {
        match error {
            Error::Closed => Failure::thrown(
                code::ROOM_CLOSED,
                format!("'{}' is in session '{}' but it is closed", self.me, self.room.id),
            ),
            Error::UnknownParticipant(id) if id == self.me => self.no_user(&id),
            other => wrong(other),
        }
    }

    fn no_user(&self, id: &str) -> Failure {
        Failure::thrown(code::USER_NOT_FOUND, format!("User {id} not found in session {}", self.room.id))
    }

    fn acknowledge(&self) -> Result<(), Failure> {
        if self.room.lock().room.participant(self.me).is_none() {
            return Err(self.no_user(self.me));
        }
        self.succeed(Map::new());
        Ok(())
    }

    fn video_data(&self) -> Result<(), Failure> {
        let request = self.call.request;
        for name in ["height", "width", "videoActive", "audioActive"] {
            if !request.params.contains_key(name) {
                return Err(Failure::missing(&request.method, name));
            }
        }
        self.acknowledge()
    }

    async fn leave(&self) -> Result<(), Failure> {
        let input = Input::Leave { participant: self.me.to_owned() };
        self.perform(input, |error| Failure::thrown(code::GENERIC, error.to_string())).await?;
        tracing::info!(session = self.room.id, connection = self.me, "participant left");
        Ok(())
    }

    async fn send_message(&self) -> Result<(), Failure> {
        let message = self.call.request.text("message")?;
        let Ok(Value::Object(signal)) = serde_json::from_str::<Value>(message) else {
            let text = format!("Provided signal object '{message}' has not a valid JSON format");
            return Err(Failure::thrown(code::SIGNAL_FORMAT, text));
        };
        let mut to = Vec::new();
        for target in signal.get("to").and_then(Value::as_array).into_iter().flatten() {
            let invalid = || format!("Signal \"to\" field invalid format: {target}");
            to.push(target.as_str().ok_or_else(|| Failure::thrown(code::SIGNAL_TO, invalid()))?.to_owned());
        }
        let text = |name: &str| match signal.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        };
        let input = Input::Signal { participant: Some(self.me.to_owned()), to, kind: text("type"), data: text("data") };
        self.perform(input, |error| match error {
            Error::UnknownParticipant(_) => Failure::thrown(
                code::SIGNAL_TO,
                "Signal \"to\" field invalid format: some connectionId does not exist in this session",
            ),
            other => Failure::thrown(code::GENERIC, other.to_string()),
        })
        .await
    }

    async fn stream_property_changed(&self) -> Result<(), Failure> {
        let request = self.call.request;
        let (name, reason) = (request.text("property")?, request.text("reason")?);
        let value = request.params.get("newValue").ok_or_else(|| Failure::missing(&request.method, "newValue"))?;
        let property = match (name, value) {
            ("audioActive", Value::Bool(active)) => StreamProperty::AudioActive(*active),
            ("videoActive", Value::Bool(active)) => StreamProperty::VideoActive(*active),
            ("videoDimensions", Value::String(text)) => StreamProperty::VideoDimensions(text.clone()),
            _ => StreamProperty::Other(name.to_owned()),
        };
        let (participant, reason) = (self.me.to_owned(), reason.to_owned());
        // The notification carries the JSON text of what was sent, as a string.
        let input = Input::ChangeStream { participant, property, value: value.to_string(), reason };
        let outcome = self.call.hub.perform(self.room, input, &mut |_, _| self.succeed(Map::new())).await;
        match outcome {
            // After an unpublish there is nothing to tell anybody, and nothing wrong either.
            Err(Error::NotPublishing(_)) => self.succeed(Map::new()),
            Err(error) => return Err(self.common(error, |e| Failure::thrown(code::GENERIC, e.to_string()))),
            Ok(_) => {}
        }
        Ok(())
    }

    async fn force_disconnect(&self) -> Result<(), Failure> {
        let target = self.call.request.text("connectionId")?.to_owned();
        self.require(Role::Moderator, "force disconnect")?;
        let input = Input::Expel { participant: self.me.to_owned(), target };
        self.perform(input, |error| match error {
            Error::UnknownParticipant(_) => {
                Failure::answered(code::USER_NOT_FOUND, "Connection not found when calling 'forceDisconnect'")
            }
            other => Failure::thrown(code::GENERIC, other.to_string()),
        })
        .await
    }

    async fn force_unpublish(&self) -> Result<(), Failure> {
        let stream = self.call.request.text("streamId")?.to_owned();
        self.require(Role::Moderator, "force unpublish")?;
        let input = Input::ForceUnpublish { participant: Some(self.me.to_owned()), stream };
        self.perform(input, |error| match error {
            Error::UnknownStream(stream) => {
                Failure::answered(code::NOT_STREAMING, format!("Stream '{stream}' is not published"))
            }
            other => Failure::thrown(code::GENERIC, other.to_string()),
        })
        .await
    }

    /// Refuses what the role does not allow, before anything else is looked at.
    fn require(&self, role: Role, action: &str) -> Result<(), Failure> {
        let inner = self.room.lock();
        let me = inner.room.participant(self.me).ok_or_else(|| self.no_user(self.me))?;
        if me.privileged || me.role >= role {
            return Ok(());
        }
        let text = format!("Unable to {action}. The user does not have a valid token");
        Err(Failure::thrown(code::UNAUTHORIZED, text))
    }
}
