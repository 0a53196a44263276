//! Packet buffers: slabs of fixed-size slots, handed out by index, never returned to the system.
//!
//! A datagram is received into a large slot, decrypted there and kept there as the retransmission copy. One
//! that fits a small slot (audio) moves to it, so that a second of opus costs 13 kB and not 80.
//! After warm-up neither taking nor giving back allocates.

use crate::io::MAX_DATAGRAM;

/// Bytes of a large slot: a datagram of [`MAX_DATAGRAM`] rounded up to whole cache lines.
pub const LARGE: usize = 1536;
/// Bytes of a small slot: an opus packet at 96 kbps and 20 ms with its header.
pub const SMALL: usize = 256;
/// Slots by which a class grows, so that growth is rare.
const GROWTH: usize = 256;

const _: () = assert!(LARGE >= MAX_DATAGRAM);

/// A slot in use. Its holder gives it back by [`Pool::release`]; it is deliberately not `Drop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(u32);

const SMALL_BIT: u32 = 1 << 31;

/// All packet buffers of one shard.
#[derive(Debug)]
pub struct Pool {
    large: Class,
    small: Class,
    high_water: usize,
}

impl Pool {
    /// A pool that holds at most `max_bytes` in all, split evenly between the two classes' bytes.
    pub fn new(max_bytes: usize) -> Self {
        let small = max_bytes / 8 / SMALL;
        let large = (max_bytes - small * SMALL) / LARGE;
        Self { large: Class::new(LARGE, large), small: Class::new(SMALL, small), high_water: 0 }
    }

    /// A large slot, or `None` when the pool is at its bound.
    pub fn take_large(&mut self) -> Option<BufferId> {
        let id = self.large.take()?;
        self.note_high_water();
        Some(BufferId(id))
    }

    /// Moves the `len` bytes of `id` to a small slot when they fit and one is free; otherwise `id` stays.
    pub fn shrink(&mut self, id: BufferId, len: usize) -> BufferId {
        if id.0 & SMALL_BIT != 0 || len > SMALL {
            return id;
        }
        let Some(small) = self.small.take() else { return id };
        self.small.slot_mut(small)[..len].copy_from_slice(&self.large.slot(id.0)[..len]);
        self.large.give(id.0);
        BufferId(small | SMALL_BIT)
    }

    /// Takes the smallest fitting slot for a copy of `bytes`; `None` when the pool is at its bound.
    pub fn copy_in(&mut self, bytes: &[u8]) -> Option<BufferId> {
        if bytes.len() > LARGE {
            return None;
        }
        let id = match if bytes.len() <= SMALL { self.small.take() } else { None } {
            Some(small) => BufferId(small | SMALL_BIT),
            None => BufferId(self.large.take()?),
        };
        self.bytes_mut(id)[..bytes.len()].copy_from_slice(bytes);
        self.note_high_water();
        Some(id)
    }

    /// Gives a slot back.
    pub fn release(&mut self, id: BufferId) {
        if id.0 & SMALL_BIT != 0 {
            self.small.give(id.0 & !SMALL_BIT);
        } else {
            self.large.give(id.0);
        }
    }

    /// The whole slot.
    pub fn bytes(&self, id: BufferId) -> &[u8] {
        if id.0 & SMALL_BIT != 0 { self.small.slot(id.0 & !SMALL_BIT) } else { self.large.slot(id.0) }
    }

    /// The whole slot, to write.
    pub fn bytes_mut(&mut self, id: BufferId) -> &mut [u8] {
        if id.0 & SMALL_BIT != 0 { self.small.slot_mut(id.0 & !SMALL_BIT) } else { self.large.slot_mut(id.0) }
    }

    /// Slots in use.
    pub fn in_use(&self) -> usize {
        self.large.in_use() + self.small.in_use()
    }

    /// Most slots ever in use.
    pub fn high_water(&self) -> usize {
        self.high_water
    }

    fn note_high_water(&mut self) {
        self.high_water = self.high_water.max(self.in_use());
    }
}

/// Slots of one size, in chunks that never move.
#[derive(Debug)]
struct Class {
    slot_len: usize,
    max_slots: usize,
    chunks: Vec<Box<[u8]>>,
    free: Vec<u32>,
}

impl Class {
    fn new(slot_len: usize, max_slots: usize) -> Self {
        Self { slot_len, max_slots, chunks: Vec::new(), free: Vec::new() }
    }

    fn slots(&self) -> usize {
        self.chunks.len() * GROWTH
    }

    fn in_use(&self) -> usize {
        self.slots() - self.free.len()
    }

    fn take(&mut self) -> Option<u32> {
        if self.free.is_empty() && self.slots() + GROWTH <= self.max_slots {
            let first = self.slots() as u32;
            self.chunks.push(vec![0; self.slot_len * GROWTH].into_boxed_slice());
            self.free.reserve(self.slots());
            self.free.extend((first..first + GROWTH as u32).rev());
        }
        self.free.pop()
    }

    fn give(&mut self, slot: u32) {
        debug_assert!(!self.free.contains(&slot), "slot {slot} given back twice");
        self.free.push(slot);
    }

    fn slot(&self, slot: u32) -> &[u8] {
        let (chunk, at) = (slot as usize / GROWTH, slot as usize % GROWTH * self.slot_len);
        &self.chunks[chunk][at..at + self.slot_len]
    }

    fn slot_mut(&mut self, slot: u32) -> &mut [u8] {
        let (chunk, at) = (slot as usize / GROWTH, slot as usize % GROWTH * self.slot_len);
        &mut self.chunks[chunk][at..at + self.slot_len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_packet_moves_to_a_small_slot_and_frees_the_large_one() {
        let mut pool = Pool::new(8 << 20);
        let large = pool.take_large().unwrap();
        pool.bytes_mut(large)[..3].copy_from_slice(b"abc");
        let small = pool.shrink(large, 3);
        assert_ne!(small, large);
        assert_eq!(&pool.bytes(small)[..3], b"abc");
        assert_eq!(pool.bytes(small).len(), SMALL);
        assert_eq!(pool.in_use(), 1);
        pool.release(small);
        assert_eq!((pool.in_use(), pool.high_water()), (0, 1));
    }

    #[test]
    fn the_bound_holds() {
        let mut pool = Pool::new(2 << 20);
        let taken = std::iter::from_fn(|| pool.take_large()).count();
        assert!(taken * LARGE <= 2 << 20);
        assert!(taken > 0);
        assert!(pool.copy_in(&[0; 1000]).is_none());
        assert!(pool.copy_in(&[0; 100]).is_some());
    }

    #[test]
    fn slots_do_not_overlap() {
        let mut pool = Pool::new(4 << 20);
        let ids: Vec<_> = (0..600u32).map(|n| pool.copy_in(&n.to_be_bytes().repeat(100)).unwrap()).collect();
        for (n, id) in (0..600u32).zip(ids) {
            assert_eq!(pool.bytes(id)[..400], n.to_be_bytes().repeat(100));
        }
    }
}
