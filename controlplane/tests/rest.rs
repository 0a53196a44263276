//! The conformance rows of the REST reference for what is built, and the rules around them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a panic is the failure")]

#[path = "rest/changes.rs"]
mod changes;
mod common;
#[path = "rest/conformance.rs"]
mod conformance;
#[path = "rest/description.rs"]
mod description;
#[path = "rest/limits.rs"]
mod limits;
#[path = "rest/recordings.rs"]
mod recordings;
#[path = "rest/stats.rs"]
mod stats;

use common::*;
use millrace_controlplane::config::Generation;
use millrace_controlplane::openvidu::Settings;
use serde_json::{Value, json};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

const CONNECTION_KEYS: [&str; 24] = [
    "id",
    "object",
    "status",
    "connectionId",
    "sessionId",
    "createdAt",
    "activeAt",
    "location",
    "ip",
    "platform",
    "token",
    "type",
    "record",
    "role",
    "kurentoOptions",
    "customIceServers",
    "rtspUri",
    "adaptativeBitrate",
    "onlyPlayWithSubscribers",
    "networkCache",
    "serverData",
    "clientData",
    "publishers",
    "subscribers",
];

#[tokio::test]
async fn rows_1_to_9_sessions() {
    let server = Server::start().await;
    let url = format!("http://{}/openvidu/api/config", server.address);
    let wrong = server.http.get(&url).basic_auth("OPENVIDUAPP", Some("wrong")).send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert_eq!(wrong.headers()["www-authenticate"], "Basic realm=\"Realm\"");
    let script = server.http.get(&url).header("x-requested-with", "XMLHttpRequest").send().await.unwrap();
    assert!(script.status() == 401 && script.headers().get("www-authenticate").is_none());

    assert_eq!(server.api("GET", "/sessions/NOT_EXISTS", Value::Null).await, (404, Value::Null));
    let empty = json!({"numberOfElements": 0, "content": []});
    assert_eq!(server.api("GET", "/sessions", Value::Null).await, (200, empty));
    for body in [
        json!({"mediaMode": "NOT_EXISTS"}),
        json!({"recordingMode": "NOT_EXISTS"}),
        json!({"recordingMode": false}),
        json!({"customSessionId": 999}),
        json!({"customSessionId": "no spaces"}),
        json!({"forcedVideoCodec": "h264"}),
        json!({"allowTranscoding": "true"}),
        json!({"defaultRecordingProperties": "STR"}),
        json!({"defaultRecordingProperties": {"outputMode": "NOT_EXISTS"}}),
        json!({"defaultRecordingProperties": {"recordingLayout": "NOT_EXISTS"}}),
        json!({"mediaNode": {"id": 7}}),
    ] {
        let (status, error) = server.api("POST", "/sessions", body.clone()).await;
        assert_eq!(status, 400, "{body}");
        assert_eq!(keys(&error), ["timestamp", "status", "error", "message", "path"]);
        assert!(error["timestamp"].is_u64() && error["path"] == "/openvidu/api/sessions");
    }
    let (status, session) = server.api("POST", "/sessions", json!({"customSessionId": "X", "mediaMode": null})).await;
    assert_eq!(status, 200);
    let expected = [
        "id",
        "object",
        "sessionId",
        "createdAt",
        "recording",
        "broadcasting",
        "mediaMode",
        "recordingMode",
        "defaultRecordingProperties",
        "customSessionId",
        "forcedVideoCodec",
        "allowTranscoding",
        "connections",
    ];
    assert_eq!(keys(&session), expected);
    assert_eq!(session["id"], "X");
    assert_eq!(server.api("POST", "/sessions", json!({"customSessionId": "X"})).await, (409, Value::Null));
    assert_eq!(server.api("GET", "/sessions/X", Value::Null).await.1, session);

    let (status, generated) = server.api("POST", "/sessions", Value::Null).await;
    assert!(status == 200 && generated["customSessionId"] == "");
    let path = format!("/sessions/{}", generated["id"].as_str().unwrap());
    assert_eq!(server.api("DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(server.api("DELETE", &path, Value::Null).await.0, 404);

    assert_eq!(server.api("GET", "/sessions/NOT_EXISTS/connection", Value::Null).await.0, 404);
    assert_eq!(server.api("GET", "/sessions/NOT_EXISTS/connection/NOT_EXISTS", Value::Null).await, (400, Value::Null));
    assert_eq!(server.api("GET", "/sessions/X/connection/NOT_EXISTS", Value::Null).await, (404, Value::Null));
}

#[tokio::test]
async fn rows_10_to_15_tokens_and_connections() {
    let server = Server::start().await;
    server.session("X").await;
    for body in [
        json!({}),
        json!({"session": true}),
        json!({"session": "X", "role": "NOT_EXISTS"}),
        json!({"session": "X", "data": 999}),
        json!({"session": "X", "kurentoOptions": false}),
        json!({"session": "X", "kurentoOptions": {"allowedFilters": "x"}}),
    ] {
        assert_eq!(server.api("POST", "/tokens", body.clone()).await.0, 400, "{body}");
    }
    let (status, error) = server.api("POST", "/tokens", json!({"session": "NOT_EXISTS"})).await;
    assert!(status == 404 && error["status"] == 404);
    let options = json!({"videoMaxRecvBandwidth": 500, "allowedFilters": ["GStreamerFilter"], "unknown": 1});
    let body = json!({"session": "X", "role": "MODERATOR", "data": "srv", "kurentoOptions": options});
    let (status, token) = server.api("POST", "/tokens", body).await;
    assert_eq!(status, 200);
    let expected = ["id", "token", "createdAt", "connectionId", "session", "data", "role", "kurentoOptions"];
    assert_eq!(keys(&token), expected);
    assert_eq!(token["id"], token["token"]);
    assert_eq!(token["kurentoOptions"], json!({"videoMaxRecvBandwidth": 500, "allowedFilters": ["GStreamerFilter"]}));

    for body in [
        json!({"type": false}),
        json!({"type": "NOT_EXISTS"}),
        json!({"role": 123}),
        json!({"data": true}),
        json!({"record": "yes"}),
        json!({"customIceServers": [{"url": "nothing"}]}),
        json!({"customIceServers": [{"url": "xyz:host"}]}),
        json!({"customIceServers": [{"url": "turn:host"}]}),
        json!({"customIceServers": {}}),
        json!({"type": "IPCAM"}),
        json!({"type": "IPCAM", "rtspUri": "NOT_A_URI"}),
    ] {
        assert_eq!(server.api("POST", "/sessions/X/connection", body.clone()).await.0, 400, "{body}");
    }
    assert_eq!(server.api("POST", "/sessions/NOT_EXISTS/connection", json!({"role": 123})).await, (404, Value::Null));
    let ice = json!([{"url": "turn:h:3478", "username": "u", "credential": "c"}]);
    let body =
        json!({"role": "SUBSCRIBER", "data": "srv", "record": false, "customIceServers": ice, "session": "other"});
    let (status, pending) = server.api("POST", "/sessions/X/connection", body).await;
    assert_eq!(status, 200);
    assert_eq!(keys(&pending), CONNECTION_KEYS);
    assert_eq!(pending["customIceServers"], ice);
    assert_eq!((&pending["status"], &pending["record"]), (&json!("pending"), &json!(false)));
    assert!(pending["activeAt"].is_null() && pending["publishers"].is_null());

    assert_eq!(server.api("GET", "/sessions/X", Value::Null).await.1["connections"]["numberOfElements"], 0);
    let all = server.api("GET", "/sessions/X?pendingConnections=true", Value::Null).await.1;
    assert_eq!(all["connections"]["numberOfElements"], 2);
    assert_eq!(server.api("GET", "/sessions/X/connection", Value::Null).await.1["numberOfElements"], 2);
    let active = server.api("GET", "/sessions/X/connection?pendingConnections=false", Value::Null).await.1;
    assert_eq!(active["numberOfElements"], 0);
    assert_eq!(server.api("GET", "/sessions/X?webRtcStats=maybe", Value::Null).await.0, 403);
    let again = server.api("GET", "/sessions/X?pendingConnections=true", Value::Null).await.1;
    assert_eq!(all.to_string(), again.to_string(), "a second look shows no change");

    let path = format!("/sessions/X/connection/{}", pending["id"].as_str().unwrap());
    assert_eq!(server.api("GET", &path, Value::Null).await, (200, pending.clone()));
    assert_eq!(server.api("DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(server.api("DELETE", &path, Value::Null).await.0, 404);
    let mut socket = server.socket().await;
    let token = pending["token"].as_str().unwrap();
    assert_eq!(socket.error("joinRoom", join_params("X", token, None)).await, 401, "the token went with it");
}

#[tokio::test]
async fn rows_16_to_33_with_two_users() {
    let server = Server::start().await;
    server.session("X").await;
    for body in [
        json!({}),
        json!({"session": true}),
        json!({"session": "X", "to": 12}),
        json!({"session": "X", "to": [12]}),
        json!({"session": "X", "data": false}),
        json!({"session": "X", "type": true}),
    ] {
        assert_eq!(server.api("POST", "/signal", body.clone()).await.0, 400, "{body}");
    }
    assert_eq!(server.api("POST", "/signal", json!({"session": "NOT_EXISTS"})).await, (404, Value::Null));
    assert_eq!(server.api("POST", "/signal", json!({"session": "X"})).await, (406, Value::Null));

    let mut a = server.join("X", "PUBLISHER", Some("2.32.1")).await;
    let mut b = server.join("X", "MODERATOR", None).await;
    a.expect("participantJoined").await;
    let stream = a.publish().await;
    b.expect("participantPublished").await;
    let path = format!("/sessions/X/connection/{}", a.id);
    let (_, active) = server.api("GET", &path, Value::Null).await;
    assert_eq!(keys(&active), CONNECTION_KEYS);
    assert_eq!(
        (&active["status"], &active["location"], &active["ip"]),
        (&json!("active"), &json!("unknown"), &json!("127.0.0.1"))
    );
    assert!(active["token"].as_str().unwrap().starts_with("wss://ov.example.com?sessionId=X&token=tok_"));
    let publisher = &active["publishers"][0];
    assert_eq!(keys(publisher), ["createdAt", "streamId", "mediaOptions"]);
    let expected =
        ["hasAudio", "audioActive", "hasVideo", "videoActive", "typeOfVideo", "frameRate", "videoDimensions", "filter"];
    assert_eq!(keys(&publisher["mediaOptions"]), expected);

    for to in [json!(["con_X"]), json!([a.id, "con_X"]), json!([null])] {
        assert_eq!(server.api("POST", "/signal", json!({"session": "X", "to": to})).await.0, 406);
    }
    a.silent().await;
    let body = json!({"session": "X", "to": [], "type": "x", "data": "d"});
    assert_eq!(server.api("POST", "/signal", body).await, (200, Value::Null));
    assert_eq!(a.expect("sendMessage").await, json!({"data": "d", "type": "x"}));
    assert_eq!(b.expect("sendMessage").await, json!({"data": "d", "type": "x"}));
    assert_eq!(server.api("POST", "/signal", json!({"session": "X", "to": [b.id]})).await.0, 200);
    assert_eq!(b.expect("sendMessage").await, json!({}));
    a.silent().await;

    assert_eq!(server.api("DELETE", "/sessions/NOT_EXISTS/stream/Y", Value::Null).await, (400, Value::Null));
    assert_eq!(server.api("DELETE", "/sessions/X/stream/NOT_EXISTS", Value::Null).await, (404, Value::Null));
    assert_eq!(server.api("DELETE", &format!("/sessions/X/stream/{stream}"), Value::Null).await.0, 204);
    let expected = json!({"connectionId": a.id, "reason": "forceUnpublishByServer"});
    assert_eq!(a.expect("participantUnpublished").await, expected);
    assert_eq!(b.expect("participantUnpublished").await, expected);

    assert_eq!(server.api("DELETE", "/sessions/NOT_EXISTS/connection/Y", Value::Null).await, (400, Value::Null));
    assert_eq!(server.api("DELETE", "/sessions/X/connection/NOT_EXISTS", Value::Null).await, (404, Value::Null));
    assert_eq!(server.api("DELETE", &format!("/sessions/X/connection/{}", a.id), Value::Null).await.0, 204);
    let expected = json!({"connectionId": a.id, "reason": "forceDisconnectByServer"});
    assert_eq!(a.expect("participantEvicted").await, expected);
    assert_eq!(b.expect("participantLeft").await, expected);
    assert_eq!(b.expect("participantEvicted").await, expected);

    assert_eq!(server.api("DELETE", "/sessions", Value::Null).await, (403, Value::Null));
    assert_eq!(server.api("DELETE", "/sessions/NOT_EXISTS", Value::Null).await.0, 404);
    assert_eq!(server.api("DELETE", "/sessions/X", Value::Null).await.0, 204);
    server.session("X").await;
}

#[tokio::test]
async fn what_is_not_built_says_so() {
    for generation in [Generation::V2_20, Generation::V2_32] {
        not_built(&Server::with(Settings { compat: generation, ..settings() }).await, generation).await;
    }
}

async fn not_built(server: &Server, generation: Generation) {
    let is_old = generation == Generation::V2_20;
    let expected = |status: u16| if is_old { status } else { 403 };
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/media-nodes", 404),
        ("GET", "/health", 404),
        ("POST", "/restart", 404),
        ("DELETE", "/recordings", 405),
        ("PUT", "/sessions/X/connection/C", 405),
        ("GET", "/sessions?pendingConnections=maybe", 400),
        ("POST", "/signal", 400),
        ("POST", "/tokens", 400),
    ] {
        let (actual, body) = server.api(method, path, Value::Null).await;
        assert_eq!(actual, expected(status), "{method} {path}");
        if is_old {
            assert_eq!(keys(&body), ["timestamp", "status", "error", "message", "path"]);
            let path = path.split('?').next().unwrap();
            assert!(body["timestamp"].is_string() && body["path"] == format!("/openvidu/api{path}"));
        } else {
            assert_eq!(body, Value::Null);
        }
    }
    let send = async |kind: &str, body: &'static str| {
        let request = server.request("POST", "/openvidu/api/sessions").header("content-type", kind);
        request.body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(send("application/json", "{").await, expected(400));
    assert_eq!(send("application/json", "[]").await, expected(400));
    assert_eq!(send("application/x-www-form-urlencoded", "a=b").await, expected(415));
    assert_eq!(send("application/x-www-form-urlencoded", "").await, 200);
    assert_eq!(send("application/json;charset=UTF-8", "{}").await, 200);
}

#[tokio::test]
async fn configuration_paths() {
    let server = Server::start().await;
    let (status, config) = server.api("GET", "/config", Value::Null).await;
    assert_eq!(status, 200);
    assert!(!config.to_string().contains(SECRET));
    assert_eq!(config["OPENVIDU_PUBLICURL"], "https://ov.example.com");
    let expected = [
        "VERSION",
        "DOMAIN_OR_PUBLIC_IP",
        "HTTPS_PORT",
        "OPENVIDU_PUBLICURL",
        "OPENVIDU_CDR",
        "OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH",
        "OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH",
        "OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH",
        "OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH",
        "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC",
        "OPENVIDU_STREAMS_ALLOW_TRANSCODING",
        "OPENVIDU_WEBRTC_SIMULCAST",
        "OPENVIDU_SESSIONS_GARBAGE_INTERVAL",
        "OPENVIDU_SESSIONS_GARBAGE_THRESHOLD",
        "OPENVIDU_RECORDING",
        "OPENVIDU_WEBHOOK",
    ];
    assert_eq!(keys(&config), expected);
    let open = |path: &str| server.http.get(format!("http://{}{path}", server.address)).send();
    let public = open("/openvidu/api/config/openvidu-publicurl").await.unwrap();
    assert_eq!((public.status().as_u16(), public.text().await.unwrap().as_str()), (200, "https://ov.example.com/"));
    for closed in [
        "/openvidu/recordings/r/r.mp4",
        "/recordings/r/r.mp4",
        "/openvidu/layouts/l",
        "/openvidu/nowhere",
        "/openvidu/api/config",
        "/config",
        "/api/sessions",
        "/openvidu/cdr",
        "/cdr",
        "/openvidu/api/x",
        "//openvidu/api/sessions",
        "/dashboard",
        "/dashboard/",
        "/no",
    ] {
        assert_eq!(open(closed).await.unwrap().status(), 401, "{closed}");
    }
    for missing in ["/dashboard", "/dashboard/app.js", "/no", "/openvidu/recordings/r/r.mp4"] {
        assert_eq!(server.request("GET", missing).send().await.unwrap().status(), 403, "{missing}");
    }
    let missing = open("/favicon.ico").await.unwrap();
    assert!(missing.status() == 401 && missing.headers().get("www-authenticate").is_none());
    for (path, status) in [("/openvidu/accept-certificate", 200), ("/metrics", 200), ("/healthz", 200), ("/", 200)] {
        assert_eq!(open(path).await.unwrap().status().as_u16(), status, "{path}");
    }
    for path in ["/openvidu/api/sessions/", "/api/sessions", "/api/sessions/", "/config/openvidu-version", "/cdr"] {
        assert_eq!(server.request("GET", path).send().await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test]
async fn the_older_generation_says_openly_what_is_not_there() {
    let server = Server::with(Settings { compat: Generation::V2_20, ..settings() }).await;
    let open = async |path: &str| {
        let answer = server.http.get(format!("http://{}{path}", server.address)).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null))
    };
    let (status, error) = open("/no").await;
    assert_eq!((status, &error["path"]), (404, &json!("/no")));
    assert_eq!(keys(&error), ["timestamp", "status", "error", "message", "path"]);
    assert_eq!(open("/dashboard").await.0, 401);
    assert_eq!(server.request("GET", "/dashboard").send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn any_origin_may_call() {
    let server = Server::start().await;
    let url = format!("http://{}/openvidu/api/sessions", server.address);
    let preflight = server.http.request("OPTIONS".parse().unwrap(), &url);
    let preflight = preflight
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type");
    let answer = preflight.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(answer.headers()["access-control-allow-methods"], "POST");
    assert_eq!(answer.headers()["access-control-allow-headers"], "authorization,content-type");
    let answer = server.http.get(&url).header("origin", "https://app.example.com").send().await.unwrap();
    assert!(answer.status() == 401 && answer.headers()["access-control-allow-origin"] == "*");
    let answer = server.request("GET", "/openvidu/api/sessions").send().await.unwrap();
    assert!(answer.headers().get("access-control-allow-origin").is_none());
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let question = server.http.request("OPTIONS".parse().unwrap(), &url).send().await.unwrap();
    assert_eq!(question.status(), 200);
    assert_eq!(question.headers()["allow"], "POST,GET,HEAD");
    let head = server.request("HEAD", "/openvidu/api/sessions").send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-type"], "application/json");
    let open = format!("http://{}/openvidu/api/config/openvidu-publicurl", server.address);
    assert_eq!(server.http.head(&open).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_demo_gives_tokens_to_anybody() {
    let server = Server::start().await;
    let url = format!("http://{}/demo/token", server.address);
    let ask = |room: &str| server.http.post(&url).json(&json!({"room": room, "name": "Ann"})).send();
    let token: Value = serde_json::from_str(&ask("lobby").await.unwrap().text().await.unwrap()).unwrap();
    let mut socket = server.socket().await;
    let joined = socket.call("joinRoom", join_params("lobby", token["token"].as_str().unwrap(), Some("2.32.1"))).await;
    assert_eq!(joined["result"]["role"], "PUBLISHER");
    assert_eq!(ask("lobby").await.unwrap().status(), 200, "the room exists already");
    assert_eq!(ask("no spaces").await.unwrap().status(), 400);
}
