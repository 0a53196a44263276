//! What forwarding costs on the real process: a server on one core, a load client on the other, packets over loopback.
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

pub(crate) use millrace_bench::drivers::Failure;

/// Millrace's bench of whole servers, over loopback.
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
