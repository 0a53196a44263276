//! From texts to typed values: one place that collects everything that is wrong.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use super::keys::{KEYS, is_secret};
use super::{IceServer, Problem};

/// The given texts by key, with the problems found so far.
pub(super) struct Values {
    given: HashMap<&'static str, String>,
    pub(super) problems: Vec<Problem>,
}

impl Values {
    pub(super) fn new(given: HashMap<&'static str, String>) -> Self {
        Self { given, problems: Vec::new() }
    }

    /// The text given, without surrounding space; `None` when empty or absent.
    pub(super) fn given(&self, env: &str) -> Option<&str> {
        self.given.get(env).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// The text given, or the default; `None` when both are empty.
    pub(super) fn optional(&self, env: &str) -> Option<&str> {
        let default = || KEYS.iter().find(|key| key.env == env).map(|key| key.default).filter(|text| !text.is_empty());
        self.given(env).or_else(default)
    }

    pub(super) fn text(&self, env: &str) -> String {
        self.optional(env).unwrap_or_default().to_owned()
    }

    /// Parses the text given, or the default.
    pub(super) fn parsed<T: Default>(&mut self, env: &'static str, must: &str, parse: impl Fn(&str) -> Option<T>) -> T {
        let text = self.text(env);
        parse(&text).unwrap_or_else(|| {
            self.problem(env, format!("must be {must}"));
            T::default()
        })
    }

    pub(super) fn flag(&mut self, env: &'static str) -> bool {
        self.parsed(env, "true or false", |text| match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    pub(super) fn number(&mut self, env: &'static str) -> u32 {
        self.parsed(env, "a whole number, 0 or more", |text| text.parse().ok())
    }

    pub(super) fn port(&mut self, env: &'static str) -> u16 {
        self.parsed(env, "a port, 1 to 65535", |text| text.parse().ok().filter(|port| *port > 0))
    }

    pub(super) fn problem(&mut self, env: &'static str, message: String) {
        let value = self.given(env).unwrap_or_default();
        let value = if is_secret(env) && !value.is_empty() { "…".to_owned() } else { value.to_owned() };
        self.problems.push(Problem { key: env, value, message });
    }
}

/// A host as it may stand in a URL: a name or an IP address. IPv6 literals get their brackets.
pub(super) fn host(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<Ipv6Addr>().is_ok() {
        return Some(format!("[{bare}]"));
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let dotted = text.strip_suffix('.').unwrap_or(text);
    (text.len() <= 253 && dotted.split('.').all(label)).then(|| text.to_owned())
}

pub(super) fn ip(text: &str) -> Option<IpAddr> {
    text.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// A list in JSON, or in OpenVidu's lenient form `[a,b,c]`. A list holding one empty string is empty.
pub(super) fn list(text: &str) -> Option<Vec<String>> {
    let items = serde_json::from_str::<Vec<String>>(text).ok().or_else(|| {
        let inside = text.strip_prefix('[')?.strip_suffix(']')?;
        Some(inside.split(',').map(|item| item.trim().trim_matches('"').to_owned()).collect())
    })?;
    Some(if items.iter().all(String::is_empty) { Vec::new() } else { items })
}

/// `OPENVIDU_WEBRTC_ICE_SERVERS`: each entry is `url=…` with credentials or a shared secret behind commas.
pub(super) fn ice_servers(text: &str) -> Option<Vec<IceServer>> {
    let mut entries: Vec<String> = Vec::new();
    for item in list(text)? {
        match entries.last_mut() {
            // The lenient form has split an entry at its own commas.
            Some(last) if !item.trim().starts_with("url=") => {
                last.push(',');
                last.push_str(&item);
            }
            _ => entries.push(item),
        }
    }
    entries.iter().map(|entry| ice_server(entry)).collect()
}

fn ice_server(entry: &str) -> Option<IceServer> {
    let mut server = IceServer::default();
    for part in entry.split(',') {
        let (key, value) = part.trim().split_once('=')?;
        let slot = match key {
            "url" => {
                value.clone_into(&mut server.url);
                continue;
            }
            "username" => &mut server.username,
            "credential" => &mut server.credential,
            "staticAuthSecret" => &mut server.static_auth_secret,
            _ => return None,
        };
        *slot = Some(value.to_owned());
    }
    let (scheme, rest) = server.url.split_once(':')?;
    let credentials = (server.username.is_some(), server.credential.is_some(), server.static_auth_secret.is_some());
    let fits = match scheme {
        "stun" | "stuns" => credentials == (false, false, false) && !rest.contains('?'),
        "turn" | "turns" => {
            let transport = rest.split_once('?').map(|(_, query)| query);
            let transport = matches!(transport, None | Some("transport=udp" | "transport=tcp"));
            transport && matches!(credentials, (true, true, false) | (false, false, true))
        }
        _ => false,
    };
    let authority = rest.split('?').next().unwrap_or_default();
    (fits && is_authority(authority)).then_some(server)
}

/// `host` or `host:port`.
fn is_authority(text: &str) -> bool {
    let colon = text.rfind(':').filter(|colon| !text[*colon..].contains(']'));
    let (name, port) = match colon {
        Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
        None => (text, None),
    };
    // Without brackets an IPv6 address and a port cannot be told apart.
    name.contains(':') == name.starts_with('[')
        && host(name).is_some()
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}
