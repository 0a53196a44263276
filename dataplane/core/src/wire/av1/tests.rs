use proptest::prelude::*;

use super::super::test_bytes::hex;
use super::*;

#[test]
fn the_header_says_so() {
    assert!(is_keyframe_start(&hex("18 0a")), "N with one element");
    assert!(!is_keyframe_start(&hex("90 0a")), "a continuation");
    assert!(!is_keyframe_start(&hex("98 0a")), "a continuation, whatever N says");
    assert!(!is_keyframe_start(&[]));
    assert_eq!(
        AggregationHeader::parse(&[0x58]),
        Some(AggregationHeader { continues: false, continued: true, elements: 1, new_sequence: true })
    );
}

#[test]
fn the_first_obu_is_a_sequence_header() {
    // OBU type 1 without and with a length in front; type 6 is a frame.
    assert!(is_keyframe_start(&hex("10 0a 0b")));
    assert!(is_keyframe_start(&hex("00 02 08 00")));
    assert!(is_keyframe_start(&hex("20 8001 08 00")));
    assert!(!is_keyframe_start(&hex("10 32 00")));
    assert!(!is_keyframe_start(&hex("00 02 30 00")));
    assert!(!is_keyframe_start(&hex("10")));
    assert!(!is_keyframe_start(&hex("00 80")));
    assert!(!is_keyframe_start(&hex("00 ffffffffffffffff 08")), "a length of more than eight bytes");
}

proptest! {
    #[test]
    fn any_payload_is_survived(payload in proptest::collection::vec(any::<u8>(), 0..20)) {
        let started = is_keyframe_start(&payload);
        if let Some(header) = AggregationHeader::parse(&payload) {
            prop_assert!(!(header.continues && started));
            prop_assert!(started || header.continues || !header.new_sequence);
        }
    }
}
