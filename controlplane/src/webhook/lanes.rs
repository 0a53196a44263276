//! Who is delivered when: one lane per session, in order and one at a time, lanes side by side, and patience with a
//! receiver that cannot take anything now. No clock and no socket: time and outcomes are arguments.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// Deliveries under way at once.
pub(super) const PARALLEL: usize = 8;
/// Pause after the first failure in milliseconds; doubles up to [`MAX_PAUSE_MS`].
const FIRST_PAUSE_MS: u64 = 500;
const MAX_PAUSE_MS: u64 = 60_000;

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has it.
    Delivered,
    /// The receiver answered, and did not take it.
    Refused,
    /// There was no answer.
    Unreachable,
    /// It is not in the queue any more.
    Gone,
}

/// A delivery to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) id: u64,
    pub(super) at_ms: u64,
    pub(super) session: String,
}

#[derive(Debug)]
pub(super) struct Lanes {
    max_age_ms: u64,
    lanes: HashMap<String, Lane>,
    /// Lanes whose first event may go now, in this order.
    ready: VecDeque<String>,
    /// Lanes that pause, by when they go on and a number that makes it unique.
    paused: BTreeMap<(u64, u64), String>,
    next_pause: u64,
    /// All events that wait or are under way, with their times.
    pending: BTreeMap<u64, u64>,
    busy: usize,
    /// Rounds in a row in which nobody answered. While there are any, one lane tries for all.
    silences: u32,
    silent_until: u64,
}

#[derive(Debug, Default)]
struct Lane {
    /// Number and time; those that are not pending any more are skipped.
    waiting: VecDeque<(u64, u64)>,
    failures: u32,
    /// Ready, paused, or under way.
    is_placed: bool,
}

impl Lanes {
    /// Events older than `max_age_ms` are given up.
    pub(super) fn new(max_age_ms: u64) -> Self {
        Self {
            max_age_ms,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            paused: BTreeMap::new(),
            next_pause: 0,
            pending: BTreeMap::new(),
            busy: 0,
            silences: 0,
            silent_until: 0,
        }
    }

    /// Adds an event behind those of its session. Numbers rise.
    pub(super) fn push(&mut self, id: u64, at_ms: u64, session: &str) {
        self.pending.insert(id, at_ms);
        if !self.lanes.contains_key(session) {
            self.lanes.insert(session.to_owned(), Lane::default());
        }
        let Some(lane) = self.lanes.get_mut(session) else { return };
        lane.waiting.push_back((id, at_ms));
        if !std::mem::replace(&mut lane.is_placed, true) {
            self.ready.push_back(session.to_owned());
        }
    }

    /// How many events are not dealt with.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// When the oldest of them happened.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.pending.first_key_value().map(|(_, at)| *at)
    }

    /// An event is not in the queue any more.
    pub(super) fn forget(&mut self, id: u64) {
        self.pending.remove(&id);
    }

    /// An event that is too old, which is forgotten by this.
    pub(super) fn expired(&mut self, now_ms: u64) -> Option<u64> {
        let (&id, &at) = self.pending.first_key_value()?;
        (at + self.max_age_ms < now_ms).then(|| {
            self.pending.remove(&id);
            id
        })
    }

    /// The next delivery to start; to be asked until there is none.
    pub(super) fn next(&mut self, now_ms: u64) -> Option<Delivery> {
        while let Some(entry) = self.paused.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            self.ready.push_back(entry.remove());
        }
        if self.busy >= self.room() || now_ms < self.silent_until {
            return None;
        }
        while let Some(session) = self.ready.pop_front() {
            if let Some((id, at_ms)) = self.first_of(&session) {
                self.busy += 1;
                return Some(Delivery { id, at_ms, session });
            }
        }
        None
    }

    /// When to ask again, should nothing else happen.
    pub(super) fn wake_at(&self) -> Option<u64> {
        if self.busy >= self.room() {
            return None;
        }
        let first = self.paused.first_key_value().map(|((at, _), _)| *at);
        let next = if self.ready.is_empty() { first } else { Some(0) };
        next.map(|at| at.max(self.silent_until))
    }

    /// A delivery that was started has ended. `jitter`: a random number, 0 to 1.
    pub(super) fn finished(&mut self, session: &str, id: u64, outcome: Outcome, now_ms: u64, jitter: f64) {
        self.busy -= 1;
        match outcome {
            Outcome::Delivered | Outcome::Gone => {
                self.pending.remove(&id);
            }
            Outcome::Refused => {}
            // Those that were under way together are one round.
            Outcome::Unreachable if now_ms >= self.silent_until => {
                self.silences += 1;
                self.silent_until = now_ms + pause_ms(self.silences, jitter);
            }
            Outcome::Unreachable => {}
        }
        if matches!(outcome, Outcome::Delivered | Outcome::Refused) && self.silences > 0 {
            // It is back, for all lanes.
            self.silences = 0;
            self.silent_until = 0;
            self.ready.extend(std::mem::take(&mut self.paused).into_values());
        }
        let Some(lane) = self.lanes.get_mut(session) else { return };
        if matches!(outcome, Outcome::Refused | Outcome::Unreachable) {
            lane.failures += 1;
            self.paused.insert((now_ms + pause_ms(lane.failures, jitter), self.next_pause), session.to_owned());
            self.next_pause += 1;
            return;
        }
        lane.failures = 0;
        if self.first_of(session).is_some() {
            self.ready.push_back(session.to_owned());
        }
    }

    fn room(&self) -> usize {
        if self.silences > 0 { 1 } else { PARALLEL }
    }

    /// The first event of a lane that still waits; the lane goes when there is none.
    fn first_of(&mut self, session: &str) -> Option<(u64, u64)> {
        let lane = self.lanes.get_mut(session)?;
        while let Some(&(id, at_ms)) = lane.waiting.front() {
            if self.pending.contains_key(&id) {
                return Some((id, at_ms));
            }
            lane.waiting.pop_front();
        }
        self.lanes.remove(session);
        None
    }
}

/// The pause after so many failures: half of it is left to chance, so that lanes do not come back all at once.
fn pause_ms(failures: u32, jitter: f64) -> u64 {
    let whole = FIRST_PAUSE_MS.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(MAX_PAUSE_MS);
    whole / 2 + (whole as f64 / 2.0 * jitter.clamp(0.0, 1.0)) as u64
}
