//! Media that can be checked to the last byte: each packet says which frame and part it is, and the rest of it
//! follows from that.

use super::random::Random;

/// The publisher's video.
pub const VIDEO_SSRC: u32 = 0x1111_0001;
/// Its retransmissions.
pub const VIDEO_RTX_SSRC: u32 = 0x1111_0002;
/// The publisher's audio.
pub const AUDIO_SSRC: u32 = 0x1111_0003;

/// VP8 payload descriptor with picture id, TL0PICIDX and temporal id, RFC 7741 4.2.
const DESCRIPTOR: usize = 6;
/// VP8 payload header, frame, part, parts, layer.
const HEAD: usize = 3 + 4 + 2 + 2 + 1;

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
    /// Which encoding it is of.
    pub layer: u8,
}

impl Part {
    /// The VP8 payload, of a length that the frame and part decide. The lower bits of the picture id are TL0PICIDX too.
    pub fn payload(self, picture: u16) -> Vec<u8> {
        let mut payload = Vec::with_capacity(1_200);
        payload.extend([if self.part == 0 { 0x90 } else { 0x80 }, 0xe0]);
        payload.extend((picture | 0x8000).to_be_bytes());
        payload.extend([picture as u8, 0]);
        self.body(&mut payload);
        payload
    }

    fn body(self, payload: &mut Vec<u8>) {
        // RFC 7741 4.3: the P bit of the payload header is 0 for a keyframe.
        payload.extend([u8::from(!self.keyframe), 0, 0]);
        payload.extend(self.frame.to_be_bytes());
        payload.extend(self.part.to_be_bytes());
        payload.extend(self.parts.to_be_bytes());
        payload.push(self.layer);
        let frame = (u64::from(self.layer) << 48) | (u64::from(self.frame) << 16);
        // As browsers split a frame: packets about equally long, the longer ones last.
        let rest = 900 + Random::new(frame).below(200) as usize + usize::from(2 * self.part >= self.parts);
        let mut random = Random::new(frame | u64::from(self.part));
        payload.extend((0..rest).map(|_| random.next() as u8));
    }

    /// Reads a payload back with its picture id and TL0PICIDX, which may have been rewritten; `None` if a single
    /// byte of the rest is wrong.
    pub fn read(payload: &[u8]) -> Option<(Self, u16, u8)> {
        let (descriptor, body) = payload.split_at_checked(DESCRIPTOR)?;
        let head: &[u8; HEAD] = body.first_chunk()?;
        let part = Self {
            keyframe: head[0] == 0,
            frame: u32::from_be_bytes([head[3], head[4], head[5], head[6]]),
            part: u16::from_be_bytes([head[7], head[8]]),
            parts: u16::from_be_bytes([head[9], head[10]]),
            layer: head[11],
        };
        let mut expected = Vec::with_capacity(body.len());
        part.body(&mut expected);
        let start = if part.part == 0 { 0x90 } else { 0x80 };
        let fine = expected == body && descriptor[..2] == [start, 0xe0] && descriptor[2] & 0x80 != 0;
        let picture = u16::from_be_bytes([descriptor[2] & 0x7f, descriptor[3]]);
        fine.then_some((part, picture, descriptor[4]))
    }
}
