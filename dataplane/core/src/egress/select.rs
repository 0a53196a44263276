//! Which packets of a track a subscriber gets. With one layer per track the only question is when to begin:
//! audio at once, video at a packet where a decoder can start.

use crate::ingress::history::Packet;

/// One subscription's choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selector {
    started: bool,
}

impl Selector {
    /// Begins at once, or, for video, at the next keyframe.
    pub(crate) fn new(waits_for_keyframe: bool) -> Self {
        Self { started: !waits_for_keyframe }
    }

    /// Whether this packet goes out.
    pub(crate) fn admits(&mut self, packet: &Packet) -> bool {
        self.started |= packet.keyframe;
        self.started
    }
}
