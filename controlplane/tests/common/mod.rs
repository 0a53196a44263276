//! A whole control plane in the test's own process, with a data plane that says yes to everything.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a panic is the failure")]

pub mod transcript;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use dataplane_protocol::{
    Candidate, Command, Done, ErrorCode, Event, Failure, Fingerprint, FromDataPlane, HelloReply, Message as Frame,
    Outcome, Reply, Snapshot, Stats, SubscriptionInfo, ToDataPlane, TransportEvent, TransportInfo, decode, encode,
};
use futures_util::{SinkExt, StreamExt};
use millrace_controlplane::app::{App, Running};
use millrace_controlplane::config::Generation;
use millrace_controlplane::dataplane::Client;
use millrace_controlplane::openvidu::Settings;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub const SECRET: &str = "MY_SECRET";
/// Where all clients of the fake data plane are.
pub const REMOTE_ADDRESS: &str = "198.51.100.9:50000";
/// Longest wait for anything that should come at once.
pub const SOON: Duration = Duration::from_secs(10);

/// What the fake data plane holds, and how it behaves.
#[derive(Default)]
pub struct DataPlaneState {
    pub transports: HashSet<u64>,
    /// The transport of each track.
    pub tracks: HashMap<u64, u64>,
    /// The transport of each subscription, and the tracks that it may send.
    pub subscriptions: HashMap<u64, (u64, Vec<u64>)>,
    pub commands: Vec<Command>,
    /// How often it was asked for everything it holds.
    pub snapshots: u64,
    /// Refuse commands of this kind, by the name of their variant.
    pub refuse: Option<&'static str>,
}

/// A data plane that keeps books and moves no packet.
pub struct FakeDataPlane {
    pub state: Arc<Mutex<DataPlaneState>>,
    pub changed: Arc<Notify>,
    /// What it says by itself.
    pub events: broadcast::Sender<TransportEvent>,
    path: PathBuf,
    task: JoinHandle<()>,
}

impl FakeDataPlane {
    pub fn start(path: PathBuf, instance: u64) -> Self {
        Self::resume(path, instance, Arc::default())
    }

    /// One that holds something already.
    pub fn resume(path: PathBuf, instance: u64, state: Arc<Mutex<DataPlaneState>>) -> Self {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let changed = Arc::new(Notify::new());
        let events = broadcast::Sender::new(64);
        let (shared, notify, told) = (state.clone(), changed.clone(), events.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.spawn(converse(socket, instance, shared.clone(), notify.clone(), told.subscribe()));
            }
        });
        Self { state, changed, events, path, task }
    }

    /// Waits until the books satisfy a condition.
    pub async fn until(&self, what: &str, condition: impl Fn(&DataPlaneState) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if condition(&self.state.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        };
        assert!(tokio::time::timeout(SOON, wait).await.is_ok(), "never came: {what}");
    }

    /// Ends it; gives the path where another one can follow.
    pub async fn stop(mut self) -> PathBuf {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.path.clone()
    }
}

impl Drop for FakeDataPlane {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn converse(
    mut socket: UnixStream,
    instance: u64,
    state: Arc<Mutex<DataPlaneState>>,
    changed: Arc<Notify>,
    mut events: broadcast::Receiver<TransportEvent>,
) {
    let mut input = BytesMut::new();
    loop {
        while let Some(ToDataPlane { request_id, command }) = decode::<ToDataPlane>(&mut input).unwrap() {
            let outcome = state.lock().unwrap().apply(command.unwrap(), instance);
            changed.notify_waiters();
            let reply = Reply { request_id, outcome: Some(outcome) };
            let mut out = BytesMut::new();
            encode(&FromDataPlane { message: Some(Frame::Reply(reply)) }, &mut out);
            if socket.write_all(&out).await.is_err() {
                return;
            }
        }
        let mut out = BytesMut::new();
        tokio::select! {
            read = socket.read_buf(&mut input) => if !matches!(read, Ok(1..)) {
                return;
            },
            event = events.recv() => {
                let Ok(transport) = event else { return };
                let message = Frame::Event(Event { transport: Some(transport) });
                encode(&FromDataPlane { message: Some(message) }, &mut out);
            }
        }
        if socket.write_all(&out).await.is_err() {
            return;
        }
    }
}

impl DataPlaneState {
    fn apply(&mut self, command: Command, instance: u64) -> Outcome {
        let name = match &command {
            Command::Hello(_) => return Outcome::Hello(hello(instance)),
            Command::Snapshot(_) => {
                self.snapshots += 1;
                return Outcome::Snapshot(self.snapshot());
            }
            Command::Stats(_) => return Outcome::Stats(Stats::default()),
            Command::CreateTransport(_) => "CreateTransport",
            Command::Publish(_) => "Publish",
            Command::Subscribe(_) => "Subscribe",
            _ => "other",
        };
        if self.refuse == Some(name) {
            return Outcome::Failure(Failure::new(ErrorCode::Full, "as the test wants it"));
        }
        self.commands.push(command.clone());
        let fine = match command {
            Command::CreateTransport(c) => self.transports.insert(c.transport),
            Command::SetRemote(c) => self.transports.contains(&c.transport),
            Command::RemoveTransport(c) => self.remove_transport(c.transport),
            Command::Publish(c) => {
                self.transports.contains(&c.transport) && self.tracks.insert(c.track, c.transport).is_none()
            }
            Command::Unpublish(c) => self.remove_track(c.track),
            Command::Subscribe(c) => {
                let tracks: Vec<_> = std::iter::once(c.track).chain(c.higher).collect();
                self.transports.contains(&c.transport)
                    && tracks.iter().all(|track| self.tracks.contains_key(track))
                    && self.subscriptions.insert(c.subscription, (c.transport, tracks)).is_none()
            }
            Command::Unsubscribe(c) => self.subscriptions.remove(&c.subscription).is_some(),
            Command::Retarget(c) => {
                let tracks: Vec<_> = std::iter::once(c.track).chain(c.higher).collect();
                let known = tracks.iter().all(|track| self.tracks.contains_key(track));
                match self.subscriptions.get_mut(&c.subscription) {
                    Some(subscription) if known => {
                        subscription.1 = tracks;
                        true
                    }
                    _ => false,
                }
            }
            Command::Hello(_) | Command::Snapshot(_) | Command::Stats(_) => true,
        };
        if fine { Outcome::Done(Done {}) } else { Outcome::Failure(Failure::new(ErrorCode::NotFound, "unknown id")) }
    }
}

impl DataPlaneState {
    /// Its transports, all with clients at one address, and its subscriptions, each sending its first track.
    fn snapshot(&self) -> Snapshot {
        let info = |transport: &u64| TransportInfo {
            transport: *transport,
            remote_address: REMOTE_ADDRESS.into(),
            ..TransportInfo::default()
        };
        let subscriptions = self.subscriptions.iter().map(|(subscription, (transport, tracks))| SubscriptionInfo {
            subscription: *subscription,
            transport: *transport,
            track: tracks.first().copied().unwrap_or_default(),
            ..SubscriptionInfo::default()
        });
        Snapshot {
            transports: self.transports.iter().map(info).collect(),
            subscriptions: subscriptions.collect(),
            ..Snapshot::default()
        }
    }

    /// With its tracks and subscriptions, as the real one does.
    fn remove_transport(&mut self, transport: u64) -> bool {
        self.subscriptions.retain(|_, (own, _)| *own != transport);
        let tracks: Vec<_> =
            self.tracks.iter().filter(|(_, own)| **own == transport).map(|(track, _)| *track).collect();
        for track in tracks {
            self.remove_track(track);
        }
        self.transports.remove(&transport)
    }

    /// With the subscriptions that have no other.
    fn remove_track(&mut self, track: u64) -> bool {
        self.subscriptions.retain(|_, (_, tracks)| {
            tracks.retain(|other| *other != track);
            !tracks.is_empty()
        });
        self.tracks.remove(&track).is_some()
    }
}

fn hello(instance: u64) -> HelloReply {
    HelloReply {
        version: dataplane_protocol::VERSION,
        software: "fake".into(),
        instance,
        workers: 1,
        fingerprint: Some(Fingerprint { hash: "sha-256".into(), digest: vec![7; 32] }),
        candidates: vec![Candidate { address: "203.0.113.7".into(), port: 40000 }],
        started_unix_ms: 1,
    }
}

/// A running control plane and its data plane.
pub struct Server {
    pub address: SocketAddr,
    pub dataplane: FakeDataPlane,
    pub http: reqwest::Client,
    running: Running,
    client: Client,
}

pub fn settings() -> Settings {
    Settings {
        secret: SECRET.into(),
        domain: "ov.example.com".into(),
        https_port: 443,
        plain_http: false,
        media_server: "mediasoup".into(),
        forced_video_codec: "MEDIA_SERVER_PREFERRED".into(),
        allow_transcoding: false,
        simulcast: false,
        max_receive_kbps: 1000,
        min_receive_kbps: 300,
        max_send_kbps: 1000,
        min_send_kbps: 300,
        garbage_interval_s: 900,
        garbage_threshold_s: 3600,
        coturn_ip: "198.51.100.4".into(),
        coturn_port: 3478,
        turn_secret: "turn-secret".into(),
        ice_servers: Vec::new(),
        deprecated_api: true,
        compat: Generation::V2_32,
        recorder: false,
        dev: false,
    }
}

pub fn socket_path() -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("millrace-test-{}-{number}.sock", std::process::id()))
}

impl Server {
    pub async fn start() -> Self {
        Self::with(settings()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let path = socket_path();
        let dataplane = FakeDataPlane::start(path.clone(), 1);
        let client = Client::spawn(path);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let app = App::new(settings, true, client.clone()).unwrap();
        let running = app.serve(listener, None).unwrap();
        tokio::time::timeout(SOON, client.connected()).await.unwrap().unwrap();
        Self { address: running.address, dataplane, http: reqwest::Client::new(), running, client }
    }

    /// Replaces the data plane by another process, so to say.
    pub async fn restart_dataplane(&mut self, instance: u64) {
        let mut hello: watch::Receiver<_> = self.client.hello();
        let path = socket_path();
        let old = std::mem::replace(&mut self.dataplane, FakeDataPlane::start(path, 0)).stop().await;
        tokio::time::timeout(SOON, hello.wait_for(|hello| hello.is_none())).await.unwrap().unwrap();
        self.dataplane = FakeDataPlane::start(old, instance);
        tokio::time::timeout(SOON, hello.wait_for(|hello| hello.is_some())).await.unwrap().unwrap();
    }

    pub async fn stop(self) {
        self.running.stop().await.unwrap();
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap();
        self.http.request(method, format!("http://{}{path}", self.address)).basic_auth("OPENVIDUAPP", Some(SECRET))
    }

    /// An authenticated call of the API; gives status and body, null when empty or no JSON.
    pub async fn api(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let mut request = self.request(method, &format!("/openvidu/api{path}"));
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
    }

    pub async fn session(&self, id: &str) {
        assert_eq!(self.api("POST", "/sessions", json!({"customSessionId": id})).await.0, 200);
    }

    /// A token of a session.
    pub async fn token(&self, session: &str, role: &str) -> String {
        let path = format!("/sessions/{session}/connection");
        let (status, connection) = self.api("POST", &path, json!({"role": role})).await;
        assert_eq!(status, 200);
        connection["token"].as_str().unwrap().to_owned()
    }

    /// Signalling sockets that the server knows of.
    pub async fn open_sockets(&self) -> usize {
        let text = self.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("millrace_signalling_sockets "));
        line.expect("the gauge").parse().expect("a number")
    }

    pub async fn socket(&self) -> Socket {
        Socket::open(self.address).await
    }

    /// A client that has joined.
    pub async fn join(&self, session: &str, role: &str, version: Option<&str>) -> Socket {
        let token = self.token(session, role).await;
        let mut socket = self.socket().await;
        let joined = socket.call("joinRoom", join_params(session, &token, version)).await;
        socket.seated(&joined);
        socket
    }
}

/// Moves the clock, then lets real time go on so that sockets can be waited for.
pub async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

pub fn join_params(session: &str, token: &str, version: Option<&str>) -> Value {
    let mut params = json!({
        "token": token, "session": session, "platform": "Chrome 126.0.0.0 on Linux 64-bit",
        "metadata": "", "secret": "", "recorder": false,
    });
    if let Some(version) = version {
        params["sdkVersion"] = version.into();
        params["stt"] = false.into();
    }
    params
}

/// One scripted client.
pub struct Socket {
    pub id: String,
    pub rpc: String,
    pub stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next: u64,
    /// Notifications that came while something else was waited for.
    pub heard: std::collections::VecDeque<Value>,
}

impl Socket {
    pub async fn open(address: SocketAddr) -> Self {
        let url = format!("ws://{address}/openvidu?sessionId=any");
        let (stream, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Self { id: String::new(), rpc: String::new(), stream, next: 0, heard: Default::default() }
    }

    pub async fn send(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        let mut frame = json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id});
        if params.is_null() {
            frame.as_object_mut().unwrap().remove("params");
        }
        self.raw(frame.to_string()).await;
        id
    }

    pub async fn raw(&mut self, text: String) {
        self.stream.send(Message::Text(text.into())).await.unwrap();
    }

    /// The next frame; `None` once the socket is closed, with the code in `closed`.
    pub async fn frame(&mut self) -> Result<Value, (u16, String)> {
        loop {
            let message = tokio::time::timeout(SOON, self.stream.next()).await.expect("nothing came");
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(text.as_str()).unwrap()),
                Some(Ok(Message::Close(Some(frame)))) => return Err((frame.code.into(), frame.reason.to_string())),
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Err((1005, String::new())),
                Some(Ok(_)) => {}
            }
        }
    }

    /// A request and its response; notifications before it are kept.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        loop {
            let frame = self.frame().await.expect("closed");
            if frame["id"] == json!(id) {
                return frame;
            }
            self.heard.push_back(frame);
        }
    }

    /// The result of a request that must succeed, without the injected session id.
    pub async fn result(&mut self, method: &str, params: Value) -> Value {
        let mut frame = self.call(method, params).await;
        let result = frame.get_mut("result").unwrap_or_else(|| panic!("{method} refused")).take();
        let mut result = result.as_object().unwrap().clone();
        let session = result.remove("sessionId");
        assert_eq!(session, Some(json!(self.rpc)), "every result carries the RPC session id");
        Value::Object(result)
    }

    /// Takes the seat that a response gives.
    pub fn seated(&mut self, joined: &Value) {
        self.id = joined["result"]["id"].as_str().unwrap_or_else(|| panic!("{joined}")).to_owned();
        self.rpc = joined["result"]["sessionId"].as_str().unwrap().to_owned();
    }

    /// The code of a request that must fail.
    pub async fn error(&mut self, method: &str, params: Value) -> i64 {
        let frame = self.call(method, params).await;
        frame["error"]["code"].as_i64().unwrap_or_else(|| panic!("not refused: {frame}"))
    }

    /// The next notification.
    pub async fn notice(&mut self) -> Value {
        match self.heard.pop_front() {
            Some(frame) => frame,
            None => self.frame().await.expect("closed"),
        }
    }

    /// The next notification, which must be this one.
    pub async fn expect(&mut self, method: &str) -> Value {
        let frame = self.notice().await;
        assert_eq!(frame["method"], method, "{frame}");
        assert_eq!(frame["jsonrpc"], "2.0");
        assert!(frame.get("id").is_none());
        frame["params"].clone()
    }

    /// Nothing has come up to now: a round trip brings no notification.
    pub async fn silent(&mut self) {
        self.call("ping", json!({"interval": 5000})).await;
        assert!(self.heard.is_empty(), "unexpected: {:?}", self.heard);
    }

    pub async fn publish(&mut self) -> String {
        let result = self.result("publishVideo", publish_params(&publish_offer())).await;
        result["id"].as_str().unwrap().to_owned()
    }
}

pub fn publish_params(offer: &str) -> Value {
    json!({
        "doLoopback": false, "hasAudio": true, "hasVideo": true, "audioActive": true, "videoActive": true,
        "typeOfVideo": "CAMERA", "frameRate": -1, "videoDimensions": "{\"width\":640,\"height\":480}", "sdpOffer": offer,
    })
}

/// What a browser offers when it publishes audio and video, cut down to what matters.
pub fn publish_offer() -> String {
    offer("sendonly", "actpass", true)
}

/// What a browser offers when it subscribes.
pub fn subscribe_offer() -> String {
    offer("recvonly", "actpass", false)
}

/// What a browser answers to a server's offer with the same codecs and numbers.
pub fn subscribe_answer(offer: &str) -> String {
    let mut answer = String::new();
    for line in offer.lines() {
        match line {
            "a=sendonly" => answer.push_str("a=recvonly\r\n"),
            "a=setup:actpass" => answer.push_str("a=setup:active\r\n"),
            line if line.starts_with("a=ice-ufrag:") => answer.push_str("a=ice-ufrag:clnt\r\n"),
            line if line.starts_with("a=ice-pwd:") => answer.push_str("a=ice-pwd:clientclientclientclient\r\n"),
            line if ["a=candidate", "a=ice-lite", "a=ssrc", "a=msid", "a=end-of"]
                .iter()
                .any(|p| line.starts_with(p)) => {}
            line => {
                answer.push_str(line);
                answer.push_str("\r\n");
            }
        }
    }
    answer
}

fn offer(direction: &str, setup: &str, ssrcs: bool) -> String {
    let fingerprint = ["AB"; 32].join(":");
    let transport = format!(
        "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:UuUt\r\na=ice-pwd:0123456789abcdef01234567\r\n\
         a=ice-options:trickle\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\n"
    );
    let ssrc = |lines: &str| if ssrcs { lines.to_owned() } else { String::new() };
    format!(
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\n{transport}a=mid:0\r\n\
         a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         a={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
         a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:0 PCMU/8000\r\n{}\
         m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99\r\n{transport}a=mid:1\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
         a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\n\
         a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
         a=rtpmap:98 H264/90000\r\na=rtcp-fb:98 nack\r\na=rtcp-fb:98 nack pli\r\n\
         a=fmtp:98 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
         a=rtpmap:99 rtx/90000\r\na=fmtp:99 apt=98\r\n{}",
        ssrc("a=ssrc:1111 cname:c\r\n"),
        ssrc("a=ssrc-group:FID 2222 3333\r\na=ssrc:2222 cname:c\r\na=ssrc:3333 cname:c\r\n"),
    )
}
