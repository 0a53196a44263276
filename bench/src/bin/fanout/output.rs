//! Windows as rows of a report.

use std::path::PathBuf;

use millrace_bench::drivers::Counters;
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

/// Windows of one load, each cell their median, but for losses, which add up. Latencies are those of the windows' own
/// distributions less the same quantile of `baseline`.
pub(crate) fn row(name: &str, windows: &[Measured], baseline: &impl Fn(f64) -> f64) -> Vec<Cell> {
    let of =
        |value: &dyn Fn(&Measured) -> f64| median(&windows.iter().map(value).collect::<Vec<_>>()).unwrap_or(f64::NAN);
    let above = |q: f64| {
        let own = of(&|window| window.seen.latency.quantile(q));
        Cell::number((own - baseline(q)).max(0.0), 0)
    };
    let counted = |value: fn(&Counters) -> f64, decimals| {
        let values: Vec<_> = windows.iter().filter_map(|window| window.counters.as_ref().map(value)).collect();
        median(&values).map_or_else(|| Cell::missing("not counted"), |value| Cell::number(value, decimals))
    };
    vec![
        Cell::text(name),
        Cell::count(windows.first().map_or(0, |window| window.publishers as u64)),
        Cell::number(of(&|window| window.seen.rate()), 0),
        Cell::number(of(&|window| window.seen.gigabits()), 2),
        Cell::count(windows.iter().map(|window| window.seen.expected.saturating_sub(window.seen.received)).sum()),
        Cell::number(of(&Measured::cost), 0),
        Cell::number(of(&Measured::per_core), 0),
        Cell::number(of(&|window| window.usage.cpu / window.seen.seconds) * 100.0, 0),
        counted(|counters| ratio(counters.receive_calls + counters.send_calls + counters.waits, counters.forwarded), 3),
        counted(|counters| ratio(counters.datagrams_sent, counters.send_runs), 1),
        above(0.5),
        above(0.99),
        above(0.999),
        Cell::number(of(&|window| window.seen.client_share()) * 100.0, 0),
    ]
}

/// The middle one; the higher one of two.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The middle one, and between which they are, with so many decimals.
pub(crate) fn spread(values: &[f64], decimals: usize) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let median = median(values).unwrap_or(f64::NAN);
    format!("{median:.decimals$} ({least:.decimals$} to {most:.decimals$})")
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_turns_is_their_middle_and_their_ends() {
        assert_eq!(spread(&[3.0, -1.0, 2.5], 1), "2.5 (-1.0 to 3.0)");
        assert_eq!(median(&[1.0, 4.0]), Some(4.0));
        assert_eq!(median(&[]), None);
    }
}
