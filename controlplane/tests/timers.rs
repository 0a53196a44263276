//! What time does to sockets: on a clock that the test moves.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a panic is the failure")]

mod common;

use std::time::Duration;

use common::*;
use serde_json::json;

async fn ping(socket: &mut Socket) {
    socket.call("ping", json!({"interval": 5000})).await;
}

#[tokio::test]
async fn a_silent_client_is_closed_and_evicted() {
    let server = Server::start().await;
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", Some("2.32.1")).await;
    let mut b = server.join("room", "PUBLISHER", None).await;
    a.expect("participantJoined").await;
    ping(&mut a).await;
    ping(&mut b).await;

    pass(Duration::from_millis(14_000)).await;
    ping(&mut a).await;
    pass(Duration::from_millis(1_100)).await;
    assert_eq!(b.frame().await, Err((1000, "Close for not receive ping from client".into())));
    ping(&mut a).await;
    a.silent().await;

    pass(Duration::from_millis(9_500)).await;
    a.silent().await;
    pass(Duration::from_millis(600)).await;
    let expected = json!({"connectionId": b.id, "reason": "networkDisconnect"});
    assert_eq!(a.expect("participantLeft").await, expected);
    assert_eq!(a.expect("participantEvicted").await, expected);
    let mut late = server.socket().await;
    assert_eq!(late.error("connect", json!({"sessionId": b.rpc})).await, 40007);
}

#[tokio::test]
async fn a_client_that_comes_back_in_time_keeps_its_seat() {
    let server = Server::start().await;
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", Some("2.32.1")).await;
    let mut b = server.join("room", "PUBLISHER", None).await;
    a.expect("participantJoined").await;
    b.stream.close(None).await.unwrap();
    assert!(b.frame().await.is_err());

    pass(Duration::from_millis(9_000)).await;
    let mut back = server.socket().await;
    back.call("connect", json!({"sessionId": b.rpc})).await;
    ping(&mut a).await;
    pass(Duration::from_millis(5_000)).await;
    a.silent().await;
    assert_eq!(back.call("echo", json!({})).await["result"], json!({"sessionId": b.rpc}));
}

#[tokio::test]
async fn an_evicted_client_that_stays_is_closed() {
    let server = Server::start().await;
    server.session("room").await;
    let mut a = server.join("room", "MODERATOR", Some("2.32.1")).await;
    let mut b = server.join("room", "PUBLISHER", None).await;
    a.expect("participantJoined").await;
    a.result("forceDisconnect", json!({"connectionId": b.id.clone()})).await;
    b.expect("participantEvicted").await;
    ping(&mut b).await;
    pass(Duration::from_millis(10_100)).await;
    assert_eq!(b.frame().await, Err((1000, String::new())));
}

#[tokio::test]
async fn unused_sessions_are_collected() {
    let settings =
        millrace_controlplane::openvidu::Settings { garbage_interval_s: 60, garbage_threshold_s: 100, ..settings() };
    let server = Server::with(settings).await;
    server.session("old").await;
    pass(Duration::from_millis(61_000)).await;
    assert_eq!(server.api("GET", "/sessions/old", json!(null)).await.0, 200);
    server.session("young").await;
    pass(Duration::from_millis(60_000)).await;
    assert_eq!(server.api("GET", "/sessions/old", json!(null)).await.0, 404);
    assert_eq!(server.api("GET", "/sessions/young", json!(null)).await.0, 200);
}
