//! The error families of the API: OpenVidu's own objects, bare statuses, and the framework's objects.
//!
//! For unmapped paths, wrong methods and unreadable bodies, 2.20 answers with 404, 405, 400 or 415 and an object. 2.32
//! answers 403 with nothing, since its error page is itself refused; [`of_generation`] makes the one of the other.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Body;
use axum::extract::OriginalUri;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::config::Generation;
use crate::openvidu::compat::iso_time;

/// A refused request.
#[derive(Debug)]
pub(super) enum ApiError {
    /// Family A: an object with a text; the path is that of the endpoint.
    Told { status: StatusCode, message: String, path: String },
    /// Family B: the status alone.
    Bare(StatusCode),
    /// Family C: the framework's object.
    Framework { status: StatusCode, path: String },
}

impl ApiError {
    pub(super) fn told(status: StatusCode, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Told { status, message: message.into(), path: path.into() }
    }

    pub(super) fn framework(status: StatusCode, path: impl Into<String>) -> Self {
        Self::Framework { status, path: path.into() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let phrase = |status: StatusCode| status.canonical_reason().unwrap_or_default();
        match self {
            Self::Bare(status) => status.into_response(),
            Self::Told { status, message, path } => {
                let error = phrase(status);
                let body = json!({
                    "timestamp": now_ms(), "status": status.as_u16(), "error": error, "message": message, "path": path,
                });
                (status, Json(body)).into_response()
            }
            Self::Framework { status, path } => {
                let error = phrase(status);
                let body = json!({
                    "timestamp": iso_time(now_ms()), "status": status.as_u16(), "error": error, "message": "", "path": path,
                });
                let mut response = (status, Json(body)).into_response();
                response.extensions_mut().insert(OfFramework);
                response
            }
        }
    }
}

/// Marks the responses of the framework.
#[derive(Clone, Copy)]
struct OfFramework;

/// Gives the framework's answers the form of the generation. What extractors say in plain text counts as one.
pub(super) fn of_generation(response: Response, generation: Generation, path: &str) -> Response {
    let plain = |value: &header::HeaderValue| value.as_bytes().starts_with(b"text/plain");
    let is_extractors =
        response.status().is_client_error() && response.headers().get(header::CONTENT_TYPE).is_some_and(plain);
    let response = if is_extractors { ApiError::framework(response.status(), path).into_response() } else { response };
    if generation == Generation::V2_20 || response.extensions().get::<OfFramework>().is_none() {
        return response;
    }
    let status = match response.status() {
        StatusCode::UNAUTHORIZED => StatusCode::UNAUTHORIZED,
        // These are not OpenVidu's: a client that runs into them needs the word.
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => return response,
        _ => StatusCode::FORBIDDEN,
    };
    let (mut parts, _) = response.into_parts();
    parts.status = status;
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::empty())
}

/// The answer to a missing or wrong password. The challenge is what makes Java clients send theirs; browsers'
/// scripts ask not to get it, since it opens a dialogue.
pub(super) fn unauthorized(path: &str, challenge: bool) -> Response {
    let mut response = ApiError::framework(StatusCode::UNAUTHORIZED, path).into_response();
    if challenge {
        let value = header::HeaderValue::from_static("Basic realm=\"Realm\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

pub(super) async fn not_found(OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::framework(StatusCode::NOT_FOUND, uri.path())
}

pub(super) async fn wrong_method(OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::framework(StatusCode::METHOD_NOT_ALLOWED, uri.path())
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
