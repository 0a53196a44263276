//! Which of its tracks a subscription rides: the highest layer that flows. A change takes place where a decoder
//! can start in the new track, so that these functions only say whether a change is wanted.

use crate::time::Duration;

/// A layer that has been silent for this long while another one flows has stopped. Browsers send every layer of a
/// frame together, and repeat a still picture once a second in all of them.
pub(crate) const SILENCE: Duration = Duration::from_millis(700);
/// How often a track looks for subscriptions that would rather ride it.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// Whether a subscription to `sources` (rising) that rides `current` is to change to `to`, which flows; `steady` if
/// it has flowed for a while, so that the others have had their time to come after a common pause. A `current` that
/// is no longer among its sources is left for anything that flows.
pub(crate) fn prefers(
    sources: &[usize],
    current: usize,
    (to, steady): (usize, bool),
    flows: impl Fn(usize) -> bool,
) -> bool {
    let rank = |track: usize| sources.iter().position(|source| *source == track);
    let Some(target) = rank(to) else { return false };
    match rank(current) {
        Some(rank) if rank < target => true,
        Some(rank) if rank == target || flows(current) => false,
        Some(_) if !steady => false,
        // Down, or away: unless a better one than `to` can be had.
        _ => !sources[target + 1..].iter().any(|source| *source != current && flows(*source)),
    }
}

/// The track to begin with; `None` without sources.
pub(crate) fn best(sources: &[usize], flows: impl Fn(usize) -> bool) -> Option<usize> {
    sources.iter().rev().copied().find(|source| flows(*source)).or_else(|| sources.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: [usize; 3] = [10, 11, 12];

    #[test]
    fn the_highest_that_flows_is_begun_with() {
        assert_eq!(best(&LAYERS, |_| true), Some(12));
        assert_eq!(best(&LAYERS, |track| track == 11), Some(11));
        assert_eq!(best(&LAYERS, |_| false), Some(10));
        assert_eq!(best(&[], |_| true), None);
    }

    #[test]
    fn up_at_once_and_down_only_when_the_current_one_has_stopped() {
        assert!(prefers(&LAYERS, 10, (12, true), |_| true) && prefers(&LAYERS, 10, (11, true), |_| true));
        assert!(!prefers(&LAYERS, 12, (11, true), |_| true), "the better one still flows");
        assert!(prefers(&LAYERS, 12, (11, true), |track| track != 12));
        assert!(!prefers(&LAYERS, 12, (10, true), |track| track != 12), "11 is better than 10");
        assert!(prefers(&LAYERS, 12, (10, true), |track| track == 10));
        assert!(!prefers(&LAYERS, 12, (11, false), |track| track != 12), "12 may be about to come too");
        assert!(!prefers(&LAYERS, 11, (11, true), |_| true) && !prefers(&LAYERS, 11, (11, true), |_| false));
    }

    #[test]
    fn a_track_that_is_no_source_any_more_is_left_for_the_best() {
        assert!(prefers(&LAYERS, 9, (12, true), |_| true));
        assert!(!prefers(&LAYERS, 9, (10, true), |_| true));
        assert!(prefers(&LAYERS, 9, (10, true), |track| track == 10));
        assert!(!prefers(&LAYERS, 9, (8, true), |_| true), "not a source at all");
    }
}
