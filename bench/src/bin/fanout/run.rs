//! The fan-out bench on Millrace's data plane.

use std::time::Duration;

use clap::Args;
use millrace_bench::drivers::{Driver, Millrace, Plan, profile_name};
use millrace_bench::fanout::Seen;
use serde_json::{Value, json};

use crate::call::{CLIENT_BOUND, Call, Measured, Shape, client_runtime, loopback, progress, progress_done};
use crate::output::{Table, latency, measured, micros, write_json};
use crate::{Failure, Profile};

/// Parts of the maximum that are measured.
const PARTS: [f64; 3] = [0.1, 0.5, 0.9];
/// Loss that ends the raising of the load.
const BOUND: f64 = 0.001;
/// Each step of the search has this times the load of the one before.
const GROWTH: f64 = 1.3;
/// Length of one step.
const STEP: Duration = Duration::from_millis(2_000);
/// Packets per second of one publisher to one subscriber, about: to begin the search at a sensible load.
const PER_SUBSCRIBER: usize = 215;
/// Load at the beginning of the search, in packets per second.
const BEGIN: usize = 40_000;

/// Options of `fanout run`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Subscribers of each publisher, one series for each
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100])]
    subscribers: Vec<usize>,
    /// Workers, one series for each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    workers: Vec<u16>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Most transports of a series: the bound of the search
    #[arg(long, default_value_t = 4_000)]
    transports: usize,
    /// The SRTP profile that clients offer
    #[arg(long, value_enum, default_value_t = Profile::Gcm128)]
    profile: Profile,
    /// Further flags of millrace-dataplane, to compare settings with
    #[arg(long, allow_hyphen_values = true, value_delimiter = ' ')]
    flags: Vec<String>,
}

/// One series.
struct Series {
    workers: u16,
    subscribers: usize,
    publishers: usize,
    limit: &'static str,
    steps: Vec<Measured>,
    parts: Vec<(f64, Measured)>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let runtime = client_runtime()?;
    let driver = Millrace { flags: options.flags.clone() };
    let length = Duration::from_secs(options.seconds);
    progress("measuring the loopback without a server");
    let baseline = loopback(options.profile.into(), 10, length)?;
    progress_done();
    println!(
        "{}, {}; client on core 1; VP8 at 1.5 Mbps in frames, opus at 50 packets/s.",
        driver.name(),
        profile_name(options.profile.into())
    );
    println!(
        "The loopback alone: p50 {} us, p99 {} us, p99.9 {} us; latencies below are above these.\n",
        micros(baseline.latency.quantile(0.5)),
        micros(baseline.latency.quantile(0.99)),
        micros(baseline.latency.quantile(0.999)),
    );
    let mut all = Vec::new();
    for subscribers in &options.subscribers {
        for workers in &options.workers {
            let series = one(&runtime, &driver, options, *workers, *subscribers)?;
            print(&series, &baseline);
            all.push(series);
        }
    }
    scaling(&all);
    let series: Vec<_> = all.iter().map(as_json).collect();
    let profile = profile_name(options.profile.into());
    write_json(
        "fanout",
        &json!({"profile": profile, "loopback_latency_ns": latency(&baseline.latency), "series": series}),
    )
}

fn one(
    runtime: &tokio::runtime::Runtime,
    driver: &dyn Driver,
    options: &Options,
    workers: u16,
    subscribers: usize,
) -> Result<Series, Failure> {
    let publishers = (options.transports / (subscribers + 1)).max(1);
    let shape = Shape { publishers, subscribers, profile: options.profile.into() };
    let cores = if workers == 1 { vec![0] } else { (0..usize::from(workers)).collect() };
    let mut call = Call::connect(runtime, driver, &Plan { workers, cores }, shape)?;
    let (most, limit, steps) = search(&mut call)?;
    let mut parts = Vec::new();
    for part in PARTS {
        let publishers = ((most as f64 * part).round() as usize).max(1);
        progress(&format!("{workers} workers, {subscribers} subscribers each: {publishers} publishers"));
        parts.push((part, call.measure(publishers, Duration::from_secs(options.seconds))?));
    }
    progress_done();
    Ok(Series { workers, subscribers, publishers: most, limit, steps, parts })
}

/// The most publishers with which next to nothing is lost, and what the limit was.
fn search(call: &mut Call) -> Result<(usize, &'static str, Vec<Measured>), Failure> {
    let shape = call.shape();
    let mut steps = Vec::new();
    let (mut good, mut bad, mut limit) = (0, None, "nothing: no more transports");
    let mut next = (BEGIN / PER_SUBSCRIBER / shape.subscribers).clamp(1, shape.publishers);
    loop {
        // What else runs on the machine may spoil a step; two in a row it hardly does.
        let mut measured = call.measure(next, STEP)?;
        if fault(&measured).is_some() {
            measured = call.measure(next, STEP)?;
        }
        let fault = fault(&measured);
        let rate = measured.seen.rate();
        progress(&format!("{next} publishers: {rate:.0} packets/s, {}", fault.unwrap_or("nothing lost")));
        steps.push(measured);
        match fault {
            None => good = good.max(next),
            Some(why) => {
                bad = Some(next);
                limit = why;
            }
        }
        next = match bad {
            None if next == shape.publishers => break,
            None => ((next as f64 * GROWTH).ceil() as usize).min(shape.publishers),
            Some(bad) if bad - good <= (bad / 16).max(1) => break,
            Some(bad) => good.midpoint(bad),
        };
    }
    Ok((good.max(1), limit, steps))
}

fn fault(measured: &Measured) -> Option<&'static str> {
    let seen = &measured.seen;
    if seen.client_share() > CLIENT_BOUND || seen.kernel_drops > 0 {
        return Some("the client");
    }
    (seen.loss() > BOUND).then_some("loss")
}

fn print(series: &Series, baseline: &Seen) {
    println!(
        "{} worker{}, {} subscribers to each publisher; most without loss: {} publishers; the limit: {}",
        series.workers,
        if series.workers == 1 { "" } else { "s" },
        series.subscribers,
        series.publishers,
        series.limit,
    );
    let mut table = Table::new(&[
        "load",
        "packets/s",
        "Gbit/s",
        "lost",
        "ns/packet",
        "packets/CPU-s",
        "server CPU",
        "calls/packet",
        "GSO run",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "client CPU",
    ]);
    let most = series.steps.iter().filter(|step| fault(step).is_none()).max_by_key(|step| step.publishers);
    let rows = series.parts.iter().map(|(part, measured)| (format!("{:.0} %", part * 100.0), measured));
    for (name, measured) in rows.chain(most.map(|measured| ("100 %".to_owned(), measured))) {
        let seen = &measured.seen;
        let counters = measured.counters.unwrap_or_default();
        let calls = counters.receive_calls + counters.send_calls + counters.waits;
        let above = |q: f64| micros(seen.latency.quantile(q).saturating_sub(baseline.latency.quantile(q)));
        table.row(vec![
            name,
            format!("{:.0}", seen.rate()),
            format!("{:.2}", seen.gigabits()),
            (seen.expected - seen.received.min(seen.expected)).to_string(),
            format!("{:.0}", measured.cost()),
            format!("{:.0}", measured.per_core()),
            format!("{:.0} %", measured.usage.cpu() / seen.seconds * 100.0),
            format!("{:.3}", calls as f64 / counters.forwarded.max(1) as f64),
            format!("{:.1}", counters.datagrams_sent as f64 / counters.send_runs.max(1) as f64),
            above(0.5),
            above(0.99),
            above(0.999),
            format!("{:.0} %", seen.client_share() * 100.0),
        ]);
        if let Some(why) = measured.void() {
            table.row(vec![format!("  void: {why}")]);
        }
    }
    table.print();
    println!();
}

/// What two workers carry of what one does, by accounting: the load at which the busiest worker has nothing left, held
/// against that of one worker alone. The client has a core that a worker uses too, so that time on the wall says nothing.
fn scaling(all: &[Series]) {
    let half = |series: &Series| {
        let (_, measured) = series.parts.iter().find(|(part, _)| *part == 0.5)?;
        Some((measured.seen.received as f64 / measured.usage.busiest_thread, measured.per_core()))
    };
    for two in all.iter().filter(|series| series.workers > 1) {
        let one = all.iter().find(|one| one.workers == 1 && one.subscribers == two.subscribers);
        if let Some(((one, per_core_one), (two_busiest, per_core_two))) = one.and_then(half).zip(half(two)) {
            println!(
                "{} workers, {} subscribers: {:.2} x the packets of one worker before the busiest is full; a packet costs {:.2} x",
                two.workers,
                two.subscribers,
                two_busiest / one,
                per_core_one / per_core_two,
            );
        }
    }
}

fn as_json(series: &Series) -> Value {
    json!({
        "workers": series.workers,
        "subscribers": series.subscribers,
        "publishers_most": series.publishers,
        "limit": series.limit,
        "steps": series.steps.iter().map(measured).collect::<Vec<_>>(),
        "parts": series.parts.iter().map(|(part, one)| json!({"part": part, "measured": measured(one)})).collect::<Vec<_>>(),
    })
}
