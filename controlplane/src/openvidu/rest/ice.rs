//! `customIceServers` of a connection, checked as OpenVidu checks them.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::Value;

use super::body::{Fields, Invalid};
use crate::openvidu::compat;
use crate::openvidu::dto::IceServer;

/// The list of a body. Secrets become time-limited credentials at once and are never given back.
pub(super) fn servers(list: Option<&[Value]>, now_ms: u64) -> Result<Vec<IceServer>, Invalid> {
    list.unwrap_or_default().iter().map(|entry| server(entry, now_ms)).collect()
}

/// The configured servers, for connections that name none.
pub(in crate::openvidu) fn configured(servers: &[crate::config::IceServer], now_ms: u64) -> Vec<IceServer> {
    let servers = servers.iter().map(|server| {
        let (username, credential) = match &server.static_auth_secret {
            Some(secret) => {
                let (username, credential) = compat::turn_credentials(secret, now_ms);
                (Some(username), Some(credential))
            }
            None => (server.username.clone(), server.credential.clone()),
        };
        IceServer { url: server.url.clone(), username, credential }
    });
    servers.collect()
}

fn server(entry: &Value, now_ms: u64) -> Result<IceServer, Invalid> {
    let fields = entry.as_object().map(Fields).ok_or("Parameter 'customIceServers' must hold objects")?;
    let url = fields.text("url")?.ok_or("An ICE server needs a 'url'")?;
    let (username, credential) = (fields.text("username")?, fields.text("credential")?);
    let secret = fields.text("staticAuthSecret")?;
    let turn = check_url(url)?;
    let (username, credential) = match (turn, username, credential, secret) {
        (false, None, None, None) => (None, None),
        (false, ..) => return Err("STUN servers have no credentials".into()),
        (true, Some(username), Some(credential), None) => (Some(username.to_owned()), Some(credential.to_owned())),
        (true, None, None, Some(secret)) => {
            let (username, credential) = compat::turn_credentials(secret, now_ms);
            (Some(username), Some(credential))
        }
        (true, ..) => {
            return Err("TURN servers need either 'username' and 'credential', or 'staticAuthSecret'".into());
        }
    };
    Ok(IceServer { url: url.to_owned(), username, credential })
}

/// Whether the URL is one of a TURN server; an error when it is neither TURN nor STUN.
fn check_url(url: &str) -> Result<bool, Invalid> {
    let wrong = |why: &str| format!("ICE server URL '{url}': {why}");
    let (scheme, rest) = url.split_once(':').ok_or_else(|| wrong("no scheme"))?;
    let turn = match scheme {
        "turn" | "turns" => true,
        "stun" | "stuns" => false,
        _ => return Err(wrong("the scheme must be turn, turns, stun or stuns")),
    };
    let authority = match rest.split_once('?') {
        None => rest,
        Some((authority, "transport=udp" | "transport=tcp")) if turn => authority,
        Some(_) => return Err(wrong("only ?transport=udp or tcp of a TURN server is allowed")),
    };
    let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']').ok_or_else(|| wrong("unbalanced brackets"))?;
        host.parse::<Ipv6Addr>().map_err(|_| wrong("not an IPv6 address"))?;
        (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').unwrap_or_default()) })
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
        return Err(wrong("the port must be between 1 and 65535"));
    }
    if !valid_host(host) {
        return Err(wrong("not a host"));
    }
    Ok(turn)
}

fn valid_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.parse::<IpAddr>().is_ok() || (host.len() <= 253 && host.split('.').all(label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(entry: Value) -> Result<IceServer, Invalid> {
        server(&entry, 0)
    }

    #[test]
    fn good_servers_pass() {
        for url in ["stun:a.example.com", "stuns:1.2.3.4:5349", "stun:[2001:db8::1]:3478", "stun:localhost"] {
            assert!(one(json!({"url": url})).is_ok(), "{url}");
        }
        let turn = one(json!({"url": "turn:h:3478?transport=tcp", "username": "u", "credential": "c"})).unwrap();
        assert_eq!(turn.json(), json!({"url": "turn:h:3478?transport=tcp", "username": "u", "credential": "c"}));
        let secret = one(json!({"url": "turns:h", "staticAuthSecret": "s"})).unwrap();
        assert_eq!(secret.credential, Some(compat::turn_credential("s", &secret.username.unwrap())));
    }

    #[test]
    fn bad_servers_are_refused() {
        for entry in [
            json!({"url": "nothing"}),
            json!({"url": "http:h"}),
            json!({"url": "turn:h"}),
            json!({"url": "turn:h", "username": "u"}),
            json!({"url": "turn:h", "username": "u", "credential": "c", "staticAuthSecret": "s"}),
            json!({"url": "stun:h", "username": "u", "credential": "c"}),
            json!({"url": "stun:h?transport=udp"}),
            json!({"url": "stun:h:0"}),
            json!({"url": "stun:h:99999"}),
            json!({"url": "stun:[::1"}),
            json!({"url": "stun:"}),
            json!({"url": 7}),
            json!({}),
            json!("stun:h"),
        ] {
            assert!(one(entry.clone()).is_err(), "{entry}");
        }
    }
}
