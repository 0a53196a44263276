//! `/signal`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use controlplane_room::{Error, Input};

use super::body::{Fields, Invalid, object};
use super::error::ApiError;
use crate::openvidu::Hub;

pub(super) async fn send(
    State(hub): State<Arc<Hub>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let body = object(&headers, &body, uri.path())?;
    let body = body.ok_or_else(|| ApiError::framework(StatusCode::BAD_REQUEST, uri.path()))?;
    let fields = Fields(&body);
    let bad = |why: Invalid| ApiError::told(StatusCode::BAD_REQUEST, uri.path(), why);
    let session = fields.text("session").map_err(bad)?;
    let session = session.ok_or_else(|| bad("\"session\" parameter is mandatory".into()))?;
    let targets = fields.array("to").map_err(bad)?.unwrap_or_default();
    if targets.iter().any(|target| !target.is_string() && !target.is_null()) {
        return Err(bad("Parameter 'to' must hold strings".into()));
    }
    let kind = fields.text("type").map_err(bad)?.map(str::to_owned);
    let data = fields.text("data").map_err(bad)?.map(str::to_owned);
    let room = hub.room(session).ok_or(ApiError::Bare(StatusCode::NOT_FOUND))?;
    if room.lock().room.participants().is_empty() {
        return Err(ApiError::Bare(StatusCode::NOT_ACCEPTABLE));
    }
    let to: Option<Vec<String>> = targets.iter().map(|target| target.as_str().map(str::to_owned)).collect();
    let unknown = || {
        let text = "Some connectionId of 'to' is not connected to the session";
        ApiError::told(StatusCode::NOT_ACCEPTABLE, uri.path(), text)
    };
    let to = to.ok_or_else(unknown)?;
    match hub.perform_detached(&room, Input::Signal { participant: None, to, kind, data }).await {
        Ok(_) => Ok(StatusCode::OK),
        Err(Error::Closed) => Err(ApiError::Bare(StatusCode::NOT_FOUND)),
        Err(_) => Err(unknown()),
    }
}
