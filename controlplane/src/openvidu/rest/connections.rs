//! `/sessions/{session}/connection`, `/sessions/{session}/stream` and the deprecated `/tokens`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{OriginalUri, Path, State};
use axum::http::{HeaderMap, StatusCode};
use controlplane_room::{Error, Grant, Input, Reply, Role};
use serde_json::{Map, Value, json};

use super::body::{Fields, Invalid, object, query_flag};
use super::error::ApiError;
use super::ice;
use super::stats;
use crate::config::Generation;
use crate::openvidu::Hub;
use crate::openvidu::compat::{role, role_name, token_url};
use crate::openvidu::dto::{self, ConnectionProperties};
use crate::openvidu::room::RoomHandle;

const NOT_FOUND: ApiError = ApiError::Bare(StatusCode::NOT_FOUND);
const ROLES: &[&str] = &["SUBSCRIBER", "PUBLISHER", "MODERATOR"];
const KURENTO_LIMITS: &[&str] =
    &["videoMaxRecvBandwidth", "videoMinRecvBandwidth", "videoMaxSendBandwidth", "videoMinSendBandwidth"];

pub(super) async fn create(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    // The session is looked up before the body is read.
    let room = hub.room(&id).ok_or(ApiError::Bare(StatusCode::NOT_FOUND))?;
    let body = match (object(&headers, &body, uri.path())?, hub.settings.compat) {
        (Some(body), _) => body,
        (None, Generation::V2_32) => Map::new(),
        (None, Generation::V2_20) => return Err(ApiError::framework(StatusCode::BAD_REQUEST, uri.path())),
    };
    let bad = |why: Invalid| ApiError::told(StatusCode::BAD_REQUEST, uri.path(), why);
    let fields = Fields(&body);
    if fields.one_of("type", &["WEBRTC", "IPCAM"]).map_err(bad)? == Some("IPCAM") {
        camera(fields, hub.settings.compat).map_err(bad)?;
        let text = "This server has no ingest for IP cameras";
        return Err(ApiError::told(StatusCode::NOT_IMPLEMENTED, uri.path(), text));
    }
    let (mut grant, properties) = connection(&hub, fields).map_err(bad)?;
    grant.record = fields.flag("record").map_err(bad)?.unwrap_or(true);
    let connection = invite(&hub, &room, grant, properties).map_err(|error| refused(&error, uri.path()))?;
    let inner = room.lock();
    let invite = inner.room.invites().iter().find(|invite| invite.participant == connection);
    let invite = invite.ok_or(ApiError::Bare(StatusCode::NOT_FOUND))?;
    let socket_url = hub.settings.socket_url();
    Ok(Json(dto::pending_connection(&room.id, &socket_url, invite, &inner.properties_of(&connection))))
}

pub(super) async fn create_token(
    State(hub): State<Arc<Hub>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let body = object(&headers, &body, uri.path())?;
    let body = body.ok_or_else(|| ApiError::framework(StatusCode::BAD_REQUEST, uri.path()))?;
    let fields = Fields(&body);
    let session = fields.text("session").and_then(|id| id.ok_or_else(|| "\"session\" parameter is mandatory".into()));
    let session = session.map_err(|why| ApiError::told(StatusCode::BAD_REQUEST, uri.path(), why))?;
    let path = format!("/openvidu/api/sessions/{session}/connection");
    let room = hub.room(session);
    let room =
        room.ok_or_else(|| ApiError::told(StatusCode::NOT_FOUND, uri.path(), format!("Session {session} not found")))?;
    let bad = |why: Invalid| ApiError::told(StatusCode::BAD_REQUEST, path.clone(), why);
    let (grant, properties) = connection(&hub, fields).map_err(bad)?;
    let options = properties.kurento_options.clone();
    let connection = invite(&hub, &room, grant, properties).map_err(|error| refused(&error, uri.path()))?;
    let inner = room.lock();
    let invite = inner.room.invites().iter().find(|invite| invite.participant == connection);
    let invite = invite.ok_or_else(|| refused(&Error::Closed, uri.path()))?;
    let token = token_url(&hub.settings.socket_url(), &room.id, &invite.token);
    let mut answer = json!({
        "id": token, "token": token, "createdAt": invite.created_at, "connectionId": connection, "session": room.id,
        "data": invite.grant.server_data, "role": role_name(invite.grant.role),
    });
    if let (false, Some(answer)) = (options.is_null(), answer.as_object_mut()) {
        answer.insert("kurentoOptions".into(), options);
    }
    Ok(Json(answer))
}

/// A token for a publisher of a session; `None` when there is no such session.
pub(crate) fn mint(hub: &Hub, session: &str, data: &str) -> Option<String> {
    let room = hub.room(session)?;
    let grant = Grant { role: Role::Publisher, server_data: data.to_owned(), record: true, participant: None };
    let connection = invite(hub, &room, grant, ConnectionProperties::default()).ok()?;
    let inner = room.lock();
    let invite = inner.room.invites().iter().find(|invite| invite.participant == connection)?;
    Some(token_url(&hub.settings.socket_url(), session, &invite.token))
}

pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Value>, ApiError> {
    let with_stats = query_flag(uri.query(), "webRtcStats", false, uri.path())?;
    let pending = query_flag(uri.query(), "pendingConnections", true, uri.path())?;
    let room = hub.room(&id).ok_or(ApiError::Bare(StatusCode::NOT_FOUND))?;
    let addresses = if with_stats { Some(hub.media.remote_addresses().await) } else { None };
    let inner = room.lock();
    let socket_url = hub.settings.socket_url();
    let mut connections = dto::connections(&inner.room, &socket_url, pending, &|id| inner.properties_of(id));
    if let Some(addresses) = addresses {
        stats::add(&mut connections, &inner, &addresses);
    }
    Ok(Json(dto::list(connections)))
}

pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Path((session, connection)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let room = hub.room(&session).ok_or(ApiError::Bare(StatusCode::BAD_REQUEST))?;
    show(&hub, &room, &connection).map(Json).ok_or(NOT_FOUND)
}

/// Only Pro has it in OpenVidu. Members but the two are ignored.
pub(super) async fn change(
    State(hub): State<Arc<Hub>>,
    Path((session, connection)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let room = hub.room(&session).ok_or(NOT_FOUND)?;
    let is_known = {
        let inner = room.lock();
        let active = inner.room.participant(&connection).filter(|p| p.hidden.is_none());
        active.is_some() || inner.room.invite_of(&connection).is_some()
    };
    if !is_known {
        return Err(NOT_FOUND);
    }
    let body = object(&headers, &body, uri.path())?;
    let body = body.ok_or_else(|| ApiError::framework(StatusCode::BAD_REQUEST, uri.path()))?;
    let bad = |why: Invalid| ApiError::told(StatusCode::BAD_REQUEST, uri.path(), why);
    let name = Fields(&body).one_of("role", ROLES).map_err(bad)?;
    let record = Fields(&body).flag("record").map_err(bad)?;
    let input = Input::Amend { participant: connection.clone(), role: name.and_then(role), record };
    hub.perform_detached(&room, input).await.map_err(|_| NOT_FOUND)?;
    show(&hub, &room, &connection).map(Json).ok_or(NOT_FOUND)
}

/// One Connection, active or pending. The recorder is not listed, but shown to who asks for it.
fn show(hub: &Hub, room: &RoomHandle, connection: &str) -> Option<Value> {
    let inner = room.lock();
    let (socket_url, more) = (hub.settings.socket_url(), inner.properties_of(connection));
    if let Some(participant) = inner.room.participant(connection) {
        return Some(dto::active_connection(&room.id, &socket_url, participant, &more));
    }
    let invite = inner.room.invite_of(connection)?;
    Some(dto::pending_connection(&room.id, &socket_url, invite, &more))
}

pub(super) async fn remove(
    State(hub): State<Arc<Hub>>,
    Path((session, connection)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let room = hub.room(&session).ok_or(ApiError::Bare(StatusCode::BAD_REQUEST))?;
    match hub.perform_detached(&room, Input::Remove { participant: connection }).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(Error::Closed) => Err(ApiError::Bare(StatusCode::BAD_REQUEST)),
        Err(_) => Err(ApiError::Bare(StatusCode::NOT_FOUND)),
    }
}

pub(super) async fn remove_stream(
    State(hub): State<Arc<Hub>>,
    Path((session, stream)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let room = hub.room(&session).ok_or(ApiError::Bare(StatusCode::BAD_REQUEST))?;
    match hub.perform_detached(&room, Input::ForceUnpublish { participant: None, stream }).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(_) => Err(ApiError::Bare(StatusCode::NOT_FOUND)),
    }
}

/// Mints a pending connection and keeps what the room does not know of it; gives its id.
fn invite(hub: &Hub, room: &RoomHandle, grant: Grant, properties: ConnectionProperties) -> Result<String, Error> {
    let mut minted = None;
    let properties = Arc::new(properties);
    let step = room.step(hub.now_ms(), Input::Invite(grant), &mut |inner, reply| {
        if let Reply::Invited { participant, .. } = reply {
            inner.connections.insert(participant.clone(), properties.clone());
            minted = Some(participant.clone());
        }
    });
    match step.outcome {
        Some(Err(error)) => Err(error),
        _ => minted.ok_or(Error::Closed),
    }
}

fn refused(error: &Error, path: &str) -> ApiError {
    let status = if *error == Error::Closed { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
    ApiError::told(status, path, error.to_string())
}

/// What `POST …/connection` and `POST /tokens` share.
fn connection(hub: &Hub, fields: Fields<'_>) -> Result<(Grant, ConnectionProperties), Invalid> {
    let name = fields.one_of("role", ROLES)?.unwrap_or("PUBLISHER");
    let server_data = fields.text("data")?.unwrap_or_default().to_owned();
    let kurento_options = match fields.object("kurentoOptions")? {
        Some(options) => kurento(options)?,
        None => Value::Null,
    };
    let mut ice_servers = match hub.settings.compat {
        // 2.20 does not know them, and ignores what it does not know.
        Generation::V2_20 => Vec::new(),
        Generation::V2_32 => ice::servers(fields.array("customIceServers")?, hub.now_ms())?,
    };
    if ice_servers.is_empty() {
        ice_servers = ice::configured(&hub.settings.ice_servers, hub.now_ms());
    }
    let role = role(name).unwrap_or(Role::Publisher);
    let participant = hub.settings.dev.then(|| custom_id(&server_data)).flatten();
    let grant = Grant { role, server_data, record: true, participant };
    Ok((grant, ConnectionProperties { kurento_options, ice_servers }))
}

/// OpenVidu's test hook: a connection id named inside the data, reduced to word characters.
fn custom_id(data: &str) -> Option<String> {
    let data: Value = serde_json::from_str(data).ok()?;
    let wanted = data.get("openviduCustomConnectionId")?.as_str()?;
    let word: String = wanted.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    let word = word.replace("con_", "");
    (!word.is_empty()).then(|| format!("con_{word}"))
}

fn kurento(options: Fields<'_>) -> Result<Value, Invalid> {
    let mut kept = Map::new();
    for name in KURENTO_LIMITS {
        if let Some(limit) = options.integer(name)? {
            kept.insert((*name).into(), limit.into());
        }
    }
    if let Some(filters) = options.array("allowedFilters")? {
        if filters.iter().any(|filter| !filter.is_string()) {
            return Err("Parameter 'allowedFilters' must hold strings".into());
        }
        kept.insert("allowedFilters".into(), filters.to_vec().into());
    }
    Ok(Value::Object(kept))
}

/// The members of an IP camera.
fn camera(fields: Fields<'_>, generation: Generation) -> Result<(), Invalid> {
    fields.text("data")?;
    fields.flag("record")?;
    fields.flag("adaptativeBitrate")?;
    fields.flag("onlyPlayWithSubscribers")?;
    fields.integer("networkCache")?;
    let (scheme, rest) = fields.text("rtspUri")?.and_then(|uri| uri.split_once(':')).unwrap_or_default();
    let schemes: &[&str] = match generation {
        Generation::V2_20 => &["rtsp", "file"],
        Generation::V2_32 => &["file", "rtsp", "rtsps", "http", "https"],
    };
    let in_uris = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
    if schemes.contains(&scheme) && !rest.is_empty() && rest.bytes().all(in_uris) {
        return Ok(());
    }
    Err(format!("Parameter 'rtspUri' must be a URI with one of the schemes {}", schemes.join(", ")))
}
