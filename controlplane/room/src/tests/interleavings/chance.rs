//! Seeded chance, and ids that come twice as random ones might.

use crate::{Ids, StreamDescription};

/// SplitMix64.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True once in `n` times.
    pub(super) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        (!from.is_empty()).then(|| &from[self.below(from.len())])
    }
}

/// Counts up, but one text in four is one that is in use.
#[derive(Debug)]
pub(super) struct Drawn {
    chance: Chance,
    count: u64,
    pub(super) participants: Vec<String>,
    pub(super) tokens: Vec<String>,
    pub(super) streams: Vec<String>,
}

impl Drawn {
    pub(super) fn new(seed: u64) -> Self {
        let chance = Chance::new(!seed);
        Self { chance, count: 0, participants: Vec::new(), tokens: Vec::new(), streams: Vec::new() }
    }

    fn text(&mut self, prefix: &str, taken: fn(&Self) -> &Vec<String>) -> String {
        if self.chance.once_in(4) {
            let at = self.chance.next() as usize;
            let taken = taken(self);
            if !taken.is_empty() {
                return taken[at % taken.len()].clone();
            }
        }
        format!("{prefix}{}", self.number())
    }
}

impl Ids for Drawn {
    fn participant(&mut self) -> String {
        self.text("p", |ids| &ids.participants)
    }

    fn token(&mut self) -> String {
        self.text("t", |ids| &ids.tokens)
    }

    fn stream(&mut self, _: &str, _: &StreamDescription) -> String {
        self.text("s", |ids| &ids.streams)
    }

    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}
