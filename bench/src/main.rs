//! Costs of a forwarded packet on this machine, each held against the floor of the same run.
//!
//! `millrace-bench` measures all and writes the report; `millrace-bench gates` holds instruction counts against the
//! baseline, and `millrace-bench baseline` renews it; `millrace-bench curve` measures one point of the curves. `count` and `memory` are this program's own: callgrind runs the
//! one, and each memory figure is taken in a process of the other.

#![forbid(unsafe_code)]

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use millrace_bench::gates::{self, GATES, Work};
use millrace_bench::report::{Bars, Cell, Report, Section, Table};
use millrace_bench::{cost, curves, memory};

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.json");
const USAGE: &str = "usage: millrace-bench [--output DIRECTORY] | gates | baseline | curve PUBLISHERS SUBSCRIBERS";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => report(&default_output()),
        ["--output", directory] => report(Path::new(directory)),
        ["gates"] => check(),
        ["baseline"] => renew(),
        ["count", work, length, longest] => count(work, length, longest),
        ["curve", rooms, subscribers] => curve(rooms, subscribers),
        ["memory", kind, count] => measure_memory(kind, count),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("millrace-bench: {error}");
            ExitCode::from(2)
        }
    }
}

/// `bench` beside the directory that this program was built into.
fn default_output() -> PathBuf {
    let program = std::env::current_exe().ok();
    let target = program.as_deref().and_then(|program| program.parent()?.parent());
    target.unwrap_or_else(|| Path::new("target")).join("bench")
}

fn report(directory: &Path) -> Result<ExitCode, Failure> {
    let mut report = Report::new(
        "What a forwarded packet costs",
        "One shard of the data plane with real SRTP packets over the loopback, held against what the kernel and the \
         ciphers alone cost in the same run.",
    );
    let costs = cost::measure_all(|what| tell(&format!("cost: {what}")))?;
    for (name, subscribers, measured) in costs.iter().filter(|(.., m)| m.ratio.is_finite()).take(3) {
        report.figure(
            &format!("to {subscribers}, {name}"),
            format!("{:.2} × floor", measured.ratio),
            &format!("{:.2} × AES-CM and sendto", measured.to_plain),
        );
    }
    report.sections.push(cost::section(&costs));
    let points = curves::measure_all(|what| tell(&format!("curves: {what}")));
    report.sections.push(curves::section(&points));
    report.sections.push(instructions());
    let bytes = memory::measure_all(|what| tell(&format!("memory: {what}")));
    report.sections.push(memory::section(&bytes));
    tell("");
    report.publish(directory, "cost")?;
    Ok(ExitCode::SUCCESS)
}

fn instructions() -> Section {
    let section = Section::new("Instructions").text(
        "Per packet of 1,200 B, counted by callgrind: the same in every run. Its processor is an emulated one without \
         AVX-512 and VAES, so that the ciphers run their code for older processors, and their share is larger here than \
         outside. The counts are for comparing one revision with another.",
    );
    let counts = match gates::count_all(|done| tell(&format!("instructions: {done} of {}", GATES.len()))) {
        Ok(counts) => counts,
        Err(error) => return section.text(format!("Not counted: {error}.")),
    };
    let mut table = Table::new("", &["step", "instructions", "what it is"]);
    for (gate, count) in GATES.iter().zip(&counts) {
        table.row([Cell::text(gate.name), Cell::number(*count, 1), Cell::text(gate.what)]);
    }
    let bars = GATES.iter().zip(counts).map(|(gate, count)| (gate.name.to_owned(), count)).collect();
    let unit = "instructions".to_owned();
    section.table(table).bars(Bars { title: "Instructions per packet".to_owned(), unit, bars, reference: None })
}

fn check() -> Result<ExitCode, Failure> {
    let (lines, holds) = gates::check(Path::new(BASELINE), |done| tell(&format!("gates: {done} of {}", GATES.len())))?;
    tell("");
    println!("Instructions per packet of 1,200 B:");
    lines.iter().for_each(|line| println!("  {line}"));
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn renew() -> Result<ExitCode, Failure> {
    gates::renew(Path::new(BASELINE), |done| tell(&format!("gates: {done} of {}", GATES.len())))?;
    tell("");
    println!("Written: {BASELINE}");
    Ok(ExitCode::SUCCESS)
}

fn count(work: &str, length: &str, longest: &str) -> Result<ExitCode, Failure> {
    Work::named(work).ok_or(USAGE)?.run(length.parse()?, longest.parse()?);
    Ok(ExitCode::SUCCESS)
}

fn curve(rooms: &str, subscribers: &str) -> Result<ExitCode, Failure> {
    let (ns, floor) = curves::measure(rooms.parse()?, subscribers.parse()?);
    println!("{:.2} times sealing alone: {ns:.0} and {floor:.0} ns per egress packet", ns / floor);
    Ok(ExitCode::SUCCESS)
}

fn measure_memory(kind: &str, count: &str) -> Result<ExitCode, Failure> {
    let (kind, ..) = memory::KINDS.into_iter().find(|(_, name, _)| *name == kind).ok_or(USAGE)?;
    println!("{}", memory::measure_here(kind, count.parse()?)?);
    Ok(ExitCode::SUCCESS)
}

/// Progress: one line that changes on a terminal, and lines elsewhere.
fn tell(what: &str) {
    let mut out = std::io::stderr().lock();
    // Nobody to tell is no reason to stop.
    let _ = match (out.is_terminal(), what) {
        (true, _) => write!(out, "\r\x1b[2K{what}"),
        (false, "") => Ok(()),
        (false, _) => writeln!(out, "{what}"),
    };
    let _ = out.flush();
}
