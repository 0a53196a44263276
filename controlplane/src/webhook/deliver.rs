//! One delivery over HTTP: OpenVidu's request, with an id and a signature that it lacks.

use std::time::Duration;

use aws_lc_rs::hmac;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url, redirect};

use super::lanes::Outcome;
use super::{Options, StartError};

/// Names a delivery: the same in each attempt, so that a receiver can tell repetitions.
const DELIVERY: HeaderName = HeaderName::from_static("x-millrace-delivery");
/// `sha256=` and the body's HMAC-SHA256 in hexadecimal digits.
const SIGNATURE: HeaderName = HeaderName::from_static("x-millrace-signature");
/// How long a connection is kept for the next delivery.
const IDLE: Duration = Duration::from_secs(30);
/// Of an answer, so much is read, in bytes: what a receiver says beyond is its own affair.
const MAX_ANSWER: usize = 1 << 20;

/// Who delivers.
#[derive(Clone, Debug)]
pub(super) struct Deliverer {
    client: Client,
    url: Url,
    headers: HeaderMap,
    key: Option<hmac::Key>,
}

impl Deliverer {
    /// # Errors
    /// When the URL or a header cannot be used, which the configuration has checked.
    pub(super) fn new(options: &Options) -> Result<Self, StartError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| StartError::Header)?;
            headers.append(name, HeaderValue::from_str(value).map_err(|_| StartError::Header)?);
        }
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        let url = Url::parse(&options.endpoint).map_err(|_| StartError::Url)?;
        let client = Client::builder()
            .user_agent(concat!("Millrace/", env!("CARGO_PKG_VERSION")))
            .timeout(options.timeout)
            .pool_idle_timeout(IDLE)
            // A receiver that has moved is told of by its status: a redirected POST would become a GET.
            .redirect(redirect::Policy::none())
            .no_proxy()
            // Without TLS there need not be any root certificates on the machine.
            .tls_danger_accept_invalid_certs(!options.tls_verify || url.scheme() == "http")
            .build()
            .map_err(|error| StartError::Client(with_sources(&error)))?;
        let key = options.key.as_ref().map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()));
        Ok(Self { client, url, headers, key })
    }

    /// One attempt. `delivery` is the event's own id.
    pub(super) async fn deliver(&self, delivery: &str, body: Vec<u8>) -> Outcome {
        let mut request = self.client.post(self.url.clone()).headers(self.headers.clone()).header(DELIVERY, delivery);
        if let Some(key) = &self.key {
            request = request.header(SIGNATURE, signature(key, &body));
        }
        let answer = match request.body(body).send().await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%delivery, error = %error.without_url(), "webhook receiver not reached");
                return Outcome::Unreachable;
            }
        };
        let status = answer.status();
        match drain(answer).await {
            Ok(()) if status.is_success() => Outcome::Delivered,
            Ok(()) => {
                tracing::debug!(%delivery, %status, "webhook refused");
                Outcome::Refused
            }
            Err(error) => {
                let silent = error.is_timeout();
                tracing::debug!(%delivery, %status, error = %error.without_url(), "webhook answer ended early");
                if silent { Outcome::Unreachable } else { Outcome::Refused }
            }
        }
    }
}

/// An error with what is behind it, which its own text leaves out.
fn with_sources(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Reads an answer to its end: a receiver that dies while it answers may not have kept the event.
async fn drain(mut answer: Response) -> reqwest::Result<()> {
    let mut read = 0;
    while let Some(chunk) = answer.chunk().await? {
        read += chunk.len();
        if read > MAX_ANSWER {
            break;
        }
    }
    Ok(())
}

/// The value of the signature header.
fn signature(key: &hmac::Key, body: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::from("sha256=");
    for byte in hmac::sign(key, body).as_ref() {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_hmac_sha256() {
        // RFC 4231, test cases 2 and 1.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(&key, b"what do ya want for nothing?"), expected);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[0x0b; 20]);
        let expected = "sha256=b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(signature(&key, b"Hi There"), expected);
    }
}
