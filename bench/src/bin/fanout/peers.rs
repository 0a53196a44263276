//! The same load on every media server that this machine has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use millrace_bench::cable::Cable;
use millrace_bench::drivers::{Driver, Millrace, Plan, all, profile_name};
use millrace_bench::fanout::Intake;
use millrace_bench::report::{Bars, Cell, Plot, Report, Section, Table};

use crate::call::{Call, Measured, Shape, client_runtime, lay, measuring_done, progress, way};
use crate::output::{folder, median};
use crate::{Failure, Profile, Wire};

/// Options of `fanout peers`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Publishers
    #[arg(long, default_value_t = 1)]
    publishers: usize,
    /// Subscribers of each publisher
    #[arg(long, default_value_t = 100)]
    subscribers: usize,
    /// Instead of the same load on all: to each server as many publishers as take about this part of its core, in percent
    #[arg(long, value_parser = clap::value_parser!(u8).range(5..=80), conflicts_with = "publishers")]
    of_core: Option<u8>,
    /// Threads of each server that forward media, each with a core of its own; the last one shares the client's
    #[arg(long, default_value_t = 1)]
    workers: u16,
    /// Runs of each server, each with a fresh one
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The SRTP profile that clients offer
    #[arg(long, value_enum, default_value_t = Profile::Gcm128)]
    profile: Profile,
    /// Subscribers take in as one what was sent as one run (UDP_GRO): what a server costs where the network card cuts
    /// runs apart, and neither that nor queueing each datagram at its receiver is charged to the server
    #[arg(long)]
    whole_runs: bool,
    /// Servers behind a cable (veth) instead of on the loopback, which charges them with the receiver's half of the
    /// kernel's work as well; to this kind of network card, a plain one unless told otherwise; needs root
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "plain", conflicts_with = "whole_runs")]
    pub(crate) wire: Option<Wire>,
    /// Only servers whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Other builds of millrace-dataplane, measured in the same turns: what it was before a change
    #[arg(long, value_delimiter = ',')]
    before: Vec<PathBuf>,
}

/// Length of a look at what a load takes.
const LOOK: Duration = Duration::from_secs(2);
/// Looks, each at the load that the one before it suggests: the more packets there are, the less one costs.
const LOOKS: usize = 2;
/// Most publishers that a part of a core is looked for with.
const MOST_PUBLISHERS: usize = 40;

/// What is known of one server.
#[derive(Default)]
struct Peer {
    version: String,
    publishers: usize,
    runs: Vec<(Measured, (u64, u64))>,
    failure: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let cable = lay(options.wire)?;
    let runtime = client_runtime()?;
    let shape = Shape {
        publishers: options.publishers,
        subscribers: options.subscribers,
        profile: options.profile.into(),
        intake: if options.whole_runs { Intake::Runs } else { Intake::Datagrams },
    };
    let plan = Plan {
        workers: options.workers,
        cores: (0..usize::from(options.workers)).collect(),
        namespace: cable.as_ref().map(|cable| cable.servers()),
    };
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only));
    let mut drivers: Vec<_> = all().into_iter().filter(|driver| wanted(&driver.name())).collect();
    let before = options.before.iter().map(|program| -> Box<dyn Driver> {
        Box::new(Millrace { program: Some(program.clone()), ..Millrace::default() })
    });
    drivers.splice(1.min(drivers.len())..1.min(drivers.len()), before);
    // Behind a cable there is a card to send by, which a loopback has not: ours as it does best, and as it does unasked.
    let by_card = Millrace { flags: ["--send-by", "card"].map(str::to_owned).to_vec(), ..Millrace::default() };
    if options.wire.is_some() && wanted(&by_card.name()) {
        drivers.insert(0, Box::new(by_card));
    }
    let mut peers: BTreeMap<usize, Peer> = BTreeMap::new();
    for run in 1..=options.runs {
        for (at, driver) in drivers.iter().enumerate() {
            let peer = peers.entry(at).or_default();
            if peer.failure.is_some() {
                continue;
            }
            progress(&format!("run {run} of {}: {}", options.runs, driver.name()));
            let outcome = match (peer.publishers, options.of_core) {
                (0, Some(percent)) => {
                    publishers_for(&runtime, driver.as_ref(), &plan, cable.as_ref(), shape, f64::from(percent) / 100.0)
                }
                (0, None) => Ok(shape.publishers),
                (known, _) => Ok(known),
            };
            let outcome = outcome.and_then(|publishers| {
                peer.publishers = publishers;
                let mut call =
                    Call::connect(&runtime, driver.as_ref(), &plan, cable.as_ref(), Shape { publishers, ..shape })?;
                peer.version = call.server.version();
                Ok((call.measure(publishers, Duration::from_secs(options.seconds))?, call.resident))
            });
            match outcome {
                Ok(run) => peer.runs.push(run),
                Err(error) => peer.failure = Some(error.to_string()),
            }
        }
    }
    measuring_done();
    let named: Vec<_> = peers.iter().map(|(at, peer)| (drivers[*at].name(), peer)).collect();
    // One file for each way, so that they stand side by side.
    let way = match options.wire {
        None => "peers",
        Some(Wire::Plain) => "peers-wire",
        Some(Wire::Offload) => "peers-wire-offload",
    };
    let file = if options.of_core.is_some() { format!("{way}-of-core") } else { way.to_owned() };
    report(options, shape, &named).publish(&folder()?, &file)?;
    Ok(())
}

/// So many publishers that a server is busy for this part of a core.
fn publishers_for(
    runtime: &tokio::runtime::Runtime,
    driver: &dyn Driver,
    plan: &Plan,
    cable: Option<&Rc<Cable>>,
    shape: Shape,
    part: f64,
) -> Result<usize, Failure> {
    let mut publishers = 1;
    for _ in 0..LOOKS {
        let mut call = Call::connect(runtime, driver, plan, cable, Shape { publishers, ..shape })?;
        let measured = call.measure(publishers, LOOK)?;
        let busy = measured.usage.cpu / measured.seen.seconds;
        publishers = ((publishers as f64 * part / busy).round() as usize).clamp(1, MOST_PUBLISHERS);
    }
    Ok(publishers)
}

fn report(options: &Options, shape: Shape, peers: &[(String, &Peer)]) -> Report {
    let load = match options.of_core {
        Some(percent) => format!("As many publishers as take each server about {percent} % of its core,"),
        None if shape.publishers == 1 => "1 publisher".to_owned(),
        None => format!("{} publishers", shape.publishers),
    };
    let same =
        if options.of_core.is_some() { "the same profile and part of a core" } else { "the same profile and load" };
    let mut report = Report::new(
        "Beside other media servers",
        &format!(
            "{load} to {} subscribers each, {}: VP8 at 1.5 Mbps in frames and opus at 50 packets/s, the same client for \
             every server, over {}. Server on core 0, client on core 1; medians of {} runs of {} s, the servers \
             in turns, each run with a fresh one. No feedback about bandwidth is negotiated with anyone.",
            shape.subscribers,
            profile_name(shape.profile),
            way(options.wire),
            options.runs,
            options.seconds,
        ),
    );
    let ours = peers.first().and_then(|(_, peer)| median(&costs(peer)));
    let mut table = Table::new(
        "Cost of a packet that reached a subscriber",
        &[
            "server",
            "times ours",
            "CPU us/packet",
            "least",
            "most",
            "packets per CPU s",
            "publishers",
            "of its core %",
            "delivered",
            "p50 us",
            "p99 us",
            "RSS MB",
            "kB/transport",
            "client CPU %",
            "runs",
            "void",
        ],
    );
    let mut bars = Vec::new();
    let mut notes = Vec::new();
    for (name, peer) in peers {
        table.row(row(name, peer, ours, shape));
        bars.extend(median(&costs(peer)).map(|cost| (name.clone(), cost / 1e3)));
        if !peer.version.is_empty() {
            notes.push(format!("{name}: {}.", peer.version));
        }
        notes.extend(peer.failure.as_ref().map(|failure| format!("{name}: {failure}.")));
        notes.extend(peer.runs.iter().filter_map(|(run, _)| Some(format!("{name}: a run is void: {}.", run.void()?))));
        if let Some((ours, cost)) = ours.zip(median(&costs(peer))).filter(|_| *name != peers[0].0) {
            report.figure(name, format!("{:.1} times our CPU per packet", cost / ours), same);
        }
    }
    let bars = Bars { title: "CPU per packet".to_owned(), unit: "us".to_owned(), bars, reference: None };
    let mut section = Section::new("Side by side").table(table).bars(bars);
    for note in notes {
        section = section.text(note);
    }
    let distributions: Vec<_> = peers
        .iter()
        .filter_map(|(name, peer)| {
            Some((name.as_str(), &peer.runs.iter().rfind(|run| run.0.void().is_none())?.0.seen.latency))
        })
        .collect();
    report.sections.push(section.plot(Plot::tails("Latency of the last valid run", "latency", "us", &distributions)));
    report
}

fn row(name: &str, peer: &Peer, ours: Option<f64>, shape: Shape) -> Vec<Cell> {
    let costs = costs(peer);
    let Some(cost) = median(&costs) else {
        let why = if peer.failure.is_some() { "does not run: see below" } else { "no valid run: see below" };
        return vec![Cell::text(name), Cell::missing(why)];
    };
    let valid: Vec<_> = peer.runs.iter().filter(|(run, _)| run.void().is_none()).collect();
    let of = |value: fn(&Measured) -> f64| {
        median(&valid.iter().map(|(run, _)| value(run)).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    };
    let transports = (peer.publishers * (shape.subscribers + 1)) as f64;
    let grown: Vec<_> = valid.iter().map(|(_, resident)| resident.1 as f64 - resident.0 as f64).collect();
    vec![
        Cell::text(name),
        ours.map_or_else(|| Cell::missing("not measured"), |ours| Cell::number(cost / ours, 2)),
        Cell::number(cost / 1e3, 2),
        Cell::number(costs.iter().copied().fold(f64::MAX, f64::min) / 1e3, 2),
        Cell::number(costs.iter().copied().fold(0.0, f64::max) / 1e3, 2),
        Cell::number(1e9 / cost, 0),
        Cell::count(peer.publishers as u64),
        Cell::number(of(|run| run.usage.cpu / run.seen.seconds) * 100.0, 0),
        Cell::number(of(|run| 1.0 - run.seen.loss()), 5),
        Cell::number(of(|run| run.seen.latency.quantile(0.5)), 0),
        Cell::number(of(|run| run.seen.latency.quantile(0.99)), 0),
        Cell::number(of(|run| run.usage.resident as f64) / 1e6, 0),
        Cell::number(median(&grown).unwrap_or(f64::NAN) / transports / 1e3, 0),
        Cell::number(of(|run| run.seen.client_share()) * 100.0, 0),
        Cell::count(peer.runs.len() as u64),
        Cell::count((peer.runs.len() - valid.len()) as u64),
    ]
}

/// CPU nanoseconds per packet of the valid runs.
fn costs(peer: &Peer) -> Vec<f64> {
    peer.runs.iter().filter(|(run, _)| run.void().is_none()).map(|(run, _)| run.cost()).collect()
}
