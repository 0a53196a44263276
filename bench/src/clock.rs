//! CPU time of this thread, without what reading it costs.

use rustix::time::{ClockId, clock_gettime};

/// Adds up the CPU time of many short stretches of this thread.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    /// What an empty stretch is measured to take, in nanoseconds.
    empty: f64,
    total: f64,
}

impl Stopwatch {
    /// At zero; measures what reading the clock costs.
    pub fn new() -> Self {
        let empty = |_| {
            let before = cpu_time();
            (cpu_time() - before) as f64
        };
        let mut empty: Vec<_> = (0..1_001).map(empty).collect();
        Self { empty: median(&mut empty), total: 0.0 }
    }

    /// Runs `work` and adds what it takes.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = cpu_time();
        let done = work();
        self.total += (cpu_time() - before) as f64 - self.empty;
        done
    }

    /// Nanoseconds so far; begins anew.
    pub fn take(&mut self) -> f64 {
        std::mem::take(&mut self.total).max(0.0)
    }
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self::new()
    }
}

/// The value in the middle; NaN without values.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn cpu_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
