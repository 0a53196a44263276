use bytes::Bytes;
use proptest::prelude::*;
use rtcp::goodbye::Goodbye;
use rtcp::packet::{Packet, unmarshal};
use rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtcp::receiver_report::ReceiverReport;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport;
use rtcp::source_description::{SdesType, SourceDescription};
use rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};

use super::super::test_bytes::hex;
use super::*;

fn written(write: impl FnOnce(&mut RtcpWriter<'_>) -> bool) -> Vec<u8> {
    let mut out = vec![0xaa; 2000];
    let mut writer = RtcpWriter::new(&mut out);
    assert!(write(&mut writer));
    let len = writer.len();
    out.truncate(len);
    out
}

fn only(bytes: &[u8]) -> Rtcp<'_> {
    let mut all = packets(bytes);
    let first = all.next().unwrap().unwrap();
    assert!(all.next().is_none());
    first
}

fn oracle<P: Packet + Clone + 'static>(bytes: &[u8]) -> P {
    let all = unmarshal(&mut Bytes::copy_from_slice(bytes)).unwrap();
    assert_eq!(all.len(), 1);
    all[0].as_any().downcast_ref::<P>().expect("another type").clone()
}

fn block() -> impl Strategy<Value = ReportBlock> {
    let lost = -(1i32 << 23)..1 << 23;
    (any::<(u32, u8)>(), lost, any::<(u32, u32, u32, u32)>()).prop_map(
        |((ssrc, fraction_lost), cumulative_lost, (highest_sequence, jitter, lsr, dlsr))| ReportBlock {
            ssrc,
            fraction_lost,
            cumulative_lost,
            highest_sequence,
            jitter,
            lsr,
            dlsr,
        },
    )
}

fn blocks() -> impl Strategy<Value = Vec<ReportBlock>> {
    proptest::collection::vec(block(), 0..32)
}

fn oracle_block(block: &ReportBlock) -> ReceptionReport {
    ReceptionReport {
        ssrc: block.ssrc,
        fraction_lost: block.fraction_lost,
        total_lost: block.cumulative_lost as u32 & 0x00ff_ffff,
        last_sequence_number: block.highest_sequence,
        jitter: block.jitter,
        last_sender_report: block.lsr,
        delay: block.dlsr,
    }
}

proptest! {
    #[test]
    fn sender_reports(ssrc: u32, ntp: u64, rtp: u32, count: u32, octets: u32, sent in blocks()) {
        let bytes = written(|w| w.sender_report(ssrc, ntp, rtp, count, octets, &sent));
        let expected = SenderReport {
            ssrc, ntp_time: ntp, rtp_time: rtp, packet_count: count, octet_count: octets,
            reports: sent.iter().map(oracle_block).collect(), profile_extensions: Bytes::new(),
        };
        prop_assert_eq!(&oracle::<SenderReport>(&bytes), &expected);
        prop_assert_eq!(&bytes[..], &rtcp::packet::marshal(&[Box::new(expected)]).unwrap()[..]);
        let Rtcp::SenderReport { ssrc: s, ntp: n, rtp: r, packets: p, octets: o, blocks } = only(&bytes) else {
            panic!("another type")
        };
        prop_assert_eq!((s, n, r, p, o), (ssrc, ntp, rtp, count, octets));
        prop_assert_eq!(blocks.collect::<Vec<_>>(), sent);
    }

    #[test]
    fn receiver_reports(ssrc: u32, sent in blocks()) {
        let bytes = written(|w| w.receiver_report(ssrc, &sent));
        let expected = ReceiverReport {
            ssrc, reports: sent.iter().map(oracle_block).collect(), profile_extensions: Bytes::new(),
        };
        prop_assert_eq!(&bytes[..], &rtcp::packet::marshal(&[Box::new(expected)]).unwrap()[..]);
        let Rtcp::ReceiverReport { ssrc: s, blocks } = only(&bytes) else { panic!("another type") };
        prop_assert_eq!(s, ssrc);
        prop_assert_eq!(blocks.collect::<Vec<_>>(), sent);
    }

    #[test]
    fn source_descriptions(ssrc: u32, cname in "[ -~]{0,255}") {
        let bytes = written(|w| w.sdes_cname(ssrc, &cname));
        prop_assert!(matches!(only(&bytes), Rtcp::Sdes));
        let read: SourceDescription = oracle(&bytes);
        prop_assert_eq!(read.chunks.len(), 1);
        prop_assert_eq!(read.chunks[0].source, ssrc);
        // The oracle takes an empty text for the end of the items.
        if !cname.is_empty() {
            prop_assert_eq!(read.chunks[0].items[0].sdes_type, SdesType::SdesCname);
            prop_assert_eq!(&read.chunks[0].items[0].text[..], cname.as_bytes());
        }
    }

    #[test]
    fn byes(ssrc: u32, others in proptest::collection::vec(any::<u32>(), 0..31), reason in "[a-z]{0,30}") {
        let bytes = written(|w| w.bye(ssrc));
        prop_assert_eq!(oracle::<Goodbye>(&bytes).sources, vec![ssrc]);
        let theirs = Goodbye { sources: others.clone(), reason: reason.into() };
        let bytes = rtcp::packet::marshal(&[Box::new(theirs)]).unwrap();
        let Rtcp::Bye { ssrcs } = only(&bytes) else { panic!("another type") };
        prop_assert_eq!(ssrcs.collect::<Vec<_>>(), others);
    }

    #[test]
    fn keyframe_requests(sender: u32, media: u32, sequence: u8, more in proptest::collection::vec(any::<(u32, u8)>(), 1..9)) {
        let bytes = written(|w| w.pli(sender, media));
        prop_assert_eq!(oracle::<PictureLossIndication>(&bytes), PictureLossIndication { sender_ssrc: sender, media_ssrc: media });
        let Rtcp::Pli { sender: s, media: m } = only(&bytes) else { panic!("another type") };
        prop_assert_eq!((s, m), (sender, media));

        let bytes = written(|w| w.fir(sender, media, sequence));
        let expected = FullIntraRequest {
            sender_ssrc: sender, media_ssrc: 0, fir: vec![FirEntry { ssrc: media, sequence_number: sequence }],
        };
        prop_assert_eq!(oracle::<FullIntraRequest>(&bytes), expected.clone());
        prop_assert_eq!(&bytes[..], &rtcp::packet::marshal(&[Box::new(expected)]).unwrap()[..]);

        let fir = more.iter().map(|(ssrc, n)| FirEntry { ssrc: *ssrc, sequence_number: *n }).collect();
        let theirs = FullIntraRequest { sender_ssrc: sender, media_ssrc: 0, fir };
        let bytes = rtcp::packet::marshal(&[Box::new(theirs)]).unwrap();
        let Rtcp::Fir { sender: s, entries } = only(&bytes) else { panic!("another type") };
        prop_assert_eq!((s, entries.collect::<Vec<_>>()), (sender, more));
    }

    #[test]
    fn nacks(sender: u32, media: u32, first: u16, gaps in proptest::collection::vec(1u16..30, 0..100)) {
        let mut lost = vec![first];
        for gap in gaps {
            lost.push(lost[lost.len() - 1].wrapping_add(gap));
        }
        let bytes = written(|w| w.nack(sender, media, &lost));
        let read: TransportLayerNack = oracle(&bytes);
        prop_assert_eq!((read.sender_ssrc, read.media_ssrc), (sender, media));
        let theirs: Vec<u16> = read.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
        prop_assert_eq!(&theirs, &lost);
        let Rtcp::Nack { sender: s, media: m, lost: ours } = only(&bytes) else { panic!("another type") };
        prop_assert_eq!((s, m), (sender, media));
        prop_assert_eq!(ours.collect::<Vec<_>>(), lost.clone());

        let theirs = TransportLayerNack { sender_ssrc: sender, media_ssrc: media, nacks: nack_pairs_from_sequence_numbers(&lost) };
        let bytes = rtcp::packet::marshal(&[Box::new(theirs)]).unwrap();
        let Rtcp::Nack { lost: ours, .. } = only(&bytes) else { panic!("another type") };
        prop_assert_eq!(ours.collect::<Vec<_>>(), lost);
    }

    #[test]
    fn remb(sender: u32, bps: u64, ssrcs in proptest::collection::vec(any::<u32>(), 0..20)) {
        let bytes = written(|w| w.remb(sender, bps, &ssrcs));
        let Rtcp::Remb { sender: s, bitrate_bps, ssrcs: ours } = only(&bytes) else { panic!("another type") };
        prop_assert_eq!(s, sender);
        prop_assert_eq!(ours.collect::<Vec<_>>(), ssrcs.clone());
        // 18 significant bits, rounded down.
        prop_assert!(bitrate_bps <= bps);
        prop_assert!(bps - bitrate_bps <= bps >> 17);
        let read: ReceiverEstimatedMaximumBitrate = oracle(&bytes);
        prop_assert_eq!(read.sender_ssrc, sender);
        prop_assert_eq!(read.ssrcs, ssrcs);
        prop_assert_eq!(read.bitrate, bitrate_bps as f32);
    }

    #[test]
    fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), fix: bool, packet_type in 199u8..208) {
        if fix && bytes.len() >= 8 {
            bytes.truncate(bytes.len() & !3);
            let words = (bytes.len() / 4 - 1) as u16;
            bytes[0] = bytes[0] & 0x1f | 0x80;
            bytes[1] = packet_type;
            bytes[2..4].copy_from_slice(&words.to_be_bytes());
        }
        // Every item is made of bytes of its own, which bounds what iterating costs.
        let mut items = 0;
        for packet in packets(&bytes) {
            items += 1 + match packet {
                Ok(Rtcp::SenderReport { blocks, .. } | Rtcp::ReceiverReport { blocks, .. }) => blocks.count(),
                Ok(Rtcp::Bye { ssrcs } | Rtcp::Remb { ssrcs, .. }) => ssrcs.count(),
                Ok(Rtcp::Fir { entries, .. }) => entries.count(),
                Ok(Rtcp::Nack { lost, .. }) => lost.count(),
                _ => 0,
            };
        }
        prop_assert!(items <= bytes.len() * 5);
    }
}

#[test]
fn a_compound_is_read_in_order_and_a_bad_packet_within_is_skipped() {
    let mut bytes = written(|w| w.receiver_report(1, &[]) && w.sdes_cname(1, "cname"));
    // A PLI without media SSRC.
    bytes.extend_from_slice(&hex("81ce0001 00000001"));
    bytes.extend_from_slice(&written(|w| w.pli(1, 2)));
    let kinds: Vec<_> = packets(&bytes).collect();
    assert!(matches!(kinds[0], Ok(Rtcp::ReceiverReport { ssrc: 1, .. })));
    assert!(matches!(kinds[1], Ok(Rtcp::Sdes)));
    assert!(matches!(kinds[2], Err(RtcpError::Truncated(206))));
    assert!(matches!(kinds[3], Ok(Rtcp::Pli { sender: 1, media: 2 })));
    assert_eq!(kinds.len(), 4);
}

#[test]
fn wrong_framing_ends_the_compound() {
    let errors = |text: &str| packets(&hex(text)).filter_map(Result::err).collect::<Vec<_>>();
    assert_eq!(errors("81c9"), [RtcpError::TooShort]);
    assert_eq!(errors("41c90001 00000001"), [RtcpError::BadVersion]);
    assert_eq!(errors("81c90002 00000001"), [RtcpError::BadLength]);
    assert_eq!(errors("81c90001 00000001"), [RtcpError::Truncated(201)]);
    assert_eq!(errors("a0c90001 00000000"), [RtcpError::BadLength]);
    assert_eq!(errors("a0c90001 00000005"), [RtcpError::BadLength]);
    assert_eq!(errors("a0c90000"), [RtcpError::BadLength]);
    assert!(packets(&[]).next().is_none());
}

#[test]
fn padding_is_not_part_of_a_packet() {
    let bytes = hex("a1ca0002 00000001 00000004 80c90001 00000007");
    let all: Vec<_> = packets(&bytes).collect();
    assert!(matches!(all[0], Ok(Rtcp::Sdes)));
    assert!(matches!(all[1], Ok(Rtcp::ReceiverReport { ssrc: 7, .. })));
}

#[test]
fn other_packets_are_told_by_type_and_count() {
    // An extended report, an application packet, and feedback of a kind nobody uses.
    for (text, expected) in [
        ("80cf0001 00000001", (207, 0)),
        ("82cc0002 00000001 41424344", (204, 2)),
        ("85cd0002 00000001 00000002", (205, 5)),
        ("8fce0003 00000001 00000000 41424344", (206, 15)),
    ] {
        let bytes = hex(text);
        let Rtcp::Other { packet_type, count } = only(&bytes) else { panic!("another type") };
        assert_eq!((packet_type, count), expected);
    }
}

#[test]
fn a_remb_beyond_64_bits_is_no_limit() {
    let bytes = hex("8fce0004 00000001 00000000 52454d42 00ffffff");
    assert!(matches!(only(&bytes), Rtcp::Remb { bitrate_bps: u64::MAX, .. }));
}

#[test]
fn a_packet_that_does_not_fit_leaves_the_ones_before() {
    let mut out = [0; 19];
    let mut writer = RtcpWriter::new(&mut out);
    assert!(writer.receiver_report(1, &[]));
    assert!(!writer.pli(1, 2));
    assert!(!writer.nack(1, 2, &[]));
    assert_eq!((writer.len(), writer.room()), (8, 11));
    assert!(writer.bye(1));
    assert!(!writer.is_empty());
    let len = writer.len();
    assert_eq!(packets(&out[..len]).filter_map(Result::ok).count(), 2);
}

#[test]
fn more_than_the_count_can_tell_is_refused() {
    let block =
        ReportBlock { ssrc: 1, fraction_lost: 0, cumulative_lost: 0, highest_sequence: 0, jitter: 0, lsr: 0, dlsr: 0 };
    let mut out = [0; 2000];
    assert!(!RtcpWriter::new(&mut out).receiver_report(1, &[block; 32]));
    assert!(!RtcpWriter::new(&mut out).sdes_cname(1, &"x".repeat(256)));
    assert!(!RtcpWriter::new(&mut out).remb(1, 1, &[0; 256]));
}

#[test]
fn the_cumulative_loss_saturates_at_24_bits() {
    let wide = |cumulative_lost| ReportBlock {
        ssrc: 1,
        fraction_lost: 255,
        cumulative_lost,
        highest_sequence: 0,
        jitter: 0,
        lsr: 0,
        dlsr: 0,
    };
    let bytes = written(|w| w.receiver_report(1, &[wide(i32::MAX), wide(i32::MIN), wide(-1)]));
    let Rtcp::ReceiverReport { blocks, .. } = only(&bytes) else { panic!("another type") };
    assert_eq!(blocks.map(|b| b.cumulative_lost).collect::<Vec<_>>(), [(1 << 23) - 1, -(1 << 23), -1]);
}
