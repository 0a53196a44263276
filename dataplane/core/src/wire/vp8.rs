//! The VP8 payload descriptor, RFC 7741 4.2.

use super::bytes::{read_u8, read_u16};

/// The fields of a descriptor, with the offsets of those that are rewritten per subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Bytes before the VP8 data.
    pub header_len: usize,
    /// S: the packet starts a partition.
    pub start_of_partition: bool,
    /// PID: 0 to 7.
    pub partition: u8,
    /// N: the frame may be dropped without harm to others.
    pub non_reference: bool,
    /// The picture id, if sent.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX and its offset, if sent.
    pub tl0_pic_idx: Option<(u8, usize)>,
    /// Temporal layer, 0 to 3, if sent.
    pub temporal_id: Option<u8>,
    /// Y: the frame depends only on layer 0.
    pub layer_sync: bool,
    /// KEYIDX, 0 to 31, if sent.
    pub key_idx: Option<u8>,
}

/// A picture id and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    /// 7 or 15 bits.
    pub value: u16,
    /// Offset of its first byte in the payload.
    pub offset: usize,
    /// Whether it is 15 bits in two bytes.
    pub wide: bool,
}

impl PictureId {
    /// Overwrites the id in `payload` in the width it has there.
    pub fn set(&self, payload: &mut [u8], value: u16) {
        if self.wide {
            if let Some(field) = payload.get_mut(self.offset..self.offset + 2) {
                field.copy_from_slice(&(value | 0x8000).to_be_bytes());
            }
        } else if let Some(byte) = payload.get_mut(self.offset) {
            *byte = (value & 0x7f) as u8;
        }
    }

    /// Reads the id at `offset`.
    pub(super) fn parse(payload: &[u8], offset: usize) -> Option<Self> {
        let first = read_u8(payload, offset)?;
        let wide = first & 0x80 != 0;
        let value = if wide { read_u16(payload, offset)? & 0x7fff } else { u16::from(first) };
        Some(Self { value, offset, wide })
    }

    /// Offset of the byte after the id.
    pub(super) fn end(&self) -> usize {
        self.offset + 1 + usize::from(self.wide)
    }
}

impl Descriptor {
    /// Reads the descriptor; `None` if the payload ends within it.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = read_u8(payload, 0)?;
        let mut descriptor = Self {
            header_len: 1,
            start_of_partition: first & 0x10 != 0,
            partition: first & 0x07,
            non_reference: first & 0x20 != 0,
            picture_id: None,
            tl0_pic_idx: None,
            temporal_id: None,
            layer_sync: false,
            key_idx: None,
        };
        if first & 0x80 == 0 {
            return Some(descriptor);
        }
        let flags = read_u8(payload, 1)?;
        let mut at = 2;
        if flags & 0x80 != 0 {
            let id = PictureId::parse(payload, at)?;
            at = id.end();
            descriptor.picture_id = Some(id);
        }
        if flags & 0x40 != 0 {
            descriptor.tl0_pic_idx = Some((read_u8(payload, at)?, at));
            at += 1;
        }
        if flags & 0x30 != 0 {
            let byte = read_u8(payload, at)?;
            at += 1;
            if flags & 0x20 != 0 {
                descriptor.temporal_id = Some(byte >> 6);
                descriptor.layer_sync = byte & 0x20 != 0;
            }
            if flags & 0x10 != 0 {
                descriptor.key_idx = Some(byte & 0x1f);
            }
        }
        descriptor.header_len = at;
        Some(descriptor)
    }

    /// Whether the packet is the first of its frame.
    pub fn is_frame_start(&self) -> bool {
        self.start_of_partition && self.partition == 0
    }
}

/// Whether the packet is the first of its frame. A frame's last packet has the RTP marker.
pub fn is_frame_start(payload: &[u8]) -> bool {
    Descriptor::parse(payload).is_some_and(|descriptor| descriptor.is_frame_start())
}

/// Whether the packet is the first of a key frame: the P bit of the VP8 payload header is 0.
pub fn is_keyframe_start(payload: &[u8]) -> bool {
    Descriptor::parse(payload).is_some_and(|descriptor| {
        descriptor.is_frame_start() && payload.get(descriptor.header_len).is_some_and(|byte| byte & 1 == 0)
    })
}

#[cfg(test)]
mod tests;
