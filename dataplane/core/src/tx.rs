//! Datagrams to send, laid out so that the kernel can take many at once.
//!
//! A run is consecutive datagrams of one length to one destination (the last may be shorter): one
//! `UDP_SEGMENT` message. The bytes of a run are contiguous, so that it is one iovec.

use crate::io::{MAX_DATAGRAM, Path};
use crate::srtp::Tags;

/// Most segments of a run: the kernel's UDP_MAX_SEGMENTS.
pub const MAX_SEGMENTS: usize = 64;
/// Most bytes of a run: what fits an IPv4 datagram's length field with its headers.
pub const MAX_RUN_BYTES: usize = 65_000;

/// Consecutive datagrams to one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxRun {
    /// Where to, and from which address.
    pub path: Path,
    /// First byte in the batch.
    pub start: usize,
    /// Bytes of all datagrams together.
    pub len: usize,
    /// Length of each datagram but the last, which has what is left.
    pub segment: usize,
    /// Number of datagrams.
    pub count: usize,
}

/// Datagrams of one flush.
#[derive(Debug)]
pub struct TxBatch {
    bytes: Box<[u8]>,
    /// Of sealed datagrams, until there are enough to write them together.
    tags: Tags,
    used: usize,
    runs: Vec<TxRun>,
    max_runs: usize,
    /// Where [`TxBatch::add_sealed`] sends to, and whether the last run goes there.
    aim: Option<Path>,
    continues: bool,
}

impl TxBatch {
    /// Room for `bytes` bytes in `max_runs` runs.
    pub fn new(bytes: usize, max_runs: usize) -> Self {
        Self {
            bytes: vec![0; bytes.max(MAX_DATAGRAM)].into_boxed_slice(),
            tags: Tags::new(),
            used: 0,
            runs: Vec::with_capacity(max_runs.max(1)),
            max_runs: max_runs.max(1),
            aim: None,
            continues: false,
        }
    }

    /// The runs, in order; they are complete after [`TxBatch::finish`] only.
    pub fn runs(&self) -> &[TxRun] {
        debug_assert!(self.tags.is_empty(), "a batch is finished before it is sent");
        &self.runs
    }

    /// The bytes of one run.
    pub fn run_bytes(&self, run: &TxRun) -> &[u8] {
        &self.bytes[run.start..run.start + run.len]
    }

    /// Every datagram with its path, in order.
    pub fn datagrams(&self) -> impl Iterator<Item = (Path, &[u8])> {
        self.runs.iter().flat_map(|run| self.run_bytes(run).chunks(run.segment).map(|bytes| (run.path, bytes)))
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether another datagram of any size fits.
    pub fn has_room(&self) -> bool {
        self.runs.len() < self.max_runs && self.bytes.len() - self.used >= MAX_DATAGRAM
    }

    /// Writes the tags that sealed datagrams still lack.
    pub fn finish(&mut self) {
        self.tags.write(&mut self.bytes);
    }

    /// Forgets everything sent.
    pub fn clear(&mut self) {
        self.tags.clear();
        self.used = 0;
        self.runs.clear();
        self.continues = false;
    }

    /// Writes one datagram in place: `fill` gets [`MAX_DATAGRAM`] bytes and returns how many it used, or
    /// `None` to write nothing. Returns whether a datagram was added. The caller checks
    /// [`TxBatch::has_room`] first; without room nothing is written.
    pub fn push(&mut self, path: Path, fill: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        self.push_sealed(path, |out, _| fill(out))
    }

    /// As [`TxBatch::push`], for what is sealed: `fill` may leave a tag for later, with those of others. Before it is sent
    /// the batch is finished.
    pub fn push_sealed(&mut self, path: Path, fill: impl FnOnce(&mut [u8], &mut Tags) -> Option<usize>) -> bool {
        self.aim(path);
        self.add_sealed(fill)
    }

    /// Says where the datagrams of the following [`TxBatch::add_sealed`] go.
    pub(crate) fn aim(&mut self, path: Path) {
        self.continues = self.runs.last().is_some_and(|run| run.path == path);
        self.aim = Some(path);
    }

    /// As [`TxBatch::push_sealed`], to where the batch has been aimed at: paths are compared once and not for each
    /// datagram.
    pub(crate) fn add_sealed(&mut self, fill: impl FnOnce(&mut [u8], &mut Tags) -> Option<usize>) -> bool {
        let Some(path) = self.aim.filter(|_| self.has_room()) else { return false };
        let start = self.used;
        self.tags.begin(start);
        let len = fill(&mut self.bytes[start..start + MAX_DATAGRAM], &mut self.tags).unwrap_or(0);
        if len == 0 {
            self.tags.take_back();
            return false;
        }
        self.used += len;
        if self.tags.is_full() {
            self.tags.write(&mut self.bytes);
        }
        match self.runs.last_mut() {
            Some(run) if self.continues && run.takes(len) => {
                run.len += len;
                run.count += 1;
            }
            _ => {
                self.runs.push(TxRun { path, start, len, segment: len, count: 1 });
                self.continues = true;
            }
        }
        true
    }
}

impl TxRun {
    /// Whether a datagram of `len` bytes to the same destination can follow: the last one was full, and this one is not
    /// longer.
    fn takes(&self, len: usize) -> bool {
        len <= self.segment
            && self.len == self.segment * self.count
            && self.count < MAX_SEGMENTS
            && self.len + len <= MAX_RUN_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path { remote: ([10, 0, 0, 1], port).into(), local: [10, 0, 0, 2].into() }
    }

    fn push(batch: &mut TxBatch, port: u16, len: usize) -> bool {
        batch.push(path(port), |out| {
            out[..len].fill(len as u8);
            Some(len)
        })
    }

    #[test]
    fn equal_lengths_to_one_destination_make_one_run_ended_by_a_shorter_one() {
        let mut batch = TxBatch::new(100_000, 16);
        for len in [100, 100, 100, 60, 100] {
            assert!(push(&mut batch, 1, len));
        }
        let lens: Vec<_> = batch.runs().iter().map(|r| (r.segment, r.count, r.len)).collect();
        assert_eq!(lens, [(100, 4, 360), (100, 1, 100)]);
        let sent: Vec<_> = batch.datagrams().map(|(_, bytes)| bytes.len()).collect();
        assert_eq!(sent, [100, 100, 100, 60, 100]);
    }

    #[test]
    fn another_destination_or_a_longer_datagram_starts_a_run() {
        let mut batch = TxBatch::new(100_000, 16);
        for (port, len) in [(1, 100), (2, 100), (2, 101), (1, 101)] {
            push(&mut batch, port, len);
        }
        assert_eq!(batch.runs().len(), 4);
    }

    #[test]
    fn bounds_of_the_kernel_hold() {
        let mut batch = TxBatch::new(1 << 20, 1000);
        for _ in 0..130 {
            push(&mut batch, 1, 1400);
        }
        assert!(batch.runs().iter().all(|r| r.count <= MAX_SEGMENTS && r.len <= MAX_RUN_BYTES));
        assert_eq!(batch.datagrams().count(), 130);
    }

    #[test]
    fn a_full_batch_takes_nothing() {
        let mut batch = TxBatch::new(2 * MAX_DATAGRAM, 16);
        assert!(push(&mut batch, 1, MAX_DATAGRAM));
        assert!(push(&mut batch, 1, 1));
        assert!(!push(&mut batch, 1, 1));
        batch.clear();
        assert!(push(&mut batch, 1, 1));
    }
}
