//! The last packets of a track, in the buffers they arrived in: what is fanned out, and what retransmissions
//! to all its subscribers are read from.

use crate::buffer::{BufferId, Pool};

/// Packets kept of a video track: two seconds at 2.5 Mbps and 1,200 B.
pub(crate) const VIDEO: usize = 512;
/// Packets kept of an audio track: more than a second of 20 ms frames.
pub(crate) const AUDIO: usize = 64;

/// One packet, decrypted, with what every subscriber needs to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Unwrapped sequence number: SRTP's packet index (RFC 3711 3.3.1).
    pub(crate) sequence: u64,
    pub(crate) buffer: BufferId,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    /// Whether a decoder can start here.
    pub(crate) keyframe: bool,
    pub(crate) payload: Span,
    /// RFC 6464 octet.
    pub(crate) audio_level: Option<u8>,
    /// Video orientation octet (3GPP TS 26.114 7.4.5).
    pub(crate) orientation: Option<u8>,
    /// The AV1 dependency descriptor, empty if there is none.
    pub(crate) descriptor: Span,
    /// Octets of RTP padding that it goes out with; see [`crate::egress::padding`].
    pub(crate) padding: u8,
}

#[cfg(test)]
impl Packet {
    /// One with nothing in it.
    pub(crate) fn empty(sequence: u64, buffer: BufferId) -> Self {
        Self {
            sequence,
            buffer,
            timestamp: 0,
            marker: false,
            keyframe: false,
            payload: Span::default(),
            audio_level: None,
            orientation: None,
            descriptor: Span::default(),
            padding: 0,
        }
    }
}

/// A part of a packet's buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u16,
    pub(crate) len: u16,
}

impl Span {
    pub(crate) fn of(self, buffer: &[u8]) -> &[u8] {
        let start = usize::from(self.start);
        buffer.get(start..start + usize::from(self.len)).unwrap_or_default()
    }
}

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Duplicate,
    TooOld,
}

/// A ring indexed by sequence number.
#[derive(Debug)]
pub(crate) struct History {
    ring: Box<[Option<Packet>]>,
    highest: Option<u64>,
}

impl History {
    /// Room for `capacity` packets, a power of two.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { ring: vec![None; capacity.next_power_of_two()].into_boxed_slice(), highest: None }
    }

    /// Whether `sequence` would be taken.
    pub(crate) fn accepts(&self, sequence: u64) -> Result<(), Refused> {
        let Some(highest) = self.highest else { return Ok(()) };
        if sequence + self.ring.len() as u64 <= highest {
            return Err(Refused::TooOld);
        }
        match self.get(sequence) {
            Some(_) => Err(Refused::Duplicate),
            None => Ok(()),
        }
    }

    /// Keeps a packet that [`History::accepts`]; gives back the buffer of the one it replaces.
    pub(crate) fn insert(&mut self, packet: Packet) -> Option<BufferId> {
        self.highest = Some(self.highest.map_or(packet.sequence, |highest| highest.max(packet.sequence)));
        let slot = self.slot(packet.sequence);
        self.ring[slot].replace(packet).map(|old| old.buffer)
    }

    /// The packet with this sequence number, if it is still there.
    pub(crate) fn get(&self, sequence: u64) -> Option<&Packet> {
        self.ring[self.slot(sequence)].as_ref().filter(|packet| packet.sequence == sequence)
    }

    /// As [`History::get`], to change.
    pub(crate) fn get_mut(&mut self, sequence: u64) -> Option<&mut Packet> {
        let slot = self.slot(sequence);
        self.ring[slot].as_mut().filter(|packet| packet.sequence == sequence)
    }

    /// Highest sequence number taken.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Gives every buffer back and forgets everything, the highest sequence number included.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        for slot in &mut self.ring {
            if let Some(packet) = slot.take() {
                pool.release(packet.buffer);
            }
        }
        self.highest = None;
    }

    fn slot(&self, sequence: u64) -> usize {
        sequence as usize & (self.ring.len() - 1)
    }
}

/// Unwraps a 16-bit sequence number to the 64-bit one nearest to `highest`.
pub(crate) fn unwrap_near(highest: u64, sequence: u16) -> Option<u64> {
    let delta = i64::from(sequence.wrapping_sub(highest as u16) as i16);
    highest.checked_add_signed(delta)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pool: &mut Pool, sequence: u64) -> Packet {
        Packet::empty(sequence, pool.copy_in(&[1]).unwrap())
    }

    #[test]
    fn keeps_the_newest_and_tells_old_from_seen() {
        let mut pool = Pool::new(16 << 20);
        let mut history = History::new(8);
        for sequence in 100..120 {
            assert_eq!(history.accepts(sequence), Ok(()));
            let packet = packet(&mut pool, sequence);
            if let Some(old) = history.insert(packet) {
                pool.release(old);
            }
        }
        assert_eq!(pool.in_use(), 8);
        assert!(history.get(111).is_none());
        assert_eq!(history.get(112).unwrap().sequence, 112);
        assert_eq!(history.accepts(111), Err(Refused::TooOld));
        assert_eq!(history.accepts(115), Err(Refused::Duplicate));
        history.clear(&mut pool);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn a_late_packet_fills_its_gap() {
        let mut pool = Pool::new(16 << 20);
        let mut history = History::new(8);
        for sequence in [10, 12] {
            history.insert(packet(&mut pool, sequence));
        }
        assert_eq!(history.accepts(11), Ok(()));
        history.insert(packet(&mut pool, 11));
        assert_eq!(history.highest(), Some(12));
        assert_eq!(history.get(11).unwrap().sequence, 11);
    }

    #[test]
    fn unwrapping_goes_to_the_nearest() {
        assert_eq!(unwrap_near(0x1_0002, 0xffff), Some(0xffff));
        assert_eq!(unwrap_near(0xffff, 2), Some(0x1_0002));
        assert_eq!(unwrap_near(3, 0xfff0), None);
        assert_eq!(unwrap_near(0x5_1234, 0x1234), Some(0x5_1234));
    }
}
