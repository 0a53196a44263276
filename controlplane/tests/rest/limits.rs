//! Bodies that are too long, requests that take too long, passwords that are wrong too often, and how Java clients log in.

use std::time::Duration;

use millrace_controlplane::openvidu::rest::MAX_BODY;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::*;
use crate::keys;

#[tokio::test]
async fn long_bodies_are_refused() {
    let server = Server::start().await;
    let body = |length: usize| json!({"customSessionId": "X", "unknown": "x".repeat(length)});
    let (status, error) = server.api("POST", "/sessions", body(MAX_BODY)).await;
    assert_eq!((status, keys(&error)), (413, vec!["timestamp", "status", "error", "message", "path"]));
    assert_eq!(server.api("GET", "/sessions/X", Value::Null).await.0, 404);
    assert_eq!(server.api("POST", "/sessions", body(MAX_BODY - 100)).await.0, 200);
}

#[tokio::test]
async fn requests_that_never_end_are_answered() {
    let server = Server::start().await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /openvidu/api/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Expect: 100-continue\r\nAuthorization: Basic T1BFTlZJRFVBUFA6TVlfU0VDUkVU\r\nContent-Length: 100\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut said = vec![0; 1024];
    // The body is asked for only once the request's clock runs.
    let length = socket.read(&mut said).await.unwrap();
    assert!(said[..length].starts_with(b"HTTP/1.1 100 "));
    socket.write_all(b"{\"customSessionId\"").await.unwrap();
    pass(Duration::from_secs(31)).await;
    let length = tokio::time::timeout(SOON, socket.read(&mut said)).await.unwrap().unwrap();
    assert!(said[..length].starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&said[..length]));
}

#[tokio::test]
async fn wrong_passwords_are_taken_only_so_often() {
    let server = Server::start().await;
    let url = format!("http://{}/openvidu/api/sessions", server.address);
    let guess = |from: &'static str, secret: &'static str| {
        let request = server.http.get(&url).header("x-forwarded-for", from);
        request.basic_auth("OPENVIDUAPP", Some(secret)).send()
    };
    for _ in 0..30 {
        assert_eq!(guess("203.0.113.1", "wrong").await.unwrap().status(), 401);
    }
    for secret in ["wrong", SECRET] {
        let answer = guess("203.0.113.1", secret).await.unwrap();
        assert_eq!(answer.status(), 429, "whether it is right is not told");
        assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    }
    let bare = server.http.get(&url).header("x-forwarded-for", "203.0.113.1").send().await.unwrap();
    assert_eq!(bare.status(), 401, "clients that send no password are asked for it");
    assert_eq!(guess("203.0.113.2", SECRET).await.unwrap().status(), 200);
    pass(Duration::from_secs(3)).await;
    assert_eq!(guess("203.0.113.1", SECRET).await.unwrap().status(), 200);
}

#[tokio::test]
async fn guesses_count_on_whichever_door() {
    let server = Server::start().await;
    let join = |secret: &str| {
        let mut params = join_params("S", "", None);
        params["secret"] = json!(secret);
        params
    };
    let mut socket = server.socket().await;
    for _ in 0..30 {
        assert_eq!(socket.error("joinRoom", join("wrong")).await, 202);
    }
    assert_eq!(socket.error("joinRoom", join(SECRET)).await, 202, "whether it is right is not told");
    assert_eq!(server.api("GET", "/sessions", Value::Null).await.0, 429);
    pass(Duration::from_secs(3)).await;
    assert_eq!(server.api("GET", "/sessions", Value::Null).await.0, 200);
    let joined = socket.call("joinRoom", join(SECRET)).await;
    assert_eq!(joined["result"]["session"], "S", "{joined}");
}

#[tokio::test]
async fn java_clients_ask_first_and_log_in_then() {
    let server = Server::start().await;
    let url = format!("http://{}/openvidu/api/sessions", server.address);
    let body = json!({
        "mediaMode": "ROUTED", "recordingMode": "MANUAL", "customSessionId": "X", "forcedVideoCodec": null,
        "allowTranscoding": null, "mediaNode": null,
    });
    let ask = || server.http.post(&url).header("content-type", "application/json").body(body.to_string());
    for _ in 0..100 {
        let bare = ask().send().await.unwrap();
        assert_eq!(bare.status(), 401);
        assert_eq!(bare.headers()["www-authenticate"], "Basic realm=\"Realm\"");
        assert_eq!(bare.text().await.unwrap(), "");
    }
    assert_eq!(server.api("GET", "/sessions", Value::Null).await.1["numberOfElements"], 0, "nothing was done");
    assert_eq!(ask().basic_auth("OPENVIDUAPP", Some(SECRET)).send().await.unwrap().status(), 200);
    let connection = json!({
        "session": "X", "type": "WEBRTC", "data": null, "record": null, "role": null, "kurentoOptions": null,
        "customIceServers": [], "rtspUri": null, "adaptativeBitrate": null, "onlyPlayWithSubscribers": null,
        "networkCache": null,
    });
    let (status, connection) = server.api("POST", "/sessions/X/connection", connection).await;
    assert_eq!(status, 200);
    assert_eq!((&connection["role"], &connection["record"]), (&json!("PUBLISHER"), &json!(true)));
}
