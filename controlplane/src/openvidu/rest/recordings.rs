//! `/recordings`: what is asked for is checked as OpenVidu does and in its order. Without a recorder everything is 501.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::body::{Fields, object};
use super::error::ApiError;
use super::properties::{self, Refused};
use crate::config::Generation;
use crate::openvidu::Hub;
use crate::openvidu::room::RoomHandle;

/// Invalid properties are told as if they had come here.
const SESSIONS: &str = "/openvidu/api/sessions";
const COMPOSED: [&str; 2] = ["COMPOSED", "COMPOSED_QUICK_START"];

/// 501 while there is no recorder, which comes before any other answer.
pub(super) fn must_be_on(hub: &Hub) -> Result<(), ApiError> {
    if hub.settings.recorder { Ok(()) } else { Err(ApiError::Bare(StatusCode::NOT_IMPLEMENTED)) }
}

pub(super) async fn start(
    State(hub): State<Arc<Hub>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    must_be_on(&hub)?;
    let body = object(&headers, &body, uri.path())?;
    let body = body.ok_or_else(|| ApiError::framework(StatusCode::BAD_REQUEST, uri.path()))?;
    let room = session(&hub, Fields(&body), uri.path())?;
    if room.properties.media_mode != "ROUTED" {
        return Err(ApiError::Bare(StatusCode::CONFLICT));
    }
    must_be_active(&room)?;
    check(&with_defaults(&body, &room.properties.default_recording), hub.settings.compat, SESSIONS)?;
    Ok(failed("Error starting recording: the recorder is not reachable"))
}

/// No recording exists that could be shown, stopped or deleted.
pub(super) async fn one(State(hub): State<Arc<Hub>>) -> Result<(), ApiError> {
    must_be_on(&hub)?;
    Err(ApiError::Bare(StatusCode::NOT_FOUND))
}

pub(super) async fn list(State(hub): State<Arc<Hub>>) -> Result<Json<Value>, ApiError> {
    must_be_on(&hub)?;
    Ok(Json(json!({"count": 0, "items": []})))
}

/// The session that a body names.
pub(super) fn session(hub: &Hub, fields: Fields<'_>, path: &str) -> Result<Arc<RoomHandle>, ApiError> {
    let bad = |why| ApiError::told(StatusCode::BAD_REQUEST, path, why);
    let id = fields.text("session").map_err(bad)?;
    let id = id.ok_or_else(|| bad("\"session\" parameter is mandatory".into()))?;
    hub.room(id).ok_or(ApiError::Bare(StatusCode::NOT_FOUND))
}

/// Somebody must be there to be seen or heard.
pub(super) fn must_be_active(room: &RoomHandle) -> Result<(), ApiError> {
    let is_empty = room.lock().room.visible().next().is_none();
    if is_empty { Err(ApiError::Bare(StatusCode::NOT_ACCEPTABLE)) } else { Ok(()) }
}

/// Types first, all of them; then whether the values make sense.
pub(super) fn check(properties: &Map<String, Value>, generation: Generation, path: &str) -> Result<Value, ApiError> {
    properties::recording(Fields(properties), generation).map_err(|refused| match refused {
        Refused::Wrong(why) => ApiError::told(StatusCode::BAD_REQUEST, path, why),
        Refused::OutOfRange { why, .. } => ApiError::told(StatusCode::UNPROCESSABLE_ENTITY, path, why),
    })
}

/// Text under the type of JSON, as OpenVidu has it.
pub(super) fn failed(text: &'static str) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// What a request leaves open is as the session says. Of the two composed modes it is the session's that counts.
fn with_defaults(body: &Map<String, Value>, defaults: &Value) -> Map<String, Value> {
    let mut properties = defaults.as_object().cloned().unwrap_or_default();
    let of_session = properties.get("outputMode").cloned();
    for (name, value) in body.iter().filter(|(_, value)| !value.is_null()) {
        properties.insert(name.clone(), value.clone());
    }
    let is_composed = |mode: Option<&Value>| mode.and_then(Value::as_str).is_some_and(|mode| COMPOSED.contains(&mode));
    if let (Some(mode), true) = (of_session, is_composed(properties.get("outputMode")))
        && is_composed(Some(&mode))
    {
        properties.insert("outputMode".into(), mode);
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_before_the_session_but_for_its_kind_of_composition() {
        let merged = |body: Value, defaults: Value| {
            Value::Object(with_defaults(body.as_object().unwrap(), &defaults))["outputMode"].clone()
        };
        let quick = json!({"outputMode": "COMPOSED_QUICK_START"});
        let composed = json!({"outputMode": "COMPOSED"});
        let individual = json!({"outputMode": "INDIVIDUAL"});
        assert_eq!(merged(composed.clone(), quick.clone()), "COMPOSED_QUICK_START");
        assert_eq!(merged(quick.clone(), composed.clone()), "COMPOSED");
        assert_eq!(merged(individual.clone(), composed.clone()), "INDIVIDUAL");
        assert_eq!(merged(composed, individual.clone()), "COMPOSED");
        assert_eq!(merged(json!({"outputMode": null}), individual), "INDIVIDUAL");
    }
}
