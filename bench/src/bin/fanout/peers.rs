//! The same load on every media server that this machine has.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use millrace_bench::drivers::{Plan, all, profile_name};
use serde_json::json;

use crate::call::{Call, Measured, Shape, client_runtime, progress, progress_done};
use crate::output::{Table, measured, micros, write_json};
use crate::{Failure, Profile};

/// Options of `fanout peers`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Publishers
    #[arg(long, default_value_t = 1)]
    publishers: usize,
    /// Subscribers of each publisher
    #[arg(long, default_value_t = 100)]
    subscribers: usize,
    /// Runs of each server, each with a fresh one
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The SRTP profile that clients offer
    #[arg(long, value_enum, default_value_t = Profile::Gcm128)]
    profile: Profile,
    /// Only servers whose name contains this
    #[arg(long)]
    only: Option<String>,
}

/// What is known of one server.
#[derive(Default)]
struct Peer {
    version: String,
    runs: Vec<(Measured, (u64, u64))>,
    failure: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let runtime = client_runtime()?;
    let shape =
        Shape { publishers: options.publishers, subscribers: options.subscribers, profile: options.profile.into() };
    let plan = Plan { workers: 1, cores: vec![0] };
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only));
    let drivers: Vec<_> = all().into_iter().filter(|driver| wanted(&driver.name())).collect();
    let mut peers: BTreeMap<usize, Peer> = BTreeMap::new();
    for run in 1..=options.runs {
        for (at, driver) in drivers.iter().enumerate() {
            let peer = peers.entry(at).or_default();
            if peer.failure.is_some() {
                continue;
            }
            progress(&format!("run {run} of {}: {}", options.runs, driver.name()));
            let outcome = Call::connect(&runtime, driver.as_ref(), &plan, shape).and_then(|mut call| {
                peer.version = call.server.version();
                Ok((call.measure(shape.publishers, Duration::from_secs(options.seconds))?, call.resident))
            });
            match outcome {
                Ok(run) => peer.runs.push(run),
                Err(error) => peer.failure = Some(error.to_string()),
            }
        }
    }
    progress_done();
    println!(
        "{} publishers to {} subscribers each, {}; server on core 0, client on core 1; medians of {} runs of {} s in turns (range).\n",
        shape.publishers,
        shape.subscribers,
        profile_name(shape.profile),
        options.runs,
        options.seconds,
    );
    let ours = peers.get(&0).and_then(|peer| median(&costs(peer)));
    let mut table = Table::new(&[
        "server",
        "of ours",
        "us/packet",
        "(range)",
        "packets/CPU-s",
        "delivered",
        "p50 us",
        "p99 us",
        "RSS MB",
        "kB/transport",
        "client CPU",
        "runs",
        "void",
    ]);
    let mut notes = Vec::new();
    for (at, peer) in &peers {
        let name = drivers[*at].name();
        if let Some(failure) = &peer.failure {
            notes.push(format!("{name}: {failure}"));
        }
        for (run, _) in &peer.runs {
            if let Some(why) = run.void() {
                notes.push(format!("{name}: a run is void: {why}"));
            }
        }
        table.row(row(&name, peer, ours, shape));
    }
    table.print();
    for note in &notes {
        println!("  {note}");
    }
    let list: Vec<_> = peers
        .iter()
        .map(|(at, peer)| {
            json!({
                "server": drivers[*at].name(),
                "version": peer.version,
                "failure": peer.failure,
                "runs": peer.runs.iter().map(|(run, _)| measured(run)).collect::<Vec<_>>(),
            })
        })
        .collect();
    write_json(
        "peers",
        &json!({
            "publishers": shape.publishers, "subscribers": shape.subscribers,
            "profile": profile_name(shape.profile), "servers": list,
        }),
    )
}

fn row(name: &str, peer: &Peer, ours: Option<f64>, shape: Shape) -> Vec<String> {
    let costs = costs(peer);
    let Some(cost) = median(&costs) else {
        let why = if peer.failure.is_some() { "none: see below" } else { "no valid run" };
        return vec![name.to_owned(), why.to_owned()];
    };
    let valid: Vec<_> = peer.runs.iter().filter(|(run, _)| run.void().is_none()).collect();
    let of = |value: fn(&(Measured, (u64, u64))) -> f64| {
        median(&valid.iter().map(|run| value(run)).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    };
    let range = (costs.iter().copied().fold(f64::MAX, f64::min), costs.iter().copied().fold(0.0, f64::max));
    let transports = (shape.publishers * (shape.subscribers + 1)) as f64;
    let grown = of(|(_, resident)| resident.1 as f64 - resident.0 as f64);
    vec![
        name.to_owned(),
        ours.map_or_else(String::new, |ours| format!("{:.2} x", cost / ours)),
        format!("{:.2}", cost / 1e3),
        format!("({:.2}-{:.2})", range.0 / 1e3, range.1 / 1e3),
        format!("{:.0}", 1e9 / cost),
        format!("{:.5}", of(|(run, _)| 1.0 - run.seen.loss())),
        micros(of(|(run, _)| run.seen.latency.quantile(0.5) as f64) as u64),
        micros(of(|(run, _)| run.seen.latency.quantile(0.99) as f64) as u64),
        format!("{:.0}", of(|(run, _)| run.usage.resident as f64) / 1e6),
        format!("{:.0}", grown / transports / 1e3),
        format!("{:.0} %", of(|(run, _)| run.seen.client_share()) * 100.0),
        peer.runs.len().to_string(),
        (peer.runs.len() - valid.len()).to_string(),
    ]
}

/// CPU nanoseconds per packet of the valid runs.
fn costs(peer: &Peer) -> Vec<f64> {
    peer.runs.iter().filter(|(run, _)| run.void().is_none()).map(|(run, _)| run.cost()).collect()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
