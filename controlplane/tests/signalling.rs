//! Scripted clients against a running server: the worked trace of the protocol reference, and what goes wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a panic is the failure")]

mod common;

use common::*;
use dataplane_protocol::{Command, MediaKind};
use serde_json::{Value, json};

/// Members whose values differ from run to run.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let member = |(name, value): (&String, &Value)| {
                let value = match name.as_str() {
                    "createdAt" => json!(0),
                    "finalUserId" | "turnUsername" | "turnCredential" | "username" | "credential" => json!("*"),
                    "sdpAnswer" | "sdpOffer" => json!("SDP"),
                    _ => normal(value),
                };
                (name.clone(), value)
            };
            Value::Object(object.iter().map(member).collect())
        }
        Value::Array(list) => list.iter().map(normal).collect(),
        other => other.clone(),
    }
}

fn join_result(me: &str, metadata: &str, value: Value, version: &str, mode: &str, rpc: &str) -> Value {
    json!({
        "id": me, "finalUserId": "*", "createdAt": 0, "metadata": metadata, "value": value, "session": "room",
        "version": version, "mediaServer": mode, "videoSimulcast": false, "record": true, "role": "PUBLISHER",
        "coturnIp": "198.51.100.4", "coturnPort": 3478, "turnUsername": "*", "turnCredential": "*",
        "customIceServers": [{"url": "turn:198.51.100.4:3478", "username": "*", "credential": "*"}], "sessionId": rpc,
    })
}

fn stream(id: &str, rate: i64) -> Value {
    json!({
        "id": id, "createdAt": 0, "hasAudio": true, "hasVideo": true, "audioActive": true, "videoActive": true,
        "typeOfVideo": "CAMERA", "frameRate": rate, "videoDimensions": "{\"width\":640,\"height\":480}", "filter": {},
    })
}

/// Text equality: members in the reference's order, too.
#[track_caller]
fn same(actual: &Value, expected: Value) {
    assert_eq!(normal(actual).to_string(), expected.to_string());
}

/// Chapter 11 of the reference: Alice on 2.32.1, Bob on 2.20.0.
async fn worked_trace(mode: &str) {
    let server =
        Server::with(millrace_controlplane::openvidu::Settings { media_server: mode.into(), ..settings() }).await;
    server.session("room").await;

    let (mut a, mut b) = (server.socket().await, server.socket().await);
    let pong = a.call("ping", json!({"interval": 5000})).await;
    assert_eq!(pong.to_string(), r#"{"id":0,"result":{"value":"pong"},"jsonrpc":"2.0"}"#);
    let token = server.token("room", "PUBLISHER").await;
    let mut params = join_params("room", &token, Some("2.32.1"));
    params["metadata"] = json!("{\"clientData\":\"Alice\"}");
    let joined = a.call("joinRoom", params).await;
    let result = &joined["result"];
    a.id = result["id"].as_str().unwrap().to_owned();
    a.rpc = result["sessionId"].as_str().unwrap().to_owned();
    same(result, join_result(&a.id, "{\"clientData\":\"Alice\"}", json!([]), "2.32.1", mode, &a.rpc));

    let published = a.result("publishVideo", publish_params(&publish_offer())).await;
    let a_stream = published["id"].as_str().unwrap().to_owned();
    assert!(a_stream.starts_with("str_CAM_") && a_stream.ends_with(&a.id), "{a_stream}");
    same(&published, json!({"sdpAnswer": "SDP", "id": a_stream, "createdAt": 0}));
    let candidate = json!({
        "endpointName": a.id, "candidate": "candidate:1 1 udp 2122194687 192.0.2.2 51181 typ host", "sdpMid": "0",
        "sdpMLineIndex": 0,
    });
    same(&a.result("onIceCandidate", candidate).await, json!({}));
    let pong = a.call("ping", Value::Null).await;
    assert_eq!(pong["result"], json!({"value": "pong"}));

    let token = server.token("room", "PUBLISHER").await;
    let mut params = join_params("room", &token, None);
    params["metadata"] = json!("BobMeta");
    b.call("ping", json!({"interval": 5000})).await;
    let joined = b.call("joinRoom", params).await;
    let result = &joined["result"];
    b.id = result["id"].as_str().unwrap().to_owned();
    b.rpc = result["sessionId"].as_str().unwrap().to_owned();
    let alice = json!({
        "id": a.id, "createdAt": 0, "metadata": "{\"clientData\":\"Alice\"}", "streams": [stream(&a_stream, -1)],
    });
    same(result, join_result(&b.id, "BobMeta", json!([alice]), "2.20.0", mode, &b.rpc));
    same(&a.expect("participantJoined").await, json!({"id": b.id, "createdAt": 0, "metadata": "BobMeta"}));

    subscribe(&mut b, &a_stream, mode).await;

    let mut params = publish_params(&publish_offer());
    params["frameRate"] = json!(15);
    let published = b.result("publishVideo", params).await;
    let b_stream = published["id"].as_str().unwrap().to_owned();
    same(&a.expect("participantPublished").await, json!({"id": b.id, "streams": [stream(&b_stream, 15)]}));
    subscribe(&mut a, &b_stream, mode).await;

    let data = json!({"height": 480, "width": 640, "videoActive": true, "audioActive": true});
    same(&a.result("videoData", data).await, json!({}));
    let mute = json!({"streamId": a_stream, "property": "audioActive", "newValue": false, "reason": "publishAudio"});
    same(&a.result("streamPropertyChanged", mute).await, json!({}));
    let expected = json!({
        "connectionId": a.id, "streamId": a_stream, "property": "audioActive", "newValue": "false",
        "reason": "publishAudio",
    });
    same(&b.expect("streamPropertyChanged").await, expected);
    let turned = json!({
        "streamId": a_stream, "property": "videoDimensions", "newValue": "{\"width\":320,\"height\":240}",
        "reason": "deviceRotated",
    });
    same(&a.result("streamPropertyChanged", turned).await, json!({}));
    let heard = b.expect("streamPropertyChanged").await;
    assert_eq!(heard["newValue"], json!("\"{\\\"width\\\":320,\\\"height\\\":240}\""));

    let signal = json!({"message": "{\"to\":[],\"data\":\"hello\",\"type\":\"signal:chat\"}"});
    let id = a.send("sendMessage", signal).await;
    let expected = json!({"data": "hello", "type": "signal:chat", "from": a.id});
    same(&a.frame().await.unwrap()["params"], expected.clone());
    assert_eq!(a.frame().await.unwrap()["id"], json!(id), "the response follows the own notification");
    same(&b.expect("sendMessage").await, expected);

    same(&a.result("unpublishVideo", json!({})).await, json!({}));
    same(&b.expect("participantUnpublished").await, json!({"connectionId": a.id, "reason": "unpublish"}));
    same(&a.result("leaveRoom", json!({})).await, json!({}));
    same(&b.expect("participantLeft").await, json!({"connectionId": a.id, "reason": "disconnect"}));
    same(&b.result("leaveRoom", json!({})).await, json!({}));

    assert_eq!(server.api("GET", "/sessions/room", Value::Null).await.0, 404);
    server.dataplane.until("everything removed", |dp| dp.transports.is_empty() && dp.tracks.is_empty()).await;
    server.stop().await;
}

async fn subscribe(socket: &mut Socket, stream: &str, mode: &str) {
    if mode == "mediasoup" {
        let prepared = socket.result("prepareReceiveVideoFrom", json!({"sender": stream, "reconnect": false})).await;
        same(&prepared, json!({"sdpOffer": "SDP"}));
        let answer = subscribe_answer(prepared["sdpOffer"].as_str().unwrap());
        same(&socket.result("receiveVideoFrom", json!({"sender": stream, "sdpAnswer": answer})).await, json!({}));
    } else {
        let params = json!({"sender": stream, "sdpOffer": subscribe_offer()});
        same(&socket.result("receiveVideoFrom", params).await, json!({"sdpAnswer": "SDP"}));
    }
}

#[tokio::test]
async fn the_worked_trace_in_kurento_mode() {
    worked_trace("kurento").await;
}

#[tokio::test]
async fn the_worked_trace_in_mediasoup_mode() {
    worked_trace("mediasoup").await;
}

#[tokio::test]
async fn client_offers_are_taken_in_mediasoup_mode_too() {
    let server = Server::start().await;
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", Some("2.32.1")).await;
    let mut b = server.join("room", "SUBSCRIBER", None).await;
    let stream = a.publish().await;
    b.expect("participantPublished").await;
    subscribe(&mut b, &stream, "kurento").await;
    let path = format!("/sessions/room/connection/{}", b.id);
    let (_, shown) = server.api("GET", &path, Value::Null).await;
    assert_eq!(shown["subscribers"][0]["streamId"], json!(stream));
    same(&b.result("unsubscribeFromVideo", json!({"sender": a.id})).await, json!({}));
    server.dataplane.until("only the publisher is left", |dp| dp.transports.len() == 1).await;
}

#[tokio::test]
async fn joining_is_refused_in_openvidus_words() {
    let server = Server::start().await;
    server.session("room").await;
    server.session("other").await;
    let mut s = server.socket().await;
    let refused = s.call("publishVideo", publish_params("")).await;
    assert_eq!(refused["error"]["code"], 803);
    assert!(refused["error"]["message"].as_str().unwrap().starts_with("No connection found for participant"));

    let token = "wss://ov.example.com?sessionId=room&token=tok_bad";
    let refused = s.call("joinRoom", join_params("room", token, None)).await;
    let text = format!("Unable to join session room. Token {token} is not valid. Code: 401");
    assert_eq!(refused["error"], json!({"code": 401, "message": text}));
    assert!(refused.get("result").is_none());
    assert_eq!(s.error("joinRoom", join_params("nowhere", token, None)).await, 202);
    let refused = s.call("leaveRoom", json!({})).await;
    assert!(refused["error"]["message"].as_str().unwrap().starts_with("No session information found"));

    let foreign = server.token("other", "PUBLISHER").await;
    assert_eq!(s.error("joinRoom", join_params("room", &foreign, None)).await, 401);
    let missing = s.call("joinRoom", json!({"session": "room"})).await;
    assert_eq!(missing["error"]["code"], -1);
    assert!(missing["error"]["message"].as_str().unwrap().contains("Request element 'token' is missing"));

    // Proxies rewrite hosts and schemes: the query values are what counts. And a token is good once.
    let token = server.token("room", "PUBLISHER").await.replace("wss://ov.example.com", "ws://10.0.0.1:81/x");
    let joined = s.call("joinRoom", join_params("room", &token, None)).await;
    assert!(joined["result"]["id"].is_string(), "{joined}");
    let mut again = server.socket().await;
    assert_eq!(again.error("joinRoom", join_params("room", &token, None)).await, 401);
}

#[tokio::test]
async fn what_a_role_forbids_is_refused() {
    let server = Server::start().await;
    server.session("room").await;
    let mut s = server.join("room", "SUBSCRIBER", None).await;
    let refused = s.call("publishVideo", publish_params(&publish_offer())).await;
    let text = "Unable to publish video. The user does not have a valid token. Code: 401";
    assert_eq!(refused["error"], json!({"code": 401, "message": text}));
    assert_eq!(s.error("forceDisconnect", json!({"connectionId": s.id.clone()})).await, 401);
    assert_eq!(s.error("forceUnpublish", json!({"streamId": "str"})).await, 401);
}

#[tokio::test]
async fn every_wrong_request_gets_an_answer() {
    let server = Server::start().await;
    server.session("room").await;
    let mut s = server.join("room", "PUBLISHER", Some("2.32.1")).await;
    let stream = s.publish().await;
    assert_eq!(s.error("publishVideo", publish_params(&publish_offer())).await, 106);
    assert_eq!(s.error("receiveVideoFrom", json!({"sender": stream, "sdpOffer": "x"})).await, 105);
    assert_eq!(s.error("receiveVideoFrom", json!({"sender": "str_CAM_A_con_X", "sdpOffer": "x"})).await, 102);
    assert_eq!(s.error("unsubscribeFromVideo", json!({"sender": "con_X"})).await, 102);
    assert_eq!(s.error("sendMessage", json!({"message": "no json"})).await, 600);
    assert_eq!(s.error("sendMessage", json!({"message": "{\"to\":[null]}"})).await, 601);
    assert_eq!(s.error("sendMessage", json!({"message": "{\"to\":[\"con_X\"]}"})).await, 601);
    let filter = json!({"streamId": stream, "type": "GStreamerFilter", "options": "{}"});
    assert_eq!(s.error("applyFilter", filter).await, 406);
    assert_eq!(s.error("execFilterMethod", json!({"streamId": stream, "method": "m", "params": "{}"})).await, 406);
    assert_eq!(s.error("subscribeToSpeechToText", json!({"connectionId": "c", "lang": "en"})).await, 997);
    assert_eq!(s.error("reconnectStream", json!({"stream": "str_X", "sdpString": "x"})).await, 105);
    assert_eq!(s.error("videoData", json!({"height": 1})).await, -1);
    assert_eq!(s.error("customRequest", json!({})).await, -32601);
    assert_eq!(s.error("forciblyNothing", Value::Null).await, -32601);
    same(&s.result("unpublishVideo", json!({})).await, json!({}));
    let refused = s.call("unpublishVideo", json!({})).await;
    let text = format!("Participant '{}' is not streaming media. Code: 105", s.id);
    assert_eq!(refused["error"], json!({"code": 105, "message": text, "sessionId": s.rpc}));
    assert_eq!(refused["data"], json!({}));
    let muted = json!({"streamId": stream, "property": "audioActive", "newValue": true, "reason": "publishAudio"});
    same(&s.result("streamPropertyChanged", muted).await, json!({}));
    let malformed = s.call("publishVideo", publish_params("v=0\r\nnonsense")).await;
    assert_eq!(malformed["error"]["code"], -1, "{malformed}");
    assert!(!s.publish().await.is_empty(), "the participant goes on");

    let long = json!({"to": [], "data": "x".repeat(900_000), "type": "signal:long"}).to_string();
    same(&s.result("sendMessage", json!({"message": long})).await, json!({}));
    assert_eq!(s.expect("sendMessage").await["data"].as_str().map(str::len), Some(900_000));

    s.raw("{not json".into()).await;
    assert_eq!(s.frame().await.unwrap()["error"]["code"], -32700);
    s.raw("[1,2]".into()).await;
    assert_eq!(s.frame().await.unwrap()["error"]["code"], -32600);
    s.silent().await;
}

#[tokio::test]
async fn forced_codecs_are_honoured() {
    let server = Server::start().await;
    let body = json!({"customSessionId": "room", "forcedVideoCodec": "H264"});
    assert_eq!(server.api("POST", "/sessions", body).await.0, 200);
    let mut s = server.join("room", "PUBLISHER", None).await;
    let published = s.result("publishVideo", publish_params(&publish_offer())).await;
    let answer = published["sdpAnswer"].as_str().unwrap();
    assert!(answer.contains("H264/90000") && !answer.contains("VP8/90000"), "{answer}");

    let body = json!({"customSessionId": "vp9", "forcedVideoCodec": "VP9"});
    assert_eq!(server.api("POST", "/sessions", body).await.0, 200);
    let mut s = server.join("vp9", "PUBLISHER", None).await;
    assert_eq!(s.error("publishVideo", publish_params(&publish_offer())).await, 800);
}

#[tokio::test]
async fn a_moderator_expels_and_unpublishes() {
    let server = Server::start().await;
    server.session("room").await;
    let mut m = server.join("room", "MODERATOR", Some("2.32.1")).await;
    let mut b = server.join("room", "PUBLISHER", None).await;
    m.expect("participantJoined").await;
    let stream = b.publish().await;
    m.expect("participantPublished").await;

    same(&m.result("forceUnpublish", json!({"streamId": stream})).await, json!({}));
    let expected = json!({"connectionId": b.id, "reason": "forceUnpublishByUser"});
    same(&m.expect("participantUnpublished").await, expected.clone());
    same(&b.expect("participantUnpublished").await, expected);
    assert_eq!(m.error("forceUnpublish", json!({"streamId": stream})).await, 105);

    let id = m.send("forceDisconnect", json!({"connectionId": b.id})).await;
    let expected = json!({"connectionId": b.id, "reason": "forceDisconnectByUser"});
    same(&m.expect("participantLeft").await, expected.clone());
    assert_eq!(m.frame().await.unwrap()["id"], json!(id));
    same(&m.expect("participantEvicted").await, expected.clone());
    same(&b.expect("participantEvicted").await, expected);
    assert_eq!(m.error("forceDisconnect", json!({"connectionId": "con_X"})).await, 102);
    assert_eq!(b.error("publishVideo", publish_params(&publish_offer())).await, 102);
}

#[tokio::test]
async fn closing_a_session_evicts_one_by_one() {
    let server = Server::start().await;
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", Some("2.32.1")).await;
    let mut b = server.join("room", "PUBLISHER", None).await;
    a.expect("participantJoined").await;
    assert_eq!(server.api("DELETE", "/sessions/room", Value::Null).await.0, 204);
    let of = |id: &str| json!({"connectionId": id, "reason": "sessionClosedByServer"});
    same(&a.expect("participantEvicted").await, of(&a.id));
    same(&b.expect("participantLeft").await, of(&a.id));
    same(&b.expect("participantEvicted").await, of(&a.id));
    same(&b.expect("participantEvicted").await, of(&b.id));
}

#[tokio::test]
async fn a_lost_socket_may_come_back() {
    let server = Server::start().await;
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", Some("2.32.1")).await;
    let b = server.join("room", "PUBLISHER", None).await;
    a.expect("participantJoined").await;
    drop(b.stream);

    let mut back = server.socket().await;
    let frame = back.call("connect", json!({"sessionId": b.rpc, "reconnect": true})).await;
    let expected = json!({"value": "reconnection successful", "sessionId": b.rpc});
    assert_eq!(frame["result"].to_string(), expected.to_string());
    back.rpc = b.rpc;
    same(&back.result("echo", json!({})).await, json!({}));
    a.silent().await;

    let mut stranger = server.socket().await;
    let frame = stranger.call("connect", json!({"sessionId": "nobody"})).await;
    let text = r#"{"id":0,"error":{"code":40007,"message":"reconnection error"},"jsonrpc":"2.0"}"#;
    assert_eq!(frame.to_string(), text);
}

#[tokio::test]
async fn a_data_plane_that_is_away_or_refuses_is_an_error_to_the_client() {
    let server = Server::start().await;
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", Some("2.32.1")).await;
    server.dataplane.state.lock().unwrap().refuse = Some("Publish");
    assert_eq!(a.error("publishVideo", publish_params(&publish_offer())).await, 303);
    server.dataplane.until("the half-made transport is removed", |dp| dp.transports.is_empty()).await;
    server.dataplane.state.lock().unwrap().refuse = Some("Subscribe");
    let stream = a.publish().await;
    let mut b = server.join("room", "SUBSCRIBER", None).await;
    let params = json!({"sender": stream, "sdpOffer": subscribe_offer()});
    assert_eq!(b.error("receiveVideoFrom", params).await, 303);
    server.dataplane.until("only the publisher is left", |dp| dp.transports.len() == 1).await;
}

#[tokio::test]
async fn a_restarted_data_plane_ends_the_streams() {
    let mut server = Server::start().await;
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", Some("2.32.1")).await;
    let mut b = server.join("room", "PUBLISHER", None).await;
    a.expect("participantJoined").await;
    a.publish().await;
    b.expect("participantPublished").await;
    server.restart_dataplane(2).await;
    let expected = json!({"connectionId": a.id, "reason": "mediaServerReconnect"});
    same(&a.expect("participantUnpublished").await, expected.clone());
    same(&b.expect("participantUnpublished").await, expected);
    assert!(!a.publish().await.is_empty(), "everybody may publish again");
}

#[tokio::test]
async fn streams_are_reconnected_both_ways() {
    let server = Server::start().await;
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", Some("2.32.1")).await;
    let mut b = server.join("room", "PUBLISHER", None).await;
    a.expect("participantJoined").await;
    let stream = a.publish().await;
    b.expect("participantPublished").await;
    subscribe(&mut b, &stream, "kurento").await;

    let again = a.result("reconnectStream", json!({"stream": stream, "sdpString": publish_offer()})).await;
    same(&again, json!({"sdpAnswer": "SDP", "id": stream, "createdAt": 0}));
    server
        .dataplane
        .until("the subscription moved to the new tracks", |dp| {
            dp.transports.len() == 2 && dp.tracks.len() == 2 && dp.subscriptions.len() == 2
        })
        .await;

    let params = json!({"stream": stream, "sdpOffer": subscribe_offer(), "forciblyReconnect": false});
    same(&b.result("reconnectStream", params).await, json!({"sdpAnswer": "SDP"}));
    let params = json!({"sender": stream, "reconnect": true});
    let offer = b.result("prepareReceiveVideoFrom", params).await;
    let answer = subscribe_answer(offer["sdpOffer"].as_str().unwrap());
    let params = json!({"stream": stream, "sdpString": answer, "forciblyReconnect": false});
    same(&b.result("reconnectStream", params).await, json!({}));
    server.dataplane.until("one transport each", |dp| dp.transports.len() == 2).await;
    b.silent().await;
}

#[tokio::test]
async fn helpers_with_the_secret_are_hidden() {
    let server = Server::start().await;
    let mut recorder = server.socket().await;
    let url = format!("wss://ov.example.com?sessionId=adhoc&secret={SECRET}&recorder=true");
    let mut params = join_params("adhoc", &url, Some("2.32.1"));
    params["secret"] = json!(SECRET);
    params["recorder"] = json!(true);
    let joined = recorder.call("joinRoom", params).await["result"].take();
    assert_eq!(joined["id"], "RECORDER");
    assert!(joined.get("finalUserId").is_none());

    let mut a = server.join("adhoc", "PUBLISHER", None).await;
    recorder.expect("participantJoined").await;
    let (_, listed) = server.api("GET", "/sessions/adhoc/connection", Value::Null).await;
    assert_eq!(listed["numberOfElements"], 1);
    a.result("leaveRoom", json!({})).await;
    recorder.expect("participantLeft").await;
    recorder.expect("participantEvicted").await;
    assert_eq!(server.api("GET", "/sessions/adhoc", Value::Null).await.0, 404);
}

#[tokio::test]
async fn the_cookie_keeps_a_browsers_identity() {
    let server = Server::start().await;
    let upgrade = || {
        let request = server.http.get(format!("http://{}/openvidu", server.address));
        request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let first = upgrade().send().await.unwrap();
    assert_eq!(first.status(), 101);
    let cookie = first.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("OVJSESSIONID=") && cookie.len() == 13 + 32, "{cookie}");
    let second = upgrade().header("cookie", cookie).send().await.unwrap();
    assert_eq!(second.status(), 101);
    assert!(second.headers().get("set-cookie").is_none());
}

#[tokio::test]
async fn a_stopping_server_says_so() {
    let server = Server::start().await;
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", Some("2.32.1")).await;
    a.publish().await;
    server.stop().await;
    let expected = json!({"connectionId": a.id, "reason": "openviduServerStopped"});
    same(&a.expect("participantEvicted").await, expected);
    assert_eq!(a.frame().await, Err((1001, "server stops".into())));
}

#[tokio::test]
async fn frames_in_a_row_leave_at_once() {
    let server = Server::start().await;
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", Some("2.32.1")).await;
    let signal = json!({"message": "{\"to\":[],\"data\":\"x\",\"type\":\"signal:s\"}"});
    let mut times = Vec::new();
    for _ in 0..21 {
        let started = std::time::Instant::now();
        // The notification, then the response.
        a.result("sendMessage", signal.clone()).await;
        times.push(started.elapsed());
    }
    times.sort();
    assert!(times[10] < std::time::Duration::from_millis(30), "as if waiting for acknowledgements: {:?}", times[10]);
}

#[tokio::test]
async fn what_a_publisher_may_send_is_told_to_it_and_to_the_data_plane() {
    let server = Server::with(millrace_controlplane::openvidu::Settings { max_receive_kbps: 640, ..settings() }).await;
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", Some("2.32.1")).await;
    let published = a.result("publishVideo", publish_params(&publish_offer())).await;
    let answer = published["sdpAnswer"].as_str().unwrap();
    let (audio, video) = answer.split_at(answer.find("m=video").unwrap());
    assert!(video.contains("b=AS:640\r\nb=TIAS:640000\r\n") && !audio.contains("b="), "{answer}");
    let caps = || -> Vec<(i32, u64)> {
        let state = server.dataplane.state.lock().unwrap();
        let publish = |command: &Command| match command {
            Command::Publish(publish) => Some((publish.kind, publish.max_bitrate_bps)),
            _ => None,
        };
        state.commands.iter().filter_map(publish).collect()
    };
    let wanted = [(MediaKind::Audio as i32, 0), (MediaKind::Video as i32, 640_000)];
    assert_eq!(caps(), wanted);
    a.result("reconnectStream", json!({"stream": published["id"], "sdpString": publish_offer()})).await;
    assert_eq!(caps()[2..], wanted, "a new transport has the same bounds");
}

#[tokio::test]
async fn both_client_generations_find_their_ice_servers() {
    let server = Server::start().await;
    server.session("room").await;
    let own = json!([
        {"url": "turn:192.0.2.9:3478?transport=tcp", "username": "me", "credential": "secret"},
        {"url": "stun:192.0.2.9"},
    ]);
    let path = "/sessions/room/connection";
    let (status, connection) = server.api("POST", path, json!({"customIceServers": own})).await;
    assert_eq!(status, 200, "{connection}");
    let mut a = server.socket().await;
    let token = connection["token"].as_str().unwrap();
    let joined = a.call("joinRoom", join_params("room", token, Some("2.32.1"))).await["result"].take();
    assert_eq!(joined["customIceServers"].to_string(), own.to_string(), "2.32.1 reads the list");
    // 2.20.0 reads these, and only if all are there.
    assert_eq!((&joined["coturnIp"], &joined["coturnPort"]), (&json!("198.51.100.4"), &json!(3478)));
    assert!(joined["turnUsername"].is_string() && joined["turnCredential"].is_string());
}
