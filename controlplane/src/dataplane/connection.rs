//! One connection to the data plane's socket: frames in, frames out, and the introduction that begins it.

use std::io;
use std::path::Path;

use bytes::BytesMut;
use dataplane_protocol::{
    Command, Event, FrameError, FromDataPlane, Hello, HelloReply, Message, Outcome, Reply, Snapshot, SnapshotRequest,
    ToDataPlane, VERSION, decode, encode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("closed by the data plane")]
    Closed,
    #[error("the data plane refused the introduction: {0}")]
    Refused(String),
    #[error("no reply in time")]
    TimedOut,
}

/// A connected socket with its buffers.
pub(super) struct Connection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    input: BytesMut,
    output: BytesMut,
    next_id: u64,
}

/// What an introduction gives.
pub(super) struct Introduction {
    pub(super) hello: HelloReply,
    pub(super) snapshot: Snapshot,
    /// Events that came in between.
    pub(super) events: Vec<Event>,
}

impl Connection {
    pub(super) async fn open(path: &Path) -> Result<Self, ConnectionError> {
        let (reader, writer) = UnixStream::connect(path).await?.into_split();
        Ok(Self { reader, writer, input: BytesMut::new(), output: BytesMut::new(), next_id: 1 })
    }

    /// Says hello and asks for everything that the data plane holds.
    pub(super) async fn introduce(&mut self) -> Result<Introduction, ConnectionError> {
        let mut events = Vec::new();
        let software = format!("millrace-controlplane {}", env!("CARGO_PKG_VERSION"));
        let hello = self.ask(Command::Hello(Hello { version: VERSION, software }), &mut events).await?;
        let Outcome::Hello(hello) = hello else { return Err(ConnectionError::Refused(format!("{hello:?}"))) };
        let snapshot = self.ask(Command::Snapshot(SnapshotRequest {}), &mut events).await?;
        let Outcome::Snapshot(snapshot) = snapshot else {
            return Err(ConnectionError::Refused(format!("{snapshot:?}")));
        };
        Ok(Introduction { hello, snapshot, events })
    }

    /// Queues a command; gives the id that its reply will carry.
    pub(super) fn queue(&mut self, command: Command) -> u64 {
        let request_id = self.next_id;
        self.next_id += 1;
        encode(&ToDataPlane { request_id, command: Some(command) }, &mut self.output);
        request_id
    }

    /// Writes what is queued while waiting for the next message. Cancel safe: dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Message, ConnectionError> {
        loop {
            while let Some(frame) = decode::<FromDataPlane>(&mut self.input)? {
                // A message of a later version: nothing waits for it.
                if let Some(message) = frame.message {
                    return Ok(message);
                }
            }
            tokio::select! {
                read = self.reader.read_buf(&mut self.input) => {
                    if read? == 0 {
                        return Err(ConnectionError::Closed);
                    }
                }
                written = self.writer.write_buf(&mut self.output), if !self.output.is_empty() => {
                    if written? == 0 {
                        return Err(ConnectionError::Closed);
                    }
                }
            }
        }
    }

    async fn ask(&mut self, command: Command, events: &mut Vec<Event>) -> Result<Outcome, ConnectionError> {
        let id = self.queue(command);
        loop {
            match self.next().await? {
                Message::Event(event) => events.push(event),
                Message::Reply(Reply { request_id, outcome }) if request_id == id => {
                    return outcome.ok_or_else(|| ConnectionError::Refused("an unknown reply".to_owned()));
                }
                Message::Reply(_) => {}
            }
        }
    }
}
