//! Lanes against receivers in virtual time.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::lanes::{Delivery, Lanes, Outcome, PARALLEL};

const DAY: u64 = 86_400_000;
const TIMEOUT: u64 = 10_000;

/// A run of events against a receiver, from time 0.
struct Run {
    lanes: Lanes,
    now: u64,
    /// Ends of deliveries under way, by time and number.
    ends: BTreeMap<(u64, u64), (Delivery, Outcome)>,
    started: u64,
    random: u64,
    /// Numbers and times of arrival, by session.
    arrived: HashMap<String, Vec<(u64, u64)>>,
    expired: Vec<u64>,
    attempts: u64,
}

impl Run {
    /// `events` per session, all at time 0, one session after the other in turn.
    fn new(sessions: u64, events: u64, max_age: u64) -> Self {
        let mut lanes = Lanes::new(max_age);
        for n in 0..sessions * events {
            lanes.push(n + 1, 0, &format!("s{}", n % sessions));
        }
        Self {
            lanes,
            now: 0,
            ends: BTreeMap::new(),
            started: 0,
            random: 7,
            arrived: HashMap::new(),
            expired: Vec::new(),
            attempts: 0,
        }
    }

    fn jitter(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 40) as f64 / (1u64 << 24) as f64
    }

    /// Goes on until nothing waits. `receiver` gives what becomes of a delivery that starts now, and after how long.
    fn until_done(&mut self, mut receiver: impl FnMut(u64, &Delivery) -> (Outcome, u64)) {
        while self.lanes.len() > 0 {
            self.expired.extend(std::iter::from_fn(|| self.lanes.expired(self.now)));
            while let Some(delivery) = self.lanes.next(self.now) {
                self.attempts += 1;
                let (outcome, took) = receiver(self.now, &delivery);
                self.started += 1;
                self.ends.insert((self.now + took, self.started), (delivery, outcome));
                let under_way: HashSet<_> = self.ends.values().map(|(delivery, _)| &delivery.session).collect();
                assert_eq!(under_way.len(), self.ends.len(), "two of one session at once");
                assert!(self.ends.len() <= PARALLEL);
            }
            let end = self.ends.first_key_value().map(|((at, _), _)| *at);
            // The worker looks every second for what is too old.
            let next = [end, self.lanes.wake_at(), Some(self.now + 1_000)].into_iter().flatten().min().unwrap();
            assert!(next > self.now || end.is_some_and(|end| end <= self.now), "it turns in circles");
            self.now = self.now.max(next);
            while let Some(entry) = self.ends.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (delivery, outcome) = entry.remove();
                if outcome == Outcome::Delivered {
                    self.arrived.entry(delivery.session.clone()).or_default().push((delivery.id, self.now));
                }
                let jitter = self.jitter();
                self.lanes.finished(&delivery.session, delivery.id, outcome, self.now, jitter);
            }
            assert!(self.now < 10 * DAY, "it never ends");
        }
    }

    fn assert_all_in_order(&self, sessions: u64, events: u64) {
        assert_eq!(self.arrived.len() as u64, sessions);
        for (session, arrived) in &self.arrived {
            assert_eq!(arrived.len() as u64, events, "{session}");
            assert!(arrived.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{session}: {arrived:?}");
        }
    }

    fn last_arrival(&self) -> u64 {
        self.arrived.values().flatten().map(|(_, at)| *at).max().unwrap()
    }
}

#[test]
fn a_receiver_that_was_down_gets_everything_soon_after() {
    // Refused connections, and silence until the timeout.
    for took in [1, TIMEOUT] {
        let mut run = Run::new(50, 10, DAY);
        run.until_done(|now, _| if now < 60_000 { (Outcome::Unreachable, took) } else { (Outcome::Delivered, 5) });
        run.assert_all_in_order(50, 10);
        assert!(run.last_arrival() < 60_000 + 60_000 + 2_000, "{}", run.last_arrival());
        assert!(run.attempts < 500 + 30, "{} attempts: a receiver that is down is left in peace", run.attempts);
    }
}

#[test]
fn refusals_for_a_minute_lose_nothing() {
    let mut run = Run::new(20, 10, DAY);
    run.until_done(|now, _| if now < 60_000 { (Outcome::Refused, 5) } else { (Outcome::Delivered, 5) });
    run.assert_all_in_order(20, 10);
    assert!(run.last_arrival() < 60_000 + 60_000 + 2_000);
}

#[test]
fn one_session_that_is_refused_or_hangs_delays_no_other() {
    for (outcome, took) in [(Outcome::Refused, 5), (Outcome::Unreachable, TIMEOUT)] {
        let mut run = Run::new(20, 100, DAY);
        run.until_done(|_, d| if d.session == "s3" { (outcome, took) } else { (Outcome::Delivered, 5) });
        let mut run_of_others = run.arrived.values().flatten().map(|(_, at)| *at).max().unwrap();
        assert!(!run.arrived.contains_key("s3"));
        assert_eq!(run.arrived.len(), 19);
        // 1,900 deliveries of 5 ms by 8 at a time are 1.2 s; a hang adds short pauses.
        assert!(run_of_others < 4_000, "{run_of_others}");
        assert_eq!(run.expired.len(), 100, "what nobody takes is given up after a day");
        run_of_others = run.now;
        assert!(run_of_others > DAY && run_of_others < DAY + 5_000);
        // A day of pauses of at most a minute and at least half of one, and the first few.
        assert!(run.attempts - 1_900 < 2 * 24 * 60 + 20, "{}", run.attempts);
    }
}

#[test]
fn a_slow_receiver_is_used_by_several_sessions_at_once() {
    let mut run = Run::new(16, 10, DAY);
    run.until_done(|_, _| (Outcome::Delivered, 1_000));
    run.assert_all_in_order(16, 10);
    assert_eq!(run.now, 160 * 1_000 / PARALLEL as u64);
}

#[test]
fn a_receiver_with_lapses_gets_everything_in_order() {
    for seed in 1..50 {
        let mut run = Run::new(10, 20, DAY);
        run.random = seed;
        let mut state = seed;
        run.until_done(|_, _| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed);
            match (state >> 33) % 4 {
                0 => (Outcome::Unreachable, TIMEOUT),
                1 => (Outcome::Refused, 20),
                _ => (Outcome::Delivered, 5),
            }
        });
        run.assert_all_in_order(10, 20);
    }
}

#[test]
fn what_is_forgotten_is_skipped() {
    let mut lanes = Lanes::new(DAY);
    for id in 1..=4 {
        lanes.push(id, id * 10, "s");
    }
    let first = lanes.next(100).unwrap();
    assert_eq!((first.id, lanes.oldest()), (1, Some(10)));
    assert_eq!(lanes.next(100), None, "one at a time");
    lanes.forget(1);
    lanes.forget(2);
    assert_eq!((lanes.len(), lanes.oldest()), (2, Some(30)));
    lanes.finished("s", 1, Outcome::Refused, 100, 0.0);
    assert_eq!(lanes.wake_at(), Some(350));
    assert_eq!(lanes.next(349), None);
    assert_eq!(lanes.next(350).unwrap().id, 3);
    assert_eq!(lanes.expired(DAY + 30), None);
    assert_eq!(lanes.expired(DAY + 31), Some(3));
    lanes.finished("s", 3, Outcome::Gone, 400, 0.0);
    assert_eq!(lanes.next(400).unwrap().id, 4);
    lanes.finished("s", 4, Outcome::Delivered, 400, 0.0);
    assert_eq!((lanes.len(), lanes.wake_at(), lanes.next(DAY)), (0, None, None));
}

#[test]
fn an_answer_after_silence_lets_all_lanes_try_at_once() {
    let mut lanes = Lanes::new(DAY);
    lanes.push(1, 0, "a");
    let mut now = 0;
    for _ in 0..8 {
        let delivery = lanes.next(now).unwrap();
        lanes.finished("a", delivery.id, Outcome::Refused, now, 1.0);
        now = lanes.wake_at().unwrap();
    }
    // The last pause has just begun when silence does.
    now -= 59_000;
    lanes.push(2, 0, "b");
    assert_eq!(lanes.next(now).unwrap().session, "b");
    lanes.finished("b", 2, Outcome::Unreachable, now, 1.0);
    now += 500;
    assert_eq!(lanes.wake_at(), Some(now));
    assert_eq!(lanes.next(now).unwrap().session, "b");
    assert_eq!(lanes.next(now), None, "one tries for all");
    lanes.finished("b", 2, Outcome::Delivered, now, 1.0);
    assert_eq!(lanes.next(now).expect("it need not wait for its own pause").session, "a");
}

#[test]
fn patience_begins_anew_after_a_delivery() {
    let mut lanes = Lanes::new(DAY);
    lanes.push(1, 0, "s");
    lanes.push(2, 0, "s");
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let delivery = lanes.next(now).unwrap();
        lanes.finished("s", delivery.id, Outcome::Refused, now, 1.0);
        pauses.push(lanes.wake_at().unwrap() - now);
        now = lanes.wake_at().unwrap();
    }
    assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    assert_eq!(lanes.next(now).unwrap().id, 1);
    lanes.finished("s", 1, Outcome::Delivered, now, 1.0);
    assert_eq!(lanes.next(now).unwrap().id, 2);
    lanes.finished("s", 2, Outcome::Refused, now, 0.0);
    assert_eq!(lanes.wake_at(), Some(now + 250));
}
