//! Sockets that are lost and come back: the seat waits ten seconds whatever the close code, what was missed comes after
//! `connect`, in order and once, and media never hears of any of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a panic is the failure")]

mod common;

use std::time::Duration;

use common::*;
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Every way in which a socket ends; `None`: the connection is cut without a farewell (1006), `Some(None)`: a farewell
/// without a code (1005).
const ENDS: [Option<Option<(u16, &str)>>; 11] = [
    None,
    Some(None),
    Some(Some((1000, ""))),
    Some(Some((1000, "Close for not receive ping from client"))),
    Some(Some((1001, "going away"))),
    Some(Some((1009, "too big"))),
    Some(Some((1011, "oops"))),
    Some(Some((4101, "Reconnection fault"))),
    // Without a leaveRoom before it.
    Some(Some((4102, "Connection closed by client"))),
    Some(Some((4103, "Master Node has crashed"))),
    Some(Some((4104, "Connection closed for reconnection"))),
];

/// Ends a socket, and waits until the server knows.
async fn end(server: &Server, mut socket: Socket, how: Option<Option<(u16, &'static str)>>) {
    let open = server.open_sockets().await;
    if let Some(frame) = how {
        let frame = frame.map(|(code, reason)| CloseFrame { code: code.into(), reason: reason.into() });
        socket.stream.send(Message::Close(frame)).await.unwrap();
        while socket.frame().await.is_ok() {}
    }
    drop(socket);
    let noticed = async { while server.open_sockets().await >= open {} };
    assert!(tokio::time::timeout(SOON, noticed).await.is_ok(), "the end goes unnoticed");
}

async fn seconds(n: f64) {
    pass(Duration::from_secs_f64(n)).await;
}

async fn ping(socket: &mut Socket) {
    let pong = socket.call("ping", json!({"interval": 5000})).await;
    assert_eq!(pong["result"], json!({"value": "pong"}));
}

/// A room with somebody who stays and somebody whose socket will be lost.
async fn two(server: &Server) -> (Socket, Socket) {
    server.session("room").await;
    let mut a = server.join("room", "MODERATOR", Some("2.32.1")).await;
    let b = server.join("room", "PUBLISHER", None).await;
    a.expect("participantJoined").await;
    (a, b)
}

/// What is left of a client whose socket is gone.
struct Lost {
    id: String,
    rpc: String,
}

impl Lost {
    fn of(socket: &Socket) -> Self {
        Self { id: socket.id.clone(), rpc: socket.rpc.clone() }
    }

    /// Comes back in the way of a client; the response must be the first thing that it hears.
    async fn back(&self, server: &Server) -> Socket {
        let mut socket = server.socket().await;
        let id = socket.send("connect", json!({"sessionId": self.rpc, "reconnect": true})).await;
        let expected = json!({
            "id": id, "result": {"value": "reconnection successful", "sessionId": self.rpc}, "jsonrpc": "2.0",
        });
        assert_eq!(socket.frame().await.unwrap().to_string(), expected.to_string());
        (socket.id, socket.rpc) = (self.id.clone(), self.rpc.clone());
        socket
    }

    /// Finds its seat taken away.
    async fn too_late(&self, server: &Server) {
        let mut socket = server.socket().await;
        let answer = socket.call("connect", json!({"sessionId": self.rpc})).await;
        assert_eq!(
            answer.to_string(),
            r#"{"id":0,"error":{"code":40007,"message":"reconnection error"},"jsonrpc":"2.0"}"#
        );
    }

    fn gone(&self) -> Value {
        json!({"connectionId": self.id, "reason": "networkDisconnect"})
    }
}

async fn expect_gone(socket: &mut Socket, lost: &Lost) {
    assert_eq!(socket.expect("participantLeft").await, lost.gone());
    assert_eq!(socket.expect("participantEvicted").await, lost.gone());
    socket.silent().await;
}

#[tokio::test]
async fn a_seat_waits_whatever_the_close_code() {
    for how in ENDS {
        let server = Server::start().await;
        let (mut a, b) = two(&server).await;
        let lost = Lost::of(&b);
        end(&server, b, how).await;
        ping(&mut a).await;
        seconds(9.8).await;
        a.silent().await;
        let mut back = lost.back(&server).await;
        ping(&mut back).await;
        ping(&mut a).await;
        seconds(10.5).await;
        back.result("echo", json!({})).await;
        back.silent().await;
        a.silent().await;
    }
}

#[tokio::test]
async fn after_ten_seconds_the_seat_is_lost_whatever_the_close_code() {
    for how in ENDS {
        let server = Server::start().await;
        let (mut a, b) = two(&server).await;
        let lost = Lost::of(&b);
        end(&server, b, how).await;
        ping(&mut a).await;
        seconds(9.8).await;
        a.silent().await;
        seconds(0.3).await;
        expect_gone(&mut a, &lost).await;
        lost.too_late(&server).await;
    }
}

#[tokio::test]
async fn a_graceful_end_leaves_no_seat() {
    let server = Server::start().await;
    let (mut a, mut b) = two(&server).await;
    let lost = Lost::of(&b);
    b.result("leaveRoom", json!({})).await;
    end(&server, b, Some(Some((4102, "Connection closed by client")))).await;
    let left = json!({"connectionId": lost.id, "reason": "disconnect"});
    assert_eq!(a.expect("participantLeft").await, left);
    lost.too_late(&server).await;
    ping(&mut a).await;
    seconds(10.5).await;
    a.silent().await;
}

#[tokio::test]
async fn who_leaves_and_stays_is_closed_after_ten_seconds() {
    let server = Server::start().await;
    let (mut a, mut b) = two(&server).await;
    b.result("leaveRoom", json!({})).await;
    a.expect("participantLeft").await;
    ping(&mut b).await;
    seconds(9.5).await;
    ping(&mut b).await;
    seconds(0.6).await;
    assert_eq!(b.frame().await, Err((1000, String::new())));
}

#[tokio::test]
async fn what_was_missed_comes_after_the_response_in_order_and_once() {
    let server = Server::start().await;
    let (mut a, b) = two(&server).await;
    let lost = Lost::of(&b);
    end(&server, b, None).await;
    let stream = a.publish().await;

    // A join, a publication, signals of a person and of REST, mutes, an end of a stream, a departure.
    let mut c = server.join("room", "PUBLISHER", None).await;
    let c_stream = c.publish().await;
    a.expect("participantJoined").await;
    a.expect("participantPublished").await;
    for text in ["one", "two", "three"] {
        let message = json!({"to": [], "data": text, "type": "signal:chat"}).to_string();
        a.result("sendMessage", json!({"message": message})).await;
        a.expect("sendMessage").await;
        c.expect("sendMessage").await;
    }
    let body = json!({"session": "room", "type": "news", "data": "four"});
    assert_eq!(server.api("POST", "/signal", body).await.0, 200);
    for active in [false, true] {
        let muted = json!({
            "streamId": stream, "property": "audioActive", "newValue": active, "reason": "publishAudio",
        });
        a.result("streamPropertyChanged", muted).await;
    }
    let direct = json!({"to": [lost.id], "data": "you alone", "type": "signal:chat"}).to_string();
    c.result("sendMessage", json!({"message": direct})).await;
    c.result("unpublishVideo", json!({})).await;
    c.result("leaveRoom", json!({})).await;

    let mut back = lost.back(&server).await;
    let published = back.expect("participantPublished").await;
    assert_eq!((&published["id"], &published["streams"][0]["id"]), (&json!(a.id), &json!(stream)));
    assert_eq!(back.expect("participantJoined").await["id"], json!(c.id));
    assert_eq!(back.expect("participantPublished").await["streams"][0]["id"], json!(c_stream));
    for text in ["one", "two", "three", "four"] {
        assert_eq!(back.expect("sendMessage").await["data"], text);
    }
    for active in ["false", "true"] {
        assert_eq!(back.expect("streamPropertyChanged").await["newValue"], active);
    }
    assert_eq!(back.expect("sendMessage").await["data"], "you alone");
    assert_eq!(back.expect("participantUnpublished").await, json!({"connectionId": c.id, "reason": "unpublish"}));
    assert_eq!(back.expect("participantLeft").await, json!({"connectionId": c.id, "reason": "disconnect"}));
    back.silent().await;

    // A second loss: what came through is not told again, what comes now is.
    end(&server, back, Some(Some((4104, "Connection closed for reconnection")))).await;
    a.result("unpublishVideo", json!({})).await;
    let mut again = lost.back(&server).await;
    assert_eq!(again.expect("participantUnpublished").await["connectionId"], json!(a.id));
    again.silent().await;
    let message = json!({"to": [], "data": "live", "type": "signal:chat"}).to_string();
    again.result("sendMessage", json!({"message": message})).await;
    assert_eq!(again.expect("sendMessage").await["data"], "live");
    again.silent().await;
}

#[tokio::test]
async fn notifications_cost_nobody_the_seat() {
    let server = Server::start().await;
    let (mut a, b) = two(&server).await;
    let lost = Lost::of(&b);
    end(&server, b, None).await;
    // One every half second for nine seconds.
    for n in 0..18 {
        let message = json!({"to": [], "data": n.to_string(), "type": "signal:tick"}).to_string();
        a.result("sendMessage", json!({"message": message})).await;
        a.expect("sendMessage").await;
        ping(&mut a).await;
        seconds(0.5).await;
    }
    a.silent().await;
    let mut back = lost.back(&server).await;
    for n in 0..18 {
        assert_eq!(back.expect("sendMessage").await["data"], n.to_string());
    }
    back.silent().await;
}

#[tokio::test]
async fn media_does_not_hear_of_a_lost_socket() {
    let server = Server::start().await;
    let (mut a, mut b) = two(&server).await;
    let a_stream = a.publish().await;
    b.expect("participantPublished").await;
    let b_stream = b.publish().await;
    a.expect("participantPublished").await;
    for (socket, stream) in [(&mut a, &b_stream), (&mut b, &a_stream)] {
        socket.result("receiveVideoFrom", json!({"sender": stream, "sdpOffer": subscribe_offer()})).await;
    }
    let commands = || server.dataplane.state.lock().unwrap().commands.len();
    server.dataplane.until("both see each other", |dp| dp.transports.len() == 4 && dp.subscriptions.len() == 4).await;
    let before = commands();
    let lost = Lost::of(&b);
    end(&server, b, None).await;
    ping(&mut a).await;
    seconds(9.5).await;
    let mut back = lost.back(&server).await;
    ping(&mut back).await;
    back.result("echo", json!({})).await;
    assert_eq!(commands(), before, "nothing was told to the data plane");
    // What it published can be subscribed to all the while, and its own requests go on where they were.
    let mut c = server.join("room", "SUBSCRIBER", None).await;
    end(&server, back, None).await;
    c.result("receiveVideoFrom", json!({"sender": b_stream, "sdpOffer": subscribe_offer()})).await;
    let mut back = lost.back(&server).await;
    assert_eq!(back.error("publishVideo", publish_params(&publish_offer())).await, 106);
    // Only the end of the seat ends media.
    end(&server, back, None).await;
    ping(&mut a).await;
    seconds(10.1).await;
    server.dataplane.until("what was the lost one's is removed", |dp| dp.transports.len() == 1).await;
    assert_eq!(server.dataplane.state.lock().unwrap().tracks.len(), 2);
}

#[tokio::test]
async fn a_second_socket_replaces_the_first() {
    let server = Server::start().await;
    let (mut a, mut b) = two(&server).await;
    let lost = Lost::of(&b);
    let mut back = lost.back(&server).await;
    while b.frame().await.is_ok() {}
    drop(b);
    let message = json!({"to": [lost.id], "data": "x", "type": "signal:s"}).to_string();
    a.result("sendMessage", json!({"message": message})).await;
    back.expect("sendMessage").await;
    // The late end of the old socket starts no timer.
    ping(&mut a).await;
    ping(&mut back).await;
    seconds(10.5).await;
    back.silent().await;
    a.silent().await;
}

#[tokio::test]
async fn the_watchdog_counts_from_the_last_ping_and_anew_after_connect() {
    let server = Server::start().await;
    let (mut a, mut b) = two(&server).await;
    let lost = Lost::of(&b);
    for _ in 0..3 {
        ping(&mut a).await;
        ping(&mut b).await;
        seconds(14.5).await;
    }
    b.silent().await;
    ping(&mut a).await;
    seconds(14.5).await;
    // Requests other than pings do not count.
    b.call("echo", json!({})).await;
    ping(&mut a).await;
    seconds(0.6).await;
    assert_eq!(b.frame().await, Err((1000, "Close for not receive ping from client".into())));
    seconds(5.0).await;
    let mut back = lost.back(&server).await;
    ping(&mut back).await;
    ping(&mut a).await;
    seconds(14.5).await;
    ping(&mut back).await;
    a.silent().await;
    seconds(14.0).await;
    ping(&mut a).await;
    seconds(1.1).await;
    assert_eq!(back.frame().await, Err((1000, "Close for not receive ping from client".into())));
    a.silent().await;
    seconds(10.1).await;
    expect_gone(&mut a, &lost).await;
    // 25 s after its last sign of life.
    lost.too_late(&server).await;
}

#[tokio::test]
async fn the_interval_is_the_first_pings() {
    let server = Server::start().await;
    let mut unasked = server.socket().await;
    let mut quick = server.socket().await;
    unasked.call("ping", Value::Null).await;
    quick.call("ping", json!({"interval": 2000})).await;
    quick.call("ping", json!({"interval": 60_000})).await;
    seconds(6.1).await;
    assert_eq!(quick.frame().await.unwrap_err().0, 1000);
    // 20 s is the default, three of them may pass.
    seconds(53.0).await;
    unasked.call("echo", json!({})).await;
    seconds(1.1).await;
    assert_eq!(unasked.frame().await.unwrap_err().0, 1000);
}

#[tokio::test]
async fn who_has_not_joined_has_no_seat_to_keep() {
    let server = Server::start().await;
    server.session("room").await;
    let mut socket = server.socket().await;
    let refused = socket.call("joinRoom", join_params("room", "wss://h?sessionId=room&token=tok_bad", None)).await;
    assert_eq!(refused["error"]["code"], 401);
    let mut fresh = server.socket().await;
    let connected = fresh.call("connect", json!({})).await;
    assert_eq!(connected["result"]["value"], "OK");
    let rpc = connected["result"]["sessionId"].as_str().unwrap().to_owned();
    end(&server, fresh, None).await;
    Lost { id: String::new(), rpc }.too_late(&server).await;
    Lost { id: String::new(), rpc: "7g2dn5q0r4t1k8s3f6a9c2e5hj".into() }.too_late(&server).await;
}

#[tokio::test]
async fn an_eviction_in_the_gap_is_told_to_the_others_at_once() {
    let server = Server::start().await;
    let (mut a, b) = two(&server).await;
    let lost = Lost::of(&b);
    end(&server, b, None).await;
    a.result("forceDisconnect", json!({"connectionId": lost.id})).await;
    let evicted = json!({"connectionId": lost.id, "reason": "forceDisconnectByUser"});
    assert_eq!(a.expect("participantLeft").await, evicted);
    assert_eq!(a.expect("participantEvicted").await, evicted);
    // It finds no seat, or is told why it has none.
    let mut socket = server.socket().await;
    let answer = socket.call("connect", json!({"sessionId": lost.rpc})).await;
    if answer.get("error").is_some() {
        assert_eq!(answer["error"]["code"], 40007);
    } else {
        assert_eq!(socket.expect("participantEvicted").await, evicted);
    }
    ping(&mut a).await;
    seconds(10.5).await;
    a.silent().await;
}

#[tokio::test]
async fn the_end_of_the_own_stream_in_the_gap_is_told_later() {
    let server = Server::start().await;
    let (mut a, mut b) = two(&server).await;
    let stream = b.publish().await;
    a.expect("participantPublished").await;
    let lost = Lost::of(&b);
    end(&server, b, None).await;
    a.result("forceUnpublish", json!({"streamId": stream})).await;
    let ended = json!({"connectionId": lost.id, "reason": "forceUnpublishByUser"});
    assert_eq!(a.expect("participantUnpublished").await, ended);
    let mut back = lost.back(&server).await;
    assert_eq!(back.expect("participantUnpublished").await, ended);
    back.silent().await;
    assert!(!back.publish().await.is_empty());
}

#[tokio::test]
async fn who_misses_too_much_is_told_to_leave() {
    for len in [900_000, 10] {
        let server = Server::start().await;
        let (mut a, b) = two(&server).await;
        let lost = Lost::of(&b);
        end(&server, b, None).await;
        let message = json!({"to": [], "data": "x".repeat(len), "type": "signal:flood"}).to_string();
        let bound = if len > 1000 { 40 } else { 20_000 };
        let mut overflown = false;
        for _ in 0..bound {
            let id = a.send("sendMessage", json!({"message": message})).await;
            loop {
                let frame = a.frame().await.unwrap();
                overflown |= frame["method"] == "participantLeft";
                if frame["id"] == json!(id) {
                    break;
                }
            }
            if overflown {
                break;
            }
            if id % 100 == 0 {
                ping(&mut a).await;
            }
        }
        // Either its seat is gone already, or it is told to leave as soon as it comes back; nothing waits without end.
        let mut socket = server.socket().await;
        let answer = socket.call("connect", json!({"sessionId": lost.rpc})).await;
        if overflown {
            assert_eq!(answer["error"]["code"], 40007, "{answer}");
        } else {
            assert_eq!(answer["result"]["value"], "reconnection successful");
            let mut waited = 0;
            loop {
                let frame = socket.frame().await.expect("told before the end");
                if frame["method"] == "participantEvicted" {
                    assert_eq!(frame["params"], lost.gone());
                    break;
                }
                waited += 1;
                assert!(waited < bound, "all of it was kept");
            }
            loop {
                let frame = a.notice().await;
                if frame["method"] == "participantLeft" {
                    assert_eq!(frame["params"], lost.gone());
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_lost_recorder_is_waited_for_and_nobody_hears_of_its_end() {
    let server = Server::start().await;
    server.session("room").await;
    let mut a = server.join("room", "PUBLISHER", Some("2.32.1")).await;
    let mut recorder = server.socket().await;
    let url = format!("wss://ov.example.com?sessionId=room&secret={SECRET}&recorder=true");
    let mut params = join_params("room", &url, Some("2.32.1"));
    params["secret"] = json!(SECRET);
    params["recorder"] = json!(true);
    let joined = recorder.call("joinRoom", params).await;
    recorder.seated(&joined);
    let lost = Lost::of(&recorder);
    end(&server, recorder, None).await;
    let stream = a.publish().await;
    let mut back = lost.back(&server).await;
    assert_eq!(back.expect("participantPublished").await["streams"][0]["id"], json!(stream));
    end(&server, back, None).await;
    ping(&mut a).await;
    seconds(10.1).await;
    lost.too_late(&server).await;
    a.silent().await;
}
