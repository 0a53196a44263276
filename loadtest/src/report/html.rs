//! The report as a page: one file without scripts, fonts or anything else from elsewhere.

use std::fmt::Write;

use super::svg::{Line, Plot};
use super::{headline, network, title};
use crate::histogram::Histogram;
use crate::outcome::{Outcome, Phase, Sample};
use crate::threshold::{Figure, Unit};

const STYLE: &str = include_str!("style.css");

/// The page.
pub(super) fn page(outcome: &Outcome) -> String {
    let mut out = String::with_capacity(64 * 1024);
    let title = escape(&title(outcome));
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Load test: {title}</title><style>{STYLE}</style><main><h1>{title}</h1>\
         <p class=\"sub\">Measured for {:.0} s against {}</p>",
        outcome.seconds,
        escape(&outcome.plan.url)
    );
    if let Some(network) = network(outcome) {
        let _ = write!(out, "<p class=\"sub\">Network {}</p>", escape(&network));
    }
    verdict(&mut out, outcome);
    tiles(&mut out, outcome);
    errors(&mut out, outcome);
    list(&mut out, "Read with care", &outcome.doubts());
    plots(&mut out, outcome);
    out.push_str("<h2>Figures</h2><div class=\"wrap\"><table>");
    for (name, value) in headline(outcome) {
        let _ = write!(out, "<tr><td>{}</td><td class=\"n\">{}</td></tr>", escape(name), escape(&value));
    }
    out.push_str("</table></div>");
    counters(&mut out, outcome);
    out.push_str(
        "<details><summary>All figures, by the names that --fail-if takes</summary><div class=\"wrap\"><table>",
    );
    for (name, figure) in outcome.figures() {
        let _ = write!(out, "<tr><td>{}</td><td class=\"n\">{figure}</td></tr>", escape(&name));
    }
    out.push_str("</table></div></details></main></html>\n");
    out
}

fn verdict(out: &mut String, outcome: &Outcome) {
    let failures = outcome.failures();
    if !failures.is_empty() {
        out.push_str("<span class=\"verdict bad\">failed</span>");
        list(out, "Conditions that failed it", &failures);
    } else if !outcome.plan.fail_if.is_empty() {
        let _ = write!(out, "<span class=\"verdict good\">passed {} conditions</span>", outcome.plan.fail_if.len());
    }
}

fn tiles(out: &mut String, outcome: &Outcome) {
    let figures = outcome.figures();
    out.push_str("<div class=\"tiles\">");
    let tiles = [
        ("flow_min", "of the streams flowed, at least"),
        ("streams", "streams expected"),
        ("join_p99", "to join, at p99"),
        ("latency_p99", "one-way latency, at p99"),
        ("loss", "of the packets lost"),
        ("freezes", "freezes"),
        ("server_cpu", "of a core for the server"),
        ("errors", "errors"),
    ];
    for (name, label) in tiles {
        if let Some(figure) = figures.get(name) {
            let figure = figure.to_string();
            let figure = figure.strip_suffix(" of a core").unwrap_or(&figure);
            let _ = write!(out, "<div class=\"tile\"><b>{figure}</b><span>{label}</span></div>");
        }
    }
    out.push_str("</div>");
}

fn plots(out: &mut String, outcome: &Outcome) {
    let measured: Vec<_> = outcome.measured_samples().map(|sample| sample.at).collect();
    let shade = measured.first().copied().zip(measured.last().copied());
    let until_leaving = || outcome.samples.iter().filter(|sample| sample.phase != Phase::Leaving);
    let x_range = until_leaving().next().zip(until_leaving().next_back()).map(|(first, last)| (first.at, last.at));
    let over_time = |name, class, value: fn(&Sample) -> Option<f64>| Line {
        name,
        class,
        points: until_leaving().filter_map(|sample| Some((sample.at, value(sample)?))).collect(),
    };
    let plot = |y_format, y_at_least, lines| Plot {
        x_label: "seconds; the measured time is shaded",
        y_format,
        x_format: |value| format!("{value:.1}").trim_end_matches(".0").to_owned(),
        lines,
        shade,
        x_range,
        y_at_least,
    };
    let all = [
        (
            "Streams",
            plot(
                count,
                4.0,
                vec![
                    over_time("expected", "b", |s| Some(s.expected as f64)),
                    over_time("flowing", "a", |s| Some(s.flowing as f64)),
                ],
            ),
        ),
        (
            "One-way latency",
            plot(
                seconds,
                1e-3,
                vec![over_time("p50", "a", |s| s.latency_p50), over_time("p99", "b", |s| s.latency_p99)],
            ),
        ),
        ("Received by all bots", plot(bit_rate, 1e4, vec![over_time("bits", "a", |s| Some(s.bits_per_second))])),
        ("Packets", plot(count, 4.0, vec![over_time("packets/s", "a", |s| Some(s.packets_per_second))])),
        (
            "Processor, 100 % is one core",
            plot(
                percent,
                0.1,
                vec![over_time("server", "a", |s| s.server_cores), over_time("bots", "b", |s| s.bots_cores)],
            ),
        ),
        (
            "Server's memory",
            plot(bytes, 1e7, vec![over_time("memory", "a", |s| s.server_memory.map(|bytes| bytes as f64))]),
        ),
        (
            "Lost packets and freezes, per second",
            plot(
                count,
                4.0,
                vec![
                    over_time("lost", "a", |s| Some(s.lost as f64)),
                    over_time("freezes", "b", |s| Some(s.freezes as f64)),
                ],
            ),
        ),
        ("Time to join, cumulative", cumulative(&outcome.times.join)),
        ("Latency, cumulative", cumulative(&outcome.times.latency)),
        ("Wait for a keyframe, cumulative", cumulative(&outcome.times.keyframe)),
    ];
    out.push_str("<h2>Over time</h2><div class=\"plots\">");
    for (name, plot) in &all {
        if let Some(svg) = plot.draw() {
            let _ = write!(out, "<div class=\"plot\"><h3>{name}</h3>{svg}</div>");
        }
    }
    out.push_str("</div>");
}

/// What share took at most so long. The last thousandth would squeeze all others, and stands in the table.
fn cumulative(histogram: &Histogram) -> Plot<'static> {
    let end = histogram.quantile(0.999).unwrap_or_default();
    let points = histogram.distribution().into_iter().filter(|(value, _)| *value <= end);
    let points: Vec<_> = points.map(|(value, share)| (value.as_secs_f64(), share)).collect();
    let start = points.first().map(|(value, _)| (*value, 0.0));
    Plot {
        x_label: "at most so long",
        y_format: percent,
        x_format: seconds,
        lines: vec![Line { name: "share", class: "a", points: start.into_iter().chain(points).collect() }],
        shade: None,
        x_range: None,
        y_at_least: 0.98,
    }
}

fn errors(out: &mut String, outcome: &Outcome) {
    if outcome.errors.is_empty() {
        return;
    }
    out.push_str("<h2>Errors</h2><div class=\"wrap\"><table><tr><th>Kind</th><th>First of them</th><th class=\"n\">Number</th></tr>");
    for (kind, count) in &outcome.errors {
        let example = outcome.examples.get(kind).map_or("", String::as_str);
        let _ =
            write!(out, "<tr><td>{}</td><td>{}</td><td class=\"n\">{count}</td></tr>", escape(kind), escape(example));
    }
    out.push_str("</table></div>");
}

/// The server's counters: how much they grew, or what they were.
fn counters(out: &mut String, outcome: &Outcome) {
    if let Some(error) = &outcome.metrics_error {
        list(out, "No counters of the server", std::slice::from_ref(error));
    }
    let Some((first, last)) = &outcome.metrics else { return };
    out.push_str(
        "<h2>Counters of the server</h2><div class=\"wrap\"><table><tr><th>Name</th><th class=\"n\">At the end</th>\
         <th class=\"n\">Change</th><th class=\"n\">Per second</th></tr>",
    );
    for (name, value) in last.iter().filter(|(_, value)| **value != 0.0) {
        let change = value - first.get(name).copied().unwrap_or(0.0);
        let rate = if name.ends_with("_total") { plain(change / outcome.seconds.max(0.001)) } else { String::new() };
        let _ = write!(
            out,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{rate}</td></tr>",
            escape(name),
            plain(*value),
            plain(change)
        );
    }
    out.push_str("</table></div>");
}

fn list(out: &mut String, name: &str, rows: &[String]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(out, "<h2>{name}</h2><ul>");
    for row in rows {
        let _ = write!(out, "<li>{}</li>", escape(row));
    }
    out.push_str("</ul>");
}

fn count(value: f64) -> String {
    if value >= 10_000.0 { format!("{:.0}k", value / 1e3) } else { plain(value) }
}

fn percent(value: f64) -> String {
    format!("{} %", plain((value * 1_000.0).round() / 10.0))
}

fn plain(value: f64) -> String {
    format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn seconds(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { Figure { value, unit: Unit::Seconds }.to_string().replace(".0 ", " ") }
}

fn bit_rate(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        _ if value >= 1e6 => format!("{} Mbit/s", plain(value / 1e6)),
        _ => format!("{:.0} kbit/s", value / 1e3),
    }
}

fn bytes(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{:.0} MB", value / 1e6) }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
