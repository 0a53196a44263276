//! Sender reports to subscribers, with the publisher's clock carried over, and what their receiver reports say.

use crate::egress::subscription::Outgoing;
use crate::ingress::track::SourceClock;
use crate::time::Duration;
use crate::wire::rtcp::{ReportBlock, RtcpWriter};

/// Seconds from 1900 (NTP) to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// The NTP timestamp (32.32 fixed point, RFC 5905 6) of a moment in microseconds since 1970.
pub(crate) fn ntp_from_unix(micros: u64) -> u64 {
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    ((seconds + NTP_TO_UNIX) << 32) | ((rest << 32) / 1_000_000)
}

/// Microseconds since 1970 of an NTP timestamp; zero for one before.
pub(crate) fn unix_from_ntp(ntp: u64) -> u64 {
    let seconds = (ntp >> 32).saturating_sub(NTP_TO_UNIX);
    seconds * 1_000_000 + (((ntp & 0xffff_ffff) * 1_000_000) >> 32)
}

/// Writes the SR and SDES of one subscription; false if they do not fit.
///
/// The NTP time is this host's, the RTP time is where the publisher's clock stands at that moment. All tracks
/// of a publisher are mapped by one offset, so that the subscriber's lip-sync is the publisher's.
pub(crate) fn write_sender_report(
    writer: &mut RtcpWriter<'_>,
    out: &Outgoing,
    clock: SourceClock,
    clock_rate: u32,
    unix_micros: u64,
) -> bool {
    let rtp = clock.rtp_at(unix_micros, clock_rate).wrapping_add(out.timestamp_shift);
    writer.sender_report(out.ssrc, ntp_from_unix(unix_micros), rtp, out.packets as u32, out.bytes as u32, &[])
        && writer.sdes_cname(out.ssrc, &out.cname)
}

/// Takes in a receiver's report about this subscription.
pub(crate) fn on_report_block(out: &mut Outgoing, block: &ReportBlock, unix_micros: u64) {
    out.fraction_lost = block.fraction_lost;
    if let Some(rtt) = round_trip(block, unix_micros) {
        out.rtt = rtt;
    }
}

/// RFC 3550 6.4.1: A - LSR - DLSR, in 1/65536 s. `None` without a sender report to measure from, or when the
/// numbers contradict each other.
fn round_trip(block: &ReportBlock, unix_micros: u64) -> Option<Duration> {
    if block.lsr == 0 {
        return None;
    }
    let now = (ntp_from_unix(unix_micros) >> 16) as u32;
    let elapsed = now.wrapping_sub(block.lsr).checked_sub(block.dlsr)?;
    // Ten seconds is no round trip but a wrong clock.
    (elapsed < 10 << 16).then(|| Duration::from_micros(u64::from(elapsed) * 1_000_000 / 65_536))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_and_unix_agree() {
        // RFC 868: 1 Jan 1970 is 2,208,988,800 s after 1900.
        assert_eq!(ntp_from_unix(0), NTP_TO_UNIX << 32);
        assert_eq!(ntp_from_unix(1_500_000) & 0xffff_ffff, 1 << 31);
        for micros in [0, 1, 999_999, 1_700_000_000_123_456] {
            assert!(micros - unix_from_ntp(ntp_from_unix(micros)) <= 1);
        }
    }

    #[test]
    fn the_round_trip_is_measured_from_the_sender_report() {
        let sent = 1_700_000_000_000_000;
        let lsr = (ntp_from_unix(sent) >> 16) as u32;
        let block = ReportBlock {
            ssrc: 1,
            fraction_lost: 0,
            cumulative_lost: 0,
            highest_sequence: 0,
            jitter: 0,
            lsr,
            dlsr: 65_536 / 2,
        };
        let rtt = round_trip(&block, sent + 580_000).map(Duration::as_millis);
        assert!(matches!(rtt, Some(79..=80)), "{rtt:?}");
        assert_eq!(round_trip(&ReportBlock { lsr: 0, ..block }, sent), None);
        assert_eq!(round_trip(&block, sent + 400_000), None, "held longer than it was away");
    }
}
