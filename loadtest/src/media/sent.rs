//! When a publisher sent which frame, for the subscribers in the same process: the same clock on both ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::clip::{Clip, Codec};

/// One clip as one publisher sends it.
#[derive(Debug)]
pub(crate) struct SentLog {
    pub(crate) clip: Arc<Clip>,
    /// Microseconds since the run's beginning plus one; 0: not sent yet.
    times: Vec<AtomicU64>,
}

/// All that one stream sends: its sound and its layers.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) epoch: Instant,
    pub(crate) logs: Vec<Arc<SentLog>>,
}

impl SentLog {
    pub(crate) fn new(clip: Arc<Clip>) -> Self {
        let times = clip.frames.iter().map(|_| AtomicU64::new(0)).collect();
        Self { clip, times }
    }

    /// The frame leaves now.
    pub(crate) fn note(&self, frame: usize, since_epoch: Duration) {
        if let Some(time) = self.times.get(frame) {
            time.store(since_epoch.as_micros() as u64 + 1, Ordering::Relaxed);
        }
    }
}

impl Sent {
    /// How long ago the frame that ends in this payload was sent; `None` if no frame of this stream ends so.
    pub(crate) fn age(&self, video: bool, payload: &[u8], now: Instant) -> Option<Duration> {
        let of_kind = self.logs.iter().filter(|log| (log.clip.codec != Codec::Opus) == video);
        let times = of_kind.filter_map(|log| {
            let frame = log.clip.recognise(payload)?;
            log.times.get(frame as usize).map(|time| time.load(Ordering::Relaxed)).filter(|time| *time > 0)
        });
        let sent = Duration::from_micros(times.max()? - 1);
        Some((now - self.epoch).saturating_sub(sent))
    }
}
