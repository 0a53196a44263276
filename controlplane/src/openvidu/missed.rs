//! What a client has not heard: notifications that wait for its next socket, and those that perhaps got lost on the way
//! to the last one. Both are bounded, and notifications keep their order whatever becomes of sockets.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::outbox::Note;

/// Notifications that may wait for a client to come back.
pub(super) const MISSED_FRAMES: usize = 1024;
/// Bytes that may wait for a client to come back.
pub(super) const MISSED_BYTES: usize = 1 << 20;
/// Notifications remembered after they were written. A live client says something every five seconds, and answers what
/// concerns it at once.
pub(super) const UNHEARD_FRAMES: usize = 256;
/// Bytes remembered after they were written.
pub(super) const UNHEARD_BYTES: usize = MISSED_BYTES;

/// Texts in order, with their size.
#[derive(Debug, Default)]
struct Texts {
    frames: VecDeque<Note>,
    bytes: usize,
}

impl Texts {
    fn push(&mut self, frame: Note) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    fn push_front(&mut self, frame: Note) {
        self.bytes += frame.len();
        self.frames.push_front(frame);
    }

    fn drop_oldest(&mut self) -> bool {
        let oldest = self.frames.pop_front();
        self.bytes -= oldest.as_ref().map_or(0, |frame| frame.len());
        oldest.is_some()
    }

    fn fits(&self, frames: usize, bytes: usize) -> bool {
        self.frames.len() <= frames && self.bytes <= bytes
    }
}

/// More was missed than is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

/// Notifications that wait for a client's next socket.
#[derive(Debug, Default)]
pub(super) struct Missed(Texts);

impl Missed {
    /// Adds the newest.
    pub(super) fn push(&mut self, frame: Note) -> Result<(), Overflow> {
        self.0.push(frame);
        if self.0.fits(MISSED_FRAMES, MISSED_BYTES) { Ok(()) } else { Err(Overflow) }
    }

    /// Puts in front what a socket did not deliver. What it wrote and the client has perhaps not heard goes before the
    /// rest, as far as there is room: it is a guess, and nobody is given up for its sake.
    pub(super) fn put_back(&mut self, undelivered: Undelivered) -> Result<(), Overflow> {
        for frame in undelivered.unwritten.into_iter().rev() {
            self.0.push_front(frame);
        }
        if !self.0.fits(MISSED_FRAMES, MISSED_BYTES) {
            return Err(Overflow);
        }
        for frame in undelivered.unheard.texts.frames.into_iter().rev() {
            if self.0.frames.len() == MISSED_FRAMES || self.0.bytes + frame.len() > MISSED_BYTES {
                break;
            }
            self.0.push_front(frame);
        }
        Ok(())
    }

    /// Takes everything, oldest first.
    pub(super) fn take(&mut self) -> VecDeque<Note> {
        std::mem::take(&mut self.0).frames
    }
}

/// Notifications written to a socket that its client has perhaps not heard; the newest of them.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    texts: Texts,
    /// When each was written.
    times: VecDeque<Instant>,
}

impl Unheard {
    /// Adds the newest.
    pub(super) fn push(&mut self, now: Instant, frame: Note) {
        self.texts.push(frame);
        self.times.push_back(now);
        while !self.texts.fits(UNHEARD_FRAMES, UNHEARD_BYTES) && self.drop_oldest() {}
    }

    /// What was written before has been heard.
    pub(super) fn forget_before(&mut self, heard: Instant) {
        while self.times.front().is_some_and(|at| *at < heard) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) -> bool {
        self.times.pop_front();
        self.texts.drop_oldest()
    }
}

/// What a socket leaves behind.
#[derive(Debug, Default)]
pub(super) struct Undelivered {
    /// Written, but perhaps into the void.
    pub(super) unheard: Unheard,
    /// Not written, oldest first.
    pub(super) unwritten: Vec<Note>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(range: std::ops::Range<usize>) -> Vec<Note> {
        range.map(|i| Note::from(format!("{i:04}"))).collect()
    }

    #[test]
    fn what_waits_is_bounded_in_frames_and_bytes() {
        let mut missed = Missed::default();
        for text in texts(0..MISSED_FRAMES) {
            assert_eq!(missed.push(text), Ok(()));
        }
        assert_eq!(missed.push("one more".into()), Err(Overflow));
        let mut missed = Missed::default();
        assert_eq!(missed.push("x".repeat(MISSED_BYTES).into()), Ok(()));
        assert_eq!(missed.push("y".into()), Err(Overflow));
    }

    #[test]
    fn what_was_not_delivered_goes_first() {
        let mut missed = Missed::default();
        missed.push("0005".into()).unwrap();
        let mut unheard = Unheard::default();
        texts(0..2).into_iter().for_each(|text| unheard.push(Instant::now(), text));
        missed.put_back(Undelivered { unheard, unwritten: texts(2..5) }).unwrap();
        assert_eq!(missed.take(), texts(0..6));
        assert!(missed.take().is_empty());
    }

    #[test]
    fn guesses_are_kept_only_as_far_as_there_is_room() {
        let mut missed = Missed::default();
        let mut unheard = Unheard::default();
        texts(0..300).into_iter().for_each(|text| unheard.push(Instant::now(), text));
        missed.put_back(Undelivered { unheard, unwritten: texts(300..1300) }).unwrap();
        assert_eq!(missed.take(), texts(1300 - MISSED_FRAMES..1300));
        let unwritten = texts(0..MISSED_FRAMES + 1);
        assert_eq!(missed.put_back(Undelivered { unheard: Unheard::default(), unwritten }), Err(Overflow));
    }

    #[test]
    fn the_newest_of_what_was_written_is_remembered() {
        let mut unheard = Unheard::default();
        texts(0..UNHEARD_FRAMES + 10).into_iter().for_each(|text| unheard.push(Instant::now(), text));
        assert_eq!(unheard.texts.frames, texts(10..UNHEARD_FRAMES + 10));
        unheard.push(Instant::now(), "x".repeat(UNHEARD_BYTES).into());
        assert_eq!(unheard.texts.frames.len(), 1);
        unheard.push(Instant::now(), "x".repeat(UNHEARD_BYTES + 1).into());
        assert_eq!((unheard.texts.frames.len(), unheard.texts.bytes), (0, 0));
        unheard.forget_before(Instant::now() + std::time::Duration::from_secs(1));
    }
}
