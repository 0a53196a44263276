//! Reading and replaying transcripts; their format is in `golden.rs`.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use futures_util::SinkExt;

use super::{Server, Socket, pass, settings, subscribe_answer};

/// One running transcript.
struct Replay {
    place: String,
    server: Server,
    sockets: HashMap<String, Socket>,
    names: HashMap<String, Value>,
}

/// Replays a file of `golden/`.
pub async fn replay(name: &str) {
    let path = format!("{}/tests/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (_, first) = lines.next().expect("an empty transcript");
    let mode = first.strip_prefix("mode ").expect("a transcript begins with its mode");
    let mut settings = settings();
    mode.clone_into(&mut settings.media_server);
    let server = Server::with(settings).await;
    let mut replay = Replay { place: String::new(), server, sockets: HashMap::new(), names: HashMap::new() };
    for (number, line) in lines {
        replay.place = format!("{name}.txt:{}", number + 1);
        replay.step(line).await;
    }
    replay.place = format!("the end of {name}.txt");
    let open: Vec<_> = replay.sockets.keys().cloned().collect();
    for socket in open {
        replay.quiet(&socket).await;
    }
}

impl Replay {
    async fn step(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(socket) = word.strip_suffix('>') {
            return self.send(socket, rest).await;
        }
        if let Some(socket) = word.strip_prefix('<') {
            return self.receive(socket, rest).await;
        }
        match word {
            "session" => {
                let (status, body) = self.server.api("POST", "/sessions", self.body(rest)).await;
                assert_eq!(status, 200, "{}: {body}", self.place);
            }
            "token" => {
                let (name, rest) = rest.split_once(' ').expect("name");
                let (session, body) = rest.split_once(' ').expect("session");
                let path = format!("/sessions/{session}/connection");
                let (status, connection) = self.server.api("POST", &path, self.body(body)).await;
                assert_eq!(status, 200, "{}: {connection}", self.place);
                self.names.insert(name.to_owned(), connection["token"].clone());
            }
            "rest" => self.rest(rest).await,
            "open" => {
                let socket = self.server.socket().await;
                self.sockets.insert(rest.to_owned(), socket);
            }
            "quiet" => self.quiet(rest).await,
            "pass" => pass(Duration::from_millis(rest.parse().expect("milliseconds"))).await,
            "media" => self.media(rest).await,
            "sdp" => self.sdp(rest),
            _ => panic!("{}: {line}", self.place),
        }
    }

    async fn send(&mut self, name: &str, what: &str) {
        let text = self.filled(what, |text| {
            let quoted = Value::from(text).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        });
        let socket = self.sockets.get_mut(name).unwrap_or_else(|| panic!("{}: {name} is not open", self.place));
        if what == "LOST" {
            self.sockets.remove(name);
        } else if let Some(close) = what.strip_prefix("CLOSE") {
            let (code, reason) = close.trim().split_once(' ').unwrap_or_else(|| (close.trim(), ""));
            let frame = (!code.is_empty())
                .then(|| CloseFrame { code: code.parse::<u16>().expect("a code").into(), reason: reason.into() });
            socket.stream.send(Message::Close(frame)).await.unwrap();
            self.sockets.remove(name);
        } else {
            socket.raw(text).await;
        }
    }

    async fn receive(&mut self, name: &str, what: &str) {
        let place = self.place.clone();
        let socket = self.sockets.get_mut(name).unwrap_or_else(|| panic!("{place}: {name} is not open"));
        if let Some(code) = what.strip_prefix("ENDS ") {
            let end = loop {
                if let Err((code, _)) = socket.frame().await {
                    break code;
                }
            };
            assert_eq!(end.to_string(), code, "{place}");
            self.sockets.remove(name);
            return;
        }
        let got = match tokio::time::timeout(super::SOON, socket.frame()).await {
            Ok(got) => got,
            Err(_) => panic!("{place}: nothing came"),
        };
        if let Some(close) = what.strip_prefix("CLOSE ") {
            let (code, reason) = close.split_once(' ').unwrap_or((close, ""));
            assert_eq!(got, Err((code.parse().expect("a code"), reason.to_owned())), "{place}");
            self.sockets.remove(name);
            return;
        }
        let got = got.unwrap_or_else(|closed| panic!("{place}: the socket was closed: {closed:?}"));
        let wanted: Value = serde_json::from_str(what).unwrap_or_else(|error| panic!("{place}: {error}"));
        if let Err(why) = self.compare("", &wanted, &got) {
            panic!("{place}: {why}\n  want {what}\n  got  {got}");
        }
    }

    async fn rest(&mut self, line: &str) {
        let (call, status) = line.rsplit_once(" => ").expect("a status");
        let mut words = call.splitn(3, ' ');
        let (method, path) = (words.next().unwrap(), words.next().expect("a path"));
        let path = self.filled(path, str::to_owned);
        let body = words.next().map_or(Value::Null, |body| self.body(body));
        let (got, answer) = self.server.api(method, &path, body).await;
        assert_eq!(got.to_string(), status, "{}: {answer}", self.place);
    }

    async fn quiet(&mut self, name: &str) {
        let place = self.place.clone();
        let socket = self.sockets.get_mut(name).unwrap_or_else(|| panic!("{place}: {name} is not open"));
        socket.raw(r#"{"jsonrpc":"2.0","method":"ping","id":"quiet"}"#.to_owned()).await;
        let got = socket.frame().await.unwrap_or_else(|closed| panic!("{place}: {name} is closed: {closed:?}"));
        assert_eq!(got["id"], "quiet", "{place}: {name} also got {got}");
    }

    async fn media(&mut self, wanted: &str) {
        let what = format!("{}: {wanted}", self.place);
        let wanted: Vec<(String, usize)> = wanted
            .split(' ')
            .map(|pair| pair.split_once('=').expect("name=number"))
            .map(|(name, number)| (name.to_owned(), number.parse().expect("a number")))
            .collect();
        let holds = self.server.dataplane.until(&what, |state| {
            wanted.iter().all(|(name, number)| {
                *number
                    == match name.as_str() {
                        "transports" => state.transports.len(),
                        "tracks" => state.tracks.len(),
                        "subscriptions" => state.subscriptions.len(),
                        _ => panic!("{name}"),
                    }
            })
        });
        holds.await;
    }

    fn sdp(&self, line: &str) {
        let mut words = line.splitn(3, ' ');
        let (name, verb, part) = (words.next().unwrap(), words.next().expect("a verb"), words.next().expect("a part"));
        let text = self.names[name].as_str().unwrap();
        let has = text.split("\r\n").any(|line| line == part || line.starts_with(&format!("{part} ")));
        let found = has || text.split("\r\n").any(|line| line.starts_with(part) && part.ends_with(':'));
        match verb {
            "has" => assert!(found, "{}: not in\n{text}", self.place),
            "lacks" => assert!(!found, "{}: is in\n{text}", self.place),
            _ => panic!("{}: {verb}", self.place),
        }
    }

    fn body(&self, text: &str) -> Value {
        let text = self.filled(text, str::to_owned);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", self.place))
    }

    /// The text with its placeholders filled in.
    fn filled(&self, text: &str, quote: impl Fn(&str) -> String) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, tail) = after.split_once("}}").unwrap_or_else(|| panic!("{}: {after}", self.place));
            let value = match name.split_once(' ') {
                Some(("offer", kind)) => offer(kind),
                Some(("answer", name)) => subscribe_answer(self.text(name)),
                _ => self.text(name).to_owned(),
            };
            out.push_str(before);
            out.push_str(&quote(&value));
            rest = tail;
        }
        out + rest
    }

    fn text(&self, name: &str) -> &str {
        let value = self.names.get(name).unwrap_or_else(|| panic!("{}: {name} is not known yet", self.place));
        value.as_str().unwrap_or_else(|| panic!("{}: {name} is no text", self.place))
    }

    /// Compares a value with the expected one, members in order.
    fn compare(&mut self, path: &str, wanted: &Value, got: &Value) -> Result<(), String> {
        let differs = || Err(format!("{path} is {got}, not {wanted}"));
        match (wanted, got) {
            (Value::Object(wanted), Value::Object(members)) => {
                let names = |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
                if names(wanted) != names(members) {
                    return Err(format!("{path} has the members {:?}, not {:?}", names(members), names(wanted)));
                }
                wanted
                    .iter()
                    .try_for_each(|(name, value)| self.compare(&format!("{path}.{name}"), value, &members[name]))
            }
            (Value::Array(wanted), Value::Array(list)) if wanted.len() == list.len() => wanted
                .iter()
                .zip(list)
                .enumerate()
                .try_for_each(|(i, (wanted, got))| self.compare(&format!("{path}[{i}]"), wanted, got)),
            (Value::String(text), _) if text.contains("{{") => {
                let whole = text.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")).filter(|t| !t.contains("{{"));
                match whole.and_then(|t| t.split_once(':')) {
                    Some((name, kind)) => {
                        if !is_of_kind(kind, got) {
                            return Err(format!("{path} is no {kind}: {got}"));
                        }
                        if let Some(known) = self.names.insert(name.to_owned(), got.clone())
                            && name != "_"
                            && known != *got
                        {
                            return Err(format!("{path} is {got}, but was {known} before"));
                        }
                        Ok(())
                    }
                    None if whole.is_some_and(|name| self.names.get(name) == Some(got)) => Ok(()),
                    None if got.as_str().is_some_and(|got| self.filled(text, str::to_owned) == got) => Ok(()),
                    None => differs(),
                }
            }
            (wanted, got) if wanted == got => Ok(()),
            _ => differs(),
        }
    }
}

/// Formats of section 5 of the protocol reference.
fn is_of_kind(kind: &str, value: &Value) -> bool {
    if kind == "time" {
        return value.as_u64().is_some_and(|ms| (1_600_000_000_000..5_000_000_000_000).contains(&ms));
    }
    let Some(text) = value.as_str() else { return false };
    let is_name = |text: &str, len: usize| {
        text.len() == len
            && text.starts_with(|c: char| c.is_ascii_uppercase())
            && text.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let is_connection = |text: &str| text.strip_prefix("con_").is_some_and(|id| is_name(id, 10));
    let stream_of = |letters: &str| {
        let rest = text.strip_prefix("str_").and_then(|t| t.strip_prefix(letters)).and_then(|t| t.strip_prefix('_'));
        let parts = rest.and_then(|rest| rest.split_once('_'));
        parts.is_some_and(|(id, owner)| is_name(id, 4) && is_connection(owner))
    };
    match kind {
        "con" => is_connection(text),
        "cam" => stream_of("CAM"),
        "mic" => stream_of("MIC"),
        "scr" => stream_of("SCR"),
        "cus" => stream_of("CUS"),
        "rpc" => (1..=26).contains(&text.len()) && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='v')),
        "user" => text.len() == 16 && text.chars().all(|c| matches!(c, '0'..='9' | 'A'..='F')),
        "sdp" => text.starts_with("v=0\r\n"),
        "turn" => text.split_once(':').is_some_and(|(expiry, name)| {
            expiry.parse::<u64>().is_ok() && name.len() == 8 && name.chars().all(|c| c.is_ascii_alphanumeric())
        }),
        "credential" => text.len() == 28 && text.ends_with('='),
        // The text of an error whose wording is ours: it ends with its code, as every one does.
        "text" => text.len() > 10,
        _ => kind.strip_prefix("code").is_some_and(|code| text.ends_with(&format!(". Code: {code}"))),
    }
}

/// What browsers offer, by what for.
fn offer(kind: &str) -> String {
    let publish = super::publish_offer();
    let subscribe = super::subscribe_offer();
    let video = |text: &str| text.find("m=video").unwrap();
    let without_video = |text: &str| text[..video(text)].replace("BUNDLE 0 1", "BUNDLE 0");
    match kind {
        "publish" => publish,
        "subscribe" => subscribe,
        "publish_audio" => without_video(&publish),
        "subscribe_audio" => without_video(&subscribe),
        "loopback" => publish.replace("a=sendonly", "a=sendrecv"),
        // No codec but H264.
        "subscribe_h264" => only_h264(&subscribe),
        "publish_h264" => only_h264(&publish),
        "simulcast" => {
            let (head, tail) = publish.split_at(video(&publish));
            let ids = "a=mid:1\r\na=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
                       a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n";
            let tail: String = tail
                .replace("a=mid:1\r\n", ids)
                .split_inclusive("\r\n")
                .filter(|line| !line.starts_with("a=ssrc"))
                .collect();
            let rids = ["rdiv4", "rdiv2", "rdiv1"].map(|rid| format!("a=rid:{rid} send\r\n")).concat();
            format!("{head}{tail}{rids}a=simulcast:send rdiv4;rdiv2;rdiv1\r\n")
        }
        _ => panic!("no offer for {kind}"),
    }
}

fn only_h264(text: &str) -> String {
    let at = text.find("m=video").unwrap();
    let vp8 = [":96 ", ":97 "];
    let keep = |line: &&str| !vp8.iter().any(|pt| line.contains(pt) && line.starts_with("a="));
    let tail: String =
        text[at..].replace("SAVPF 96 97 98 99", "SAVPF 98 99").split_inclusive("\r\n").filter(keep).collect();
    format!("{}{tail}", &text[..at])
}
