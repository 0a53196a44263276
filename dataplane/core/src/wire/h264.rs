//! H.264 payloads, RFC 6184: just enough to tell where a key frame starts. The format does not say where a frame
//! starts otherwise; its last packet has the RTP marker.

use super::bytes::{read_u8, read_u16};

const IDR: u8 = 5;
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Whether the packet starts a key frame: an IDR slice or the sequence parameter set before it, alone, in an
/// aggregate, or as the first fragment.
pub fn is_keyframe_start(payload: &[u8]) -> bool {
    match nal_type(payload) {
        Some(IDR | SPS) => true,
        Some(STAP_A) => Aggregate { rest: &payload[1..] }.any(|unit| matches!(nal_type(unit), Some(IDR | SPS))),
        Some(FU_A) => read_u8(payload, 1).is_some_and(|fu| fu & 0x80 != 0 && matches!(fu & 0x1f, IDR | SPS)),
        _ => false,
    }
}

/// Type of the NAL unit or packet, 0 to 31.
fn nal_type(payload: &[u8]) -> Option<u8> {
    payload.first().map(|byte| byte & 0x1f)
}

/// The NAL units of a STAP-A, RFC 6184 5.7.1.
struct Aggregate<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Aggregate<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(read_u16(self.rest, 0)?);
        let unit = self.rest.get(2..2 + len)?;
        self.rest = &self.rest[2 + len..];
        Some(unit)
    }
}

#[cfg(test)]
mod tests;
