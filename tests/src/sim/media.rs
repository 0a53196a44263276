//! Media that can be checked to the last byte: each packet says which frame and part it is, and the rest of it
//! follows from that.

use super::random::Random;

/// The publisher's video.
pub const VIDEO_SSRC: u32 = 0x1111_0001;
/// Its retransmissions.
pub const VIDEO_RTX_SSRC: u32 = 0x1111_0002;
/// The publisher's audio.
pub const AUDIO_SSRC: u32 = 0x1111_0003;

/// VP8 payload descriptor (S=1 on the first packet), payload header, frame, part, parts.
const HEAD: usize = 1 + 3 + 4 + 2 + 2;

/// One packet of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Part {
    /// Frame number, from 0.
    pub frame: u32,
    /// Which packet of it.
    pub part: u16,
    /// How many it has.
    pub parts: u16,
    /// Whether the frame is a keyframe.
    pub keyframe: bool,
}

impl Part {
    /// The VP8 payload, of a length that the frame and part decide.
    pub fn payload(self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(1_200);
        payload.push(if self.part == 0 { 0x10 } else { 0x00 });
        // RFC 7741 4.3: the P bit of the payload header is 0 for a keyframe.
        payload.extend([u8::from(!self.keyframe), 0, 0]);
        payload.extend(self.frame.to_be_bytes());
        payload.extend(self.part.to_be_bytes());
        payload.extend(self.parts.to_be_bytes());
        let mut random = Random::new((u64::from(self.frame) << 16) | u64::from(self.part));
        let rest = 900 + random.below(200) as usize;
        payload.extend((0..rest).map(|_| random.next() as u8));
        payload
    }

    /// Reads a payload back; `None` if a single byte of it is wrong.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD] = payload.first_chunk()?;
        let part = Self {
            keyframe: head[1] == 0,
            frame: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            part: u16::from_be_bytes([head[8], head[9]]),
            parts: u16::from_be_bytes([head[10], head[11]]),
        };
        (part.payload() == payload).then_some(part)
    }
}
