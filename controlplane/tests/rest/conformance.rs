//! The conformance table of the REST reference: a test per row and generation.

use millrace_controlplane::config::Generation;
use millrace_controlplane::openvidu::Settings;
use serde_json::{Value, json};

use crate::common::*;
use crate::{CONNECTION_KEYS, keys};

/// A server of a generation, with what the rows ask of it.
struct Table {
    server: Server,
    is_old: bool,
}

impl Table {
    async fn start(compat: Generation) -> Self {
        let server = Server::with(Settings { compat, recorder: true, ..settings() }).await;
        Self { server, is_old: compat == Generation::V2_20 }
    }

    /// With the session that the table calls X.
    async fn with_x(compat: Generation) -> Self {
        let table = Self::start(compat).await;
        table.server.session("X").await;
        table
    }

    async fn ask(&self, method: &str, path: &str, body: Value, status: u16) -> Value {
        let (actual, answer) = self.server.api(method, path, body.clone()).await;
        assert_eq!(actual, status, "{method} {path} {body}: {answer}");
        answer
    }

    async fn get(&self, path: &str, status: u16) -> Value {
        self.ask("GET", path, Value::Null, status).await
    }

    async fn delete(&self, path: &str, status: u16) -> Value {
        self.ask("DELETE", path, Value::Null, status).await
    }

    /// Family A: the object of OpenVidu's own errors.
    async fn told(&self, path: &str, body: Value, status: u16) {
        let error = self.ask("POST", path, body.clone(), status).await;
        assert_eq!(keys(&error), ["timestamp", "status", "error", "message", "path"], "{body}");
        assert!(error["timestamp"].is_u64() && error["status"] == status, "{error}");
    }

    /// Family B: nothing but the status.
    async fn bare(&self, method: &str, path: &str, body: Value, status: u16) {
        assert_eq!(self.ask(method, path, body, status).await, Value::Null);
    }

    /// Family C: the framework's object, or, in 2.32, 403 with nothing.
    async fn framework(&self, method: &str, path: &str, status: u16) {
        if !self.is_old {
            return self.bare(method, path, Value::Null, 403).await;
        }
        let error = self.ask(method, path, Value::Null, status).await;
        assert_eq!(keys(&error), ["timestamp", "status", "error", "message", "path"]);
        assert!(error["timestamp"].is_string() && error["status"] == status, "{error}");
    }
}

/// One row: the same requests in both generations.
macro_rules! row {
    ($name:ident, $start:ident, |$table:ident| $body:block) => {
        mod $name {
            use super::*;

            async fn row($table: Table) $body

            #[tokio::test]
            async fn in_2_20() {
                row(Table::$start(Generation::V2_20).await).await;
            }

            #[tokio::test]
            async fn in_2_32() {
                row(Table::$start(Generation::V2_32).await).await;
            }
        }
    };
}

row!(row_01, start, |t| {
    let url = format!("http://{}/openvidu/api/config", t.server.address);
    let answer = t.server.http.get(&url).basic_auth("OPENVIDUAPP", Some("wrong")).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["www-authenticate"], "Basic realm=\"Realm\"");
    let text = answer.text().await.unwrap();
    if t.is_old {
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(keys(&error), ["timestamp", "status", "error", "message", "path"]);
        assert!(error["timestamp"].is_string() && error["error"] == "Unauthorized");
    } else {
        assert_eq!(text, "");
    }
});

row!(row_02, start, |t| {
    t.bare("GET", "/sessions/NOT_EXISTS", Value::Null, 404).await;
});

row!(row_03, start, |t| {
    assert_eq!(t.get("/sessions", 200).await, json!({"numberOfElements": 0, "content": []}));
});

row!(row_04, start, |t| {
    for body in [
        json!({"mediaMode": "NOT_EXISTS"}),
        json!({"recordingMode": "NOT_EXISTS"}),
        json!({"recordingMode": false}),
        json!({"customSessionId": 999}),
        json!({"defaultRecordingProperties": "STR"}),
        json!({"defaultRecordingProperties": {"outputMode": "NOT_EXISTS"}}),
        json!({"defaultRecordingProperties": {"recordingLayout": "NOT_EXISTS"}}),
    ] {
        t.told("/sessions", body, 400).await;
    }
    // 2.20 knows neither the codec nor the member.
    let preferred = json!({"forcedVideoCodec": "MEDIA_SERVER_PREFERRED"});
    let unknown_node = json!({"mediaNode": 7});
    if t.is_old {
        t.told("/sessions", preferred, 400).await;
        t.ask("POST", "/sessions", unknown_node, 200).await;
    } else {
        t.ask("POST", "/sessions", preferred, 200).await;
        t.told("/sessions", unknown_node, 400).await;
    }
    // What is checked later in 2.20 is checked here in 2.32, all with one status.
    let both_off = json!({"defaultRecordingProperties": {"hasAudio": false, "hasVideo": false}});
    t.ask("POST", "/sessions", both_off, if t.is_old { 200 } else { 400 }).await;
});

row!(row_05, start, |t| {
    let session = t.ask("POST", "/sessions", json!({"customSessionId": "X"}), 200).await;
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
    t.bare("POST", "/sessions", json!({"customSessionId": "X"}), 409).await;
    assert_eq!(t.get("/sessions/X", 200).await, session, "the one that exists is as it was");
});

row!(row_06, start, |t| {
    let session = t.ask("POST", "/sessions", json!({}), 200).await;
    t.bare("DELETE", &format!("/sessions/{}", session["id"].as_str().unwrap()), Value::Null, 204).await;
    let silent = t.ask("POST", "/sessions", Value::Null, 200).await;
    assert_eq!(silent["forcedVideoCodec"], if t.is_old { "VP8" } else { "MEDIA_SERVER_PREFERRED" });
});

row!(row_07, start, |t| {
    t.bare("GET", "/sessions/NOT_EXISTS/connection", Value::Null, 404).await;
});

row!(row_08, start, |t| {
    t.bare("GET", "/sessions/NOT_EXISTS/connection/NOT_EXISTS", Value::Null, 400).await;
});

row!(row_09, with_x, |t| {
    t.bare("GET", "/sessions/X/connection/NOT_EXISTS", Value::Null, 404).await;
});

row!(row_10, with_x, |t| {
    for body in [
        json!({}),
        json!({"session": true}),
        json!({"session": "X", "role": "NOT_EXISTS"}),
        json!({"session": "X", "data": 999}),
        json!({"session": "X", "kurentoOptions": false}),
        json!({"session": "X", "kurentoOptions": {"allowedFilters": "x"}}),
    ] {
        t.told("/tokens", body, 400).await;
    }
    t.told("/tokens", json!({"session": "NOT_EXISTS"}), 404).await;
});

row!(row_11, with_x, |t| {
    let token = t.ask("POST", "/tokens", json!({"session": "X"}), 200).await;
    assert_eq!(keys(&token), ["id", "token", "createdAt", "connectionId", "session", "data", "role"]);
    assert_eq!(token["id"], token["token"]);
});

row!(row_12, with_x, |t| {
    for body in [json!({"type": false}), json!({"type": "NOT_EXISTS"}), json!({"role": 123}), json!({"data": true})] {
        t.told("/sessions/X/connection", body, 400).await;
    }
    for url in ["nothing", "xyz:host", "turn:host"] {
        let body = json!({"customIceServers": [{"url": url}]});
        if t.is_old {
            let connection = t.ask("POST", "/sessions/X/connection", body, 200).await;
            assert_eq!(connection["customIceServers"], json!([]), "it does not know the member");
        } else {
            t.told("/sessions/X/connection", body, 400).await;
        }
    }
    if t.is_old {
        t.framework("POST", "/sessions/X/connection", 400).await;
        t.bare("POST", "/sessions/NOT_EXISTS/connection", Value::Null, 404).await;
    } else {
        t.ask("POST", "/sessions/X/connection", Value::Null, 200).await;
    }
});

row!(row_13, with_x, |t| {
    let pending = t.ask("POST", "/sessions/X/connection", json!({}), 200).await;
    assert_eq!(keys(&pending), CONNECTION_KEYS);
    assert_eq!(pending["status"], "pending");
    let path = format!("/sessions/X/connection/{}", pending["id"].as_str().unwrap());
    t.bare("DELETE", &path, Value::Null, 204).await;
    t.bare("GET", &path, Value::Null, 404).await;
});

row!(row_14, with_x, |t| {
    for _ in 0..2 {
        t.ask("POST", "/sessions/X/connection", json!({}), 200).await;
    }
    assert_eq!(t.get("/sessions/X", 200).await["connections"]["numberOfElements"], 0);
    assert_eq!(t.get("/sessions/X?pendingConnections=true", 200).await["connections"]["numberOfElements"], 2);
});

row!(row_15, with_x, |t| {
    for _ in 0..2 {
        t.ask("POST", "/sessions/X/connection", json!({}), 200).await;
    }
    assert_eq!(t.get("/sessions/X/connection", 200).await["numberOfElements"], 2);
    assert_eq!(t.get("/sessions/X/connection?pendingConnections=false", 200).await["numberOfElements"], 0);
});

row!(row_16, with_x, |t| {
    for body in [
        json!({}),
        json!({"session": true}),
        json!({"session": "X", "to": 12}),
        json!({"session": "X", "data": false}),
        json!({"session": "X", "type": true}),
    ] {
        t.told("/signal", body, 400).await;
    }
});

row!(row_17, with_x, |t| {
    t.bare("POST", "/signal", json!({"session": "X"}), 406).await;
});

row!(row_18, with_x, |t| {
    t.told("/recordings/start", json!({}), 400).await;
    t.bare("POST", "/recordings/start", json!({"session": "NOT_EXISTS"}), 404).await;
    t.bare("POST", "/recordings/start", json!({"session": "NOT_EXISTS", "name": 999}), 404).await;
    t.bare("POST", "/recordings/start", json!({"session": "X"}), 406).await;
    t.ask("POST", "/sessions", json!({"customSessionId": "R", "mediaMode": "RELAYED"}), 200).await;
    t.bare("POST", "/recordings/start", json!({"session": "R"}), 409).await;
});

row!(row_19, with_x, |t| {
    let body = json!({"data": "srv", "role": "MODERATOR"});
    let pending = t.ask("POST", "/sessions/X/connection", body, 200).await;
    let mut socket = t.server.socket().await;
    let token = pending["token"].as_str().unwrap();
    socket.call("joinRoom", join_params("X", token, Some("2.32.1"))).await;
    let active = t.get(&format!("/sessions/X/connection/{}", pending["id"].as_str().unwrap()), 200).await;
    assert_eq!(keys(&active), CONNECTION_KEYS);
    assert_eq!(active["status"], "active");
    for kept in ["id", "token", "serverData", "role", "createdAt", "record"] {
        assert_eq!(active[kept], pending[kept], "{kept}");
    }
});

row!(row_20, start, |t| {
    t.bare("GET", "/recordings/NOT_EXISTS", Value::Null, 404).await;
    assert_eq!(t.get("/recordings", 200).await, json!({"count": 0, "items": []}));
});

row!(row_21, with_x, |t| {
    let _a = t.server.join("X", "PUBLISHER", Some("2.32.1")).await;
    t.told("/recordings/start", json!({"session": true}), 400).await;
    for (name, value) in [
        ("name", json!(999)),
        ("name", json!("notalphanumeric@")),
        ("outputMode", json!("NOT_EXISTS")),
        ("recordingLayout", json!("NOT_EXISTS")),
        ("resolution", json!(999)),
        ("frameRate", json!(true)),
    ] {
        // Wrong words come before values out of range.
        let body = json!({"session": "X", "hasAudio": false, "hasVideo": false, name: value});
        t.told("/recordings/start", body, 400).await;
    }
    let fraction = json!({"session": "X", "frameRate": 25.5});
    t.ask("POST", "/recordings/start", fraction, if t.is_old { 400 } else { 500 }).await;
    let tilde = json!({"session": "X", "name": "a~1"});
    t.ask("POST", "/recordings/start", tilde, if t.is_old { 400 } else { 500 }).await;
});

row!(row_22, with_x, |t| {
    let _a = t.server.join("X", "PUBLISHER", Some("2.32.1")).await;
    for (name, value) in [
        ("hasVideo", json!(false)),
        ("resolution", json!("1920x2000")),
        ("resolution", json!("99x1080")),
        ("frameRate", json!(0)),
        ("frameRate", json!(121)),
        ("shmSize", json!(134_217_727)),
    ] {
        let body = json!({"session": "X", "hasAudio": name != "hasVideo", name: value});
        t.told("/recordings/start", body, 422).await;
    }
});

// The recorder itself is not built: rows 23 and 25 to 28 show what is left of them.
row!(row_23, with_x, |t| {
    let _a = t.server.join("X", "PUBLISHER", Some("2.32.1")).await;
    let request = t.server.request("POST", "/openvidu/api/recordings/start").header("content-type", "application/json");
    let answer = request.body(json!({"session": "X"}).to_string()).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (500, &"application/json".parse().unwrap())
    );
    assert!(answer.text().await.unwrap().starts_with("Error starting recording: "));
});

row!(row_24, start, |t| {
    // With its wildcard route for one recording, the path exists for other methods.
    t.framework("POST", "/recordings/stop", 405).await;
});

row!(row_25, start, |t| {
    t.bare("POST", "/recordings/stop/NOT_EXISTS", Value::Null, 404).await;
});

// Nothing runs that deleting would disturb.
row!(row_26, with_x, |t| {
    let _a = t.server.join("X", "PUBLISHER", Some("2.32.1")).await;
    t.ask("POST", "/recordings/start", json!({"session": "X"}), 500).await;
    t.bare("DELETE", "/recordings/X", Value::Null, 404).await;
    assert_eq!(t.get("/sessions/X", 200).await["recording"], false);
});

// Of a recording that failed to start nothing is left.
row!(row_27, with_x, |t| {
    let _a = t.server.join("X", "PUBLISHER", Some("2.32.1")).await;
    t.ask("POST", "/recordings/start", json!({"session": "X"}), 500).await;
    t.bare("POST", "/recordings/stop/X", Value::Null, 404).await;
    t.bare("GET", "/recordings/X", Value::Null, 404).await;
    assert_eq!(t.get("/recordings", 200).await, json!({"count": 0, "items": []}));
});

row!(row_28, start, |t| {
    t.framework("DELETE", "/recordings", 405).await;
    t.bare("DELETE", "/recordings/NOT_EXISTS", Value::Null, 404).await;
});

row!(row_29, with_x, |t| {
    let mut a = t.server.join("X", "PUBLISHER", Some("2.32.1")).await;
    let stream = a.publish().await;
    t.bare("DELETE", "/sessions/NOT_EXISTS/stream/Y", Value::Null, 400).await;
    t.bare("DELETE", "/sessions/X/stream/NOT_EXISTS", Value::Null, 404).await;
    t.bare("DELETE", &format!("/sessions/X/stream/{stream}"), Value::Null, 204).await;
});

row!(row_30, with_x, |t| {
    let mut a = t.server.join("X", "PUBLISHER", Some("2.32.1")).await;
    t.told("/signal", json!({"session": "X", "to": ["con_X"]}), 406).await;
    t.told("/signal", json!({"session": "X", "to": [a.id, "con_X"]}), 406).await;
    a.silent().await;
});

row!(row_31, with_x, |t| {
    let mut a = t.server.join("X", "PUBLISHER", Some("2.32.1")).await;
    let mut b = t.server.join("X", "PUBLISHER", Some("2.32.1")).await;
    a.expect("participantJoined").await;
    t.bare("POST", "/signal", json!({"session": "X"}), 200).await;
    t.bare("POST", "/signal", json!({"session": "X", "to": [], "type": "t", "data": "d"}), 200).await;
    t.bare("POST", "/signal", json!({"session": "X", "to": [b.id]}), 200).await;
    for socket in [&mut a, &mut b] {
        assert_eq!(socket.expect("sendMessage").await, json!({}));
        assert_eq!(socket.expect("sendMessage").await, json!({"data": "d", "type": "t"}));
    }
    assert_eq!(b.expect("sendMessage").await, json!({}));
    a.silent().await;
});

row!(row_32, with_x, |t| {
    let mut a = t.server.join("X", "PUBLISHER", Some("2.32.1")).await;
    t.bare("DELETE", "/sessions/NOT_EXISTS/connection/Y", Value::Null, 400).await;
    t.bare("DELETE", "/sessions/X/connection/NOT_EXISTS", Value::Null, 404).await;
    t.bare("DELETE", &format!("/sessions/X/connection/{}", a.id), Value::Null, 204).await;
    assert_eq!(a.expect("participantEvicted").await["reason"], "forceDisconnectByServer");
    t.bare("GET", "/sessions/X", Value::Null, 404).await;
});

row!(row_33, with_x, |t| {
    t.framework("DELETE", "/sessions", 405).await;
    t.bare("DELETE", "/sessions/NOT_EXISTS", Value::Null, 404).await;
    t.bare("DELETE", "/sessions/X", Value::Null, 204).await;
    t.delete("/sessions/X", 404).await;
});

row!(row_34, with_x, |t| {
    for body in [
        json!({"type": "IPCAM"}),
        json!({"type": "IPCAM", "rtspUri": "NOT_A_URI"}),
        json!({"type": "IPCAM", "rtspUri": "ftp://host/x"}),
        json!({"type": "IPCAM", "rtspUri": 7}),
    ] {
        t.told("/sessions/X/connection", body, 400).await;
    }
});

// The server has no ingest: a valid camera is refused in so many words.
row!(row_35, with_x, |t| {
    t.told("/sessions/X/connection", json!({"type": "IPCAM", "rtspUri": "rtsp://host/stream"}), 501).await;
    let secure = json!({"type": "IPCAM", "rtspUri": "rtsps://host/stream"});
    t.told("/sessions/X/connection", secure, if t.is_old { 400 } else { 501 }).await;
    t.bare("DELETE", "/sessions/X/stream/str_IPC_X_ipc_X", Value::Null, 404).await;
    t.bare("DELETE", "/sessions/X/connection/ipc_X", Value::Null, 404).await;
});

// Only Pro changes connections; this server does, whatever the generation.
row!(row_36, with_x, |t| {
    let pending = t.ask("POST", "/sessions/X/connection", json!({}), 200).await;
    let path = format!("/sessions/X/connection/{}", pending["id"].as_str().unwrap());
    let changed = t.ask("PATCH", &path, json!({"role": "SUBSCRIBER"}), 200).await;
    assert_eq!(changed["role"], "SUBSCRIBER");
});

row!(row_37, start, |t| {
    let config = t.get("/config", 200).await;
    assert_eq!(config["OPENVIDU_PUBLICURL"], "https://ov.example.com");
    assert_eq!(
        keys(&config)[..5],
        ["VERSION", "DOMAIN_OR_PUBLIC_IP", "HTTPS_PORT", "OPENVIDU_PUBLICURL", "OPENVIDU_CDR"]
    );
    assert!(!config.to_string().contains(SECRET));
});
