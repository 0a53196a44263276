//! The binary: flags, logs, signals.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use millrace_dataplane::{Config, Running, init_logging, run};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let config = Config::parse();
    if let Err(error) = init_logging(&config) {
        eprintln!("millrace-dataplane: cannot log: {error}");
        return ExitCode::FAILURE;
    }
    match serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &Config) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut running = run(config)?;
    tracing::info!(
        workers = running.workers(),
        udp_port = running.media_port(),
        announced = %announced(&running),
        control = %running.control_socket().display(),
        "millrace-dataplane is serving"
    );
    let outcome = runtime.block_on(until_end(&mut running));
    running.stop();
    tracing::info!("millrace-dataplane has stopped");
    outcome
}

/// Waits for a signal to end, or for the failure of a thread.
async fn until_end(running: &mut Running) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        failure = running.failed() => return Err(failure.into()),
    }
    Ok(())
}

fn announced(running: &Running) -> String {
    running.candidates().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
