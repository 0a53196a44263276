//! HMAC-SHA1 tags (RFC 2104, RFC 3711 4.2.1) of several packets at once: what is sealed for a batch leaves its tag for
//! later, until there are as many as the processor has lanes, or the batch is to be sent.

mod sha1;

use std::fmt;

use pulp::{Simd, WithSimd};

use self::sha1::{LANES, State, Words};
use super::cipher::HMAC_TAG_LEN;

/// Bytes of a block of SHA-1.
const BLOCK: usize = 64;
/// Fewer take less time one after the other, where there are SHA-1 instructions.
const FEW: usize = 6;
/// What the outer hash takes in: the key's block and the inner digest.
const OUTER_BITS: u16 = 8 * (BLOCK as u16 + 20);
/// First state of SHA-1, FIPS 180-4 5.3.3.
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// An HMAC key: the states of both hashes after the block of the key.
#[derive(Clone, Copy)]
pub(super) struct MacKey {
    inner: [u32; 5],
    outer: [u32; 5],
}

impl MacKey {
    /// `key` has at most the 64 bytes of a block, as SRTP's has; what is beyond is left out.
    pub(super) fn new(key: &[u8]) -> Self {
        let state = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = INITIAL;
            ::sha1::block_api::compress(&mut state, &[block]);
            state
        };
        Self { inner: state(0x36), outer: state(0x5c) }
    }

    /// The tag of a packet and the four bytes that are authenticated after it, before it is cut short.
    pub(super) fn tag(&self, packet: &[u8], suffix: [u8; 4]) -> [u8; 20] {
        let tail = Tail::new(packet, suffix);
        let mut inner = self.inner;
        ::sha1::block_api::compress(&mut inner, packet.as_chunks().0);
        ::sha1::block_api::compress(&mut inner, tail.blocks());
        let mut block = [0; BLOCK];
        block[..20].copy_from_slice(&bytes_of(inner));
        block[20] = 0x80;
        block[BLOCK - 2..].copy_from_slice(&OUTER_BITS.to_be_bytes());
        let mut outer = self.outer;
        ::sha1::block_api::compress(&mut outer, &[block]);
        bytes_of(outer)
    }
}

fn bytes_of(digest: [u32; 5]) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes.as_chunks_mut().0.iter_mut().zip(digest).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
    bytes
}

/// Tags of a batch's datagrams that are still to be written.
pub struct Tags {
    vectors: Vectors,
    jobs: Vec<Job>,
    /// Where the datagram begins that is being written.
    origin: usize,
}

/// A packet that is encrypted and lies in a batch, and its tag's place behind it.
#[derive(Clone, Copy)]
struct Job {
    start: usize,
    len: usize,
    /// What is authenticated after the packet.
    roc: [u8; 4],
    key: MacKey,
}

/// What the processor has.
#[derive(Clone, Copy)]
enum Vectors {
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Sixteen(pulp::x86::V4),
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Eight(pulp::x86::V3),
    /// Nothing that is known here: one after the other, by SHA-1 instructions where there are any.
    One,
}

impl Tags {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { vectors: Vectors::detect(), jobs: Vec::with_capacity(LANES), origin: 0 }
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether all must be written before another one can wait.
    pub(crate) fn is_full(&self) -> bool {
        self.jobs.len() >= LANES
    }

    /// The next datagram begins here in the batch.
    pub(crate) fn begin(&mut self, origin: usize) {
        self.origin = origin;
    }

    /// The datagram that was begun is not sent.
    pub(crate) fn take_back(&mut self) {
        self.jobs.pop_if(|job| job.start == self.origin);
    }

    /// Leaves the tag of the packet of `len` bytes that was begun for later.
    pub(super) fn later(&mut self, len: usize, roc: [u8; 4], key: MacKey) {
        self.jobs.push(Job { start: self.origin, len, roc, key });
    }

    /// Writes all of them into the bytes of the batch.
    #[inline(never)]
    pub(crate) fn write(&mut self, bytes: &mut [u8]) {
        match self.vectors {
            #[cfg(target_arch = "x86_64")]
            Vectors::Sixteen(vectors) => together(vectors, &self.jobs, bytes),
            #[cfg(target_arch = "x86_64")]
            Vectors::Eight(vectors) => together(vectors, &self.jobs, bytes),
            Vectors::One => one_by_one(&self.jobs, bytes),
        }
        self.jobs.clear();
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.jobs.clear();
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tags").field("waiting", &self.jobs.len()).finish_non_exhaustive()
    }
}

impl Vectors {
    #[cfg(target_arch = "x86_64")]
    fn detect() -> Self {
        match (pulp::x86::V4::try_new(), pulp::x86::V3::try_new()) {
            (Some(vectors), _) => Self::Sixteen(vectors),
            (None, Some(vectors)) => Self::Eight(vectors),
            (None, None) => Self::One,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect() -> Self {
        Self::One
    }
}

/// The last one or two blocks of what is hashed: what is left of the packet, the roll-over counter, and the padding with
/// the length of all that was hashed, the key's block included.
struct Tail {
    bytes: [u8; 2 * BLOCK],
    count: usize,
}

impl Tail {
    #[inline(always)]
    fn new(packet: &[u8], roc: [u8; 4]) -> Self {
        let rest = &packet[packet.len() / BLOCK * BLOCK..];
        let mut bytes = [0; 2 * BLOCK];
        bytes[..rest.len()].copy_from_slice(rest);
        bytes[rest.len()..rest.len() + 4].copy_from_slice(&roc);
        bytes[rest.len() + 4] = 0x80;
        let blocks = (rest.len() + 4 + 1 + 8).div_ceil(BLOCK);
        let bits = 8 * (BLOCK + packet.len() + 4) as u64;
        bytes[blocks * BLOCK - 8..blocks * BLOCK].copy_from_slice(&bits.to_be_bytes());
        Self { bytes, count: blocks }
    }

    fn blocks(&self) -> &[[u8; BLOCK]] {
        &self.bytes.as_chunks().0[..self.count]
    }
}

fn one_by_one(jobs: &[Job], bytes: &mut [u8]) {
    for job in jobs {
        let (packet, tag) = job.of(bytes);
        tag.copy_from_slice(&job.key.tag(packet, job.roc)[..HMAC_TAG_LEN]);
    }
}

impl Job {
    /// The packet, and where its tag goes.
    #[inline(always)]
    fn of<'a>(&self, bytes: &'a mut [u8]) -> (&'a [u8], &'a mut [u8]) {
        let (packet, tag) = bytes[self.start..self.start + self.len + HMAC_TAG_LEN].split_at_mut(self.len);
        (packet, tag)
    }
}

/// As many at a time as there are lanes.
fn together<S: Simd>(simd: S, jobs: &[Job], bytes: &mut [u8]) {
    for jobs in jobs.chunks(S::U32_LANES.min(LANES)) {
        if jobs.len() < FEW {
            one_by_one(jobs, bytes);
        } else {
            simd.vectorize(Together { jobs, bytes });
        }
    }
}

/// At most as many tags as there are lanes, each in one. Lanes without one repeat the last; a lane that is done goes on
/// with what it had.
struct Together<'a> {
    jobs: &'a [Job],
    bytes: &'a mut [u8],
}

impl WithSimd for Together<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { jobs, bytes } = self;
        let Some(last) = jobs.last() else { return };
        let job = |lane: usize| jobs.get(lane).unwrap_or(last);
        let words = |key: fn(&MacKey) -> &[u32; 5]| -> [Words; 5] {
            std::array::from_fn(|word| std::array::from_fn(|lane| key(&job(lane).key)[word]))
        };
        let packets: [&[u8]; LANES] = std::array::from_fn(|lane| &bytes[job(lane).start..][..job(lane).len]);
        let tails: [Tail; LANES] = std::array::from_fn(|lane| Tail::new(packets[lane], job(lane).roc));
        let whole: [usize; LANES] = std::array::from_fn(|lane| packets[lane].len() / BLOCK);
        let ends: [usize; LANES] = std::array::from_fn(|lane| whole[lane] + tails[lane].count);
        let mut inner = State::<S>::new(&words(|key| &key.inner));
        let mut blocks = [[0; LANES]; 16];
        // The outer hash's one block: digest, end mark, length.
        let mut digests = [[0; LANES]; 16];
        digests[5] = [0x8000_0000; LANES];
        digests[15] = [u32::from(OUTER_BITS); LANES];
        for at in 0..ends.iter().copied().max().unwrap_or(0) {
            for lane in 0..S::U32_LANES.min(LANES) {
                let from = match at {
                    _ if at < whole[lane] => &packets[lane][at * BLOCK..],
                    _ if at < ends[lane] => &tails[lane].bytes[(at - whole[lane]) * BLOCK..],
                    _ => continue,
                };
                for (words, bytes) in blocks.iter_mut().zip(from[..BLOCK].as_chunks().0) {
                    words[lane] = u32::from_be_bytes(*bytes);
                }
            }
            inner.compress(simd, &blocks);
            if ends.contains(&(at + 1)) {
                let words = inner.words();
                for lane in (0..LANES).filter(|lane| at + 1 == ends[*lane]) {
                    for (digest, word) in digests.iter_mut().zip(&words) {
                        digest[lane] = word[lane];
                    }
                }
            }
        }
        let mut outer = State::<S>::new(&words(|key| &key.outer));
        outer.compress(simd, &digests);
        let outer = outer.words();
        for (lane, job) in jobs.iter().enumerate() {
            job.of(bytes).1.copy_from_slice(&bytes_of(outer.map(|word| word[lane]))[..HMAC_TAG_LEN]);
        }
    }
}

#[cfg(test)]
mod tests;
