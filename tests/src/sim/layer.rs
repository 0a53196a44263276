//! One encoding of a simulated publisher's video: its own SSRCs, numbers and clock, as simulcast layers have them.

use std::collections::BTreeMap;

use dataplane_core::wire::rtcp::RtcpWriter;
use dataplane_core::{Duration, Instant};

use super::media::{Part, VIDEO_RTX_SSRC, VIDEO_SSRC};

/// Names of a simulcast publisher's layers, in rising quality.
pub const RIDS: [&str; 3] = ["l", "m", "h"];

/// What was sent, to be sent again.
#[derive(Clone, Debug)]
struct Sent {
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

/// A datagram to be sealed: SSRC, payload type, packet index, timestamp, marker, payload.
pub(super) struct Outgoing {
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    pub(super) index: u64,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload: Vec<u8>,
}

/// One encoding.
#[derive(Debug)]
pub struct Layer {
    /// Its place, from the lowest quality up; 0 for a publisher with one.
    pub number: u8,
    /// `a=rid`; absent without simulcast.
    pub rid: Option<&'static str>,
    /// SSRC of its media, changed by [`Layer::restart`].
    pub ssrc: u32,
    /// Whether it is being sent.
    pub active: bool,
    /// Keyframe requests that came.
    pub keyframe_requests: Vec<Instant>,
    rtx_ssrc: u32,
    keyframe_due: bool,
    sequence: u64,
    rtx_sequence: u64,
    picture: u16,
    start: Instant,
    /// Added to its timestamps: every encoder begins anywhere.
    timestamp_base: u32,
    sent: BTreeMap<u64, Sent>,
}

impl Layer {
    pub(super) fn new(number: u8, simulcast: bool, now: Instant) -> Self {
        let place = u32::from(number);
        Self {
            number,
            rid: simulcast.then(|| RIDS[usize::from(number)]),
            ssrc: VIDEO_SSRC + (place << 8),
            active: true,
            keyframe_requests: Vec::new(),
            rtx_ssrc: VIDEO_RTX_SSRC + (place << 8),
            keyframe_due: true,
            // Close to the end of 16 bits, so that every run rolls over.
            sequence: 0xff00 - u64::from(number) * 0x1111,
            rtx_sequence: 0x7000,
            picture: 0x7fe0u16.wrapping_sub(u16::from(number) * 0x1234) & 0x7fff,
            start: now,
            timestamp_base: place.wrapping_mul(0x5000_0000),
            sent: BTreeMap::new(),
        }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.start = now;
    }

    /// Starts over with another SSRC and other numbers, as after a reload.
    pub fn restart(&mut self, now: Instant) {
        self.ssrc ^= 0x0f0f_0000;
        self.sequence = 0x0123;
        self.start = now;
        self.keyframe_due = true;
        self.sent.clear();
    }

    /// The packets of one frame; none while it is not sent.
    pub(super) fn frame(&mut self, now: Instant, frame: u32) -> Vec<Outgoing> {
        if !self.active {
            self.keyframe_due = true;
            return Vec::new();
        }
        let keyframe = std::mem::take(&mut self.keyframe_due);
        let parts = if keyframe { 8 } else { 3 };
        let timestamp = self.rtp_time(now);
        self.picture = self.picture.wrapping_add(1) & 0x7fff;
        let mut packets = Vec::new();
        for part in 0..parts {
            let payload = Part { frame, part, parts, keyframe, layer: self.number }.payload(self.picture);
            let sent = Sent { timestamp, marker: part + 1 == parts, payload };
            packets.push(self.media(self.sequence, &sent));
            self.sent.insert(self.sequence, sent);
            self.sequence += 1;
        }
        while self.sent.len() > 1_000 {
            self.sent.pop_first();
        }
        packets
    }

    /// A packet that could come next.
    pub(super) fn next(&self, part: Part) -> Outgoing {
        self.media(self.sequence, &Sent { timestamp: 1, marker: true, payload: part.payload(self.picture) })
    }

    fn media(&self, index: u64, sent: &Sent) -> Outgoing {
        let Sent { timestamp, marker, payload } = sent.clone();
        Outgoing { ssrc: self.ssrc, payload_type: 96, index, timestamp, marker, payload }
    }

    /// The retransmission of a packet, if it is still known.
    pub(super) fn resend(&mut self, sequence: u16) -> Option<Outgoing> {
        let (_, sent) = self.sent.iter().rev().find(|(index, _)| **index as u16 == sequence)?;
        let mut payload = sequence.to_be_bytes().to_vec();
        payload.extend(&sent.payload);
        let (timestamp, marker) = (sent.timestamp, sent.marker);
        let index = self.rtx_sequence;
        self.rtx_sequence += 1;
        Some(Outgoing { ssrc: self.rtx_ssrc, payload_type: 97, index, timestamp, marker, payload })
    }

    pub(super) fn on_pli(&mut self, now: Instant) {
        self.keyframe_requests.push(now);
        self.keyframe_due = true;
    }

    pub(super) fn report(&self, now: Instant, ntp: u64, writer: &mut RtcpWriter<'_>) {
        assert!(writer.sender_report(self.ssrc, ntp, self.rtp_time(now), 0, 0, &[]));
    }

    fn rtp_time(&self, now: Instant) -> u32 {
        let elapsed: Duration = now.since(self.start);
        self.timestamp_base.wrapping_add((elapsed.as_micros() * 90_000 / 1_000_000) as u32)
    }
}
