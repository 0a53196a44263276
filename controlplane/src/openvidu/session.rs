//! RPC sessions: who a socket speaks for, over as many sockets as it takes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::room::RoomHandle;
use super::rpc::Request;

/// Frames that may wait for a slow reader before it is disconnected.
const OUTBOX_FRAMES: usize = 1024;
/// Bytes that may wait for a slow reader: several joins of a large room. One frame may always wait, however long.
const OUTBOX_BYTES: usize = 8 << 20;
/// Requests that may wait behind one that is being worked on.
pub(super) const QUEUED_REQUESTS: usize = 256;

/// What a socket is to send.
#[derive(Debug)]
pub(super) enum Frame {
    /// A text frame.
    Text(String),
    /// The end.
    Close(u16, &'static str),
}

/// The way to one socket.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    frames: mpsc::Sender<Frame>,
    /// Bytes in `frames`.
    waiting: Arc<AtomicUsize>,
    /// Cut when the socket must go without a farewell.
    pub(super) cut: CancellationToken,
}

/// The socket's end of an [`Outbox`].
pub(super) struct OutboxReader {
    frames: mpsc::Receiver<Frame>,
    waiting: Arc<AtomicUsize>,
}

impl Outbox {
    /// Both ends of an empty one.
    pub(super) fn new() -> (Self, OutboxReader) {
        let (sender, receiver) = mpsc::channel(OUTBOX_FRAMES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let reader = OutboxReader { frames: receiver, waiting: waiting.clone() };
        (Self { frames: sender, waiting, cut: CancellationToken::new() }, reader)
    }

    /// Queues a frame; a reader that does not keep up is cut off.
    pub(super) fn send(&self, frame: Frame) {
        let len = frame.len();
        let before = self.waiting.fetch_add(len, Ordering::Relaxed);
        let is_full = before > 0 && before + len > OUTBOX_BYTES;
        if is_full || matches!(self.frames.try_send(frame), Err(mpsc::error::TrySendError::Full(_))) {
            tracing::warn!("client reads too slowly, disconnecting it");
            self.cut.cancel();
        }
    }
}

impl OutboxReader {
    /// The next frame.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        let frame = self.frames.recv().await?;
        self.waiting.fetch_sub(frame.len(), Ordering::Relaxed);
        Some(frame)
    }
}

impl Frame {
    /// Bytes that wait with it.
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Close(..) => 0,
        }
    }
}

/// The participant that an RPC session is.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) room: Arc<RoomHandle>,
    pub(super) participant: String,
}

/// One RPC session.
#[derive(Debug)]
pub(super) struct RpcSession {
    /// Its secret id.
    pub(super) id: String,
    /// `finalUserId`.
    pub(super) user: String,
    /// The client's network address.
    pub(super) address: String,
    /// Set by a successful `joinRoom`.
    pub(super) seat: OnceLock<Seat>,
    /// Set by any `joinRoom`.
    pub(super) join_tried: OnceLock<()>,
    /// No more requests are worked on once cancelled.
    pub(super) ended: CancellationToken,
    queue: mpsc::Sender<Request>,
    link: Mutex<Link>,
}

#[derive(Debug, Default)]
struct Link {
    generation: u64,
    outbox: Option<Outbox>,
}

impl RpcSession {
    /// A session on its first socket, and the queue that its worker reads.
    pub(super) fn new(id: String, user: String, address: String) -> (Arc<Self>, mpsc::Receiver<Request>) {
        let (queue, requests) = mpsc::channel(QUEUED_REQUESTS);
        let session = Self {
            id,
            user,
            address,
            seat: OnceLock::new(),
            join_tried: OnceLock::new(),
            ended: CancellationToken::new(),
            queue,
            link: Mutex::default(),
        };
        (Arc::new(session), requests)
    }

    /// Puts a socket in place of the one before; gives the number to detach it with.
    pub(super) fn attach(&self, outbox: Outbox) -> u64 {
        let mut link = self.link();
        if let Some(old) = link.outbox.replace(outbox) {
            old.cut.cancel();
        }
        link.generation += 1;
        link.generation
    }

    /// A socket has ended; `true` when it was still the session's own.
    pub(super) fn detach(&self, generation: u64) -> bool {
        let mut link = self.link();
        let own = link.generation == generation && link.outbox.is_some();
        if own {
            link.outbox = None;
        }
        own
    }

    /// Whether it has a socket now.
    pub(super) fn attached(&self) -> bool {
        self.link().outbox.is_some()
    }

    /// Sends a frame, or drops it while there is no socket.
    pub(super) fn send(&self, text: String) {
        if let Some(outbox) = &self.link().outbox {
            outbox.send(Frame::Text(text));
        }
    }

    /// Closes the socket, if there is one.
    pub(super) fn close(&self, code: u16, reason: &'static str) {
        if let Some(outbox) = &self.link().outbox {
            outbox.send(Frame::Close(code, reason));
        }
    }

    /// Queues a request behind the earlier ones; gives its id back when too many wait.
    pub(super) fn enqueue(&self, request: Request) -> Result<(), Value> {
        self.queue.try_send(request).map_err(|refused| refused.into_inner().id)
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
