//! The floor of `fanout run`: the same load on a process that only opens, seals and sends.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use millrace_bench::drivers::{Plan, Process};
use millrace_bench::fanout::{RelayPlan, join_relay, relay};

use crate::call::{Call, Measured, Shape, measure, media};
use crate::{Failure, Profile};

/// Longest wait for it to serve.
const PATIENCE: Duration = Duration::from_secs(10);

/// Options of the floor's process.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[arg(long, default_value_t = 0)]
    first: usize,
    #[arg(long)]
    publishers: usize,
    #[arg(long)]
    subscribers: usize,
    #[arg(long, value_enum)]
    profile: Profile,
}

/// Is the floor's process.
pub(crate) fn serve(options: &Options) -> Result<(), Failure> {
    let Options { first, publishers, subscribers, profile } = *options;
    match relay(RelayPlan { first, publishers, subscribers, profile: profile.into() })? {}
}

/// Its process, connected to the load of a call beside the call's own server, which is silent while this is measured.
pub(crate) struct Floor {
    process: Process,
    shape: Shape,
    _log: Log,
}

impl Floor {
    /// Starts it where `plan` has servers, and adds as many publishers for it to the load as the call has, after those,
    /// or fewer.
    pub(crate) fn join(call: &Call, plan: &Plan, profile: Profile, publishers: usize) -> Result<Self, Failure> {
        let shape = call.shape();
        let log = Log(std::env::temp_dir().join(format!("millrace-floor-{}", std::process::id())));
        let relayed =
            RelayPlan { first: shape.publishers, publishers, subscribers: shape.subscribers, profile: profile.into() };
        let mut process = Process::start(
            &std::env::current_exe()?,
            &[
                "relay".to_owned(),
                format!("--first={}", relayed.first),
                format!("--publishers={}", relayed.publishers),
                format!("--subscribers={}", relayed.subscribers),
                format!("--profile={}", profile.flag()),
            ],
            &[],
            plan,
            &log.0,
        )?;
        let port = || fs::read_to_string(&log.0).ok()?.lines().next()?.parse::<u16>().ok();
        process.wait_for("the floor's port", PATIENCE, &log.0, || port().is_some())?;
        join_relay(&call.load, relayed, port().ok_or("the floor has no port")?, media)?;
        Ok(Self { process, shape, _log: log })
    }

    /// Lets so many of its publishers send, and counts for so long.
    pub(crate) fn measure(&mut self, call: &Call, publishers: usize, length: Duration) -> Result<Measured, Failure> {
        let mut look = || Ok((None, self.process.usage()?));
        let first = self.shape.publishers;
        measure(&call.load, call.cable.as_deref(), &mut look, first..first + publishers, length)
    }
}

/// Its port and errors stand in a file.
struct Log(PathBuf);

impl Drop for Log {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
