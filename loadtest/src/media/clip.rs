//! Encoded frames of a few seconds that are sent in a loop, and how to know one of them again by its last bytes.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use bytes::Bytes;

/// Bytes at the end of a frame that identify it.
const TAIL: usize = 16;

/// What a clip is encoded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Codec {
    Vp8,
    H264,
    Opus,
}

/// One picture, or one packet of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) data: Bytes,
    /// Whether a decoder can begin here.
    pub(crate) key: bool,
}

/// A loop of frames.
#[derive(Debug)]
pub(crate) struct Clip {
    pub(crate) codec: Codec,
    pub(crate) frames: Vec<Frame>,
    /// Time from one frame to the next.
    pub(crate) interval: Duration,
    /// Frames by the hash of their last bytes; none whose last bytes another frame has too.
    by_tail: HashMap<u64, u32>,
}

impl Codec {
    /// Ticks per second of its RTP timestamps.
    pub(crate) fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Vp8 | Self::H264 => 90_000,
        }
    }

    /// Its encoding name in an SDP.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::H264 => "H264",
            Self::Opus => "opus",
        }
    }
}

impl Clip {
    pub(crate) fn new(codec: Codec, frames: Vec<Frame>, interval: Duration) -> Self {
        let mut by_tail = HashMap::new();
        let mut ambiguous = Vec::new();
        for (index, frame) in frames.iter().enumerate() {
            let Some(hash) = tail_hash(&frame.data) else { continue };
            if by_tail.insert(hash, index as u32).is_some() {
                ambiguous.push(hash);
            }
        }
        by_tail.retain(|hash, _| !ambiguous.contains(hash));
        Self { codec, frames, interval, by_tail }
    }

    /// The frame that ends in the last bytes of this RTP payload.
    pub(crate) fn recognise(&self, payload: &[u8]) -> Option<u32> {
        self.by_tail.get(&tail_hash(payload)?).copied()
    }

    /// Bits per second of the payload.
    pub(crate) fn bit_rate(&self) -> f64 {
        let bytes: usize = self.frames.iter().map(|frame| frame.data.len()).sum();
        bytes as f64 * 8.0 / (self.interval.as_secs_f64() * self.frames.len().max(1) as f64)
    }

    /// The keyframe at which to go on when one is wanted now, at or after the frame that is next.
    pub(crate) fn next_key(&self, next: usize) -> usize {
        let count = self.frames.len();
        (0..count).map(|ahead| (next + ahead) % count).find(|index| self.frames[*index].key).unwrap_or(0)
    }

    /// The number of RTP timestamp ticks of one frame.
    pub(crate) fn ticks(&self) -> u32 {
        (self.interval.as_secs_f64() * f64::from(self.codec.clock_rate())).round() as u32
    }
}

fn tail_hash(bytes: &[u8]) -> Option<u64> {
    let tail = bytes.get(bytes.len().checked_sub(TAIL)?..)?;
    Some(BuildHasherDefault::<DefaultHasher>::default().hash_one(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(data: &[u8], key: bool) -> Frame {
        Frame { data: Bytes::copy_from_slice(data), key }
    }

    #[test]
    fn frames_are_known_again_by_their_ends() {
        let frames = vec![
            frame(b"the first of all the frames", true),
            frame(b"another that looks like no other", false),
            frame(b"twice in the same clip, so unknown", false),
            frame(b"also twice in the same clip, so unknown", false),
            frame(b"short", true),
        ];
        let clip = Clip::new(Codec::Vp8, frames, Duration::from_millis(40));
        assert_eq!(clip.recognise(b"\x90\x80\x01of all the frames"), Some(0));
        assert_eq!(clip.recognise(b"another that looks like no other"), Some(1));
        assert_eq!(clip.recognise(b"same clip, so unknown"), None);
        assert_eq!(clip.recognise(b"short"), None);
        assert_eq!(clip.recognise(b"no frame ends like this one"), None);
        assert_eq!(clip.ticks(), 3_600);
        assert_eq!((clip.next_key(0), clip.next_key(1), clip.next_key(5 % 5)), (0, 4, 0));
    }
}
