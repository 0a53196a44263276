//! What each signalling method does, in OpenVidu's words.
//!
//! A request is checked in OpenVidu's order: whether the client has joined and is still there, then its parameters, then
//! its role, then the state of what it names.

use std::sync::Arc;

use controlplane_room::{Error, Input, Role};
use serde_json::Map;

use super::compat::code;
use super::hub::Hub;
use super::room::{Inner, RoomHandle};
use super::rpc::{Failure, Request};
use super::session::{RpcSession, Seat, Ticket};

mod filters;
mod join;
mod moderate;
mod publish;
mod sdp;
mod subscribe;
mod talk;

pub(super) use subscribe::reoffer;

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
    "applyFilter",
    "removeFilter",
    "execFilterMethod",
    "addFilterEventListener",
    "removeFilterEventListener",
    "subscribeToSpeechToText",
    "unsubscribeFromSpeechToText",
    "onIceCandidate",
    "echo",
    "videoData",
];

/// One request under way.
struct Call<'a> {
    hub: &'a Arc<Hub>,
    session: &'a Arc<RpcSession>,
    ticket: &'a Ticket,
    request: &'a Request,
}

/// A request of somebody who is in a room.
struct Seated<'a> {
    call: &'a Call<'a>,
    room: &'a Arc<RoomHandle>,
    me: &'a str,
}

/// Works on one request.
pub(super) async fn handle(hub: &Arc<Hub>, session: &Arc<RpcSession>, ticket: &Ticket, request: Request) {
    let call = Call { hub, session, ticket, request: &request };
    let result = match call.dispatch().await {
        Ok(()) => "ok".to_owned(),
        Err(failure) => {
            tracing::debug!(method = request.method, code = failure.code, "request refused");
            ticket.fail(&request.method, &failure);
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
        let method = self.request.method.as_str();
        if method == "joinRoom" {
            return self.join_room().await;
        }
        let Some(Seat { room, participant }) = self.session.seat.get() else { return Err(self.not_joined()) };
        let seated = Seated { call: self, room, me: participant };
        if METHODS.contains(&method) && method != "echo" {
            seated.check_presence()?;
        }
        match method {
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
            "onIceCandidate" => seated.ice_candidate(),
            "videoData" => seated.video_data(),
            "echo" => seated.acknowledge(),
            "applyFilter" => seated.apply_filter(),
            "removeFilter" => seated.remove_filter(),
            "execFilterMethod" => seated.exec_filter_method(),
            "addFilterEventListener" => seated.filter_listener("add"),
            "removeFilterEventListener" => seated.filter_listener("remove"),
            "subscribeToSpeechToText" | "unsubscribeFromSpeechToText" => {
                Err(Failure::answered(code::WRONG_EDITION, "Speech To Text requires OpenVidu Pro/Enterprise edition"))
            }
            method => {
                self.ticket.refuse(-32601, &format!("Unknown method '{method}'"));
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
}

impl Seated<'_> {
    /// Applies an input and answers with an empty result.
    async fn perform(&self, input: Input, wrong: impl FnOnce(Error) -> Failure) -> Result<(), Failure> {
        let outcome = self.call.hub.perform(self.room, input, &mut |inner, _| self.answer(inner, Map::new())).await;
        outcome.map(|_| ()).map_err(|error| self.common(error, wrong))
    }

    /// Answers at the end of a step.
    fn answer(&self, inner: &mut Inner, result: Map<String, serde_json::Value>) {
        inner.answer(self.call.ticket, result);
    }

    fn acknowledge(&self) -> Result<(), Failure> {
        self.call.ticket.succeed(Map::new());
        Ok(())
    }

    /// Refuses whoever was evicted, or whose session is closed.
    fn check_presence(&self) -> Result<(), Failure> {
        let inner = self.room.lock();
        if inner.room.participant(self.me).is_some() {
            return Ok(());
        }
        Err(if inner.room.ended() { self.closed() } else { self.no_user(self.me) })
    }

    /// Errors that mean the same for every method; the rest is for the method to word.
    fn common(&self, error: Error, wrong: impl FnOnce(Error) -> Failure) -> Failure {
        match error {
            Error::Closed => self.closed(),
            Error::UnknownParticipant(id) if id == self.me => self.no_user(&id),
            other => wrong(other),
        }
    }

    fn closed(&self) -> Failure {
        let (me, session) = (self.me, &self.room.id);
        match self.call.request.method.as_str() {
            "leaveRoom" => {
                let text = format!("'{me}' is trying to leave from session '{session}' but it is closing");
                Failure::thrown(code::ROOM_CLOSED, text)
            }
            "subscribeToSpeechToText" | "unsubscribeFromSpeechToText" => {
                Failure::thrown(code::ROOM_NOT_FOUND, format!("Session '{session}' not found"))
            }
            _ => Failure::thrown(code::ROOM_CLOSED, format!("'{me}' is in session '{session}' but it is closed")),
        }
    }

    fn no_user(&self, id: &str) -> Failure {
        Failure::thrown(code::USER_NOT_FOUND, format!("User {id} not found in session {}", self.room.id))
    }

    async fn leave(&self) -> Result<(), Failure> {
        let input = Input::Leave { participant: self.me.to_owned() };
        self.perform(input, |error| Failure::thrown(code::GENERIC, error.to_string())).await?;
        tracing::info!(session = self.room.id, connection = self.me, "participant left");
        Ok(())
    }

    /// Refuses what the role does not allow.
    fn require(&self, role: Role, action: &str) -> Result<(), Failure> {
        if self.may(&self.room.lock(), role) { Ok(()) } else { Err(unauthorized(action)) }
    }

    fn may(&self, inner: &Inner, role: Role) -> bool {
        inner.room.participant(self.me).is_some_and(|me| me.privileged || me.role >= role)
    }
}

fn unauthorized(action: &str) -> Failure {
    Failure::thrown(code::UNAUTHORIZED, format!("Unable to {action}. The user does not have a valid token"))
}
