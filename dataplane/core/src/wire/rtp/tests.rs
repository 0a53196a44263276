use bytes::Bytes;
use proptest::prelude::*;
use rtp::header::{Extension, Header};
use webrtc_util::marshal::{Marshal, MarshalSize, Unmarshal};

use super::super::test_bytes::hex;
use super::*;

fn oracle_header() -> impl Strategy<Value = Header> {
    let fields = (any::<bool>(), any::<bool>(), 0u8..128, any::<u16>(), any::<u32>(), any::<u32>());
    let csrc = proptest::collection::vec(any::<u32>(), 0..16);
    let ext = proptest::option::of(proptest::collection::vec(any::<u32>(), 0..20));
    (fields, csrc, ext, any::<u16>()).prop_map(
        |((marker, padding, payload_type, seq, ts, ssrc), csrc, ext, profile)| {
            Header {
                version: 2,
                marker,
                padding,
                payload_type,
                sequence_number: seq,
                timestamp: ts,
                ssrc,
                csrc,
                extension: ext.is_some(),
                // A profile of RFC 3550, so that the oracle takes the block as it is.
                extension_profile: profile & 0x0fff,
                extensions: ext
                    .map(|words| Extension { id: 0, payload: words.iter().flat_map(|w| w.to_be_bytes()).collect() })
                    .into_iter()
                    .collect(),
                extensions_padding: 0,
            }
        },
    )
}

fn assert_same(ours: &RtpHeader, oracle: &Header) {
    assert_eq!(ours.marker, oracle.marker);
    assert_eq!(ours.padding, oracle.padding);
    assert_eq!(ours.payload_type, oracle.payload_type);
    assert_eq!(ours.sequence, oracle.sequence_number);
    assert_eq!(ours.timestamp, oracle.timestamp);
    assert_eq!(ours.ssrc, oracle.ssrc);
    assert_eq!(ours.ext.is_some(), oracle.extension);
}

#[test]
fn truncated_and_foreign_packets_are_refused() {
    let packet = hex("b1e0000100000002 00000003 00000004 bede0001 10ff0000 aabb");
    let header = RtpHeader::parse(&packet).unwrap();
    assert_eq!(header.header_len, 24);
    assert_eq!(header.ext, Some(ExtBlock { profile: 0xbede, start: 20, len: 4 }));
    for len in 0..24 {
        assert_eq!(RtpHeader::parse(&packet[..len]), Err(RtpError::TooShort), "{len}");
    }
    assert!(RtpHeader::parse(&packet[..24]).is_ok());
    for version in [0x31, 0x71, 0xf1] {
        let mut other = packet.clone();
        other[0] = version;
        assert_eq!(RtpHeader::parse(&other), Err(RtpError::BadVersion));
    }
}

#[test]
fn padding_is_stripped_only_if_it_is_within_the_payload() {
    let packet = |payload: &str| hex(&format!("a0600001 00000002 00000003 {payload}"));
    let len = |payload: &str| {
        let packet = packet(payload);
        payload_len(&packet, &RtpHeader::parse(&packet).unwrap())
    };
    assert_eq!(len("aabb 0002"), Ok(2));
    assert_eq!(len("00000004"), Ok(0));
    assert_eq!(len("00000005"), Err(RtpError::BadPadding));
    assert_eq!(len("aabb0000"), Err(RtpError::BadPadding));
    assert_eq!(len(""), Err(RtpError::BadPadding));
    let header = RtpHeader::parse(&packet("01")).unwrap();
    assert_eq!(payload_len(&[0x80; 5], &header), Err(RtpError::TooShort));
}

proptest! {
    #[test]
    fn generated_headers_are_read_as_the_oracle_wrote_them(
        oracle in oracle_header(), payload in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut packet = oracle.marshal().unwrap().to_vec();
        let header_len = packet.len();
        packet.extend_from_slice(&payload);
        let ours = RtpHeader::parse(&packet).unwrap();
        assert_same(&ours, &oracle);
        prop_assert_eq!(ours.header_len, header_len);
        if let (Some(block), Some(ext)) = (ours.ext, oracle.extensions.first()) {
            prop_assert_eq!(block.profile, oracle.extension_profile);
            prop_assert_eq!(&packet[block.start..block.start + block.len], &ext.payload[..]);
        }
    }

    #[test]
    fn any_bytes_are_accepted_exactly_when_the_oracle_accepts_them(
        mut packet in proptest::collection::vec(any::<u8>(), 0..120), words in 0u16..24,
    ) {
        if let Some(first) = packet.first_mut() {
            *first = *first & 0x3f | 0x80;
        }
        // A plausible length and a profile whose elements the oracle does not look into.
        let ext_at = 12 + 4 * usize::from(packet.first().map_or(0, |first| first & 0x0f));
        if let Some(block) = packet.get_mut(ext_at..ext_at + 4) {
            block[0] = 0;
            block[2..].copy_from_slice(&words.to_be_bytes());
        }
        let oracle = Header::unmarshal(&mut Bytes::from(packet.clone()));
        match (RtpHeader::parse(&packet), oracle) {
            (Ok(ours), Ok(oracle)) => {
                assert_same(&ours, &oracle);
                prop_assert_eq!(ours.header_len, oracle.marshal_size());
            }
            (Err(_), Err(_)) => {}
            (ours, oracle) => prop_assert!(false, "{ours:?} against {oracle:?}"),
        }
    }

    #[test]
    fn padding_is_as_the_oracle_strips_it(
        payload in proptest::collection::vec(any::<u8>(), 0..60), padding in 1u8..60,
    ) {
        let mut packet = hex("a0600001 00000002 00000003");
        packet.extend_from_slice(&payload);
        packet.extend(std::iter::repeat_n(0, usize::from(padding) - 1));
        packet.push(padding);
        let header = RtpHeader::parse(&packet).unwrap();
        let oracle = rtp::packet::Packet::unmarshal(&mut Bytes::from(packet.clone())).unwrap();
        let len = payload_len(&packet, &header).unwrap();
        prop_assert_eq!(&packet[header.header_len..header.header_len + len], &oracle.payload[..]);
        prop_assert_eq!(len, payload.len());
    }

    #[test]
    fn setters_change_their_field_alone(
        oracle in oracle_header(), marker: bool, payload_type in 0u8..128, seq: u16, ts: u32, source: u32, padding: bool,
    ) {
        let mut packet = oracle.marshal().unwrap().to_vec();
        let mut expected = oracle;
        set_marker(&mut packet, marker);
        expected.marker = marker;
        prop_assert_eq!(&packet[..], &expected.marshal().unwrap()[..]);
        set_payload_type(&mut packet, payload_type);
        expected.payload_type = payload_type;
        prop_assert_eq!(&packet[..], &expected.marshal().unwrap()[..]);
        set_sequence(&mut packet, seq);
        set_timestamp(&mut packet, ts);
        set_ssrc(&mut packet, source);
        set_padding(&mut packet, padding);
        expected = Header { sequence_number: seq, timestamp: ts, ssrc: source, padding, ..expected };
        prop_assert_eq!(&packet[..], &expected.marshal().unwrap()[..]);
        prop_assert_eq!(ssrc(&packet), Some(source));
    }

    #[test]
    fn a_written_header_is_read_back(oracle in oracle_header(), has_ext: bool) {
        let packet = oracle.marshal().unwrap();
        let header = RtpHeader { header_len: FIXED_HEADER_LEN, ext: None, ..RtpHeader::parse(&packet).unwrap() };
        let mut out = [0xff; 16];
        prop_assert_eq!(write_fixed_header(&mut out, &header, has_ext), Some(12));
        out[0] &= !0x10;
        prop_assert_eq!(RtpHeader::parse(&out), Ok(header));
        prop_assert_eq!(write_fixed_header(&mut out[..11], &header, has_ext), None);
    }

    #[test]
    fn setters_leave_short_packets_alone(mut packet in proptest::collection::vec(any::<u8>(), 0..12)) {
        set_marker(&mut packet, true);
        set_payload_type(&mut packet, 1);
        set_padding(&mut packet, true);
        set_sequence(&mut packet, 2);
        set_timestamp(&mut packet, 3);
        set_ssrc(&mut packet, 4);
        prop_assert_eq!(ssrc(&packet), None);
    }
}

#[test]
fn padding_that_was_added_is_not_payload() {
    let mut out = [7; 40];
    out[0] = 0x80;
    for count in [1, 2, 20] {
        assert_eq!(pad(&mut out, 20, count), Some(usize::from(count)));
        let packet = &out[..20 + usize::from(count)];
        let header = RtpHeader::parse(packet).unwrap();
        assert!(header.padding);
        assert_eq!(payload_len(packet, &header), Ok(8));
        assert!(packet[20..packet.len() - 1].iter().all(|byte| *byte == 0));
    }
    assert_eq!(pad(&mut out, 20, 21), None);
    assert_eq!(pad(&mut out, 20, 0), None);
}
