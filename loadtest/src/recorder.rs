//! What all bots of a run have measured together.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::bot::{Live, SendCounts};
use crate::histogram::Histogram;
use crate::media::Sent;

/// A run's books.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// The run's clock begins here.
    pub(crate) epoch: Instant,
    pub(crate) sending: SendCounts,
    pub(crate) joins: AtomicU64,
    pub(crate) leaves: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) unknown_payloads: AtomicU64,
    /// Messages of congestion control that subscribers sent.
    pub(crate) feedback_sent: AtomicU64,
    times: Mutex<Times>,
    errors: Mutex<BTreeMap<String, u64>>,
    subscriptions: Mutex<Vec<Arc<Live>>>,
    sent: Mutex<HashMap<String, Arc<Sent>>>,
}

/// Times by kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    /// From the REST call to the first packet of media, of who finds a stream in the room.
    pub(crate) join: Histogram,
    /// From the REST call to the connected publication.
    pub(crate) publish: Histogram,
    /// From the request to subscribe to the first packet.
    pub(crate) subscribe: Histogram,
    pub(crate) keyframe: Histogram,
    pub(crate) latency: Histogram,
    /// Since it was last taken.
    pub(crate) recent_latency: Histogram,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            sending: SendCounts::default(),
            joins: AtomicU64::new(0),
            leaves: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            unknown_payloads: AtomicU64::new(0),
            feedback_sent: AtomicU64::new(0),
            times: Mutex::default(),
            errors: Mutex::default(),
            subscriptions: Mutex::default(),
            sent: Mutex::default(),
        }
    }

    /// Counts an error by its kind.
    pub(crate) fn error(&self, kind: impl Into<String>) {
        *lock(&self.errors).entry(kind.into()).or_insert(0) += 1;
    }

    pub(crate) fn errors(&self) -> BTreeMap<String, u64> {
        lock(&self.errors).clone()
    }

    pub(crate) fn keyframe_waited(&self, wait: Duration) {
        lock(&self.times).keyframe.record(wait);
    }

    pub(crate) fn joined_within(&self, time: Duration) {
        lock(&self.times).join.record(time);
    }

    pub(crate) fn published_within(&self, time: Duration) {
        lock(&self.times).publish.record(time);
    }

    pub(crate) fn subscribed_within(&self, time: Duration) {
        lock(&self.times).subscribe.record(time);
    }

    pub(crate) fn arrived_after(&self, age: Duration) {
        let mut times = lock(&self.times);
        times.latency.record(age);
        times.recent_latency.record(age);
    }

    /// A decrypted picture that no bot of this run has sent: another publisher's, or broken.
    pub(crate) fn unknown_payload(&self) {
        self.unknown_payloads.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn times(&self) -> Times {
        lock(&self.times).clone()
    }

    pub(crate) fn take_recent_latency(&self) -> Histogram {
        std::mem::take(&mut lock(&self.times).recent_latency)
    }

    /// From now on latency is counted anew: what came before was the ramp.
    pub(crate) fn forget_latency(&self) {
        lock(&self.times).latency = Histogram::default();
    }

    pub(crate) fn subscribed(&self, live: Arc<Live>) {
        lock(&self.subscriptions).push(live);
    }

    /// All subscriptions, those that have ended too.
    pub(crate) fn subscriptions(&self) -> Vec<Arc<Live>> {
        lock(&self.subscriptions).clone()
    }

    pub(crate) fn publishes(&self, stream: &str, sent: Sent) {
        lock(&self.sent).insert(stream.to_owned(), Arc::new(sent));
    }

    pub(crate) fn unpublishes(&self, stream: &str) {
        lock(&self.sent).remove(stream);
    }

    /// What a stream of this run sends.
    pub(crate) fn sent(&self, stream: &str) -> Option<Arc<Sent>> {
        lock(&self.sent).get(stream).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
