//! Transport-wide congestion feedback to a publisher: when each of its datagrams came
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01). Its bandwidth estimate lives on this.

use crate::ingress::history::unwrap_near;
use crate::time::{Duration, Instant};
use crate::wire::rtcp::RtcpWriter;
use crate::wire::twcc::Feedback;

/// How often arrivals are told. Browsers accept 50 to 250 ms; the shorter, the faster the climb.
const INTERVAL: Duration = Duration::from_millis(50);
/// Arrivals remembered, a power of two: half a second at 2,000 packets per second.
const WINDOW: usize = 1_024;
/// Sequence numbers per feedback packet: what fits one datagram with two-byte deltas (RFC-size 1,200 B).
const PER_PACKET: usize = 400;

/// The arrivals of one transport.
#[derive(Debug, Default)]
pub(crate) struct TransportFeedback {
    /// Made with the first numbered packet: a subscriber's transport never has one.
    window: Option<Box<[Option<Instant>; WINDOW]>>,
    /// First sequence number not yet told.
    next: u64,
    highest: u64,
    count: u8,
    due: Option<Instant>,
}

impl TransportFeedback {
    /// Takes in a datagram with transport-wide sequence number `sequence`.
    pub(crate) fn on_packet(&mut self, now: Instant, sequence: u16) {
        let Some(window) = self.window.as_mut() else {
            // Far from zero, so that reordering at the beginning stays positive.
            let first = 0x1_0000 + u64::from(sequence);
            (self.next, self.highest) = (first, first);
            let mut window = Box::new([None; WINDOW]);
            window[first as usize % WINDOW] = Some(now);
            self.window = Some(window);
            self.due = Some(now + INTERVAL);
            return;
        };
        let Some(sequence) = unwrap_near(self.highest, sequence) else { return };
        if sequence + WINDOW as u64 <= self.highest {
            return;
        }
        if sequence > self.highest {
            // What lies between belongs to another round of the ring.
            let first = (self.highest + 1).max(sequence.saturating_sub(WINDOW as u64 - 1));
            for skipped in first..sequence {
                window[skipped as usize % WINDOW] = None;
            }
            self.highest = sequence;
            self.next = self.next.max((sequence + 1).saturating_sub(WINDOW as u64));
        }
        window[sequence as usize % WINDOW] = Some(now);
        if sequence < self.next {
            // It was told as lost: tell it again, with what follows.
            self.next = sequence;
        }
        self.due.get_or_insert(now + INTERVAL);
    }

    /// When to call [`TransportFeedback::write`].
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Writes one feedback packet; returns whether there was anything to tell. The caller repeats it while
    /// [`TransportFeedback::due`] is not later than `now`.
    pub(crate) fn write(&mut self, now: Instant, writer: &mut RtcpWriter<'_>, sender: u32, media: u32) -> bool {
        self.due = None;
        let Some(window) = self.window.as_ref() else { return false };
        // A packet begins with an arrival: its time is the reference.
        let arrived = |sequence: u64| window[sequence as usize % WINDOW];
        let Some(base) = (self.next..=self.highest).find(|sequence| arrived(*sequence).is_some()) else {
            self.next = self.highest + 1;
            return false;
        };
        let mut arrivals = [None; PER_PACKET];
        let count = ((self.highest - base + 1) as usize).min(PER_PACKET);
        for (offset, slot) in arrivals[..count].iter_mut().enumerate() {
            *slot = arrived(base + offset as u64).map(|at| at.as_micros() as i64);
        }
        let feedback = Feedback { sender, media, count: self.count, base_sequence: base as u16 };
        let covered = writer.transport_cc(feedback, &arrivals[..count]);
        if covered == 0 {
            return false;
        }
        self.count = self.count.wrapping_add(1);
        self.next = base + covered as u64;
        if self.next <= self.highest {
            self.due = Some(now);
        }
        true
    }
}

#[cfg(test)]
mod tests;
