//! `/sessions`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{OriginalUri, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use controlplane_room::{EndReason, Input};
use serde_json::Value;

use super::body::{object, query_flag};
use super::error::ApiError;
use super::{properties, stats};
use crate::openvidu::addresses::Addresses;
use crate::openvidu::room::RoomHandle;
use crate::openvidu::{Hub, dto};

/// Sessions that are shown before others get their turn.
const AT_A_TIME: usize = 64;
const BARE_NOT_FOUND: ApiError = ApiError::Bare(StatusCode::NOT_FOUND);

pub(super) async fn create(
    State(hub): State<Arc<Hub>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let body = object(&headers, &body, uri.path())?;
    let properties = properties::session(&hub, body.as_ref())
        .map_err(|why| ApiError::told(StatusCode::BAD_REQUEST, uri.path(), why))?;
    let room = hub.create_room(properties).ok_or(ApiError::Bare(StatusCode::CONFLICT))?;
    tracing::info!(session = room.id, "session created");
    Ok(Json(dto::session(&room.id, room.created_at, &room.properties, Vec::new())))
}

/// All sessions. With thousands of them this is work for a while: others get their turn in between.
pub(super) async fn list(State(hub): State<Arc<Hub>>, OriginalUri(uri): OriginalUri) -> Result<Response, ApiError> {
    let shown = shown(&hub, &uri).await?;
    let (mut count, mut content) = (0_usize, String::new());
    for rooms in hub.all_rooms().chunks(AT_A_TIME) {
        for session in rooms.iter().filter_map(|room| show(&hub, room, &shown)) {
            content.push_str(if count == 0 { "" } else { "," });
            content.push_str(&session.to_string());
            count += 1;
        }
        tokio::task::yield_now().await;
    }
    let body = format!("{{\"numberOfElements\":{count},\"content\":[{content}]}}");
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Value>, ApiError> {
    let shown = shown(&hub, &uri).await?;
    let room = hub.room(&id).ok_or(BARE_NOT_FOUND)?;
    show(&hub, &room, &shown).map(Json).ok_or(BARE_NOT_FOUND)
}

pub(super) async fn close(State(hub): State<Arc<Hub>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let room = hub.room(&id).ok_or(BARE_NOT_FOUND)?;
    let input = Input::Close { reason: EndReason::RoomClosedByApplication };
    hub.perform_detached(&room, input).await.map_err(|_| BARE_NOT_FOUND)?;
    tracing::info!(session = id, "session closed by the application");
    Ok(StatusCode::NO_CONTENT)
}

/// What is shown of connections.
struct Shown {
    pending: bool,
    /// Where clients are, when that is wanted.
    addresses: Option<Arc<Addresses>>,
}

async fn shown(hub: &Hub, uri: &Uri) -> Result<Shown, ApiError> {
    let with_stats = query_flag(uri.query(), "webRtcStats", false, uri.path())?;
    let pending = query_flag(uri.query(), "pendingConnections", false, uri.path())?;
    let addresses = if with_stats { Some(hub.media.remote_addresses().await) } else { None };
    Ok(Shown { pending, addresses })
}

/// A Session object; `None` while the session is closing.
fn show(hub: &Hub, room: &RoomHandle, shown: &Shown) -> Option<Value> {
    let inner = room.lock();
    if inner.room.ended() {
        return None;
    }
    let socket_url = hub.settings.socket_url();
    let mut connections = dto::connections(&inner.room, &socket_url, shown.pending, &|id| inner.properties_of(id));
    if let Some(addresses) = &shown.addresses {
        stats::add(&mut connections, &inner, addresses);
    }
    Some(dto::session(&room.id, room.created_at, &room.properties, connections))
}
