//! From the publisher's numbering to one subscriber's: sequence numbers, and the whole RTP header.
//!
//! The header is a template made once per subscription. A packet copies it and overwrites bytes at fixed
//! places; only one with a video orientation or an AV1 dependency descriptor gets its extension block built.

use dataplane_protocol::{ExtensionKind, Subscribe};

use crate::ingress::history::Packet;
use crate::wire::ext::ExtWriter;

/// Fixed RTP header without CSRCs.
const FIXED: usize = 12;
/// Longest header from the template: mid (16), send time, sequence, level, each with one octet of header.
const TEMPLATE: usize = FIXED + 4 + 17 + 4 + 3 + 2 + 2;
/// Longest forwarded dependency descriptor; one with its template structure takes about 100 bytes.
const MAX_DESCRIPTOR: usize = 200;

/// Maps sequence numbers of a track to those of one subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequencer {
    /// First sequence number taken, and what it became.
    base: Option<u64>,
    first_out: u64,
    highest_out: u64,
}

impl Sequencer {
    /// Starts at `first`, below 2^15 so that a lost or reordered beginning does not make receivers guess a
    /// wrong roll-over counter (RFC 3711 3.3.1).
    pub(crate) fn new(first: u16) -> Self {
        let first_out = u64::from(first & 0x7fff);
        Self { base: None, first_out, highest_out: first_out }
    }

    /// The outgoing packet index (ROC and sequence number) of `sequence`; `None` for what came before the
    /// subscription began.
    pub(crate) fn map(&mut self, sequence: u64) -> Option<u64> {
        let base = *self.base.get_or_insert(sequence);
        let index = self.first_out + sequence.checked_sub(base)?;
        self.highest_out = self.highest_out.max(index);
        Some(index)
    }

    /// Goes on with another track from its `sequence` on, or from the first that comes: one further than what was
    /// sent, if anything was.
    pub(crate) fn restart(&mut self, sequence: Option<u64>) {
        if self.base.is_some() {
            self.first_out = self.highest_out + 1;
            self.highest_out = self.first_out;
        }
        self.base = sequence;
        self.highest_out = self.first_out;
    }

    /// The track's number of the highest that was sent.
    pub(crate) fn highest(&self) -> Option<u64> {
        Some(self.base? + (self.highest_out - self.first_out))
    }

    /// The outgoing index and the track's sequence number that a subscriber means by `sequence`.
    pub(crate) fn unmap(&self, sequence: u16) -> Option<(u64, u64)> {
        let base = self.base?;
        let index = crate::ingress::history::unwrap_near(self.highest_out, sequence)?;
        if index > self.highest_out {
            return None;
        }
        Some((index, index.checked_sub(self.first_out)? + base))
    }
}

/// Extension ids of one subscription; 0 where not negotiated.
#[derive(Clone, Copy, Debug, Default)]
struct Ids {
    mid: u8,
    send_time: u8,
    transport_cc: u8,
    level: u8,
    orientation: u8,
    descriptor: u8,
}

/// The header of one subscription's packets.
#[derive(Clone, Debug)]
pub(crate) struct HeaderTemplate {
    ids: Ids,
    mid: Box<[u8]>,
    bytes: [u8; TEMPLATE],
    len: usize,
    send_time_at: Option<usize>,
    transport_cc_at: Option<usize>,
    level_at: Option<usize>,
    two_byte: bool,
}

/// What varies from packet to packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    /// abs-send-time.
    pub(crate) send_time: [u8; 3],
    pub(crate) transport_sequence: u16,
    /// Added to the dependency descriptor's frame number.
    pub(crate) frame_shift: u16,
}

impl HeaderTemplate {
    /// `volatile` false leaves out what differs each time a packet is sent (send time, transport sequence):
    /// without RTX a packet is sent again under its old index, and must then be the same to the last bit, or
    /// GCM's nonce would be used twice.
    pub(crate) fn new(spec: &Subscribe, volatile: bool) -> Self {
        let mut ids = Ids::default();
        for extension in &spec.extensions {
            let Ok(id @ 1..) = u8::try_from(extension.id) else { continue };
            match extension.kind() {
                ExtensionKind::Mid => ids.mid = id,
                ExtensionKind::AbsSendTime if volatile => ids.send_time = id,
                ExtensionKind::TransportCc if volatile => ids.transport_cc = id,
                ExtensionKind::AudioLevel => ids.level = id,
                ExtensionKind::VideoOrientation => ids.orientation = id,
                ExtensionKind::DependencyDescriptor => ids.descriptor = id,
                _ => {}
            }
        }
        let all = [ids.mid, ids.send_time, ids.transport_cc, ids.level, ids.orientation, ids.descriptor];
        let mut template = Self {
            ids,
            mid: spec.mid.as_bytes().iter().copied().take(16).collect(),
            bytes: [0; TEMPLATE],
            len: FIXED,
            send_time_at: None,
            transport_cc_at: None,
            level_at: None,
            two_byte: all.iter().any(|id| *id > 14),
        };
        if !template.two_byte {
            template.lay_out(spec.kind_is_audio());
        }
        template
    }

    /// Whether outgoing packets carry a transport-wide sequence number.
    pub(crate) fn has_transport_cc(&self) -> bool {
        self.ids.transport_cc != 0
    }

    /// Writes the header of `packet` at the start of `out` and returns its length; `None` if it does not fit.
    pub(crate) fn write(&self, out: &mut [u8], packet: &Packet, descriptor: &[u8], fields: &Fields) -> Option<usize> {
        let special = (packet.orientation.is_some() && self.ids.orientation != 0)
            || (!descriptor.is_empty() && self.ids.descriptor != 0)
            || (packet.audio_level.is_some() && self.ids.level != 0) != self.level_at.is_some()
            || self.two_byte;
        let len = if special { self.build(out, packet, descriptor, fields)? } else { self.stamp(out, packet, fields)? };
        let has_extension = len > FIXED;
        out[0] = 0x80 | (u8::from(has_extension) << 4);
        out[1] = (u8::from(packet.marker) << 7) | fields.payload_type;
        out[2..4].copy_from_slice(&fields.sequence.to_be_bytes());
        out[4..8].copy_from_slice(&fields.timestamp.to_be_bytes());
        out[8..12].copy_from_slice(&fields.ssrc.to_be_bytes());
        Some(len)
    }

    fn stamp(&self, out: &mut [u8], packet: &Packet, fields: &Fields) -> Option<usize> {
        out.get_mut(..self.len)?.copy_from_slice(&self.bytes[..self.len]);
        if let Some(at) = self.send_time_at {
            out[at..at + 3].copy_from_slice(&fields.send_time);
        }
        if let Some(at) = self.transport_cc_at {
            out[at..at + 2].copy_from_slice(&fields.transport_sequence.to_be_bytes());
        }
        if let (Some(at), Some(level)) = (self.level_at, packet.audio_level) {
            out[at] = level;
        }
        Some(self.len)
    }

    fn build(&self, out: &mut [u8], packet: &Packet, descriptor: &[u8], fields: &Fields) -> Option<usize> {
        // A descriptor that would not fit is left out: the payload still decodes without it.
        let descriptor = if descriptor.len() > MAX_DESCRIPTOR { &[] } else { descriptor };
        let long = self.two_byte || descriptor.len() > 16;
        let block = out.get_mut(FIXED..)?;
        let mut writer = if long { ExtWriter::two_byte(block) } else { ExtWriter::one_byte(block) };
        let ids = &self.ids;
        let mut put = |id: u8, data: &[u8]| {
            if id != 0 && !data.is_empty() { writer.push(id, data).map(drop) } else { Some(()) }
        };
        put(ids.mid, &self.mid)?;
        put(ids.send_time, &fields.send_time)?;
        put(ids.transport_cc, &fields.transport_sequence.to_be_bytes())?;
        put(ids.level, packet.audio_level.as_slice())?;
        put(ids.orientation, packet.orientation.as_slice())?;
        let at = if ids.descriptor != 0 && !descriptor.is_empty() {
            Some(writer.push(ids.descriptor, descriptor)?)
        } else {
            None
        };
        let len = FIXED + writer.finish();
        if let Some(number) = at.and_then(|at| block.get_mut(at + 1..at + 3)).filter(|_| fields.frame_shift != 0) {
            let shifted = u16::from_be_bytes([number[0], number[1]]).wrapping_add(fields.frame_shift);
            number.copy_from_slice(&shifted.to_be_bytes());
        }
        Some(len)
    }

    /// Makes the template: every extension that all packets have.
    fn lay_out(&mut self, audio: bool) {
        let mut writer = ExtWriter::one_byte(&mut self.bytes[FIXED..]);
        let mut put = |id: u8, data: &[u8]| {
            if id != 0 && !data.is_empty() { writer.push(id, data).map(|at| FIXED + at) } else { None }
        };
        put(self.ids.mid, &self.mid);
        self.send_time_at = put(self.ids.send_time, &[0; 3]);
        self.transport_cc_at = put(self.ids.transport_cc, &[0; 2]);
        if audio {
            self.level_at = put(self.ids.level, &[0]);
        }
        self.len = FIXED + writer.finish();
    }
}

/// Whether a subscription is one to audio.
trait KindIsAudio {
    fn kind_is_audio(&self) -> bool;
}

impl KindIsAudio for Subscribe {
    fn kind_is_audio(&self) -> bool {
        use dataplane_protocol::Codec;
        self.codec.as_ref().is_some_and(|codec| matches!(codec.codec(), Codec::Opus | Codec::OtherAudio))
    }
}

#[cfg(test)]
mod tests;
