//! Requests and frames that are not as they should be: every parameter of every request missing, null, and of each wrong
//! type; frames that are no requests; sizes, floods and slow readers. Whatever comes, there is exactly one answer, the
//! session goes on, and nobody else hears of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a panic is the failure")]

mod common;

use std::time::Duration;

use common::*;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// What a parameter must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Flag,
    Int,
    /// Whatever it is, any answer will do.
    Any,
}

use Kind::{Any, Flag, Int, Text};

/// One request: its parameters, all of them valid, and what each must be.
struct Request {
    method: &'static str,
    valid: fn(&Scene) -> Value,
    required: &'static [(&'static str, Kind)],
    optional: &'static [&'static str],
    /// Codes of errors other than -1 that it may meet with malformed parameters.
    codes: &'static [i64],
}

/// A room of two: one who publishes and listens, one who makes mistakes.
struct Scene {
    session: String,
    listener: Socket,
    culprit: Socket,
    stream: String,
    own: String,
}

impl Scene {
    async fn new(server: &Server, number: usize) -> Self {
        let session = format!("room{number}");
        server.session(&session).await;
        let mut listener = server.join(&session, "PUBLISHER", Some("2.32.1")).await;
        let stream = listener.publish().await;
        let mut culprit = server.join(&session, "MODERATOR", None).await;
        listener.expect("participantJoined").await;
        let own = culprit.publish().await;
        listener.expect("participantPublished").await;
        Self { session, listener, culprit, stream, own }
    }
}

/// Section 2 of the protocol reference. `joinRoom` has a test of its own, for want of a seat.
fn requests() -> Vec<Request> {
    let request = |method, valid, required, optional, codes| Request { method, valid, required, optional, codes };
    const NONE: &[&str] = &[];
    vec![
        request(
            "publishVideo",
            |_| {
                let mut params = publish_params(&publish_offer());
                params["filter"] = json!({});
                params
            },
            &[("sdpOffer", Text), ("doLoopback", Flag), ("hasAudio", Flag), ("hasVideo", Flag)],
            &["audioActive", "videoActive", "typeOfVideo", "frameRate", "videoDimensions", "filter"],
            // The culprit publishes already; a filter is refused.
            &[106, 406],
        ),
        request(
            "prepareReceiveVideoFrom",
            |scene| json!({"sender": scene.stream, "reconnect": false}),
            &[("sender", Text), ("reconnect", Flag)],
            NONE,
            &[102],
        ),
        request(
            "receiveVideoFrom",
            |scene| json!({"sender": scene.stream, "sdpOffer": subscribe_offer()}),
            &[("sender", Text), ("sdpOffer", Any)],
            NONE,
            &[102, 302],
        ),
        request(
            "unsubscribeFromVideo",
            |scene| json!({"sender": scene.listener.id}),
            &[("sender", Text)],
            NONE,
            &[102],
        ),
        request(
            "onIceCandidate",
            |scene| json!({"endpointName": scene.culprit.id, "candidate": "", "sdpMid": "0", "sdpMLineIndex": 0}),
            &[("endpointName", Text), ("candidate", Text), ("sdpMid", Text), ("sdpMLineIndex", Int)],
            NONE,
            &[102],
        ),
        request("sendMessage", |_| json!({"message": "{\"to\":[]}"}), &[("message", Text)], NONE, &[600]),
        request(
            "streamPropertyChanged",
            |scene| json!({"streamId": scene.own, "property": "audioActive", "newValue": true, "reason": "publishAudio"}),
            &[("streamId", Any), ("property", Any), ("newValue", Any), ("reason", Any)],
            NONE,
            &[],
        ),
        request("forceDisconnect", |_| json!({"connectionId": "con_X"}), &[("connectionId", Text)], NONE, &[102]),
        request("forceUnpublish", |_| json!({"streamId": "str_X"}), &[("streamId", Text)], NONE, &[105]),
        request(
            "applyFilter",
            |scene| json!({"streamId": scene.own, "type": "GStreamerFilter", "options": "{}"}),
            &[("streamId", Any), ("type", Any), ("options", Any)],
            NONE,
            &[102, 105, 406],
        ),
        request("removeFilter", |scene| json!({"streamId": scene.own}), &[("streamId", Any)], NONE, &[102, 105, 406]),
        request(
            "execFilterMethod",
            |scene| json!({"streamId": scene.own, "method": "m", "params": "{}"}),
            &[("streamId", Any), ("method", Any), ("params", Any)],
            NONE,
            &[102, 105, 406],
        ),
        request(
            "addFilterEventListener",
            |scene| json!({"streamId": scene.own, "eventType": "e"}),
            &[("streamId", Any), ("eventType", Any)],
            NONE,
            &[102, 105, 406],
        ),
        request(
            "removeFilterEventListener",
            |scene| json!({"streamId": scene.own, "eventType": "e"}),
            &[("streamId", Any), ("eventType", Any)],
            NONE,
            &[102, 105, 406, 407],
        ),
        request(
            "reconnectStream",
            |scene| json!({"stream": scene.own, "sdpString": publish_offer(), "forciblyReconnect": false}),
            &[("stream", Text), ("sdpString", Any)],
            &["forciblyReconnect"],
            &[105, 302],
        ),
        request(
            "videoData",
            |_| json!({"height": 480, "width": 640, "videoActive": true, "audioActive": true}),
            &[("height", Int), ("width", Int), ("videoActive", Flag), ("audioActive", Flag)],
            NONE,
            &[],
        ),
        request("echo", |_| json!({}), &[], &["anything"], &[]),
        request(
            "subscribeToSpeechToText",
            |_| json!({"connectionId": "con_X", "lang": "en-US"}),
            &[("connectionId", Any), ("lang", Any)],
            NONE,
            &[997],
        ),
        request(
            "unsubscribeFromSpeechToText",
            |_| json!({"connectionId": "c"}),
            &[("connectionId", Any)],
            NONE,
            &[997],
        ),
    ]
}

/// Every value that a parameter can wrongly have; `None`: it is missing.
fn wrong_values() -> Vec<Option<Value>> {
    vec![
        None,
        Some(Value::Null),
        Some(json!({})),
        Some(json!({"a": {"b": []}})),
        Some(json!([])),
        Some(json!([1, 2])),
        Some(json!(true)),
        Some(json!(7)),
        Some(json!(-1.5e300)),
        Some(json!("no such thing")),
        Some(json!("")),
    ]
}

/// Whether a value cannot be read as a kind by any leniency: scalars can be read as texts, texts as flags, and texts of
/// digits as integers, which is what native clients send.
fn is_unreadable(kind: Kind, value: Option<&Value>) -> bool {
    match (kind, value) {
        (Any, _) => false,
        (_, None | Some(Value::Null | Value::Object(_))) => true,
        // A list of one is read as what it holds, a longer or empty one is nothing.
        (_, Some(Value::Array(list))) => list.len() != 1,
        (Int, Some(Value::Bool(_) | Value::String(_))) => true,
        _ => false,
    }
}

/// Sends a request and one that is answered after it: the answers before that, of which there must be one.
async fn only_answer(socket: &mut Socket, method: &str, params: &Value) -> Value {
    let id = socket.send(method, params.clone()).await;
    let after = socket.send("echo", json!({})).await;
    let mut answers = Vec::new();
    loop {
        let frame = socket.frame().await.unwrap_or_else(|end| panic!("{method} {params}: closed {end:?}"));
        if frame["id"] == json!(after) {
            break;
        }
        if frame["id"] == json!(id) {
            answers.push(frame);
        }
    }
    assert_eq!(answers.len(), 1, "{method} {params}: {answers:?}");
    let answer = answers.remove(0);
    assert_ne!(answer.get("result").is_some(), answer.get("error").is_some(), "{answer}");
    answer
}

fn code_of(answer: &Value) -> Option<i64> {
    let code = answer.get("error")?["code"].as_i64().expect("errors have codes");
    let message = answer["error"]["message"].as_str().expect("errors have messages");
    assert!(code < 0 || code == 40007 || message.ends_with(&format!(". Code: {code}")), "{answer}");
    Some(code)
}

fn missing(method: &str, name: &str) -> String {
    format!(
        "java.lang.RuntimeException:Request element '{name}' is missing in RPC method '{method}'. Check that \
         'openvidu-server' and 'openvidu-browser' versions are compatible with each other"
    )
}

#[tokio::test]
async fn every_parameter_of_every_request() {
    let server = Server::start().await;
    let mut number = 0;
    let mut scene = Scene::new(&server, number).await;
    for request in requests() {
        let required = request.required.iter().copied();
        let optional = request.optional.iter().map(|name| (*name, Any));
        for (name, kind) in required.chain(optional) {
            for value in wrong_values() {
                let mut params = (request.valid)(&scene);
                match &value {
                    Some(value) => params[name] = value.clone(),
                    None => drop(params.as_object_mut().unwrap().remove(name)),
                }
                let what = format!("{} with {name}: {value:?}", request.method);
                let answer = only_answer(&mut scene.culprit, request.method, &params).await;
                match code_of(&answer) {
                    Some(-1) if value.is_none() && kind != Any => {
                        assert_eq!(answer["error"]["message"], missing(request.method, name), "{what}");
                        assert!(answer["error"]["data"].is_string(), "{what}: {answer}");
                    }
                    Some(code) if is_unreadable(kind, value.as_ref()) => assert_eq!(code, -1, "{what}: {answer}"),
                    Some(code) => assert!(code == -1 || request.codes.contains(&code), "{what}: {answer}"),
                    None => {
                        assert!(!is_unreadable(kind, value.as_ref()), "{what}: {answer}");
                        number += 1;
                        scene = Scene::new(&server, number).await;
                        continue;
                    }
                }
                scene.listener.silent().await;
            }
        }
    }
    assert!(number > 10, "hardly anything was lenient: {number}");
}

#[tokio::test]
async fn every_parameter_of_joining() {
    let server = Server::start().await;
    let mut scene = Scene::new(&server, 0).await;
    let texts = ["token", "session", "platform", "metadata", "secret"].map(|name| (name, Text));
    for (name, kind) in texts.into_iter().chain([("recorder", Any), ("sdkVersion", Any), ("stt", Any)]) {
        for value in wrong_values() {
            let token = server.token(&scene.session, "PUBLISHER").await;
            let mut params = join_params(&scene.session, &token, Some("2.32.1"));
            match &value {
                Some(value) => params[name] = value.clone(),
                None => drop(params.as_object_mut().unwrap().remove(name)),
            }
            let mut socket = server.socket().await;
            let what = format!("joinRoom with {name}: {value:?}");
            let answer = only_answer(&mut socket, "joinRoom", &params).await;
            match code_of(&answer) {
                Some(code) if is_unreadable(kind, value.as_ref()) => {
                    assert_eq!(code, -1, "{what}: {answer}");
                    if value.is_none() {
                        assert_eq!(answer["error"]["message"], missing("joinRoom", name));
                    }
                }
                Some(code) => assert!([-1, 202, 401].contains(&code), "{what}: {answer}"),
                None => {
                    assert!(!is_unreadable(kind, value.as_ref()), "{what}: {answer}");
                    scene.listener.expect("participantJoined").await;
                    socket.seated(&answer);
                    socket.result("leaveRoom", json!({})).await;
                    scene.listener.expect("participantLeft").await;
                }
            }
            scene.listener.silent().await;
        }
    }
}

#[tokio::test]
async fn requests_of_the_rpc_layer() {
    let server = Server::start().await;
    for value in wrong_values() {
        let mut socket = server.socket().await;
        let mut params = json!({"interval": 5000});
        match &value {
            Some(value) => params["interval"] = value.clone(),
            None => params = json!({}),
        }
        let pong = socket.call("ping", params).await;
        assert_eq!(pong["result"], json!({"value": "pong"}), "a ping is never refused: {value:?}");
        let mut socket = server.socket().await;
        let params = value.clone().map_or(json!({}), |value| json!({"sessionId": value}));
        let answer = socket.call("connect", params).await;
        match value {
            None => assert_eq!(answer["result"]["value"], "OK"),
            Some(_) => {
                let code = code_of(&answer);
                assert!(code == Some(40007) || answer["result"]["value"] == "OK", "{answer}");
            }
        }
        socket.call("ping", json!({"interval": 5000})).await;
    }
    let mut socket = server.socket().await;
    for params in [json!([]), json!([1]), json!("x"), json!(7), json!(true)] {
        let answer = only_answer(&mut socket, "echo", &params).await;
        assert!([Some(-32600), Some(803), Some(-1)].contains(&code_of(&answer)), "{params}: {answer}");
    }
}

#[tokio::test]
async fn closing_the_session_leaves() {
    let server = Server::start().await;
    let mut scene = Scene::new(&server, 0).await;
    let answer = scene.culprit.call("closeSession", Value::Null).await;
    assert!(answer["result"].to_string().contains("bye"), "{answer}");
    let left = json!({"connectionId": scene.culprit.id, "reason": "disconnect"});
    assert_eq!(scene.listener.expect("participantLeft").await, left);
    server.dataplane.until("the listener's transport is left", |dp| dp.transports.len() == 1).await;
    scene.listener.silent().await;
    let mut back = server.socket().await;
    assert_eq!(back.error("connect", json!({"sessionId": scene.culprit.rpc})).await, 40007);
}

#[tokio::test]
async fn frames_that_are_no_requests() {
    let server = Server::start().await;
    let mut scene = Scene::new(&server, 0).await;
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    for (frame, code) in [
        ("{not json".to_owned(), -32700),
        (String::new(), -32700),
        ("\u{feff}{}".to_owned(), -32700),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"id\":1".to_owned(), -32700),
        (deep(100_000), -32700),
        (format!("{{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"id\":1,\"params\":{{\"a\":{}}}}}", deep(5_000)), -32700),
        ("[1,2]".to_owned(), -32600),
        ("[]".to_owned(), -32600),
        ("null".to_owned(), -32600),
        ("7".to_owned(), -32600),
        ("\"ping\"".to_owned(), -32600),
        ("{}".to_owned(), -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":1}".to_owned(), -32600),
        ("{\"jsonrpc\":\"2.0\",\"method\":7,\"id\":1}".to_owned(), -32600),
        ("{\"jsonrpc\":\"2.0\",\"method\":null,\"id\":1}".to_owned(), -32600),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"params\":[],\"id\":1}".to_owned(), -32600),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"id\":{}}".to_owned(), -32600),
    ] {
        scene.culprit.raw(frame.clone()).await;
        let answer = scene.culprit.frame().await.unwrap();
        let shown: String = frame.chars().take(60).collect();
        assert_eq!(code_of(&answer), Some(code), "{shown}: {answer}");
        scene.culprit.silent().await;
    }
    // A batch is none; another version, and requests that nobody asks to answer, are taken for what they are.
    let batch = r#"[{"jsonrpc":"2.0","method":"echo","id":1},{"jsonrpc":"2.0","method":"echo","id":2}]"#;
    scene.culprit.raw(batch.to_owned()).await;
    assert_eq!(code_of(&scene.culprit.frame().await.unwrap()), Some(-32600));
    scene.culprit.raw(r#"{"jsonrpc":"1.0","method":"echo","params":{},"id":"a"}"#.to_owned()).await;
    assert_eq!(scene.culprit.frame().await.unwrap()["id"], "a");
    scene.culprit.raw(r#"{"method":"echo","params":{},"id":"b"}"#.to_owned()).await;
    assert_eq!(scene.culprit.frame().await.unwrap()["id"], "b");
    // What looks like a response is none of ours to answer.
    scene.culprit.raw(r#"{"jsonrpc":"2.0","result":"push","id":1}"#.to_owned()).await;
    scene.culprit.raw(r#"{"jsonrpc":"2.0","error":{"code":1},"id":1}"#.to_owned()).await;
    scene.culprit.silent().await;
    // Without an id there may be an answer, but none that could be taken for another's.
    scene.culprit.raw(r#"{"jsonrpc":"2.0","method":"echo","params":{}}"#.to_owned()).await;
    let after = scene.culprit.send("echo", json!({})).await;
    loop {
        let frame = scene.culprit.frame().await.unwrap();
        if frame["id"] == json!(after) {
            break;
        }
        assert!(frame.get("id").is_none_or(Value::is_null), "{frame}");
    }
    scene.listener.silent().await;
}

#[tokio::test]
async fn binary_frames_change_nothing() {
    let server = Server::start().await;
    let mut scene = Scene::new(&server, 0).await;
    for bytes in [vec![], vec![0xff; 100], br#"{"jsonrpc":"2.0","method":"leaveRoom","params":{},"id":1}"#.to_vec()] {
        scene.culprit.stream.send(Message::Binary(bytes.into())).await.unwrap();
        scene.culprit.stream.send(Message::Ping(vec![1].into())).await.unwrap();
    }
    scene.culprit.result("echo", json!({})).await;
    scene.culprit.silent().await;
    scene.listener.silent().await;
}

#[tokio::test]
async fn invalid_utf_8_ends_the_socket_but_not_the_seat() {
    let server = Server::start().await;
    let mut scene = Scene::new(&server, 0).await;
    let frame = Frame::message(vec![b'{', 0xff, 0xfe, b'}'], OpCode::Data(Data::Text), true);
    scene.culprit.stream.send(Message::Frame(frame)).await.unwrap();
    assert!(scene.culprit.frame().await.is_err());
    let mut back = server.socket().await;
    let answer = back.call("connect", json!({"sessionId": scene.culprit.rpc})).await;
    assert_eq!(answer["result"]["value"], "reconnection successful");
    scene.listener.silent().await;
}

#[tokio::test]
async fn metadata_of_64_kb_is_seen_by_the_others() {
    let server = Server::start().await;
    let mut scene = Scene::new(&server, 0).await;
    let client = format!("{{\"clientData\":\"{}\"}}", "ü€😀\\\"".repeat(7_000));
    assert!(client.len() > 64 * 1024);
    let body = json!({"role": "PUBLISHER", "data": "s".repeat(9_000)});
    let (status, connection) = server.api("POST", "/sessions/room0/connection", body).await;
    assert_eq!(status, 200);
    let mut socket = server.socket().await;
    let mut params = join_params("room0", connection["token"].as_str().unwrap(), None);
    params["metadata"] = client.clone().into();
    let joined = socket.call("joinRoom", params).await;
    let whole = json!(format!("{client}%/%{}", "s".repeat(9_000)));
    assert_eq!(joined["result"]["metadata"], whole);
    assert_eq!(scene.listener.expect("participantJoined").await["metadata"], whole);
    let late = server.token("room0", "SUBSCRIBER").await;
    let mut last = server.socket().await;
    let joined = last.call("joinRoom", join_params("room0", &late, None)).await;
    let seen = joined["result"]["value"].as_array().unwrap().iter().filter(|p| p["metadata"] == whole).count();
    assert_eq!(seen, 1);
}

/// Sends a text of this length, in pieces of at most a quarter of a megabyte if so wanted; the server may hang up.
async fn send_long(socket: &mut Socket, len: usize, in_pieces: bool) {
    let text =
        format!("{{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"params\":{{\"x\":\"{}\"}},\"id\":77}}", "x".repeat(len));
    if !in_pieces {
        let _ = socket.stream.send(Message::Text(text.into())).await;
        return;
    }
    let bytes = text.into_bytes();
    let pieces = bytes.chunks(256 * 1024);
    let last = pieces.len() - 1;
    for (i, piece) in pieces.enumerate() {
        let opcode = OpCode::Data(if i == 0 { Data::Text } else { Data::Continue });
        let frame = Frame::message(piece.to_vec(), opcode, i == last);
        if socket.stream.send(Message::Frame(frame)).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_frame_of_more_than_a_megabyte_ends_in_a_clean_farewell() {
    for in_pieces in [false, true] {
        let server = Server::start().await;
        let mut scene = Scene::new(&server, 0).await;
        send_long(&mut scene.culprit, 1_000_000, in_pieces).await;
        assert_eq!(scene.culprit.frame().await.unwrap()["id"], 77, "a little less is fine");
        send_long(&mut scene.culprit, 1_100_000, in_pieces).await;
        let evicted = json!({"connectionId": scene.culprit.id, "reason": "networkDisconnect"});
        assert_eq!(scene.culprit.expect("participantEvicted").await, evicted, "so that the client does not come back");
        let (code, _) = scene.culprit.frame().await.unwrap_err();
        assert_eq!(code, 1009);
        assert_eq!(scene.listener.expect("participantLeft").await, evicted);
        assert_eq!(scene.listener.expect("participantEvicted").await, evicted);
        scene.listener.silent().await;
        let mut back = server.socket().await;
        assert_eq!(back.error("connect", json!({"sessionId": scene.culprit.rpc})).await, 40007);
        server.dataplane.until("the listener's transport is left", |dp| dp.transports.len() == 1).await;
        // Who has not joined is told nothing but the code.
        let mut stranger = server.socket().await;
        send_long(&mut stranger, 1_100_000, in_pieces).await;
        assert_eq!(stranger.frame().await.unwrap_err().0, 1009);
    }
}

#[tokio::test]
async fn three_hundred_requests_at_once_are_all_answered() {
    let server = Server::start().await;
    let mut scene = Scene::new(&server, 0).await;
    for id in 0..300 {
        let frame = json!({"jsonrpc": "2.0", "method": "echo", "params": {}, "id": format!("r{id}")});
        scene.culprit.stream.feed(Message::Text(frame.to_string().into())).await.unwrap();
    }
    scene.culprit.stream.flush().await.unwrap();
    let mut answered = std::collections::BTreeSet::new();
    let mut last = None;
    while answered.len() < 300 {
        let frame = scene.culprit.frame().await.unwrap();
        let id: u32 = frame["id"].as_str().and_then(|id| id.strip_prefix('r')).unwrap().parse().unwrap();
        assert!(answered.insert(id), "{frame} is a second answer");
        match code_of(&frame) {
            None => {
                assert!(last < Some(id), "{id} is answered after {last:?}");
                last = Some(id);
            }
            Some(code) => assert_eq!(code, -32000, "{frame}"),
        }
    }
    scene.culprit.silent().await;
    scene.culprit.result("echo", json!({})).await;
    scene.listener.silent().await;
}

#[tokio::test]
async fn a_flood_of_rubbish_is_answered_or_cut_off_while_others_are_served() {
    let server = Server::start().await;
    let mut scene = Scene::new(&server, 0).await;
    let (mut sink, mut source) = scene.culprit.stream.split();
    let flood = tokio::spawn(async move {
        for _ in 0..20_000 {
            if sink.send(Message::Text("[".into())).await.is_err() {
                return;
            }
        }
    });
    let reader = tokio::spawn(async move { while let Some(Ok(_)) = source.next().await {} });
    for _ in 0..20 {
        let started = std::time::Instant::now();
        scene.listener.call("echo", json!({})).await;
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    flood.await.unwrap();
    reader.abort();
    scene.listener.call("echo", json!({})).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_holds_nobody_up() {
    let server = Server::start().await;
    server.session("room").await;
    let mut talker = server.join("room", "PUBLISHER", None).await;
    let mut deaf = server.join("room", "PUBLISHER", None).await;
    talker.expect("participantJoined").await;
    // The deaf one's socket takes some megabytes, its outbox eight more; then it is cut off and its seat waits.
    let message = json!({"to": [], "data": "x".repeat(900_000), "type": "signal:flood"}).to_string();
    for _ in 0..60 {
        talker.send("sendMessage", json!({"message": message})).await;
        let mut answered = false;
        while !answered {
            answered = talker.frame().await.expect("the talker stays").get("id").is_some();
        }
    }
    let mut got = 0;
    while let Ok(frame) = deaf.frame().await {
        assert_eq!(frame["method"], "sendMessage", "it got what fitted, then the end");
        got += 1;
    }
    assert!((1..45).contains(&got), "{got} of 60 megabytes waited for it");
    talker.result("echo", json!({})).await;
    server.stop().await;
}
