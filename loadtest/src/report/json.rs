//! The report for programs.

use serde_json::{Value, json};

use super::title;
use crate::outcome::Outcome;

/// The report as JSON. Times are in seconds, shares between 0 and 1, sizes in bytes.
pub(super) fn json(outcome: &Outcome) -> String {
    let distributions: serde_json::Map<_, _> = outcome
        .histograms()
        .iter()
        .filter(|(_, histogram)| histogram.count() > 0)
        .map(|(name, histogram)| {
            let points: Vec<_> =
                histogram.distribution().iter().map(|(value, share)| json!([value.as_secs_f64(), share])).collect();
            ((*name).to_owned(), json!({ "count": histogram.count(), "cumulative": points }))
        })
        .collect();
    let metrics = outcome.metrics.as_ref().map(|(first, last)| json!({ "first": first, "last": last }));
    let report = json!({
        "title": title(outcome),
        "url": outcome.plan.url,
        "seconds": outcome.seconds,
        "figures": outcome.figures(),
        "failures": outcome.failures(),
        "doubts": outcome.doubts(),
        "errors": outcome.errors,
        "examples": outcome.examples,
        "distributions": distributions,
        "samples": outcome.samples,
        "metrics_error": outcome.metrics_error,
        "metrics": metrics.unwrap_or(Value::Null),
    });
    serde_json::to_string_pretty(&report).unwrap_or_default()
}
