//! What waits to be written to one socket: bounded, and never lost track of, so that what a socket did not deliver can
//! go to the next one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::hearing::Hearing;
use super::missed::{Undelivered, Unheard};
use crate::store::Cursor;

/// Frames that may wait for a slow reader before it is disconnected.
const OUTBOX_FRAMES: usize = 1024;
/// Bytes that may wait for a slow reader: several joins of a large room. One frame may always wait, however long.
const OUTBOX_BYTES: usize = 8 << 20;

/// A notification, and where to note that it has left.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) text: Utf8Bytes,
    mark: Option<(Arc<Cursor>, u64)>,
}

impl Note {
    /// A notification with its number.
    pub(super) fn new(text: Utf8Bytes, number: u64, cursor: Option<&Arc<Cursor>>) -> Self {
        Self { text, mark: cursor.map(|cursor| (cursor.clone(), number)) }
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    fn has_left(&self) {
        if let Some((cursor, number)) = &self.mark {
            cursor.advance(*number);
        }
    }
}

impl PartialEq for Note {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Note {}

#[cfg(test)]
impl<T: Into<Utf8Bytes>> From<T> for Note {
    fn from(text: T) -> Self {
        Self::new(text.into(), 0, None)
    }
}

/// What a socket is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A notification: when this socket does not deliver it, the next one shall.
    Notice(Note),
    /// A response: of no use to anybody but the socket that asked.
    Answer(Utf8Bytes),
    /// The end.
    Close(u16, &'static str),
}

impl Frame {
    fn len(&self) -> usize {
        match self {
            Self::Notice(note) => note.len(),
            Self::Answer(text) => text.len(),
            Self::Close(..) => 0,
        }
    }
}

/// The way to one socket. Clones are the same way.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Notify,
    /// Cut when the socket must go without a farewell.
    cut: CancellationToken,
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Frame>,
    /// Of `waiting`.
    bytes: usize,
    writing: Option<Frame>,
    unheard: Unheard,
    hearing: Hearing,
    /// The reader was too slow: nothing more is taken.
    is_overrun: bool,
}

impl Outbox {
    /// Queues a frame; `false` when the reader does not keep up, or did not before: then it is cut off, and the frame
    /// is not taken.
    pub(super) fn push(&self, frame: Frame) -> bool {
        let mut queue = self.queue();
        let is_full = |queue: &Queue| {
            queue.waiting.len() >= OUTBOX_FRAMES || (queue.bytes > 0 && queue.bytes + frame.len() > OUTBOX_BYTES)
        };
        if !queue.is_overrun && !matches!(frame, Frame::Close(..)) && is_full(&queue) {
            tracing::warn!("client reads too slowly, disconnecting it");
            queue.is_overrun = true;
            self.cut();
        }
        let is_taken = !queue.is_overrun;
        if is_taken {
            queue.add(frame);
            self.0.more.notify_one();
        }
        is_taken
    }

    /// Queues frames whatever their number; the caller has bounded it.
    pub(super) fn push_all(&self, frames: impl IntoIterator<Item = Frame>) {
        let mut queue = self.queue();
        frames.into_iter().for_each(|frame| queue.add(frame));
        self.0.more.notify_one();
    }

    /// The next frame. It counts as not delivered until [`Self::written`]. For one reader only.
    pub(super) async fn next(&self) -> Frame {
        loop {
            if let Some(frame) = self.pop() {
                return frame;
            }
            self.0.more.notified().await;
        }
    }

    fn pop(&self) -> Option<Frame> {
        let mut queue = self.queue();
        let frame = queue.waiting.pop_front()?;
        queue.bytes -= frame.len();
        queue.writing = Some(frame.clone());
        Some(frame)
    }

    /// The frame that was taken last has been written.
    pub(super) fn written(&self) {
        let mut queue = self.queue();
        if let Some(Frame::Notice(note)) = queue.writing.take() {
            note.has_left();
            queue.unheard.push(Instant::now(), note);
        }
    }

    /// Something came in on the socket: the client has most likely heard what was written before.
    pub(super) fn heard(&self) {
        let queue = &mut *self.queue();
        let heard = queue.hearing.heard(Instant::now());
        queue.unheard.forget_before(heard);
    }

    /// For how long the client has not surely been there.
    pub(super) fn silence(&self) -> Duration {
        let now = Instant::now();
        now - self.queue().hearing.surely(now)
    }

    /// Takes what was not delivered; with `is_silent`, also what the client may not have heard.
    pub(super) fn take_undelivered(&self, is_silent: bool) -> Undelivered {
        let mut queue = self.queue();
        let heard = queue.hearing.surely(Instant::now());
        let Queue { waiting, writing, mut unheard, .. } = std::mem::take(&mut *queue);
        unheard.forget_before(heard);
        queue.is_overrun = true;
        let unwritten = writing.into_iter().chain(waiting).filter_map(|frame| match frame {
            Frame::Notice(note) => Some(note),
            Frame::Answer(_) | Frame::Close(..) => None,
        });
        Undelivered { unheard: if is_silent { unheard } else { Unheard::default() }, unwritten: unwritten.collect() }
    }

    /// Ends the socket without a farewell.
    pub(super) fn cut(&self) {
        self.0.cut.cancel();
    }

    /// Waits until [`Self::cut`].
    pub(super) async fn until_cut(&self) {
        self.0.cut.cancelled().await;
    }

    /// Whether both lead to one socket.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that waits, as if it had been written.
    #[cfg(test)]
    pub(super) fn drain(&self) -> Vec<Frame> {
        std::iter::from_fn(|| {
            let frame = self.pop();
            self.written();
            frame
        })
        .collect()
    }

    /// Takes one frame, which is then being written.
    #[cfg(test)]
    pub(super) fn begin(&self) -> Option<Frame> {
        self.pop()
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            writing: None,
            unheard: Unheard::default(),
            hearing: Hearing::new(Instant::now()),
            is_overrun: false,
        }
    }
}

impl Queue {
    fn add(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.waiting.push_back(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(text: &str) -> Frame {
        Frame::Notice(text.into())
    }

    #[test]
    fn slow_readers_are_cut_off_by_frames() {
        let outbox = Outbox::default();
        for _ in 0..OUTBOX_FRAMES {
            assert!(outbox.push(notice("x")));
        }
        assert!(outbox.push(Frame::Close(1000, "")), "the end always fits");
        assert!(!outbox.push(notice("y")) && outbox.0.cut.is_cancelled());
        outbox.drain();
        assert!(!outbox.push(notice("z")), "once cut off it stays so: order matters");
    }

    #[test]
    fn slow_readers_are_cut_off_by_bytes() {
        let outbox = Outbox::default();
        let long = "x".repeat(OUTBOX_BYTES + 1);
        assert!(outbox.push(Frame::Answer(long.as_str().into())), "one frame may always wait");
        assert!(!outbox.push(notice("y")) && outbox.0.cut.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_counts_as_delivered_once_written_and_heard() {
        let outbox = Outbox::default();
        for text in ["a", "b", "c", "d"] {
            outbox.push(notice(text));
            outbox.push(Frame::Answer("answer".into()));
        }
        let written = |count: usize| {
            for _ in 0..count {
                outbox.pop();
                outbox.written();
            }
        };
        let second = Duration::from_secs(1);
        written(2);
        tokio::time::advance(second).await;
        outbox.heard();
        tokio::time::advance(second).await;
        assert_eq!(outbox.silence(), second);
        written(2);
        assert_eq!(outbox.pop(), Some(notice("c")));
        let undelivered = outbox.take_undelivered(true);
        assert_eq!(undelivered.unwritten, ["c", "d"].map(Note::from));
        let mut missed = crate::openvidu::missed::Missed::default();
        missed.put_back(undelivered).unwrap();
        assert_eq!(missed.take(), ["b", "c", "d"].map(Note::from));
        assert!(!outbox.push(notice("e")), "it was given up");
    }

    #[tokio::test]
    async fn frames_that_come_late_are_waited_for() {
        let outbox = Outbox::default();
        let (pushed, came) = tokio::join!(async { outbox.push(notice("a")) }, outbox.next());
        assert!(pushed);
        assert_eq!(came, notice("a"));
        outbox.cut();
        outbox.until_cut().await;
    }
}
