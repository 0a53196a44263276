//! One hashed timing wheel per shard: at most one deadline for each key, kept without allocation once the
//! largest key has been seen.
//!
//! A deadline later than the wheel's span waits in its bucket for another round; taking and moving are O(1).

use crate::time::{Duration, Instant};

/// Resolution: feedback every 50 ms and NACKs after 10 ms need no finer one.
const TICK: u64 = 5_000;
/// Buckets; with 5 ms ticks the wheel spans 1.28 s, so that reports (1 s) go round at most once.
const BUCKETS: usize = 256;
const WORDS: usize = BUCKETS / 64;
const NONE: u32 = u32::MAX;

/// Deadlines by key.
#[derive(Debug)]
pub(crate) struct Wheel {
    heads: [u32; BUCKETS],
    occupied: [u64; WORDS],
    nodes: Vec<Node>,
    /// The tick up to which everything due has been taken.
    cursor: u64,
    /// The earliest tick that can be scheduled: after the one that is being taken, so that whoever asks for
    /// another turn at once cannot keep the caller from ever finishing.
    floor: u64,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    due: u64,
    next: u32,
    prev: u32,
    linked: bool,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { heads: [NONE; BUCKETS], occupied: [0; WORDS], nodes: Vec::new(), cursor: 0, floor: 0 }
    }

    /// Sets `key`'s deadline to `at`, unless it already has an earlier one.
    pub(crate) fn schedule(&mut self, key: u32, at: Instant) {
        // Rounded up, so that a deadline is never taken early.
        let due = at.as_micros().div_ceil(TICK).max(self.floor);
        if self.nodes.len() <= key as usize {
            self.nodes.resize(key as usize + 1, Node { due: 0, next: NONE, prev: NONE, linked: false });
        }
        let node = self.nodes[key as usize];
        if node.linked {
            if node.due <= due {
                return;
            }
            self.unlink(key);
        }
        self.link(key, due);
    }

    /// Forgets `key`'s deadline.
    pub(crate) fn cancel(&mut self, key: u32) {
        if self.nodes.get(key as usize).is_some_and(|node| node.linked) {
            self.unlink(key);
        }
    }

    /// Takes one key whose deadline has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let now = now.as_micros() / TICK;
        self.floor = self.floor.max(now + 1);
        while self.cursor <= now {
            if let Some(key) = self.due_in_bucket(self.cursor) {
                self.unlink(key);
                return Some(key);
            }
            // More than a round behind, every bucket has been seen by the end of one more round.
            let next = self.next_occupied(self.cursor + 1).unwrap_or(now + 1);
            self.cursor = next.min(now + 1);
        }
        None
    }

    /// When to call [`Wheel::pop_due`] next: never later than the earliest deadline.
    pub(crate) fn next(&self) -> Instant {
        self.next_occupied(self.cursor).map_or(Instant::FAR_FUTURE, |tick| Instant::default() + ticks(tick))
    }

    fn due_in_bucket(&self, tick: u64) -> Option<u32> {
        let mut key = self.heads[tick as usize % BUCKETS];
        while key != NONE {
            let node = self.nodes[key as usize];
            if node.due <= tick {
                return Some(key);
            }
            key = node.next;
        }
        None
    }

    /// The first tick from `from` on, within one round, whose bucket holds anything.
    fn next_occupied(&self, from: u64) -> Option<u64> {
        let first = from as usize % BUCKETS;
        for step in 0..=WORDS {
            let word = (first / 64 + step) % WORDS;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (first % 64);
            } else if step == WORDS {
                bits &= !(u64::MAX << (first % 64));
            }
            if bits != 0 {
                let bucket = word * 64 + bits.trailing_zeros() as usize;
                return Some(from + ((bucket + BUCKETS - first) % BUCKETS) as u64);
            }
        }
        None
    }

    fn link(&mut self, key: u32, due: u64) {
        let bucket = due as usize % BUCKETS;
        let head = self.heads[bucket];
        if head != NONE {
            self.nodes[head as usize].prev = key;
        }
        self.nodes[key as usize] = Node { due, next: head, prev: NONE, linked: true };
        self.heads[bucket] = key;
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
    }

    fn unlink(&mut self, key: u32) {
        let node = self.nodes[key as usize];
        let bucket = node.due as usize % BUCKETS;
        if node.prev == NONE {
            self.heads[bucket] = node.next;
        } else {
            self.nodes[node.prev as usize].next = node.next;
        }
        if node.next != NONE {
            self.nodes[node.next as usize].prev = node.prev;
        }
        if self.heads[bucket] == NONE {
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
        }
        self.nodes[key as usize].linked = false;
    }
}

fn ticks(count: u64) -> Duration {
    Duration::from_micros(count.saturating_mul(TICK))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::default() + Duration::from_millis(ms)
    }

    #[test]
    fn an_earlier_deadline_replaces_a_later_one_but_not_the_other_way() {
        let mut wheel = Wheel::new();
        wheel.schedule(3, at(100));
        wheel.schedule(3, at(50));
        wheel.schedule(3, at(200));
        assert_eq!(wheel.pop_due(at(49)), None);
        assert_eq!(wheel.pop_due(at(50)), Some(3));
        assert_eq!(wheel.pop_due(at(300)), None);
        assert_eq!(wheel.next(), Instant::FAR_FUTURE);
    }

    #[test]
    fn asking_again_at_once_does_not_go_on_for_ever() {
        let mut wheel = Wheel::new();
        wheel.schedule(1, at(0));
        let now = at(1_000);
        let mut turns = 0;
        while let Some(key) = wheel.pop_due(now) {
            wheel.schedule(key, at(0));
            turns += 1;
        }
        assert_eq!(turns, 1);
        assert_eq!(wheel.pop_due(at(1_005)), Some(1));
    }

    proptest! {
        /// Against a sorted map: nothing comes early, nothing is missed, `next` never oversleeps.
        #[test]
        fn agrees_with_a_sorted_map(
            steps in proptest::collection::vec((0u32..20, 0u64..4_000, 0u64..700, any::<bool>()), 1..200)
        ) {
            let mut wheel = Wheel::new();
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = 0;
            for (key, delay, advance, cancel) in steps {
                if cancel {
                    wheel.cancel(key);
                    model.remove(&key);
                } else {
                    let due = now + delay;
                    wheel.schedule(key, at(due));
                    let slot = model.entry(key).or_insert(due);
                    *slot = (*slot).min(due);
                }
                if let Some(first) = model.values().min() {
                    prop_assert!(wheel.next() <= at(first + 5));
                }
                now += advance;
                while let Some(key) = wheel.pop_due(at(now)) {
                    let due = model.remove(&key);
                    prop_assert!(due.is_some_and(|due| due <= now), "{key} came early");
                }
                prop_assert!(model.values().all(|due| due + 5 > now), "missed one at {now}: {model:?}");
            }
        }
    }
}
