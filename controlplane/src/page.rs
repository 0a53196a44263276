//! The demo page, embedded in the binary, and the one call that it needs from us: a token for a room.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rust_embed::RustEmbed;
use serde::Deserialize;
use serde_json::json;

use crate::openvidu::{Hub, rest};

/// Longest name that a person may give, in bytes.
const MAX_NAME: usize = 200;
/// Longest room name, in bytes.
const MAX_ROOM: usize = 100;

const NOT_BUILT: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Millrace</title></head>\
<body><h1>Millrace is running</h1><p>The demo page is not part of this binary: run <code>make build</code> and start \
the server again. REST and signalling work without it.</p></body></html>";

#[derive(RustEmbed)]
#[folder = "web/dist"]
struct Files;

#[derive(Deserialize)]
struct TokenRequest {
    room: String,
    #[serde(default)]
    name: String,
}

/// The page, and `POST /demo/token` when `demo` is on.
pub(crate) fn routes(hub: Arc<Hub>, demo: bool) -> Router {
    let mut router = Router::new().route("/", get(index)).fallback(file);
    if demo {
        router = router.route("/demo/token", post(token));
    }
    router.with_state(hub)
}

async fn index() -> Response {
    embedded("index.html").unwrap_or_else(|| Html(NOT_BUILT).into_response())
}

async fn file(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    embedded(request.uri().path().trim_start_matches('/')).unwrap_or_else(|| rest::unmapped(&hub, &request))
}

fn embedded(path: &str) -> Option<Response> {
    let file = Files::get(path)?;
    Some(([(header::CONTENT_TYPE, content_type(path))], file.data.into_owned()).into_response())
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// A token for anybody who asks: the room is made on the fly. Meant for trying things out, and off by default.
async fn token(State(hub): State<Arc<Hub>>, Json(request): Json<TokenRequest>) -> Response {
    if request.room.len() > MAX_ROOM || request.name.len() > MAX_NAME {
        return (StatusCode::BAD_REQUEST, Json(json!({"message": "name or room too long"}))).into_response();
    }
    let token = rest::find_or_create(&hub, &request.room).and_then(|room| rest::mint(&hub, &room, ""));
    match token {
        Some(token) => Json(json!({"token": token})).into_response(),
        None => {
            let message = "a room's name has letters, digits, '-' and '_' only";
            (StatusCode::BAD_REQUEST, Json(json!({"message": message}))).into_response()
        }
    }
}
