//! AV1 payloads, the RTP payload format for AV1 v1.0: the aggregation header and the first OBU's type. The format
//! says where a frame starts only in the dependency descriptor; its last packet has the RTP marker.

use super::bytes::read_u8;

const OBU_SEQUENCE_HEADER: u8 = 1;
/// A leb128 length has at most this many bytes, AV1 4.10.5.
const MAX_LEB128_LEN: usize = 8;

/// The one-byte aggregation header, section 4.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregationHeader {
    /// Z: the first element continues one of the previous packet.
    pub continues: bool,
    /// Y: the last element goes on in the next packet.
    pub continued: bool,
    /// W: 1 to 3 elements of which the last has no length, or 0 when every element has one.
    pub elements: u8,
    /// N: first packet of a coded video sequence.
    pub new_sequence: bool,
}

impl AggregationHeader {
    /// Reads the header.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        payload.first().map(|&byte| Self {
            continues: byte & 0x80 != 0,
            continued: byte & 0x40 != 0,
            elements: byte >> 4 & 0x03,
            new_sequence: byte & 0x08 != 0,
        })
    }
}

/// Whether the packet starts a coded video sequence: it says so, or its first OBU is a sequence header.
pub fn is_keyframe_start(payload: &[u8]) -> bool {
    let Some(header) = AggregationHeader::parse(payload) else { return false };
    if header.continues {
        return false;
    }
    header.new_sequence || first_obu_type(payload, header) == Some(OBU_SEQUENCE_HEADER)
}

/// Type of the OBU that starts this payload, 0 to 15.
fn first_obu_type(payload: &[u8], header: AggregationHeader) -> Option<u8> {
    let mut at = 1;
    if header.elements != 1 {
        let len = (0..MAX_LEB128_LEN).find(|&n| read_u8(payload, at + n).is_none_or(|byte| byte & 0x80 == 0))?;
        at += len + 1;
    }
    read_u8(payload, at).map(|byte| byte >> 3 & 0x0f)
}

#[cfg(test)]
mod tests;
