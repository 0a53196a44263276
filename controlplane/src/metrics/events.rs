//! What becomes of events: webhook deliveries and CDR lines.

use std::time::Duration;

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counts of events. Clones share the counts.
#[derive(Clone, Debug)]
pub struct EventMetrics {
    queue: IntGauge,
    queue_bytes: IntGauge,
    lag: Gauge,
    deliveries: IntCounterVec,
    dropped: IntCounterVec,
    cdr_lines: IntCounter,
    cdr_lost: IntCounter,
}

impl EventMetrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// When another metric has one of their names.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let own = Self {
            queue: IntGauge::new("millrace_webhook_queue", "Events that wait to be delivered.")?,
            queue_bytes: IntGauge::new("millrace_webhook_queue_bytes", "Size of the webhook queue on disk.")?,
            lag: Gauge::new("millrace_webhook_lag_seconds", "Age of the oldest event that waits; 0: none waits.")?,
            deliveries: IntCounterVec::new(
                Opts::new("millrace_webhook_deliveries_total", "Attempts to deliver an event, by result."),
                &["result"],
            )?,
            dropped: IntCounterVec::new(
                Opts::new("millrace_webhook_dropped_total", "Events given up undelivered, by reason."),
                &["reason"],
            )?,
            cdr_lines: IntCounter::new("millrace_cdr_lines_total", "CDR lines written.")?,
            cdr_lost: IntCounter::new("millrace_cdr_lost_total", "CDR lines that could not be written.")?,
        };
        for result in ["delivered", "refused", "unreachable"] {
            own.deliveries.with_label_values(&[result]);
        }
        for reason in ["expired", "full", "storage", "backlog"] {
            own.dropped.with_label_values(&[reason]);
        }
        registry.register(Box::new(own.queue.clone()))?;
        registry.register(Box::new(own.queue_bytes.clone()))?;
        registry.register(Box::new(own.lag.clone()))?;
        registry.register(Box::new(own.deliveries.clone()))?;
        registry.register(Box::new(own.dropped.clone()))?;
        registry.register(Box::new(own.cdr_lines.clone()))?;
        registry.register(Box::new(own.cdr_lost.clone()))?;
        Ok(own)
    }

    /// How the webhook queue is: events, bytes on disk, age of the oldest event.
    pub(crate) fn webhook_queue(&self, events: usize, bytes: u64, lag: Duration) {
        self.queue.set(events as i64);
        self.queue_bytes.set(bytes as i64);
        self.lag.set(lag.as_secs_f64());
    }

    /// Counts an attempt.
    pub(crate) fn delivery(&self, result: &'static str) {
        self.deliveries.with_label_values(&[result]).inc();
    }

    /// Counts an event that is given up.
    pub(crate) fn dropped(&self, reason: &'static str) {
        self.dropped.with_label_values(&[reason]).inc();
    }

    /// Counts lines.
    pub(crate) fn cdr_written(&self, lines: u64) {
        self.cdr_lines.inc_by(lines);
    }

    /// Counts lines.
    pub(crate) fn cdr_lost(&self, lines: u64) {
        self.cdr_lost.inc_by(lines);
    }
}
