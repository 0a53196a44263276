//! Libraries as servers: a library's own part is a small program in `bench/peers`, which takes requests from this
//! module as lines of JSON on a socket, and answers each with one. `publish` and `subscribe` tell it of a client and
//! give the server's end.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::drivers::{ClientEnd, Counters, Failure, Media, Plan, Process, Server, ServerEnd, peers_folder};

/// Longest wait for a program to listen, and for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a program is, besides its protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Library {
    /// For people.
    pub(crate) name: &'static str,
    /// File name of the program, which takes a port and a number of workers.
    pub(crate) program: &'static str,
    /// Script in `bench/peers` that makes it.
    pub(crate) script: &'static str,
    /// What it was built with, for the report.
    pub(crate) remark: &'static str,
}

struct Running {
    process: Process,
    folder: PathBuf,
    stream: BufReader<TcpStream>,
    library: Library,
    version: String,
}

/// Starts a library's program.
///
/// # Errors
/// How to install it, or what it says when it does not start.
pub(crate) fn start(library: Library, plan: &Plan) -> Result<Box<dyn Server>, Failure> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let peers = peers_folder()?;
    let program = peers.join(library.program);
    if !program.exists() {
        let fix = format!("run `bench/peers/{} {}`", library.script, peers.display());
        return Err(format!("not installed: {} is missing; {fix}", program.display()).into());
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("millrace-bench-{}-{}-{count}", library.name, std::process::id()));
    fs::create_dir_all(&folder)?;
    let log = folder.join("log");
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let arguments = [address.port().to_string(), plan.workers.to_string()];
    let mut process = Process::start(&program, &arguments, &[], plan, &log)?;
    let stream = BufReader::new(connect(&mut process, &library, address, &log)?);
    let mut running = Running { process, folder, stream, library, version: String::new() };
    let ready = running.answer()?;
    running.version = ready["ready"]["version"].as_str().unwrap_or("?").to_owned();
    Ok(Box::new(running))
}

impl Server for Running {
    fn version(&self) -> String {
        format!("{} {}, {}", self.library.name, self.version, self.library.remark)
    }

    fn process(&self) -> &Process {
        &self.process
    }

    fn publish(&mut self, client: &ClientEnd, media: Media) -> Result<ServerEnd, Failure> {
        let mut request = described(client);
        request["audio"] = media.audio_ssrc.into();
        request["video"] = media.video_ssrc.into();
        self.call(&json!({"publish": request}))
    }

    fn subscribe(&mut self, client: &ClientEnd, publisher: usize) -> Result<ServerEnd, Failure> {
        let mut request = described(client);
        request["publisher"] = publisher.into();
        self.call(&json!({"subscribe": request}))
    }

    fn counters(&mut self) -> Result<Option<Counters>, Failure> {
        Ok(None)
    }
}

impl Running {
    fn call(&mut self, request: &Value) -> Result<ServerEnd, Failure> {
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes())?;
        let answer = self.answer()?;
        server_end(&answer).map_err(|error| format!("{}: {error}", self.library.name).into())
    }

    fn answer(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            let last = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            return Err(format!("{} has ended; its last words:\n{last}", self.library.name).into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A program takes one connection, so that looking whether it listens and connecting are the same.
fn connect(process: &mut Process, library: &Library, address: SocketAddr, log: &Path) -> Result<TcpStream, Failure> {
    let mut stream = None;
    process.wait_for(&format!("{}'s socket", library.name), PATIENCE, log, || {
        stream = TcpStream::connect(address).ok();
        stream.is_some()
    })?;
    let stream = stream.ok_or("no connection")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn described(client: &ClientEnd) -> Value {
    json!({"ufrag": client.ufrag, "password": client.password, "fingerprint": client.fingerprint})
}

fn server_end(answer: &Value) -> Result<ServerEnd, Failure> {
    let end = answer.get("end").ok_or_else(|| format!("refused: {}", answer["refused"]))?;
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
