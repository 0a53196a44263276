//! When a client was last surely there: a path that comes back after a silence delivers in one instant what was sent
//! into it, perhaps long ago, and perhaps by a client that has given the socket up meanwhile.

use std::time::Duration;

use tokio::time::Instant;

/// What comes within this time came together.
const BURST: Duration = Duration::from_millis(300);

/// What came in on one socket, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hearing {
    last: Instant,
    /// Begin of the burst that the last word belongs to.
    burst: Instant,
    /// The last word before it.
    before: Instant,
}

impl Hearing {
    /// A socket that has just been opened.
    pub(super) fn new(now: Instant) -> Self {
        Self { last: now, burst: now, before: now }
    }

    /// Something came in. Gives the time before which everything has been heard.
    pub(super) fn heard(&mut self, now: Instant) -> Instant {
        if now - self.burst >= BURST {
            self.before = self.last;
            self.burst = now;
        }
        self.last = now;
        self.before
    }

    /// When the client was last surely there, for a socket that ends now: a last burst does not count.
    pub(super) fn surely(&self, now: Instant) -> Instant {
        if now - self.burst < BURST { self.before } else { self.last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_at_the_end_does_not_count() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut hearing = Hearing::new(at(0));
        hearing.heard(at(5_000));
        assert_eq!(hearing.surely(at(10_000)), at(5_000));
        // The path was gone from 6 s to 15 s; a ping and more come at once, and the socket ends.
        for ms in [15_000, 15_001, 15_020] {
            hearing.heard(at(ms));
        }
        assert_eq!(hearing.surely(at(15_030)), at(5_000));
        // Had it gone on, they would have been words like any other.
        assert_eq!(hearing.surely(at(15_400)), at(15_020));
    }

    #[test]
    fn a_client_that_talks_all_the_time_is_there() {
        let start = Instant::now();
        let mut hearing = Hearing::new(start);
        for n in 1..200 {
            let now = start + Duration::from_millis(n * 50);
            let heard = hearing.heard(now);
            assert!(now - heard < BURST * 2 + Duration::from_millis(50), "{:?}", now - heard);
            assert!(now - hearing.surely(now) < BURST * 2);
        }
    }
}
