//! The server and the load tester as programs of their own, found beside each other where they were built.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a panic is the failure")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const SECRET: &str = "secret";
/// Whatever is waited for comes within.
const SOON: Duration = Duration::from_secs(40);
/// Between two looks at what nothing tells of.
const LOOK: Duration = Duration::from_millis(20);

/// A data plane and a control plane on ports of their own. They are killed with the value.
pub(crate) struct Server {
    folder: PathBuf,
    dataplane: Killed,
    controlplane: Killed,
    pub(crate) url: String,
}

/// A process that does not outlive the value, also when a test fails half-way.
struct Killed(Child);

/// A run of the load tester under way. It is killed with the value.
pub(crate) struct Bots {
    process: Killed,
    folder: PathBuf,
    lines: mpsc::Receiver<String>,
    log: String,
}

/// What a run came to.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// All that it said.
    pub(crate) log: String,
    /// `report.json`; null: there is none.
    pub(crate) report: Value,
}

impl Server {
    /// Starts both, and waits until they serve.
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = folder();
        let socket = folder.join("dataplane.sock");
        let spawn = |name: &str, port: u16| {
            let mut command = Command::new(binary(name));
            command.env_clear().current_dir(&folder);
            for (key, value) in [
                ("MILLRACE_MEDIA_PORT", "0"),
                ("MILLRACE_ANNOUNCE", "127.0.0.1"),
                ("MILLRACE_WORKERS", "2"),
                ("MILLRACE_PIN", "false"),
                ("MILLRACE_LOG_FORMAT", "json"),
                ("MILLRACE_BIND_ADDRESS", "127.0.0.1"),
                ("DOMAIN_OR_PUBLIC_IP", "localhost"),
                ("OPENVIDU_SECRET", SECRET),
            ] {
                command.env(key, value);
            }
            command.env("MILLRACE_CONTROL_SOCKET", &socket).env("MILLRACE_DATA_DIR", &folder);
            command.env("HTTPS_PORT", port.to_string()).stdout(Stdio::null()).stderr(Stdio::piped());
            Killed(command.spawn().unwrap())
        };
        let mut dataplane = spawn("millrace-dataplane", 1);
        let _dataplane_log = lines(&mut dataplane);
        until("the data plane's socket", || socket.exists()).await;
        // The port stands in tokens, so that it must be known beforehand; somebody else may take it meanwhile.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut controlplane = spawn("millrace-controlplane", port);
            let log = lines(&mut controlplane);
            let serves = |line: String| serde_json::from_str::<Value>(&line).is_ok_and(|it| it["message"] == "serving");
            if log.iter().any(serves) {
                let server = Self { url: format!("https://localhost:{port}"), folder, dataplane, controlplane };
                server.until_up().await;
                return server;
            }
        }
        panic!("the control plane does not serve");
    }

    /// Process ids, for `--process`.
    pub(crate) fn processes(&self) -> [String; 2] {
        [self.dataplane.0.id(), self.controlplane.0.id()].map(|id| id.to_string())
    }

    /// As `kill -9` does to both.
    pub(crate) fn kill(&mut self) {
        self.controlplane.kill();
        self.dataplane.kill();
    }

    async fn until_up(&self) {
        let http = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap();
        let deadline = Instant::now() + SOON;
        loop {
            let asked = http.get(format!("{}/metrics", self.url)).basic_auth("OPENVIDUAPP", Some(SECRET)).send().await;
            if let Ok(page) = asked
                && page.text().await.unwrap().lines().any(|line| line == "millrace_dataplane_up 1")
            {
                return;
            }
            assert!(Instant::now() < deadline, "the control plane has no data plane");
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Killed {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Bots {
    /// Starts `millrace-loadtest run` with these arguments, separated by spaces.
    pub(crate) fn start(url: &str, arguments: &str) -> Self {
        let folder = folder();
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace-loadtest"));
        command.args(["run", "--url", url]).args(arguments.split_whitespace());
        command.arg("--report").arg(&folder).arg("--media-dir").arg(media());
        command.env_remove("OPENVIDU_SECRET").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Killed(command.spawn().unwrap());
        let lines = lines(&mut process);
        Self { process, folder, lines, log: String::new() }
    }

    /// Until it says something with this in it.
    pub(crate) fn until(&mut self, wanted: &str) {
        loop {
            let line = self.lines.recv_timeout(SOON).unwrap_or_else(|_| panic!("never came: {wanted}\n{}", self.log));
            self.log += &line;
            self.log.push('\n');
            if line.contains(wanted) {
                return;
            }
        }
    }

    /// Until it ends.
    pub(crate) fn end(mut self) -> Ended {
        while let Ok(line) = self.lines.recv_timeout(SOON) {
            self.log += &line;
            self.log.push('\n');
        }
        let code = self.process.0.wait().unwrap().code();
        let report = std::fs::read_to_string(self.folder.join("report.json")).unwrap_or_default();
        let page = std::fs::read_to_string(self.folder.join("report.html")).unwrap_or_default();
        let report: Value = serde_json::from_str(&report).unwrap_or_default();
        assert_eq!(page.ends_with("</html>\n"), !report.is_null(), "there is a page if there is a report");
        Ended { code, log: std::mem::take(&mut self.log), report }
    }
}

impl Drop for Bots {
    fn drop(&mut self) {
        self.process.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Ended {
    /// A figure of the report; times in seconds, shares between 0 and 1.
    pub(crate) fn figure(&self, name: &str) -> f64 {
        self.report["figures"][name]["value"].as_f64().unwrap_or_else(|| panic!("no {name}:\n{}", self.log))
    }

    /// A counter of the server's, at the end and by how much it grew.
    pub(crate) fn counter(&self, name: &str) -> (f64, f64) {
        let of = |when: &str| self.report["metrics"][when][name].as_f64().unwrap_or(0.0);
        (of("last"), of("last") - of("first"))
    }

    /// Expected and flowing streams of the seconds of this part of the run.
    pub(crate) fn streams(&self, phase: &str) -> Vec<(u64, u64)> {
        let samples = self.report["samples"].as_array().into_iter().flatten().filter(|one| one["phase"] == phase);
        samples.map(|one| (one["expected"].as_u64().unwrap(), one["flowing"].as_u64().unwrap())).collect()
    }
}

/// Lines of a process's stderr and stdout if they are piped. Read to the end, so that it never waits for its log.
fn lines(Killed(process): &mut Killed) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let stdout = process.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
    let stderr = process.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
    for pipe in stdout.into_iter().chain(stderr) {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                // Nobody may listen any more.
                let _ = sender.send(line);
            }
        });
    }
    receiver
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The server's binary: beside the load tester's, or in `MILLRACE_BIN`.
fn binary(name: &str) -> PathBuf {
    let beside = || Path::new(env!("CARGO_BIN_EXE_millrace-loadtest")).parent().unwrap().to_owned();
    let path = std::env::var_os("MILLRACE_BIN").map_or_else(beside, PathBuf::from).join(name);
    let made_by = "cargo build --bin millrace-dataplane --bin millrace-controlplane";
    assert!(path.exists(), "{} is missing; it is made by: {made_by}", path.display());
    path
}

/// A new, empty folder; its path is short enough for a Unix socket.
fn folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("millrace-loadtest-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Where media is kept from one run of the tests to the next.
fn media() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("loadtest-media")
}
