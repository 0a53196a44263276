//! Recordings, broadcasts and IP cameras: what is checked in which order, with and without the module.

use millrace_controlplane::openvidu::Settings;
use serde_json::{Value, json};

use crate::common::*;
use crate::keys;

#[tokio::test]
async fn broadcasts_are_checked_in_order() {
    let server = Server::with(Settings { recorder: true, ..settings() }).await;
    server.session("X").await;
    server.api("POST", "/sessions", json!({"customSessionId": "R", "mediaMode": "RELAYED"})).await;
    let url = "rtmp://h/live";
    let start = async |body: Value| server.api("POST", "/broadcast/start", body).await.0;
    for bad in [json!({}), json!({"session": "X"}), json!({"session": 1}), json!({"session": "X", "broadcastUrl": 1})] {
        assert_eq!(start(bad.clone()).await, 400, "{bad}");
    }
    assert_eq!(start(json!({"session": "NOT_EXISTS", "broadcastUrl": url, "hasAudio": 1})).await, 404);
    assert_eq!(start(json!({"session": "R", "broadcastUrl": url})).await, 409);
    assert_eq!(start(json!({"session": "X", "broadcastUrl": url, "hasAudio": 1})).await, 406);
    let _a = server.join("X", "PUBLISHER", Some("2.32.1")).await;
    assert_eq!(start(json!({"session": "X", "broadcastUrl": url, "hasAudio": 1})).await, 400);
    assert_eq!(start(json!({"session": "X", "broadcastUrl": url, "frameRate": 0})).await, 422);
    assert_eq!(start(json!({"session": "X", "broadcastUrl": url})).await, 500, "there is no recorder");
    let stop = async |body: Value| server.api("POST", "/broadcast/stop", body).await.0;
    assert_eq!(stop(json!({})).await, 400);
    assert_eq!(stop(json!({"session": "NOT_EXISTS"})).await, 404);
    assert_eq!(stop(json!({"session": "X"})).await, 409);
}

#[tokio::test]
async fn without_the_module_everything_is_501_before_anything_else() {
    let server = Server::start().await;
    for (method, path) in [
        ("GET", "/recordings"),
        ("POST", "/recordings/start"),
        ("POST", "/recordings/stop/r"),
        ("GET", "/recordings/r"),
        ("DELETE", "/recordings/r"),
        ("POST", "/broadcast/start"),
        ("POST", "/broadcast/stop"),
    ] {
        for body in [Value::Null, json!({"session": 7})] {
            assert_eq!(server.api(method, path, body).await, (501, Value::Null), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn cameras_are_checked_and_refused() {
    let server = Server::start().await;
    server.session("X").await;
    let add = async |body: Value| server.api("POST", "/sessions/X/connection", body).await;
    for wrong in [
        json!({"type": "IPCAM", "rtspUri": "rtsp:"}),
        json!({"type": "IPCAM", "rtspUri": "rtsp://a b"}),
        json!({"type": "IPCAM", "rtspUri": "rtsp://h/s", "adaptativeBitrate": 1}),
        json!({"type": "IPCAM", "rtspUri": "rtsp://h/s", "onlyPlayWithSubscribers": "yes"}),
        json!({"type": "IPCAM", "rtspUri": "rtsp://h/s", "networkCache": "2000"}),
        json!({"type": "IPCAM", "rtspUri": "rtsp://h/s", "data": 1}),
    ] {
        assert_eq!(add(wrong.clone()).await.0, 400, "{wrong}");
    }
    for uri in ["rtsp://user:pw@h:554/s?x=1", "rtsps://h/s", "file:///video.mp4", "http://h/s", "https://h/s"] {
        let (status, error) = add(json!({"type": "IPCAM", "rtspUri": uri, "role": 123})).await;
        assert_eq!((status, keys(&error)), (501, vec!["timestamp", "status", "error", "message", "path"]), "{uri}");
    }
    let missing = server.api("POST", "/sessions/NOT_EXISTS/connection", json!({"type": "IPCAM"})).await;
    assert_eq!(missing, (404, Value::Null));
    assert_eq!(server.api("GET", "/sessions/X/connection", Value::Null).await.1["numberOfElements"], 0);
}
