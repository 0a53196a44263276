//! One control connection: a task that reads commands and one that writes replies and events.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dataplane_protocol::{ToDataPlane, decode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Frames that wait for a slow reader at most; then the connection is closed. The events of 10,000 transports
/// that all connect at once fit.
const OUTBOX: usize = 16_384;
/// Time that a closed connection's client has to read what is still queued for it.
const LINGER: Duration = Duration::from_secs(1);

/// Names a connection for as long as the process lives.
pub(super) type ConnectionId = u64;

/// What a connection tells the control task.
#[derive(Debug)]
pub(super) enum Inbound {
    /// A command has come.
    Command(ConnectionId, ToDataPlane),
    /// Nothing more will come: the end of the stream, an error, or bytes that are no frame.
    Closed(ConnectionId),
}

/// The control task's end of a connection.
pub(super) struct Connection {
    outbox: mpsc::Sender<Bytes>,
    reader: AbortHandle,
    writer: AbortHandle,
    /// Whether events are for it.
    pub(super) has_said_hello: bool,
}

impl Connection {
    /// Starts the tasks.
    pub(super) fn open(id: ConnectionId, stream: UnixStream, inbound: mpsc::Sender<Inbound>) -> Self {
        let (read_half, write_half) = stream.into_split();
        let (outbox, queue) = mpsc::channel(OUTBOX);
        let writer = tokio::spawn(write(write_half, queue));
        let reader = tokio::spawn(async move {
            read(id, read_half, &inbound).await;
            // The control task is gone only when the process ends.
            let _ = inbound.send(Inbound::Closed(id)).await;
        });
        Self { outbox, reader: reader.abort_handle(), writer: writer.abort_handle(), has_said_hello: false }
    }

    /// Queues a frame; false if the client has not read for too long.
    pub(super) fn send(&self, frame: Bytes) -> bool {
        self.outbox.try_send(frame).is_ok()
    }

    /// Drops what is queued: the client does not read it anyway.
    pub(super) fn give_up(&self) {
        self.writer.abort();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
        // The writer ends by itself after what is queued, unless the client neither reads nor goes.
        let writer = self.writer.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LINGER).await;
            writer.abort();
        });
    }
}

async fn read(id: ConnectionId, mut stream: OwnedReadHalf, inbound: &mpsc::Sender<Inbound>) {
    let mut input = BytesMut::new();
    loop {
        loop {
            match decode::<ToDataPlane>(&mut input) {
                Ok(Some(command)) => {
                    if inbound.send(Inbound::Command(id, command)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(connection = id, %error, "closing a control connection");
                    return;
                }
            }
        }
        match stream.read_buf(&mut input).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(connection = id, %error, "reading a control connection failed");
                return;
            }
        }
    }
}

async fn write(mut stream: OwnedWriteHalf, mut queue: mpsc::Receiver<Bytes>) {
    while let Some(frame) = queue.recv().await {
        if stream.write_all(&frame).await.is_err() {
            return;
        }
    }
}
