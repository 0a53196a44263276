//! One publication: sends its clips in time and answers what the server asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;

use super::link::{Event, Link};
use crate::media::PacketStream;
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
}

/// A publication under way.
pub(crate) struct Publisher {
    pub(crate) link: Link,
    pub(crate) streams: Vec<(PacketStream, Duration)>,
    pub(crate) recorder: Arc<Recorder>,
}

impl Publisher {
    /// Until the path is lost.
    pub(crate) async fn run(mut self) {
        let start = Instant::now();
        let mut due: Vec<Instant> = self.streams.iter().map(|_| start).collect();
        let mut report_at = start + REPORT_EVERY;
        loop {
            let next = due.iter().copied().chain([report_at]).min().unwrap_or(report_at);
            match self.link.next(next).await {
                Event::PathLost => return,
                Event::Media => self.feedback(),
                Event::Due => {
                    let now = Instant::now();
                    for (index, at) in due.iter_mut().enumerate().filter(|(_, at)| **at <= now) {
                        *at = self.send_frame(index, *at, now);
                    }
                    if report_at <= now {
                        report_at = now + REPORT_EVERY;
                        self.report(now);
                    }
                }
            }
        }
    }

    /// Sends the frame that was due at `at`; the answer is when the next one is.
    fn send_frame(&mut self, index: usize, at: Instant, now: Instant) -> Instant {
        let counts = &self.recorder.sending;
        let (stream, interval) = &mut self.streams[index];
        let frame = stream.frame(now, self.recorder.epoch.elapsed());
        counts.packets.fetch_add(frame.packets.len() as u64, Ordering::Relaxed);
        counts.frames.fetch_add(1, Ordering::Relaxed);
        counts.keyframes.fetch_add(u64::from(frame.key), Ordering::Relaxed);
        counts.late.fetch_add(u64::from(now - at > Duration::from_millis(20)), Ordering::Relaxed);
        for packet in &frame.packets {
            self.link.send(packet);
        }
        if now - at > TOO_LATE { now + *interval } else { at + *interval }
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
        for sequence in nack.nacks.iter().flat_map(|pair| pair.packet_list()) {
            if let Some(packet) = stream.again(sequence) {
                self.recorder.sending.retransmitted.fetch_add(1, Ordering::Relaxed);
                self.link.send(&packet);
            }
        }
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
