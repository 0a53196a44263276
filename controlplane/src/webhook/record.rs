//! Records of the queue's files: what is to be delivered, and what has been dealt with.
//!
//! A record is the length of its payload (4 bytes, big-endian), the first 8 bytes of the payload's SHA-256, and the
//! payload: a kind, the event's number (8 bytes), and for an event its time (8 bytes), the length of the session's id
//! (2 bytes), the id, and the body up to the end. A record that was written by half is recognised by its length or sum.

use aws_lc_rs::digest;

/// Longest payload, in bytes. What clients and applications may send is far shorter.
pub const MAX_PAYLOAD: usize = 4 << 20;
/// What is before a payload, in bytes: its length and sum.
pub const HEADER: usize = 12;
const EVENT: u8 = 1;
const DONE: u8 = 2;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// To be delivered.
    Event {
        /// Its number, rising.
        id: u64,
        /// When it happened, milliseconds since 1970.
        at_ms: u64,
        /// What it must keep its place in.
        session: &'a str,
        /// What the receiver gets.
        body: &'a [u8],
    },
    /// Delivered or given up.
    Done {
        /// The event's number.
        id: u64,
    },
}

/// The bytes are no record, and where the next one begins cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// Appends a record to `out`; false, and nothing appended, when it is too long.
pub fn encode(record: &Record<'_>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    match record {
        Record::Event { id, at_ms, session, body } => {
            let Ok(session_len) = u16::try_from(session.len()) else {
                out.truncate(start);
                return false;
            };
            out.push(EVENT);
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&at_ms.to_be_bytes());
            out.extend_from_slice(&session_len.to_be_bytes());
            out.extend_from_slice(session.as_bytes());
            out.extend_from_slice(body);
        }
        Record::Done { id } => {
            out.push(DONE);
            out.extend_from_slice(&id.to_be_bytes());
        }
    }
    let payload = &out[start + HEADER..];
    if payload.len() > MAX_PAYLOAD {
        out.truncate(start);
        return false;
    }
    seal(&mut out[start..]);
    true
}

/// Writes the payload's length and sum before it. What is shorter than [`HEADER`] is left as it is.
pub fn seal(record: &mut [u8]) {
    let Some((header, payload)) = record.split_first_chunk_mut::<HEADER>() else { return };
    header[..4].copy_from_slice(&(payload.len() as u32).to_be_bytes());
    header[4..].copy_from_slice(&checksum(payload));
}

/// The record that the bytes begin with, and its length; `None` at the end.
///
/// # Errors
/// [`Damaged`], also for a record that is not there in full.
pub fn decode(bytes: &[u8]) -> Result<Option<(Record<'_>, usize)>, Damaged> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (len, rest) = take::<4>(bytes)?;
    let (sum, rest) = take::<8>(rest)?;
    let len = u32::from_be_bytes(len) as usize;
    let payload = rest.get(..len).filter(|_| len <= MAX_PAYLOAD).ok_or(Damaged)?;
    if checksum(payload) != sum {
        return Err(Damaged);
    }
    let (kind, rest) = take::<1>(payload)?;
    let (id, rest) = take::<8>(rest)?;
    let id = u64::from_be_bytes(id);
    let record = match kind[0] {
        EVENT => {
            let (at_ms, rest) = take::<8>(rest)?;
            let (session_len, rest) = take::<2>(rest)?;
            let (session, body) = rest.split_at_checked(u16::from_be_bytes(session_len).into()).ok_or(Damaged)?;
            let session = std::str::from_utf8(session).map_err(|_| Damaged)?;
            Record::Event { id, at_ms: u64::from_be_bytes(at_ms), session, body }
        }
        DONE if rest.is_empty() => Record::Done { id },
        _ => return Err(Damaged),
    };
    Ok(Some((record, HEADER + len)))
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Damaged> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(Damaged)?;
    Ok((*head, rest))
}

fn checksum(payload: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&digest::digest(&digest::SHA256, payload).as_ref()[..8]);
    sum
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Owned = (u64, Option<(u64, String, Vec<u8>)>);

    fn records() -> impl Strategy<Value = Vec<Owned>> {
        vec((any::<u64>(), proptest::option::of((any::<u64>(), ".{0,20}", vec(any::<u8>(), 0..200)))), 0..20)
    }

    fn record((id, event): &Owned) -> Record<'_> {
        match event {
            Some((at_ms, session, body)) => Record::Event { id: *id, at_ms: *at_ms, session, body },
            None => Record::Done { id: *id },
        }
    }

    fn read(mut bytes: &[u8]) -> (Vec<Record<'_>>, bool) {
        let mut records = Vec::new();
        loop {
            match decode(bytes) {
                Ok(Some((record, len))) => {
                    records.push(record);
                    bytes = &bytes[len..];
                }
                Ok(None) => return (records, true),
                Err(Damaged) => return (records, false),
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(owned in records()) {
            let mut bytes = Vec::new();
            let written: Vec<_> = owned.iter().map(record).collect();
            prop_assert!(written.iter().all(|record| encode(record, &mut bytes)));
            prop_assert_eq!(read(&bytes), (written, true));
        }

        #[test]
        fn of_a_cut_file_the_whole_records_are_read(owned in records(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for owned in &owned {
                encode(&record(owned), &mut bytes);
                ends.push(bytes.len());
            }
            let cut = cut.index(bytes.len() + 1);
            let (found, whole) = read(&bytes[..cut]);
            let complete = ends.iter().filter(|end| **end <= cut).count() - 1;
            prop_assert_eq!(found, owned[..complete].iter().map(record).collect::<Vec<_>>());
            prop_assert_eq!(whole, ends.contains(&cut));
        }

        #[test]
        fn a_changed_byte_is_noticed(owned in records(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut bytes = Vec::new();
            let written: Vec<_> = owned.iter().map(record).collect();
            written.iter().for_each(|record| { encode(record, &mut bytes); });
            prop_assume!(!bytes.is_empty());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let (found, whole) = read(&bytes);
            prop_assert!(!whole && found.len() < written.len());
            prop_assert_eq!(&found[..], &written[..found.len()]);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..400)) {
            read(&bytes);
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let body = vec![0; MAX_PAYLOAD];
        let mut out = vec![7];
        assert!(!encode(&Record::Event { id: 1, at_ms: 1, session: "s", body: &body }, &mut out));
        assert!(!encode(&Record::Event { id: 1, at_ms: 1, session: &"s".repeat(70_000), body: b"" }, &mut out));
        assert_eq!(out, [7]);
    }
}
