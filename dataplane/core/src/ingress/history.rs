//! The last packets of a track, in the buffers they arrived in: what is fanned out, and what retransmissions
//! to all its subscribers are read from. Bounded by number, and by age.
//!
//! A packet's age counts from when a later one came, because only then can anybody notice that it is missing: what a
//! slow track sent last can be repaired however long its next packet takes. No packet carries its time for that. A
//! mark is made at most every [`SPACING`] that says which was the newest packet then; [`KEPT`] later that one and all
//! before it are let go, a few with each arrival.

use crate::buffer::{BufferId, Pool};
use crate::time::{Duration, Instant};

/// Most packets kept of a video track: [`KEPT`] at 3.2 Mbps and 1,200 B.
pub(crate) const VIDEO: usize = 512;
/// Most packets kept of an audio track: more than a second of 20 ms frames.
pub(crate) const AUDIO: usize = 64;

/// A packet can be repaired for so long, at least, after a later one has come; [`SPACING`] longer at most.
///
/// A publisher is asked for a missing packet for half a second ([`crate::ingress::nack`]); with a round trip of 500 ms
/// its last answer comes after one second, and may then be lost on its way to a subscriber in turn. A subscriber asks
/// about once per round trip: its second request at 500 ms, or its tenth and last (libwebrtc's bound) at 100 ms, comes
/// within 1.1 s as well. libwebrtc's own senders keep packets for three round trips, which is this at 500 ms.
pub(crate) const KEPT: Duration = Duration::from_millis(1_500);
/// Marks that are younger than [`KEPT`], at most.
const MARKS: usize = 12;
/// Least time between two marks.
const SPACING: Duration = Duration::from_micros(KEPT.as_micros() / MARKS as u64);
/// Places of the ring that one arrival looks at to let go of what is too old: more than one, so that losses and pauses
/// are caught up with.
const PER_ARRIVAL: usize = 4;

/// One packet, decrypted, with what every subscriber needs to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Unwrapped sequence number: SRTP's packet index (RFC 3711 3.3.1).
    pub(crate) sequence: u64,
    pub(crate) buffer: BufferId,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    /// Whether a decoder can start here.
    pub(crate) keyframe: bool,
    pub(crate) payload: Span,
    /// RFC 6464 octet.
    pub(crate) audio_level: Option<u8>,
    /// Video orientation octet (3GPP TS 26.114 7.4.5).
    pub(crate) orientation: Option<u8>,
    /// The AV1 dependency descriptor, empty if there is none.
    pub(crate) descriptor: Span,
    /// Octets of RTP padding that it goes out with; see [`crate::egress::padding`].
    pub(crate) padding: u8,
}

#[cfg(test)]
impl Packet {
    /// One with nothing in it.
    pub(crate) fn empty(sequence: u64, buffer: BufferId) -> Self {
        Self {
            sequence,
            buffer,
            timestamp: 0,
            marker: false,
            keyframe: false,
            payload: Span::default(),
            audio_level: None,
            orientation: None,
            descriptor: Span::default(),
            padding: 0,
        }
    }
}

/// A part of a packet's buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u16,
    pub(crate) len: u16,
}

impl Span {
    pub(crate) fn of(self, buffer: &[u8]) -> &[u8] {
        let start = usize::from(self.start);
        buffer.get(start..start + usize::from(self.len)).unwrap_or_default()
    }
}

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Duplicate,
    TooOld,
}

/// A ring indexed by sequence number.
#[derive(Debug)]
pub(crate) struct History {
    ring: Box<[Option<Packet>]>,
    highest: Option<u64>,
    /// Packets below it are too old. Never above `highest`.
    first: u64,
    /// The ring is free of packets below it; follows `first`.
    tail: u64,
    marks: Box<Marks>,
}

impl History {
    /// Room for `capacity` packets, a power of two.
    pub(crate) fn new(capacity: usize) -> Self {
        let ring = vec![None; capacity.next_power_of_two()].into_boxed_slice();
        Self { ring, highest: None, first: 0, tail: 0, marks: Box::default() }
    }

    /// Whether `sequence` would be taken.
    pub(crate) fn accepts(&self, sequence: u64) -> Result<(), Refused> {
        let Some(highest) = self.highest else { return Ok(()) };
        if sequence + self.ring.len() as u64 <= highest || sequence < self.first {
            return Err(Refused::TooOld);
        }
        match self.get(sequence) {
            Some(_) => Err(Refused::Duplicate),
            None => Ok(()),
        }
    }

    /// Keeps a packet that [`History::accepts`], and lets go of the one that it replaces and of some that are too old.
    pub(crate) fn insert(&mut self, now: Instant, packet: Packet, pool: &mut Pool) {
        let before = self.highest.filter(|highest| *highest < packet.sequence);
        self.highest = self.highest.max(Some(packet.sequence));
        let slot = self.slot(packet.sequence);
        if let Some(old) = self.ring[slot].replace(packet) {
            pool.release(old.buffer);
        }
        if now >= self.marks.due {
            self.first = self.first.max(self.marks.expire(now));
            if let Some(before) = before {
                self.marks.add(now, before);
            }
        }
        if self.tail < self.first {
            self.let_go(PER_ARRIVAL, pool);
        }
    }

    /// Lets go of all that is too old, for a track whose packets have stopped coming.
    pub(crate) fn expire(&mut self, now: Instant, pool: &mut Pool) {
        if now >= self.marks.due {
            self.first = self.first.max(self.marks.expire(now));
        }
        self.let_go(self.ring.len(), pool);
    }

    fn let_go(&mut self, places: usize, pool: &mut Pool) {
        // Of a longer way every place would be met twice.
        let tail = self.tail.max(self.first.saturating_sub(self.ring.len() as u64));
        self.tail = self.first.min(tail + places as u64);
        for sequence in tail..self.tail {
            let slot = self.slot(sequence);
            if let Some(old) = self.ring[slot].take_if(|packet| packet.sequence < self.first) {
                pool.release(old.buffer);
            }
        }
    }

    /// The packet with this sequence number, if it is still there.
    pub(crate) fn get(&self, sequence: u64) -> Option<&Packet> {
        self.ring[self.slot(sequence)].as_ref().filter(|packet| packet.sequence == sequence)
    }

    /// As [`History::get`], to change.
    pub(crate) fn get_mut(&mut self, sequence: u64) -> Option<&mut Packet> {
        let slot = self.slot(sequence);
        self.ring[slot].as_mut().filter(|packet| packet.sequence == sequence)
    }

    /// Highest sequence number taken.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Gives every buffer back and forgets everything, the highest sequence number included.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        for slot in &mut self.ring {
            if let Some(packet) = slot.take() {
                pool.release(packet.buffer);
            }
        }
        self.highest = None;
        (self.first, self.tail) = (0, 0);
        *self.marks = Marks::default();
    }

    fn slot(&self, sequence: u64) -> usize {
        sequence as usize & (self.ring.len() - 1)
    }
}

/// Which packets were the newest at some moments of the last [`KEPT`].
#[derive(Debug, Default)]
struct Marks {
    /// When there is something to do: a mark to add, or one that is too old.
    due: Instant,
    /// A ring, of which `len` from `oldest` on are in use.
    marks: [Mark; MARKS],
    oldest: usize,
    len: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    at: Instant,
    /// The newest packet until then.
    before: u64,
}

impl Marks {
    /// Drops those that are too old; returns the first packet after them, or 0.
    fn expire(&mut self, now: Instant) -> u64 {
        let mut first = 0;
        while self.len > 0 && now.since(self.marks[self.oldest].at) >= KEPT {
            first = self.marks[self.oldest].before + 1;
            self.oldest = (self.oldest + 1) % MARKS;
            self.len -= 1;
        }
        // Nothing is younger: the next packet makes a mark.
        self.due = if self.len == 0 { now } else { self.due };
        first
    }

    /// A packet has come after `before`. Called after [`Marks::expire`].
    fn add(&mut self, now: Instant, before: u64) {
        let newest = self.marks[(self.oldest + self.len + MARKS - 1) % MARKS].at;
        let mut next = newest + SPACING;
        if self.len == 0 || (now >= next && self.len < MARKS) {
            self.marks[(self.oldest + self.len) % MARKS] = Mark { at: now, before };
            self.len += 1;
            next = now + SPACING;
        }
        self.due = next.min(self.marks[self.oldest].at + KEPT);
    }
}

/// Unwraps a 16-bit sequence number to the 64-bit one nearest to `highest`.
pub(crate) fn unwrap_near(highest: u64, sequence: u16) -> Option<u64> {
    let delta = i64::from(sequence.wrapping_sub(highest as u16) as i16);
    highest.checked_add_signed(delta)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(7_000_000) + Duration::from_millis(ms)
    }

    /// Takes in the packets `sequences` of the time `ms`.
    fn insert(history: &mut History, pool: &mut Pool, ms: u64, sequences: impl IntoIterator<Item = u64>) {
        for sequence in sequences {
            assert_eq!(history.accepts(sequence), Ok(()));
            history.insert(at(ms), Packet::empty(sequence, pool.copy_in(&[1]).unwrap()), pool);
        }
    }

    /// A track of `per_frame` packets each `interval` ms for so many frames, from packet 100,000 on; returns the next
    /// sequence number and time.
    fn flow(history: &mut History, pool: &mut Pool, (frames, per_frame, interval): (u64, u64, u64)) -> (u64, u64) {
        let first = |frame| 100_000 + frame * per_frame;
        for frame in 0..frames {
            insert(history, pool, frame * interval, first(frame)..first(frame + 1));
        }
        (first(frames), frames * interval)
    }

    #[test]
    fn keeps_the_newest_and_tells_old_from_seen() {
        let mut pool = Pool::new(16 << 20);
        let mut history = History::new(8);
        insert(&mut history, &mut pool, 0, 100..120);
        assert_eq!(pool.in_use(), 8);
        assert!(history.get(111).is_none());
        assert_eq!(history.get(112).unwrap().sequence, 112);
        assert_eq!(history.accepts(111), Err(Refused::TooOld));
        assert_eq!(history.accepts(115), Err(Refused::Duplicate));
        history.clear(&mut pool);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn a_late_packet_fills_its_gap() {
        let mut pool = Pool::new(16 << 20);
        let mut history = History::new(8);
        insert(&mut history, &mut pool, 0, [10, 12]);
        insert(&mut history, &mut pool, 0, [11]);
        assert_eq!(history.highest(), Some(12));
        assert_eq!(history.get(11).unwrap().sequence, 11);
    }

    #[test]
    fn what_is_kept_is_bounded_by_age() {
        let mut pool = Pool::new(16 << 20);
        let mut history = History::new(VIDEO);
        // 1.5 Mbps: 150 packets a second.
        let (next, now) = flow(&mut history, &mut pool, (300, 5, 33));
        let most = (KEPT.as_millis() + SPACING.as_millis()) / 33 * 5 + 10;
        assert!(pool.in_use() as u64 <= most, "{} of {most}", pool.in_use());
        // Everything within the limit can be sent again.
        let within = KEPT.as_millis() / 33 * 5;
        assert!((next - within..next).all(|sequence| history.get(sequence).is_some()));
        // What is older is unknown, and does not come in again.
        for sequence in next - VIDEO as u64..next - most {
            assert!(history.get(sequence).is_none(), "{} too many", next - sequence);
            assert_eq!(history.accepts(sequence), Err(Refused::TooOld));
        }
        // Silence: all goes but what came last, of which nobody can know yet that it is missing.
        history.expire(at(now + 10_000), &mut pool);
        let last = (SPACING.as_millis() / 33 + 2) * 5;
        assert!((1..=last as usize).contains(&pool.in_use()), "{}", pool.in_use());
        assert!(history.get(next - 1).is_some());
    }

    #[test]
    fn a_slow_track_is_repaired_after_its_next_frame() {
        let mut pool = Pool::new(16 << 20);
        let mut history = History::new(VIDEO);
        let (next, now) = flow(&mut history, &mut pool, (10, 40, 5_000));
        insert(&mut history, &mut pool, now, next..next + 40);
        history.expire(at(now + KEPT.as_millis() - 1), &mut pool);
        assert!((next - 40..next + 40).all(|sequence| history.get(sequence).is_some()));
        assert_eq!(pool.in_use(), 80, "and nothing older is kept");
        history.expire(at(now + KEPT.as_millis()), &mut pool);
        assert_eq!(pool.in_use(), 40);
    }

    #[test]
    fn a_repair_counts_from_when_its_gap_was_seen() {
        let mut pool = Pool::new(16 << 20);
        let mut history = History::new(VIDEO);
        insert(&mut history, &mut pool, 0, [10, 11, 13]);
        insert(&mut history, &mut pool, 1_000, [12]);
        insert(&mut history, &mut pool, KEPT.as_millis() - 1, [14]);
        assert!((10..=14).all(|sequence| history.get(sequence).is_some()));
        // The last of many late packets make nothing old that is the newest.
        insert(&mut history, &mut pool, 5_000, [15, 17]);
        insert(&mut history, &mut pool, 5_500, [16]);
        history.expire(at(60_000), &mut pool);
        assert!(history.get(17).is_some());
    }

    #[test]
    fn a_leap_in_the_numbers_leaves_nothing_behind() {
        let mut pool = Pool::new(16 << 20);
        let mut history = History::new(VIDEO);
        let (next, now) = flow(&mut history, &mut pool, (100, 3, 33));
        insert(&mut history, &mut pool, now, [next + 1_000_000]);
        insert(&mut history, &mut pool, now + 5_000, [next + 1_000_001]);
        history.expire(at(now + 10_000), &mut pool);
        assert_eq!(pool.in_use(), 1);
        history.clear(&mut pool);
        insert(&mut history, &mut pool, now + 10_000, [3, 5, 4]);
        assert_eq!(pool.in_use(), 3, "begins anew");
    }

    #[test]
    fn unwrapping_goes_to_the_nearest() {
        assert_eq!(unwrap_near(0x1_0002, 0xffff), Some(0xffff));
        assert_eq!(unwrap_near(0xffff, 2), Some(0x1_0002));
        assert_eq!(unwrap_near(3, 0xfff0), None);
        assert_eq!(unwrap_near(0x5_1234, 0x1234), Some(0x5_1234));
    }
}
