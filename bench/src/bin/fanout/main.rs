//! What forwarding costs on the real process: a server on one core, a load client on the other, packets over the
//! loopback, or over a cable of its own (`--wire`).
//!
//! `fanout run` raises the load on Millrace's data plane until packets are lost, and measures at parts of that;
//! `fanout storm` lets a thousand clients connect at once; `fanout peers` puts the same load on every media server that
//! this machine has, in turns.

#![forbid(unsafe_code)]

mod call;
mod floor;
mod output;
mod peers;
mod run;
mod storm;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use dataplane_protocol::SrtpProfile;
use millrace_bench::cable::Card;

pub(crate) use millrace_bench::drivers::Failure;

/// Millrace's bench of whole servers, over the loopback or a cable.
#[derive(Debug, Parser)]
#[command(name = "fanout", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Raise the load on Millrace's data plane until packets are lost, and measure at 10, 50 and 90 % of that
    Run(run::Options),
    /// Let many clients connect at once
    Storm(storm::Options),
    /// The same load on every media server that is installed, in turns
    Peers(peers::Options),
    /// The floor that `fanout run` holds the data plane against, as a server
    #[command(hide = true)]
    Relay(floor::Options),
}

/// The one SRTP profile that clients offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// AEAD_AES_128_GCM
    Gcm128,
    /// AEAD_AES_256_GCM
    Gcm256,
    /// AES128_CM_SHA1_80
    CmSha1,
}

impl Profile {
    /// As it stands on the command line.
    pub(crate) fn flag(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// The servers' network card at the other end of a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wire {
    /// The kernel cuts runs of datagrams apart, and charges the server
    Plain,
    /// The card cuts runs apart by itself
    Offload,
}

impl From<Wire> for Card {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::Plain => Self::Plain,
            Wire::Offload => Self::Offload,
        }
    }
}

impl From<Profile> for SrtpProfile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Gcm128 => Self::AeadAes128Gcm,
            Profile::Gcm256 => Self::AeadAes256Gcm,
            Profile::CmSha1 => Self::Aes128CmSha1_80,
        }
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Run(options) => run::run(&options),
        Task::Storm(options) => storm::run(&options),
        Task::Peers(options) => peers::run(&options),
        Task::Relay(options) => floor::serve(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanout: {error}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(line: &str) -> Result<Option<Wire>, clap::error::ErrorKind> {
        match Cli::try_parse_from(line.split(' ')).map_err(|error| error.kind())?.task {
            Task::Peers(options) => Ok(options.wire),
            Task::Run(options) => Ok(options.wire),
            _ => Ok(None),
        }
    }

    #[test]
    fn a_cable_is_to_a_plain_card_unless_it_is_said_otherwise() {
        for task in ["fanout peers", "fanout run"] {
            assert_eq!(wire(task), Ok(None));
            assert_eq!(wire(&format!("{task} --wire")), Ok(Some(Wire::Plain)));
            assert_eq!(wire(&format!("{task} --wire offload --seconds 1")), Ok(Some(Wire::Offload)));
            let both = wire(&format!("{task} --wire plain --whole-runs"));
            assert_eq!(both, Err(clap::error::ErrorKind::ArgumentConflict));
        }
    }
}
