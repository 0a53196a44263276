//! Tables on the terminal and JSON beside the binaries.

use std::path::PathBuf;

use millrace_bench::fanout::Histogram;
use serde_json::{Value, json};

use crate::Failure;
use crate::call::Measured;

/// A table whose columns fit their widest cell; the first column is text, the others are figures.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(crate) fn print(&self) {
        let cell = |row: &Vec<String>, at: usize| row.get(at).map_or(0, |cell| cell.chars().count());
        let width = |at: usize| self.rows.iter().map(|row| cell(row, at)).max().unwrap_or(0);
        for row in &self.rows {
            let cells = row.iter().enumerate().map(|(at, cell)| match at {
                0 => format!("{cell:<0$}", width(at)),
                _ => format!("{cell:>0$}", width(at)),
            });
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
}

/// Writes `target/bench/NAME.json` and says so.
pub(crate) fn write_json(name: &str, value: &Value) -> Result<(), Failure> {
    let path = folder()?.join(format!("{name}.json"));
    std::fs::write(&path, serde_json::to_string_pretty(value)? + "\n")?;
    println!("\n{}", path.display());
    Ok(())
}

/// `target/bench`.
pub(crate) fn folder() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let folder = own.ancestors().nth(2).ok_or("no folder")?.join("bench");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Nanoseconds as microseconds, for a table.
pub(crate) fn micros(ns: u64) -> String {
    format!("{:.0}", ns as f64 / 1e3)
}

/// Everything that a window tells.
pub(crate) fn measured(measured: &Measured) -> Value {
    let seen = &measured.seen;
    json!({
        "publishers": measured.publishers,
        "seconds": seen.seconds,
        "packets_expected": seen.expected,
        "packets_received": seen.received,
        "packets_per_second": seen.rate(),
        "gigabits_per_second": seen.gigabits(),
        "loss": seen.loss(),
        "repeated": seen.repeated,
        "verified": seen.verified,
        "wrong": seen.wrong,
        "server_cpu_seconds": measured.usage.cpu(),
        "server_cpu_user_seconds": measured.usage.user,
        "server_busiest_thread_seconds": measured.usage.busiest_thread,
        "server_ns_per_packet": measured.cost(),
        "server_resident_bytes": measured.usage.resident,
        "ksoftirqd_seconds": measured.softirq,
        "client_core_share": seen.client_share(),
        "client_latest_send_ns": seen.late,
        "client_kernel_drops": seen.kernel_drops,
        "steal": measured.steal,
        "void": measured.void(),
        "latency_ns": latency(&seen.latency),
        "counters": measured.counters.map(|counters| json!({
            "receive_calls": counters.receive_calls,
            "send_calls": counters.send_calls,
            "send_runs": counters.send_runs,
            "waits": counters.waits,
            "datagrams_sent": counters.datagrams_sent,
            "forwarded": counters.forwarded,
            "crossed": counters.crossed,
            "dropped": counters.dropped,
        })),
    })
}

/// Quantiles and the whole distribution.
pub(crate) fn latency(histogram: &Histogram) -> Value {
    json!({
        "count": histogram.count(),
        "p50": histogram.quantile(0.5),
        "p99": histogram.quantile(0.99),
        "p99.9": histogram.quantile(0.999),
        "max": histogram.max(),
        "cumulative": histogram.cumulative(),
    })
}
