//! A distribution of times in constant memory: 32 steps to every doubling, so that a quantile is at most 3.2 % off.

/// Steps to a doubling.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Up to 2^40 ns, 18 minutes.
const BUCKETS: usize = (STEPS as usize) * (40 - STEP_BITS as usize + 1);

/// Nanoseconds, counted.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram").field("total", &self.total).field("max", &self.max).finish_non_exhaustive()
    }
}

impl Histogram {
    /// Counts one, in nanoseconds.
    pub fn record(&mut self, ns: u64) {
        self.counts[bucket(ns).min(BUCKETS - 1)] += 1;
        self.total += 1;
        self.max = self.max.max(ns);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The longest, in nanoseconds.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The smallest time in nanoseconds that a part `q` (0 to 1) of all does not exceed; 0 when nothing was counted.
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = ((q * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(at).min(self.max);
            }
        }
        0
    }

    /// Adds what `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The distribution as (nanoseconds, part of all that is not longer), for plots.
    pub fn cumulative(&self) -> Vec<(u64, f64)> {
        let mut seen = 0;
        let mut points = Vec::new();
        for (at, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            seen += count;
            points.push((upper(at), seen as f64 / self.total as f64));
        }
        points
    }
}

/// Times below 2 × STEPS have a bucket each; above, the highest bits choose.
fn bucket(ns: u64) -> usize {
    let shift = (64 - ns.leading_zeros()).saturating_sub(STEP_BITS + 1);
    (u64::from(shift) * STEPS + (ns >> shift)) as usize
}

/// The longest time of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / STEPS).saturating_sub(1);
    ((bucket - shift * STEPS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_within_its_bucket_and_buckets_are_narrow() {
        for ns in (0..300).chain([1_000, 4_095, 4_096, 65_537, 1_000_000, 123_456_789, 1 << 39]) {
            let at = bucket(ns);
            assert!(ns <= upper(at), "{ns}");
            assert!(at == 0 || ns > upper(at - 1), "{ns}");
            assert!(upper(at) as f64 <= ns as f64 * 1.032 + 1.0, "{ns}");
        }
    }

    #[test]
    fn quantiles_of_a_known_distribution() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), 0);
        let mut other = Histogram::default();
        for ns in 1..=500 {
            histogram.record(ns * 1_000);
            other.record((ns + 500) * 1_000);
        }
        histogram.merge(&other);
        assert_eq!((histogram.count(), histogram.max(), histogram.quantile(1.0)), (1_000, 1_000_000, 1_000_000));
        for (q, expected) in [(0.5, 500_000.0), (0.99, 990_000.0)] {
            let got = histogram.quantile(q) as f64;
            assert!((got / expected - 1.0).abs() < 0.033, "{q}: {got}");
        }
        assert_eq!(histogram.cumulative().last().map(|(_, part)| *part), Some(1.0));
    }
}
