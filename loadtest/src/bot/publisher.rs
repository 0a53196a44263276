//! One publication: sends its clips in time and answers what the server asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtp::packet::Packet;

use super::limit::Limit;
use super::link::{Event, Link};
use crate::media::{Codec, PacketStream};
use crate::recorder::Recorder;

/// Sender reports.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A publisher that could not send for so long goes on from now instead of catching up.
const TOO_LATE: Duration = Duration::from_millis(500);
/// Seconds from the epoch of NTP to that of Unix.
const NTP_OFFSET: u64 = 2_208_988_800;

/// What publishers have done together.
#[derive(Debug, Default)]
pub(crate) struct SendCounts {
    pub(crate) packets: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) keyframes: AtomicU64,
    pub(crate) keyframe_requests: AtomicU64,
    pub(crate) retransmitted: AtomicU64,
    /// Frames that were sent more than 20 ms after their time, because the machine was busy.
    pub(crate) late: AtomicU64,
    /// Messages of congestion control, of either kind.
    pub(crate) feedback: AtomicU64,
    /// Times that a size was left out because it did not fit.
    pub(crate) paused: AtomicU64,
}

/// A publication under way.
pub(crate) struct Publisher {
    pub(crate) link: Link,
    pub(crate) streams: Vec<(PacketStream, Duration)>,
    pub(crate) recorder: Arc<Recorder>,
    /// If it obeys one.
    pub(crate) limit: Option<Limit>,
    pub(crate) transport_sequence: u16,
}

impl Publisher {
    /// Until the path is lost.
    pub(crate) async fn run(mut self) {
        let start = Instant::now();
        let mut due: Vec<Instant> = self.streams.iter().map(|_| start).collect();
        // Sizes that are sent, low to high; sound is not one of them.
        let sound = self.streams.iter().filter(|(stream, _)| stream.codec() == Codec::Opus).count();
        let mut sizes = self.streams.len() - sound;
        let mut report_at = start + REPORT_EVERY;
        loop {
            let next = due.iter().copied().chain([report_at]).min().unwrap_or(report_at);
            match self.link.next(next).await {
                Event::PathLost => return,
                Event::Media => self.feedback(),
                Event::Due => {
                    let now = Instant::now();
                    for (index, at) in due.iter_mut().enumerate().filter(|(_, at)| **at <= now) {
                        *at = self.send_frame(index, *at, now, index < sound + sizes);
                    }
                    sizes = self.sizes(now, sizes);
                    if report_at <= now {
                        report_at = now + REPORT_EVERY;
                        self.report(now);
                    }
                }
            }
        }
    }

    /// How many sizes are sent from now on.
    fn sizes(&mut self, now: Instant, before: usize) -> usize {
        let sizes = self.limit.as_mut().map_or(before, |limit| limit.sizes(now));
        self.recorder.sending.paused.fetch_add(before.saturating_sub(sizes) as u64, Ordering::Relaxed);
        sizes
    }

    /// Sends the frame that was due at `at`, or lets its time pass; the answer is when the next one is due.
    fn send_frame(&mut self, index: usize, at: Instant, now: Instant, sends: bool) -> Instant {
        let counts = &self.recorder.sending;
        let (stream, interval) = &mut self.streams[index];
        let interval = *interval;
        let next = if now - at > TOO_LATE { now + interval } else { at + interval };
        if !sends {
            stream.skip();
            return next;
        }
        let frame = stream.frame(now, self.recorder.epoch.elapsed());
        let transport_cc = stream.transport_cc();
        counts.packets.fetch_add(frame.packets.len() as u64, Ordering::Relaxed);
        counts.frames.fetch_add(1, Ordering::Relaxed);
        counts.keyframes.fetch_add(u64::from(frame.key), Ordering::Relaxed);
        counts.late.fetch_add(u64::from(now - at > Duration::from_millis(20)), Ordering::Relaxed);
        for packet in frame.packets {
            self.send(packet, transport_cc);
        }
        next
    }

    /// Sends a packet with the transport's next sequence number.
    fn send(&mut self, mut packet: Packet, transport_cc: Option<u8>) {
        if let Some(id) = transport_cc {
            let sequence = Bytes::copy_from_slice(&self.transport_sequence.to_be_bytes());
            self.transport_sequence = self.transport_sequence.wrapping_add(1);
            // The id was checked when it was negotiated.
            let _ = packet.header.set_extension(id, sequence);
        }
        self.link.send(&packet);
    }

    fn feedback(&mut self) {
        if !self.link.datagram().get(1).is_some_and(|second| (192..=223).contains(second)) {
            return;
        }
        let Some(mut compound) = self.link.open_rtcp() else {
            self.recorder.error("RTCP to a publisher did not open");
            return;
        };
        for packet in rtcp::packet::unmarshal(&mut compound).unwrap_or_default() {
            let any = packet.as_any();
            if let Some(pli) = any.downcast_ref::<PictureLossIndication>() {
                self.want_key(pli.media_ssrc);
            } else if let Some(fir) = any.downcast_ref::<FullIntraRequest>() {
                fir.fir.iter().for_each(|entry| self.want_key(entry.ssrc));
            } else if let Some(nack) = any.downcast_ref::<TransportLayerNack>() {
                self.send_again(nack);
            } else if let Some(feedback) = any.downcast_ref::<TransportLayerCc>() {
                self.recorder.sending.feedback.fetch_add(1, Ordering::Relaxed);
                self.limit.iter_mut().for_each(|limit| limit.heard_feedback(feedback));
            } else if let Some(remb) = any.downcast_ref::<ReceiverEstimatedMaximumBitrate>() {
                self.recorder.sending.feedback.fetch_add(1, Ordering::Relaxed);
                self.limit.iter_mut().for_each(|limit| limit.heard_remb(remb.bitrate.into()));
            }
        }
    }

    fn want_key(&mut self, ssrc: u32) {
        self.recorder.sending.keyframe_requests.fetch_add(1, Ordering::Relaxed);
        if let Some((stream, _)) = self.streams.iter_mut().find(|(stream, _)| stream.ssrc() == ssrc) {
            stream.want_key();
        }
    }

    fn send_again(&mut self, nack: &TransportLayerNack) {
        let Some((stream, _)) = self.streams.iter_mut().find(|(stream, _)| stream.ssrc() == nack.media_ssrc) else {
            return;
        };
        let missing = nack.nacks.iter().flat_map(|pair| pair.packet_list());
        let packets: Vec<_> = missing.filter_map(|sequence| stream.again(sequence)).collect();
        let transport_cc = stream.transport_cc();
        self.recorder.sending.retransmitted.fetch_add(packets.len() as u64, Ordering::Relaxed);
        packets.into_iter().for_each(|packet| self.send(packet, transport_cc));
    }

    fn report(&mut self, now: Instant) {
        let since_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let fraction = (u64::from(since_unix.subsec_nanos()) << 32) / 1_000_000_000;
        let ntp = ((since_unix.as_secs() + NTP_OFFSET) << 32) | fraction;
        for (stream, _) in &self.streams {
            let report: Result<Bytes, _> = rtcp::packet::marshal(&[Box::new(stream.report(now, ntp))]);
            if let Ok(bytes) = report {
                self.link.send_rtcp(&bytes);
            }
        }
    }
}
