//! Both processes of a server of our own, on free ports, with their CPU time and the two REST calls that are needed.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Failure;

const SECRET: &str = "bench";
/// `OPENVIDUAPP:bench`.
pub const AUTHORIZATION: &str = "Basic T1BFTlZJRFVBUFA6YmVuY2g=";
/// Longest wait for a process to serve.
const START: Duration = Duration::from_secs(20);

/// A server, stopped when dropped.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    address: SocketAddr,
    data: Child,
    control: Option<Child>,
}

/// Seconds of CPU time, in user space and kernel.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// Of the control plane.
    pub control: f64,
    /// Of the data plane.
    pub data: f64,
}

impl Cpu {
    /// What was used between two looks.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { control: self.control - before.control, data: self.data - before.data }
    }
}

impl Server {
    /// Starts both and waits until they serve. The binaries are those beside this one.
    ///
    /// # Errors
    /// When one of them does not start, or does not serve within 20 s.
    pub fn start() -> Result<Self, Failure> {
        let own = std::env::current_exe()?;
        let binaries = own.parent().ok_or("no folder")?;
        let folder = std::env::temp_dir().join(format!("millrace-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let socket = folder.join("dataplane.sock");
        let _ = std::fs::remove_file(&socket);
        let media = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let spawn = |name: &str| -> Result<Child, Failure> {
            let program = binaries.join(name);
            let child = Command::new(&program)
                .env_clear()
                .env("MILLRACE_CONTROL_SOCKET", &socket)
                .env("MILLRACE_MEDIA_PORT", media.to_string())
                .env("MILLRACE_ANNOUNCE", "127.0.0.1")
                .env("MILLRACE_WORKERS", "2")
                .env("MILLRACE_DATA_DIR", &folder)
                .env("MILLRACE_LOG", "warn")
                .env("DOMAIN_OR_PUBLIC_IP", "localhost")
                .env("OPENVIDU_SECRET", SECRET)
                .env("FORCE_PLAIN_HTTP", "true")
                .env("HTTPS_PORT", address.port().to_string())
                .env("DOTENV_PATH", &folder)
                .stdout(Stdio::null())
                .spawn();
            child.map_err(|error| format!("{}: {error}", program.display()).into())
        };
        let data = spawn("millrace-dataplane")?;
        let mut server = Self { folder: folder.clone(), address, data, control: None };
        wait("the data plane's socket", || socket.exists())?;
        server.control = Some(spawn("millrace-controlplane")?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        wait("the control plane", || {
            runtime.block_on(server.call("GET", "/healthz", Value::Null)).is_ok_and(|(status, _)| status == 200)
        })?;
        Ok(server)
    }

    /// Where it serves HTTP and WebSockets.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a session.
    ///
    /// # Errors
    /// When the answer is another one than 200.
    pub async fn session(&self, id: &str) -> Result<(), Failure> {
        self.post("/openvidu/api/sessions", json!({"customSessionId": id})).await.map(drop)
    }

    /// A token for a publisher.
    ///
    /// # Errors
    /// When the answer is another one than 200.
    pub async fn token(&self, session: &str) -> Result<String, Failure> {
        let path = format!("/openvidu/api/sessions/{session}/connection");
        let connection = self.post(&path, json!({"role": "PUBLISHER"})).await?;
        Ok(connection["token"].as_str().ok_or("a connection without a token")?.to_owned())
    }

    /// What both processes have used since they started.
    ///
    /// # Errors
    /// When proc(5) cannot be read.
    pub fn cpu(&self) -> Result<Cpu, Failure> {
        let control = self.control.as_ref().ok_or("not started")?;
        Ok(Cpu { control: cpu_seconds(control.id())?, data: cpu_seconds(self.data.id())? })
    }

    /// Memory of the control plane that is in RAM, in bytes.
    ///
    /// # Errors
    /// When proc(5) cannot be read.
    pub fn control_memory(&self) -> Result<u64, Failure> {
        let control = self.control.as_ref().ok_or("not started")?;
        let statm = std::fs::read_to_string(Path::new("/proc").join(control.id().to_string()).join("statm"))?;
        let pages: u64 = statm.split(' ').nth(1).ok_or("an unknown format of /proc/PID/statm")?.parse()?;
        Ok(pages * rustix::param::page_size() as u64)
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, Failure> {
        match self.call("POST", path, body).await? {
            (200, text) => Ok(serde_json::from_str(&text)?),
            (status, text) => Err(format!("POST {path}: {status} {text}").into()),
        }
    }

    /// One HTTP/1.1 request on a connection of its own.
    async fn call(&self, method: &str, path: &str, body: Value) -> Result<(u16, String), Failure> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {AUTHORIZATION}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        let (head, text) = response.split_once("\r\n\r\n").ok_or("half a response")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no status")?;
        Ok((status, text.to_owned()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in self.control.iter_mut().chain([&mut self.data]) {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn wait(what: &str, mut ready: impl FnMut() -> bool) -> Result<(), Failure> {
    let started = Instant::now();
    while !ready() {
        if started.elapsed() > START {
            return Err(format!("never came: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// `utime` and `stime` of proc_pid_stat(5), the 14th and 15th value; the name in the second may contain anything but
/// ends with the last bracket.
fn cpu_seconds(pid: u32) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))?;
    let (_, rest) = stat.rsplit_once(") ").ok_or("an unknown format of /proc/PID/stat")?;
    let mut ticks = 0;
    for value in rest.split(' ').skip(11).take(2) {
        ticks += value.parse::<u64>()?;
    }
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
