//! The fan-out bench on Millrace's data plane.

use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use millrace_bench::cable::Cable;
use millrace_bench::drivers::{Driver, Millrace, Plan, profile_name};
use millrace_bench::fanout::{Intake, Seen};
use millrace_bench::report::{Axis, Histogram, Plot, Report, Scale, Section, Series as Line};

use crate::call::{CLIENT_BOUND, Call, Measured, Shape, client_runtime, lay, loopback, measuring_done, progress, way};
use crate::floor::Floor;
use crate::output::{folder, median, row, spread, windows};
use crate::{Failure, Profile, Wire};

/// Parts of the maximum that are measured.
const PARTS: [f64; 3] = [0.1, 0.5, 0.9];
/// Loss that ends the raising of the load.
const BOUND: f64 = 0.001;
/// Latency in microseconds that ends it as well, of the 99th percentile: sockets hold half a second of what a worker at
/// its end forwards, so that for a while more comes in than goes out before anything is lost.
const QUEUE: f64 = 100_000.0;
/// Each step of the search has this times the load of the one before.
const GROWTH: f64 = 1.3;
/// Length of one step.
const STEP: Duration = Duration::from_millis(2_000);
/// Packets per second of one publisher to one subscriber, about: to begin the search at a sensible load.
const PER_SUBSCRIBER: usize = 215;
/// Load at the beginning of the search, in packets per second.
const BEGIN: usize = 40_000;
/// Times that the most is lowered by a tenth, until nine tenths of it hold.
const ATTEMPTS: usize = 4;
/// Publishers whose frames are sent over the loopback without a server.
const BASELINE: usize = 10;

/// Options of `fanout run`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Subscribers of each publisher, one series for each
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100])]
    subscribers: Vec<usize>,
    /// Workers, one series for each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    workers: Vec<u16>,
    /// Seconds of each measurement; publishers have one keyframe in four
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Measurements of each part of the most, in turns with the floor
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    turns: u16,
    /// Most transports of a series: the bound of the search
    #[arg(long, default_value_t = 3_000)]
    transports: usize,
    /// The SRTP profile that clients offer
    #[arg(long, value_enum, default_value_t = Profile::Gcm128)]
    profile: Profile,
    /// Subscribers take in as one what was sent as one run (UDP_GRO), as a network card that cuts it apart would
    #[arg(long)]
    whole_runs: bool,
    /// Servers behind a cable (veth) instead of on the loopback, which charges them with the receiver's half of the
    /// kernel's work as well; to this kind of network card, a plain one unless told otherwise; needs root
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "plain", conflicts_with = "whole_runs")]
    pub(crate) wire: Option<Wire>,
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
    parts: Vec<Part>,
}

/// A part of the most: what was seen in each turn.
struct Part {
    part: f64,
    ours: Vec<Measured>,
    /// The floor under the same load, right after ours; none where there are several workers, of which it knows nothing.
    floor: Vec<Measured>,
}

impl Part {
    fn median(&self, value: impl Fn(&Measured) -> f64) -> f64 {
        median(&self.ours.iter().map(value).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    }

    /// Each turn's value of ours and the floor's.
    fn beside_floor(&self, value: impl Fn(&Measured, &Measured) -> f64) -> Vec<f64> {
        self.ours.iter().zip(&self.floor).map(|(ours, floor)| value(ours, floor)).collect()
    }

    /// Packets per second, and CPU seconds per second of the busiest thread.
    fn busy(&self) -> (f64, f64) {
        (self.median(|window| window.seen.rate()), self.median(busiest))
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let cable = lay(options.wire)?;
    let runtime = client_runtime()?;
    let driver = Millrace { flags: options.flags.clone(), program: None };
    progress("measuring the loopback without a server");
    let baseline = loopback(options.profile.into(), BASELINE, Duration::from_secs(options.seconds))?;
    let mut all = Vec::new();
    for subscribers in &options.subscribers {
        for workers in &options.workers {
            all.push(one(&runtime, &driver, cable.as_ref(), options, *workers, *subscribers)?);
        }
    }
    measuring_done();
    let file = if options.wire.is_some() { "fanout-wire" } else { "fanout" };
    let report = report(options, &driver.name(), &all, &baseline);
    report.publish(&folder()?, file)?;
    Ok(())
}

fn one(
    runtime: &tokio::runtime::Runtime,
    driver: &dyn Driver,
    cable: Option<&Rc<Cable>>,
    options: &Options,
    workers: u16,
    subscribers: usize,
) -> Result<Series, Failure> {
    let publishers = (options.transports / (subscribers + 1)).max(1);
    let intake = if options.whole_runs { Intake::Runs } else { Intake::Datagrams };
    let shape = Shape { publishers, subscribers, profile: options.profile.into(), intake };
    let cores = (0..usize::from(workers)).collect();
    let plan = Plan { workers, cores, namespace: cable.map(|cable| cable.servers()) };
    let mut call = Call::connect(runtime, driver, &plan, cable, shape)?;
    let (mut most, limit, steps) = search(&mut call)?;
    let length = Duration::from_secs(options.seconds);
    let publishers = |most: usize, part: f64| ((most as f64 * part).round() as usize).max(1);
    // What a step carries is not always carried for longer: the most is what nine tenths of go on without loss.
    let nearly = PARTS[2];
    for _ in 0..ATTEMPTS {
        progress(&format!("{workers} workers, {subscribers} subscribers each: {most} publishers, do nine tenths hold"));
        if most == 1 || fault(&call.measure(publishers(most, nearly), length)?).is_none() {
            break;
        }
        most = (most * 9 / 10).max(1);
    }
    let mut floor = match workers {
        1 => Some(Floor::join(&call, &plan, options.profile, publishers(most, nearly))?),
        _ => None,
    };
    let mut parts: Vec<_> = PARTS.map(|part| Part { part, ours: Vec::new(), floor: Vec::new() }).into();
    for turn in 1..=options.turns {
        for part in &mut parts {
            let count = publishers(most, part.part);
            progress(&format!(
                "{workers} workers, {subscribers} subscribers each: turn {turn} of {}, {count} of {most} publishers",
                options.turns,
            ));
            part.ours.push(call.measure(count, length)?);
            if let Some(floor) = &mut floor {
                part.floor.push(floor.measure(&call, count, length)?);
            }
        }
    }
    Ok(Series { workers, subscribers, publishers: most, limit, steps, parts })
}

/// The most publishers with which next to nothing is lost, and what the limit was.
fn search(call: &mut Call) -> Result<(usize, &'static str, Vec<Measured>), Failure> {
    let shape = call.shape();
    let mut steps = Vec::new();
    let (mut good, mut bad, mut limit) = (0, None, "the number of transports");
    let mut next = (BEGIN / PER_SUBSCRIBER / shape.subscribers).clamp(1, shape.publishers);
    loop {
        // What else runs on the machine may spoil a step; two in a row it hardly does.
        let mut measured = call.measure(next, STEP)?;
        if fault(&measured).is_some() {
            measured = call.measure(next, STEP)?;
        }
        let fault = fault(&measured);
        let rate = measured.seen.rate();
        progress(&format!("{next} publishers: {rate:.0} packets/s, the limit: {}", fault.unwrap_or("not reached")));
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
        return Some("the client, not the server");
    }
    if seen.loss() > BOUND {
        return Some("loss");
    }
    (seen.latency.quantile(0.99) > QUEUE).then_some("a queue of more than 100 ms")
}

fn report(options: &Options, name: &str, all: &[Series], baseline: &Seen) -> Report {
    let mut report = Report::new(
        "Fan-out on the real process",
        &format!(
            "{name} as a process of its own, {}; publishers send VP8 at 1.5 Mbps in frames with keyframes and opus at 50 \
             packets/s over {}. Server on core 0 (with two workers on both), client on core 1. Latency is from \
             before the publisher's system call to the kernel's stamp at the subscriber, less the loopback's own, which is \
             without a server and a cable.",
            profile_name(options.profile.into()),
            way(options.wire),
        ),
    );
    let at = |q: f64| baseline.latency.quantile(q);
    report.figure(
        "The loopback alone, p50 and p99",
        format!("{:.0} and {:.0} us", at(0.5), at(0.99)),
        "the same bursts from the same client straight to a subscriber",
    );
    for series in all {
        let half = series.parts.iter().find(|part| part.part == 0.5);
        if let Some(half) = half {
            report.figure(
                &format!("Server CPU per packet: workers {}, subscribers {}", series.workers, series.subscribers),
                format!("{:.0} ns", half.median(Measured::cost)),
                "at 50 % of the most",
            );
        }
    }
    for series in all {
        report.sections.push(section(series, baseline));
    }
    let mut section = Section::new("Across series").plot(cost_plot(all));
    for text in scaling(all) {
        section = section.text(text);
    }
    report.sections.push(section);
    report
}

fn section(series: &Series, baseline: &Seen) -> Section {
    let (workers, subscribers) = (series.workers, series.subscribers);
    let plural = if workers == 1 { "" } else { "s" };
    let title = format!("{workers} worker{plural}, {subscribers} subscribers to each publisher");
    let at = |q: f64| baseline.latency.quantile(q);
    let mut table = windows("Load as a part of the most, medians of all turns, and what was carried for a short while");
    let mut notes = Vec::new();
    let mut distributions = Vec::new();
    for part in &series.parts {
        let percent = part.part * 100.0;
        let rows = [(format!("the floor at {percent:.0} %"), &part.floor), (format!("{percent:.0} %"), &part.ours)];
        for (name, windows) in rows.into_iter().filter(|(_, windows)| !windows.is_empty()) {
            table.row(row(&name, windows, &at));
            notes.extend(voids(&name, windows));
            distributions.push((name, together(windows)));
        }
    }
    for part in series.parts.iter().filter(|part| !part.floor.is_empty()) {
        let above = |q: f64| {
            let latency = |window: &Measured| window.seen.latency.quantile(q);
            spread(&part.beside_floor(|ours, floor| latency(ours) - latency(floor)), 0)
        };
        notes.push(format!(
            "At {:.0} %, beside the floor in the same turn: {} times its CPU per packet; latency above its own {} us at \
             p50, {} us at p99.",
            part.part * 100.0,
            spread(&part.beside_floor(|ours, floor| ours.cost() / floor.cost()), 2),
            above(0.5),
            above(0.99),
        ));
    }
    let most = series.steps.iter().filter(|step| fault(step).is_none()).max_by_key(|step| step.publishers);
    if let Some(step) = most {
        let name = format!("{} publishers for 2 s", step.publishers);
        table.row(row(&name, std::slice::from_ref(step), &at));
        distributions.push((name, step.seen.latency.clone()));
    }
    let tails = distributions.iter().map(|(name, latency)| (name.as_str(), latency));
    let tails: Vec<_> = [("loopback alone", &baseline.latency)].into_iter().chain(tails).collect();
    let mut section = Section::new(&title)
        .text(format!(
            "The most, nine tenths of which hold, was {} publishers; the limit was {}.",
            series.publishers, series.limit
        ))
        .table(table);
    for note in notes {
        section = section.text(note);
    }
    section.plot(Plot::tails("Latency, the loopback's own inside", "latency", "us", &tails))
}

/// Which of these windows say nothing, and why.
fn voids(name: &str, windows: &[Measured]) -> Vec<String> {
    let note = |(at, window): (usize, &Measured)| {
        let dropped = window
            .counters
            .map_or_else(String::new, |counted| format!("; the server counts {} drops", counted.dropped));
        Some(format!("{name}, turn {}, is void: {}{dropped}.", at + 1, window.void()?))
    };
    windows.iter().enumerate().filter_map(note).collect()
}

/// The latencies of all windows.
fn together(windows: &[Measured]) -> Histogram {
    let mut all = Histogram::new(1_000.0);
    windows.iter().for_each(|window| all.merge(&window.seen.latency));
    all
}

/// CPU seconds per second of the busiest thread.
fn busiest(window: &Measured) -> f64 {
    window.usage.busiest_thread / window.seen.seconds
}

/// Cost against load, a line for each series.
fn cost_plot(all: &[Series]) -> Plot {
    let series = all.iter().map(|series| {
        let steps = series.steps.iter().filter(|step| fault(step).is_none());
        let steps = steps.map(|step| (step.seen.rate() / 1e3, step.cost()));
        let parts = series.parts.iter().map(|part| (part.busy().0 / 1e3, part.median(Measured::cost)));
        let mut points: Vec<_> = steps.chain(parts).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line::marked(&format!("{} workers, {} subscribers", series.workers, series.subscribers), points)
    });
    Plot {
        title: "Cost against load".to_owned(),
        x: Axis::new("packets out", "thousand/s", Scale::Linear),
        y: Axis::new("server CPU", "ns/packet", Scale::Linear),
        series: series.collect(),
    }
}

/// What several workers carry of what one does, by accounting: the client shares a core with a worker, so that time on
/// the wall says nothing. A packet costs less the more there are of them, so that the busiest of several workers is held
/// against one worker under the same load, not under the same total.
fn scaling(all: &[Series]) -> Vec<String> {
    let pairs = all.iter().filter(|series| series.workers > 1).flat_map(|many| {
        let one = all.iter().find(|one| one.workers == 1 && one.subscribers == many.subscribers);
        many.parts[1..].iter().filter_map(move |part| {
            let workers = f64::from(many.workers);
            let (rate, busy) = part.busy();
            let share = rate / workers;
            let alone = busy_at(one?, share)?;
            Some(format!(
                "{} workers, {} subscribers, by CPU accounting at {:.0} % of the most: {:.2} times one worker's load. The \
                 busiest one uses {:.1} % of a core for its part of {rate:.0} packets/s, where a worker alone uses {:.1} % \
                 for {share:.0}.",
                many.workers,
                many.subscribers,
                part.part * 100.0,
                workers * alone / busy,
                busy * 100.0,
                alone * 100.0,
            ))
        })
    });
    pairs.collect()
}

/// CPU seconds per second of the busiest thread of a series at `rate` packets per second, on the line between the two
/// measured loads around it; `None` where it has not been measured on both sides.
fn busy_at(series: &Series, rate: f64) -> Option<f64> {
    let steps = series.steps.iter().filter(|step| fault(step).is_none());
    let steps = steps.map(|step| (step.seen.rate(), busiest(step)));
    let mut points: Vec<_> = steps.chain(series.parts.iter().map(Part::busy)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    interpolated(&points, rate)
}

/// The value at `x` on the line through the neighbours of `x` in `points`, which rise in x.
fn interpolated(points: &[(f64, f64)], x: f64) -> Option<f64> {
    let above = points.iter().position(|(at, _)| *at >= x)?;
    let (x1, y1) = points[above];
    if x1 == x {
        return Some(y1);
    }
    let (x0, y0) = *points.get(above.checked_sub(1)?)?;
    Some(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_between_two_measured_ones_is_on_the_line_between_them() {
        let points = [(10.0, 1.0), (20.0, 3.0), (40.0, 4.0)];
        assert_eq!(interpolated(&points, 15.0), Some(2.0));
        assert_eq!(interpolated(&points, 20.0), Some(3.0));
        assert_eq!(interpolated(&points, 30.0), Some(3.5));
        assert_eq!((interpolated(&points, 9.0), interpolated(&points, 41.0)), (None, None));
    }
}
