//! mediasoup: one worker for each of the plan's, a WebRtcTransport for each client, over the protocol of
//! `bench/peers/mediasoup/src/main.rs`, which `bench/peers/mediasoup.sh` builds: a line of JSON for each request and
//! one for its answer.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::drivers::{ClientEnd, Counters, Driver, Failure, Media, Plan, Process, Server, ServerEnd, peers_folder};

const PROGRAM: &str = "mediasoup-under-test";
/// Longest wait for it to listen, and for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// mediasoup's worker and its Rust API in one process, as its crate has it.
#[derive(Clone, Copy, Debug)]
pub struct Mediasoup;

struct Running {
    process: Process,
    folder: PathBuf,
    stream: BufReader<TcpStream>,
    version: String,
}

impl Driver for Mediasoup {
    fn name(&self) -> String {
        "mediasoup".to_owned()
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Server>, Failure> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let peers = peers_folder()?;
        let program = peers.join(PROGRAM);
        if !program.exists() {
            let fix = format!("run `bench/peers/mediasoup.sh {}`", peers.display());
            return Err(format!("not installed: {} is missing; {fix}", program.display()).into());
        }
        let name = format!("millrace-bench-mediasoup-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        let log = folder.join("log");
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let arguments = [address.port().to_string(), plan.workers.to_string()];
        let mut process = Process::start(&program, &arguments, &[], &plan.cores, &log)?;
        let stream = connect(&mut process, address, &log)?;
        let mut running = Running { process, folder, stream: BufReader::new(stream), version: String::new() };
        let ready = running.answer()?;
        running.version = ready["ready"]["version"].as_str().unwrap_or("?").to_owned();
        Ok(Box::new(running))
    }
}

impl Server for Running {
    fn version(&self) -> String {
        format!("mediasoup {} on Debian's OpenSSL, libuv and libsrtp2", self.version)
    }

    fn process(&self) -> &Process {
        &self.process
    }

    fn publish(&mut self, client: &ClientEnd, media: Media) -> Result<ServerEnd, Failure> {
        self.call(&json!({"publish": {
            "fingerprint": client.fingerprint, "audio": media.audio_ssrc, "video": media.video_ssrc,
        }}))
    }

    fn subscribe(&mut self, client: &ClientEnd, publisher: usize) -> Result<ServerEnd, Failure> {
        self.call(&json!({"subscribe": {"fingerprint": client.fingerprint, "publisher": publisher}}))
    }

    fn counters(&mut self) -> Result<Option<Counters>, Failure> {
        Ok(None)
    }
}

impl Running {
    fn call(&mut self, request: &Value) -> Result<ServerEnd, Failure> {
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes())?;
        server_end(&self.answer()?)
    }

    fn answer(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            let last = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            return Err(format!("mediasoup has ended; its last words:\n{last}").into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// It takes one connection, so that looking whether it listens and connecting are the same.
fn connect(process: &mut Process, address: SocketAddr, log: &std::path::Path) -> Result<TcpStream, Failure> {
    let mut stream = None;
    process.wait_for("mediasoup's socket", PATIENCE, log, || {
        stream = TcpStream::connect(address).ok();
        stream.is_some()
    })?;
    let stream = stream.ok_or("no connection")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn server_end(answer: &Value) -> Result<ServerEnd, Failure> {
    let end = answer.get("end").ok_or_else(|| format!("mediasoup refuses: {}", answer["refused"]))?;
    let text = |name: &str| end[name].as_str().map(str::to_owned).ok_or_else(|| format!("no {name} in {answer}"));
    Ok(ServerEnd { address: text("address")?.parse()?, ufrag: text("ufrag")?, password: text("password")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_servers_end_or_says_why_there_is_none() {
        let end = json!({"end": {"address": "127.0.0.1:40100", "ufrag": "u", "password": "p"}});
        let expected =
            ServerEnd { address: "127.0.0.1:40100".parse().unwrap(), ufrag: "u".to_owned(), password: "p".to_owned() };
        assert_eq!(server_end(&end).unwrap(), expected);
        let refused = server_end(&json!({"refused": "no such publisher"})).unwrap_err().to_string();
        assert!(refused.contains("no such publisher"), "{refused}");
        assert!(server_end(&json!({"end": {"address": "nowhere", "ufrag": "u", "password": "p"}})).is_err());
    }
}
