//! The VP9 payload descriptor, RFC 9628 4.2.

use super::bytes::read_u8;
pub use super::vp8::PictureId;

/// Most reference differences a descriptor carries, RFC 9628 4.2.
const MAX_P_DIFFS: usize = 3;

/// The fields of a descriptor, with the offsets of those that are rewritten per subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Bytes before the VP9 data.
    pub header_len: usize,
    /// P: the frame is predicted from earlier ones.
    pub inter_predicted: bool,
    /// F: references are given by the packet rather than by the scalability structure.
    pub flexible: bool,
    /// B: first packet of a layer frame.
    pub start_of_frame: bool,
    /// E: last packet of a layer frame.
    pub end_of_frame: bool,
    /// Z: no higher spatial layer depends on this frame.
    pub not_reference: bool,
    /// The picture id, if sent.
    pub picture_id: Option<PictureId>,
    /// Temporal layer, 0 to 7, if layers are sent.
    pub temporal_id: Option<u8>,
    /// U: a switching point to a higher temporal layer.
    pub switching_up: bool,
    /// Spatial layer, 0 to 7, if layers are sent.
    pub spatial_id: Option<u8>,
    /// D: depends on the spatial layer below.
    pub inter_layer: bool,
    /// TL0PICIDX and its offset; only in non-flexible mode.
    pub tl0_pic_idx: Option<(u8, usize)>,
    /// Whether a scalability structure follows.
    pub has_structure: bool,
}

impl Descriptor {
    /// Reads the descriptor; `None` if the payload ends within it or it has more references than allowed.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = read_u8(payload, 0)?;
        let flag = |bit: u8| first & bit != 0;
        let mut descriptor = Self {
            header_len: 1,
            inter_predicted: flag(0x40),
            flexible: flag(0x10),
            start_of_frame: flag(0x08),
            end_of_frame: flag(0x04),
            not_reference: flag(0x01),
            picture_id: None,
            temporal_id: None,
            switching_up: false,
            spatial_id: None,
            inter_layer: false,
            tl0_pic_idx: None,
            has_structure: flag(0x02),
        };
        let mut at = 1;
        if flag(0x80) {
            let id = PictureId::parse(payload, at)?;
            at = id.end();
            descriptor.picture_id = Some(id);
        }
        if flag(0x20) {
            let layers = read_u8(payload, at)?;
            at += 1;
            descriptor.temporal_id = Some(layers >> 5);
            descriptor.switching_up = layers & 0x10 != 0;
            descriptor.spatial_id = Some(layers >> 1 & 0x07);
            descriptor.inter_layer = layers & 0x01 != 0;
            if !descriptor.flexible {
                descriptor.tl0_pic_idx = Some((read_u8(payload, at)?, at));
                at += 1;
            }
        }
        if descriptor.flexible && descriptor.inter_predicted {
            at = skip_p_diffs(payload, at)?;
        }
        if descriptor.has_structure {
            at = skip_structure(payload, at)?;
        }
        descriptor.header_len = at;
        Some(descriptor)
    }
}

/// Whether the packet is the first of a layer frame.
pub fn is_frame_start(payload: &[u8]) -> bool {
    Descriptor::parse(payload).is_some_and(|descriptor| descriptor.start_of_frame)
}

/// Whether the packet is the last of a layer frame. The RTP marker ends the whole superframe.
pub fn is_frame_end(payload: &[u8]) -> bool {
    Descriptor::parse(payload).is_some_and(|descriptor| descriptor.end_of_frame)
}

/// Whether the packet is the first of a key frame: not predicted, and of the lowest spatial layer.
pub fn is_keyframe_start(payload: &[u8]) -> bool {
    Descriptor::parse(payload).is_some_and(|descriptor| {
        descriptor.start_of_frame && !descriptor.inter_predicted && descriptor.spatial_id.unwrap_or(0) == 0
    })
}

/// Skips the P_DIFF list: each byte's lowest bit says whether another follows.
fn skip_p_diffs(payload: &[u8], at: usize) -> Option<usize> {
    for n in 0..MAX_P_DIFFS {
        if read_u8(payload, at + n)? & 1 == 0 {
            return Some(at + n + 1);
        }
    }
    None
}

/// Skips the scalability structure: layers' sizes, then the picture group's pictures with their references.
fn skip_structure(payload: &[u8], mut at: usize) -> Option<usize> {
    let flags = read_u8(payload, at)?;
    at += 1;
    if flags & 0x10 != 0 {
        at += 4 * (usize::from(flags >> 5) + 1);
    }
    if flags & 0x08 != 0 {
        let pictures = read_u8(payload, at)?;
        at += 1;
        for _ in 0..pictures {
            let references = read_u8(payload, at)? >> 2 & 0x03;
            at += 1 + usize::from(references);
        }
    }
    (at <= payload.len()).then_some(at)
}

#[cfg(test)]
mod tests;
