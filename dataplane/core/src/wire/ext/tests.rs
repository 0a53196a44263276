use bytes::Bytes;
use proptest::prelude::*;
use rtp::header::{Extension, Header};
use webrtc_util::marshal::{Marshal, Unmarshal};

use super::super::test_bytes::hex;
use super::*;

fn packet_with_block(profile: u16, block: &[u8]) -> Vec<u8> {
    let mut packet = hex("90600001 00000002 00000003");
    packet.extend_from_slice(&profile.to_be_bytes());
    packet.extend_from_slice(&((block.len() / 4) as u16).to_be_bytes());
    packet.extend_from_slice(block);
    packet
}

fn read(packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let header = RtpHeader::parse(packet).unwrap();
    elements(packet, &header).map(|(id, data)| (id, data.to_vec())).collect()
}

fn ids(packet: &[u8]) -> Vec<u8> {
    read(packet).into_iter().map(|(id, _)| id).collect()
}

#[test]
fn one_byte_elements_with_padding_between() {
    // RFC 8285 4.2's example: one byte, two bytes, pad, pad, four bytes.
    let packet = packet_with_block(ONE_BYTE_PROFILE, &hex("10aa 21bbcc 0000 33ddddddee"));
    assert_eq!(read(&packet), [(1, hex("aa")), (2, hex("bbcc")), (3, hex("ddddddee"))]);
}

#[test]
fn two_byte_elements_with_an_empty_one() {
    // RFC 8285 4.3's example: no data, one byte, pad, four bytes.
    let packet = packet_with_block(0x1003, &hex("0100 0201aa 00 0304ddddddee"));
    assert_eq!(read(&packet), [(1, vec![]), (2, hex("aa")), (3, hex("ddddddee"))]);
}

#[test]
fn id_15_stops_and_id_0_is_skipped_by_its_length() {
    assert_eq!(ids(&packet_with_block(ONE_BYTE_PROFILE, &hex("10aa f0bb 20cc 0000"))), [1]);
    assert_eq!(ids(&packet_with_block(ONE_BYTE_PROFILE, &hex("02ffffff 10aa 0000"))), [1]);
    assert_eq!(ids(&packet_with_block(TWO_BYTE_PROFILE, &hex("0f01bb 1001cc 0000"))), [15, 16]);
}

#[test]
fn an_element_past_the_block_ends_it() {
    assert_eq!(ids(&packet_with_block(ONE_BYTE_PROFILE, &hex("10aa 2fbb"))), [1]);
    assert_eq!(ids(&packet_with_block(TWO_BYTE_PROFILE, &hex("0101aa 02"))), [1]);
    assert_eq!(ids(&packet_with_block(TWO_BYTE_PROFILE, &hex("0101aa 02ff0000 00"))), [1]);
    assert_eq!(ids(&packet_with_block(0x1234, &hex("10aa0000"))), [] as [u8; 0]);
    assert_eq!(ids(&hex("80600001 00000002 00000003")), [] as [u8; 0]);
}

#[test]
fn the_writer_refuses_what_the_form_cannot_express() {
    let mut out = [0; 64];
    let mut writer = ExtWriter::one_byte(&mut out);
    assert_eq!(writer.push(0, b"x"), None);
    assert_eq!(writer.push(15, b"x"), None);
    assert_eq!(writer.push(1, b""), None);
    assert_eq!(writer.push(1, &[0; 17]), None);
    assert_eq!(writer.finish(), 0);
    let mut writer = ExtWriter::two_byte(&mut out);
    assert_eq!(writer.push(0, b"x"), None);
    assert_eq!(writer.push(200, b""), Some(6));
    assert_eq!(writer.finish(), 8);
    let mut long = [0; 400];
    assert_eq!(ExtWriter::two_byte(&mut long).push(1, &[0; 256]), None);
}

#[test]
fn the_writer_keeps_room_for_padding() {
    let mut out = [0xff; 11];
    let mut writer = ExtWriter::one_byte(&mut out);
    assert_eq!(writer.push(3, &[1, 2, 3]), Some(5));
    // A second element would need the bytes 8 to 11.
    assert_eq!(writer.push(4, &[1]), None);
    assert_eq!(writer.finish(), 8);
    assert_eq!(out[..8], hex("bede0001 32010203"));
    assert_eq!(ExtWriter::one_byte(&mut []).push(1, &[1]), None);
    assert_eq!(ExtWriter::one_byte(&mut []).finish(), 0);
}

#[test]
fn values_of_single_extensions() {
    assert_eq!(abs_send_time(0), [0, 0, 0]);
    assert_eq!(abs_send_time(1_000_000), hex("040000")[..]);
    assert_eq!(abs_send_time(63_500_000), hex("fe0000")[..]);
    assert_eq!(abs_send_time(64_000_000), [0, 0, 0]);
    assert_eq!(abs_send_time(u64::MAX).len(), 3);
    assert_eq!(parse_abs_send_time(&hex("040000")), Some(1 << 18));
    assert_eq!(parse_abs_send_time(&hex("0400")), None);
    assert_eq!(parse_transport_cc(&transport_cc(0xabcd)), Some(0xabcd));
    assert_eq!(parse_transport_cc(&[1]), None);
    let level = AudioLevel { voice: true, level: 42 };
    assert_eq!((level.to_byte(), AudioLevel::parse(&[0x80 | 42])), (0x80 | 42, Some(level)));
    assert_eq!(AudioLevel::parse(&[]), None);
}

fn distinct(elements: Vec<(u8, Vec<u8>)>) -> Vec<(u8, Vec<u8>)> {
    let mut seen = std::collections::BTreeSet::new();
    elements.into_iter().filter(|(id, _)| seen.insert(*id)).collect()
}

proptest! {
    #[test]
    fn written_blocks_are_read_by_the_oracle_and_by_us(
        two_byte: bool,
        wanted in proptest::collection::vec((1u8..15, proptest::collection::vec(any::<u8>(), 1..17)), 1..8),
    ) {
        let wanted = distinct(wanted);
        let mut out = [0xff; 300];
        let mut writer = if two_byte { ExtWriter::two_byte(&mut out) } else { ExtWriter::one_byte(&mut out) };
        let offsets: Vec<_> = wanted.iter().map(|(id, data)| writer.push(*id, data).unwrap()).collect();
        let len = writer.finish();
        prop_assert_eq!(len % 4, 0);
        for ((_, data), offset) in wanted.iter().zip(offsets) {
            prop_assert_eq!(&out[offset..offset + data.len()], &data[..]);
        }
        let mut packet = hex("90600001 00000002 00000003");
        packet.extend_from_slice(&out[..len]);
        prop_assert_eq!(read(&packet), wanted.clone());
        let oracle = Header::unmarshal(&mut Bytes::from(packet.clone())).unwrap();
        let theirs: Vec<_> = oracle.extensions.iter().map(|e| (e.id, e.payload.to_vec())).collect();
        prop_assert_eq!(theirs, wanted.clone());
        let header = RtpHeader::parse(&packet).unwrap();
        prop_assert_eq!(element(&packet, &header, wanted[0].0), Some(&wanted[0].1[..]));
        prop_assert_eq!(header.header_len, packet.len());
    }

    #[test]
    fn the_oracles_blocks_are_read_by_us(
        two_byte: bool,
        wanted in proptest::collection::vec((1u8..15, proptest::collection::vec(any::<u8>(), 1..17)), 1..8),
    ) {
        let wanted = distinct(wanted);
        let oracle = Header {
            version: 2,
            extension: true,
            extension_profile: if two_byte { TWO_BYTE_PROFILE } else { ONE_BYTE_PROFILE },
            extensions: wanted.iter().map(|(id, d)| Extension { id: *id, payload: d.clone().into() }).collect(),
            ..Header::default()
        };
        prop_assert_eq!(read(&oracle.marshal().unwrap()), wanted);
    }

    #[test]
    fn any_block_is_survived(profile in prop_oneof![Just(0xbedeu16), 0x1000u16..0x1010, any::<u16>()],
                             words in proptest::collection::vec(any::<u32>(), 0..20)) {
        let block: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let packet = packet_with_block(profile, &block);
        let total: usize = read(&packet).iter().map(|(_, data)| data.len() + 1).sum();
        prop_assert!(total <= block.len());
    }

    #[test]
    fn abs_send_time_is_within_a_unit_of_the_truth(micros in 0u64..1 << 50) {
        let value = f64::from(parse_abs_send_time(&abs_send_time(micros)).unwrap()) / f64::from(1 << 18);
        let truth = (micros % 64_000_000) as f64 / 1e6;
        prop_assert!((0.0..=1.0 / f64::from(1 << 18)).contains(&(truth - value)));
    }
}
