//! `/config`, the CDR files, and the page that lets a browser accept a certificate.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Map, Value, json};
use tokio_util::io::ReaderStream;

use crate::openvidu::Hub;
use crate::openvidu::compat::SERVER_VERSION;
use crate::webhook::Options;

/// Of a file, so much is in memory at once, in bytes.
const READ_SIZE: usize = 64 << 10;
const ACCEPT_CERTIFICATE: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<title>Certificate accepted</title></head><body><p>The certificate is accepted. Going back…</p>\
<script>history.back()</script></body></html>";

pub(super) async fn all(State(hub): State<Arc<Hub>>) -> Json<Value> {
    let settings = &hub.settings;
    let mut config = Map::new();
    let mut put = |members: Value| {
        if let Value::Object(members) = members {
            config.extend(members);
        }
    };
    put(json!({
        "VERSION": SERVER_VERSION,
        "DOMAIN_OR_PUBLIC_IP": settings.domain,
        "HTTPS_PORT": settings.https_port,
        "OPENVIDU_PUBLICURL": settings.public_url(),
        "OPENVIDU_CDR": hub.events.cdr().is_some(),
    }));
    if let Some(cdr) = hub.events.cdr() {
        put(json!({"OPENVIDU_CDR_PATH": cdr.dir()}));
    }
    put(json!({
        "OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH": settings.max_receive_kbps,
        "OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH": settings.min_receive_kbps,
        "OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH": settings.max_send_kbps,
        "OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH": settings.min_send_kbps,
        "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC": settings.forced_video_codec,
        "OPENVIDU_STREAMS_ALLOW_TRANSCODING": settings.allow_transcoding,
        "OPENVIDU_WEBRTC_SIMULCAST": settings.simulcast,
        "OPENVIDU_SESSIONS_GARBAGE_INTERVAL": settings.garbage_interval_s,
        "OPENVIDU_SESSIONS_GARBAGE_THRESHOLD": settings.garbage_threshold_s,
        "OPENVIDU_RECORDING": false,
        "OPENVIDU_WEBHOOK": hub.events.webhook().is_some(),
    }));
    if let Some(webhook) = hub.events.webhook() {
        let Options { endpoint, headers, events, .. } = webhook.options();
        let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        put(json!({
            "OPENVIDU_WEBHOOK_ENDPOINT": endpoint,
            "OPENVIDU_WEBHOOK_HEADERS": headers,
            "OPENVIDU_WEBHOOK_EVENTS": events,
        }));
    }
    Json(Value::Object(config))
}

pub(super) async fn version(headers: HeaderMap) -> Response {
    bare(&headers, SERVER_VERSION.to_owned())
}

pub(super) async fn public_url(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Response {
    bare(&headers, hub.settings.public_url() + "/")
}

pub(super) async fn recording(headers: HeaderMap) -> Response {
    bare(&headers, "false".into())
}

pub(super) async fn recording_path(headers: HeaderMap) -> Response {
    bare(&headers, "/opt/openvidu/recordings/".into())
}

pub(super) async fn cdr(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Response {
    bare(&headers, hub.events.cdr().is_some().to_string())
}

/// The names of the files below the CDR folder; none when there is no such folder.
pub(super) async fn cdr_files(State(hub): State<Arc<Hub>>) -> Json<Value> {
    let mut names = Vec::new();
    let mut folders: Vec<_> = hub.events.cdr().map(|cdr| cdr.dir().to_owned()).into_iter().collect();
    while let Some(folder) = folders.pop() {
        let Ok(mut entries) = tokio::fs::read_dir(folder).await else { continue };
        while let Ok(Some(entry)) = entries.next_entry().await {
            // A link is followed by nobody: it may lead in circles.
            match entry.file_type().await {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => names.extend(entry.file_name().into_string()),
                _ => {}
            }
        }
    }
    names.sort();
    Json(names.into())
}

/// One of the files.
pub(super) async fn cdr_file(State(hub): State<Arc<Hub>>, Path(name): Path<String>) -> Response {
    let is_plain = name.ends_with(".log") && !name.contains(['/', '\\', '\0']);
    let Some(path) = hub.events.cdr().filter(|_| is_plain).map(|cdr| cdr.dir().join(name)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match tokio::fs::File::open(path).await {
        Ok(file) => {
            let body = Body::from_stream(ReaderStream::with_capacity(file, READ_SIZE));
            ([(header::CONTENT_TYPE, "text/plain;charset=UTF-8")], body).into_response()
        }
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

pub(super) async fn accept_certificate() -> Html<&'static str> {
    Html(ACCEPT_CERTIFICATE)
}

/// A value without an object around it, under the type that was asked for.
fn bare(headers: &HeaderMap, text: String) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = if accept.contains("application/json") { "application/json" } else { "text/plain;charset=UTF-8" };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
