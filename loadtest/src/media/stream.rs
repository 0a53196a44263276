//! One outgoing RTP stream of a clip: its packets, its retransmissions and its reports.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use rtcp::sender_report::SenderReport;
use rtp::codecs::h264::H264Payloader;
use rtp::codecs::opus::OpusPayloader;
use rtp::codecs::vp8::Vp8Payloader;
use rtp::header::Header;
use rtp::packet::Packet;
use rtp::packetizer::Payloader;

use super::clip::{Clip, Codec};
use super::sent::SentLog;

/// Bytes of payload at most: 1,200 bytes of RTP with header, extensions and tag stay below any path's MTU.
const MTU: usize = 1_160;
/// Bytes of a payload that are not the frame's, at most.
const DESCRIPTOR: usize = 4;
/// Packets kept to be sent again.
const KEPT: usize = 512;
/// Keyframes that are asked for within this time are one.
const KEYFRAME_PAUSE: Duration = Duration::from_millis(300);

/// How a stream is labelled, as negotiated.
#[derive(Clone, Debug)]
pub(crate) struct StreamIds {
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
    /// SSRC and payload type of retransmissions.
    pub(crate) rtx: Option<(u32, u8)>,
    /// Header extensions of every packet: id and value.
    pub(crate) extensions: Vec<(u8, Bytes)>,
    /// As they stand on retransmissions.
    pub(crate) rtx_extensions: Vec<(u8, Bytes)>,
    /// Id of the header extension with the transport's sequence number, which is set when a packet leaves.
    pub(crate) transport_cc: Option<u8>,
}

/// A clip under way.
pub(crate) struct PacketStream {
    ids: StreamIds,
    clip: Arc<Clip>,
    log: Arc<SentLog>,
    payloader: Box<dyn Payloader + Send + Sync>,
    next: usize,
    sequence: u16,
    rtx_sequence: u16,
    timestamp: u32,
    sent_at: Instant,
    kept: VecDeque<Packet>,
    packets: u32,
    octets: u32,
    wants_key: bool,
    last_key: Option<Instant>,
}

/// What a frame became.
pub(crate) struct Outgoing {
    pub(crate) packets: Vec<Packet>,
    pub(crate) key: bool,
}

impl PacketStream {
    pub(crate) fn new(ids: StreamIds, log: Arc<SentLog>, seed: u64, now: Instant) -> Self {
        let clip = Arc::clone(&log.clip);
        let payloader: Box<dyn Payloader + Send + Sync> = match clip.codec {
            Codec::Vp8 => {
                let mut payloader = Vp8Payloader::default();
                payloader.enable_picture_id = true;
                Box::new(payloader)
            }
            Codec::H264 => Box::<H264Payloader>::default(),
            Codec::Opus => Box::new(OpusPayloader),
        };
        Self {
            // Below half of the range, so that the first packets do not wrap (RFC 3711 3.3.1).
            sequence: (seed as u16) & 0x7fff,
            rtx_sequence: ((seed >> 16) as u16) & 0x7fff,
            timestamp: (seed >> 32) as u32,
            // Every publisher begins somewhere else in the clip, at a keyframe.
            next: clip.next_key((seed % clip.frames.len().max(1) as u64) as usize),
            ids,
            clip,
            log,
            payloader,
            sent_at: now,
            kept: VecDeque::new(),
            packets: 0,
            octets: 0,
            wants_key: false,
            last_key: None,
        }
    }

    pub(crate) fn ssrc(&self) -> u32 {
        self.ids.ssrc
    }

    pub(crate) fn codec(&self) -> Codec {
        self.clip.codec
    }

    /// Id of the header extension for the transport's sequence number.
    pub(crate) fn transport_cc(&self) -> Option<u8> {
        self.ids.transport_cc
    }

    /// Lets a frame's time pass without sending it; what comes after it must begin with a keyframe.
    pub(crate) fn skip(&mut self) {
        self.timestamp = self.timestamp.wrapping_add(self.clip.ticks());
        self.next = (self.next + 1) % self.clip.frames.len();
        self.wants_key = true;
        self.last_key = None;
    }

    /// Goes on with a keyframe, as soon as the last one is old enough.
    pub(crate) fn want_key(&mut self) {
        self.wants_key = true;
    }

    /// The next frame. `since_epoch` is now on the run's clock.
    pub(crate) fn frame(&mut self, now: Instant, since_epoch: Duration) -> Outgoing {
        if self.wants_key && self.last_key.is_none_or(|last| now - last >= KEYFRAME_PAUSE) {
            self.next = self.clip.next_key(self.next);
        }
        let index = self.next;
        let frame = &self.clip.frames[index];
        let payloads = self.payloader.payload(even_payload(frame.data.len()), &frame.data).unwrap_or_default();
        let key = frame.key && self.clip.codec != Codec::Opus;
        if key {
            self.last_key = Some(now);
            self.wants_key = false;
        }
        let last = payloads.len().saturating_sub(1);
        let packets: Vec<_> = payloads
            .into_iter()
            .enumerate()
            .map(|(i, payload)| {
                let header = Header {
                    version: 2,
                    marker: i == last && self.clip.codec != Codec::Opus,
                    payload_type: self.ids.payload_type,
                    sequence_number: self.sequence,
                    timestamp: self.timestamp,
                    ssrc: self.ids.ssrc,
                    ..Header::default()
                };
                self.sequence = self.sequence.wrapping_add(1);
                labelled(Packet { header, payload }, &self.ids.extensions)
            })
            .collect();
        self.packets = self.packets.wrapping_add(packets.len() as u32);
        self.octets = self.octets.wrapping_add(packets.iter().map(|packet| packet.payload.len() as u32).sum());
        self.log.note(index, since_epoch);
        self.sent_at = now;
        self.timestamp = self.timestamp.wrapping_add(self.clip.ticks());
        self.next = (index + 1) % self.clip.frames.len();
        if self.ids.rtx.is_some() {
            self.kept.extend(packets.iter().cloned());
            while self.kept.len() > KEPT {
                self.kept.pop_front();
            }
        }
        Outgoing { packets, key }
    }

    /// The packet of this sequence number as a retransmission (RFC 4588 4).
    pub(crate) fn again(&mut self, sequence: u16) -> Option<Packet> {
        let (ssrc, payload_type) = self.ids.rtx?;
        let first = self.kept.front()?.header.sequence_number;
        let packet = self.kept.get(usize::from(sequence.wrapping_sub(first)))?;
        let mut payload = BytesMut::with_capacity(packet.payload.len() + 2);
        payload.put_u16(sequence);
        payload.put_slice(&packet.payload);
        let header = Header {
            version: 2,
            marker: packet.header.marker,
            payload_type,
            sequence_number: self.rtx_sequence,
            timestamp: packet.header.timestamp,
            ssrc,
            ..Header::default()
        };
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        Some(labelled(Packet { header, payload: payload.freeze() }, &self.ids.rtx_extensions))
    }

    /// A report of what was sent, with the wall clock's time of now.
    pub(crate) fn report(&self, now: Instant, ntp: u64) -> SenderReport {
        let since = (now - self.sent_at).as_secs_f64() * f64::from(self.clip.codec.clock_rate());
        let at_last = self.timestamp.wrapping_sub(self.clip.ticks());
        SenderReport {
            ssrc: self.ids.ssrc,
            ntp_time: ntp,
            rtp_time: at_last.wrapping_add(since as u32),
            packet_count: self.packets,
            octet_count: self.octets,
            ..SenderReport::default()
        }
    }
}

/// Bytes of payload in each packet of a frame of `len` bytes, so that all packets are about equal, as libwebrtc has it:
/// the last one is large enough to know the frame by.
fn even_payload(len: usize) -> usize {
    let packets = len.div_ceil(MTU - DESCRIPTOR).max(1);
    len.div_ceil(packets) + DESCRIPTOR
}

fn labelled(mut packet: Packet, extensions: &[(u8, Bytes)]) -> Packet {
    for (id, value) in extensions {
        // Ids and sizes were checked when they were negotiated.
        let _ = packet.header.set_extension(*id, value.clone());
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::super::clip::Frame;
    use super::*;

    fn stream(rtx: bool) -> PacketStream {
        let frame = |fill: u8, key| Frame { data: Bytes::from(vec![fill; 3_000]), key };
        let frames = vec![frame(1, true), frame(2, false), frame(3, false), frame(4, true)];
        let clip = Arc::new(Clip::new(Codec::Vp8, frames, Duration::from_millis(100)));
        let ids = StreamIds {
            ssrc: 7,
            payload_type: 96,
            rtx: rtx.then_some((8, 97)),
            extensions: vec![(1, Bytes::from_static(b"0"))],
            rtx_extensions: vec![],
            transport_cc: None,
        };
        PacketStream::new(ids, Arc::new(SentLog::new(clip)), 0, Instant::now())
    }

    #[test]
    fn frames_become_packets_in_sequence() {
        let mut stream = stream(false);
        let now = Instant::now();
        let first = stream.frame(now, Duration::ZERO).packets;
        let second = stream.frame(now, Duration::ZERO).packets;
        let all: Vec<_> = first.iter().chain(&second).collect();
        assert!(all.windows(2).all(|p| p[1].header.sequence_number == p[0].header.sequence_number + 1));
        assert_eq!(all.iter().filter(|p| p.header.marker).count(), 2);
        assert_eq!(second[0].header.timestamp - first[0].header.timestamp, 9_000);
        assert!(all.iter().all(|p| p.payload.len() <= MTU && p.header.get_extension(1).is_some()));
    }

    #[test]
    fn packets_of_a_frame_are_about_equal_and_no_more_than_necessary() {
        for len in [1, 1_155, 1_156, 1_157, 1_170, 2_313, 3_000, 100_000] {
            let payload = even_payload(len);
            let (fragment, least) = (payload - DESCRIPTOR, len.div_ceil(MTU - DESCRIPTOR));
            let last = len - (len.div_ceil(fragment) - 1) * fragment;
            assert!(payload <= MTU && len.div_ceil(fragment) == least, "{len}: {payload}");
            assert!(last >= fragment - least, "{len}: {last} of {fragment} bytes");
        }
    }

    #[test]
    fn a_wanted_keyframe_comes_as_soon_as_the_last_one_is_old_enough() {
        let mut stream = stream(false);
        let start = Instant::now();
        assert!(stream.frame(start, Duration::ZERO).key);
        stream.want_key();
        let mut key = |ms| stream.frame(start + Duration::from_millis(ms), Duration::ZERO).key;
        assert!(!key(100), "there was one just now");
        assert!(key(300), "though two more pictures would have come before the next");
        assert!(key(400), "the clip begins anew");
        assert!(!key(500));
    }

    #[test]
    fn after_skipped_frames_comes_a_keyframe_in_its_own_time() {
        let mut stream = stream(false);
        let now = Instant::now();
        let first = stream.frame(now, Duration::ZERO).packets.pop().unwrap().header;
        (0..2).for_each(|_| stream.skip());
        let later = stream.frame(now + Duration::from_millis(30), Duration::ZERO);
        let header = &later.packets[0].header;
        assert!(later.key);
        assert_eq!(header.sequence_number, first.sequence_number + 1, "nothing is missing");
        assert_eq!(header.timestamp - first.timestamp, 3 * 9_000);
    }

    #[test]
    fn retransmissions_name_the_original() {
        let mut stream = stream(true);
        let packets = stream.frame(Instant::now(), Duration::ZERO).packets;
        let again = stream.again(packets[1].header.sequence_number).unwrap();
        assert_eq!((again.header.ssrc, again.header.payload_type), (8, 97));
        assert_eq!(again.payload[..2], packets[1].header.sequence_number.to_be_bytes());
        assert_eq!(again.payload[2..], packets[1].payload);
        assert!(stream.again(packets[0].header.sequence_number.wrapping_sub(1)).is_none());
        assert!(stream.again(packets[0].header.sequence_number + 100).is_none());
    }
}
