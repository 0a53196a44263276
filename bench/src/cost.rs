//! What a forwarded packet costs with its system calls, held against the floors of the same run.

use std::io;

use dataplane_protocol::SrtpProfile;

use crate::clock::median;
use crate::floor::Floor;
use crate::report::{Axis, Cell, Plot, Scale, Section, Series, Table};
use crate::rig::{DATAGRAM, FRAME, Plan, Rig};
use crate::wire::{Wire, only_publisher};

/// The profiles that are measured.
pub const PROFILES: [(&str, SrtpProfile); 2] =
    [("AES-128-GCM", SrtpProfile::AeadAes128Gcm), ("AES-CM, SHA1-80", SrtpProfile::Aes128CmSha1_80)];
/// Subscribers of the one publisher.
pub const SUBSCRIBERS: [usize; 3] = [1, 10, 100];
/// Rounds of each side, taken in turns so that all meet the same noise.
const ROUNDS: usize = 9;
/// Packets of one round, about: a twentieth of a second.
const PACKETS: usize = 40_000;

/// What one case came to, in nanoseconds of CPU per forwarded packet: medians of all rounds, and of their ratios.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Receive, open, keep, fan out, seal, send.
    pub forward: f64,
    /// Receive, open, seal, send, in the same runs and with the same profile.
    pub floor: f64,
    /// Receive, open, seal by AES-CM, send by a call for each packet.
    pub plain: f64,
    /// `forward` to `floor`.
    pub ratio: f64,
    /// `forward` to `plain`.
    pub to_plain: f64,
    /// `forward` without system calls.
    pub alone: f64,
    /// Datagrams per run.
    pub run: f64,
}

/// Measures one case.
///
/// # Errors
/// What the system says to the sockets.
pub fn measure(subscribers: usize, profile: SrtpProfile) -> io::Result<Measured> {
    let mut wire = Wire::new()?;
    let port = wire.port()?;
    let mut rig = Rig::with(Plan { rooms: 1, subscribers, profile, port, publisher: Some(wire.path()) });
    let mut source = only_publisher(profile, wire.path());
    let mut plain_source = only_publisher(SrtpProfile::Aes128CmSha1_80, wire.path());
    let mut floor = Floor::new(subscribers, profile, port);
    let mut plain = Floor::new(subscribers, SrtpProfile::Aes128CmSha1_80, port).one_by_one();
    let frames = (PACKETS / FRAME / subscribers).max(20);
    let mut rounds: [Vec<f64>; 6] = Default::default();
    for round in 0..=ROUNDS {
        let forward = wire.forward(&mut rig, frames)?;
        let least = wire.floor(&mut floor, &mut source, frames)?;
        let single = wire.plain(&mut plain, &mut plain_source, frames)?;
        let alone = wire.alone(&mut rig, frames);
        // The first round warms up.
        if round > 0 {
            let values = [forward, least, single, forward / least, forward / single, alone];
            rounds.iter_mut().zip(values).for_each(|(all, value)| all.push(value));
        }
    }
    let [forward, floor, plain, ratio, to_plain, alone] = rounds.map(|mut all| median(&mut all));
    Ok(Measured { forward, floor, plain, ratio, to_plain, alone, run: wire.run_length() })
}

/// All cases, by profile and number of subscribers; `told` hears of each that is done.
///
/// # Errors
/// As [`measure`].
pub fn measure_all(told: impl Fn(&str)) -> io::Result<Vec<(&'static str, usize, Measured)>> {
    let mut all = Vec::new();
    for (name, profile) in PROFILES {
        for subscribers in SUBSCRIBERS {
            told(&format!("{name} to {subscribers}"));
            all.push((name, subscribers, measure(subscribers, profile)?));
        }
    }
    Ok(all)
}

/// The section of the report.
pub fn section(all: &[(&'static str, usize, Measured)]) -> Section {
    let mut table = Table::new(
        "CPU time per forwarded packet",
        &[
            "profile",
            "subscribers",
            "to the floor",
            "to plain sendto",
            "ours, ns",
            "floor, ns",
            "sendto, ns",
            "without calls, ns",
            "GSO run",
        ],
    );
    for (name, subscribers, m) in all {
        table.row([
            Cell::text(*name),
            Cell::count(*subscribers as u64),
            Cell::number(m.ratio, 2),
            Cell::number(m.to_plain, 2),
            Cell::number(m.forward, 0),
            Cell::number(m.floor, 0),
            Cell::number(m.plain, 0),
            Cell::number(m.alone, 0),
            Cell::number(m.run, 1),
        ]);
    }
    let line = |profile: &str, pick: fn(&Measured) -> f64| -> Vec<(f64, f64)> {
        all.iter().filter(|(name, ..)| *name == profile).map(|(_, n, m)| (*n as f64, pick(m))).collect()
    };
    let gcm = PROFILES[0].0;
    let plot = Plot {
        title: "AES-128-GCM: CPU time per forwarded packet against the floors".to_owned(),
        x: Axis::new("subscribers", "", Scale::Log),
        y: Axis::new("CPU time", "ns", Scale::Linear),
        series: vec![
            Series::marked("Millrace", line(gcm, |m| m.forward)),
            Series::reference("floor: the same runs, no SFU", line(gcm, |m| m.floor)),
            Series::reference("floor: AES-CM and sendto", line(gcm, |m| m.plain)),
            Series::marked("Millrace without system calls", line(gcm, |m| m.alone)),
        ],
    };
    Section::new("Against the floors")
        .text(format!(
            "One publisher's frames of {FRAME} packets, {DATAGRAM} B each, received from a loopback socket by recvmmsg, \
             fanned out and sent; medians of {ROUNDS} rounds in turns. The floor receives and opens the same packets and \
             sends as many with a cached key for each destination, in the same UDP_SEGMENT runs, and does nothing else. \
             The second floor seals with AES-CM and HMAC-SHA1 and sends each packet by sendto, as most SFUs do. Ratios \
             are of one run and can be compared between machines; times cannot."
        ))
        .table(table)
        .plot(plot)
}
