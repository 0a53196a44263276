use dataplane_protocol::{Codec, CodecParameters, HeaderExtension};
use proptest::prelude::*;

use super::*;
use crate::buffer::Pool;
use crate::wire::ext;
use crate::wire::rtp::RtpHeader;

/// The two-byte form with everything in it.
const MAX_HEADER: usize = FIXED + 4 + 18 + 5 + 4 + 3 + 3 + 2 + MAX_DESCRIPTOR + 3;

fn packet() -> Packet {
    let buffer = Pool::new(4 << 20).take_large().unwrap();
    Packet { timestamp: 1, marker: true, keyframe: true, ..Packet::empty(7, buffer) }
}

fn subscribe(codec: Codec, ids: &[(ExtensionKind, u32)]) -> Subscribe {
    Subscribe {
        mid: "m1".to_owned(),
        codec: Some(CodecParameters {
            codec: codec as i32,
            payload_type: 100,
            clock_rate: 90_000,
            ..Default::default()
        }),
        extensions: ids.iter().map(|(kind, id)| HeaderExtension { kind: *kind as i32, id: *id }).collect(),
        ..Default::default()
    }
}

const FIELDS: Fields = Fields {
    payload_type: 100,
    sequence: 0xabcd,
    timestamp: 0x0102_0304,
    ssrc: 0xa0b0_c0d0,
    send_time: [9, 8, 7],
    transport_sequence: 0x1234,
    frame_shift: 0,
};

const ALL: [(ExtensionKind, u32); 6] = [
    (ExtensionKind::Mid, 4),
    (ExtensionKind::AbsSendTime, 2),
    (ExtensionKind::TransportCc, 3),
    (ExtensionKind::AudioLevel, 1),
    (ExtensionKind::VideoOrientation, 5),
    (ExtensionKind::DependencyDescriptor, 6),
];

/// What a receiver reads: the header and its elements.
fn read(template: &HeaderTemplate, packet: &Packet, descriptor: &[u8]) -> (RtpHeader, Vec<(u8, Vec<u8>)>) {
    let mut out = [0xee; MAX_HEADER + 64];
    let len = template.write(&mut out, packet, descriptor, &FIELDS).unwrap();
    assert!(len <= MAX_HEADER);
    let header = RtpHeader::parse(&out[..len]).unwrap();
    assert_eq!(header.header_len, len);
    let elements = ext::elements(&out[..len], &header).map(|(id, data)| (id, data.to_vec())).collect();
    (header, elements)
}

#[test]
fn fields_land_in_their_places() {
    let template = HeaderTemplate::new(&subscribe(Codec::Vp8, &ALL), true);
    let (header, elements) = read(&template, &packet(), &[]);
    assert_eq!(
        (header.marker, header.payload_type, header.sequence, header.timestamp, header.ssrc),
        (true, 100, 0xabcd, 0x0102_0304, 0xa0b0_c0d0)
    );
    assert_eq!(elements, [(4, b"m1".to_vec()), (2, vec![9, 8, 7]), (3, vec![0x12, 0x34])]);
}

#[test]
fn audio_carries_its_level_and_video_its_orientation() {
    let audio = HeaderTemplate::new(&subscribe(Codec::Opus, &ALL), true);
    let level = Packet { audio_level: Some(0x85), ..packet() };
    assert!(read(&audio, &level, &[]).1.contains(&(1, vec![0x85])));
    assert!(read(&audio, &packet(), &[]).1.iter().all(|(id, _)| *id != 1), "no level is not level zero");
    let video = HeaderTemplate::new(&subscribe(Codec::Vp8, &ALL), true);
    let turned = Packet { orientation: Some(3), ..packet() };
    assert!(read(&video, &turned, &[]).1.contains(&(5, vec![3])));
}

#[test]
fn a_descriptor_passes_in_either_form() {
    let template = HeaderTemplate::new(&subscribe(Codec::Av1, &ALL), true);
    for len in [3, 16, 17, MAX_DESCRIPTOR] {
        let descriptor = vec![0x5a; len];
        let (_, elements) = read(&template, &packet(), &descriptor);
        assert!(elements.contains(&(6, descriptor)), "{len}");
        assert!(elements.contains(&(3, vec![0x12, 0x34])));
    }
    let (_, elements) = read(&template, &packet(), &[1; MAX_DESCRIPTOR + 1]);
    assert!(elements.iter().all(|(id, _)| *id != 6));
}

#[test]
fn without_rtx_nothing_in_the_header_changes_with_time() {
    let template = HeaderTemplate::new(&subscribe(Codec::H264, &ALL), false);
    let (_, elements) = read(&template, &packet(), &[]);
    assert_eq!(elements, [(4, b"m1".to_vec())]);
    assert!(!template.has_transport_cc());
}

#[test]
fn without_extensions_there_is_no_block() {
    let mut spec = subscribe(Codec::Vp8, &[]);
    spec.mid.clear();
    let (header, _) = read(&HeaderTemplate::new(&spec, true), &packet(), &[]);
    assert_eq!((header.header_len, header.ext), (12, None));
}

proptest! {
    /// Sequence numbers go up with the track's, whatever is lost or reordered, and a NACK finds its way back.
    #[test]
    fn mapping_is_order_preserving_and_reversible(
        first in any::<u16>(), start in 0u64..1 << 40, steps in proptest::collection::vec(1u64..300, 1..300)
    ) {
        let mut sequencer = Sequencer::new(first);
        let base = sequencer.map(start).unwrap();
        prop_assert!(base < 1 << 15);
        let mut sequence = start;
        for step in steps {
            sequence += step;
            let index = sequencer.map(sequence).unwrap();
            prop_assert_eq!(index - base, sequence - start);
            prop_assert_eq!(sequencer.unmap(index as u16), Some((index, sequence)));
        }
        prop_assert_eq!(sequencer.map(start.wrapping_sub(1)).filter(|_| start > 0), None);
        prop_assert_eq!(sequencer.unmap((sequencer.highest_out + 1) as u16), None);
    }
}
