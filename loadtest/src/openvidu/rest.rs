//! The REST calls of an application: sessions, tokens, and the metrics page.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::tls::Trust;

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestError {
    #[error("{call}: {reason}{}", hint(reason))]
    Unreachable { call: String, reason: String },
    #[error("{call}: status {status}{hint}")]
    Refused { call: String, status: u16, hint: &'static str },
    #[error("{call}: the answer has no {member}")]
    Unexpected { call: String, member: &'static str },
}

/// A server's REST API.
#[derive(Clone)]
pub(crate) struct Rest {
    client: Client,
    url: String,
    authorization: String,
}

impl Rest {
    pub(crate) fn new(url: &str, secret: &str, trust: Trust) -> Result<Self, RestError> {
        let unreachable = |e: reqwest::Error| RestError::Unreachable { call: url.to_owned(), reason: e.to_string() };
        let client = Client::builder()
            .timeout(TIMEOUT)
            .tls_danger_accept_invalid_certs(trust == Trust::Anybody)
            .build()
            .map_err(unreachable)?;
        let authorization = format!("Basic {}", STANDARD.encode(format!("OPENVIDUAPP:{secret}")));
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), authorization })
    }

    /// Whether there is a server that takes the secret. Old ones have their configuration elsewhere.
    pub(crate) async fn greet(&self) -> Result<(), RestError> {
        let (status, _) = self.call(Method::GET, "/openvidu/api/config", None).await?;
        if status == StatusCode::NOT_FOUND { Ok(()) } else { self.demand("GET config", status) }
    }

    /// Creates the session, or takes the one of that name that is there.
    pub(crate) async fn session(&self, name: &str, codec: Option<&str>) -> Result<(), RestError> {
        let mut body = json!({ "customSessionId": name });
        if let Some(codec) = codec {
            body["forcedVideoCodec"] = codec.into();
        }
        let (status, _) = self.call(Method::POST, "/openvidu/api/sessions", Some(&body)).await?;
        if status == StatusCode::CONFLICT { Ok(()) } else { self.demand("POST sessions", status) }
    }

    /// A token for one participant.
    pub(crate) async fn token(&self, session: &str, role: &str, data: &str) -> Result<String, RestError> {
        let body = json!({ "role": role, "data": data });
        let path = format!("/openvidu/api/sessions/{session}/connection");
        let (status, text) = self.call(Method::POST, &path, Some(&body)).await?;
        self.demand("POST connection", status)?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let token = answer["token"].as_str().map(str::to_owned);
        token.ok_or_else(|| RestError::Unexpected { call: "POST connection".to_owned(), member: "token" })
    }

    /// Ends the session; one that has ended already is fine.
    pub(crate) async fn end_session(&self, name: &str) -> Result<(), RestError> {
        let (status, _) = self.call(Method::DELETE, &format!("/openvidu/api/sessions/{name}"), None).await?;
        if status == StatusCode::NOT_FOUND { Ok(()) } else { self.demand("DELETE session", status) }
    }

    /// The metrics page, as Prometheus would read it.
    pub(crate) async fn metrics(&self, path: &str) -> Result<String, RestError> {
        let (status, text) = self.call(Method::GET, path, None).await?;
        self.demand("GET metrics", status)?;
        Ok(text)
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, String), RestError> {
        let call = format!("{method} {}{path}", self.url);
        let unreachable = |error: reqwest::Error| RestError::Unreachable { call: call.clone(), reason: reason(&error) };
        let mut request =
            self.client.request(method, format!("{}{path}", self.url)).header("Authorization", &self.authorization);
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        Ok((status, response.text().await.map_err(unreachable)?))
    }

    fn demand(&self, what: &str, status: StatusCode) -> Result<(), RestError> {
        if status.is_success() {
            return Ok(());
        }
        let hint = match status.as_u16() {
            401 => ": is --secret the server's OPENVIDU_SECRET?",
            404 => ": is --url an OpenVidu server's?",
            429 => ": too many requests with a wrong secret; wait a minute",
            _ => "",
        };
        Err(RestError::Refused { call: what.to_owned(), status: status.as_u16(), hint })
    }
}

/// What to do about it.
fn hint(reason: &str) -> &'static str {
    if reason.contains("refused") {
        "; does the server run? (Millrace: make run)"
    } else if reason.contains("certificate") || reason.contains("UnknownIssuer") {
        " (a self-signed certificate is accepted with --insecure)"
    } else {
        ""
    }
}

/// The innermost cause, which says most.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
