use proptest::prelude::*;
use rtp::codecs::vp9::Vp9Packet;
use rtp::packetizer::Depacketizer;

use super::super::test_bytes::hex;
use super::*;

#[test]
fn a_key_frame_as_browsers_send_it() {
    // I L B E V, 15-bit picture id, TID=0 SID=0, TL0PICIDX, structure of one layer with size, one picture.
    let payload = hex("ae 8001 00 05 18 0280 01e0 01 00 aabb");
    let descriptor = Descriptor::parse(&payload).unwrap();
    assert_eq!(descriptor.header_len, 12);
    assert_eq!(descriptor.picture_id, Some(PictureId { value: 1, offset: 1, wide: true }));
    assert_eq!(descriptor.tl0_pic_idx, Some((5, 4)));
    assert!(descriptor.has_structure && descriptor.end_of_frame);
    assert!(is_keyframe_start(&payload) && is_frame_start(&payload) && is_frame_end(&payload));
}

#[test]
fn only_the_lowest_layers_first_packet_starts_a_key_frame() {
    assert!(is_keyframe_start(&hex("08")));
    assert!(!is_keyframe_start(&hex("48")), "predicted");
    assert!(!is_keyframe_start(&hex("04")), "not the first packet");
    assert!(!is_keyframe_start(&hex("28 03 00")), "spatial layer 1");
    assert!(!is_keyframe_start(&[]));
}

#[test]
fn flexible_mode_lists_up_to_three_references() {
    assert_eq!(Descriptor::parse(&hex("58 03 05 06 aa")).map(|d| d.header_len), Some(4));
    assert_eq!(Descriptor::parse(&hex("58 03 05 07 aa")), None);
    assert_eq!(Descriptor::parse(&hex("58 03")), None);
    // Flexible but not predicted: none.
    assert_eq!(Descriptor::parse(&hex("18 03")).map(|d| d.header_len), Some(1));
}

proptest! {
    #[test]
    fn descriptors_are_read_as_the_oracle_reads_them(mut payload in proptest::collection::vec(any::<u8>(), 1..24)) {
        // The structure's reserved bits and long pictures make it run out too often.
        payload[0] &= !0x02;
        let mut oracle = Vp9Packet::default();
        match (Descriptor::parse(&payload), oracle.depacketize(&payload.clone().into())) {
            (Some(ours), Ok(rest)) => {
                prop_assert_eq!(&payload[ours.header_len..], &rest[..]);
                prop_assert_eq!(ours.inter_predicted, oracle.p);
                prop_assert_eq!(ours.start_of_frame, oracle.b);
                prop_assert_eq!(ours.end_of_frame, oracle.e);
                prop_assert_eq!(ours.not_reference, oracle.z);
                prop_assert_eq!(ours.picture_id.map_or(0, |id| id.value), oracle.picture_id);
                prop_assert_eq!(ours.temporal_id.unwrap_or(0), oracle.tid);
                prop_assert_eq!(ours.spatial_id.unwrap_or(0), oracle.sid);
                prop_assert_eq!(ours.switching_up, oracle.u);
                prop_assert_eq!(ours.inter_layer, oracle.d);
                prop_assert_eq!(ours.tl0_pic_idx.map_or(0, |(value, _)| value), oracle.tl0picidx);
            }
            (None, Err(_)) => {}
            // The oracle refuses spatial layers above 4, which the format allows up to 7.
            (Some(ours), Err(_)) if ours.spatial_id.is_some_and(|sid| sid >= 5) => {}
            // And it refuses the third reference difference, which RFC 9628 4.2 allows.
            (Some(ours), Err(_)) if ours.flexible && oracle.pdiff.len() == MAX_P_DIFFS => {}
            (ours, oracle) => prop_assert!(false, "{ours:?} against {oracle:?}"),
        }
    }

    #[test]
    fn structures_are_skipped_as_the_oracle_skips_them(
        layers in 0u8..8, sizes: bool, pictures in proptest::option::of(proptest::collection::vec((any::<u8>(), any::<[u8; 3]>()), 0..20)),
    ) {
        let mut payload = vec![0x0a, layers << 5 | u8::from(sizes) << 4 | u8::from(pictures.is_some()) << 3];
        payload.extend(std::iter::repeat_n(0x11, if sizes { 4 * (usize::from(layers) + 1) } else { 0 }));
        if let Some(pictures) = &pictures {
            payload.push(pictures.len() as u8);
            for (flags, references) in pictures {
                payload.push(*flags);
                payload.extend_from_slice(&references[..usize::from(flags >> 2 & 3)]);
            }
        }
        let end = payload.len();
        prop_assert_eq!(Descriptor::parse(&payload[..end - 1]), None);
        payload.extend_from_slice(b"frame");
        prop_assert_eq!(Descriptor::parse(&payload).unwrap().header_len, end);
        let rest = Vp9Packet::default().depacketize(&payload.clone().into());
        if let Ok(rest) = rest {
            prop_assert_eq!(&rest[..], b"frame");
        }
    }

    #[test]
    fn any_payload_is_survived(payload in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = is_keyframe_start(&payload);
        if let Some(descriptor) = Descriptor::parse(&payload) {
            prop_assert!(descriptor.header_len <= payload.len());
        }
    }
}
