use bytes::Bytes;
use proptest::prelude::*;
use rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc,
    SymbolTypeTcc, TransportLayerCc,
};
use webrtc_util::marshal::{Marshal, Unmarshal};

use super::super::rtcp::{Rtcp, RtcpWriter, packets};
use super::super::test_bytes::hex;
use super::*;

const HEADER: Feedback = Feedback { sender: 1, media: 2, count: 3, base_sequence: 65_530 };

/// The packet, how many it covers, its reference time, and its statuses.
type ReadBack = (Vec<u8>, usize, i32, Vec<Option<i16>>);

/// Writes a packet and reads it with our own reader.
fn through(arrivals: &[Option<i64>], room: usize) -> Option<ReadBack> {
    let mut out = vec![0xaa; room];
    let written = write_feedback(&mut out, HEADER, arrivals)?;
    out.truncate(written.len);
    let mut compound = packets(&out);
    let Some(Ok(Rtcp::TransportCc { sender: 1, media: 2, fci })) = compound.next() else { panic!("another packet") };
    assert!(compound.next().is_none());
    let view = parse_feedback(fci).unwrap();
    assert_eq!((view.base_sequence, view.count), (65_530, 3));
    assert_eq!(usize::from(view.status_count), written.covered);
    let statuses: Vec<_> = view.packets().collect();
    for (n, (sequence, _)) in statuses.iter().enumerate() {
        assert_eq!(*sequence, 65_530u16.wrapping_add(n as u16));
    }
    let deltas = statuses.into_iter().map(|(_, delta)| delta).collect();
    Some((out.clone(), written.covered, view.reference_time, deltas))
}

/// The times that statuses say, as ticks modulo what 24 bits of reference time can tell.
fn times(reference: i32, deltas: &[Option<i16>]) -> Vec<Option<i64>> {
    let mut now = i64::from(reference) * REFERENCE_TICKS;
    deltas
        .iter()
        .map(|delta| {
            now += i64::from((*delta)?);
            Some(now.rem_euclid(REFERENCE_TICKS << 24))
        })
        .collect()
}

fn expected_times(arrivals: &[Option<i64>]) -> Vec<Option<i64>> {
    arrivals.iter().map(|a| a.map(|micros| ticks(micros).rem_euclid(REFERENCE_TICKS << 24))).collect()
}

/// Checks that the oracle sees the same statuses in a packet.
fn assert_oracle_agrees(packet: &[u8], deltas: &[Option<i16>]) {
    let oracle = TransportLayerCc::unmarshal(&mut Bytes::copy_from_slice(packet)).unwrap();
    assert_eq!((oracle.sender_ssrc, oracle.media_ssrc, oracle.fb_pkt_count), (1, 2, 3));
    assert_eq!(usize::from(oracle.packet_status_count), deltas.len());
    let mut symbols = Vec::new();
    for chunk in &oracle.packet_chunks {
        match chunk {
            PacketStatusChunk::RunLengthChunk(run) => {
                symbols.extend(std::iter::repeat_n(run.packet_status_symbol, usize::from(run.run_length)));
            }
            PacketStatusChunk::StatusVectorChunk(vector) => symbols.extend_from_slice(&vector.symbol_list),
        }
    }
    assert!(symbols.len() >= deltas.len());
    let mut received = oracle.recv_deltas.iter();
    for (symbol, delta) in symbols.iter().zip(deltas) {
        match delta {
            None => assert_eq!(*symbol, SymbolTypeTcc::PacketNotReceived),
            Some(delta) => {
                let theirs = received.next().unwrap();
                assert_eq!(theirs.type_tcc_packet, *symbol);
                assert_eq!(theirs.delta, i64::from(*delta) * TICK_MICROS);
            }
        }
    }
    assert!(received.next().is_none());
}

#[test]
fn evenly_spaced_packets_make_one_run() {
    let arrivals: Vec<_> = (0..100).map(|n| Some(64_000 * 5 + n * 1000)).collect();
    let (packet, covered, reference, deltas) = through(&arrivals, 1200).unwrap();
    assert_eq!((covered, reference), (100, 5));
    assert_eq!(deltas[0], Some(0));
    assert!(deltas[1..].iter().all(|delta| *delta == Some(4)));
    // Header, one chunk, 100 small deltas, two bytes of padding.
    assert_eq!(packet.len(), 20 + 2 + 100 + 2);
    assert_eq!(packet[packet.len() - 1], 2);
    assert_oracle_agrees(&packet, &deltas);
}

#[test]
fn nothing_received_is_nothing_to_report() {
    assert!(through(&[], 1200).is_none());
    assert!(through(&[None; 30], 1200).is_none());
    assert!(through(&[Some(0)], 20).is_none());
    assert!(through(&[Some(0)], 24).is_some());
}

#[test]
fn a_delta_beyond_16_bits_ends_the_packet() {
    let far = 8_191_750 + 1000;
    let (_, covered, _, deltas) = through(&[Some(0), None, Some(far), Some(far + 1)], 1200).unwrap();
    assert_eq!((covered, deltas), (2, vec![Some(0), None]));
    let (_, covered, ..) = through(&[Some(0), Some(8_191_750)], 1200).unwrap();
    assert_eq!(covered, 2);
}

#[test]
fn reordered_arrivals_have_negative_deltas() {
    let (packet, _, reference, deltas) = through(&[Some(70_000), Some(69_000), Some(71_000)], 1200).unwrap();
    assert_eq!((reference, deltas.clone()), (1, vec![Some(24), Some(-4), Some(8)]));
    assert_oracle_agrees(&packet, &deltas);
}

#[test]
fn a_full_buffer_ends_the_packet() {
    let arrivals: Vec<_> = (0..200).map(|n| Some(n * 1000)).collect();
    for room in 24..300 {
        let (packet, covered, _, deltas) = through(&arrivals, room).unwrap();
        assert!(packet.len() <= room && covered >= (room - 24) / 2, "{covered} in {room}");
        assert_eq!(deltas.len(), covered);
    }
    let many = vec![Some(0); 1000];
    assert_eq!(through(&many, 1500).unwrap().1, MAX_COVERED);
}

#[test]
fn malformed_feedback_is_refused() {
    // Base 5, three statuses, reference 1, count 0; a run of three small deltas and their bytes.
    let fci = hex("0005 0003 000001 00 2003 010203");
    let read: Vec<_> = parse_feedback(&fci).unwrap().packets().collect();
    assert_eq!(read, [(5, Some(1)), (6, Some(2)), (7, Some(3))]);
    for len in 0..fci.len() {
        assert!(parse_feedback(&fci[..len]).is_none(), "{len}");
    }
    assert!(parse_feedback(&hex("0005 0003 000001 00 6003 010203")).is_none(), "reserved symbol");
    assert!(parse_feedback(&hex("0005 0003 000001 00 0000 0000 0000")).is_none(), "runs of nothing");
    assert_eq!(parse_feedback(&hex("0005 0000 ffffff 00")).map(|view| view.reference_time), Some(-1));
}

#[test]
fn the_writer_of_compounds_passes_it_on() {
    let mut out = [0; 60];
    let mut writer = RtcpWriter::new(&mut out);
    assert!(writer.receiver_report(1, &[]));
    assert_eq!(writer.transport_cc(HEADER, &[Some(1), Some(2)]), 2);
    assert_eq!(writer.len(), 8 + 24);
    assert_eq!(writer.transport_cc(HEADER, &[None]), 0);
    assert!(matches!(packets(&out[..32]).nth(1), Some(Ok(Rtcp::TransportCc { .. }))));
}

/// Arrivals with runs, losses, jitter and pauses around some moment, early or late in the clock's life.
fn arrivals() -> impl Strategy<Value = Vec<Option<i64>>> {
    let step = prop_oneof![8 => 0i64..2000, 2 => -3000i64..70_000, 1 => -9_000_000i64..9_000_000];
    let status = (prop_oneof![4 => Just(true), 1 => Just(false)], step, 1usize..12);
    (-1_000_000_000_000i64..1_000_000_000_000, proptest::collection::vec(status, 1..60)).prop_map(
        |(start, statuses)| {
            let mut now = start;
            let mut arrivals = Vec::new();
            for (received, step, repeat) in statuses {
                for _ in 0..repeat {
                    now += step;
                    arrivals.push(received.then_some(now));
                }
            }
            arrivals
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_and_by_the_oracle(arrivals in arrivals(), room in 24usize..1200) {
        if let Some((packet, covered, reference, deltas)) = through(&arrivals, room) {
            prop_assert!(covered >= 1 && covered <= arrivals.len());
            prop_assert_eq!(times(reference, &deltas), expected_times(&arrivals[..covered]));
            assert_oracle_agrees(&packet, &deltas);
        }
    }

    #[test]
    fn the_oracles_feedback_is_read_by_us(
        chunks in proptest::collection::vec((0u8..3, proptest::collection::vec(0u16..3, 14), 1u16..40), 1..12),
        deltas in proptest::collection::vec(any::<(u8, i16)>(), 480),
    ) {
        let symbol = |n: u16| SymbolTypeTcc::from(n);
        let mut symbols = Vec::new();
        let packet_chunks: Vec<_> = chunks.iter().map(|(kind, list, run)| {
            if *kind == 0 {
                symbols.extend(std::iter::repeat_n(symbol(list[0]), usize::from(*run)));
                return PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                    type_tcc: StatusChunkTypeTcc::RunLengthChunk, packet_status_symbol: symbol(list[0]), run_length: *run,
                });
            }
            let (symbol_size, list) = match kind {
                1 => (SymbolSizeTypeTcc::OneBit, list.iter().map(|n| symbol(*n & 1)).collect::<Vec<_>>()),
                _ => (SymbolSizeTypeTcc::TwoBit, list[..7].iter().map(|n| symbol(*n)).collect()),
            };
            symbols.extend_from_slice(&list);
            PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                type_tcc: StatusChunkTypeTcc::StatusVectorChunk, symbol_size, symbol_list: list,
            })
        }).collect();
        let expected: Vec<Option<i16>> = symbols.iter().zip(deltas.iter().cycle()).map(|(symbol, (small, large))| match symbol {
            SymbolTypeTcc::PacketNotReceived => None,
            SymbolTypeTcc::PacketReceivedSmallDelta => Some(i16::from(*small)),
            _ => Some(*large),
        }).collect();
        let recv_deltas = symbols.iter().zip(&expected).filter_map(|(symbol, delta)| {
            Some(RecvDelta { type_tcc_packet: *symbol, delta: i64::from((*delta)?) * TICK_MICROS })
        }).collect();
        let theirs = TransportLayerCc {
            sender_ssrc: 1, media_ssrc: 2, base_sequence_number: 9, packet_status_count: symbols.len() as u16,
            reference_time: 77, fb_pkt_count: 3, packet_chunks, recv_deltas,
        };
        let bytes = theirs.marshal().unwrap();
        let Some(Ok(Rtcp::TransportCc { fci, .. })) = packets(&bytes).next() else { panic!("another packet") };
        let view = parse_feedback(fci).unwrap();
        prop_assert_eq!((view.base_sequence, view.reference_time, view.count), (9, 77, 3));
        prop_assert_eq!(view.packets().map(|(_, delta)| delta).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn any_fci_is_survived(fci in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Some(view) = parse_feedback(&fci) {
            prop_assert_eq!(view.packets().count(), usize::from(view.status_count));
        }
    }
}
