//! One stream to the subscriber over several tracks: where the old track ended, and what is added to the new one's
//! timestamps and picture numbers so that it goes on from there.

use dataplane_protocol::Codec;

use crate::ingress::track::SourceClock;
use crate::time::Instant;
use crate::wire::{vp8, vp9};

/// Picture ids have 15 bits, RFC 7741 4.2 and RFC 9628 4.2; short ones use the lower 7 of them.
const PICTURE_ID: u16 = 0x7fff;

/// The counters inside a payload that a decoder expects to rise by one from frame to frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// VP8's and VP9's picture id.
    picture: Option<u16>,
    /// TL0PICIDX of VP8 and VP9.
    tl0: Option<u8>,
    /// Frame number in the dependency descriptor. Browsers number the frames of all layers in one row, highest layer
    /// first: after a lower layer's frame, one of the same moment in a higher layer would be older.
    frame: Option<u16>,
}

/// What is added to the numbers of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    picture: u16,
    tl0: u8,
    pub(crate) frame: u16,
}

/// The end of what a subscriber has been sent, on the subscriber's scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// When the last packet left.
    pub(crate) at: Instant,
    pub(crate) timestamp: u32,
    /// The old track's clock.
    pub(crate) clock: Option<SourceClock>,
    pub(crate) numbers: Numbers,
}

impl Numbers {
    /// Reads them from a payload and its dependency descriptor.
    pub(crate) fn read(codec: Codec, payload: &[u8], descriptor: &[u8]) -> Self {
        // The mandatory fields: flags and template id, then the frame number (AV1 RTP, A.8.1).
        let frame = descriptor.get(1..3).map(|number| u16::from_be_bytes([number[0], number[1]]));
        let (picture, tl0) = match codec {
            Codec::Vp8 => vp8::Descriptor::parse(payload).map(|d| (d.picture_id, d.tl0_pic_idx)),
            Codec::Vp9 => vp9::Descriptor::parse(payload).map(|d| (d.picture_id, d.tl0_pic_idx)),
            _ => None,
        }
        .unwrap_or_default();
        Self { picture: picture.map(|id| id.value), tl0: tl0.map(|(value, _)| value), frame }
    }

    /// The same on the subscriber's scale.
    pub(crate) fn shifted(self, by: Shift) -> Self {
        Self {
            picture: self.picture.map(|picture| picture.wrapping_add(by.picture)),
            tl0: self.tl0.map(|tl0| tl0.wrapping_add(by.tl0)),
            frame: self.frame.map(|frame| frame.wrapping_add(by.frame)),
        }
    }
}

impl Shift {
    /// What makes `next` follow `last`.
    pub(crate) fn between(last: Numbers, next: Numbers) -> Self {
        let picture = last.picture.zip(next.picture).map(|(last, next)| last.wrapping_add(1).wrapping_sub(next));
        let tl0 = last.tl0.zip(next.tl0).map(|(last, next)| last.wrapping_add(1).wrapping_sub(next));
        let frame = last.frame.zip(next.frame).map(|(last, next)| last.wrapping_add(1).wrapping_sub(next));
        let [picture, frame] = [picture, frame].map(Option::unwrap_or_default);
        Self { picture, tl0: tl0.unwrap_or_default(), frame }
    }

    /// Adds it to a payload, in place. The frame number is in the header, where [`super::rewrite`] adds it.
    pub(crate) fn apply(self, codec: Codec, payload: &mut [u8]) {
        let found = match codec {
            Codec::Vp8 => vp8::Descriptor::parse(payload).map(|d| (d.picture_id, d.tl0_pic_idx)),
            Codec::Vp9 => vp9::Descriptor::parse(payload).map(|d| (d.picture_id, d.tl0_pic_idx)),
            _ => None,
        };
        let Some((picture, tl0)) = found else { return };
        if let Some(id) = picture {
            id.set(payload, id.value.wrapping_add(self.picture) & PICTURE_ID);
        }
        if let Some(byte) = tl0.and_then(|(_, at)| payload.get_mut(at)) {
            *byte = byte.wrapping_add(self.tl0);
        }
    }
}

impl Ending {
    /// What is added to the new track's timestamps, so that `first` (which goes out at `now`) follows.
    ///
    /// Two tracks whose clocks are known from sender reports keep their true distance. It must lead forwards: the
    /// same moment in another layer is another frame to the decoder. And not further than time has passed, with a
    /// second for what was held up: clocks of two clients' ends may be apart.
    pub(crate) fn timestamp_shift(&self, now: Instant, first: u32, clock: Option<SourceClock>, rate: u32) -> u32 {
        let passed = u128::from(now.since(self.at).as_micros()) * u128::from(rate) / 1_000_000;
        let passed = passed.clamp(1, 1 << 30) as u32;
        let measured = self.clock.zip(clock).map(|(old, new)| {
            let there = old.rtp_at(new.unix_at(first, rate), rate);
            there.wrapping_sub(self.timestamp) as i32
        });
        let step = match measured {
            Some(step) if step > passed.saturating_add(rate) as i32 => passed,
            Some(step) => step.max(1) as u32,
            None => passed,
        };
        self.timestamp.wrapping_add(step).wrapping_sub(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn vp8(picture: u16, tl0: u8, wide: bool) -> Vec<u8> {
        let mut payload = vec![0x90, 0xe0];
        if wide {
            payload.extend((picture | 0x8000).to_be_bytes());
        } else {
            payload.push((picture & 0x7f) as u8);
        }
        payload.extend([tl0, 0x00, 0xaa, 0xbb]);
        payload
    }

    #[test]
    fn picture_numbers_go_on_by_one_and_roll_over() {
        for wide in [true, false] {
            let last = Numbers::read(Codec::Vp8, &vp8(0x7fff, 255, wide), &[]);
            let mut payload = vp8(77, 9, wide);
            let shift = Shift::between(last, Numbers::read(Codec::Vp8, &payload, &[]));
            shift.apply(Codec::Vp8, &mut payload);
            assert_eq!(payload, vp8(0, 0, wide));
            let mut next = vp8(78, 10, wide);
            shift.apply(Codec::Vp8, &mut next);
            assert_eq!(next, vp8(1, 1, wide), "and by the same from there on");
        }
    }

    #[test]
    fn shifts_add_up_over_several_changes() {
        let first = Shift::between(
            Numbers { picture: Some(100), tl0: Some(7), frame: None },
            Numbers { picture: Some(5), tl0: Some(200), frame: None },
        );
        let sent = Numbers { picture: Some(9), tl0: Some(201), frame: None }.shifted(first);
        assert_eq!(sent, Numbers { picture: Some(105), tl0: Some(9), frame: None });
        let second = Shift::between(sent, Numbers { picture: Some(31), tl0: Some(1), frame: None });
        assert_eq!(
            Numbers { picture: Some(31), tl0: Some(1), frame: None }.shifted(second),
            Numbers { picture: Some(106), tl0: Some(10), frame: None }
        );
    }

    #[test]
    fn frame_numbers_are_in_the_descriptor_whatever_the_codec() {
        for (codec, payload) in [(Codec::Av1, vec![]), (Codec::Vp8, vp8(7, 1, true)), (Codec::H264, vec![0x65; 20])] {
            assert_eq!(Numbers::read(codec, &payload, &[0xc1, 0x01, 0x02]).frame, Some(0x0102));
            assert_eq!(Numbers::read(codec, &payload, &[0xc1]).frame, None);
        }
        assert_eq!(Numbers::read(Codec::H264, &[0x65; 20], &[]), Numbers::default());
        let mut payload = vec![0x65; 20];
        Shift { picture: 3, tl0: 3, frame: 3 }.apply(Codec::H264, &mut payload);
        assert_eq!(payload, vec![0x65; 20]);
    }

    #[test]
    fn a_frame_of_the_same_moment_in_a_higher_layer_follows() {
        let [low, high] = [(9, 152u16), (4, 151u16)].map(|(picture, frame)| {
            let [above, below] = frame.to_be_bytes();
            Numbers::read(Codec::Vp8, &vp8(picture, 1, true), &[0xc1, above, below])
        });
        assert_eq!(high.shifted(Shift::between(low, high)).frame, Some(153));
    }

    #[test]
    fn time_goes_on_by_the_clocks_or_by_what_has_passed() {
        let at = Instant::default() + Duration::from_secs(10);
        let clock = |rtp_timestamp| Some(SourceClock { unix_micros: 1_000_000_000, rtp_timestamp });
        let ending = Ending { at, timestamp: 5_000, clock: clock(5_000), numbers: Numbers::default() };
        let later = at + Duration::from_millis(33);
        // The new track's clock is 100,000 ahead, and the packet is of 30 ms later.
        let shift = ending.timestamp_shift(later, 105_000 + 2_700, clock(105_000), 90_000);
        assert_eq!((105_000u32 + 2_700).wrapping_add(shift), 5_000 + 2_700);
        // The same frame in another layer comes after it all the same.
        let shift = ending.timestamp_shift(later, 105_000, clock(105_000), 90_000);
        assert_eq!(105_000u32.wrapping_add(shift), 5_001);
        // Clocks that contradict what has passed, or that nobody told.
        let far = ending.timestamp_shift(later, 105_000 + 900_000, clock(105_000), 90_000);
        assert_eq!((105_000u32 + 900_000).wrapping_add(far), 5_000 + 2_970);
        let unknown = Ending { clock: None, ..ending }.timestamp_shift(later, 42, clock(1), 90_000);
        assert_eq!(42u32.wrapping_add(unknown), 5_000 + 2_970);
    }
}
