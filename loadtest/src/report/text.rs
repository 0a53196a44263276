//! The report on the terminal.

use std::fmt::Write;

use super::{headline, network, title};
use crate::outcome::Outcome;

/// The report as text.
pub(crate) fn text(outcome: &Outcome) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut line = |text: &str| {
        let _ = writeln!(out, "{text}");
    };
    line(&title(outcome));
    line(&format!("measured for {:.0} s against {}", outcome.seconds, outcome.plan.url));
    if let Some(network) = network(outcome) {
        line(&format!("network {network}"));
    }
    line("");
    let rows = headline(outcome);
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in &rows {
        let pad = " ".repeat(width - name.chars().count());
        line(&format!("  {name}{pad}  {value}"));
    }
    section(
        &mut line,
        "Errors",
        outcome.errors.iter().map(|(kind, count)| {
            let example = outcome.examples.get(kind).filter(|example| !kind.contains(example.as_str()));
            format!("{count} × {kind}{}", example.map(|example| format!(" ({example})")).unwrap_or_default())
        }),
    );
    section(&mut line, "Read with care", outcome.doubts().into_iter());
    section(&mut line, "No counters of the server", outcome.metrics_error.iter().cloned());
    section(&mut line, "FAILED", outcome.failures().into_iter());
    out
}

fn section(line: &mut impl FnMut(&str), name: &str, rows: impl Iterator<Item = String>) {
    let mut rows = rows.peekable();
    if rows.peek().is_some() {
        line(&format!("\n{name}"));
        rows.for_each(|row| line(&format!("  {row}")));
    }
}
