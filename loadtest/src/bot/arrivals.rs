//! Transport-wide congestion control as a receiver: when which packet of the whole transport came, told to the server as
//! often as browsers tell it (draft-holmer-rmcat-transport-wide-cc-extensions-01). A state machine without sockets and
//! clocks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc,
    SymbolTypeTcc, TransportLayerCc,
};

/// Between two feedbacks, at least and at most.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis(250);
/// Bits of a feedback on the wire, and the share of the received rate that all of them may take, as libwebrtc has it.
const FEEDBACK_BITS: f64 = 68.0 * 8.0;
const FEEDBACK_SHARE: f64 = 0.05;
/// Microseconds of a delta's unit, and of one of the reference time.
const TICK: i64 = 250;
const REFERENCE: i64 = 64_000;
/// Packets that one feedback tells of; those before are no longer told of.
const MOST: u64 = 500;
/// Symbols of two bits in one chunk.
const IN_VECTOR: usize = 7;
/// The length of a run in one chunk has 13 bits.
const LONGEST_RUN: usize = 8_191;

/// What came on one transport and was not told of yet.
#[derive(Debug)]
pub(crate) struct Arrivals {
    began: Instant,
    /// Microseconds since the beginning by sequence number without wrap-around.
    came: BTreeMap<u64, i64>,
    /// The first number that no feedback has told of; `None` before the first packet.
    next: Option<u64>,
    highest: u64,
    feedbacks: u8,
    interval: Duration,
    due: Instant,
}

impl Arrivals {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            began: now,
            came: BTreeMap::new(),
            next: None,
            highest: 0,
            feedbacks: 0,
            interval: LONGEST,
            due: now + LONGEST,
        }
    }

    /// A packet with this number came.
    pub(crate) fn note(&mut self, sequence: u16, now: Instant) {
        let sequence = match self.next {
            // Room below, for packets that were overtaken.
            None => (1 << 16) + u64::from(sequence),
            Some(_) => {
                let ahead = sequence.wrapping_sub(self.highest as u16) as i16;
                self.highest.saturating_add_signed(i64::from(ahead))
            }
        };
        self.next.get_or_insert(sequence);
        self.highest = self.highest.max(sequence);
        self.came.entry(sequence).or_insert((now - self.began).as_micros() as i64);
    }

    /// How fast media comes, which decides how often feedback goes: bits per second.
    pub(crate) fn receives(&mut self, bit_rate: f64) {
        let seconds = FEEDBACK_BITS / (bit_rate * FEEDBACK_SHARE).max(1.0);
        self.interval = Duration::from_secs_f64(seconds.min(1.0)).clamp(SHORTEST, LONGEST);
    }

    /// When [`Arrivals::feedback`] has something to tell.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// What is to be told by now.
    pub(crate) fn feedback(&mut self, now: Instant, media_ssrc: u32) -> Option<TransportLayerCc> {
        if now < self.due {
            return None;
        }
        self.due = now + self.interval;
        let (&last, _) = self.came.last_key_value()?;
        let (&earliest, _) = self.came.first_key_value()?;
        let first = self.next.unwrap_or(earliest).min(earliest).max(last.saturating_sub(MOST - 1));
        let mut symbols = Vec::with_capacity((last - first + 1) as usize);
        let mut recv_deltas = Vec::new();
        let mut reference = None;
        let mut clock = 0;
        for sequence in first..=last {
            let Some(at) = self.came.get(&sequence) else {
                symbols.push(SymbolTypeTcc::PacketNotReceived);
                continue;
            };
            reference.get_or_insert_with(|| {
                clock = at / REFERENCE * REFERENCE;
                at / REFERENCE
            });
            let ticks = (at - clock).div_euclid(TICK);
            let symbol = match ticks {
                0..=255 => SymbolTypeTcc::PacketReceivedSmallDelta,
                _ if i16::try_from(ticks).is_ok() => SymbolTypeTcc::PacketReceivedLargeDelta,
                // More than eight seconds of silence; the next feedback begins with this one.
                _ => break,
            };
            clock += ticks * TICK;
            symbols.push(symbol);
            recv_deltas.push(RecvDelta { type_tcc_packet: symbol, delta: ticks * TICK });
        }
        let told = first + symbols.len() as u64;
        self.came = self.came.split_off(&told);
        self.next = Some(told);
        self.feedbacks = self.feedbacks.wrapping_add(1);
        Some(TransportLayerCc {
            sender_ssrc: super::subscriber::OWN_SSRC,
            media_ssrc,
            base_sequence_number: first as u16,
            packet_status_count: symbols.len() as u16,
            reference_time: reference.unwrap_or(0) as u32 & 0xff_ffff,
            fb_pkt_count: self.feedbacks.wrapping_sub(1),
            packet_chunks: chunks(&symbols),
            recv_deltas,
        })
    }
}

/// Runs where they are long, and seven at a time elsewhere.
fn chunks(mut symbols: &[SymbolTypeTcc]) -> Vec<PacketStatusChunk> {
    let mut chunks = Vec::new();
    while let Some(&first) = symbols.first() {
        let run = symbols.iter().take(LONGEST_RUN).take_while(|symbol| **symbol == first).count();
        let taken = if run >= IN_VECTOR || run == symbols.len() {
            chunks.push(PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                type_tcc: StatusChunkTypeTcc::RunLengthChunk,
                packet_status_symbol: first,
                run_length: run as u16,
            }));
            run
        } else {
            let taken = symbols.len().min(IN_VECTOR);
            chunks.push(PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
                symbol_size: SymbolSizeTypeTcc::TwoBit,
                symbol_list: symbols[..taken].to_vec(),
            }));
            taken
        };
        symbols = &symbols[taken..];
    }
    chunks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use webrtc_util::marshal::{Marshal, Unmarshal};

    use super::*;

    /// Who came when, in microseconds since the reference time, as a sender reads the feedback from the wire.
    fn read(feedback: &TransportLayerCc) -> Vec<(u16, Option<i64>)> {
        let bytes = feedback.marshal().unwrap();
        let feedback = TransportLayerCc::unmarshal(&mut bytes.clone()).unwrap();
        let mut symbols = Vec::new();
        for chunk in &feedback.packet_chunks {
            match chunk {
                PacketStatusChunk::RunLengthChunk(run) => {
                    symbols.extend(std::iter::repeat_n(run.packet_status_symbol, run.run_length.into()));
                }
                PacketStatusChunk::StatusVectorChunk(vector) => symbols.extend(&vector.symbol_list),
            }
        }
        symbols.truncate(feedback.packet_status_count.into());
        let (mut deltas, mut clock) = (feedback.recv_deltas.iter(), i64::from(feedback.reference_time) * REFERENCE);
        let came = symbols.into_iter().enumerate().map(|(index, symbol)| {
            let at = (symbol != SymbolTypeTcc::PacketNotReceived).then(|| {
                clock += deltas.next().unwrap().delta;
                clock
            });
            (feedback.base_sequence_number.wrapping_add(index as u16), at)
        });
        came.collect()
    }

    #[test]
    fn what_came_and_what_did_not_is_told_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut arrivals = Arrivals::new(start);
        for (sequence, ms) in [(65_534, 100), (65_535, 101), (1, 103), (0, 103)] {
            arrivals.note(sequence, at(ms));
        }
        arrivals.note(4, at(120));
        assert_eq!(arrivals.feedback(at(200), 7), None, "not yet due");
        let first = arrivals.feedback(at(250), 7).unwrap();
        let told = [
            (65_534, Some(100_000)),
            (65_535, Some(101_000)),
            (0, Some(103_000)),
            (1, Some(103_000)),
            (2, None),
            (3, None),
            (4, Some(120_000)),
        ];
        assert_eq!((read(&first), first.fb_pkt_count), (told.to_vec(), 0));
        arrivals.note(2, at(260));
        arrivals.note(6, at(270));
        let second = arrivals.feedback(at(600), 7).unwrap();
        let late = [(2, Some(260_000)), (3, None), (4, None), (5, None), (6, Some(270_000))];
        assert_eq!((read(&second), second.fb_pkt_count), (late.to_vec(), 1));
        assert_eq!(arrivals.feedback(at(900), 7), None, "nothing came");
    }

    #[test]
    fn feedback_takes_a_twentieth_of_what_comes() {
        let mut arrivals = Arrivals::new(Instant::now());
        let mut interval = |bit_rate| {
            arrivals.receives(bit_rate);
            arrivals.interval.as_millis()
        };
        assert_eq!((interval(0.0), interval(40e3), interval(100e3), interval(2e6)), (250, 250, 108, 50));
    }

    proptest! {
        #[test]
        fn every_arrival_is_told(steps in prop::collection::vec((1u16..12, 0u64..400_000), 1..300), first: u16) {
            let start = Instant::now();
            let mut arrivals = Arrivals::new(start);
            let (mut sequence, mut at) = (first, 0);
            let mut sent = Vec::new();
            let mut told = Vec::new();
            for (gap, pause) in steps {
                sequence = sequence.wrapping_add(gap);
                at += pause;
                let now = start + Duration::from_micros(at);
                arrivals.note(sequence, now);
                sent.push((sequence, at as i64 / TICK));
                told.extend(arrivals.feedback(now, 1));
            }
            told.extend(arrivals.feedback(start + Duration::from_micros(at + 1_000_000), 1));
            let came = told.iter().flat_map(read).filter_map(|(sequence, at)| Some((sequence, at? / TICK)));
            prop_assert_eq!(came.collect::<Vec<_>>(), sent);
        }
    }
}
