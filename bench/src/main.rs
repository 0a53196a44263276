//! Costs of a forwarded packet on this machine, each held against the floor of the same run, as a table.
//!
//! `millrace-bench` prints the table; `millrace-bench run PROFILE SUBSCRIBERS FRAMES` forwards so many frames
//! and nothing else, for callgrind to count.

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::{Command, ExitCode};

use dataplane_core::TxBatch;
use dataplane_protocol::SrtpProfile;
use millrace_bench::floor::Floor;
use millrace_bench::rig::{DATAGRAM, FRAME, Rig};
use millrace_dataplane::net::{MediaSocket, Sender, bind_group};

const PROFILES: [(&str, SrtpProfile); 2] =
    [("gcm128", SrtpProfile::AeadAes128Gcm), ("cm-sha1", SrtpProfile::Aes128CmSha1_80)];
const SUBSCRIBERS: [usize; 3] = [1, 10, 100];
/// Rounds of each side, taken in turns so that both meet the same noise.
const ROUNDS: usize = 9;
/// Packets of one round, about: a tenth of a second.
const PACKETS: usize = 60_000;
/// Frames for callgrind, and as many more to take the difference of.
const COUNTED_FRAMES: usize = 200;

/// Where the bench's datagrams go.
const SINK: &str = "0.0.0.0:0";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => table(),
        ["run", profile, subscribers, frames] => run(profile, subscribers, frames),
        _ => Err("usage: millrace-bench [run gcm128|cm-sha1 SUBSCRIBERS FRAMES]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millrace-bench: {error}");
            ExitCode::from(2)
        }
    }
}

/// What one case came to, in nanoseconds of CPU per forwarded packet.
struct Measured {
    sent: f64,
    floor: f64,
    ratio: f64,
    alone: f64,
    run_length: f64,
}

fn table() -> Result<(), Failure> {
    println!("One publisher, {DATAGRAM} B datagrams in frames of {FRAME}, medians of {ROUNDS} rounds in turns.");
    println!("CPU time per forwarded packet; the floor seals and sends the same bytes in the same runs.\n");
    println!(
        "{:<8} {:>11} {:>13} {:>9} {:>7} {:>14} {:>13} {:>10}",
        "profile", "subscribers", "forward+send", "floor", "ratio", "forward alone", "instructions", "GSO run"
    );
    for (name, profile) in PROFILES {
        for subscribers in SUBSCRIBERS {
            let measured = measure(subscribers, profile)?;
            let instructions = instructions(name, subscribers);
            println!(
                "{name:<8} {subscribers:>11} {:>10.0} ns {:>6.0} ns {:>6.2}x {:>11.0} ns {:>13} {:>10.1}",
                measured.sent,
                measured.floor,
                measured.ratio,
                measured.alone,
                instructions.as_deref().unwrap_or("no valgrind"),
                measured.run_length,
            );
        }
    }
    println!(
        "\nInstructions are those of `forward alone`, counted by callgrind, and compare between machines of one kind;"
    );
    println!("times do not. With one subscriber the cost of receiving (parse, open, keep) is borne by one packet.");
    Ok(())
}

fn measure(subscribers: usize, profile: SrtpProfile) -> Result<Measured, Failure> {
    let sink = UdpSocket::bind(SINK)?;
    let port = sink.local_addr()?.port();
    let (groups, _) = bind_group(&[IpAddr::V4(Ipv4Addr::UNSPECIFIED)], 0, 1)?;
    let sockets = groups.into_iter().next().ok_or("no socket")?;
    let mut rig = Rig::new(subscribers, profile, port);
    let mut floor = Floor::new(subscribers, profile, port);
    let mut batch = TxBatch::new(1 << 20, 1_024);
    let mut sender = Sender::new(true);
    let frames = (PACKETS / FRAME / subscribers).max(20);
    let (mut sent, mut least, mut alone, mut ratios) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let with_send = forward(&mut rig, &mut batch, frames, |batch| sender.flush(&sockets, batch));
        let lowest = lowest(&mut floor, &mut batch, frames, &mut sender, &sockets);
        let without = forward(&mut rig, &mut batch, frames, |_| {});
        // The first round warms up.
        if round > 0 {
            sent.push(with_send);
            least.push(lowest);
            alone.push(without);
            ratios.push(with_send / lowest);
        }
    }
    let counters = sender.counters();
    Ok(Measured {
        sent: median(sent),
        floor: median(least),
        ratio: median(ratios),
        alone: median(alone),
        run_length: counters.datagrams as f64 / counters.runs.max(1) as f64,
    })
}

/// CPU nanoseconds per packet of forwarding `frames` frames.
fn forward(rig: &mut Rig, batch: &mut TxBatch, frames: usize, mut send: impl FnMut(&TxBatch)) -> f64 {
    let before = cpu_time();
    let mut packets = 0;
    for _ in 0..frames {
        rig.feed();
        packets += rig.drain(batch, &mut send);
    }
    (cpu_time() - before) as f64 / packets as f64
}

fn lowest(floor: &mut Floor, batch: &mut TxBatch, frames: usize, sender: &mut Sender, sockets: &[MediaSocket]) -> f64 {
    let before = cpu_time();
    let mut packets = 0;
    for _ in 0..frames {
        packets += floor.frame(batch, |batch| sender.flush(sockets, batch));
    }
    (cpu_time() - before) as f64 / packets as f64
}

fn run(profile: &str, subscribers: &str, frames: &str) -> Result<(), Failure> {
    let (_, profile) = PROFILES.into_iter().find(|(name, _)| *name == profile).ok_or("unknown profile")?;
    let mut rig = Rig::new(subscribers.parse()?, profile, 9);
    let mut batch = TxBatch::new(1 << 20, 1_024);
    for _ in 0..frames.parse()? {
        rig.feed();
        rig.drain(&mut batch, |_| {});
    }
    Ok(())
}

/// Instructions per forwarded packet: the difference of two runs, so that setting up cancels out. What sealing
/// the publisher's frames costs is in it, once per frame. `None` without valgrind.
fn instructions(profile: &str, subscribers: usize) -> Option<String> {
    let count = |frames: usize| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().ok()?)
            .args(["run", profile, &subscribers.to_string(), &frames.to_string()])
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let collected = text.lines().find_map(|line| line.split_once("Collected : "))?.1;
        collected.split_whitespace().next()?.parse::<u64>().ok()
    };
    let packets = (COUNTED_FRAMES * FRAME * subscribers) as u64;
    let (short, long) = (count(COUNTED_FRAMES)?, count(2 * COUNTED_FRAMES)?);
    Some(((long - short) / packets).to_string())
}

/// CPU time of this thread in nanoseconds.
fn cpu_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
