//! What a subscriber makes of one received stream: what is missing and is asked for again, when a keyframe is needed,
//! which pictures are complete, and how smoothly they come. A state machine without sockets and clocks.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// A gap may be mere reordering for this long.
const PATIENCE: Duration = Duration::from_millis(10);
/// A missing packet is asked for again after this long.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// A missing packet is given up after this long.
const GIVE_UP: Duration = Duration::from_millis(800);
/// Keyframe requests are this far apart.
const KEYFRAME_PAUSE: Duration = Duration::from_millis(500);
/// More missing packets than this are not worth asking for.
const MOST_MISSING: usize = 400;
/// Share of the newest interval in the mean interval between pictures.
const SMOOTHING: f64 = 1.0 / 30.0;
/// A pause this much longer than the mean is a freeze, if it is also three times as long; as browsers count it.
const FREEZE_MARGIN: Duration = Duration::from_millis(150);

/// The header of a received packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    /// Whether a keyframe begins in it; false when nobody looked.
    pub(crate) key: bool,
}

/// What to ask the server for now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    pub(crate) again: Vec<u16>,
    pub(crate) keyframe: bool,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Packets that came, each counted once.
    pub(crate) received: u64,
    pub(crate) duplicates: u64,
    /// Packets that never came.
    pub(crate) lost: u64,
    /// Packets that came late, mostly because they were asked for.
    pub(crate) recovered: u64,
    /// Complete, decodable pictures.
    pub(crate) frames: u64,
    pub(crate) freezes: u64,
    pub(crate) frozen: Duration,
    pub(crate) keyframe_requests: u64,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Reception {
    video: bool,
    clock_rate: f64,
    began: Instant,
    first: Option<u64>,
    highest: u64,
    missing: BTreeMap<u64, Missing>,
    /// Ends of pictures that are not complete yet.
    ends: VecDeque<u64>,
    /// Since when nothing can be decoded.
    needs_key: Option<Instant>,
    asked_key: Option<Instant>,
    key_waits: Vec<Duration>,
    last_frame: Option<Instant>,
    mean_interval: Option<f64>,
    jitter: f64,
    last_transit: Option<f64>,
    counts: Counts,
    reported: (u64, u64),
}

#[derive(Debug)]
struct Missing {
    since: Instant,
    asked: Option<Instant>,
}

impl Reception {
    /// A stream whose first packet is awaited from `now` on.
    pub(crate) fn new(video: bool, clock_rate: u32, now: Instant) -> Self {
        Self {
            video,
            clock_rate: f64::from(clock_rate),
            began: now,
            first: None,
            highest: 0,
            missing: BTreeMap::new(),
            ends: VecDeque::new(),
            needs_key: video.then_some(now),
            asked_key: None,
            key_waits: Vec::new(),
            last_frame: None,
            mean_interval: None,
            jitter: 0.0,
            last_transit: None,
            counts: Counts::default(),
            reported: (0, 0),
        }
    }

    /// Whether it matters that `key` is told truly of the next packets.
    pub(crate) fn needs_key(&self) -> bool {
        self.needs_key.is_some()
    }

    /// A packet of the stream itself.
    pub(crate) fn packet(&mut self, now: Instant, packet: Received) {
        let sequence = self.extend(packet.sequence);
        if self.first.is_none() {
            self.first = Some(sequence);
            self.highest = sequence;
        } else if sequence > self.highest {
            let gap = self.highest + 1..sequence;
            if gap.end - gap.start <= MOST_MISSING as u64 {
                self.missing.extend(gap.map(|number| (number, Missing { since: now, asked: None })));
            } else {
                self.counts.lost += gap.end - gap.start;
                self.break_off(now);
            }
            self.highest = sequence;
        } else if !self.fill(sequence) {
            self.counts.duplicates += 1;
            return;
        }
        self.counts.received += 1;
        self.measure_jitter(now, packet.timestamp);
        self.picture(now, sequence, packet);
    }

    /// A packet that came as a retransmission. False: it had not been missing.
    pub(crate) fn recovered(&mut self, now: Instant, packet: Received) -> bool {
        if self.first.is_none() {
            return false;
        }
        let sequence = self.extend(packet.sequence);
        if !self.fill(sequence) {
            return false;
        }
        self.counts.received += 1;
        self.picture(now, sequence, packet);
        true
    }

    /// What is to be asked for by now.
    pub(crate) fn requests(&mut self, now: Instant) -> Requests {
        let given_up: Vec<_> =
            self.missing.iter().filter(|(_, m)| now - m.since >= GIVE_UP).map(|(sequence, _)| *sequence).collect();
        if !given_up.is_empty() {
            self.counts.lost += given_up.len() as u64;
            self.missing.retain(|sequence, _| !given_up.contains(sequence));
            self.break_off(now);
        }
        let mut requests = Requests::default();
        for (sequence, missing) in &mut self.missing {
            let due = missing.asked.map_or(missing.since + PATIENCE, |asked| asked + ASK_AGAIN);
            if due <= now {
                missing.asked = Some(now);
                requests.again.push(*sequence as u16);
            }
        }
        // The server asks for the first keyframe itself; a subscriber helps only when it does not come.
        let due = self.asked_key.or(self.needs_key).map(|last| last + KEYFRAME_PAUSE);
        if self.needs_key.is_some() && due.is_some_and(|due| due <= now) {
            self.asked_key = Some(now);
            self.counts.keyframe_requests += 1;
            requests.keyframe = true;
        }
        requests
    }

    /// When [`Reception::requests`] has something to say.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let missing = self.missing.values().map(|missing| {
            let ask = missing.asked.map_or(missing.since + PATIENCE, |asked| asked + ASK_AGAIN);
            ask.min(missing.since + GIVE_UP)
        });
        let key = self.needs_key.map(|since| self.asked_key.unwrap_or(since) + KEYFRAME_PAUSE);
        missing.chain(key).min()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Interarrival jitter, RFC 3550 6.4.1.
    pub(crate) fn jitter(&self) -> Duration {
        Duration::from_secs_f64(self.jitter / self.clock_rate)
    }

    /// Waits for keyframes that ended since the last call: from when one was needed to when it began to come.
    pub(crate) fn take_key_waits(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.key_waits)
    }

    /// Members of a reception report (RFC 3550 6.4.1): fraction lost in 256ths, total lost, highest sequence number, and
    /// jitter in timestamp units.
    pub(crate) fn report(&mut self) -> (u8, u32, u32, u32) {
        let expected = self.first.map_or(0, |first| self.highest - first + 1);
        let (expected_before, received_before) =
            std::mem::replace(&mut self.reported, (expected, self.counts.received));
        let expected_since = expected - expected_before;
        let lost = expected_since.saturating_sub(self.counts.received - received_before);
        let fraction = (lost * 256).checked_div(expected_since).unwrap_or(0).min(255) as u8;
        let total = expected.saturating_sub(self.counts.received).min(0x7f_ffff) as u32;
        (fraction, total, self.highest as u32, self.jitter as u32)
    }

    /// The number without wrap-around, nearest to the highest one.
    fn extend(&self, sequence: u16) -> u64 {
        if self.first.is_none() {
            return (1 << 16) + u64::from(sequence);
        }
        let ahead = sequence.wrapping_sub(self.highest as u16) as i16;
        self.highest.saturating_add_signed(i64::from(ahead))
    }

    /// Whether this one was missing, and now no longer is.
    fn fill(&mut self, sequence: u64) -> bool {
        let was_missing = self.missing.remove(&sequence).is_some();
        self.counts.recovered += u64::from(was_missing);
        was_missing
    }

    fn break_off(&mut self, now: Instant) {
        if self.video {
            self.needs_key.get_or_insert(now);
            self.ends.clear();
        }
    }

    fn picture(&mut self, now: Instant, sequence: u64, packet: Received) {
        if !self.video {
            return;
        }
        if packet.key
            && let Some(since) = self.needs_key.take()
        {
            self.key_waits.push(now.saturating_duration_since(since.max(self.began)));
            self.asked_key = None;
            // What is missing from before the keyframe is of no use any more.
            let needed = self.missing.split_off(&sequence);
            self.counts.lost += self.missing.len() as u64;
            self.missing = needed;
            self.ends.retain(|end| *end >= sequence);
        }
        if packet.marker && self.needs_key.is_none() {
            let place = self.ends.partition_point(|end| *end < sequence);
            self.ends.insert(place, sequence);
        }
        let first_missing = self.missing.keys().next().copied().unwrap_or(u64::MAX);
        while self.ends.front().is_some_and(|end| *end < first_missing) {
            self.ends.pop_front();
            self.complete(now);
        }
    }

    fn complete(&mut self, now: Instant) {
        self.counts.frames += 1;
        let Some(last) = self.last_frame.replace(now) else { return };
        let interval = now - last;
        if let Some(mean) = self.mean_interval {
            let mean_interval = Duration::from_secs_f64(mean);
            if interval > (3 * mean_interval).max(mean_interval + FREEZE_MARGIN) {
                self.counts.freezes += 1;
                self.counts.frozen += interval;
                return;
            }
        }
        let seconds = interval.as_secs_f64();
        self.mean_interval = Some(self.mean_interval.map_or(seconds, |mean| mean + (seconds - mean) * SMOOTHING));
    }

    fn measure_jitter(&mut self, now: Instant, timestamp: u32) {
        let arrival = (now - self.began).as_secs_f64() * self.clock_rate;
        // Differences are taken modulo 2^32, so that a wrap of the timestamp is no jump.
        let transit = arrival - f64::from(timestamp);
        if let Some(last) = self.last_transit.replace(transit) {
            let wrap = 4_294_967_296.0;
            let difference = (transit - last).rem_euclid(wrap);
            let distance = difference.min(wrap - difference);
            self.jitter += (distance - self.jitter) / 16.0;
        }
    }
}

#[cfg(test)]
mod tests;
