//! What REST costs while many sessions are open: new sessions and new connections at a steady rate, as an application
//! asks for them, against the release binaries of both processes.
//!
//! The load is open: every request has a time at which it is to be sent, whatever became of those before it, and its
//! latency counts from then. `rest` prints the table and writes `bench/results/rest.json`; `rest 100 1000` does so for
//! these numbers of sessions.

#![forbid(unsafe_code)]

mod http;
mod load;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use load::Figures;
use millrace_bench::Failure;
use millrace_bench::server::Server;
use serde_json::{Value, json};

/// Sessions that are open all the while.
const SESSIONS: [usize; 3] = [100, 1_000, 10_000];
/// Requests per second, half of them for sessions and half for connections.
const RATE: u32 = 500;
/// For how long they are measured.
const DURATION: Duration = Duration::from_secs(20);
/// A row that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(180);
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results");

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rest: {error}");
            ExitCode::from(2)
        }
    }
}

fn measure() -> Result<(), Failure> {
    let mut sizes = Vec::new();
    for argument in std::env::args().skip(1) {
        sizes.push(argument.parse().map_err(|_| "usage: rest [SESSIONS]…")?);
    }
    if sizes.is_empty() {
        sizes.extend(SESSIONS);
    }
    println!("{RATE} requests/s for {} s: POST sessions and POST connection in turns.", DURATION.as_secs());
    println!("Times in ms from when a request was due. CPU of the control plane in µs for one of these requests, with");
    println!(
        "what closing as many sessions costs. Memory of the control plane, before the load. The last column is one"
    );
    println!("GET of all sessions afterwards, in ms.\n");
    println!("| sessions | session p50 | p99 | max | connection p50 | p99 | max | CPU | memory | GET sessions |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut rows = Vec::new();
    for size in sizes {
        let figures = run(size)?;
        println!("{}", line(&figures));
        rows.push(figures);
    }
    if let (Some(first), Some(last)) = (rows.first(), rows.last())
        && rows.len() > 1
    {
        println!("{}", growth(first, last));
    }
    let file = Path::new(RESULTS).join("rest.json");
    std::fs::create_dir_all(RESULTS)?;
    std::fs::write(&file, serde_json::to_string_pretty(&rows.iter().map(object).collect::<Value>())? + "\n")?;
    println!("\nwritten to {}", file.display());
    Ok(())
}

fn run(size: usize) -> Result<Figures, Failure> {
    let server = Server::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        tokio::time::timeout(LIMIT, load::drive(&server, size, RATE, DURATION)).await.map_err(|_| "a run hangs")?
    })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn line(figures: &Figures) -> String {
    let Figures { sessions, created, connected, cpu_us, memory, list } = figures;
    format!(
        "| {sessions} | {:.2} | {:.2} | {:.1} | {:.2} | {:.2} | {:.1} | {cpu_us:.0} | {:.1} MiB | {:.1} |",
        ms(created.p50),
        ms(created.p99),
        ms(created.max),
        ms(connected.p50),
        ms(connected.p99),
        ms(connected.max),
        *memory as f64 / f64::from(1 << 20),
        ms(*list),
    )
}

fn growth(first: &Figures, last: &Figures) -> String {
    let times = |of: fn(&Figures) -> f64| of(last) / of(first);
    format!(
        "from {} to {} sessions: {:.0} × sessions, {:.1} × session p50, {:.1} × connection p50, {:.1} × CPU",
        first.sessions,
        last.sessions,
        times(|figures| figures.sessions as f64),
        times(|figures| ms(figures.created.p50)),
        times(|figures| ms(figures.connected.p50)),
        times(|figures| figures.cpu_us),
    )
}

fn object(figures: &Figures) -> Value {
    let share = |share: &load::Share| json!({"count": share.count, "p50_ms": ms(share.p50), "p99_ms": ms(share.p99), "max_ms": ms(share.max)});
    json!({
        "sessions": figures.sessions,
        "requests_per_s": RATE,
        "seconds": DURATION.as_secs(),
        "post_session": share(&figures.created),
        "post_connection": share(&figures.connected),
        "control_cpu_us_per_request": figures.cpu_us,
        "control_memory_bytes": figures.memory,
        "get_sessions_ms": ms(figures.list),
    })
}
