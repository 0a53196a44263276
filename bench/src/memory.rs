//! What connections, tracks and subscriptions cost in memory: growth of this process while a shard is given so many of
//! them, each kind in a process of its own.

use std::process::Command;
use std::{fs, io};

use dataplane_core::TxBatch;
use dataplane_protocol::SrtpProfile;

use crate::report::{Cell, Section, Table};
use crate::rig::{FRAME, Plan, Rig, subscriber_id, subscriber_path};

/// How many of each.
pub const COUNTS: [usize; 2] = [1_000, 10_000];

/// Frames of four seconds: more than a history keeps.
const FULL_FRAMES: usize = 120;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A transport that has been created, and that nobody has connected to.
    Created,
    /// A connected one with keys, AES-GCM.
    Idle,
    /// The same with AES-CM.
    IdleCm,
    /// A video track on a connected transport, before its first packet; the transport is not counted.
    Track,
    /// The same with its first two frames: the ring of its history, and ten packets.
    Flowing,
    /// The same after four seconds of traffic.
    Full,
    /// A subscription that is being sent; the transport is not counted.
    Subscription,
}

/// All kinds, with their names.
pub const KINDS: [(Kind, &str, &str); 7] = [
    (Kind::Created, "created", "transport, created only"),
    (Kind::Idle, "idle", "transport, connected, AES-GCM"),
    (Kind::IdleCm, "idle-cm", "transport, connected, AES-CM"),
    (Kind::Track, "track", "video track, nothing sent yet"),
    (Kind::Flowing, "flowing", "video track, ten packets kept"),
    (Kind::Full, "full", "video track, 1.5 Mbps for 4 s"),
    (Kind::Subscription, "subscription", "subscription, being sent"),
];

/// Bytes for `count` of a kind, measured in this process.
///
/// # Errors
/// If the system does not tell.
pub fn measure_here(kind: Kind, count: usize) -> io::Result<u64> {
    let profile = if kind == Kind::IdleCm { SrtpProfile::Aes128CmSha1_80 } else { SrtpProfile::AeadAes128Gcm };
    let plan = Plan { rooms: 1, subscribers: 0, profile, port: 9, publisher: None };
    let mut rig = Rig::with(plan);
    let mut batch = TxBatch::new(1 << 20, 1_024);
    let connect =
        |rig: &mut Rig| (0..count).for_each(|n| rig.connect(subscriber_id(n), Some((subscriber_path(n, 9), profile))));
    let frames = |rig: &mut Rig, batch: &mut TxBatch, frames: usize| {
        for _ in 0..frames {
            rig.feed();
            rig.drain(batch, |_| {});
        }
    };
    // Buffers, batch and tables are there before counting begins.
    frames(&mut rig, &mut batch, 4);
    if kind == Kind::Subscription {
        connect(&mut rig);
    }
    let before = resident()?;
    match kind {
        Kind::Created => (0..count).for_each(|n| rig.connect(subscriber_id(n), None)),
        Kind::Idle | Kind::IdleCm => connect(&mut rig),
        Kind::Track | Kind::Flowing | Kind::Full => (1..=count).for_each(|n| {
            rig.publisher(n, &plan);
        }),
        Kind::Subscription => {
            (0..count).for_each(|n| rig.subscribe(subscriber_id(n), 1));
            frames(&mut rig, &mut batch, 2);
        }
    }
    if let Some((sealed, sent)) = match kind {
        Kind::Flowing => Some((2, 2)),
        Kind::Full => Some((1, FULL_FRAMES)),
        _ => None,
    } {
        // What the clients seal ahead is theirs and stays out: it is measured first.
        rig.seal_ahead(sealed);
        let clients = resident()?;
        frames(&mut rig, &mut batch, sent * (count + 1));
        return Ok(resident()?.saturating_sub(clients));
    }
    Ok(resident()?.saturating_sub(before))
}

/// Bytes for each of `count` of a kind, measured in a process of its own that is this program again.
fn measure(name: &str, count: usize) -> Option<f64> {
    let output =
        Command::new(std::env::current_exe().ok()?).args(["memory", name, &count.to_string()]).output().ok()?;
    let bytes: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().ok()?;
    Some(bytes as f64 / count as f64)
}

/// Bytes of each kind at each of [`COUNTS`]; `told` hears of each kind.
pub fn measure_all(told: impl Fn(&str)) -> Vec<(&'static str, [f64; 2])> {
    let mut all: Vec<_> = KINDS
        .iter()
        .map(|(kind, name, what)| {
            told(what);
            // Ten thousand full ones would be all the buffers that the rig has.
            let fits = |count: usize| *kind != Kind::Full || count <= COUNTS[0];
            let one = |count| fits(count).then(|| measure(name, count)).flatten();
            (*what, COUNTS.map(|count| one(count).unwrap_or(f64::NAN)))
        })
        .collect();
    // A track comes with its transport, and a flowing one adds to the silent one.
    let of = |all: &[(&str, [f64; 2])], at: usize| all[at].1;
    let (idle, track) = (of(&all, 1), of(&all, 3));
    for n in 0..COUNTS.len() {
        all[3].1[n] = track[n] - idle[n];
        all[4].1[n] += all[3].1[n];
        all[5].1[n] += all[3].1[n];
    }
    all
}

/// The section of the report.
pub fn section(all: &[(&'static str, [f64; 2])]) -> Section {
    let mut table = Table::new("Resident bytes for each", &["what", "at 1,000", "at 10,000", "10,000 to 1,000"]);
    for (what, [few, many]) in all {
        let number = |value: f64, digits| match value.is_finite() {
            true => Cell::number(value, digits),
            false => Cell::missing("not measured"),
        };
        table.row([Cell::text(*what), number(*few, 0), number(*many, 0), number(many / few, 2)]);
    }
    Section::new("Memory")
        .text(
            "Growth of a process with one shard, each kind in a process of its own; linear where the last column is 1. A \
             video track with traffic keeps the packets of the last second and a half for retransmissions, at most 512, in \
             buffers of 1.5 kB, and an audio track 64 in buffers of 256 B, 16 kB.",
        )
        .table(table)
}

/// Resident bytes of this process.
fn resident() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1_024).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

const _: () = assert!(FRAME == 5, "ten packets are two frames");
