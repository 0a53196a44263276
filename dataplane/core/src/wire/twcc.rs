//! Transport-wide congestion control feedback, draft-holmer-rmcat-transport-wide-cc-extensions-01: when each
//! packet of a transport arrived. A packet of feedback is status chunks (one symbol per sequence number) followed
//! by the time from each received packet to the next one.

use super::bytes::{Cursor, read_u8, read_u16, read_u24};

/// Most sequence numbers that one written feedback packet covers.
pub const MAX_COVERED: usize = 256;
/// Microseconds of a delta tick.
pub const TICK_MICROS: i64 = 250;

/// Ticks of one unit of the reference time: 64 ms.
const REFERENCE_TICKS: i64 = 64_000 / TICK_MICROS;
/// Bytes before the first chunk: RTCP header, two SSRCs, and the fixed fields.
const CHUNKS_AT: usize = 20;
/// Bytes of the FCI before the first chunk.
const FCI_CHUNKS_AT: usize = 8;
const TRANSPORT_FEEDBACK: u8 = 205;
const FORMAT: u8 = 15;

/// Symbols of a chunk, section 3.1.1.
const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;

/// Symbols that a vector of one-bit symbols holds.
const ONE_BIT_SYMBOLS: usize = 14;
/// Symbols that a vector of two-bit symbols holds.
const TWO_BIT_SYMBOLS: usize = 7;

/// The header fields of a feedback packet to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// SSRC of who reports.
    pub sender: u32,
    /// Any SSRC of the reported transport.
    pub media: u32,
    /// Number of this feedback packet, one more than the last one's.
    pub count: u8,
    /// Transport-wide sequence number of the first arrival.
    pub base_sequence: u16,
}

/// What [`write_feedback`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the whole RTCP packet.
    pub len: usize,
    /// How many of the arrivals it covers, from the first on.
    pub covered: usize,
}

/// Writes a whole RTCP packet about consecutive sequence numbers: for each, the time of its arrival in microseconds
/// since any fixed moment, the same for all packets, or `None` if it did not arrive.
///
/// It covers as many as fit `out`, at most [`MAX_COVERED`], and ends early before an arrival that is more than about
/// 8 s from the previous one. `None` if none of those arrived, or `out` is too short for one.
pub fn write_feedback(out: &mut [u8], feedback: Feedback, arrivals: &[Option<i64>]) -> Option<Written> {
    let first = arrivals.iter().take(MAX_COVERED).flatten().next()?;
    let reference = ticks(*first).div_euclid(REFERENCE_TICKS);
    let mut symbols = [NOT_RECEIVED; MAX_COVERED];
    let covered = plan(&mut symbols, reference, arrivals, out.len());
    let (symbols, arrivals) = (&symbols[..covered], &arrivals[..covered]);
    if arrivals.iter().all(Option::is_none) {
        return None;
    }

    let mut cursor = Cursor::new(out);
    cursor.put(&[0x80 | FORMAT, TRANSPORT_FEEDBACK, 0, 0])?;
    cursor.put_u32(feedback.sender)?;
    cursor.put_u32(feedback.media)?;
    cursor.put_u16(feedback.base_sequence)?;
    cursor.put_u16(covered as u16)?;
    cursor.put_u32((reference as u32) << 8 | u32::from(feedback.count))?;
    put_chunks(&mut cursor, symbols)?;
    for (symbol, delta) in symbols.iter().filter(|symbol| **symbol != NOT_RECEIVED).zip(deltas(reference, arrivals)) {
        match *symbol {
            SMALL_DELTA => cursor.put(&[delta as u8])?,
            _ => cursor.put(&(delta as i16).to_be_bytes())?,
        }
    }
    let padding = cursor.len().next_multiple_of(4) - cursor.len();
    if padding != 0 {
        cursor.put(&[0; 3][..padding - 1])?;
        cursor.put(&[padding as u8])?;
        cursor.set(0, &[0xa0 | FORMAT])?;
    }
    let words = u16::try_from(cursor.len() / 4 - 1).ok()?;
    cursor.set(2, &words.to_be_bytes())?;
    Some(Written { len: cursor.len(), covered })
}

/// Reads the FCI of a feedback packet; `None` if it is truncated or uses a reserved symbol. The check walks all
/// statuses, at most 65,535.
pub fn parse_feedback(fci: &[u8]) -> Option<FeedbackView<'_>> {
    let reference = read_u24(fci, 4)?;
    let mut view = FeedbackView {
        base_sequence: read_u16(fci, 0)?,
        status_count: read_u16(fci, 2)?,
        // Moves the sign bit of 24 to that of 32 and back.
        reference_time: (reference << 8) as i32 >> 8,
        count: read_u8(fci, 7)?,
        chunks: fci.get(FCI_CHUNKS_AT..)?,
        deltas: &[],
    };
    let mut symbols = Symbols::new(view.chunks, view.status_count);
    let mut deltas_len = 0;
    for symbol in &mut symbols {
        deltas_len += match symbol {
            NOT_RECEIVED => 0,
            SMALL_DELTA => 1,
            LARGE_DELTA => 2,
            _ => return None,
        };
    }
    if symbols.remaining != 0 {
        return None;
    }
    view.deltas = symbols.chunks.get(..deltas_len)?;
    Some(view)
}

/// A well-formed feedback packet.
#[derive(Clone, Copy, Debug)]
pub struct FeedbackView<'a> {
    /// Sequence number of the first status.
    pub base_sequence: u16,
    /// How many statuses there are.
    pub status_count: u16,
    /// What the first delta counts from, in 64 ms, 24 bits signed.
    pub reference_time: i32,
    /// Number of the feedback packet.
    pub count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> FeedbackView<'a> {
    /// Sequence numbers in order, each with the ticks of 250 µs since the previous received one (the first since
    /// [`Self::reference_time`]), or `None` if it did not arrive.
    pub fn packets(&self) -> Packets<'a> {
        Packets {
            symbols: Symbols::new(self.chunks, self.status_count),
            deltas: self.deltas,
            sequence: self.base_sequence,
        }
    }
}

/// Iterator of [`FeedbackView::packets`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    symbols: Symbols<'a>,
    deltas: &'a [u8],
    sequence: u16,
}

impl Iterator for Packets<'_> {
    type Item = (u16, Option<i16>);

    fn next(&mut self) -> Option<Self::Item> {
        let delta = match self.symbols.next()? {
            SMALL_DELTA => {
                let (&delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                Some(i16::from(delta))
            }
            LARGE_DELTA => {
                let (&delta, rest) = self.deltas.split_first_chunk()?;
                self.deltas = rest;
                Some(i16::from_be_bytes(delta))
            }
            _ => None,
        };
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Some((sequence, delta))
    }
}

/// The symbols of a sequence of chunks.
#[derive(Clone, Debug)]
struct Symbols<'a> {
    chunks: &'a [u8],
    /// The current chunk and how many of its symbols were given.
    chunk: u16,
    given: u16,
    /// How many the current chunk holds.
    held: u16,
    /// How many are still to be given in all.
    remaining: u16,
}

impl<'a> Symbols<'a> {
    fn new(chunks: &'a [u8], count: u16) -> Self {
        Self { chunks, chunk: 0, given: 0, held: 0, remaining: count }
    }
}

impl Iterator for Symbols<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.remaining == 0 {
            return None;
        }
        while self.given == self.held {
            let (chunk, rest) = self.chunks.split_first_chunk()?;
            self.chunks = rest;
            self.chunk = u16::from_be_bytes(*chunk);
            self.given = 0;
            self.held = match self.chunk >> 14 {
                0 | 1 => self.chunk & 0x1fff,
                2 => ONE_BIT_SYMBOLS as u16,
                _ => TWO_BIT_SYMBOLS as u16,
            };
        }
        let symbol = match self.chunk >> 14 {
            0 | 1 => self.chunk >> 13,
            2 => self.chunk >> (13 - self.given) & 1,
            _ => self.chunk >> (12 - 2 * self.given) & 3,
        };
        self.given += 1;
        self.remaining -= 1;
        Some(symbol as u8)
    }
}

/// Nearest tick of a time.
fn ticks(micros: i64) -> i64 {
    micros.saturating_add(TICK_MICROS / 2).div_euclid(TICK_MICROS)
}

/// Ticks between consecutive arrivals. They are differences of rounded times, so that rounding does not add up.
fn deltas(reference: i64, arrivals: &[Option<i64>]) -> impl Iterator<Item = i64> {
    let mut previous = reference * REFERENCE_TICKS;
    arrivals.iter().flatten().map(move |arrival| {
        let now = ticks(*arrival);
        now - std::mem::replace(&mut previous, now)
    })
}

/// Chooses the symbols and says how many arrivals can be covered in `room` bytes.
fn plan(symbols: &mut [u8; MAX_COVERED], reference: i64, arrivals: &[Option<i64>], room: usize) -> usize {
    let mut deltas = deltas(reference, arrivals);
    let mut deltas_len = 0;
    for (n, (symbol, arrival)) in symbols.iter_mut().zip(arrivals).enumerate() {
        if arrival.is_some() {
            let (kind, len) = match deltas.next() {
                Some(0..=0xff) => (SMALL_DELTA, 1),
                Some(delta) if i16::try_from(delta).is_ok() => (LARGE_DELTA, 2),
                _ => return n,
            };
            *symbol = kind;
            deltas_len += len;
        }
        // Every chunk but the last holds at least seven symbols.
        let chunks_len = 2 * (n + 1).div_ceil(TWO_BIT_SYMBOLS);
        if (CHUNKS_AT + chunks_len + deltas_len).next_multiple_of(4) > room {
            return n;
        }
    }
    arrivals.len().min(MAX_COVERED)
}

/// Writes the chunks, each the one that holds most of what comes next.
fn put_chunks(cursor: &mut Cursor<'_>, mut symbols: &[u8]) -> Option<()> {
    while let Some(&first) = symbols.first() {
        let run = symbols.iter().take_while(|symbol| **symbol == first).count();
        let one_bit = symbols.iter().take(ONE_BIT_SYMBOLS).take_while(|symbol| **symbol != LARGE_DELTA).count();
        let one_bit_fits = one_bit == symbols.len().min(ONE_BIT_SYMBOLS);
        let held = if run == symbols.len() || run >= if one_bit_fits { ONE_BIT_SYMBOLS } else { TWO_BIT_SYMBOLS } {
            cursor.put_u16(u16::from(first) << 13 | run as u16)?;
            run
        } else if one_bit_fits {
            cursor.put_u16(vector(0x8000, symbols, ONE_BIT_SYMBOLS, 1))?;
            one_bit
        } else {
            cursor.put_u16(vector(0xc000, symbols, TWO_BIT_SYMBOLS, 2))?;
            symbols.len().min(TWO_BIT_SYMBOLS)
        };
        symbols = &symbols[held..];
    }
    Some(())
}

/// A status vector chunk of the first `count` symbols, `bits` each; missing ones are 0.
fn vector(tag: u16, symbols: &[u8], count: usize, bits: usize) -> u16 {
    let shifts = (0..count).rev().map(|n| n * bits);
    symbols.iter().zip(shifts).fold(tag, |chunk, (symbol, shift)| chunk | u16::from(*symbol) << shift)
}

#[cfg(test)]
mod tests;
