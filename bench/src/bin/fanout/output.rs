//! Windows as rows of a report.

use std::path::PathBuf;

use millrace_bench::report::{Cell, Table};

use crate::Failure;
use crate::call::Measured;

/// Columns of [`row`].
const COLUMNS: [&str; 14] = [
    "load",
    "publishers",
    "packets/s",
    "Gbit/s",
    "lost",
    "server ns/packet",
    "packets per CPU s",
    "server CPU %",
    "calls/packet",
    "GSO run",
    "p50 us",
    "p99 us",
    "p99.9 us",
    "client CPU %",
];

/// `target/bench`, where reports go.
pub(crate) fn folder() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    Ok(own.ancestors().nth(2).ok_or("no folder")?.join("bench"))
}

/// A table of windows.
pub(crate) fn windows(title: &str) -> Table {
    Table::new(title, &COLUMNS)
}

/// One window. Its latencies are those of its own distribution less the same quantile of `baseline`.
pub(crate) fn row(name: &str, measured: &Measured, baseline: &impl Fn(f64) -> f64) -> Vec<Cell> {
    let seen = &measured.seen;
    let above = |q: f64| Cell::number((seen.latency.quantile(q) - baseline(q)).max(0.0), 0);
    let missing = || Cell::missing("not counted");
    let (calls, run) = match measured.counters {
        Some(counters) => {
            let calls = counters.receive_calls + counters.send_calls + counters.waits;
            let ratio = |a: u64, b: u64| a as f64 / b.max(1) as f64;
            (
                Cell::number(ratio(calls, counters.forwarded), 3),
                Cell::number(ratio(counters.datagrams_sent, counters.send_runs), 1),
            )
        }
        None => (missing(), missing()),
    };
    vec![
        Cell::text(name),
        Cell::count(measured.publishers as u64),
        Cell::number(seen.rate(), 0),
        Cell::number(seen.gigabits(), 2),
        Cell::count(seen.expected.saturating_sub(seen.received)),
        Cell::number(measured.cost(), 0),
        Cell::number(measured.per_core(), 0),
        Cell::number(measured.usage.cpu / seen.seconds * 100.0, 0),
        calls,
        run,
        above(0.5),
        above(0.99),
        above(0.999),
        Cell::number(seen.client_share() * 100.0, 0),
    ]
}
