//! The thread that owns the queue: events in, deliveries out. Whatever its disk or the receiver does, nobody else
//! waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::deliver::Deliverer;
use super::lanes::{Delivery, Lanes, Outcome};
use super::queue::{Appended, Queue};
use crate::eventlog::Held;
use crate::metrics::EventMetrics;

/// How long deliveries may go on once the process stops; what is left is delivered after the next start.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks at what is too old, two gauges, and two synchronisations with the disk.
const TICK: Duration = Duration::from_secs(1);

/// Between two lines of the log about failures, at least.
const REPORT: Duration = Duration::from_secs(10);

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Message {
    Event {
        session: String,
        at_ms: u64,
        body: Vec<u8>,
        /// To be dropped when the event is on disk.
        held: Held,
    },
    /// Finish, and tell.
    Stop(oneshot::Sender<()>),
}

pub(super) struct Worker {
    queue: Queue,
    lanes: Lanes,
    deliverer: Deliverer,
    metrics: EventMetrics,
    /// Bytes of events on their way to this thread.
    backlog: Arc<AtomicUsize>,
    messages: mpsc::UnboundedReceiver<Message>,
    /// Failures since the log last told of them.
    failures: Failures,
    last_report: Instant,
    /// Events that the disk did not take, and the right to call them kept.
    in_memory: HashMap<u64, Held>,
}

#[derive(Debug, Default)]
struct Failures {
    refused: u64,
    unreachable: u64,
}

/// Deliveries under way.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<Outcome>,
    of: HashMap<Id, Delivery>,
}

impl Worker {
    pub(super) fn new(
        queue: Queue,
        lanes: Lanes,
        deliverer: Deliverer,
        metrics: EventMetrics,
        backlog: Arc<AtomicUsize>,
        messages: mpsc::UnboundedReceiver<Message>,
    ) -> Self {
        let (failures, last_report) = (Failures::default(), Instant::now());
        Self { queue, lanes, deliverer, metrics, backlog, messages, failures, last_report, in_memory: HashMap::new() }
    }

    /// Works until it is told to stop or nobody is left to tell it anything.
    pub(super) async fn run(mut self) {
        let clock = Clock::new();
        let mut under_way = UnderWay::default();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_round: Option<(Instant, Option<oneshot::Sender<()>>)> = None;
        loop {
            self.start(&mut under_way, clock.now_ms());
            self.gauge(clock.now_ms());
            if let Some((end, told)) = &mut last_round
                && (self.lanes.len() == 0 || Instant::now() >= *end)
            {
                self.sync();
                if let Some(told) = told.take() {
                    let _ = told.send(());
                }
                return;
            }
            let wake = self.lanes.wake_at().map(|at| clock.instant(at));
            let end = last_round.as_ref().map(|(end, _)| *end);
            tokio::select! {
                message = self.messages.recv(), if last_round.is_none() => match message {
                    Some(Message::Event { session, at_ms, body, held }) => {
                        self.take(&session, at_ms, &body, held);
                    }
                    Some(Message::Stop(told)) => last_round = Some((Instant::now() + GRACE, Some(told))),
                    None => last_round = Some((Instant::now() + GRACE, None)),
                },
                Some(ended) = under_way.tasks.join_next_with_id() => {
                    let (task, outcome) = match ended {
                        Ok((task, outcome)) => (task, outcome),
                        // A panic is a bug in one delivery; its event is tried again.
                        Err(error) => (error.id(), Outcome::Refused),
                    };
                    if let Some(delivery) = under_way.of.remove(&task) {
                        self.finish(&delivery, outcome, clock.now_ms());
                    }
                }
                () = wait(wake) => {}
                () = wait(end) => {}
                _ = tick.tick() => {
                    self.sync();
                    self.report();
                }
            }
        }
    }

    fn take(&mut self, session: &str, at_ms: u64, body: &[u8], held: Held) {
        self.backlog.fetch_sub(body.len(), Ordering::Relaxed);
        match self.queue.append(session, at_ms, body) {
            Ok(Appended { id, evicted, unwritten }) => {
                if let Some(error) = unwritten {
                    tracing::error!(error, session, "the webhook queue cannot be written: an event is in memory only");
                    self.in_memory.insert(id, held);
                }
                if !evicted.is_empty() {
                    tracing::warn!(events = evicted.len(), "the webhook queue is full: its oldest events are given up");
                }
                for id in evicted {
                    self.lanes.forget(id);
                    self.in_memory.remove(&id);
                    self.metrics.dropped("full");
                }
                self.lanes.push(id, at_ms, session);
            }
            Err(error) => {
                tracing::error!(%error, session, "an event cannot be written to the webhook queue and is lost");
                self.metrics.dropped("storage");
            }
        }
    }

    fn start(&mut self, under_way: &mut UnderWay, now_ms: u64) {
        let mut expired = 0;
        while let Some(id) = self.lanes.expired(now_ms) {
            expired += 1;
            self.metrics.dropped("expired");
            self.done(id);
        }
        if expired > 0 {
            tracing::warn!(events = expired, "webhook events were too old and are given up");
        }
        while let Some(delivery) = self.lanes.next(now_ms) {
            let body = match self.queue.body(delivery.id) {
                Ok(Some(body)) => body,
                Ok(None) => {
                    self.finish(&delivery, Outcome::Gone, now_ms);
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "an event cannot be read from the webhook queue and is lost");
                    self.metrics.dropped("storage");
                    self.finish(&delivery, Outcome::Gone, now_ms);
                    continue;
                }
            };
            let (deliverer, name) = (self.deliverer.clone(), format!("{:x}-{:x}", delivery.at_ms, delivery.id));
            let task = under_way.tasks.spawn(async move { deliverer.deliver(&name, body).await });
            under_way.of.insert(task.id(), delivery);
        }
    }

    fn finish(&mut self, delivery: &Delivery, outcome: Outcome, now_ms: u64) {
        let result = match outcome {
            Outcome::Delivered => Some("delivered"),
            Outcome::Refused => {
                self.failures.refused += 1;
                Some("refused")
            }
            Outcome::Unreachable => {
                self.failures.unreachable += 1;
                Some("unreachable")
            }
            Outcome::Gone => None,
        };
        if let Some(result) = result {
            self.metrics.delivery(result);
        }
        if matches!(outcome, Outcome::Delivered | Outcome::Gone) {
            self.done(delivery.id);
        }
        self.lanes.finished(&delivery.session, delivery.id, outcome, now_ms, rand::random());
    }

    fn done(&mut self, id: u64) {
        self.in_memory.remove(&id);
        if let Err(error) = self.queue.finish(id) {
            tracing::error!(%error, "the webhook queue cannot be written: an event may come again after a restart");
        }
    }

    fn sync(&mut self) {
        if let Err(error) = self.queue.sync() {
            tracing::error!(%error, "the webhook queue cannot be written to its disk");
        }
    }

    /// Tells the log of failures, all of some time in one line.
    fn report(&mut self) {
        if self.last_report.elapsed() < REPORT {
            return;
        }
        self.last_report = Instant::now();
        let Failures { refused, unreachable } = std::mem::take(&mut self.failures);
        if refused + unreachable > 0 {
            let waiting = self.lanes.len();
            tracing::warn!(refused, unreachable, waiting, "webhook deliveries failed and are tried again");
        }
    }

    fn gauge(&self, now_ms: u64) {
        let lag = self.lanes.oldest().map_or(0, |at| now_ms.saturating_sub(at));
        self.metrics.webhook_queue(self.lanes.len(), self.queue.bytes(), Duration::from_millis(lag));
    }
}

/// For ever when there is no time.
async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Wall time that never goes back.
struct Clock {
    base_ms: u64,
    base: Instant,
}

impl Clock {
    fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { base_ms: since_epoch.as_millis() as u64, base: Instant::now() }
    }

    fn now_ms(&self) -> u64 {
        self.base_ms + self.base.elapsed().as_millis() as u64
    }

    /// The instant of a time, a millisecond late rather than early.
    fn instant(&self, at_ms: u64) -> Instant {
        self.base + Duration::from_millis(at_ms.saturating_sub(self.base_ms) + 1)
    }
}
