//! A running data plane in a directory of its own, and a client of its control socket.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing helper is a failing test")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use dataplane_protocol::{
    Command, CreateTransport, DtlsRole, Event, Failure, Fingerprint, FromDataPlane, Hello, HelloReply, Message,
    Outcome, RemoteParameters, Snapshot, SnapshotRequest, Stats, StatsRequest, ToDataPlane, TransportEvent, decode,
    encode,
};
use millrace_dataplane::{Announced, Config, Running, run};

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A data plane on loopback, with a port and a directory of its own.
pub(crate) struct Server {
    pub(crate) running: Option<Running>,
    pub(crate) directory: PathBuf,
}

impl Server {
    pub(crate) fn start(workers: u16) -> Self {
        Self::start_with(workers, |_| {})
    }

    pub(crate) fn start_with(workers: u16, change: impl FnOnce(&mut Config)) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("millrace-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        let mut config = Config {
            workers: Some(workers),
            media_port: 0,
            announce: vec!["127.0.0.1".parse::<Announced>().unwrap()],
            control_socket: directory.join("sub/control.sock"),
            buffer_mib: 16,
            pin: false,
            ..Config::defaults()
        };
        change(&mut config);
        Self { running: Some(run(&config).unwrap()), directory }
    }

    pub(crate) fn socket(&self) -> &Path {
        self.running.as_ref().unwrap().control_socket()
    }

    pub(crate) fn media_port(&self) -> u16 {
        self.running.as_ref().unwrap().media_port()
    }

    /// Where clients send to.
    pub(crate) fn media_address(&self) -> SocketAddr {
        self.running.as_ref().unwrap().candidates()[0]
    }

    /// A connection that has not said hello.
    pub(crate) fn connect(&self) -> Client {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream, input: BytesMut::new(), events: VecDeque::new(), next_request: 1 }
    }

    /// A connection that has said hello.
    pub(crate) fn client(&self) -> Client {
        let mut client = self.connect();
        client.hello();
        client
    }

    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A control connection.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    input: BytesMut,
    events: VecDeque<TransportEvent>,
    next_request: u64,
}

impl Client {
    /// Sends a command; gives its request id.
    pub(crate) fn send(&mut self, command: Option<Command>) -> u64 {
        let request_id = self.next_request;
        self.next_request += 1;
        let mut frame = BytesMut::new();
        encode(&ToDataPlane { request_id, command }, &mut frame);
        self.stream.write_all(&frame).unwrap();
        request_id
    }

    /// The next frame, or `None` at the end of the stream.
    pub(crate) fn read(&mut self) -> Option<Message> {
        loop {
            if let Some(frame) = decode::<FromDataPlane>(&mut self.input).unwrap() {
                return Some(frame.message.unwrap());
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(got) => self.input.extend_from_slice(&buffer[..got]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("reading the control socket: {error}"),
            }
        }
    }

    /// The next reply; events on the way are kept.
    pub(crate) fn reply(&mut self) -> (u64, Outcome) {
        loop {
            match self.read().expect("the connection is open") {
                Message::Reply(reply) => return (reply.request_id, reply.outcome.unwrap()),
                Message::Event(Event { transport }) => self.events.extend(transport),
            }
        }
    }

    /// Sends a command and gives its outcome.
    pub(crate) fn call(&mut self, command: Command) -> Outcome {
        let sent = self.send(Some(command));
        let (request_id, outcome) = self.reply();
        assert_eq!(request_id, sent);
        outcome
    }

    /// Sends a command that must succeed without an answer.
    pub(crate) fn done(&mut self, command: Command) {
        let outcome = self.call(command);
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }

    /// Sends a command that must fail.
    pub(crate) fn refused(&mut self, command: Command) -> Failure {
        match self.call(command) {
            Outcome::Failure(failure) => failure,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The next event.
    pub(crate) fn event(&mut self) -> TransportEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match self.read().expect("the connection is open") {
                Message::Event(Event { transport }) => self.events.extend(transport),
                Message::Reply(reply) => panic!("a reply nobody waits for: {reply:?}"),
            }
        }
    }

    pub(crate) fn hello(&mut self) -> HelloReply {
        let hello = Hello { version: dataplane_protocol::VERSION, software: "test".to_owned() };
        match self.call(Command::Hello(hello)) {
            Outcome::Hello(reply) => reply,
            other => panic!("no hello: {other:?}"),
        }
    }

    pub(crate) fn snapshot(&mut self) -> Snapshot {
        match self.call(Command::Snapshot(SnapshotRequest {})) {
            Outcome::Snapshot(snapshot) => snapshot,
            other => panic!("no snapshot: {other:?}"),
        }
    }

    pub(crate) fn stats(&mut self) -> Stats {
        match self.call(Command::Stats(StatsRequest {})) {
            Outcome::Stats(stats) => stats,
            other => panic!("no stats: {other:?}"),
        }
    }
}

/// The password of [`create`]'s transports.
pub(crate) const PASSWORD: &str = "aPasswordOf22Characters";

pub(crate) fn create(transport: u64) -> CreateTransport {
    CreateTransport {
        transport,
        ice_ufrag: format!("ufrag{transport}"),
        ice_pwd: PASSWORD.to_owned(),
        remote: None,
        label: format!("label {transport}"),
        near: None,
    }
}

pub(crate) fn remote(fingerprint: Fingerprint) -> RemoteParameters {
    RemoteParameters {
        ice_ufrag: "client".to_owned(),
        ice_pwd: "anotherPasswordOfTheClient".to_owned(),
        fingerprints: vec![fingerprint],
        dtls_role: DtlsRole::Server as i32,
    }
}
