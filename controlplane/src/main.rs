//! The program: configuration, log, and one control plane until a signal ends it.

#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use millrace_controlplane::config::{Config, LogFormat, Report, Wanted};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let loaded = match Config::from_process() {
        Ok(Wanted::Server(loaded)) => loaded,
        Ok(Wanted::Report(report)) => return tell(&report),
        Err(error) => error.exit(),
    };
    log(&loaded.config);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(millrace_controlplane::app::run(&loaded.config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The report of `check-config`: 2 when the server cannot start with the configuration.
fn tell(report: &Report) -> ExitCode {
    // Who reads only the first lines and closes the pipe has seen enough.
    let _ = std::io::stdout().write_all(report.text.as_bytes());
    if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn log(config: &Config) {
    // The filter was checked with the configuration.
    let filter = EnvFilter::try_new(&config.log).unwrap_or_default();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let human = match config.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    if human {
        builder.with_ansi(std::io::stderr().is_terminal()).init();
    } else {
        builder.json().flatten_event(true).init();
    }
}
