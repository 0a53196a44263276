//! `/config`, the list of CDR files, and the page that lets a browser accept a certificate.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use crate::openvidu::Hub;
use crate::openvidu::compat::SERVER_VERSION;

const ACCEPT_CERTIFICATE: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<title>Certificate accepted</title></head><body><p>The certificate is accepted. Going back…</p>\
<script>history.back()</script></body></html>";

pub(super) async fn all(State(hub): State<Arc<Hub>>) -> Json<Value> {
    let settings = &hub.settings;
    Json(json!({
        "VERSION": SERVER_VERSION,
        "DOMAIN_OR_PUBLIC_IP": settings.domain,
        "HTTPS_PORT": settings.https_port,
        "OPENVIDU_PUBLICURL": settings.public_url(),
        "OPENVIDU_CDR": false,
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
        "OPENVIDU_WEBHOOK": false,
    }))
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

pub(super) async fn cdr(headers: HeaderMap) -> Response {
    bare(&headers, "false".into())
}

pub(super) async fn cdr_files() -> Json<Value> {
    Json(json!([]))
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
