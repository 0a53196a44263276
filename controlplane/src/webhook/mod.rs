//! Webhooks: events for the application's own HTTP server, kept on disk until it has them.
//!
//! What OpenVidu sends is sent as OpenVidu sends it. What OpenVidu loses is not lost: events are queued in files before
//! they are sent, and sent again, later and later, until the receiver takes them or they are too old. Events of one
//! session arrive in their order, at least once; sessions do not wait for each other.

mod deliver;
mod lanes;
mod queue;
pub mod record;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use deliver::Deliverer;
use lanes::Lanes;
use queue::{Limits, Queue, trace};
use worker::{Message, Worker};

use crate::eventlog::Held;
use crate::metrics::EventMetrics;

/// Longest wait for a receiver, from connecting to the end of its answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Events on their way to the queue's thread, in bytes: more means that the disk has stopped taking any.
const MAX_BACKLOG: usize = 64 << 20;
/// Size of one file of the queue, in bytes.
const SEGMENT_BYTES: u64 = 8 << 20;

/// Where events go and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// URL of the receiver.
    pub endpoint: String,
    /// Names and values of further headers.
    pub headers: Vec<(String, String)>,
    /// Names of the events to send.
    pub events: Vec<String>,
    /// Key of the signature; without one there is none.
    pub key: Option<String>,
    /// Whether the receiver's certificate is checked.
    pub tls_verify: bool,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Age from which an undelivered event is given up.
    pub max_age: Duration,
    /// Largest size of the queue on disk, in bytes; beyond it the oldest events are given up.
    pub max_bytes: u64,
}

/// Why there are no webhooks.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder of the queue.
    #[error("the queue's folder {dir} cannot be used (MILLRACE_DATA_DIR): {source}")]
    Queue {
        /// Where it was to be.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its thread.
    #[error("no thread: {0}")]
    Thread(#[from] io::Error),
    /// The receiver's URL.
    #[error("the URL is none")]
    Url,
    /// A header.
    #[error("a header cannot be sent")]
    Header,
    /// The HTTP client.
    #[error("no HTTP client: {0}")]
    Client(String),
}

/// A running webhook.
#[derive(Debug)]
pub struct Webhook {
    options: Options,
    messages: mpsc::UnboundedSender<Message>,
    backlog: Arc<AtomicUsize>,
    metrics: EventMetrics,
    /// Events that were found in the queue.
    seen: Mutex<HashMap<u64, usize>>,
}

impl Webhook {
    /// Opens the queue in `dir`, and goes on with what is in it. A rustls provider must be installed.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(options: Options, dir: &Path, metrics: EventMetrics) -> Result<Self, StartError> {
        let limits = Limits { segment_bytes: SEGMENT_BYTES.min(options.max_bytes / 4), total_bytes: options.max_bytes };
        let (queue, recovered) =
            Queue::open(dir, limits).map_err(|source| StartError::Queue { dir: dir.to_owned(), source })?;
        let mut lanes = Lanes::new(options.max_age.as_millis() as u64);
        for event in &recovered.waiting {
            lanes.push(event.id, event.at_ms, &event.session);
        }
        if recovered.damaged > 0 {
            tracing::warn!(files = recovered.damaged, "the webhook queue has files with an unreadable end");
        }
        if !recovered.waiting.is_empty() {
            tracing::info!(events = recovered.waiting.len(), "webhook events of an earlier run are delivered now");
        }
        let deliverer = Deliverer::new(&options)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, messages) = mpsc::unbounded_channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        let worker = Worker::new(queue, lanes, deliverer, metrics.clone(), backlog.clone(), messages);
        let thread = std::thread::Builder::new().name("webhook".into());
        thread.spawn(move || runtime.block_on(worker.run()))?;
        Ok(Self { options, messages: sender, backlog, metrics, seen: Mutex::new(recovered.seen) })
    }

    /// What it was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether events of this name are sent.
    pub fn wants(&self, event: &str) -> bool {
        self.options.events.iter().any(|wanted| wanted == event)
    }

    /// Queues an event of a session, behind those before it. Never waits. `held` is let go of once it is on disk.
    pub fn send(&self, session: &str, at_ms: u64, body: Vec<u8>, held: Held) {
        let len = body.len();
        let before = self.backlog.fetch_add(len, Ordering::Relaxed);
        let message = Message::Event { session: session.to_owned(), at_ms, body, held };
        if before > MAX_BACKLOG || self.messages.send(message).is_err() {
            self.backlog.fetch_sub(len, Ordering::Relaxed);
            self.metrics.dropped("backlog");
            tracing::error!(session, "the webhook queue takes no events: one is lost");
        }
    }

    /// Queues an event that an earlier run perhaps queued already, just before it ended; then it is not queued again.
    pub fn send_again(&self, session: &str, at_ms: u64, body: Vec<u8>, held: Held) {
        let known = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.get_mut(&trace(session, at_ms, &body)).is_some_and(|count| {
                let is_known = *count > 0;
                *count = count.saturating_sub(1);
                is_known
            })
        };
        if !known {
            self.send(session, at_ms, body, held);
        }
    }

    /// Forgets what [`Self::send_again`] needs.
    pub fn forget_seen(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = HashMap::new();
    }

    /// Queues all that was sent, delivers what can be delivered in 2 s, and stops.
    pub async fn stop(&self) {
        let (told, stopped) = oneshot::channel();
        if self.messages.send(Message::Stop(told)).is_ok() {
            let _ = stopped.await;
        }
    }
}
