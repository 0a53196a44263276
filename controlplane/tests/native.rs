//! What the native clients and server-side pages do differently, and subscriptions that cannot follow their stream.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a panic is the failure")]

mod common;

use common::*;
use dataplane_protocol::Command;
use millrace_controlplane::openvidu::Settings;
use serde_json::{Value, json};

/// The publishing offer of a browser that knows no VP8.
fn h264_offer() -> String {
    let is_vp8 = |line: &&str| [":96 ", ":97 "].iter().any(|number| line.contains(number));
    let lines = publish_offer().replace("SAVPF 96 97 98 99", "SAVPF 98 99");
    lines.lines().filter(|line| !is_vp8(line)).map(|line| format!("{line}\r\n")).collect()
}

/// A publisher and somebody who receives it by the server's offer.
async fn call(server: &Server) -> (Socket, Socket, String) {
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", Some("2.32.1")).await;
    let mut b = server.join("room", "SUBSCRIBER", Some("2.32.1")).await;
    a.expect("participantJoined").await;
    let stream = a.publish().await;
    b.expect("participantPublished").await;
    let offer = b.result("prepareReceiveVideoFrom", json!({"sender": stream, "reconnect": false})).await;
    let answer = subscribe_answer(offer["sdpOffer"].as_str().unwrap());
    b.result("receiveVideoFrom", json!({"sender": stream, "sdpAnswer": answer})).await;
    (a, b, stream)
}

/// Takes a renewed offer up as the clients do.
async fn follow(socket: &mut Socket, publisher: &str, stream: &str) {
    let offered = socket.expect("forciblyReconnectSubscriber").await;
    let members: Vec<_> = offered.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["connectionId", "streamId", "sdpOffer"]);
    assert_eq!((&offered["connectionId"], &offered["streamId"]), (&json!(publisher), &json!(stream)));
    let offer = offered["sdpOffer"].as_str().unwrap();
    assert!(offer.contains("H264/90000") && !offer.contains("VP8/90000"), "{offer}");
    let params = json!({"stream": stream, "sdpString": subscribe_answer(offer), "forciblyReconnect": true});
    assert_eq!(socket.result("reconnectStream", params).await, json!({}));
}

#[tokio::test]
async fn a_subscription_that_cannot_follow_is_offered_anew() {
    let server = Server::start().await;
    let (mut a, mut b, stream) = call(&server).await;
    let again = a.result("reconnectStream", json!({"stream": stream, "sdpString": publish_offer()})).await;
    assert_eq!(again["id"], json!(stream));
    b.silent().await;

    let again = a.result("reconnectStream", json!({"stream": stream, "sdpString": h264_offer()})).await;
    assert!(again["sdpAnswer"].as_str().unwrap().contains("H264/90000"), "{again}");
    follow(&mut b, &a.id.clone(), &stream).await;
    server
        .dataplane
        .until("one transport each, and both tracks received", |dp| {
            let new = dp.commands.iter().rev().take_while(|command| !matches!(command, Command::CreateTransport(_)));
            dp.transports.len() == 2 && new.filter(|command| matches!(command, Command::Subscribe(_))).count() == 2
        })
        .await;
    a.silent().await;
}

#[tokio::test]
async fn an_offer_that_was_missed_is_taken_up_later() {
    let server = Server::start().await;
    let (mut a, mut b, stream) = call(&server).await;
    b.stream.close(None).await.unwrap();
    while b.frame().await.is_ok() {}
    a.result("reconnectStream", json!({"stream": stream, "sdpString": h264_offer()})).await;
    server.dataplane.until("the subscriber's next transport", |dp| dp.transports.len() == 2).await;
    let mut back = server.socket().await;
    back.seated(&json!({"result": {"id": b.id, "sessionId": b.rpc}}));
    back.call("connect", json!({"sessionId": b.rpc})).await;
    follow(&mut back, &a.id.clone(), &stream).await;
}

#[tokio::test]
async fn who_does_not_answer_a_renewed_offer_keeps_its_seat() {
    let server = Server::start().await;
    let (mut a, mut b, stream) = call(&server).await;
    a.result("reconnectStream", json!({"stream": stream, "sdpString": h264_offer()})).await;
    b.expect("forciblyReconnectSubscriber").await;
    b.result("echo", json!({})).await;
    assert_eq!(b.result("unsubscribeFromVideo", json!({"sender": a.id})).await, json!({}));
    server.dataplane.until("only the publisher is left", |dp| dp.transports.len() == 1).await;
    a.silent().await;
}

#[tokio::test]
async fn descriptions_under_lines_of_the_client_are_read() {
    let server = Server::start().await;
    server.session("room").await;
    let mut s = server.join("room", "PUBLISHER", None).await;
    let offer = format!("RTCSessionDescription:\noffer\n{}", publish_offer());
    assert!(s.result("publishVideo", publish_params(&offer)).await["id"].is_string());
}

#[tokio::test]
async fn a_stream_promises_no_media_that_it_does_not_bring() {
    let server = Server::start().await;
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", None).await;
    let mut b = server.join("room", "SUBSCRIBER", None).await;
    a.expect("participantJoined").await;
    // The video m-line only receives.
    let (audio, video) = publish_offer().split_once("m=video").map(|(a, v)| (a.to_owned(), v.to_owned())).unwrap();
    let offer = format!("{audio}m=video{}", video.replace("a=sendonly", "a=recvonly"));
    a.result("publishVideo", publish_params(&offer)).await;
    let stream = b.expect("participantPublished").await["streams"][0].take();
    assert_eq!((&stream["hasAudio"], &stream["hasVideo"]), (&json!(true), &json!(false)));

    let mut c = server.join("room", "PUBLISHER", None).await;
    let mut nothing = publish_params(&publish_offer());
    nothing["hasAudio"] = json!("false");
    nothing["hasVideo"] = json!("no");
    assert_eq!(c.error("publishVideo", nothing).await, -1);
}

#[tokio::test]
async fn simulcast_is_announced_where_it_is_understood() {
    for (mode, simulcast, announced) in
        [("mediasoup", true, true), ("mediasoup", false, false), ("kurento", true, false)]
    {
        let server = Server::with(Settings { media_server: mode.into(), simulcast, ..settings() }).await;
        server.session("room").await;
        let token = server.token("room", "PUBLISHER").await;
        let mut s = server.socket().await;
        let joined = s.call("joinRoom", join_params("room", &token, Some("2.32.1"))).await;
        assert_eq!(joined["result"]["videoSimulcast"], json!(announced), "{mode}");
        assert_eq!(server.api("GET", "/config", Value::Null).await.1["OPENVIDU_WEBRTC_SIMULCAST"], json!(simulcast));
    }
}

fn recorder() -> Value {
    let url = format!("wss://ov.example.com?sessionId=room&secret={SECRET}&recorder=true");
    let mut params = join_params("room", &url, Some("2.32.1"));
    params["secret"] = json!(SECRET);
    params["recorder"] = json!("true");
    params
}

#[tokio::test]
async fn a_recorders_page_that_is_loaded_anew_takes_its_own_place() {
    let server = Server::start().await;
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", None).await;
    let mut first = server.socket().await;
    let joined = first.call("joinRoom", recorder()).await;
    first.seated(&joined);
    let mut second = server.socket().await;
    let joined = second.call("joinRoom", recorder()).await;
    second.seated(&joined);
    assert_eq!((&*first.id, &*second.id), ("RECORDER", "RECORDER"));
    assert_eq!(first.expect("participantEvicted").await["connectionId"], "RECORDER");
    assert_eq!(first.frame().await, Err((1000, String::new())), "its socket is closed at once");
    a.publish().await;
    second.expect("participantPublished").await;
    a.silent().await;

    // It is in no list, and found only by who asks for it.
    let list = server.api("GET", "/sessions/room/connection", Value::Null).await.1;
    assert!(list["numberOfElements"] == 1 && list["content"][0]["id"] == a.id);
    assert_eq!(server.api("GET", "/sessions/room", Value::Null).await.1["connections"], list);
    assert_eq!(server.api("GET", "/sessions/room/connection/RECORDER", Value::Null).await.1["id"], "RECORDER");
    let metrics = server.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nmillrace_connections 1\n"), "{metrics}");
    // It may do everything but publish, for nobody knows of it.
    assert_eq!(second.error("publishVideo", publish_params(&publish_offer())).await, -1);
    let candidate = json!({"endpointName": "RECORDER", "candidate": "", "sdpMid": "0", "sdpMLineIndex": "0"});
    assert_eq!(second.error("onIceCandidate", candidate).await, -1);
    assert_eq!(second.result("forceDisconnect", json!({"connectionId": a.id})).await, json!({}));
    a.expect("participantEvicted").await;
}
