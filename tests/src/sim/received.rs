//! What a simulated subscriber has seen, for tests to look at.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dataplane_core::Instant;

use super::media::Part;

/// One video packet as a subscriber saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When it came.
    pub at: Instant,
    /// What it carried.
    pub part: Part,
    /// RTP timestamp.
    pub timestamp: u32,
    /// VP8 picture id.
    pub picture: u16,
    /// TL0PICIDX.
    pub tl0: u8,
}

/// What a subscriber has seen.
#[derive(Debug, Default)]
pub struct Received {
    /// Parts by frame, each checked byte by byte.
    pub frames: BTreeMap<u32, BTreeSet<u16>>,
    /// Packets expected of each frame.
    pub parts: HashMap<u32, u16>,
    /// First frame of which anything came.
    pub first_frame: Option<u32>,
    /// Whether the very first video packet was the start of a keyframe.
    pub began_with_keyframe: bool,
    /// Video packets whose bytes were wrong.
    pub corrupt: u64,
    /// Packets that came as RTX.
    pub repaired: u64,
    /// Packets that the replay window or the sequence showed to have come twice.
    pub duplicates: u64,
    /// Packets with padding.
    pub padded: u64,
    /// Audio packets.
    pub audio: u64,
    /// Video packets by their outgoing sequence number, unwrapped.
    pub sequences: BTreeMap<u64, Seen>,
    /// Timestamps by frame.
    pub timestamps: BTreeMap<u32, u32>,
    /// Sender reports: (ssrc, ntp, rtp).
    pub reports: Vec<(u32, u64, u32)>,
    /// SSRCs of which a BYE came.
    pub byes: Vec<u32>,
    /// SRTP packets that did not open.
    pub unopened: u64,
}

impl Received {
    /// Frames of which every packet came, from `from` on.
    pub fn complete(&self, from: u32) -> usize {
        self.frames.range(from..).filter(|(frame, parts)| self.parts[frame] as usize == parts.len()).count()
    }
}
