//! The join storm: everybody comes within one instant.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use futures_util::stream::{FuturesUnordered, StreamExt};
use millrace_bench::drivers::Driver;
use millrace_bench::drivers::{Media, Millrace, Plan, profile_name};
use millrace_bench::fanout::{Histogram, Identity, Load, Role, connect};
use serde_json::json;

use crate::call::{CLIENT_CORE, client_runtime, progress, progress_done};
use crate::output::{Table, latency, write_json};
use crate::{Failure, Profile};

/// Longest wait for the last first packet.
const PATIENCE: Duration = Duration::from_secs(10);
/// Payload of the publisher: audio alone, as it is not forwarding that is measured.
const MEDIA: Media = Media { audio_ssrc: 7, video_ssrc: None };

/// Options of `fanout storm`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Clients that come at once
    #[arg(long, default_value_t = 1_000)]
    transports: usize,
    /// Times that it is done, each with a fresh server
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// The SRTP profile that clients offer
    #[arg(long, value_enum, default_value_t = Profile::Gcm128)]
    profile: Profile,
}

/// One storm.
struct Outcome {
    connected: usize,
    failed: Vec<String>,
    seconds: f64,
    server_cpu: f64,
    client_cpu: f64,
    connect: Histogram,
    media: Histogram,
    after_connect: Histogram,
    silent: usize,
    resident: (u64, u64),
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let runtime = client_runtime()?;
    println!(
        "{} clients at once, {}, server on core 0, clients on core 1, which have the same work with each handshake.\n",
        options.transports,
        profile_name(options.profile.into())
    );
    let mut table = Table::new(&[
        "run",
        "connected",
        "failed",
        "seconds",
        "handshakes/s",
        "per server CPU-s",
        "server CPU",
        "client CPU",
        "connect p50 ms",
        "p99",
        "first packet p50 ms",
        "p99",
        "after keys p50 ms",
        "p99",
        "kB/transport",
    ]);
    let mut outcomes = Vec::new();
    for run in 1..=options.runs {
        progress(&format!("storm {run} of {}", options.runs));
        let outcome = one(&runtime, options)?;
        progress_done();
        let millis = |histogram: &Histogram, q: f64| format!("{:.0}", histogram.quantile(q) as f64 / 1e6);
        table.row(vec![
            run.to_string(),
            outcome.connected.to_string(),
            (outcome.failed.len() + outcome.silent).to_string(),
            format!("{:.2}", outcome.seconds),
            format!("{:.0}", outcome.connected as f64 / outcome.seconds),
            format!("{:.0}", outcome.connected as f64 / outcome.server_cpu),
            format!("{:.0} %", outcome.server_cpu / outcome.seconds * 100.0),
            format!("{:.0} %", outcome.client_cpu / outcome.seconds * 100.0),
            millis(&outcome.connect, 0.5),
            millis(&outcome.connect, 0.99),
            millis(&outcome.media, 0.5),
            millis(&outcome.media, 0.99),
            millis(&outcome.after_connect, 0.5),
            millis(&outcome.after_connect, 0.99),
            format!(
                "{:.1}",
                outcome.resident.1.saturating_sub(outcome.resident.0) as f64 / outcome.connected.max(1) as f64 / 1e3
            ),
        ]);
        if let Some(first) = outcome.failed.first() {
            table.row(vec![format!("  the first failure: {first}")]);
        }
        outcomes.push(outcome);
    }
    table.print();
    let runs: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            json!({
                "connected": outcome.connected,
                "failed": outcome.failed.len(),
                "silent": outcome.silent,
                "seconds": outcome.seconds,
                "server_cpu_seconds": outcome.server_cpu,
                "client_cpu_seconds": outcome.client_cpu,
                "handshakes_per_server_cpu_second": outcome.connected as f64 / outcome.server_cpu,
                "connect_ns": latency(&outcome.connect),
                "first_packet_ns": latency(&outcome.media),
                "first_packet_after_keys_ns": latency(&outcome.after_connect),
            })
        })
        .collect();
    write_json("storm", &json!({"transports": options.transports, "runs": runs}))
}

fn one(runtime: &tokio::runtime::Runtime, options: &Options) -> Result<Outcome, Failure> {
    let identity = Identity::generate()?;
    let profile = options.profile.into();
    let mut server = Millrace::default().start(&Plan { workers: 1, cores: vec![0] })?;
    let load = Load::start(CLIENT_CORE, &identity.end().ufrag)?;
    let end = server.publish(identity.end(), MEDIA)?;
    let (keys, _, socket) = runtime.block_on(connect(Role::Publisher(0), &identity, &end, profile))?;
    load.publisher(socket, keys, Some(end), MEDIA, options.transports as u32)?;
    load.active(1)?;
    let mut ends = Vec::new();
    for _ in 0..options.transports {
        ends.push(server.subscribe(identity.end(), 0)?);
    }
    let usage = server.process().usage()?;
    let (started, since_1970, own) = (Instant::now(), unix_nanos(), own_cpu());
    let mut outcome = Outcome {
        connected: 0,
        failed: Vec::new(),
        seconds: 0.0,
        server_cpu: 0.0,
        client_cpu: 0.0,
        connect: Histogram::default(),
        media: Histogram::default(),
        after_connect: Histogram::default(),
        silent: 0,
        resident: (usage.resident, 0),
    };
    let mut connected = Vec::new();
    runtime.block_on(async {
        let mut under_way: FuturesUnordered<_> = ends
            .into_iter()
            .enumerate()
            .map(|(n, end)| {
                let identity = &identity;
                async move { (n, connect(Role::Subscriber(n as u32), identity, &end, profile).await, end) }
            })
            .collect();
        while let Some((n, result, end)) = under_way.next().await {
            match result {
                Ok((keys, timing, socket)) => {
                    drop(socket);
                    load.subscriber(n as u32, keys, Some(end))?;
                    outcome.connect.record(nanos(timing.connected - started));
                    connected.push((
                        n,
                        nanos(timing.connected - started),
                        timing.first_media.map(|at| nanos(at - started)),
                    ));
                }
                Err(error) => outcome.failed.push(error.to_string()),
            }
        }
        Ok::<_, Failure>(())
    })?;
    outcome.seconds = started.elapsed().as_secs_f64();
    outcome.connected = connected.len();
    let after = server.process().usage()?;
    outcome.server_cpu = after.cpu() - usage.cpu();
    outcome.client_cpu = own_cpu() - own;
    outcome.resident.1 = after.resident;
    let first = await_media(&load, &connected)?;
    for (n, connected, early) in connected {
        let seen = first.get(n).copied().flatten().map(|at| at.saturating_sub(since_1970));
        match early.or(seen) {
            Some(at) => {
                outcome.media.record(at);
                outcome.after_connect.record(at.saturating_sub(connected));
            }
            None => outcome.silent += 1,
        }
    }
    Ok(outcome)
}

/// Waits until every connected subscriber has had a packet, and gives when.
fn await_media(load: &Load, connected: &[(usize, u64, Option<u64>)]) -> Result<Vec<Option<u64>>, Failure> {
    let started = Instant::now();
    loop {
        let first = load.first_media()?;
        let is_complete = connected.iter().all(|(n, _, _)| first.get(*n).is_some_and(Option::is_some));
        if is_complete || started.elapsed() > PATIENCE {
            return Ok(first);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

fn unix_nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos)
}

/// CPU seconds of this process.
fn own_cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
