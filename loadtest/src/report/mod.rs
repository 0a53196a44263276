//! The outcome for people and for programs: text, JSON, and a page that needs nothing else.

mod html;
mod json;
mod svg;
mod text;

use std::path::Path;

use crate::impair::Conditions;
use crate::outcome::Outcome;

pub(crate) use text::text;

/// Writes all three into the folder.
///
/// # Errors
/// The file that cannot be written, and why.
pub(crate) fn write(outcome: &Outcome, folder: &Path) -> Result<(), String> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let files =
        [("report.txt", text(outcome)), ("report.json", json::json(outcome)), ("report.html", html::page(outcome))];
    for (name, content) in files {
        let path = folder.join(name);
        std::fs::write(&path, content).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// What was run, in a few words.
fn title(outcome: &Outcome) -> String {
    let plan = &outcome.plan;
    let video = plan.video.map(|video| {
        let kind = if plan.simulcast { " simulcast" } else { "" };
        format!("{}x{} {} at {} fps{kind}", video.width, video.height, video.codec.name(), video.fps)
    });
    let audio = plan.audio.map(|audio| format!("opus in {} ms packets", audio.frame_ms));
    let media: Vec<_> = video.into_iter().chain(audio).collect();
    let number = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!(
        "{} of {} with {} each: {}, {:.0} kbit/s per publisher",
        number(plan.rooms, "room"),
        plan.participants,
        number(plan.publishers, "publisher"),
        media.join(" and "),
        outcome.publisher_bit_rate / 1e3,
    )
}

/// One line about the network that the bots pretend to have; `None`: none.
fn network(outcome: &Outcome) -> Option<String> {
    // Two decimals at most, and none that say nothing.
    let short = |value: f64| format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned();
    let percent = |share: f64| format!("{} %", short(share * 100.0));
    let millis = |time: std::time::Duration| format!("{} ms", short(time.as_secs_f64() * 1e3));
    let describe = |conditions: &Conditions| {
        let mut parts = Vec::new();
        if conditions.loss > 0.0 {
            parts.push(format!("loss {}", percent(conditions.loss)));
        }
        if !conditions.delay.is_zero() {
            parts.push(format!("delay {}", millis(conditions.delay)));
        }
        if !conditions.jitter.is_zero() {
            parts.push(format!("jitter {}", millis(conditions.jitter)));
        }
        if let Some(rate) = conditions.rate {
            parts.push(format!("rate {:.1} Mbit/s", rate as f64 / 1e6));
        }
        if conditions.reorder > 0.0 {
            parts.push(format!("reordering {}", percent(conditions.reorder)));
        }
        if parts.is_empty() { "perfect".to_owned() } else { parts.join(", ") }
    };
    let (up, down) = (&outcome.plan.up, &outcome.plan.down);
    let perfect = up.is_perfect() && down.is_perfect();
    (!perfect).then(|| format!("towards the server: {}; from it: {}", describe(up), describe(down)))
}

/// Rows of the figures that say most: what, and how much.
fn headline(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let figures = outcome.figures();
    let figure = |name: &str| figures.get(name).map_or_else(|| "–".to_owned(), ToString::to_string);
    let quantiles = |name: &str| {
        let all = ["p50", "p90", "p99", "max"].map(|suffix| figure(&format!("{name}_{suffix}")));
        if all[0] == "–" { "–".to_owned() } else { all.join(" / ") }
    };
    vec![
        (
            "Streams flowing (least, mean) of expected",
            format!("{}, {} of {}", figure("flow_min"), figure("flow_avg"), figure("streams")),
        ),
        ("Received", format!("{}, {} packets/s", figure("received"), figure("packets_per_second"))),
        ("Join: REST call to first packet (p50 / p90 / p99 / max)", quantiles("join")),
        ("Publish: REST call to connected", quantiles("publish")),
        ("Subscribe: request to first packet", quantiles("subscribe")),
        ("One-way latency, publisher to subscriber", quantiles("latency")),
        ("Keyframe wait", quantiles("keyframe")),
        (
            "Loss after retransmission",
            format!("{} ({} lost, {} recovered)", figure("loss"), figure("lost"), figure("recovered")),
        ),
        ("Jitter of pictures (over subscriptions)", quantiles("video_jitter")),
        ("Jitter of sound (over subscriptions)", quantiles("audio_jitter")),
        ("Freezes", format!("{}, {} in all", figure("freezes"), figure("frozen"))),
        ("Joins, departures, reconnects", format!("{}, {}, {}", outcome.joins, outcome.leaves, outcome.reconnects)),
        (
            "Keyframe requests and retransmissions at publishers",
            format!("{}, {}", outcome.keyframe_requests, outcome.retransmitted),
        ),
        (
            "Congestion feedback sent, received; sizes left out",
            format!("{}, {}; {}", outcome.feedback_sent, outcome.feedback_received, outcome.paused_sizes),
        ),
        ("Packets decrypted and compared", format!("{} of {}", outcome.measured.opened, outcome.measured.packets)),
        ("Server: processor, memory", format!("{}, {}", figure("server_cpu"), figure("server_memory"))),
        ("Server: processor time per packet sent", figure("server_cpu_per_packet")),
        ("Bots: processor", figure("bots_cpu")),
    ]
}
