//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::options::Options;
use crate::{report, run};

/// Load for an SFU that speaks OpenVidu 2: bots that join rooms, publish real media and measure what arrives.
#[derive(Debug, Parser)]
#[command(name = "millrace-loadtest", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fill rooms with bots, measure, and report
    Run {
        /// Options, and what happens when, from a TOML file; the command line wins
        #[arg(long, value_name = "FILE")]
        scenario: Option<PathBuf>,
        #[command(flatten)]
        options: Box<Options>,
    },
}

/// The program. Its code is 0 when all was well, 1 when a condition failed the run, 2 when there was no run.
pub fn main() -> ExitCode {
    let Command::Run { scenario, options } = Cli::parse().command;
    match perform(scenario, *options) {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("millrace-loadtest: {reason}");
            ExitCode::from(2)
        }
    }
}

fn perform(scenario: Option<PathBuf>, options: Options) -> Result<ExitCode, String> {
    let threads = options.threads;
    let options = match scenario {
        Some(path) => options.over(Options::read(&path)?),
        None => options,
    };
    let plan = options.plan()?;
    // reqwest and tungstenite take the process's provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    raise_descriptors(plan.rooms * plan.participants * (plan.publishers + 2))?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads.filter(|threads| *threads > 0) {
        builder.worker_threads(threads);
    }
    let runtime = builder.enable_all().build().map_err(|error| format!("no runtime: {error}"))?;
    let outcome = runtime.block_on(run::run(plan))?;
    runtime.shutdown_background();
    report::write(&outcome, &outcome.plan.report)?;
    print!("{}", report::text(&outcome));
    println!("\nReport: {}", outcome.plan.report.join("report.html").display());
    Ok(if outcome.failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Every peer connection has a socket, and every participant one more.
fn raise_descriptors(wanted: usize) -> Result<(), String> {
    let wanted = wanted as u64 + 100;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < wanted) {
        let most = maximum.unwrap_or(0);
        return Err(format!(
            "{wanted} sockets are needed and {most} allowed; raise the limit with: ulimit -n {wanted}"
        ));
    }
    let raised = Rlimit { current: Some(wanted), maximum };
    setrlimit(Resource::Nofile, raised).map_err(|error| format!("the limit of open files cannot be raised: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_of_the_readme_is_understood() {
        let line = "millrace-loadtest run --url https://localhost:4443 --secret MY_SECRET --rooms 10 --participants 8 \
                    --publishers 2 --video 720p --simulcast --audio --ramp 5/s --duration 60s --leave-and-rejoin 10% \
                    --loss 2% --rtt 80ms --fail-if join_p99>3s --fail-if loss>2%";
        let Command::Run { options, .. } = Cli::try_parse_from(line.split_whitespace()).unwrap().command;
        let plan = options.plan().unwrap();
        assert_eq!((plan.rooms, plan.fail_if.len(), plan.up.loss), (10, 2, 0.02));
    }
}
