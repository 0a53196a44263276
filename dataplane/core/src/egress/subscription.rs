//! One track on its way to one subscriber.

use dataplane_protocol::{Codec, MediaKind, Subscribe, SubscriptionId, SubscriptionInfo, TransportId};

use crate::egress::continuity::{Ending, Numbers, Shift};
use crate::egress::rewrite::{Fields, HeaderTemplate, Sequencer};
use crate::egress::rtx::Retransmitter;
use crate::ingress::history::Packet;
use crate::ingress::track::{SourceClock, payload_type};
use crate::srtp::{Outbound, Tags};
use crate::time::{Duration, Instant};
use crate::wire::rtp;

/// An active subscription, kept with its track.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: SubscriptionId,
    /// Key of the subscriber's endpoint.
    pub(crate) endpoint: usize,
    pub(crate) transport: TransportId,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) cname: Box<str>,
    codec: Codec,
    /// Whether it is under way on its track: video begins at a keyframe.
    pub(crate) started: bool,
    /// What it was sent of the track before, until this one begins.
    ending: Option<Ending>,
    /// Added to the track's timestamps.
    pub(crate) timestamp_shift: u32,
    shift: Shift,
    pub(crate) sequence: Sequencer,
    pub(crate) retransmit: Retransmitter,
    header: HeaderTemplate,
    payload_type: u8,
    rtx_payload_type: Option<u8>,
    /// Whether packets may be sent again: by RTX, or, where NACK was negotiated without it, as the same bytes.
    pub(crate) answers_nack: bool,
    pub(crate) fir_seen: Option<u8>,
    pub(crate) rtt: Duration,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) nacks_received: u64,
    pub(crate) retransmitted: u64,
    pub(crate) keyframe_requests: u64,
    pub(crate) fraction_lost: u8,
    /// The track's timestamp of the last packet sent.
    pub(crate) last_timestamp: u32,
    pub(crate) last_sent: Instant,
}

/// The moment's values for the extensions that differ per datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) send_time: [u8; 3],
    pub(crate) transport_sequence: u16,
}

/// How a packet is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// As media, under its own index.
    Media,
    /// As an RFC 4588 retransmission of `sequence`, under an index of the RTX SSRC.
    Rtx { sequence: u16, payload_type: u8, ssrc: u32 },
}

impl Outgoing {
    /// `seed` randomises where the sequence numbers begin.
    pub(crate) fn new(spec: &Subscribe, endpoint: usize, kind: MediaKind, seed: u64) -> Self {
        let codec = spec.codec.clone().unwrap_or_default();
        let rtx_payload_type = codec.rtx_payload_type.map(payload_type);
        let has_rtx = rtx_payload_type.is_some() && spec.rtx_ssrc.is_some();
        Self {
            id: SubscriptionId(spec.subscription),
            endpoint,
            transport: TransportId(spec.transport),
            ssrc: spec.ssrc,
            rtx_ssrc: spec.rtx_ssrc,
            cname: spec.cname.as_str().into(),
            codec: codec.codec(),
            started: kind != MediaKind::Video,
            ending: None,
            timestamp_shift: 0,
            shift: Shift::default(),
            sequence: Sequencer::new(seed as u16),
            retransmit: Retransmitter::new((seed >> 16) as u16),
            header: HeaderTemplate::new(spec, has_rtx || !codec.nack),
            payload_type: payload_type(codec.payload_type),
            rtx_payload_type,
            answers_nack: has_rtx || codec.nack,
            fir_seen: None,
            rtt: Duration::ZERO,
            packets: 0,
            bytes: 0,
            nacks_received: 0,
            retransmitted: 0,
            keyframe_requests: 0,
            fraction_lost: 0,
            last_timestamp: 0,
            last_sent: Instant::default(),
        }
    }

    /// Leaves its track, to go on with another of the same codec. `last` is the highest packet that was sent, with
    /// its buffer's bytes, if the history still has it.
    pub(crate) fn leave(&mut self, clock: Option<SourceClock>, last: Option<(&Packet, &[u8])>) {
        if self.packets > 0 && self.ending.is_none() {
            let numbers = last.map_or_else(Numbers::default, |(packet, buffer)| {
                Numbers::read(self.codec, packet.payload.of(buffer), packet.descriptor.of(buffer)).shifted(self.shift)
            });
            // The one that left last may be an old one that came late.
            let timestamp = last.map_or(self.last_timestamp, |(packet, _)| packet.timestamp);
            let shifted = |rtp: u32| rtp.wrapping_add(self.timestamp_shift);
            self.ending = Some(Ending {
                at: self.last_sent,
                timestamp: shifted(timestamp),
                clock: clock.map(|clock| SourceClock { rtp_timestamp: shifted(clock.rtp_timestamp), ..clock }),
                numbers,
            });
        }
        self.started = false;
        self.sequence.restart(None);
    }

    /// Begins with a track at `packet`, where a decoder can start.
    pub(crate) fn start(&mut self, now: Instant, packet: &Packet, buffer: &[u8], track: (Option<SourceClock>, u32)) {
        self.started = true;
        self.sequence.restart(Some(packet.sequence));
        let (clock, rate) = track;
        let Some(ending) = self.ending.take() else { return };
        self.timestamp_shift = ending.timestamp_shift(now, packet.timestamp, clock, rate);
        let first = Numbers::read(self.codec, packet.payload.of(buffer), packet.descriptor.of(buffer));
        self.shift = Shift::between(ending.numbers, first);
    }

    /// Whether outgoing packets carry a transport-wide sequence number.
    pub(crate) fn has_transport_cc(&self) -> bool {
        self.header.has_transport_cc()
    }

    /// The shape of a retransmission of the packet that went out as `sequence`.
    pub(crate) fn repair_shape(&self, sequence: u16) -> Shape {
        match (self.rtx_payload_type, self.rtx_ssrc) {
            (Some(payload_type), Some(ssrc)) => Shape::Rtx { sequence, payload_type, ssrc },
            _ => Shape::Media,
        }
    }

    /// Writes one sealed SRTP packet to `out`, its tag now or when `tags` are written; `index` is its packet index. `None`
    /// if it does not fit.
    pub(crate) fn write(
        &self,
        out: &mut [u8],
        packet: &Packet,
        buffer: &[u8],
        (index, shape, stamp): (u64, Shape, Stamp),
        srtp: &Outbound,
        tags: &mut Tags,
    ) -> Option<usize> {
        let (payload_type, ssrc) = match shape {
            Shape::Media => (self.payload_type, self.ssrc),
            Shape::Rtx { payload_type, ssrc, .. } => (payload_type, ssrc),
        };
        let fields = Fields {
            payload_type,
            sequence: index as u16,
            timestamp: packet.timestamp.wrapping_add(self.timestamp_shift),
            ssrc,
            send_time: stamp.send_time,
            transport_sequence: stamp.transport_sequence,
            frame_shift: self.shift.frame,
        };
        let header_len = self.header.write(out, packet, packet.descriptor.of(buffer), &fields)?;
        let mut len = header_len;
        if let Shape::Rtx { sequence, .. } = shape {
            out.get_mut(len..len + 2)?.copy_from_slice(&sequence.to_be_bytes());
            len += 2;
        }
        let payload = packet.payload.of(buffer);
        let body = out.get_mut(len..len + payload.len())?;
        body.copy_from_slice(payload);
        if self.shift != Shift::default() {
            self.shift.apply(self.codec, body);
        }
        len += payload.len();
        if packet.padding > 0 && matches!(shape, Shape::Media) {
            len += rtp::pad(out, len, packet.padding)?;
        }
        srtp.protect_rtp_for(tags, out, len, header_len, index).ok()
    }

    /// For a snapshot.
    pub(crate) fn info(&self, track: u64) -> SubscriptionInfo {
        SubscriptionInfo {
            subscription: self.id.0,
            transport: self.transport.0,
            track,
            label: String::new(),
            packets: self.packets,
            bytes: self.bytes,
            nacks_received: self.nacks_received,
            retransmitted: self.retransmitted,
            keyframe_requests: self.keyframe_requests,
            fraction_lost: u32::from(self.fraction_lost),
            rtt_us: self.rtt.as_micros(),
        }
    }
}
