//! How the cost of an egress packet changes with the number of subscribers and of publishers, without system calls.

use dataplane_core::TxBatch;
use dataplane_protocol::SrtpProfile;

use crate::clock::{Stopwatch, median};
use crate::floor::Floor;
use crate::gates::{self, Work};
use crate::report::{Axis, Cell, Plot, Scale, Section, Series, Table};
use crate::rig::{FRAME, Plan, Rig};

/// Subscribers in each room where the number of publishers changes.
const PER_ROOM: usize = 10;
const SIZES: [(usize, usize); 5] = [(1, PER_ROOM), (1, 100), (1, 1_000), (100, PER_ROOM), (1_000, PER_ROOM)];
const ROUNDS: usize = 7;
/// Egress packets of a round, about.
const PACKETS: usize = 100_000;
/// Frames that fill a track's history, so that each packet takes the buffer of another.
const HISTORY_FRAMES: usize = 512 / FRAME + 2;

/// One point of the curves.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Publishers.
    pub rooms: usize,
    /// Subscribers of each.
    pub subscribers: usize,
    /// CPU nanoseconds per egress packet.
    pub ns: f64,
    /// The same of sealing alone, with as many keys.
    pub floor: f64,
    /// Instructions per egress packet; NaN without valgrind.
    pub instructions: f64,
}

/// Measures all points; `told` hears of each.
pub fn measure_all(told: impl Fn(&str)) -> Vec<Point> {
    let has_valgrind = gates::is_installed();
    let point = |(rooms, subscribers)| {
        told(&format!("{rooms} publishers to {subscribers} each"));
        let (ns, floor) = measure(rooms, subscribers);
        let work = match rooms {
            1 => Work::Forward { subscribers, cm: false },
            _ => Work::Rooms { rooms },
        };
        let length = (4_000 / work.packets()).max(1);
        let counted = has_valgrind.then(|| gates::count(work, length).ok()).flatten();
        Point { rooms, subscribers, ns, floor, instructions: counted.unwrap_or(f64::NAN) }
    };
    SIZES.into_iter().map(point).collect()
}

/// CPU nanoseconds per egress packet with so many publishers and subscribers of each: ours, and of sealing alone.
pub fn measure(rooms: usize, subscribers: usize) -> (f64, f64) {
    let profile = SrtpProfile::AeadAes128Gcm;
    let mut rig = Rig::with(Plan { rooms, subscribers, profile, port: 9, publisher: None });
    let mut floors: Vec<_> = (0..rooms).map(|_| Floor::new(subscribers, profile, 9)).collect();
    let mut batch = TxBatch::new(1 << 20, 1_024);
    let mut watch = Stopwatch::new();
    for _ in 0..rooms * HISTORY_FRAMES {
        rig.feed();
        rig.drain(&mut batch, |_| {});
    }
    let turns = (PACKETS / FRAME / subscribers / rooms).max(1);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (mut packets, mut sealed) = (0, 0);
        for _ in 0..turns {
            rig.seal_ahead(1);
            packets += watch.time(|| {
                let frame = |_| {
                    rig.feed();
                    rig.drain(&mut batch, |_| {})
                };
                (0..rooms).map(frame).sum::<u64>()
            });
        }
        ours.push(watch.take() / packets as f64);
        for _ in 0..turns {
            sealed += watch.time(|| floors.iter_mut().map(|floor| floor.frame(&mut batch, |_| {})).sum::<u64>());
        }
        theirs.push(watch.take() / sealed as f64);
    }
    (median(&mut ours), median(&mut theirs))
}

/// The section of the report.
pub fn section(points: &[Point]) -> Section {
    let mut table = Table::new(
        "AES-128-GCM, full histories, no system calls; per egress packet",
        &["publishers", "subscribers of each", "to sealing alone", "ours, ns", "sealing alone, ns", "instructions"],
    );
    for p in points {
        let instructions = match p.instructions.is_finite() {
            true => Cell::number(p.instructions, 0),
            false => Cell::missing("no valgrind"),
        };
        table.row([
            Cell::count(p.rooms as u64),
            Cell::count(p.subscribers as u64),
            Cell::number(p.ns / p.floor, 2),
            Cell::number(p.ns, 0),
            Cell::number(p.floor, 0),
            instructions,
        ]);
    }
    let by_subscribers: Vec<_> = points.iter().filter(|p| p.rooms == 1).copied().collect();
    let by_rooms: Vec<_> = points.iter().filter(|p| p.subscribers == PER_ROOM).copied().collect();
    let plot = |title: &str, x: &str, points: &[Point], at: fn(&Point) -> usize| Plot {
        title: title.to_owned(),
        x: Axis::new(x, "", Scale::Log),
        y: Axis::new("CPU time per egress packet", "ns", Scale::Linear),
        series: vec![
            Series::marked("Millrace", points.iter().map(|p| (at(p) as f64, p.ns)).collect()),
            Series::reference("sealing alone", points.iter().map(|p| (at(p) as f64, p.floor)).collect()),
        ],
    };
    let subscribers = plot("One publisher to many subscribers", "subscribers", &by_subscribers, |p| p.subscribers);
    let rooms = plot("Many publishers to ten subscribers each", "publishers", &by_rooms, |p| p.rooms);
    Section::new("Against the number of subscribers and publishers")
        .text(
            "Instructions stay as they are or fall, since what a publisher's packet costs is borne by more. Time grows \
             where state no longer fits the caches. Each frame touches the keys, the header template and the counters of \
             every subscriber once: sealing alone, with as many keys, shows how much of that nobody can avoid. The rest \
             comes with the publishers. A track keeps its packets for a second and a half, so that each packet that \
             arrives is written into the buffer of one that left the history, which was last touched that long ago: with \
             1,000 tracks that is 0.4 GB, and every line of it comes from memory, once for all subscribers of the packet.",
        )
        .table(table)
        .plot(subscribers)
        .plot(rooms)
}
