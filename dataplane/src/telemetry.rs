//! Logs and counters. Nothing is logged per packet; what happens per packet is counted.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};

use dataplane_protocol::{DropCount, WorkerStats};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};
use crate::net::{RecvCounters, SendCounters};

/// Buckets of the loop-time histogram: at most 1, 2, 4, … 2^20 microseconds (a second), and longer.
const LOOP_BUCKETS: usize = 22;

/// Libraries that warn about what any stranger can send; they are heard only when the filter names them.
const QUIET: &str = "dtls=error,webrtc_srtp=error,webrtc_util=error";

/// Sends `tracing` to standard error, as configured. Once per process.
///
/// # Errors
/// When the filter does not parse or a subscriber is already set.
pub fn init_logging(config: &Config) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", config.log))?;
    let is_terminal = std::io::stderr().is_terminal();
    let is_json = match config.log_format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal);
    if is_json { builder.json().flatten_event(true).try_init() } else { builder.try_init() }
}

/// How long the turns of a worker's loop took.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoopTimes {
    turns: u64,
    busy_ns: u64,
    max_ns: u64,
    buckets: [u64; LOOP_BUCKETS],
}

impl LoopTimes {
    /// Counts one turn.
    pub(crate) fn record(&mut self, busy: std::time::Duration) {
        let ns = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        self.turns += 1;
        self.busy_ns = self.busy_ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
        self.buckets[bucket(ns)] += 1;
    }
}

/// The bucket of a turn: the smallest k with `ns` at most 2^k microseconds, or the last one.
fn bucket(ns: u64) -> usize {
    let micros = ns.div_ceil(1000).max(1);
    (micros.next_power_of_two().trailing_zeros() as usize).min(LOOP_BUCKETS - 1)
}

/// Counters of a worker's shell, beside those of its shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShellCounters {
    pub(crate) loops: LoopTimes,
    pub(crate) recv: RecvCounters,
    pub(crate) send: SendCounters,
    pub(crate) gso: bool,
    pub(crate) panics: u64,
    /// Events dropped because the control thread did not keep up.
    pub(crate) control_queue_full: u64,
    /// Flows that the kernel was told to deliver here.
    pub(crate) flows_steered: u64,
    /// Flows that it would not be told of.
    pub(crate) flows_unsteered: u64,
    /// DTLS datagrams dropped because the handshake thread did not keep up.
    pub(crate) handshake_queue_full: u64,
}

impl ShellCounters {
    /// Completes the shard's counters.
    pub(crate) fn complete(&self, worker: u32, stats: &mut WorkerStats) {
        let (recv, send) = (self.recv, self.send);
        stats.worker = worker;
        stats.datagrams_received = recv.datagrams;
        stats.bytes_received = recv.bytes;
        stats.receive_calls = recv.calls;
        stats.datagrams_sent = send.datagrams;
        stats.bytes_sent = send.bytes;
        stats.send_calls = send.calls;
        stats.send_runs = send.runs;
        stats.datagrams_fragmented = send.fragmented;
        stats.datagrams_by_card = send.by_card;
        stats.card_refused = send.card_refused;
        stats.gso = self.gso;
        stats.panics = self.panics;
        stats.flows_steered = self.flows_steered;
        stats.flows_unsteered = self.flows_unsteered;
        stats.loops = self.loops.turns;
        stats.busy_ns = self.loops.busy_ns;
        stats.loop_time_us_log2 = self.loops.buckets.to_vec();
        stats.loop_time_us_max = self.loops.max_ns.div_ceil(1000);
        let drops = [
            ("receive_too_long", recv.too_long),
            ("receive_no_buffer", recv.no_buffer),
            ("receive_no_address", recv.no_address),
            ("receive_error", recv.errors),
            ("send_would_block", send.would_block),
            ("send_unreachable", send.unreachable),
            ("send_forbidden", send.forbidden),
            ("send_failed", send.failed),
            ("control_queue_full", self.control_queue_full),
            ("handshake_queue_full", self.handshake_queue_full),
        ];
        let seen = drops.into_iter().filter(|(_, count)| *count > 0);
        stats.drops.extend(seen.map(|(reason, count)| DropCount { reason: reason.to_owned(), count }));
    }
}

/// Counters of the handshake service, shared with the control thread.
#[derive(Debug, Default)]
pub(crate) struct HandshakeCounters {
    pub(crate) started: AtomicU64,
    pub(crate) completed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) active: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl HandshakeCounters {
    /// Counts one up.
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads one.
    pub(crate) fn read(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_turn_falls_into_the_smallest_bucket_that_holds_it() {
        let of_micros = |micros: u64| bucket(micros * 1000);
        assert_eq!([0, 1, 2, 3, 4, 5, 8, 9].map(of_micros), [0, 0, 1, 2, 2, 3, 3, 4]);
        assert_eq!(bucket(1001), 1);
        assert_eq!((of_micros(1 << 20), of_micros((1 << 20) + 1), bucket(u64::MAX)), (20, 21, 21));
    }

    #[test]
    fn the_shells_counters_complete_the_shards() {
        let mut shell = ShellCounters { gso: true, ..Default::default() };
        shell.loops.record(Duration::from_micros(3));
        shell.loops.record(Duration::from_micros(900));
        shell.recv.no_buffer = 4;
        let mut stats = WorkerStats { rtp_received: 9, ..Default::default() };
        shell.complete(2, &mut stats);
        assert_eq!((stats.worker, stats.rtp_received, stats.loops, stats.gso), (2, 9, 2, true));
        assert_eq!((stats.busy_ns, stats.loop_time_us_max), (903_000, 900));
        assert_eq!(stats.loop_time_us_log2.iter().sum::<u64>(), 2);
        assert_eq!(stats.drops, [DropCount { reason: "receive_no_buffer".to_owned(), count: 4 }]);
    }
}
