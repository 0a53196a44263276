//! What every HTTP request passes: old paths, CORS, security headers, authentication.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, OriginalUri, Request, State};
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use subtle::ConstantTimeEq;

use super::error::{self, ApiError};
use super::logins;
use crate::config::Generation;
use crate::openvidu::Hub;

/// The only user there is.
const USER: &str = "OPENVIDUAPP";
/// How long a request may take, its body included.
const PATIENCE: Duration = Duration::from_secs(30);

/// Turns deprecated paths into today's, and takes the trailing slash that 2.20 accepts.
pub async fn rewrite(State(hub): State<Arc<Hub>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let mut wanted = path.to_owned();
    if hub.settings.deprecated_api
        && let Some(current) = current_path(path)
    {
        tracing::warn!(path, "deprecated path; use {current}");
        wanted = current;
    }
    if wanted.starts_with("/openvidu") && wanted.len() > 1 && wanted.ends_with('/') {
        wanted.pop();
    }
    if wanted != path
        && let Some(uri) = with_path(request.uri(), &wanted)
    {
        // Handlers and the authentication go by the path that is served.
        request.extensions_mut().insert(OriginalUri(uri.clone()));
        *request.uri_mut() = uri;
    }
    next.run(request).await
}

fn current_path(path: &str) -> Option<String> {
    let under = |prefix: &str| path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
    if path.starts_with("/api/") || under("/cdr") || path.starts_with("/recordings/") || path == "/accept-certificate" {
        return Some(format!("/openvidu{path}"));
    }
    if path == "/info" {
        return Some("/openvidu/info".to_owned());
    }
    if let Some(rest) = path.strip_prefix("/layouts/custom/") {
        return Some(format!("/openvidu/layouts/{rest}"));
    }
    if under("/config") {
        return Some(format!("/openvidu/api{path}"));
    }
    None
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(text.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

/// CORS and security headers. Preflights are answered here, whatever they are about.
pub async fn envelope(request: Request, next: Next) -> Response {
    let origin = request.headers().contains_key(header::ORIGIN);
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD).cloned();
    let mut response = if let (true, &Method::OPTIONS, Some(method)) = (origin, request.method(), asked) {
        let wanted = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        let mut response = StatusCode::OK.into_response();
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method);
        if let Some(wanted) = wanted {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted);
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("1800"));
        response
    } else {
        let is_question = *request.method() == Method::OPTIONS;
        let mut response = next.run(request).await;
        // No route has a handler for the question which methods it takes; the router answers it with its refusal.
        match response.headers_mut().remove(header::ALLOW) {
            Some(allow) if is_question => (StatusCode::OK, [(header::ALLOW, allow)]).into_response(),
            Some(allow) => {
                response.headers_mut().insert(header::ALLOW, allow);
                response
            }
            None => response,
        }
    };
    let headers = response.headers_mut();
    if origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    security(headers);
    response
}

fn security(headers: &mut HeaderMap) {
    let defaults = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-cache, no-store, max-age=0, must-revalidate"),
        (header::PRAGMA, "no-cache"),
        (header::EXPIRES, "0"),
        (header::X_XSS_PROTECTION, "0"),
    ];
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Counts a request by the pattern of its route.
pub(super) async fn count(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    let began = std::time::Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let method = match *request.method() {
        Method::GET | Method::POST | Method::DELETE | Method::PATCH | Method::HEAD | Method::OPTIONS => {
            request.method().to_string()
        }
        _ => "other".to_owned(),
    };
    let response = next.run(request).await;
    hub.metrics.rest_request(&method, &route, response.status().as_u16(), began.elapsed());
    response
}

/// Gives answers the form of the configured generation, and an end to requests that take too long.
pub(super) async fn shape(
    State(hub): State<Arc<Hub>>,
    OriginalUri(uri): OriginalUri,
    request: Request,
    next: Next,
) -> Response {
    let response = match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::framework(StatusCode::REQUEST_TIMEOUT, uri.path()).into_response(),
    };
    error::of_generation(response, hub.settings.compat, uri.path())
}

/// Asks for the password, but for the one path that is open.
pub(super) async fn authenticate(
    State(hub): State<Arc<Hub>>,
    OriginalUri(uri): OriginalUri,
    request: Request,
    next: Next,
) -> Response {
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let open = reading && uri.path() == "/openvidu/api/config/openvidu-publicurl";
    if open || *request.method() == Method::OPTIONS {
        return next.run(request).await;
    }
    let script = request.headers().get("x-requested-with").is_some_and(|value| value == "XMLHttpRequest");
    match refusal(&hub, &request, uri.path(), !script) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

/// Answers what is neither OpenVidu's nor a file of the page. 2.20 says to anybody that there is no such thing; 2.32
/// wants the password first, though without a challenge: a missing picture shall not make a browser ask for one.
pub(crate) fn unmapped(hub: &Hub, request: &Request) -> Response {
    let path = request.uri().path();
    let refusal = match hub.settings.compat {
        Generation::V2_20 => None,
        Generation::V2_32 => refusal(hub, request, path, false),
    };
    let response = refusal.unwrap_or_else(|| ApiError::framework(StatusCode::NOT_FOUND, path).into_response());
    error::of_generation(response, hub.settings.compat, path)
}

/// Why a request is not let in. Only wrong passwords count against an address: clients that send none until they are
/// asked are no attackers.
fn refusal(hub: &Hub, request: &Request, path: &str, challenge: bool) -> Option<Response> {
    let tries = request.headers().contains_key(header::AUTHORIZATION);
    let source = logins::source(request).filter(|_| tries);
    if let Some(wait) = source.and_then(|source| hub.logins.wait(source)) {
        let mut response = ApiError::framework(StatusCode::TOO_MANY_REQUESTS, path).into_response();
        response.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        return Some(response);
    }
    if authorized(request.headers(), &hub.settings.secret) {
        return None;
    }
    if let Some(source) = source {
        hub.logins.failed(source);
    }
    Some(error::unauthorized(path, challenge))
}

fn authorized(headers: &HeaderMap, secret: &str) -> bool {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, credentials)) = value.and_then(|value| value.split_once(' ')) else { return false };
    if !scheme.eq_ignore_ascii_case("basic") {
        return false;
    }
    let Ok(given) = BASE64.decode(credentials.trim()) else { return false };
    let expected = format!("{USER}:{secret}");
    bool::from(given.ct_eq(expected.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_paths_become_new_ones() {
        for (old, new) in [
            ("/api/sessions", "/openvidu/api/sessions"),
            ("/config", "/openvidu/api/config"),
            ("/config/openvidu-cdr", "/openvidu/api/config/openvidu-cdr"),
            ("/cdr/x.log", "/openvidu/cdr/x.log"),
            ("/recordings/r/f.mp4", "/openvidu/recordings/r/f.mp4"),
            ("/layouts/custom/my/index.html", "/openvidu/layouts/my/index.html"),
            ("/info", "/openvidu/info"),
            ("/accept-certificate", "/openvidu/accept-certificate"),
        ] {
            assert_eq!(current_path(old).as_deref(), Some(new));
        }
        for kept in ["/", "/openvidu/api/sessions", "/configuration", "/apiary"] {
            assert_eq!(current_path(kept), None);
        }
    }

    #[test]
    fn only_the_exact_secret_passes() {
        let with = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            authorized(&headers, "MY_SECRET")
        };
        assert!(with(&format!("Basic {}", BASE64.encode("OPENVIDUAPP:MY_SECRET"))));
        assert!(!with(&format!("Basic {}", BASE64.encode("OPENVIDUAPP:my_secret"))));
        assert!(!with(&format!("Basic {}", BASE64.encode("openviduapp:MY_SECRET"))));
        assert!(!with(&format!("Bearer {}", BASE64.encode("OPENVIDUAPP:MY_SECRET"))));
        assert!(!with("Basic"));
        assert!(!authorized(&HeaderMap::new(), "MY_SECRET"));
    }
}
