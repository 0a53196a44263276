//! One subscription: opens a sample of what comes, measures all of it, and asks for what is missing.
//!
//! The header of a packet is readable without its key, so that loss, jitter and pictures are measured on every packet,
//! while only a sample is decrypted: each packet until the first has authenticated the stream, each while a keyframe is
//! awaited, retransmissions, and then one of so many. What does not open is counted, and no run passes with one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::receiver_report::ReceiverReport;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport;
use rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};
use rtp::header::Header;
use webrtc_util::marshal::Unmarshal;

use super::arrivals::Arrivals;
use super::link::{Event, Link};
use super::reception::{Received, Reception};
use crate::media::{Codec, Sent};
use crate::recorder::Recorder;

/// Receiver reports, and what was counted is published.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// The SSRC that a mere receiver reports with.
pub(super) const OWN_SSRC: u32 = 1;

/// What everybody may read about a subscription while it runs.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// The room that it is in.
    pub(crate) room: usize,
    pub(crate) ended: AtomicBool,
    /// Milliseconds since the run's beginning plus one, of the last packet; 0: none yet.
    pub(crate) last_audio: AtomicU64,
    pub(crate) last_video: AtomicU64,
    pub(crate) expects_audio: bool,
    pub(crate) expects_video: bool,
    pub(crate) packets: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) recovered: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) freezes: AtomicU64,
    pub(crate) frozen_us: AtomicU64,
    pub(crate) keyframe_requests: AtomicU64,
    pub(crate) video_jitter_us: AtomicU64,
    pub(crate) audio_jitter_us: AtomicU64,
    pub(crate) opened: AtomicU64,
    pub(crate) unopened: AtomicU64,
}

/// One track as the server's SDP announced it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Track {
    pub(crate) codec: Codec,
    pub(crate) payload_type: u8,
    pub(crate) rtx_payload_type: Option<u8>,
}

/// A subscription under way.
pub(crate) struct Subscriber {
    pub(crate) link: Link,
    pub(crate) tracks: Vec<Track>,
    /// Id of the header extension with the transport's sequence number, if it was negotiated.
    pub(crate) transport_cc: Option<u8>,
    /// One of so many packets is decrypted; 0: none but the necessary.
    pub(crate) verify: u32,
    pub(crate) live: Arc<Live>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) stream: String,
    /// Set when the first packet of media has come.
    pub(crate) first_packet: Option<Box<dyn FnOnce() + Send>>,
}

struct Streams {
    by_ssrc: HashMap<u32, Stream>,
    sent: Option<Arc<Sent>>,
    connected: Instant,
    arrivals: Option<Arrivals>,
    /// Of the last packet.
    last_ssrc: u32,
    /// Bytes until the last report.
    reported_bytes: u64,
}

struct Stream {
    track: Track,
    rtx: bool,
    reception: Reception,
    /// Whether a packet of it has opened.
    authentic: bool,
    since_sample: u32,
    wants_end: bool,
    /// Middle bits of the time in the server's last report, and when it came.
    last_report: Option<(u32, Instant)>,
}

impl Subscriber {
    /// Until the path is lost.
    pub(crate) async fn run(mut self) {
        let now = Instant::now();
        let mut streams = Streams {
            by_ssrc: HashMap::new(),
            sent: None,
            connected: now,
            arrivals: self.transport_cc.map(|_| Arrivals::new(now)),
            last_ssrc: 0,
            reported_bytes: 0,
        };
        let mut report_at = now + REPORT_EVERY;
        loop {
            let asks = streams.by_ssrc.values().filter(|stream| !stream.rtx);
            let feedback = streams.arrivals.as_ref().map(Arrivals::due);
            let due =
                asks.filter_map(|stream| stream.reception.next_deadline()).chain(feedback).chain([report_at]).min();
            match self.link.next(due.unwrap_or(report_at)).await {
                Event::PathLost => return,
                Event::Media => self.media(&mut streams),
                Event::Due => {
                    let now = Instant::now();
                    self.ask(&mut streams, now);
                    self.tell_arrivals(&mut streams, now);
                    if report_at <= now {
                        report_at = now + REPORT_EVERY;
                        self.report(&mut streams, now);
                    }
                }
            }
        }
    }

    fn media(&mut self, streams: &mut Streams) {
        let now = Instant::now();
        let datagram = self.link.datagram();
        if datagram.get(1).is_some_and(|second| (192..=223).contains(second)) {
            if let Some(compound) = self.link.open_rtcp() {
                streams.heard(compound, now);
            }
            return;
        }
        let mut bytes = datagram;
        let len = datagram.len();
        let Ok(header) = Header::unmarshal(&mut bytes) else { return };
        let header_len = len - bytes.len();
        if let Some(arrivals) = &mut streams.arrivals
            && let Some(sequence) = self.transport_cc.and_then(|id| header.get_extension(id))
            && let [high, low] = sequence[..]
        {
            arrivals.note(u16::from_be_bytes([high, low]), now);
            streams.last_ssrc = header.ssrc;
        }
        let Some(stream) = streams.stream(&header, &self.tracks) else {
            self.live.unopened.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let opens = stream.is_sample(self.verify, header.marker);
        let plain = if opens { self.link.open_rtp() } else { None };
        if opens && plain.is_none() {
            self.live.unopened.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let payload = plain.and_then(|plain| (plain.len() >= header_len).then(|| plain.slice(header_len..)));
        let payload = payload.map(|payload| without_padding(&header, payload));
        self.live.opened.fetch_add(u64::from(payload.is_some()), Ordering::Relaxed);
        stream.authentic |= payload.is_some();
        let (track, rtx) = (stream.track, stream.rtx);
        let video = track.codec != Codec::Opus;
        self.live.packets.fetch_add(1, Ordering::Relaxed);
        self.live.bytes.fetch_add(len as u64, Ordering::Relaxed);
        let packet = Received {
            sequence: header.sequence_number,
            timestamp: header.timestamp,
            marker: header.marker,
            key: false,
        };
        if rtx {
            streams.retransmitted(packet, track, payload, now);
            return;
        }
        let at = self.recorder.epoch.elapsed().as_millis() as u64 + 1;
        let last = if video { &self.live.last_video } else { &self.live.last_audio };
        last.store(at, Ordering::Relaxed);
        let key = payload.as_deref().is_some_and(|payload| begins_keyframe(track.codec, payload));
        stream.reception.packet(now, Received { key, ..packet });
        for wait in stream.reception.take_key_waits() {
            self.recorder.keyframe_waited(wait);
        }
        if let Some(first) = self.first_packet.take() {
            first();
        }
        if let Some(payload) = payload.filter(|_| header.marker || !video) {
            self.measure_latency(streams, video, &payload, now);
        }
    }

    fn measure_latency(&self, streams: &mut Streams, video: bool, payload: &[u8], now: Instant) {
        if streams.sent.is_none() {
            streams.sent = self.recorder.sent(&self.stream);
        }
        let Some(sent) = &streams.sent else { return };
        match sent.age(video, payload, now) {
            Some(age) => self.recorder.arrived_after(age),
            None => self.recorder.unknown_payload(),
        }
    }

    /// Negative acknowledgements and requests for keyframes.
    fn ask(&mut self, streams: &mut Streams, now: Instant) {
        for (ssrc, stream) in streams.by_ssrc.iter_mut().filter(|(_, stream)| !stream.rtx) {
            let requests = stream.reception.requests(now);
            let mut compound: Vec<Box<dyn rtcp::packet::Packet + Send + Sync>> = Vec::new();
            if !requests.again.is_empty() && stream.track.rtx_payload_type.is_some() {
                let nacks = nack_pairs_from_sequence_numbers(&requests.again);
                compound.push(Box::new(TransportLayerNack { sender_ssrc: OWN_SSRC, media_ssrc: *ssrc, nacks }));
            }
            if requests.keyframe {
                compound.push(Box::new(PictureLossIndication { sender_ssrc: OWN_SSRC, media_ssrc: *ssrc }));
            }
            if let Some(bytes) = (!compound.is_empty()).then(|| rtcp::packet::marshal(&compound).ok()).flatten() {
                self.link.send_rtcp(&bytes);
            }
        }
    }

    /// Transport-wide feedback.
    fn tell_arrivals(&mut self, streams: &mut Streams, now: Instant) {
        let Some(arrivals) = &mut streams.arrivals else { return };
        let Some(feedback) = arrivals.feedback(now, streams.last_ssrc) else { return };
        if let Ok(bytes) = rtcp::packet::marshal(&[Box::new(feedback)]) {
            self.recorder.feedback_sent.fetch_add(1, Ordering::Relaxed);
            self.link.send_rtcp(&bytes);
        }
    }

    fn report(&mut self, streams: &mut Streams, now: Instant) {
        let bytes = self.live.bytes.load(Ordering::Relaxed);
        if let Some(arrivals) = &mut streams.arrivals {
            arrivals.receives((bytes - streams.reported_bytes) as f64 * 8.0 / REPORT_EVERY.as_secs_f64());
        }
        streams.reported_bytes = bytes;
        let mut reports = Vec::new();
        for (ssrc, stream) in streams.by_ssrc.iter_mut().filter(|(_, stream)| !stream.rtx) {
            let (fraction_lost, total_lost, last_sequence_number, jitter) = stream.reception.report();
            let (last_sender_report, delay) = stream
                .last_report
                .map_or((0, 0), |(middle, at)| (middle, ((now - at).as_secs_f64() * 65_536.0) as u32));
            reports.push(ReceptionReport {
                ssrc: *ssrc,
                fraction_lost,
                total_lost,
                last_sequence_number,
                jitter,
                last_sender_report,
                delay,
            });
        }
        self.publish(streams);
        // A publisher that negotiated anew has new books.
        streams.sent = self.recorder.sent(&self.stream);
        let report = ReceiverReport { ssrc: OWN_SSRC, reports, ..ReceiverReport::default() };
        if let Ok(bytes) = rtcp::packet::marshal(&[Box::new(report)]) {
            self.link.send_rtcp(&bytes);
        }
    }

    fn publish(&self, streams: &Streams) {
        let (mut lost, mut recovered, mut frames, mut freezes, mut requests) = (0, 0, 0, 0, 0);
        let mut frozen = Duration::ZERO;
        for stream in streams.by_ssrc.values().filter(|stream| !stream.rtx) {
            let counts = stream.reception.counts();
            lost += counts.lost;
            recovered += counts.recovered;
            frames += counts.frames;
            freezes += counts.freezes;
            frozen += counts.frozen;
            requests += counts.keyframe_requests;
            let video = stream.track.codec != Codec::Opus;
            let jitter = if video { &self.live.video_jitter_us } else { &self.live.audio_jitter_us };
            jitter.store(stream.reception.jitter().as_micros() as u64, Ordering::Relaxed);
        }
        let counters = [
            (&self.live.lost, lost),
            (&self.live.recovered, recovered),
            (&self.live.frames, frames),
            (&self.live.freezes, freezes),
            (&self.live.frozen_us, frozen.as_micros() as u64),
            (&self.live.keyframe_requests, requests),
        ];
        counters.iter().for_each(|(counter, value)| counter.store(*value, Ordering::Relaxed));
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.live.ended.store(true, Ordering::Relaxed);
    }
}

impl Streams {
    /// The stream of this SSRC, known or new; `None` for a payload type that nobody announced.
    fn stream(&mut self, header: &Header, tracks: &[Track]) -> Option<&mut Stream> {
        if !self.by_ssrc.contains_key(&header.ssrc) {
            let pt = header.payload_type;
            let track = *tracks.iter().find(|t| t.payload_type == pt || t.rtx_payload_type == Some(pt))?;
            let rtx = track.rtx_payload_type == Some(pt);
            let reception = Reception::new(track.codec != Codec::Opus, track.codec.clock_rate(), self.connected);
            let stream = Stream {
                track,
                rtx,
                reception,
                authentic: false,
                since_sample: 0,
                wants_end: false,
                last_report: None,
            };
            self.by_ssrc.insert(header.ssrc, stream);
        }
        self.by_ssrc.get_mut(&header.ssrc)
    }

    /// Takes a retransmission for what it repeats (RFC 4588 4).
    fn retransmitted(&mut self, packet: Received, track: Track, payload: Option<Bytes>, now: Instant) {
        let Some(payload) = payload.filter(|payload| payload.len() > 2) else { return };
        let sequence = u16::from_be_bytes([payload[0], payload[1]]);
        let key = begins_keyframe(track.codec, &payload[2..]);
        let mut originals = self.by_ssrc.values_mut().filter(|s| !s.rtx && s.track.payload_type == track.payload_type);
        if let Some(original) = originals.next() {
            original.reception.recovered(now, Received { sequence, key, ..packet });
        }
    }

    fn heard(&mut self, mut compound: Bytes, now: Instant) {
        for packet in rtcp::packet::unmarshal(&mut compound).unwrap_or_default() {
            if let Some(report) = packet.as_any().downcast_ref::<SenderReport>()
                && let Some(stream) = self.by_ssrc.get_mut(&report.ssrc)
            {
                stream.last_report = Some(((report.ntp_time >> 16) as u32, now));
            }
        }
    }
}

impl Stream {
    /// Whether to decrypt this one.
    fn is_sample(&mut self, verify: u32, marker: bool) -> bool {
        if self.rtx || !self.authentic || (self.reception.needs_key() && self.track.codec != Codec::Opus) {
            return true;
        }
        self.since_sample += 1;
        if verify > 0 && self.since_sample >= verify {
            self.since_sample = 0;
            // The end of a picture tells how old it is.
            self.wants_end = !marker;
            return true;
        }
        marker && std::mem::take(&mut self.wants_end)
    }
}

fn without_padding(header: &Header, payload: Bytes) -> Bytes {
    let padding = if header.padding { usize::from(payload.last().copied().unwrap_or(0)) } else { 0 };
    payload.slice(..payload.len().saturating_sub(padding))
}

/// Whether a keyframe begins in this payload.
fn begins_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Opus => false,
        Codec::Vp8 => vp8_frame(payload).is_some_and(|first| first & 1 == 0),
        Codec::H264 => match payload.first().map(|first| first & 0x1f) {
            // Sequence parameters or an IDR slice, alone, first of several in one packet, or as the first fragment.
            Some(5 | 7) => true,
            Some(24) => payload.get(3).is_some_and(|first| matches!(first & 0x1f, 5 | 7)),
            Some(28) => payload.get(1).is_some_and(|second| second & 0x80 != 0 && matches!(second & 0x1f, 5 | 7)),
            _ => false,
        },
    }
}

/// The first byte of a VP8 frame if one begins here (RFC 7741 4.2).
fn vp8_frame(payload: &[u8]) -> Option<u8> {
    let first = *payload.first()?;
    if first & 0x17 != 0x10 {
        return None;
    }
    let mut at = 1;
    if first & 0x80 != 0 {
        let flags = *payload.get(1)?;
        at = 2;
        if flags & 0x80 != 0 {
            at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(flags & 0x40 != 0) + usize::from(flags & 0x30 != 0);
    }
    payload.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_are_seen_through_their_packetization() {
        let key = |codec, payload: &[u8]| begins_keyframe(codec, payload);
        assert!(key(Codec::Vp8, &[0x10, 0x50]));
        assert!(key(Codec::Vp8, &[0x90, 0x80, 0x05, 0x50]), "picture id of 7 bits");
        assert!(key(Codec::Vp8, &[0x90, 0xe0, 0x85, 0x05, 1, 2, 0x50]), "15 bits, tl0picidx and tid");
        assert!(!key(Codec::Vp8, &[0x90, 0x80, 0x05, 0x51]), "an interframe");
        assert!(!key(Codec::Vp8, &[0x80, 0x80, 0x05, 0x50]), "not the first packet");
        assert!(!key(Codec::Vp8, &[0x90, 0x80]), "cut");
        assert!(key(Codec::H264, &[0x67, 1]));
        assert!(key(Codec::H264, &[24, 0, 2, 0x67, 1]));
        assert!(key(Codec::H264, &[28, 0x85]));
        assert!(!key(Codec::H264, &[28, 0x05]), "a later fragment");
        assert!(!key(Codec::H264, &[0x41]));
    }
}
