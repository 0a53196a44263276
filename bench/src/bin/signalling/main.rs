//! What signalling alone costs: scripted clients without media join one room, publish, perhaps subscribe, and leave, on
//! the release binaries of both processes. Beside the big room a small one goes on talking, to show that no room waits
//! for another.
//!
//! `signalling` prints the tables; `signalling 20 50` does so for rooms of these sizes.

#![forbid(unsafe_code)]

mod client;
mod neighbours;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Plan, Share, Told};
use millrace_bench::Failure;
use millrace_bench::server::{Cpu, Server};
use neighbours::Neighbours;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const SIZES: [usize; 4] = [20, 50, 100, 200];
/// Streams that each participant takes in the runs that subscribe.
const SUBSCRIPTIONS: usize = 5;
/// Between two arrivals that do not come all at once.
const PACE: Duration = Duration::from_millis(20);
/// How long the small room talks alone, to compare with.
const QUIET: Duration = Duration::from_millis(1500);
/// A run that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("signalling: {error}");
            ExitCode::from(2)
        }
    }
}

/// How the participants come, and what they do.
#[derive(Clone, Copy)]
struct Manner {
    name: &'static str,
    pace: Duration,
    subscriptions: usize,
}

const MANNERS: [Manner; 3] = [
    Manner { name: "A, one every 20 ms", pace: PACE, subscriptions: 0 },
    Manner { name: "A, all at once", pace: Duration::ZERO, subscriptions: 0 },
    Manner { name: "B, all at once, 5 subscriptions each", pace: Duration::ZERO, subscriptions: SUBSCRIPTIONS },
];

fn measure() -> Result<(), Failure> {
    let mut sizes = Vec::new();
    for argument in std::env::args().skip(1) {
        sizes.push(argument.parse().map_err(|_| "usage: signalling [PARTICIPANTS]…")?);
    }
    if sizes.is_empty() {
        sizes.extend(SIZES);
    }
    println!(
        "All participants publish. Times in ms: of a join from request to result, of a publication likewise, until"
    );
    println!(
        "everybody has heard of everybody's stream, until all have left. CPU: utime + stime of both processes, in s,"
    );
    println!(
        "of the whole run. Frames: what a participant gets until all know all. Neighbours: a signal's way in a room"
    );
    println!("of two, alone and meanwhile.\n");
    for manner in MANNERS {
        println!("{}", manner.name);
        println!(
            "| participants | join p50 | p99 | publish p50 | p99 | subscribe p50 | p99 | all know all | leave | CPU control | CPU data | frames each | neighbours p50 | p99 | alone p99 |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
        let rows = sizes.iter().map(|size| run(*size, manner)).collect::<Result<Vec<_>, _>>()?;
        for row in &rows {
            row.print();
        }
        if let (Some(first), Some(last)) = (rows.first(), rows.last())
            && rows.len() > 1
        {
            last.print_growth(first);
        }
        println!();
    }
    Ok(())
}

/// One run's figures.
struct Row {
    size: usize,
    joins: Share,
    publications: Share,
    subscriptions: Share,
    known: Duration,
    left: Duration,
    cpu: Cpu,
    frames: f64,
    meanwhile: Share,
    alone: Share,
}

fn run(size: usize, manner: Manner) -> Result<Row, Failure> {
    let server = Server::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let neighbours = Neighbours::start(&server)?;
    let row = runtime.block_on(async {
        tokio::time::timeout(LIMIT, drive(&server, size, manner, &neighbours)).await.map_err(|_| "a run hangs")?
    });
    neighbours.stop()?;
    row
}

async fn drive(server: &Server, size: usize, manner: Manner, neighbours: &Neighbours) -> Result<Row, Failure> {
    server.session("big").await?;
    let mut tokens = Vec::with_capacity(size);
    for _ in 0..size {
        tokens.push(server.token("big").await?);
    }
    tokio::time::sleep(QUIET).await;
    let alone = neighbours.take();
    let before = server.cpu()?;
    // Everybody, and whoever looks at the clock.
    let plan = Arc::new(Plan::new(size, manner.subscriptions, Barrier::new(size + 1)));
    let mut clients = JoinSet::new();
    for (index, token) in tokens.into_iter().enumerate() {
        let delay = manner.pace * u32::try_from(index)?;
        clients.spawn(client::run(server.address(), token, index, delay, plan.clone()));
    }
    let mut told = Vec::with_capacity(size);
    let mut meet = async || {
        let mut all = std::pin::pin!(plan.meet());
        loop {
            tokio::select! {
                () = &mut all => return Ok::<_, Failure>(()),
                // After the last meeting some are gone before this task hears of it.
                Some(ended) = clients.join_next() => told.push(ended??),
            }
        }
    };
    meet().await?;
    let started = Instant::now();
    meet().await?;
    let known = started.elapsed();
    meet().await?;
    let leaving = Instant::now();
    meet().await?;
    let left = leaving.elapsed();
    let cpu = server.cpu()?.since(before);
    let meanwhile = neighbours.take();
    while let Some(ended) = clients.join_next().await {
        told.push(ended??);
    }
    let share = |times: fn(&Told) -> &[Duration]| Share::of(told.iter().flat_map(times).copied().collect());
    Ok(Row {
        size,
        joins: share(|told| std::slice::from_ref(&told.joined)),
        publications: share(|told| std::slice::from_ref(&told.published)),
        subscriptions: share(|told| &told.subscribed),
        known,
        left,
        cpu,
        frames: told.iter().map(|told| told.frames).sum::<usize>() as f64 / size as f64,
        meanwhile,
        alone,
    })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl Row {
    fn print(&self) {
        let Self { joins, publications, subscriptions, meanwhile, alone, cpu, .. } = self;
        println!(
            "| {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} | {:.2} | {:.2} | {:.1} | {:.1} | {:.1} | {:.1} |",
            self.size,
            ms(joins.p50),
            ms(joins.p99),
            ms(publications.p50),
            ms(publications.p99),
            ms(subscriptions.p50),
            ms(subscriptions.p99),
            ms(self.known),
            ms(self.left),
            cpu.control,
            cpu.data,
            self.frames,
            ms(meanwhile.p50),
            ms(meanwhile.p99),
            ms(alone.p99),
        );
    }

    /// How many times as much as the smallest room: of each participant's frames, and of CPU time for each participant.
    fn print_growth(&self, first: &Self) {
        let each = |row: &Self| (row.cpu.control + row.cpu.data) / row.size as f64;
        println!(
            "from {} to {}: {:.1} × participants, {:.1} × frames each, {:.1} × CPU each",
            first.size,
            self.size,
            self.size as f64 / first.size as f64,
            self.frames / first.frames,
            each(self) / each(first),
        );
    }
}
