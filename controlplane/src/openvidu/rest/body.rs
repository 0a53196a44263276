//! Request bodies and query flags, with OpenVidu's strict types: null is absent, nothing is coerced.

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use super::error::ApiError;

/// A member of the wrong type or value, in words.
pub(super) type Invalid = String;

/// The members of a JSON object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(self, name: &str) -> Result<Option<&'a str>, Invalid> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| wrong(name, "a string"))).transpose()
    }

    pub(super) fn flag(self, name: &str) -> Result<Option<bool>, Invalid> {
        self.get(name).map(|value| value.as_bool().ok_or_else(|| wrong(name, "a boolean"))).transpose()
    }

    /// Any JSON number, truncated.
    pub(super) fn integer(self, name: &str) -> Result<Option<i64>, Invalid> {
        let number = |value: &Value| value.as_i64().or_else(|| value.as_f64().map(|float| float as i64));
        self.get(name).map(|value| number(value).ok_or_else(|| wrong(name, "an integer"))).transpose()
    }

    pub(super) fn object(self, name: &str) -> Result<Option<Self>, Invalid> {
        self.get(name).map(|value| value.as_object().map(Self).ok_or_else(|| wrong(name, "an object"))).transpose()
    }

    pub(super) fn array(self, name: &str) -> Result<Option<&'a [Value]>, Invalid> {
        let array = |value: &'a Value| value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(name, "an array"));
        self.get(name).map(array).transpose()
    }

    /// One of some upper-case names.
    pub(super) fn one_of(self, name: &str, allowed: &[&str]) -> Result<Option<&'a str>, Invalid> {
        match self.text(name)? {
            Some(text) if !allowed.contains(&text) => {
                Err(format!("Parameter '{name}' must be one of {}", allowed.join(", ")))
            }
            other => Ok(other),
        }
    }
}

fn wrong(name: &str, what: &str) -> Invalid {
    format!("Type error in parameter '{name}': {what} is expected")
}

/// A JSON object from a body; nothing at all when the body is empty.
pub(super) fn object(headers: &HeaderMap, body: &Bytes, path: &str) -> Result<Option<Map<String, Value>>, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != "application/json" && !kind.ends_with("+json") {
        return Err(ApiError::framework(StatusCode::UNSUPPORTED_MEDIA_TYPE, path));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        _ => Err(ApiError::framework(StatusCode::BAD_REQUEST, path)),
    }
}

/// A boolean query parameter as the framework reads it.
pub(super) fn query_flag(query: Option<&str>, name: &str, default: bool, path: &str) -> Result<bool, ApiError> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    match pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_ascii_lowercase()).next().as_deref() {
        None | Some("") => Ok(default),
        Some("true" | "on" | "yes" | "1") => Ok(true),
        Some("false" | "off" | "no" | "0") => Ok(false),
        Some(_) => Err(ApiError::framework(StatusCode::BAD_REQUEST, path)),
    }
}
