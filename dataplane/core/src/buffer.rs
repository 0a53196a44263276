//! Packet buffers: slots of a few fixed sizes, cut from chunks and handed out by number.
//!
//! A datagram is received into a large slot, decrypted there and kept there as the retransmission copy. One that fits a
//! smaller slot (audio, video of few pixels) moves to it, so that a second of opus costs 13 kB and not 80.
//!
//! After warm-up neither taking nor giving back allocates. Chunks stay while they may be wanted again: only when far
//! more slots than in use have been free for half a minute of [`Pool::tick`] are some of them let go, a few at a time.
//! One that is let go takes its slots back as they come, and goes to the system with the last of them. Chunks are mapped
//! and not allocated for that: allocators keep what they are given.

use memmap2::MmapMut;

use crate::io::MAX_DATAGRAM;

/// Bytes of a large slot: a datagram of [`MAX_DATAGRAM`] rounded up to whole cache lines.
pub const LARGE: usize = 1536;
/// Bytes of a medium slot: a packet of a thumbnail, or of opus at its highest rate.
pub const MEDIUM: usize = 512;
/// Bytes of a small slot: an opus packet at 96 kbps and 20 ms with its header.
pub const SMALL: usize = 256;
/// Slots of a chunk, so that growth is rare.
const GROWTH: usize = 256;
/// Ticks for which a class must have had far too many slots before it lets go of any.
const CALM: u32 = 30;
/// Chunks of each class let go in one tick: 6 MB, and one pass over the free slots.
const PER_TICK: usize = 16;
/// Slots that may be free beyond as many as are in use.
const SPARE: usize = 4 * GROWTH;

const _: () = assert!(LARGE >= MAX_DATAGRAM);
const _: () = assert!(GROWTH == 256, "Returned has a bit for each slot");

/// A slot in use. Its holder gives it back by [`Pool::release`]; it is deliberately not `Drop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(u32);

impl BufferId {
    fn chunk(self) -> usize {
        self.0 as usize / GROWTH
    }

    fn slot(self) -> usize {
        self.0 as usize % GROWTH
    }
}

/// Number of a [`Class`].
type ClassId = usize;
const LARGE_CLASS: ClassId = 2;
const SIZES: [usize; 3] = [SMALL, MEDIUM, LARGE];

/// All packet buffers of one shard.
#[derive(Debug)]
pub struct Pool {
    chunks: Vec<Chunk>,
    /// In the order of [`SIZES`].
    classes: [Class; 3],
    in_use: usize,
    high_water: usize,
}

impl Pool {
    /// A pool that holds at most `max_bytes` in all: an eighth for small and medium slots each, the rest for large ones.
    pub fn new(max_bytes: usize) -> Self {
        let eighth = max_bytes / 8;
        let class = |bytes: usize, slot: usize| Class::new(bytes / (slot * GROWTH));
        let classes = [class(eighth, SMALL), class(eighth, MEDIUM), class(max_bytes - 2 * eighth, LARGE)];
        Self { chunks: Vec::new(), classes, in_use: 0, high_water: 0 }
    }

    /// A large slot, or `None` when the pool is at its bound.
    pub fn take_large(&mut self) -> Option<BufferId> {
        self.take(LARGE_CLASS)
    }

    /// Moves the `len` bytes of `id` to a smaller slot when they fit one and one is free; otherwise `id` stays.
    pub fn shrink(&mut self, id: BufferId, len: usize) -> BufferId {
        if len > MEDIUM {
            return id;
        }
        let class = fitting(len);
        if self.chunks[id.chunk()].class <= class {
            return id;
        }
        let Some(smaller) = self.take(class) else { return id };
        if let Ok([from, to]) = self.chunks.get_disjoint_mut([id.chunk(), smaller.chunk()]) {
            to.slot_mut(smaller)[..len].copy_from_slice(&from.slot(id)[..len]);
        }
        self.release(id);
        smaller
    }

    /// Takes the smallest fitting slot for a copy of `bytes`; `None` when the pool is at its bound.
    pub fn copy_in(&mut self, bytes: &[u8]) -> Option<BufferId> {
        if bytes.len() > LARGE {
            return None;
        }
        let class = fitting(bytes.len());
        let id = self.take(class).or_else(|| self.take(LARGE_CLASS))?;
        self.bytes_mut(id)[..bytes.len()].copy_from_slice(bytes);
        Some(id)
    }

    /// Gives a slot back.
    pub fn release(&mut self, id: BufferId) {
        let chunk = &mut self.chunks[id.chunk()];
        let class = &mut self.classes[chunk.class];
        self.in_use -= 1;
        if let Some(returned) = &mut chunk.leaving {
            returned.note(id);
            class.leaving_free += 1;
            return;
        }
        debug_assert!(!class.free.contains(&id), "{id:?} given back twice");
        class.free.push(id);
    }

    /// The whole slot.
    pub fn bytes(&self, id: BufferId) -> &[u8] {
        self.chunks[id.chunk()].slot(id)
    }

    /// The whole slot, to write.
    pub fn bytes_mut(&mut self, id: BufferId) -> &mut [u8] {
        self.chunks[id.chunk()].slot_mut(id)
    }

    /// Slots in use.
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// Most slots ever in use.
    pub fn high_water(&self) -> usize {
        self.high_water
    }

    /// Bytes of all slots, in use or not.
    pub fn held_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes().len()).sum()
    }

    /// Whether there is something for [`Pool::tick`] to do.
    pub fn has_surplus(&self) -> bool {
        self.classes.iter().any(|class| class.calm > 0 || class.surplus() > 0 || class.leaving > 0)
    }

    /// To be called about once a second: lets go of what has been free for long.
    pub fn tick(&mut self) {
        for class in 0..self.classes.len() {
            let surplus = self.classes[class].surplus();
            let calm = if surplus > 0 { self.classes[class].calm + 1 } else { 0 };
            self.classes[class].calm = calm;
            if calm > CALM {
                self.let_go(class, surplus.min(PER_TICK));
            }
            if self.classes[class].leaving > 0 {
                self.unmap(class);
            }
        }
    }

    fn take(&mut self, class: ClassId) -> Option<BufferId> {
        let id = match self.classes[class].free.pop() {
            Some(id) => id,
            None => self.grow(class)?,
        };
        self.in_use += 1;
        self.high_water = self.high_water.max(self.in_use);
        Some(id)
    }

    /// More free slots for a class that has none: those of a chunk that was to go, else of a new one. Returns one.
    #[cold]
    fn grow(&mut self, class: ClassId) -> Option<BufferId> {
        let at = match self.leaving_chunk(class) {
            Some(at) => at,
            None => self.new_chunk(class)?,
        };
        let returned = self.chunks[at].leaving.take().unwrap_or_default();
        let class = &mut self.classes[class];
        class.leaving -= 1;
        class.leaving_free -= returned.count();
        class.free.extend(returned.slots().map(|slot| BufferId((at * GROWTH + slot) as u32)).rev());
        class.free.pop()
    }

    /// One of the class that is to go and has free slots.
    fn leaving_chunk(&self, class: ClassId) -> Option<usize> {
        if self.classes[class].leaving_free == 0 {
            return None;
        }
        let has_free =
            |chunk: &Chunk| chunk.class == class && chunk.leaving.as_ref().is_some_and(|returned| returned.count() > 0);
        self.chunks.iter().position(has_free)
    }

    /// A chunk from the system, all of whose slots are free, as one that is to go.
    fn new_chunk(&mut self, id: ClassId) -> Option<usize> {
        let class = &mut self.classes[id];
        if class.chunks >= class.max_chunks {
            return None;
        }
        let bytes = Some(MmapMut::map_anon(SIZES[id] * GROWTH).ok()?);
        class.chunks += 1;
        class.leaving += 1;
        class.leaving_free += GROWTH;
        // Room for every slot of the class, so that giving back never allocates.
        class.free.reserve(class.chunks * GROWTH - class.free.len());
        let chunk = Chunk { class: id, slot_len: SIZES[id], bytes, leaving: Some(Returned::ALL), counted: 0 };
        match self.chunks.iter().position(|chunk| chunk.bytes.is_none()) {
            Some(at) => {
                self.chunks[at] = chunk;
                Some(at)
            }
            None => {
                self.chunks.push(chunk);
                Some(self.chunks.len() - 1)
            }
        }
    }

    /// Marks `count` chunks as to go, those with the fewest slots in use.
    fn let_go(&mut self, id: ClassId, count: usize) {
        let Self { chunks, classes, .. } = self;
        let class = &mut classes[id];
        chunks.iter_mut().for_each(|chunk| chunk.counted = 0);
        class.free.iter().for_each(|slot| chunks[slot.chunk()].counted += 1);
        for _ in 0..count {
            let candidates = chunks.iter_mut().filter(|chunk| chunk.class == id && chunk.leaving.is_none());
            let Some(chunk) = candidates.max_by_key(|chunk| chunk.counted).filter(|chunk| chunk.counted > 0) else {
                break;
            };
            chunk.leaving = Some(Returned::default());
            class.leaving += 1;
        }
        let leaving_free = &mut class.leaving_free;
        class.free.retain(|slot| {
            let Some(returned) = &mut chunks[slot.chunk()].leaving else { return true };
            returned.note(*slot);
            *leaving_free += 1;
            false
        });
    }

    /// Lets the memory go of chunks that have all their slots back.
    fn unmap(&mut self, id: ClassId) {
        let class = &mut self.classes[id];
        let mut gone = 0;
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.class == id) {
            if gone < PER_TICK && chunk.leaving.as_ref().is_some_and(|returned| returned.count() == GROWTH) {
                *chunk = Chunk { class: id, slot_len: 0, bytes: None, leaving: None, counted: 0 };
                gone += 1;
            }
        }
        class.chunks -= gone;
        class.leaving -= gone;
        class.leaving_free -= gone * GROWTH;
    }
}

/// The smallest class for so many bytes, at most [`LARGE`].
fn fitting(len: usize) -> ClassId {
    usize::from(len > SMALL) + usize::from(len > MEDIUM)
}

/// The slots of one size.
#[derive(Debug)]
struct Class {
    max_chunks: usize,
    /// Chunks that have memory.
    chunks: usize,
    /// Of these, the ones that are to go, and how many of their slots are free.
    leaving: usize,
    leaving_free: usize,
    /// Free slots of the chunks that stay.
    free: Vec<BufferId>,
    /// Ticks for which there has been a surplus.
    calm: u32,
}

impl Class {
    fn new(max_chunks: usize) -> Self {
        Self { max_chunks, chunks: 0, leaving: 0, leaving_free: 0, free: Vec::new(), calm: 0 }
    }

    /// Chunks that could go: their slots are free beyond as many as are in use, and [`SPARE`].
    fn surplus(&self) -> usize {
        let in_use = self.chunks * GROWTH - self.free.len() - self.leaving_free;
        self.free.len().saturating_sub(in_use + SPARE) / GROWTH
    }
}

/// Slots of one size, at an address that stays while any of them is in use. Without memory once it has been given back;
/// its number is used again.
#[derive(Debug)]
struct Chunk {
    class: ClassId,
    slot_len: usize,
    bytes: Option<MmapMut>,
    /// Its free slots, if it is to go; else they are with its class.
    leaving: Option<Returned>,
    /// Its free slots when they were last counted.
    counted: u32,
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or_default()
    }

    fn slot(&self, id: BufferId) -> &[u8] {
        let at = id.slot() * self.slot_len;
        &self.bytes()[at..at + self.slot_len]
    }

    fn slot_mut(&mut self, id: BufferId) -> &mut [u8] {
        let at = id.slot() * self.slot_len;
        &mut self.bytes.as_deref_mut().unwrap_or_default()[at..at + self.slot_len]
    }
}

/// A bit for each slot of a chunk.
#[derive(Clone, Copy, Debug, Default)]
struct Returned([u64; GROWTH / 64]);

impl Returned {
    const ALL: Self = Self([u64::MAX; GROWTH / 64]);

    fn note(&mut self, id: BufferId) {
        let (word, bit) = (id.slot() / 64, 1 << (id.slot() % 64));
        debug_assert!(self.0[word] & bit == 0, "{id:?} given back twice");
        self.0[word] |= bit;
    }

    fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn slots(self) -> impl DoubleEndedIterator<Item = usize> {
        (0..GROWTH).filter(move |slot| self.0[slot / 64] & (1 << (slot % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_moves_to_the_smallest_slot_and_frees_the_large_one() {
        let mut pool = Pool::new(16 << 20);
        for (len, slot) in [(1, SMALL), (SMALL, SMALL), (SMALL + 1, MEDIUM), (MEDIUM, MEDIUM), (MEDIUM + 1, LARGE)] {
            let large = pool.take_large().unwrap();
            let bytes: Vec<_> = (0..len).map(|at| at as u8).collect();
            pool.bytes_mut(large)[..len].copy_from_slice(&bytes);
            let moved = pool.shrink(large, len);
            assert_eq!(moved == large, slot == LARGE);
            assert_eq!((&pool.bytes(moved)[..len], pool.bytes(moved).len()), (&*bytes, slot));
            assert_eq!(pool.in_use(), 1);
            assert_eq!(pool.shrink(moved, len), moved, "it is where it belongs");
            pool.release(moved);
        }
        assert_eq!((pool.in_use(), pool.high_water()), (0, 2));
    }

    #[test]
    fn the_bound_holds() {
        let mut pool = Pool::new(2 << 20);
        let taken = std::iter::from_fn(|| pool.take_large()).count();
        assert!(taken * LARGE <= 2 << 20);
        assert!(taken > 0);
        assert!(pool.copy_in(&[0; 1000]).is_none());
        assert!(pool.copy_in(&[0; 300]).is_some());
        while pool.copy_in(&[0; 100]).is_some() {}
        assert!(pool.held_bytes() <= 2 << 20);
    }

    #[test]
    fn slots_do_not_overlap() {
        let mut pool = Pool::new(8 << 20);
        let len = |n: u32| [100, 400, 1_200][n as usize % 3];
        let ids: Vec<_> = (0..1_800u32).map(|n| pool.copy_in(&n.to_be_bytes().repeat(len(n) / 4)).unwrap()).collect();
        for (n, id) in (0..1_800u32).zip(ids) {
            assert_eq!(pool.bytes(id)[..len(n)], n.to_be_bytes().repeat(len(n) / 4));
        }
    }

    fn take(pool: &mut Pool, count: usize) -> Vec<BufferId> {
        (0..count).map(|_| pool.take_large().unwrap()).collect()
    }

    fn ticks(pool: &mut Pool, count: u32) {
        (0..count).for_each(|_| pool.tick());
    }

    #[test]
    fn what_has_been_free_for_long_goes_to_the_system() {
        let mut pool = Pool::new(256 << 20);
        let ids = take(&mut pool, 64 * GROWTH);
        let held = pool.held_bytes();
        ticks(&mut pool, 100);
        assert_eq!(pool.held_bytes(), held, "nothing is free");
        // Every 64th stays in use: a few in every chunk.
        let (kept, freed): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| id.0 % 64 == 0);
        for id in &kept {
            pool.bytes_mut(*id)[..4].copy_from_slice(&id.0.to_be_bytes());
        }
        freed.into_iter().for_each(|id| pool.release(id));
        assert!(pool.has_surplus());
        ticks(&mut pool, CALM);
        assert_eq!(pool.held_bytes(), held, "it may be a pause");
        ticks(&mut pool, 20);
        assert!(kept.iter().all(|id| pool.bytes(*id)[..4] == id.0.to_be_bytes()), "what is in use stays where it is");
        // Packets come and go: the old ones leave the chunks that are to go.
        for id in kept {
            take(&mut pool, 1).into_iter().for_each(|id| pool.release(id));
            pool.release(id);
        }
        ticks(&mut pool, CALM + 20);
        assert!(pool.held_bytes() <= (SPARE + GROWTH) * LARGE, "{} of {held}", pool.held_bytes());
        assert!(pool.held_bytes() > 0 && pool.in_use() == 0 && !pool.has_surplus());
        // And comes back, to the last slot of it.
        let again = take(&mut pool, 64 * GROWTH);
        assert_eq!(pool.held_bytes(), held);
        assert_eq!(again.iter().collect::<std::collections::HashSet<_>>().len(), again.len());
    }

    #[test]
    fn a_pause_keeps_its_buffers() {
        let mut pool = Pool::new(256 << 20);
        for _ in 0..5 {
            let ids = take(&mut pool, 32 * GROWTH);
            let held = pool.held_bytes();
            ticks(&mut pool, 1);
            ids.into_iter().for_each(|id| pool.release(id));
            ticks(&mut pool, CALM);
            assert_eq!(pool.held_bytes(), held);
        }
    }

    #[test]
    fn what_was_to_go_is_used_before_there_is_more() {
        let mut pool = Pool::new(64 << 20);
        let max = std::iter::from_fn(|| pool.take_large()).collect::<Vec<_>>();
        let (pinned, freed): (Vec<_>, Vec<_>) = max.iter().partition(|id| id.slot() == 7);
        freed.iter().for_each(|id| pool.release(*id));
        ticks(&mut pool, 2 * CALM);
        assert!(pool.classes[LARGE_CLASS].leaving > 0, "pinned by what is in use");
        let again = std::iter::from_fn(|| pool.take_large()).collect::<Vec<_>>();
        assert_eq!(again.len(), freed.len(), "the bound is as before");
        assert!(again.iter().all(|id| !pinned.contains(id)));
        let class = &pool.classes[LARGE_CLASS];
        assert_eq!((class.leaving, class.leaving_free, class.free.len()), (0, 0, 0));
    }
}
