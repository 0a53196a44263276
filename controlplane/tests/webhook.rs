//! Events as an application gets them, from the real process: every body to the letter, and none lost when the receiver
//! or the control plane fails.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a panic is the failure")]

mod common;
mod program;
mod webhook_receiver;

use std::time::Duration;

use common::*;
use program::*;
use serde_json::{Value, json};
use webhook_receiver::*;

/// Checks an event's times and takes them out, so that the rest can be compared as text. `began` are the times at which
/// what it ends began.
fn timeless(event: &Value, created_at: u64, began: &[u64]) -> String {
    let time = |name: &str| event.get(name).map(|value| value.as_u64().expect("a whole number"));
    let timestamp = time("timestamp").expect("every event has one");
    assert!(timestamp >= created_at);
    if let Some(start) = time("startTime") {
        assert!(began.contains(&start), "{event}: nothing began then");
        assert_eq!(time("duration"), Some((timestamp - start) / 1000));
    }
    let mut event = event.clone();
    for name in ["timestamp", "startTime", "duration"] {
        if let Some(value) = event.get_mut(name) {
            *value = json!(0);
        }
    }
    event.to_string().replace(&format!("_{created_at}\""), "_0\"")
}

/// A body from its members besides the common ones.
fn body(event: &str, members: &str) -> String {
    let members = if members.is_empty() { String::new() } else { format!("{members},") };
    format!("{{\"sessionId\":\"room\",\"uniqueSessionId\":\"room_0\",\"timestamp\":0,{members}\"event\":\"{event}\"}}")
}

fn ended(members: &str, reason: &str) -> String {
    let members = if members.is_empty() { String::new() } else { format!("{members},") };
    format!("{members}\"startTime\":0,\"duration\":0,\"reason\":\"{reason}\"")
}

#[tokio::test]
async fn every_event_has_openvidus_members_in_openvidus_order() {
    let bench = Bench::new("golden");
    let receiver = Receiver::start(Answer::Ok).await;
    let keys = [
        ("OPENVIDU_WEBHOOK", "true".to_owned()),
        ("OPENVIDU_WEBHOOK_ENDPOINT", receiver.url()),
        ("OPENVIDU_WEBHOOK_HEADERS", "[\"Authorization: Basic abc\"]".to_owned()),
        ("MILLRACE_WEBHOOK_KEY", "a key".to_owned()),
        ("OPENVIDU_CDR", "true".to_owned()),
        ("OPENVIDU_CDR_PATH", bench.path("cdr")),
    ];
    let server = bench.start(&keys).await;

    let (_, created) = server.api("POST", "/sessions", json!({"customSessionId": "room"})).await;
    let created_at = created["createdAt"].as_u64().unwrap();
    let mut a = server.join("room", json!({"role": "MODERATOR", "data": "srv"}), "cli").await;
    let mut b = server.join("room", json!({"role": "PUBLISHER"}), "").await;
    let a_stream = a.publish().await;
    server.subscribe(&mut b, &a_stream).await;
    // What changes later is not what began.
    let mute = json!({"streamId": a_stream, "property": "audioActive", "newValue": false, "reason": "publishAudio"});
    a.result("streamPropertyChanged", mute).await;
    let message = json!({"to": [], "type": "signal:chat", "data": "hello"}).to_string();
    b.result("sendMessage", json!({"message": message})).await;
    server.api("POST", "/signal", json!({"session": "room", "to": [a.id], "type": "signal:x", "data": "y"})).await;
    server.api("POST", "/signal", json!({"session": "room", "to": [b.id]})).await;
    b.result("unsubscribeFromVideo", json!({"sender": a.id})).await;
    server.subscribe(&mut b, &a_stream).await;
    let offer = publish_offer();
    let audio = offer.split("m=video").next().unwrap().replace("BUNDLE 0 1", "BUNDLE 0");
    let params = json!({
        "doLoopback": false, "hasAudio": true, "hasVideo": false, "audioActive": true, "sdpOffer": audio,
    });
    let published = b.result("publishVideo", params).await;
    let b_stream = published["id"].as_str().unwrap().to_owned();
    server.subscribe(&mut a, &b_stream).await;
    assert_eq!(server.api("DELETE", &format!("/sessions/room/stream/{a_stream}"), Value::Null).await.0, 204);
    let a_again = a.publish().await;
    a.result("unpublishVideo", json!({})).await;
    let a_last = a.publish().await;
    a.result("forceUnpublish", json!({"streamId": a_last})).await;
    b.result("leaveRoom", json!({})).await;
    assert_eq!(server.api("DELETE", &format!("/sessions/room/connection/{}", a.id), Value::Null).await.0, 204);

    let person = |id: &str, client: &str, data: &str| {
        format!(
            "\"participantId\":\"{id}\",\"connectionId\":\"{id}\",\"location\":\"unknown\",\"ip\":\"127.0.0.1\",\
             \"platform\":\"Chrome 126.0.0.0 on Linux 64-bit\",\"clientData\":\"{client}\",\"serverData\":\"{data}\""
        )
    };
    let (a_person, b_person) = (person(&a.id, "cli", "srv"), person(&b.id, "", ""));
    let video = "\"videoSource\":\"CAMERA\",\"videoFramerate\":-1,\
                 \"videoDimensions\":\"{\\\"width\\\":640,\\\"height\\\":480}\",\
                 \"audioEnabled\":true,\"videoEnabled\":true";
    let no_video = "\"audioEnabled\":true,\"videoEnabled\":false";
    let out = |stream: &str, id: &str, media: &str| {
        format!(
            "\"streamId\":\"{stream}\",\"participantId\":\"{id}\",\"connectionId\":\"{id}\",\
             \"connection\":\"OUTBOUND\",{media}"
        )
    };
    let inbound = |stream: &str, id: &str, from: &str, media: &str| {
        format!(
            "\"streamId\":\"{stream}\",\"participantId\":\"{id}\",\"connectionId\":\"{id}\",\
             \"connection\":\"INBOUND\",\"receivingFrom\":\"{from}\",{media}"
        )
    };
    let signal = |from: &str, to: &[&str], kind: &str, data: &str| {
        format!("\"from\":{from},\"to\":{},\"type\":{kind},\"data\":{data}", json!(to))
    };
    let b_in = inbound(&a_stream, &b.id, &a.id, video);
    let a_in = inbound(&b_stream, &a.id, &b.id, no_video);
    let (made, gone) = ("webrtcConnectionCreated", "webrtcConnectionDestroyed");
    let expected = [
        body("sessionCreated", ""),
        body("participantJoined", &a_person),
        body("participantJoined", &b_person),
        body(made, &out(&a_stream, &a.id, video)),
        body(made, &b_in),
        body("signalSent", &signal(&json!(b.id).to_string(), &[&a.id, &b.id], "\"chat\"", "\"hello\"")),
        body("signalSent", &signal("null", &[&a.id], "\"signal:x\"", "\"y\"")),
        body("signalSent", &signal("null", &[&b.id], "null", "null")),
        body(gone, &ended(&b_in, "unsubscribe")),
        body(made, &b_in),
        body(made, &out(&b_stream, &b.id, no_video)),
        body(made, &a_in),
        body(gone, &ended(&out(&a_stream, &a.id, video), "forceUnpublishByServer")),
        body(gone, &ended(&b_in, "forceUnpublishByServer")),
        body(made, &out(&a_again, &a.id, video)),
        body(gone, &ended(&out(&a_again, &a.id, video), "unpublish")),
        body(made, &out(&a_last, &a.id, video)),
        body(gone, &ended(&out(&a_last, &a.id, video), "forceUnpublishByUser")),
        body(gone, &ended(&out(&b_stream, &b.id, no_video), "disconnect")),
        body(gone, &ended(&a_in, "disconnect")),
        body("participantLeft", &ended(&b_person, "disconnect")),
        body("participantLeft", &ended(&a_person, "forceDisconnectByServer")),
        body("sessionDestroyed", &ended("", "lastParticipantLeft")),
    ];
    let requests = receiver.until("all events", |requests| requests.len() >= expected.len()).await;
    let events: Vec<Value> = requests.iter().map(Request::event).collect();
    let began: Vec<u64> = events.iter().map(|event| event["timestamp"].as_u64().unwrap()).collect();
    for (event, expected) in events.iter().zip(&expected) {
        assert_eq!(&timeless(event, created_at, &began), expected);
    }
    assert_eq!(events.len(), expected.len());
    assert_eq!(events[0]["timestamp"], created_at);
    // The member counts that OpenVidu's own tests assert.
    let count = |name: &str| {
        events.iter().find(|event| event["event"] == name).map(|event| event.as_object().unwrap().len()).unwrap()
    };
    let counts = ["sessionCreated", "sessionDestroyed", "participantJoined", made, "signalSent"].map(count);
    assert_eq!(counts, [4, 7, 11, 13, 8]);

    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"a key");
    let mut deliveries = std::collections::HashSet::new();
    for request in &requests {
        assert_eq!(request.header("authorization"), "Basic abc");
        assert_eq!(request.header("content-type"), "application/json");
        assert!(deliveries.insert(request.header("x-millrace-delivery").to_owned()), "each has its own id");
        let digits = request.header("x-millrace-signature").strip_prefix("sha256=").unwrap();
        let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap());
        aws_lc_rs::hmac::verify(&key, request.body.as_bytes(), &bytes.collect::<Vec<_>>()).unwrap();
    }

    // Its answers may still be on their way.
    let all = expected.len() as f64;
    server.until_metric("millrace_webhook_deliveries_total{result=\"delivered\"}", |delivered| delivered == all).await;
    server.until_metric("millrace_webhook_queue", |queued| queued == 0.0).await;
    server.until_metric("millrace_cdr_lines_total", |lines| lines == all).await;
    let (_, config) = server.api("GET", "/config", Value::Null).await;
    assert_eq!((&config["OPENVIDU_CDR"], &config["OPENVIDU_CDR_PATH"]), (&json!(true), &json!(bench.path("cdr"))));
    assert_eq!(config["OPENVIDU_WEBHOOK_ENDPOINT"], receiver.url());
    assert_eq!(config["OPENVIDU_WEBHOOK_HEADERS"], json!(["Authorization: Basic abc"]));
    assert_eq!(config["OPENVIDU_WEBHOOK_EVENTS"].as_array().unwrap().len(), 15);

    let files: Vec<_> = std::fs::read_dir(bench.path("cdr")).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("CDR.20") && name.ends_with(".log") && name.len() == "CDR.2026-01-01_00-00-00.log".len());
    let lines = std::fs::read_to_string(file).unwrap();
    let bodies = lines.lines().map(|line| {
        let object: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let (name, members) = object.into_iter().next().unwrap();
        let mut members = members.as_object().unwrap().clone();
        assert!(!members.contains_key("event"));
        members.insert("event".into(), name.into());
        Value::Object(members).to_string()
    });
    assert!(bodies.eq(requests.iter().map(|request| request.body.clone())), "the files say what the webhook said");
    let listed = server.request("GET", "/openvidu/cdr").send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(listed, json!([name]));
    let served = server.request("GET", &format!("/openvidu/cdr/{name}")).send().await.unwrap();
    assert_eq!(served.text().await.unwrap(), lines);
    let outside = server.request("GET", "/openvidu/cdr/..%2Fdata%2Fx.log").send().await.unwrap();
    assert_eq!(outside.status().as_u16(), 404);
}

#[tokio::test]
async fn sessions_end_with_the_reason_of_whoever_ends_them() {
    let bench = Bench::new("reasons");
    let receiver = Receiver::start(Answer::Ok).await;
    let keys = [
        ("OPENVIDU_WEBHOOK", "true".to_owned()),
        ("OPENVIDU_WEBHOOK_ENDPOINT", receiver.url()),
        ("OPENVIDU_WEBHOOK_EVENTS", "[participantLeft,sessionDestroyed]".to_owned()),
        ("OPENVIDU_SESSIONS_GARBAGE_INTERVAL", "1".to_owned()),
        ("OPENVIDU_SESSIONS_GARBAGE_THRESHOLD", "1".to_owned()),
    ];
    let server = bench.start(&keys).await;
    for session in ["unused", "never", "closed", "stopped"] {
        server.api("POST", "/sessions", json!({"customSessionId": session})).await;
    }
    assert_eq!(server.api("DELETE", "/sessions/never", Value::Null).await.0, 204);
    let _closed = server.join("closed", json!({}), "").await;
    let _stopped = server.join("stopped", json!({}), "").await;
    let mut helper = server.socket().await;
    let recorder = json!({
        "token": "", "session": "closed", "platform": "p", "metadata": "", "secret": SECRET, "recorder": true,
    });
    let joined = helper.call("joinRoom", recorder).await;
    assert_eq!(joined["error"], Value::Null, "{joined}");
    assert_eq!(server.api("DELETE", "/sessions/closed", Value::Null).await.0, 204);
    // The garbage collector leaves no trace but the missing session.
    server.until_gone("unused").await;
    server.terminate().await;
    let requests = receiver.until("the last session's end", |r| r.len() >= 5).await;
    let said = |session: &str| -> Vec<String> {
        let events = requests.iter().map(Request::event).filter(|event| event["sessionId"] == session);
        events
            .map(|event| format!("{} {}", event["event"].as_str().unwrap(), event["reason"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(said("never"), ["sessionDestroyed sessionClosedByServer"]);
    assert_eq!(said("closed"), ["participantLeft sessionClosedByServer", "sessionDestroyed sessionClosedByServer"]);
    assert_eq!(said("stopped"), ["participantLeft openviduServerStopped", "sessionDestroyed openviduServerStopped"]);
    assert_eq!(said("unused"), [""; 0]);
}

/// Numbered signals of a session, in order of arrival, each at its first.
fn signals(requests: &[Request], session: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    for event in requests.iter().map(Request::event) {
        if event["sessionId"] == session && event["event"] == "signalSent" {
            let number = event["data"].as_str().unwrap().parse().unwrap();
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
    }
    numbers
}

const SESSIONS: [&str; 3] = ["one", "two", "three"];

async fn send(server: &Program, numbers: std::ops::Range<u64>) {
    for number in numbers {
        for session in SESSIONS {
            let signal = json!({"session": session, "data": number.to_string()});
            assert_eq!(server.api("POST", "/signal", signal).await.0, 200);
        }
    }
}

#[tokio::test]
async fn no_event_is_lost_when_the_control_plane_is_killed() {
    let bench = Bench::new("killed");
    let receiver = Receiver::reserve().await;
    let keys = [
        ("OPENVIDU_WEBHOOK", "true".to_owned()),
        ("OPENVIDU_WEBHOOK_ENDPOINT", receiver.url()),
        ("OPENVIDU_WEBHOOK_EVENTS", "[\"signalSent\"]".to_owned()),
    ];
    let server = bench.start(&keys).await;
    let mut clients = Vec::new();
    for session in SESSIONS {
        server.api("POST", "/sessions", json!({"customSessionId": session})).await;
        clients.push(server.join(session, json!({}), "").await);
    }
    send(&server, 0..20).await;
    server.until_metric("millrace_webhook_queue", |queued| queued == 60.0).await;
    server.until_metric("millrace_webhook_deliveries_total{result=\"unreachable\"}", |tries| tries >= 1.0).await;
    server.kill();

    // It begins to deliver, to a receiver that takes a request and says nothing, and is killed again.
    receiver.open(Answer::Hang).await;
    let server = bench.start(&keys).await;
    server.until_metric("millrace_webhook_queue", |queued| queued == 60.0).await;
    receiver.until("the first of each session", |requests| requests.len() >= SESSIONS.len()).await;
    server.kill();

    receiver.answer(Answer::Ok);
    let server = bench.start(&keys).await;
    let mut clients = Vec::new();
    for session in SESSIONS {
        server.api("POST", "/sessions", json!({"customSessionId": session})).await;
        clients.push(server.join(session, json!({}), "").await);
    }
    send(&server, 20..25).await;
    let all = |requests: &[Request]| SESSIONS.iter().all(|session| signals(requests, session).len() == 25);
    let requests = receiver.until("every event", all).await;
    for session in SESSIONS {
        assert_eq!(signals(&requests, session), (0..25).collect::<Vec<_>>(), "in order");
    }
    server.until_metric("millrace_webhook_queue", |queued| queued == 0.0).await;
    assert_eq!(server.metrics().await.value("millrace_webhook_lag_seconds"), 0.0);
}

#[tokio::test]
async fn a_failing_receiver_gets_everything_once_it_works() {
    let bench = Bench::new("failing");
    let receiver = Receiver::start(Answer::Fail).await;
    let keys = [("OPENVIDU_WEBHOOK", "true".to_owned()), ("OPENVIDU_WEBHOOK_ENDPOINT", receiver.url())];
    let server = bench.start(&keys).await;
    let mut clients = Vec::new();
    for session in SESSIONS {
        server.api("POST", "/sessions", json!({"customSessionId": session})).await;
        clients.push(server.join(session, json!({}), "").await);
    }
    send(&server, 0..10).await;
    receiver.until("an attempt of each session", |requests| requests.len() >= 3).await;
    receiver.answer(Answer::DieMidBody);
    let before = receiver.count();
    receiver.until("another attempt", |requests| requests.len() > before).await;
    receiver.answer(Answer::Ok);
    let all = |requests: &[Request]| SESSIONS.iter().all(|session| signals(requests, session).len() == 10);
    receiver.until("every event", all).await;
    server.until_metric("millrace_webhook_queue", |queued| queued == 0.0).await;
    // Only what was answered well counts as taken; it came in order.
    for session in SESSIONS {
        let taken: Vec<_> = receiver.taken().into_iter().filter(|r| r.event()["sessionId"] == session).collect();
        assert_eq!(taken.len(), 12);
        assert_eq!(taken[0].event()["event"], "sessionCreated");
        assert_eq!(taken[1].event()["event"], "participantJoined");
        assert_eq!(signals(&taken, session), (0..10).collect::<Vec<_>>());
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.value("millrace_webhook_deliveries_total{result=\"delivered\"}"), 36.0);
    assert!(metrics.value("millrace_webhook_deliveries_total{result=\"refused\"}") >= 3.0);
    // A receiver that fails keeps nobody waiting: this took no longer than its own pauses.
    tokio::time::timeout(Duration::from_secs(5), server.terminate()).await.expect("it stops at once");
}
