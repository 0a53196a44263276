//! How much a publisher may send: what the server says (REMB), and what the loss in its feedback suggests. Sizes of the
//! picture that do not fit are not sent. This is what a bot can do whose pictures were encoded beforehand: a browser
//! would encode them smaller first.

use std::time::{Duration, Instant};

use rtcp::transport_feedbacks::transport_layer_cc::{PacketStatusChunk, SymbolTypeTcc, TransportLayerCc};

/// The loss is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Fewer packets say nothing about loss.
const ENOUGH: u64 = 20;
/// More loss than this reduces the estimate, less than that raises it: the loss-based half of Google Congestion Control,
/// draft-ietf-rmcat-gcc-02 6.
const MUCH_LOSS: f64 = 0.10;
const LITTLE_LOSS: f64 = 0.02;
const RAISE: f64 = 1.08;
/// A size that was given up comes back when this much more than it needs is there, so that it does not come and go.
const MARGIN: f64 = 1.1;

/// One publisher's limit.
#[derive(Debug)]
pub(crate) struct Limit {
    /// Bits per second of the sound, and of each size, low to high.
    sound: f64,
    sizes: Vec<f64>,
    sent: usize,
    remb: Option<f64>,
    estimate: f64,
    /// At the last look.
    reduced: bool,
    lost: u64,
    told: u64,
    looked: Instant,
}

impl Limit {
    pub(crate) fn new(sound: f64, sizes: Vec<f64>, now: Instant) -> Self {
        let estimate = Self::most(sound, &sizes);
        Self { sound, sent: sizes.len(), sizes, remb: None, estimate, reduced: false, lost: 0, told: 0, looked: now }
    }

    /// The server's word, in bits per second.
    pub(crate) fn heard_remb(&mut self, bit_rate: f64) {
        self.remb = Some(bit_rate);
    }

    pub(crate) fn heard_feedback(&mut self, feedback: &TransportLayerCc) {
        let told = u64::from(feedback.packet_status_count);
        self.told += told;
        self.lost += told - told.min(received(feedback));
    }

    /// How many sizes are to be sent from now on, low to high; never none.
    pub(crate) fn sizes(&mut self, now: Instant) -> usize {
        if now - self.looked >= LOOK_EVERY && self.told >= ENOUGH {
            let loss = self.lost as f64 / self.told as f64;
            // What is told right after a reduction is about what was sent before it, and of the smallest size there is
            // no less: the estimate would only take long to come back.
            let reduced = std::mem::take(&mut self.reduced);
            if loss > MUCH_LOSS && !reduced && self.sent > 1 {
                self.reduced = true;
                self.estimate = self.estimate.min(self.sending()) * (1.0 - loss / 2.0);
            } else if loss < LITTLE_LOSS {
                self.estimate = (self.estimate * RAISE).min(Self::most(self.sound, &self.sizes));
            }
            (self.lost, self.told, self.looked) = (0, 0, now);
        }
        let allowed = self.remb.unwrap_or(f64::INFINITY).min(self.estimate);
        let fits = |count: usize| {
            let margin = if count > self.sent { MARGIN } else { 1.0 };
            (self.sound + self.sizes[..count].iter().sum::<f64>()) * margin <= allowed
        };
        let most = (1..=self.sizes.len()).rev().find(|count| fits(*count));
        self.sent = most.unwrap_or(1).min(self.sizes.len());
        self.sent
    }

    fn sending(&self) -> f64 {
        self.sound + self.sizes[..self.sent].iter().sum::<f64>()
    }

    /// What all sizes need, with room to come back.
    fn most(sound: f64, sizes: &[f64]) -> f64 {
        (sound + sizes.iter().sum::<f64>()) * MARGIN * RAISE
    }
}

/// How many packets the feedback says have come.
fn received(feedback: &TransportLayerCc) -> u64 {
    let mut left = usize::from(feedback.packet_status_count);
    let mut count = 0;
    for chunk in &feedback.packet_chunks {
        let (symbols, came) = match chunk {
            PacketStatusChunk::RunLengthChunk(run) => {
                let symbols = left.min(run.run_length.into());
                let came = run.packet_status_symbol != SymbolTypeTcc::PacketNotReceived;
                (symbols, if came { symbols } else { 0 })
            }
            PacketStatusChunk::StatusVectorChunk(vector) => {
                let symbols = left.min(vector.symbol_list.len());
                let came = |symbol: &&SymbolTypeTcc| **symbol != SymbolTypeTcc::PacketNotReceived;
                (symbols, vector.symbol_list[..symbols].iter().filter(came).count())
            }
        };
        left -= symbols;
        count += came as u64;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::super::arrivals::Arrivals;
    use super::*;

    /// Feedback about 100 packets of which every `nth` is lost; 0: none.
    fn feedback(nth: u16) -> TransportLayerCc {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start);
        (0..=100).filter(|n| nth == 0 || n % nth != 1).for_each(|n| arrivals.note(n, start));
        arrivals.feedback(start + Duration::from_secs(1), 1).unwrap()
    }

    #[test]
    fn sizes_that_do_not_fit_the_servers_word_are_left_out() {
        let now = Instant::now();
        let mut limit = Limit::new(32e3, vec![100e3, 400e3, 1_500e3], now);
        assert_eq!(limit.sizes(now), 3);
        let mut after = |remb| {
            limit.heard_remb(remb);
            limit.sizes(now)
        };
        assert_eq!((after(2_032e3), after(2_000e3), after(531e3), after(0.0)), (3, 2, 1, 1));
        assert_eq!((after(540e3), after(600e3)), (1, 2), "back with a margin");
    }

    #[test]
    fn much_loss_leaves_out_sizes_and_little_loss_brings_them_back() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut limit = Limit::new(0.0, vec![100e3, 400e3], start);
        limit.heard_feedback(&feedback(5));
        assert_eq!(limit.sizes(at(0)), 2, "not looked at yet");
        assert_eq!(limit.sizes(at(1)), 1);
        let mut seconds = 1;
        while limit.sizes(at(seconds)) == 1 {
            seconds += 1;
            limit.heard_feedback(&feedback(0));
            assert!(seconds < 20, "{limit:?}");
        }
        assert!(seconds > 3, "not at once, but after {seconds} s");
        limit.heard_feedback(&feedback(20));
        assert_eq!(limit.sizes(at(seconds + 1)), 2, "5 % is neither much nor little");
    }

    #[test]
    fn loss_that_goes_on_does_not_keep_sizes_away_for_long() {
        let start = Instant::now();
        let mut limit = Limit::new(0.0, vec![100e3, 400e3], start);
        let mut after = |seconds, nth| {
            limit.heard_feedback(&feedback(nth));
            limit.sizes(start + Duration::from_secs(seconds))
        };
        assert!((1..10).all(|seconds| after(seconds, 5) == 1));
        assert!((10..20).any(|seconds| after(seconds, 0) == 2));
    }

    #[test]
    fn packets_that_came_are_counted() {
        assert_eq!((received(&feedback(0)), received(&feedback(5)), received(&feedback(2))), (101, 81, 51));
    }
}
