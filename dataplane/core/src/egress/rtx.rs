//! Retransmissions to one subscriber (RFC 4588): its own sequence, and a bound on repeats.

use crate::time::{Duration, Instant};

/// Packets whose last retransmission is remembered, by their sequence number's low bits.
const REMEMBERED: usize = 128;
/// A packet asked for again this soon is on its way already. Widened to the round-trip time when known.
const MIN_SPACING: Duration = Duration::from_millis(10);

/// One subscription's retransmissions.
#[derive(Debug)]
pub(crate) struct Retransmitter {
    /// Next packet index (ROC and sequence number) of the RTX SSRC.
    next: u64,
    /// Made with the first request: 2 kB that subscribers without loss never need.
    recent: Option<Box<[(u64, Instant); REMEMBERED]>>,
}

impl Retransmitter {
    /// Starts the RTX SSRC at `first`, below 2^15 so that receivers guess its ROC right (RFC 3711 3.3.1).
    pub(crate) fn new(first: u16) -> Self {
        Self { next: u64::from(first & 0x7fff), recent: None }
    }

    /// Whether the packet sent as `index` may be sent again now; remembers it if so.
    pub(crate) fn admits(&mut self, now: Instant, index: u64, rtt: Duration) -> bool {
        let recent = self.recent.get_or_insert_with(|| Box::new([(u64::MAX, Instant::from_micros(0)); REMEMBERED]));
        let slot = &mut recent[index as usize % REMEMBERED];
        if slot.0 == index && now.since(slot.1) < MIN_SPACING.max(rtt) {
            return false;
        }
        *slot = (index, now);
        true
    }

    /// The index for the next packet of the RTX SSRC.
    pub(crate) fn next_index(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_packet_is_repeated_at_most_once_per_round_trip() {
        let mut rtx = Retransmitter::new(9);
        let at = |ms| Instant::from_micros(1_000_000) + Duration::from_millis(ms);
        let rtt = Duration::from_millis(50);
        assert!(rtx.admits(at(0), 7, rtt));
        assert!(!rtx.admits(at(49), 7, rtt));
        assert!(rtx.admits(at(49), 8, rtt));
        assert!(rtx.admits(at(50), 7, rtt));
        assert_eq!((rtx.next_index(), rtx.next_index()), (9, 10));
    }
}
