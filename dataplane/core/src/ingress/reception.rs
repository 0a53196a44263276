//! Reception statistics of one SSRC, RFC 3550 6.4.1, A.3 and A.8.

use crate::time::Instant;
use crate::wire::rtcp::ReportBlock;

/// What receiver reports are made from.
#[derive(Debug, Default)]
pub(crate) struct Reception {
    first: Option<u64>,
    highest: u64,
    received: u64,
    prior_expected: u64,
    prior_received: u64,
    /// In RTP clock units, times 16 (A.8).
    jitter_q4: u32,
    last_transit: Option<u32>,
    last_report: Option<SenderReport>,
}

/// The last sender report of the SSRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SenderReport {
    /// NTP timestamp of the sender.
    pub(crate) ntp: u64,
    /// When it came.
    pub(crate) at: Instant,
}

impl Reception {
    /// Takes in a packet with the unwrapped `sequence`; `in_time` is false for retransmissions, which say
    /// nothing about jitter.
    pub(crate) fn on_packet(&mut self, now: Instant, sequence: u64, timestamp: u32, clock_rate: u32, in_time: bool) {
        let first = *self.first.get_or_insert(sequence);
        if sequence < first {
            self.first = Some(sequence);
        }
        self.highest = self.highest.max(sequence);
        self.received += 1;
        if !in_time {
            return;
        }
        // Arrival in RTP units; wraps as the timestamp does, so that only differences count.
        let arrival = (u128::from(now.as_micros()) * u128::from(clock_rate) / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(last) = self.last_transit.replace(transit) {
            let delta = (transit.wrapping_sub(last) as i32).unsigned_abs();
            // A step of more than ten seconds is a restarted clock, not jitter.
            if delta < clock_rate.saturating_mul(10) {
                self.jitter_q4 = self.jitter_q4.saturating_add(delta).saturating_sub((self.jitter_q4 + 8) >> 4);
            }
        }
    }

    /// Takes in a sender report.
    pub(crate) fn on_sender_report(&mut self, report: SenderReport) {
        self.last_report = Some(report);
    }

    /// Packets that never came; negative when duplicates exceed losses.
    pub(crate) fn lost(&self) -> i64 {
        self.first.map_or(0, |first| (self.highest - first + 1) as i64 - self.received as i64)
    }

    /// Jitter in RTP clock units.
    pub(crate) fn jitter(&self) -> u32 {
        self.jitter_q4 >> 4
    }

    /// The report block for `ssrc`, and the start of the next interval. `None` before the first packet.
    pub(crate) fn report(&mut self, now: Instant, ssrc: u32) -> Option<ReportBlock> {
        let first = self.first?;
        let expected = self.highest - first + 1;
        let (expected_now, received_now) = (expected - self.prior_expected, self.received - self.prior_received);
        (self.prior_expected, self.prior_received) = (expected, self.received);
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255);
        let (lsr, dlsr) = self.last_report.map_or((0, 0), |report| {
            let delay = u128::from(now.since(report.at).as_micros());
            ((report.ntp >> 16) as u32, (delay * 65_536 / 1_000_000).min(u128::from(u32::MAX)) as u32)
        });
        Some(ReportBlock {
            ssrc,
            fraction_lost: fraction as u8,
            cumulative_lost: self.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence: self.highest as u32,
            jitter: self.jitter(),
            lsr,
            dlsr,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn at(ms: u64) -> Instant {
        Instant::default() + Duration::from_millis(ms)
    }

    #[test]
    fn loss_is_reported_per_interval_and_in_all() {
        let mut reception = Reception::default();
        for n in (0..100u64).filter(|n| n % 4 != 3) {
            reception.on_packet(at(n * 20), 0xfff0 + n, n as u32 * 960, 48_000, true);
        }
        let block = reception.report(at(2_000), 7).unwrap();
        assert_eq!((block.ssrc, block.cumulative_lost, block.highest_sequence), (7, 24, 0xfff0 + 98));
        assert_eq!(block.fraction_lost, (24 * 256 / 99) as u8);
        for n in 99..120u64 {
            reception.on_packet(at(n * 20), 0xfff0 + n, n as u32 * 960, 48_000, true);
        }
        assert_eq!(reception.report(at(2_400), 7).unwrap().fraction_lost, 0);
    }

    #[test]
    fn jitter_converges_to_the_mean_deviation() {
        let mut reception = Reception::default();
        for n in 0..2_000u64 {
            let late = if n % 2 == 0 { 0 } else { 5 };
            reception.on_packet(at(n * 20 + late), n, n as u32 * 960, 48_000, true);
        }
        // |D| alternates between +5 and -5 ms: 240 units.
        assert!((235..=245).contains(&reception.jitter()), "{}", reception.jitter());
    }

    #[test]
    fn last_sender_report_is_named_with_its_age() {
        let mut reception = Reception::default();
        reception.on_packet(at(0), 1, 0, 90_000, true);
        reception.on_sender_report(SenderReport { ntp: 0x1122_3344_5566_7788, at: at(1_000) });
        let block = reception.report(at(1_500), 1).unwrap();
        assert_eq!((block.lsr, block.dlsr), (0x3344_5566, 32_768));
    }

    #[test]
    fn duplicates_make_the_loss_negative() {
        let mut reception = Reception::default();
        for _ in 0..3 {
            reception.on_packet(at(0), 5, 0, 90_000, true);
        }
        assert_eq!(reception.report(at(0), 1).unwrap().cumulative_lost, -2);
    }
}
