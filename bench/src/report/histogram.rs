//! Distributions of many positive values: buckets whose width is a 128th of their value, so that any quantile is known
//! to about 1 % however far the tail reaches.

/// Buckets of each power of two.
const PER_OCTAVE: u64 = 128;
const OCTAVE_BITS: u32 = PER_OCTAVE.trailing_zeros();
const BUCKETS: usize = ((64 - OCTAVE_BITS + 1) as usize) * PER_OCTAVE as usize;

/// How often values of each size occurred. Values are whole numbers of the recorder's unit, which `per` of them make
/// one of the unit that is shown: 1,000 for values in nanoseconds that are shown in microseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: u128,
    max: u64,
    per: f64,
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram").field("total", &self.total).field("max", &self.max).finish_non_exhaustive()
    }
}

impl Histogram {
    /// An empty one, `per` of whose values make one of the unit shown.
    pub fn new(per: f64) -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, sum: 0, max: 0, per }
    }

    /// Takes in one value.
    pub fn record(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
        self.sum += u128::from(value);
        self.max = self.max.max(value);
    }

    /// Takes in all values of another one of the same unit.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.total += other.total;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The value that a share `q` (0 to 1) of all values do not exceed, in the unit shown; NaN without values.
    pub fn quantile(&self, q: f64) -> f64 {
        let wanted = ((self.total as f64 * q).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(at).min(self.max) as f64 / self.per;
            }
        }
        f64::NAN
    }

    /// The mean, in the unit shown; NaN without values.
    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.total as f64 / self.per
    }

    /// The largest value, in the unit shown.
    pub fn max(&self) -> f64 {
        self.max as f64 / self.per
    }

    /// Points of "at most x": value, and percent of all.
    pub fn cumulative(&self) -> Vec<(f64, f64)> {
        let mut seen = 0;
        self.filled()
            .map(|(at, count)| {
                seen += count;
                (self.shown(at), seen as f64 * 100.0 / self.total as f64)
            })
            .collect()
    }

    /// Points of "larger than x": value, and percent of all; the last value has none above it and is left out.
    pub fn tail(&self) -> Vec<(f64, f64)> {
        self.cumulative().into_iter().map(|(x, share)| (x, 100.0 - share)).filter(|(_, left)| *left > 1e-9).collect()
    }

    /// Points of a histogram: value, and percent of all values in its bucket.
    pub fn shares(&self) -> Vec<(f64, f64)> {
        self.filled().map(|(at, count)| (self.shown(at), count as f64 * 100.0 / self.total as f64)).collect()
    }

    fn filled(&self) -> impl Iterator<Item = (usize, u64)> {
        self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    fn shown(&self, bucket: usize) -> f64 {
        // Zero has no place on a logarithmic axis.
        upper(bucket).clamp(1, self.max.max(1)) as f64 / self.per
    }
}

fn bucket(value: u64) -> usize {
    if value < PER_OCTAVE {
        return value as usize;
    }
    let shift = value.ilog2() - OCTAVE_BITS;
    ((u64::from(shift) + 1) * PER_OCTAVE + ((value >> shift) - PER_OCTAVE)) as usize
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PER_OCTAVE {
        return bucket;
    }
    let shift = bucket / PER_OCTAVE - 1;
    let low = (PER_OCTAVE + bucket % PER_OCTAVE) << shift;
    low + ((1 << shift) - 1)
}
