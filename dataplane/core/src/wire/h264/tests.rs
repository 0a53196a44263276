use proptest::prelude::*;

use super::super::test_bytes::hex;
use super::*;

#[test]
fn single_units() {
    assert!(is_keyframe_start(&hex("65 88")));
    assert!(is_keyframe_start(&hex("67 42")));
    assert!(!is_keyframe_start(&hex("68 ce")), "a picture parameter set alone");
    assert!(!is_keyframe_start(&hex("41 9a")));
    assert!(!is_keyframe_start(&[]));
}

#[test]
fn aggregates_are_searched() {
    assert!(is_keyframe_start(&hex("78 0002 06aa 0003 6742e0 0002 68ce")));
    assert!(is_keyframe_start(&hex("78 0001 65")));
    assert!(!is_keyframe_start(&hex("78 0002 41aa 0002 41bb")));
    assert!(!is_keyframe_start(&hex("78 0009 6542")), "the unit runs past the packet");
    assert!(!is_keyframe_start(&hex("78 0000 0000")));
}

#[test]
fn only_the_first_fragment_counts() {
    assert!(is_keyframe_start(&hex("7c 85 88")));
    assert!(is_keyframe_start(&hex("7c 87 42")));
    assert!(!is_keyframe_start(&hex("7c 05 88")));
    assert!(!is_keyframe_start(&hex("7c 45 88")));
    assert!(!is_keyframe_start(&hex("7c 81 88")));
    assert!(!is_keyframe_start(&hex("7c")));
}

proptest! {
    #[test]
    fn any_payload_is_survived(payload in proptest::collection::vec(any::<u8>(), 0..40), first in 0u8..32) {
        let _ = is_keyframe_start(&payload);
        let _ = is_keyframe_start(&[&[first], &payload[..]].concat());
    }

    #[test]
    fn an_aggregate_is_a_key_frame_when_one_of_its_units_is(kinds in proptest::collection::vec((1u8..24, 0usize..9), 1..6)) {
        let mut payload = vec![0x78];
        for (kind, len) in &kinds {
            payload.extend_from_slice(&(*len as u16 + 1).to_be_bytes());
            payload.push(0x60 | kind);
            payload.extend(std::iter::repeat_n(0x65, *len));
        }
        prop_assert_eq!(is_keyframe_start(&payload), kinds.iter().any(|(kind, _)| matches!(kind, 5 | 7)));
    }
}
