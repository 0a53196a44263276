//! `OPENVIDU_CDR*` and `OPENVIDU_WEBHOOK*`, with Millrace's own additions.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};

use super::Generation;
use super::keys::KEYS;
use super::values::{self, Values};
use crate::webhook::{Options, TIMEOUT};

/// Least size of the queue, in MB: a file of it is a quarter, and must hold the longest event.
const MIN_DISK_MB: u32 = 32;

/// Events that OpenVidu 2.20 does not send.
const NEWER_EVENTS: [&str; 3] = ["nodeRecovered", "broadcastStarted", "broadcastStopped"];

pub(super) fn cdr(values: &mut Values) -> Option<PathBuf> {
    values.flag("OPENVIDU_CDR").then(|| values.text("OPENVIDU_CDR_PATH").into())
}

/// Every key is checked, also while the webhook is off.
pub(super) fn webhook(values: &mut Values, compat: Generation) -> Option<Options> {
    let is_on = values.flag("OPENVIDU_WEBHOOK");
    let endpoint = values.text("OPENVIDU_WEBHOOK_ENDPOINT");
    let is_url =
        |text: &str| Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if is_on && endpoint.is_empty() {
        values.problem("OPENVIDU_WEBHOOK_ENDPOINT", "is mandatory with OPENVIDU_WEBHOOK=true".to_owned());
    } else if !endpoint.is_empty() && !is_url(&endpoint) {
        values.problem("OPENVIDU_WEBHOOK_ENDPOINT", "must be a URL with http:// or https://".to_owned());
    }
    let headers = values.parsed(
        "OPENVIDU_WEBHOOK_HEADERS",
        "a list of \"Name: value\", such as [\"Authorization: Basic …\"]",
        |text| values::list(text)?.iter().map(|line| header(line)).collect(),
    );
    let events = events(values, compat);
    let max_age = values.number("MILLRACE_WEBHOOK_MAX_AGE");
    let max_disk_mb = values.parsed("MILLRACE_WEBHOOK_MAX_DISK", "a whole number of megabytes, 32 or more", |text| {
        text.parse::<u32>().ok().filter(|megabytes| *megabytes >= MIN_DISK_MB)
    });
    let options = Options {
        endpoint,
        headers,
        events,
        key: values.optional("MILLRACE_WEBHOOK_KEY").map(str::to_owned),
        tls_verify: values.flag("MILLRACE_WEBHOOK_TLS_VERIFY"),
        timeout: TIMEOUT,
        max_age: Duration::from_secs(max_age.into()),
        max_bytes: u64::from(max_disk_mb) << 20,
    };
    is_on.then_some(options)
}

fn header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let (name, value) = (name.trim(), value.trim());
    let fits =
        !value.is_empty() && HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok();
    fits.then(|| (name.to_owned(), value.to_owned()))
}

fn events(values: &mut Values, compat: Generation) -> Vec<String> {
    let known = default_events(Generation::V2_32);
    if values.given("OPENVIDU_WEBHOOK_EVENTS").is_none() {
        return default_events(compat);
    }
    let text = values.text("OPENVIDU_WEBHOOK_EVENTS");
    let Some(given) = values::list(&text) else {
        values.problem("OPENVIDU_WEBHOOK_EVENTS", "must be a list of names of events".to_owned());
        return Vec::new();
    };
    let unknown: Vec<&str> = given.iter().filter(|name| !known.contains(name)).map(String::as_str).collect();
    if !unknown.is_empty() {
        let message = format!("{} is no event; those that are: {}", unknown.join(", "), known.join(", "));
        values.problem("OPENVIDU_WEBHOOK_EVENTS", message);
    }
    given
}

/// What is sent when nobody says what.
pub(super) fn default_events(compat: Generation) -> Vec<String> {
    let key = KEYS.iter().find(|key| key.env == "OPENVIDU_WEBHOOK_EVENTS");
    let mut events = key.and_then(|key| values::list(key.default)).unwrap_or_default();
    events.retain(|name| compat == Generation::V2_32 || !NEWER_EVENTS.contains(&&**name));
    events
}
