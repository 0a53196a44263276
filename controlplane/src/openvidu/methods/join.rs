//! `joinRoom`: who gets in, and what it is told.

use std::sync::Arc;

use controlplane_room::{Admission, Error, Hidden, Input, Join, Origin, Reply};
use subtle::ConstantTimeEq;

use super::Call;
use crate::config::MediaServer;
use crate::openvidu::compat::{self, RECORDER, SPEECH_TO_TEXT, code};
use crate::openvidu::dto::{self, IceServer, JoinFacts};
use crate::openvidu::rest;
use crate::openvidu::room::{Inner, RoomHandle};
use crate::openvidu::rpc::{Failure, Request};
use crate::openvidu::session::Seat;

impl Call<'_> {
    pub(super) async fn join_room(&self) -> Result<(), Failure> {
        let _ = self.session.join_tried.set(());
        let request = self.request;
        let (token, id) = (request.text("token")?, request.text("session")?);
        let (platform, metadata) = (request.text("platform")?, request.text("metadata")?);
        let trusted = self.is_trusted(&request.text("secret")?);
        let helper = self.helper()?.filter(|_| trusted);
        if self.session.seat.get().is_some() {
            return Err(Failure::thrown(code::GENERIC, "'Session.connect()' was called already"));
        }
        let room = self.hub.room(&id).or_else(|| if trusted { rest::create_for_secret(self.hub, &id) } else { None });
        let room = room.ok_or_else(|| {
            let text = format!("Unable to join session. Session {id} cannot be found");
            Failure::thrown(code::ROOM_NOT_FOUND, text)
        })?;
        let is_first = room.lock().room.participants().is_empty();
        if is_first && self.hub.media.watch().borrow().is_none() {
            let text = format!("There is no available Media Node where to initialize session '{id}'");
            return Err(Failure::answered(code::ROOM_CANNOT_BE_CREATED, text));
        }
        let admission = if trusted {
            let (participant, hidden) = helper.unzip();
            Admission::Secret { participant: participant.map(str::to_owned), hidden }
        } else {
            // A token for another session is no token for this one, wherever its URL points.
            let own = compat::token_param(&token, "sessionId") == Some(&*id);
            let token = compat::token_param(&token, "token").filter(|_| own);
            Admission::Token(token.unwrap_or_default().to_owned())
        };
        let session = self.session;
        let origin =
            Origin { platform: platform.into_owned(), address: session.address.clone(), user: session.user.clone() };
        let join = Join { admission, client_data: metadata.into_owned(), origin };
        let outcome = match self.enter(&room, join.clone()).await {
            Err(Error::IdTaken(participant)) => {
                // The page of a helper was loaded anew: it takes its predecessor's place.
                let _ = self.hub.perform(&room, Input::Lapse { participant }, &mut |_, _| {}).await;
                self.enter(&room, join).await
            }
            outcome => outcome,
        };
        outcome.map_err(|error| match error {
            Error::UnknownToken => {
                Failure::thrown(code::UNAUTHORIZED, format!("Unable to join session {id}. Token {token} is not valid"))
            }
            Error::Closed => {
                Failure::thrown(code::ROOM_CLOSED, format!("Unable to join the session. Session {id} is closed"))
            }
            Error::IdTaken(_) => {
                Failure::thrown(code::TOKEN, format!("Unable to create token for session {id}: {error}"))
            }
            other => Failure::thrown(code::GENERIC, format!("Unable to join session {id}: {other}")),
        })
    }

    async fn enter(&self, room: &Arc<RoomHandle>, join: Join) -> Result<(), Error> {
        let welcome = &mut |inner: &mut Inner, reply: &Reply| self.welcome(room, inner, reply);
        self.hub.perform(room, Input::Join(join), welcome).await.map(|_| ())
    }

    /// Whether the client shows the server's secret. Who guesses counts as one who guesses the password of REST.
    fn is_trusted(&self, secret: &str) -> bool {
        if secret.is_empty() {
            return false;
        }
        let (logins, source) = (&self.hub.logins, self.session.address.parse().ok());
        if source.is_some_and(|source| logins.wait(source).is_some()) {
            return false;
        }
        let is_right = bool::from(secret.as_bytes().ct_eq(self.hub.settings.secret.as_bytes()));
        if let (false, Some(source)) = (is_right, source) {
            logins.failed(source);
        }
        is_right
    }

    /// Which helper the client says that it is.
    fn helper(&self) -> Result<Option<(&'static str, Hidden)>, Failure> {
        Ok(match (self.request.optional_flag("recorder")?, self.request.optional_flag("stt")?) {
            (Some(true), _) => Some((RECORDER, Hidden::Recorder)),
            (_, Some(true)) => Some((SPEECH_TO_TEXT, Hidden::Transcriber)),
            _ => None,
        })
    }

    /// Seats a participant that was let in, and answers it.
    fn welcome(&self, room: &Arc<RoomHandle>, inner: &mut Inner, reply: &Reply) {
        let Reply::Joined { participant } = reply else { return };
        let seat = Seat { room: room.clone(), participant: participant.clone() };
        let _ = self.session.seat.set(seat);
        // What goes out from here on is for it to hear.
        let _ = self.session.cursor.set(self.hub.journal.cursor());
        inner.peers.insert(participant.clone(), self.session.clone());
        let Some(me) = inner.room.participant(participant) else { return };
        let settings = &self.hub.settings;
        let (username, credential) = compat::turn_credentials(&settings.turn_secret, self.hub.now_ms());
        let mut ice_servers = inner.properties_of(participant).ice_servers.clone();
        if ice_servers.is_empty() {
            // Connections of REST have the configured ones already; others have no properties of their own.
            ice_servers = rest::ice::configured(&settings.ice_servers, self.hub.now_ms());
        }
        if ice_servers.is_empty() {
            ice_servers.push(IceServer {
                url: format!("turn:{}:{}", settings.coturn_ip, settings.coturn_port),
                username: Some(username.clone()),
                credential: Some(credential.clone()),
            });
        }
        let facts = JoinFacts {
            version: &version(self.request),
            media_server: &settings.media_server,
            video_simulcast: settings.simulcast && settings.media_server == MediaServer::Mediasoup.name(),
            coturn_ip: &settings.coturn_ip,
            coturn_port: settings.coturn_port,
            turn_username: &username,
            turn_credential: &credential,
            ice_servers: dto::ice_servers(&ice_servers),
        };
        let result = dto::join_result(&inner.room, me, facts);
        inner.answer(self.ticket, result);
        tracing::info!(session = room.id, connection = participant, "participant joined");
    }
}

/// The client's own version keeps both generations quiet; one that is no semver would hang 2.32.
fn version(request: &Request) -> String {
    let told = request.optional_text("sdkVersion").ok().flatten().filter(|version| {
        let core = version.split(['-', '+']).next().unwrap_or_default();
        core.split('.').count() == 3 && core.split('.').all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    });
    told.map_or_else(|| compat::SILENT_CLIENT_VERSION.to_owned(), |version| version.into_owned())
}
