//! What is shown of media paths: `webRtcStats=true`, and the feed of `/openvidu/info`.

use std::time::Duration;

use dataplane_protocol::{TransportEvent, TransportState};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::common::*;
use crate::keys;

const PATH_KEYS: [&str; 10] = [
    "createdAt",
    "webrtcEndpointName",
    "remoteSdp",
    "localSdp",
    "clientIceCandidates",
    "serverIceCandidates",
    "localCandidate",
    "remoteCandidate",
    "events",
    "streamId",
];

#[tokio::test]
async fn media_paths_are_shown_when_asked_for() {
    let server = Server::start().await;
    server.session("X").await;
    let mut a = server.join("X", "PUBLISHER", Some("2.32.1")).await;
    let mut b = server.join("X", "PUBLISHER", Some("2.32.1")).await;
    let stream = a.publish().await;
    let known = "candidate:1 1 udp 2122194687 198.51.100.9 50000 typ host generation 0";
    let candidate = json!({"endpointName": a.id, "candidate": known, "sdpMid": "0", "sdpMLineIndex": 0});
    a.result("onIceCandidate", candidate).await;
    let stranger = json!({"endpointName": "con_X", "candidate": known, "sdpMid": "0", "sdpMLineIndex": 0});
    a.result("onIceCandidate", stranger).await;
    let offer = b.result("prepareReceiveVideoFrom", json!({"sender": stream, "reconnect": false})).await;
    let offer = offer["sdpOffer"].as_str().unwrap();
    let answer = subscribe_answer(offer);
    b.result("receiveVideoFrom", json!({"sender": stream, "sdpAnswer": answer})).await;

    let (status, session) = server.api("GET", "/sessions/X?webRtcStats=true", Value::Null).await;
    assert_eq!(status, 200);
    let connections = &session["connections"]["content"];
    let publisher = &connections[0]["publishers"][0];
    assert_eq!(keys(publisher), [&PATH_KEYS[..], &["mediaOptions"]].concat());
    assert_eq!((&publisher["streamId"], &publisher["webrtcEndpointName"]), (&json!(stream), &json!(stream)));
    assert_eq!(publisher["remoteSdp"], publish_offer());
    let local = publisher["localSdp"].as_str().unwrap();
    assert!(local.starts_with("v=0") && local.contains("203.0.113.7 40000 typ host"));
    let told = json!([{"candidate": known, "sdpMid": "0", "sdpMLineIndex": 0}]);
    assert_eq!(publisher["clientIceCandidates"], told);
    assert_eq!(publisher["remoteCandidate"], known);
    let own = &publisher["serverIceCandidates"][0];
    assert_eq!((&own["sdpMid"], &own["sdpMLineIndex"]), (&json!("0"), &json!(0)));
    assert_eq!(publisher["localCandidate"], own["candidate"]);
    let words: Vec<_> = own["candidate"].as_str().unwrap().split(' ').collect();
    assert_eq!((words[2], words[4], words[5], words[7]), ("udp", "203.0.113.7", "40000", "host"));

    let subscriber = &connections[1]["subscribers"][0];
    assert_eq!(keys(subscriber), PATH_KEYS);
    assert_eq!(subscriber["webrtcEndpointName"], format!("{}_{stream}", b.id));
    assert_eq!((&subscriber["localSdp"], &subscriber["remoteSdp"]), (&json!(offer), &json!(answer)));
    let unheard = subscriber["remoteCandidate"].as_str().unwrap();
    let words: Vec<_> = unheard.split(' ').collect();
    assert_eq!((words[2], words[4], words[5], words[7]), ("udp", "198.51.100.9", "50000", "prflx"));

    let asked = server.dataplane.state.lock().unwrap().snapshots;
    let list = server.api("GET", "/sessions/X/connection?webRtcStats=true", Value::Null).await.1;
    assert_eq!(list["content"], *connections);
    let all = server.api("GET", "/sessions?webRtcStats=true", Value::Null).await.1;
    assert_eq!(all["content"][0], session);
    assert_eq!(server.dataplane.state.lock().unwrap().snapshots, asked, "one snapshot serves for a second");
    pass(Duration::from_secs(1)).await;
    server.api("GET", "/sessions?webRtcStats=true", Value::Null).await;
    assert_eq!(server.dataplane.state.lock().unwrap().snapshots, asked + 1);
    let plain = server.api("GET", "/sessions/X", Value::Null).await.1;
    assert_eq!(keys(&plain["connections"]["content"][1]["subscribers"][0]), ["createdAt", "streamId"]);
}

#[tokio::test]
async fn watchers_read_what_happens_to_media_paths() {
    let server = Server::start().await;
    server.session("X").await;
    let mut a = server.join("X", "PUBLISHER", Some("2.32.1")).await;
    let stream = a.publish().await;
    let mut sockets = Vec::new();
    for path in ["/openvidu/info", "/info"] {
        let (mut socket, _) = connect_async(format!("ws://{}{path}", server.address)).await.unwrap();
        socket.send(Message::Text("what is said to it is ignored".into())).await.unwrap();
        sockets.push(socket);
    }
    let transport = *server.dataplane.state.lock().unwrap().transports.iter().next().unwrap();
    let event = |transport: u64, state: TransportState| TransportEvent {
        transport,
        state: state.into(),
        remote_address: REMOTE_ADDRESS.into(),
        ..TransportEvent::default()
    };
    server.dataplane.events.send(event(transport + 1, TransportState::Failed)).unwrap();
    server.dataplane.events.send(event(transport, TransportState::Connected)).unwrap();
    for socket in &mut sockets {
        let line = tokio::time::timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap().into_text().unwrap();
        let expected = format!("KMS event [ConnectionStateChanged] -> {stream} (publisher) | state: CONNECTED | ");
        assert!(line.starts_with(&expected), "{line}");
        assert!(!line.contains("198.51.100.9"), "it is open to anybody");
    }
    let plain = server.http.get(format!("http://{}/openvidu/info", server.address)).send().await.unwrap();
    assert_eq!(plain.status(), 403, "no WebSocket");
    let mut more = Vec::new();
    for _ in sockets.len()..16 {
        more.push(connect_async(format!("ws://{}/openvidu/info", server.address)).await.unwrap());
    }
    assert!(connect_async(format!("ws://{}/openvidu/info", server.address)).await.is_err(), "they are bounded");
}
