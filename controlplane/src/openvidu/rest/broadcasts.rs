//! `/broadcast`: checked like recordings, which a broadcast is but for where it goes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::body::{Fields, object};
use super::error::ApiError;
use super::recordings::{check, failed, must_be_active, must_be_on, session};
use crate::openvidu::Hub;

pub(super) async fn start(
    State(hub): State<Arc<Hub>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    must_be_on(&hub)?;
    let body = object(&headers, &body, uri.path())?;
    let body = body.ok_or_else(|| ApiError::framework(StatusCode::BAD_REQUEST, uri.path()))?;
    let fields = Fields(&body);
    let bad = |why| ApiError::told(StatusCode::BAD_REQUEST, uri.path(), why);
    let url = fields.text("broadcastUrl").map_err(bad)?;
    if fields.text("session").map_err(bad)?.is_some() && url.is_none_or(str::is_empty) {
        return Err(bad("\"broadcastUrl\" parameter is mandatory".into()));
    }
    let room = session(&hub, fields, uri.path())?;
    if room.properties.media_mode != "ROUTED" {
        return Err(ApiError::Bare(StatusCode::CONFLICT));
    }
    must_be_active(&room)?;
    // A broadcast is always composed.
    let mut properties = body.clone();
    properties.remove("outputMode");
    check(&properties, hub.settings.compat, uri.path())?;
    Ok(failed("Error starting broadcast: the recorder is not reachable"))
}

/// No session is broadcast.
pub(super) async fn stop(
    State(hub): State<Arc<Hub>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(), ApiError> {
    must_be_on(&hub)?;
    let body = object(&headers, &body, uri.path())?;
    let body = body.ok_or_else(|| ApiError::framework(StatusCode::BAD_REQUEST, uri.path()))?;
    session(&hub, Fields(&body), uri.path())?;
    Err(ApiError::Bare(StatusCode::CONFLICT))
}
