//! What a bad network does to one direction of one path: loss, delay, jitter, a narrow link and reordering. A state
//! machine without sockets and clocks, driven by its user's time and by a seed, so that a run can be repeated.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::str::FromStr;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::units::{BitRate, Share, Span};

/// How long a packet may wait for the narrow link before it is dropped, as a shallow router buffer would.
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// How much later a reordered packet arrives at least.
const OVERTAKEN_BY: Duration = Duration::from_millis(10);

/// One direction's conditions. The default is a perfect network.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// Probability that a packet is lost, 0 to 1.
    pub loss: f64,
    /// Delay of every packet.
    pub delay: Duration,
    /// Up to this is added to the delay, evenly distributed; the order is kept.
    pub jitter: Duration,
    /// Bits per second that pass; `None`: any.
    pub rate: Option<u64>,
    /// Probability that a packet arrives after later ones, 0 to 1.
    pub reorder: f64,
}

/// What happened to an offered packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It will be released.
    Queued,
    /// It was lost by chance.
    Lost,
    /// The narrow link's buffer was full.
    Overflowed,
}

/// One direction of one path.
#[derive(Debug)]
pub struct Impairer<T> {
    conditions: Conditions,
    random: SmallRng,
    queue: BinaryHeap<Reverse<Waiting<T>>>,
    link_free: Duration,
    last_release: Duration,
    offered: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    release: Duration,
    order: u64,
    item: T,
}

impl Conditions {
    /// Whether packets pass untouched.
    pub fn is_perfect(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for Conditions {
    type Err = String;

    /// `loss=2%,delay=40ms,jitter=5ms,rate=2M,reorder=1%`, each at most once, in any order.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut conditions = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("{part}: must be key=value, as loss=2%"))?;
            match key.trim() {
                "loss" => conditions.loss = value.parse::<Share>()?.0,
                "delay" => conditions.delay = value.parse::<Span>()?.0,
                "jitter" => conditions.jitter = value.parse::<Span>()?.0,
                "rate" => conditions.rate = Some(value.parse::<BitRate>()?.0),
                "reorder" => conditions.reorder = value.parse::<Share>()?.0,
                _ => return Err(format!("{key}: must be loss, delay, jitter, rate or reorder")),
            }
        }
        Ok(conditions)
    }
}

impl<T> Impairer<T> {
    /// A path under these conditions; the same seed does the same to the same packets.
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            random: SmallRng::seed_from_u64(seed),
            queue: BinaryHeap::new(),
            link_free: Duration::ZERO,
            last_release: Duration::ZERO,
            offered: 0,
        }
    }

    /// Packets offered from now on meet other conditions; those under way keep theirs.
    pub fn change(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Whether a packet would pass at once, so that it needs not be offered.
    pub fn is_transparent(&self) -> bool {
        self.conditions.is_perfect() && self.queue.is_empty()
    }

    /// A packet of `bytes` enters the path at `now`.
    pub fn offer(&mut self, now: Duration, bytes: usize, item: T) -> Fate {
        let Conditions { loss, delay, jitter, rate, reorder } = self.conditions;
        // Drawn whatever the conditions are, so that changing one does not change what the others do.
        let (lost, late, wait): (f64, f64, f64) = (self.random.random(), self.random.random(), self.random.random());
        if lost < loss {
            return Fate::Lost;
        }
        let mut leaves = now;
        if let Some(rate) = rate {
            let start = self.link_free.max(now);
            if start - now > LONGEST_WAIT {
                return Fate::Overflowed;
            }
            leaves = start + Duration::from_secs_f64(bytes as f64 * 8.0 / rate.max(1) as f64);
            self.link_free = leaves;
        }
        let mut release = (leaves + delay + jitter.mul_f64(wait)).max(self.last_release);
        if late < reorder {
            release += OVERTAKEN_BY.max(jitter);
        } else {
            self.last_release = release;
        }
        self.offered += 1;
        self.queue.push(Reverse(Waiting { release, order: self.offered, item }));
        Fate::Queued
    }

    /// When the next packet comes out.
    pub fn next_release(&self) -> Option<Duration> {
        self.queue.peek().map(|Reverse(waiting)| waiting.release)
    }

    /// The next packet that is due by `now`.
    pub fn release(&mut self, now: Duration) -> Option<T> {
        self.next_release().filter(|release| *release <= now)?;
        self.queue.pop().map(|Reverse(waiting)| waiting.item)
    }
}

impl<T> Waiting<T> {
    fn key(&self) -> (Duration, u64) {
        (self.release, self.order)
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Waiting<T> {}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests;
