//! The join storm: everybody comes within one instant.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use futures_util::stream::{FuturesUnordered, StreamExt};
use millrace_bench::drivers::{Driver, Media, Millrace, Plan, profile_name};
use millrace_bench::fanout::{Identity, Intake, Load, Role, connect};
use millrace_bench::report::{Cell, Histogram, Plot, Report, Section, Table};

use crate::call::{CLIENT_CORE, client_runtime, measuring_done, progress};
use crate::output::folder;
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
    /// Further flags of millrace-dataplane, to compare settings with
    #[arg(long, allow_hyphen_values = true, value_delimiter = ' ')]
    flags: Vec<String>,
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
    let mut outcomes = Vec::new();
    for run in 1..=options.runs {
        progress(&format!("storm {run} of {}: {} transports", options.runs, options.transports));
        outcomes.push(one(&runtime, options)?);
    }
    measuring_done();
    let mut report = Report::new(
        "Join storm",
        &format!(
            "{} clients come to {} at once, {}: path check, DTLS handshake, first packet of a publisher's audio. One worker and \
             the handshakes of the server are on core 0, the clients on core 1, with as much work for each handshake.",
            options.transports,
            Millrace { flags: options.flags.clone(), program: None }.name(),
            profile_name(options.profile.into())
        ),
    );
    let rates: Vec<_> = outcomes.iter().map(Outcome::per_cpu_second).collect();
    let range = (rates.iter().copied().fold(f64::MAX, f64::min), rates.iter().copied().fold(0.0, f64::max));
    report.figure(
        "Handshakes per CPU second of the server",
        format!("{:.0} to {:.0}", range.0, range.1),
        "range of runs",
    );
    let mut table = Table::new(
        "Each run with a fresh server",
        &[
            "run",
            "connected",
            "failed or silent",
            "seconds",
            "handshakes/s",
            "per server CPU s",
            "server CPU %",
            "client CPU %",
            "keys p50 ms",
            "p99 ms",
            "first packet p50 ms",
            "p99 ms",
            "after keys p50 ms",
            "p99 ms",
            "kB/transport",
        ],
    );
    let mut section = Section::new("Runs");
    for (run, outcome) in outcomes.iter().enumerate() {
        table.row(outcome.row(run + 1));
        if let Some(first) = outcome.failed.first() {
            section = section.text(format!("Run {}, the first failure: {first}", run + 1));
        }
    }
    section = section.table(table);
    if let Some(last) = outcomes.last() {
        let lines = [("keys", &last.connect), ("first packet", &last.media)];
        section = section.plot(Plot::cumulative("Since the storm began, last run", "time", "ms", &lines));
    }
    report.sections.push(section);
    report.publish(&folder()?, "storm")?;
    Ok(())
}

impl Outcome {
    fn per_cpu_second(&self) -> f64 {
        self.connected as f64 / self.server_cpu
    }

    fn row(&self, run: usize) -> Vec<Cell> {
        let grown = self.resident.1.saturating_sub(self.resident.0) as f64;
        let quantiles = |histogram: &Histogram| [0.5, 0.99].map(|q| Cell::number(histogram.quantile(q), 0));
        let mut row = vec![
            Cell::count(run as u64),
            Cell::count(self.connected as u64),
            Cell::count((self.failed.len() + self.silent) as u64),
            Cell::number(self.seconds, 2),
            Cell::number(self.connected as f64 / self.seconds, 0),
            Cell::number(self.per_cpu_second(), 0),
            Cell::number(self.server_cpu / self.seconds * 100.0, 0),
            Cell::number(self.client_cpu / self.seconds * 100.0, 0),
        ];
        row.extend([&self.connect, &self.media, &self.after_connect].into_iter().flat_map(quantiles));
        row.push(Cell::number(grown / self.connected.max(1) as f64 / 1e3, 1));
        row
    }
}

fn one(runtime: &tokio::runtime::Runtime, options: &Options) -> Result<Outcome, Failure> {
    let identity = Identity::generate()?;
    let profile = options.profile.into();
    let mut server = Millrace { flags: options.flags.clone(), program: None }.start(&Plan {
        workers: 1,
        cores: vec![0],
        namespace: None,
    })?;
    let load = Load::start(CLIENT_CORE, &identity.end().ufrag, Intake::Datagrams)?;
    let end = server.publish(identity.end(), MEDIA)?;
    let (keys, _, socket) = runtime.block_on(connect(Role::Publisher(0), &identity, &end, profile))?;
    load.publisher(socket, keys, Some(end), MEDIA, options.transports as u32)?;
    load.active(0..1)?;
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
        connect: Histogram::new(1e6),
        media: Histogram::new(1e6),
        after_connect: Histogram::new(1e6),
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
    outcome.server_cpu = after.cpu - usage.cpu;
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
