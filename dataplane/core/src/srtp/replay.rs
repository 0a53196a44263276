//! The replay list of RFC 3711 3.3.2 as a sliding window of bits.

/// Indices that the window spans. A 1080p key frame is some 300 packets, and a burst of them may be overtaken whole.
pub(super) const WINDOW: u64 = 1024;
const WORDS: usize = WINDOW as usize / 64;

/// Which of the last 1024 indices were accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayWindow {
    /// One above the highest accepted index; 0 if there is none.
    next: u64,
    /// A ring: index `i` is bit `i % WINDOW`.
    bits: [u64; WORDS],
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

impl ReplayWindow {
    /// An empty window.
    pub const fn new() -> Self {
        Self { next: 0, bits: [0; WORDS] }
    }

    /// Whether `index` was not accepted before and is not too old to know.
    pub fn check(&self, index: u64) -> bool {
        if index >= self.next {
            return true;
        }
        let (word, bit) = place(index);
        self.next - index <= WINDOW && self.bits[word] & bit == 0
    }

    /// Remembers `index`, for which [`Self::check`] was true, and slides to it if it is the highest.
    pub fn accept(&mut self, index: u64) {
        if index >= self.next {
            if index - self.next >= WINDOW {
                self.bits = [0; WORDS];
            } else {
                for skipped in self.next..index {
                    let (word, bit) = place(skipped);
                    self.bits[word] &= !bit;
                }
            }
            self.next = index.saturating_add(1);
        } else if self.next - index > WINDOW {
            return;
        }
        let (word, bit) = place(index);
        self.bits[word] |= bit;
    }

    /// The highest accepted index.
    pub fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }
}

fn place(index: u64) -> (usize, u64) {
    let bit = index % WINDOW;
    ((bit / 64) as usize, 1 << (bit % 64))
}

#[cfg(test)]
mod tests;
