//! When to ask a publisher for a keyframe: subscribers' wishes of one track, made into few requests.

use crate::time::{Duration, Instant};

/// Two requests of one track are at least this far apart, and an unanswered one is repeated after it.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);

/// The wishes of one track.
#[derive(Debug, Default)]
pub(crate) struct KeyframeGate {
    last_sent: Option<Instant>,
    /// Sent, and no keyframe has begun since.
    outstanding: bool,
    /// A wish to be answered when the interval has passed.
    deferred: bool,
}

impl KeyframeGate {
    /// A subscriber needs a keyframe; `immediate` if it has just come. Whether to ask the publisher now.
    ///
    /// A new subscriber's wish goes out at once, unless a request is on its way already: the keyframe that
    /// answers it will serve the newcomer too.
    pub(crate) fn request(&mut self, now: Instant, immediate: bool) -> bool {
        let recent = self.last_sent.is_some_and(|then| now.since(then) < INTERVAL);
        if recent && (!immediate || self.outstanding) {
            self.deferred = true;
            return false;
        }
        self.sent(now);
        true
    }

    /// A keyframe has begun: every wish so far is answered.
    pub(crate) fn on_keyframe(&mut self) {
        self.outstanding = false;
        self.deferred = false;
    }

    /// When to call [`KeyframeGate::poll`].
    pub(crate) fn due(&self) -> Option<Instant> {
        if !self.deferred {
            return None;
        }
        self.last_sent.map(|then| then + INTERVAL)
    }

    /// Whether a deferred wish is to be sent now.
    pub(crate) fn poll(&mut self, now: Instant) -> bool {
        if self.due().is_none_or(|due| now < due) {
            return false;
        }
        self.sent(now);
        true
    }

    fn sent(&mut self, now: Instant) {
        self.last_sent = Some(now);
        self.outstanding = true;
        self.deferred = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::default() + Duration::from_millis(10_000 + ms)
    }

    #[test]
    fn many_wishes_make_one_request_per_interval() {
        let mut gate = KeyframeGate::default();
        let mut sent = Vec::new();
        for ms in (0..2_000).step_by(10) {
            if gate.poll(at(ms)) || gate.request(at(ms), false) {
                sent.push(ms);
            }
        }
        assert_eq!(sent, [0, 500, 1_000, 1_500]);
    }

    #[test]
    fn a_new_subscriber_does_not_wait_for_the_interval() {
        let mut gate = KeyframeGate::default();
        assert!(gate.request(at(0), false));
        gate.on_keyframe();
        assert!(!gate.request(at(100), false));
        assert!(gate.request(at(110), true));
        assert!(!gate.request(at(120), true), "one is on its way");
        assert_eq!(gate.due(), Some(at(610)));
    }

    #[test]
    fn a_keyframe_answers_what_was_deferred() {
        let mut gate = KeyframeGate::default();
        gate.request(at(0), false);
        gate.request(at(10), false);
        gate.on_keyframe();
        assert!(!gate.poll(at(5_000)));
    }
}
