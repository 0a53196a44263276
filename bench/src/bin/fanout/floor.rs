//! The floor of `fanout run`: the same load on a process that only opens, seals and sends.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use millrace_bench::cable::Cable;
use millrace_bench::drivers::{Plan, Process};
use millrace_bench::fanout::{Load, RelayPlan, join_relay, relay};

use crate::call::{CLIENT_CORE, Measured, Shape, measure, media, progress};
use crate::{Failure, Profile};

/// Longest wait for it to serve.
const PATIENCE: Duration = Duration::from_secs(10);

/// Options of the floor's process.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[arg(long)]
    publishers: usize,
    #[arg(long)]
    subscribers: usize,
    #[arg(long, value_enum)]
    profile: Profile,
}

/// Is the floor's process.
pub(crate) fn serve(options: &Options) -> Result<(), Failure> {
    let Options { publishers, subscribers, profile } = *options;
    match relay(RelayPlan { publishers, subscribers, profile: profile.into() })? {}
}

/// Measures it where `plan` has servers, with each of these numbers of publishers.
pub(crate) fn floors(
    plan: &Plan,
    cable: Option<&Cable>,
    shape: Shape,
    profile: Profile,
    publishers: &[usize],
    length: Duration,
) -> Result<Vec<Measured>, Failure> {
    let all = publishers.iter().copied().max().unwrap_or(1);
    let log = std::env::temp_dir().join(format!("millrace-floor-{}", std::process::id()));
    let running = Running { log };
    let mut process = Process::start(
        &std::env::current_exe()?,
        &[
            "relay".to_owned(),
            format!("--publishers={all}"),
            format!("--subscribers={}", shape.subscribers),
            format!("--profile={}", profile.flag()),
        ],
        &[],
        plan,
        &running.log,
    )?;
    let port = || fs::read_to_string(&running.log).ok()?.lines().next()?.parse::<u16>().ok();
    process.wait_for("the floor's port", PATIENCE, &running.log, || port().is_some())?;
    let load = Load::start(CLIENT_CORE, "bench", shape.intake)?;
    let relayed = RelayPlan { publishers: all, subscribers: shape.subscribers, profile: profile.into() };
    join_relay(&load, relayed, port().ok_or("the floor has no port")?, media)?;
    let mut look = || Ok((None, process.usage()?));
    let floor = |publishers: &usize| {
        progress(&format!("the floor with {} subscribers each: {publishers} publishers", shape.subscribers));
        measure(&load, cable, &mut look, *publishers, length)
    };
    publishers.iter().map(floor).collect()
}

/// Its port and errors stand in a file.
struct Running {
    log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.log);
    }
}
