//! Durations counted in buckets that grow with them: percentiles within 2 %, in a few kilobytes, merged by addition.

use std::time::Duration;

/// Buckets per power of two.
const STEPS: u32 = 32;
/// Values below this many microseconds have a bucket each.
const LINEAR: u64 = 2 * STEPS as u64;
/// Up to 2^36 µs, some 19 hours.
const BUCKETS: usize = (LINEAR + STEPS as u64 * 31) as usize;

/// Counted durations.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
    sum_us: u64,
    max_us: u64,
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, value: Duration) {
        let us = value.as_micros().min(u128::from(u64::MAX)) as u64;
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        self.counts[bucket(us)] += 1;
        self.total += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.counts.clone_from(&other.counts);
        } else {
            for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
                *mine += theirs;
            }
        }
        self.total += other.total;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The arithmetic mean; `None` when nothing was counted.
    pub fn mean(&self) -> Option<Duration> {
        self.sum_us.checked_div(self.total).map(Duration::from_micros)
    }

    /// The longest, exactly; `None` when nothing was counted.
    pub fn max(&self) -> Option<Duration> {
        (self.total > 0).then_some(Duration::from_micros(self.max_us))
    }

    /// The value that a share of `quantile` (0 to 1) does not exceed; `None` when nothing was counted.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let wanted = ((self.total as f64 * quantile).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return Some(Duration::from_micros(upper(index).min(self.max_us)));
            }
        }
        None
    }

    /// Upper bound of each bucket in use, with the share of values that do not exceed it: a cumulative distribution.
    pub fn distribution(&self) -> Vec<(Duration, f64)> {
        let mut seen = 0;
        let used = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        used.map(|(index, count)| {
            seen += u64::from(*count);
            (Duration::from_micros(upper(index).min(self.max_us)), seen as f64 / self.total as f64)
        })
        .collect()
    }
}

fn bucket(us: u64) -> usize {
    if us < LINEAR {
        return us as usize;
    }
    let exponent = us.ilog2() - STEPS.ilog2();
    let index = LINEAR + u64::from(exponent - 1) * u64::from(STEPS) + ((us >> exponent) - u64::from(STEPS));
    (index as usize).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper(index: usize) -> u64 {
    let index = index as u64;
    if index < LINEAR {
        return index;
    }
    let exponent = (index - LINEAR) / u64::from(STEPS) + 1;
    let step = (index - LINEAR) % u64::from(STEPS) + u64::from(STEPS);
    ((step + 1) << exponent) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_of_a_known_set() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (1..=1_000).for_each(|ms| histogram.record(Duration::from_millis(ms)));
        let near = |quantile, ms: f64| {
            let got = histogram.quantile(quantile).unwrap().as_secs_f64() * 1e3;
            assert!((got / ms - 1.0).abs() < 0.035, "{quantile}: {got} ms, not {ms}");
        };
        near(0.5, 500.0);
        near(0.99, 990.0);
        near(1.0, 1_000.0);
        assert_eq!(histogram.max(), Some(Duration::from_secs(1)));
        assert_eq!(histogram.mean(), Some(Duration::from_micros(500_500)));
    }

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket(us in 0u64..1 << 36) {
            let index = bucket(us);
            prop_assert!(us <= upper(index));
            prop_assert!(index == 0 || us > upper(index - 1));
            prop_assert!(upper(index) - us <= us / 32 + 1);
        }

        #[test]
        fn merging_is_counting_together(a in proptest::collection::vec(0u64..1 << 30, 0..50), b in proptest::collection::vec(0u64..1 << 30, 0..50)) {
            let count = |values: &[u64]| {
                let mut histogram = Histogram::default();
                values.iter().for_each(|us| histogram.record(Duration::from_micros(*us)));
                histogram
            };
            let mut merged = count(&a);
            merged.merge(&count(&b));
            let together = count(&[a, b].concat());
            prop_assert_eq!(merged.count(), together.count());
            prop_assert_eq!(merged.distribution(), together.distribution());
            prop_assert_eq!(merged.quantile(0.9), together.quantile(0.9));
        }
    }
}
