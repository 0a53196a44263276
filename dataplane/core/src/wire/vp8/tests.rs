use proptest::prelude::*;
use rtp::codecs::vp8::Vp8Packet;
use rtp::packetizer::Depacketizer;

use super::super::test_bytes::hex;
use super::*;

#[test]
fn a_descriptor_with_everything() {
    // X S PID=0 | I L T K | 15-bit picture id | TL0PICIDX | TID=2 Y KEYIDX=5 | payload header with P=0.
    let payload = hex("90 f0 92ab 07 a5 10");
    let descriptor = Descriptor::parse(&payload).unwrap();
    assert_eq!(descriptor.header_len, 6);
    assert_eq!(descriptor.picture_id, Some(PictureId { value: 0x12ab, offset: 2, wide: true }));
    assert_eq!(descriptor.tl0_pic_idx, Some((7, 4)));
    assert_eq!((descriptor.temporal_id, descriptor.layer_sync, descriptor.key_idx), (Some(2), true, Some(5)));
    assert!(is_frame_start(&payload));
    assert!(is_keyframe_start(&payload));
}

#[test]
fn key_frames_are_told_by_the_payload_header_of_the_first_packet() {
    assert!(is_keyframe_start(&hex("10 00")));
    assert!(!is_keyframe_start(&hex("10 01")), "P is set");
    assert!(!is_keyframe_start(&hex("00 00")), "not the start of a partition");
    assert!(!is_keyframe_start(&hex("11 00")), "partition 1");
    assert!(!is_keyframe_start(&hex("10")), "no payload header");
    assert!(!is_keyframe_start(&[]));
}

#[test]
fn the_picture_id_is_overwritten_in_its_width() {
    let mut payload = hex("90 80 8001 00");
    Descriptor::parse(&payload).unwrap().picture_id.unwrap().set(&mut payload, 0x7fff);
    assert_eq!(payload, hex("90 80 ffff 00"));
    let mut payload = hex("90 80 01 00");
    Descriptor::parse(&payload).unwrap().picture_id.unwrap().set(&mut payload, 0x1ff);
    assert_eq!(payload, hex("90 80 7f 00"));
}

#[test]
fn truncated_descriptors_are_refused() {
    let payload = hex("90 f0 92ab 07 a5");
    for len in 0..payload.len() {
        assert_eq!(Descriptor::parse(&payload[..len]), None, "{len}");
    }
}

proptest! {
    #[test]
    fn descriptors_are_read_as_the_oracle_reads_them(payload in proptest::collection::vec(any::<u8>(), 8..24)) {
        let mut oracle = Vp8Packet::default();
        let rest = oracle.depacketize(&payload.clone().into()).unwrap();
        let ours = Descriptor::parse(&payload).unwrap();
        prop_assert_eq!(&payload[ours.header_len..], &rest[..]);
        prop_assert_eq!(ours.start_of_partition, oracle.s == 1);
        prop_assert_eq!(ours.partition, oracle.pid);
        prop_assert_eq!(ours.non_reference, oracle.n == 1);
        prop_assert_eq!(ours.picture_id.map_or(0, |id| id.value), oracle.picture_id);
        prop_assert_eq!(ours.tl0_pic_idx.map_or(0, |(value, _)| value), oracle.tl0_pic_idx);
        prop_assert_eq!(ours.temporal_id.unwrap_or(0), oracle.tid);
        prop_assert_eq!(ours.key_idx.unwrap_or(0), oracle.key_idx);
    }

    #[test]
    fn any_payload_is_survived(payload in proptest::collection::vec(any::<u8>(), 0..10)) {
        let _ = is_keyframe_start(&payload);
        if let Some(descriptor) = Descriptor::parse(&payload) {
            prop_assert!(descriptor.header_len <= payload.len());
        }
    }
}
