//! The real control plane as a process of its own, which can be killed.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a panic is the failure")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::common::*;

/// Between two looks at a figure that nothing tells of.
const LOOK: Duration = Duration::from_millis(20);

/// A folder and a data plane, which outlive control planes.
pub struct Bench {
    folder: PathBuf,
    socket: PathBuf,
    pub dataplane: FakeDataPlane,
}

impl Bench {
    pub fn new(name: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = std::env::temp_dir().join(format!("millrace-program-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let socket = socket_path();
        Self { folder, socket: socket.clone(), dataplane: FakeDataPlane::start(socket, 1) }
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// Starts the program with these keys, and waits until it serves with a data plane.
    pub async fn start(&self, keys: &[(&str, String)]) -> Program {
        let server = self.begin(keys).await;
        server.until_metric("millrace_dataplane_up", |up| up == 1.0).await;
        server
    }

    /// Starts the program with these keys, and waits until it serves.
    pub async fn begin(&self, keys: &[(&str, String)]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace-controlplane"));
        command.env_clear().current_dir(&self.folder);
        for (key, value) in [
            ("OPENVIDU_SECRET", SECRET),
            ("DOMAIN_OR_PUBLIC_IP", "ov.example.com"),
            ("FORCE_PLAIN_HTTP", "true"),
            ("SERVER_PORT", "0"),
            ("MILLRACE_BIND_ADDRESS", "127.0.0.1"),
            ("MILLRACE_LOG_FORMAT", "json"),
        ] {
            command.env(key, value);
        }
        command.env("MILLRACE_CONTROL_SOCKET", &self.socket).env("MILLRACE_DATA_DIR", self.folder.join("data"));
        command.envs(keys.iter().map(|(key, value)| (key, value)));
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (sender, address) = oneshot::channel();
        let log = Arc::<Mutex<Vec<Value>>>::default();
        let written = log.clone();
        // Reads on to the end, so that the program never waits for its log.
        std::thread::spawn(move || {
            let mut sender = Some(sender);
            for line in lines.map_while(Result::ok) {
                let entry: Value = serde_json::from_str(&line).unwrap_or_default();
                if let (Some(address), "serving") = (entry["address"].as_str(), entry["message"].as_str().unwrap_or(""))
                    && let Some(sender) = sender.take()
                {
                    let _ = sender.send(address.parse::<SocketAddr>().unwrap());
                }
                if entry["level"] == "ERROR" || entry.is_null() {
                    eprintln!("{line}");
                }
                written.lock().unwrap().push(entry);
            }
        });
        let address = tokio::time::timeout(SOON, address).await.expect("it does not serve").expect("it has ended");
        Program { process, address, http: reqwest::Client::builder().no_proxy().build().unwrap(), log }
    }
}

impl Bench {
    /// The data plane cannot be reached any more; it keeps what it holds.
    pub async fn pause(&mut self) {
        let state = self.dataplane.state.clone();
        let elsewhere = FakeDataPlane::resume(socket_path(), 1, state);
        std::mem::replace(&mut self.dataplane, elsewhere).stop().await;
    }

    /// The data plane can be reached again.
    pub fn resume(&mut self) {
        let state = self.dataplane.state.clone();
        self.dataplane = FakeDataPlane::resume(self.socket.clone(), 1, state);
    }

    pub fn books<T>(&self, look: impl FnOnce(&DataPlaneState) -> T) -> T {
        look(&self.dataplane.state.lock().unwrap())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A running program; it is killed with the value.
pub struct Program {
    process: Child,
    pub address: SocketAddr,
    http: reqwest::Client,
    /// Its log, as JSON.
    pub log: Arc<Mutex<Vec<Value>>>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The text of `/metrics`.
pub struct MetricsText(String);

impl MetricsText {
    pub fn value(&self, name: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }
}

impl Program {
    /// As `kill -9` does.
    pub fn kill(self) {
        drop(self);
    }

    /// Lets it end by itself, on SIGTERM.
    pub async fn terminate(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        while self.process.try_wait().unwrap().is_none() {
            tokio::time::sleep(LOOK).await;
        }
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.http.request(method.parse().unwrap(), url).basic_auth("OPENVIDUAPP", Some(SECRET))
    }

    pub async fn api(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let mut request = self.request(method, &format!("/openvidu/api{path}"));
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
    }

    pub async fn metrics(&self) -> MetricsText {
        MetricsText(self.request("GET", "/metrics").send().await.unwrap().text().await.unwrap())
    }

    pub async fn until_metric(&self, name: &str, is_wanted: impl Fn(f64) -> bool) {
        let wait = async {
            while !is_wanted(self.metrics().await.value(name)) {
                tokio::time::sleep(LOOK).await;
            }
        };
        assert!(tokio::time::timeout(SOON, wait).await.is_ok(), "never came: {name}");
    }

    pub async fn until_gone(&self, session: &str) {
        let wait = async {
            while self.api("GET", &format!("/sessions/{session}"), Value::Null).await.0 != 404 {
                tokio::time::sleep(LOOK).await;
            }
        };
        assert!(tokio::time::timeout(SOON, wait).await.is_ok(), "{session} stays");
    }

    pub async fn socket(&self) -> Socket {
        Socket::open(self.address).await
    }

    /// A client that has joined with a connection of these properties.
    pub async fn join(&self, session: &str, connection: Value, client_data: &str) -> Socket {
        let (status, made) = self.api("POST", &format!("/sessions/{session}/connection"), connection).await;
        assert_eq!(status, 200, "{made}");
        let mut socket = self.socket().await;
        let mut params = join_params(session, made["token"].as_str().unwrap(), Some("2.32.1"));
        params["metadata"] = client_data.into();
        let joined = socket.call("joinRoom", params).await;
        socket.seated(&joined);
        socket
    }

    pub async fn subscribe(&self, socket: &mut Socket, stream: &str) {
        let prepared = socket.result("prepareReceiveVideoFrom", json!({"sender": stream, "reconnect": false})).await;
        let answer = subscribe_answer(prepared["sdpOffer"].as_str().unwrap());
        socket.result("receiveVideoFrom", json!({"sender": stream, "sdpAnswer": answer})).await;
    }
}
