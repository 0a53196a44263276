//! What the store does.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, Registry};

/// Counts of what is written down. Clones share the counts.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    commits: Histogram,
    records: IntCounter,
    failures: IntCounter,
}

impl StoreMetrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// When another metric has one of their names.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let own = Self {
            commits: Histogram::with_opts(
                HistogramOpts::new("millrace_store_commit_seconds", "Time to write down one step.")
                    .buckets(vec![0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.005, 0.02, 0.1, 0.5]),
            )?,
            records: IntCounter::new("millrace_store_records_total", "Records written or removed.")?,
            failures: IntCounter::new("millrace_store_failures_total", "Steps that could not be written down.")?,
        };
        registry.register(Box::new(own.commits.clone()))?;
        registry.register(Box::new(own.records.clone()))?;
        registry.register(Box::new(own.failures.clone()))?;
        Ok(own)
    }

    pub(crate) fn committed(&self, records: usize, took: Duration) {
        self.records.inc_by(records as u64);
        self.commits.observe(took.as_secs_f64());
    }

    #[cfg(test)]
    pub(crate) fn failures(&self) -> u64 {
        self.failures.get()
    }

    pub(crate) fn failed(&self) {
        self.failures.inc();
    }
}
