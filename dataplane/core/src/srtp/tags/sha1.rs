//! SHA-1 (FIPS 180-4 6.1.2) of several messages side by side, each in a lane of the processor's vectors. SHA-1's rounds
//! wait for each other, so that one message leaves most of a processor idle, its own SHA-1 instructions included.

use pulp::Simd;

/// Lanes of the widest vectors.
pub(super) const LANES: usize = 16;

/// A 32-bit word of each lane; narrower vectors leave the last ones alone.
pub(super) type Words = [u32; LANES];

/// Constants of the four quarters of the 80 rounds.
const K: [u32; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];

/// The state of every lane.
#[derive(Clone, Copy)]
pub(super) struct State<S: Simd>([S::u32s; 5]);

impl<S: Simd> State<S> {
    /// From the words of all lanes.
    #[inline(always)]
    pub(super) fn new(words: &[Words; 5]) -> Self {
        Self(std::array::from_fn(|at| load::<S>(&words[at])))
    }

    /// The words of all lanes.
    #[inline(always)]
    pub(super) fn words(&self) -> [Words; 5] {
        self.0.map(|lanes| {
            let mut words = [0; LANES];
            S::as_mut_simd_u32s(&mut words[..S::U32_LANES]).0[0] = lanes;
            words
        })
    }

    /// Takes in one block for each lane, of 16 words.
    #[inline(always)]
    pub(super) fn compress(&mut self, simd: S, blocks: &[Words; 16]) {
        let mut schedule = std::array::from_fn(|at| load::<S>(&blocks[at]));
        let mut state = self.0;
        // Each loop has bounds that are known when this is compiled, and is taken apart.
        for five in 0..16 {
            state = five_rounds(simd, state, &mut schedule, 5 * five);
        }
        for (word, new) in self.0.iter_mut().zip(state) {
            *word = simd.add_u32s(*word, new);
        }
    }
}

#[inline(always)]
fn load<S: Simd>(words: &Words) -> S::u32s {
    S::as_simd_u32s(&words[..S::U32_LANES]).0[0]
}

/// Rounds `at` to `at + 4`, after which every word of the state is in its own place again.
#[inline(always)]
fn five_rounds<S: Simd>(
    simd: S,
    [mut a, mut b, mut c, mut d, mut e]: [S::u32s; 5],
    schedule: &mut [S::u32s; 16],
    at: usize,
) -> [S::u32s; 5] {
    e = round(simd, [a, b, c, d, e], schedule, at);
    b = rotated(simd, b, 30);
    d = round(simd, [e, a, b, c, d], schedule, at + 1);
    a = rotated(simd, a, 30);
    c = round(simd, [d, e, a, b, c], schedule, at + 2);
    e = rotated(simd, e, 30);
    b = round(simd, [c, d, e, a, b], schedule, at + 3);
    d = rotated(simd, d, 30);
    a = round(simd, [b, c, d, e, a], schedule, at + 4);
    c = rotated(simd, c, 30);
    [a, b, c, d, e]
}

/// What takes the place of the last word.
#[inline(always)]
fn round<S: Simd>(simd: S, [a, b, c, d, e]: [S::u32s; 5], schedule: &mut [S::u32s; 16], at: usize) -> S::u32s {
    let quarter = at / 20;
    let chosen = match quarter {
        0 => simd.xor_u32s(d, simd.and_u32s(b, simd.xor_u32s(c, d))),
        2 => simd.or_u32s(simd.and_u32s(b, c), simd.and_u32s(d, simd.or_u32s(b, c))),
        _ => simd.xor_u32s(b, simd.xor_u32s(c, d)),
    };
    let word = word(simd, schedule, at);
    let constant = simd.add_u32s(e, simd.splat_u32s(K[quarter]));
    simd.add_u32s(simd.add_u32s(rotated(simd, a, 5), chosen), simd.add_u32s(constant, word))
}

/// Word number `at` of the message schedule, of which the last sixteen are kept.
#[inline(always)]
fn word<S: Simd>(simd: S, schedule: &mut [S::u32s; 16], at: usize) -> S::u32s {
    if at >= 16 {
        let [first, second, third, fourth] = [at + 13, at + 8, at + 2, at].map(|at| schedule[at % 16]);
        let mixed = simd.xor_u32s(simd.xor_u32s(first, second), simd.xor_u32s(third, fourth));
        schedule[at % 16] = rotated(simd, mixed, 1);
    }
    schedule[at % 16]
}

#[inline(always)]
fn rotated<S: Simd>(simd: S, word: S::u32s, by: u32) -> S::u32s {
    let left = simd.wrapping_dyn_shl_u32s(word, simd.splat_u32s(by));
    simd.or_u32s(left, simd.wrapping_dyn_shr_u32s(word, simd.splat_u32s(32 - by)))
}
