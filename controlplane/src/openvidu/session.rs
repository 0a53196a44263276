//! RPC sessions: who a socket speaks for, over as many sockets as it takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::extract::ws::Utf8Bytes;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::missed::Missed;
use super::outbox::{Frame, Note, Outbox};
use super::room::RoomHandle;
use super::rpc::{self, Failure, Request};
use crate::store::Cursor;

/// Requests that may wait behind one that is being worked on.
pub(super) const QUEUED_REQUESTS: usize = 256;

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
    /// Set by a successful `publishVideo`.
    pub(super) has_published: OnceLock<()>,
    /// How far it has been told, set with the seat.
    pub(super) cursor: OnceLock<Arc<Cursor>>,
    /// No more requests are worked on once cancelled.
    pub(super) ended: CancellationToken,
    queue: mpsc::Sender<Asked>,
    link: Mutex<Link>,
}

/// A request, and the number of the socket that it came on.
pub(super) type Asked = (Request, u64);

/// The session's socket, and what waits for the next one.
#[derive(Debug, Default)]
struct Link {
    /// Of the last socket.
    generation: u64,
    outbox: Option<Outbox>,
    /// After what is in the outbox.
    missed: Missed,
    /// Too much was missed: there is no way back.
    has_lapsed: bool,
}

/// How a session loses a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The client closed it, or the connection failed: what was written has most likely arrived.
    Told,
    /// In silence: what was written after the client's last word has most likely not arrived.
    Silent,
    /// The socket stays, for another session.
    HandedOver,
}

/// What the end of a socket means to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detached {
    /// Nothing: it has another one.
    Replaced,
    /// It has none now.
    Lost,
    /// It has none now, and what it missed is too much.
    Lapsed,
}

impl RpcSession {
    /// A session without a socket, and the queue that its worker reads.
    pub(super) fn new(id: String, user: String, address: String) -> (Arc<Self>, mpsc::Receiver<Asked>) {
        let (queue, requests) = mpsc::channel(QUEUED_REQUESTS);
        let session = Self {
            id,
            user,
            address,
            seat: OnceLock::new(),
            join_tried: OnceLock::new(),
            has_published: OnceLock::new(),
            cursor: OnceLock::new(),
            ended: CancellationToken::new(),
            queue,
            link: Mutex::default(),
        };
        (Arc::new(session), requests)
    }

    /// Puts a socket in place of the one before and sends it `answer`, then everything that was missed. Gives the
    /// number to detach it with, or nothing when too much was missed to come back.
    pub(super) fn attach(&self, outbox: &Outbox, answer: Option<Utf8Bytes>) -> Option<u64> {
        let mut link = self.link();
        if link.has_lapsed {
            return None;
        }
        if link.outbox.as_ref().is_some_and(|own| own.is(outbox)) {
            outbox.push_all(answer.map(Frame::Answer));
            return Some(link.generation);
        }
        if let Some(old) = link.outbox.take() {
            old.cut();
            // A client that has another socket did not hear of the end of this one.
            link.put_back(&old, true);
            if link.has_lapsed {
                return None;
            }
        }
        let missed = link.missed.take();
        outbox.push_all(answer.map(Frame::Answer).into_iter().chain(missed.into_iter().map(Frame::Notice)));
        link.outbox = Some(outbox.clone());
        link.generation += 1;
        Some(link.generation)
    }

    /// A socket is the session's no more.
    pub(super) fn detach(&self, generation: u64, loss: Loss) -> Detached {
        let mut link = self.link();
        if link.generation != generation {
            return Detached::Replaced;
        }
        let Some(old) = link.outbox.take() else { return Detached::Replaced };
        if !link.has_lapsed && loss != Loss::HandedOver {
            link.put_back(&old, loss == Loss::Silent);
        }
        if link.has_lapsed { Detached::Lapsed } else { Detached::Lost }
    }

    /// Whether it has a socket now.
    pub(super) fn is_attached(&self) -> bool {
        self.link().outbox.is_some()
    }

    /// Sends a notification, or keeps it for the next socket. `false` when the session has lapsed by it: the participant
    /// is to be told so, once.
    #[must_use]
    pub(super) fn notify(&self, note: Note) -> bool {
        let mut link = self.link();
        if link.has_lapsed {
            return true;
        }
        if link.outbox.as_ref().is_some_and(|outbox| outbox.push(Frame::Notice(note.clone()))) {
            return true;
        }
        if link.missed.push(note).is_err() {
            link.lapse();
        }
        !link.has_lapsed
    }

    /// Sends a response to the socket that asked, if it is still there: clients forget what they asked with it.
    pub(super) fn answer(&self, generation: u64, text: Utf8Bytes) {
        let link = self.link();
        if let Some(outbox) = link.outbox.as_ref().filter(|_| link.generation == generation) {
            outbox.push(Frame::Answer(text));
        }
    }

    /// Closes the socket, if there is one.
    pub(super) fn close(&self, code: u16, reason: &'static str) {
        if let Some(outbox) = &self.link().outbox {
            // One that was cut off already is closing.
            outbox.push(Frame::Close(code, reason));
        }
    }

    /// Queues a request behind the earlier ones; gives its id back when too many wait. What comes on a replaced socket is
    /// dropped with it.
    pub(super) fn enqueue(&self, request: Request, generation: u64) -> Result<(), Value> {
        if self.link().generation != generation {
            return Ok(());
        }
        self.queue.try_send((request, generation)).map_err(|refused| refused.into_inner().0.id)
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn put_back(&mut self, old: &Outbox, is_silent: bool) {
        if self.missed.put_back(old.take_undelivered(is_silent)).is_err() {
            self.lapse();
        }
    }

    fn lapse(&mut self) {
        self.has_lapsed = true;
        self.missed = Missed::default();
    }
}

/// A request's right to one answer, on the socket that it came on.
#[derive(Debug)]
pub(super) struct Ticket {
    session: Arc<RpcSession>,
    generation: u64,
    id: Value,
    is_answered: AtomicBool,
}

impl Ticket {
    pub(super) fn new(session: Arc<RpcSession>, generation: u64, id: Value) -> Self {
        Self { session, generation, id, is_answered: AtomicBool::new(false) }
    }

    /// Answers with a result.
    pub(super) fn succeed(&self, result: Map<String, Value>) {
        self.answer(self.success(result));
    }

    /// Takes the right to answer with a result, for whoever sends it; nothing when there is an answer.
    pub(super) fn take(&self, result: Map<String, Value>) -> Option<(Arc<RpcSession>, u64, Utf8Bytes)> {
        let is_first = !self.is_answered.swap(true, Ordering::Relaxed);
        is_first.then(|| (self.session.clone(), self.generation, self.success(result).into()))
    }

    fn success(&self, result: Map<String, Value>) -> String {
        rpc::success(&self.id, result, Some(&self.session.id))
    }

    /// Answers with one of OpenVidu's errors.
    pub(super) fn fail(&self, method: &str, failure: &Failure) {
        self.answer(rpc::failure(&self.id, method, failure, &self.session.id));
    }

    /// Answers with an error of the RPC layer.
    pub(super) fn refuse(&self, code: i64, message: &str) {
        self.answer(rpc::protocol_error(&self.id, code, message));
    }

    fn answer(&self, text: String) {
        if !self.is_answered.swap(true, Ordering::Relaxed) {
            self.session.answer(self.generation, text.into());
        }
    }
}

#[cfg(test)]
mod tests;
