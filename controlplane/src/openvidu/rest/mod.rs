//! OpenVidu's REST API under `/openvidu/api`.

mod body;
mod broadcasts;
mod config;
mod connections;
mod description;
mod error;
mod guard;
pub(super) mod ice;
mod logins;
mod properties;
mod recordings;
mod sessions;
mod signal;
mod stats;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, delete, get, post};

use super::room::RoomHandle;
use super::{Hub, info};

pub(crate) use guard::unmapped;
pub use guard::{envelope, rewrite};
pub(super) use logins::Logins;
pub use logins::client_address;

/// Longest request body, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// The routes of the API, with their authentication. Paths are those that [`rewrite`] gives.
pub fn routes(hub: Arc<Hub>) -> Router {
    let api = Router::new()
        .route("/sessions", post(sessions::create).get(sessions::list))
        .route("/sessions/{session}", get(sessions::get).delete(sessions::close))
        .route("/sessions/{session}/connection", post(connections::create).get(connections::list))
        .route(
            "/sessions/{session}/connection/{connection}",
            get(connections::get).patch(connections::change).delete(connections::remove),
        )
        .route("/sessions/{session}/stream/{stream}", delete(connections::remove_stream))
        .route("/tokens", post(connections::create_token))
        .route("/signal", post(signal::send))
        .route("/recordings", get(recordings::list))
        .route("/recordings/start", post(recordings::start))
        .route("/recordings/stop/{recording}", post(recordings::one))
        .route("/recordings/{recording}", get(recordings::one).delete(recordings::one))
        .route("/broadcast/start", post(broadcasts::start))
        .route("/broadcast/stop", post(broadcasts::stop))
        .route("/config", get(config::all))
        .route("/config/openvidu-version", get(config::version))
        .route("/config/openvidu-publicurl", get(config::public_url))
        .route("/config/openvidu-recording", get(config::recording))
        .route("/config/openvidu-recording-path", get(config::recording_path))
        .route("/config/openvidu-cdr", get(config::cdr))
        .route("/openapi.json", get(description::serve));
    let cdr = Router::new()
        .route("/openvidu/cdr", get(config::cdr_files))
        .route("/openvidu/cdr/{file}", get(config::cdr_file));
    let open = Router::new()
        .route("/openvidu/accept-certificate", get(config::accept_certificate))
        .route("/openvidu/info", get(info::listen))
        .method_not_allowed_fallback(error::wrong_method)
        .layer(from_fn_with_state(hub.clone(), guard::shape));
    // Nothing else is open, not even to learn that it is not there.
    let elsewhere = Router::new()
        .route("/openvidu/{*path}", any(error::not_found))
        .route("/dashboard", any(error::not_found))
        .route("/dashboard/{*path}", any(error::not_found));
    let guarded = |router: Router<Arc<Hub>>| {
        router
            .method_not_allowed_fallback(error::wrong_method)
            .layer(from_fn_with_state(hub.clone(), guard::authenticate))
            .layer(from_fn_with_state(hub.clone(), guard::shape))
            .layer(from_fn_with_state(hub.clone(), guard::count))
    };
    Router::new()
        .nest("/openvidu/api", guarded(api.fallback(error::not_found)))
        .merge(guarded(cdr))
        .merge(guarded(elsewhere))
        .merge(open)
        .with_state(hub.clone())
}

/// A session for a client that shows the server's secret and names one that does not exist.
pub(super) fn create_for_secret(hub: &Hub, id: &str) -> Option<Arc<RoomHandle>> {
    properties::valid_session_id(id).then(|| hub.create_room(properties::for_secret(hub, id))).flatten()
}

/// A session with default properties and this id, made unless it exists.
pub(crate) fn find_or_create(hub: &Hub, id: &str) -> Option<String> {
    if !properties::valid_session_id(id) {
        return None;
    }
    let room = hub.room(id).or_else(|| hub.create_room(properties::by_id(hub, id)))?;
    Some(room.id.clone())
}

pub(crate) use connections::mint;
