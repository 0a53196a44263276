//! RTP padding (RFC 3550 5.1) that makes the packets of a frame equally long.
//!
//! Browsers split a frame into packets about equally long, the smaller ones first. A run of datagrams for the kernel
//! ends with the first that is shorter, and none may be longer than the first: unpadded, a frame would leave in two
//! runs or more. A few bytes of padding make it one, for every subscriber alike.
//!
//! A packet's padding is decided before anybody is sent it, and never again: where repeats go out under their old index,
//! they must be the same to the last bit, or GCM's nonce would be used twice.

use crate::ingress::history::{History, Packet};

/// Longer ones are left alone, so that none outgrows a datagram by its padding, however long the header it is given.
const MAX_PAYLOAD: u16 = 1_280;
/// A packet is padded by at most one byte for so many of its payload.
const BYTES_PER_BYTE: u16 = 64;

/// Decides the padding of packets that are about to go out one behind the other, none of which has been sent yet.
pub(crate) fn even_out(history: &mut History, sequences: &[u64]) {
    let mut rest = sequences;
    while let Some(group) = group(history, rest) {
        let (members, behind) = rest.split_at(group.count);
        rest = behind;
        if group.longest > MAX_PAYLOAD {
            continue;
        }
        // A shorter one may be the last of its run.
        let Some((_, padded)) = members.split_last() else { return };
        for sequence in padded {
            if let Some(packet) = history.get_mut(*sequence) {
                packet.padding = (group.longest - packet.payload.len).min(u16::from(u8::MAX)) as u8;
            }
        }
    }
}

/// Packets that padding can make equally long.
struct Group {
    count: usize,
    longest: u16,
}

/// The group that `sequences` begin with; `None` when there are none.
fn group(history: &History, sequences: &[u64]) -> Option<Group> {
    let len = |sequence: &u64| history.get(*sequence).map_or(0, |packet: &Packet| packet.payload.len);
    let (first, others) = sequences.split_first()?;
    let (mut shortest, mut longest) = (len(first), len(first));
    let fits = |other: &&u64| {
        let len = len(other);
        (shortest, longest) = (shortest.min(len), longest.max(len));
        longest - shortest <= shortest / BYTES_PER_BYTE
    };
    let count = 1 + others.iter().take_while(fits).count();
    // The bounds went on to the first that did not fit.
    let longest = sequences[..count].iter().map(len).max()?;
    Some(Group { count, longest })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::buffer::Pool;
    use crate::ingress::history::Span;
    use crate::time::Instant;

    fn paddings(lens: &[u16]) -> Vec<u8> {
        let mut pool = Pool::new(16 << 20);
        let mut history = History::new(64);
        for (sequence, len) in lens.iter().enumerate() {
            let payload = Span { start: 12, len: *len };
            let packet = Packet { payload, ..Packet::empty(sequence as u64, pool.copy_in(&[0]).unwrap()) };
            history.insert(Instant::default(), packet, &mut pool);
        }
        let sequences: Vec<_> = (0..lens.len() as u64).collect();
        even_out(&mut history, &sequences);
        sequences.iter().map(|sequence| history.get(*sequence).unwrap().padding).collect()
    }

    #[test]
    fn a_frame_split_about_equally_becomes_one_run() {
        assert_eq!(paddings(&[1099, 1099, 1100, 1100]), [1, 1, 0, 0]);
    }

    #[test]
    fn a_shorter_end_needs_no_padding() {
        assert_eq!(paddings(&[1100, 1099]), [0, 0]);
        assert_eq!(paddings(&[1099, 1100, 1098]), [1, 0, 0]);
    }

    #[test]
    fn frames_too_different_stay_apart() {
        assert_eq!(paddings(&[899, 900, 1000, 1001]), [1, 0, 1, 0]);
        assert_eq!(paddings(&[80, 82, 120]), [0, 0, 0]);
    }

    #[test]
    fn nothing_and_empty_packets_are_left_alone() {
        assert_eq!(paddings(&[]), []);
        assert_eq!(paddings(&[0, 0, 5]), [0, 0, 0]);
    }

    #[test]
    fn long_packets_are_left_alone() {
        assert_eq!(paddings(&[1_279, 1_280, 1_400, 1_401, 1_401]), [1, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn padding_is_small_and_what_is_padded_is_as_long_as_its_group(lens in prop::collection::vec(0u16..1400, 0..40)) {
            let paddings = paddings(&lens);
            let mut runs = 0;
            for (at, (len, padding)) in lens.iter().zip(&paddings).enumerate() {
                prop_assert!(u16::from(*padding) <= len / BYTES_PER_BYTE);
                let ends_a_run = at == 0 || len + u16::from(*padding) > lens[at - 1] + u16::from(paddings[at - 1]);
                runs += usize::from(ends_a_run);
            }
            let unpadded = lens.windows(2).filter(|pair| pair[1] > pair[0]).count() + usize::from(!lens.is_empty());
            prop_assert!(runs <= unpadded, "{lens:?} {paddings:?}");
        }
    }
}
