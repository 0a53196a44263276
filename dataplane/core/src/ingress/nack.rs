//! Gaps in a track's sequence, and when to ask for what is missing (RFC 4585 6.2.1).

use crate::time::{Duration, Instant};

/// A gap is asked for after this time: mere reordering is over by then.
const FIRST: Duration = Duration::from_millis(10);
/// And again after this time, about a round trip.
const AGAIN: Duration = Duration::from_millis(60);
/// Requests for one packet.
const TRIES: u8 = 8;
/// Packets missing at a time; beyond, a keyframe is cheaper than the gap.
pub(crate) const MAX_MISSING: usize = 256;

/// What is missing of one track.
#[derive(Debug)]
pub(crate) struct NackGenerator {
    highest: Option<u64>,
    /// At most [`MAX_MISSING`], which would be 6 kB of each track; room comes with the first losses and stays.
    missing: Vec<Missing>,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    sequence: u64,
    due: Instant,
    tries: u8,
}

/// What a packet meant for the gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next one, or one that nobody missed.
    Expected,
    /// It opened a gap before itself.
    Gap,
    /// It closed one that had been asked for.
    Recovered,
    /// The gap before it is too long to be asked for.
    Lost,
}

impl NackGenerator {
    pub(crate) fn new() -> Self {
        Self { highest: None, missing: Vec::new() }
    }

    /// Takes in a packet of the unwrapped `sequence`.
    pub(crate) fn on_packet(&mut self, now: Instant, sequence: u64) -> Arrival {
        let Some(highest) = self.highest else {
            self.highest = Some(sequence);
            return Arrival::Expected;
        };
        if sequence <= highest {
            let Ok(at) = self.missing.binary_search_by_key(&sequence, |missing| missing.sequence) else {
                return Arrival::Expected;
            };
            let was = self.missing.remove(at);
            return if was.tries > 0 { Arrival::Recovered } else { Arrival::Expected };
        }
        self.highest = Some(sequence);
        let gap = sequence - highest - 1;
        if gap == 0 {
            return Arrival::Expected;
        }
        if gap as usize > MAX_MISSING - self.missing.len() {
            self.missing.clear();
            return Arrival::Lost;
        }
        let due = now + FIRST;
        self.missing.extend((highest + 1..sequence).map(|sequence| Missing { sequence, due, tries: 0 }));
        Arrival::Gap
    }

    /// When to call [`NackGenerator::poll`].
    pub(crate) fn due(&self) -> Option<Instant> {
        self.missing.iter().map(|missing| missing.due).min()
    }

    /// Writes the sequence numbers to ask for now, ascending, and returns how many. Those that were asked for
    /// often enough are given up.
    pub(crate) fn poll(&mut self, now: Instant, out: &mut [u16; MAX_MISSING]) -> usize {
        self.missing.retain(|missing| missing.tries < TRIES || missing.due > now);
        let mut count = 0;
        for missing in self.missing.iter_mut().filter(|missing| missing.due <= now) {
            missing.tries += 1;
            missing.due = now + AGAIN;
            out[count] = missing.sequence as u16;
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::default() + Duration::from_millis(ms)
    }

    fn asked(nack: &mut NackGenerator, ms: u64) -> Vec<u16> {
        let mut out = [0; MAX_MISSING];
        let count = nack.poll(at(ms), &mut out);
        out[..count].to_vec()
    }

    #[test]
    fn a_gap_is_asked_for_until_it_closes() {
        let mut nack = NackGenerator::new();
        nack.on_packet(at(0), 0x1_0000 - 2);
        assert_eq!(nack.on_packet(at(1), 0x1_0001), Arrival::Gap);
        assert_eq!(asked(&mut nack, 5), [0u16; 0]);
        assert_eq!(asked(&mut nack, 11), [0xffff, 0]);
        assert_eq!(nack.on_packet(at(30), 0xffff), Arrival::Recovered);
        assert_eq!(asked(&mut nack, 71), [0]);
        assert_eq!(nack.due(), Some(at(131)));
    }

    #[test]
    fn reordering_is_not_asked_for() {
        let mut nack = NackGenerator::new();
        for sequence in [1, 3, 2, 5, 4] {
            nack.on_packet(at(0), sequence);
        }
        assert_eq!(asked(&mut nack, 1_000), [0u16; 0]);
    }

    #[test]
    fn what_never_comes_is_given_up() {
        let mut nack = NackGenerator::new();
        nack.on_packet(at(0), 1);
        nack.on_packet(at(0), 3);
        let tries = (0..100).filter(|n| !asked(&mut nack, 10 + n * 60).is_empty()).count();
        assert_eq!(tries, usize::from(TRIES));
        assert_eq!(nack.due(), None);
    }

    #[test]
    fn an_abyss_is_not_asked_for() {
        let mut nack = NackGenerator::new();
        nack.on_packet(at(0), 1);
        assert_eq!(nack.on_packet(at(0), 2 + MAX_MISSING as u64 + 1), Arrival::Lost);
        assert_eq!(nack.due(), None);
    }
}
