//! The ICE-lite side of one transport (RFC 8445 2.5): which paths the client may use, which one it has
//! nominated, and whether it still consents (RFC 7675).
//!
//! Nothing here is reached before a check's MESSAGE-INTEGRITY has verified.

use crate::io::Path;
use crate::time::{Duration, Instant};

/// Paths of one transport: a client with four addresses over two routes to two of ours.
pub(crate) const MAX_PATHS: usize = 16;
/// RFC 7675 5.1: consent expires 30 s after the last good check.
pub(crate) const CONSENT: Duration = Duration::from_secs(30);
/// A selected path keeps out nominations of lower priority for this long after its own last one. Clients that
/// nominate aggressively put USE-CANDIDATE into the checks of every path; those that nominate the path they
/// use repeat it at least every 2.5 s, and stop when it dies.
const NOMINATION_HOLD: Duration = Duration::from_millis(1_000);
/// Checks whose transaction ids are remembered: ten minutes of keep-alives every 2.5 s.
const REMEMBERED: usize = 256;

/// The paths of one transport.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    known: Vec<Known>,
    selected: Option<usize>,
    /// The path of `selected`, here because every frame asks for it and `known` is elsewhere in memory.
    selected_path: Option<Path>,
    last_check: Instant,
    transactions: Transactions,
}

/// The transaction ids of the last good checks, half of each: what tells a check from a copy of it.
#[derive(Debug)]
struct Transactions {
    ring: Box<[u64; REMEMBERED]>,
    next: usize,
}

impl Default for Transactions {
    fn default() -> Self {
        Self { ring: Box::new([0; REMEMBERED]), next: 0 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Known {
    path: Path,
    priority: u32,
    last_check: Instant,
    nominated: Option<Instant>,
}

/// What a good check changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// The path is new: route it here.
    pub(crate) added: bool,
    /// A path that was forgotten for it.
    pub(crate) evicted: Option<Path>,
    /// The selected path is another one than before.
    pub(crate) reselected: bool,
}

impl Paths {
    /// Whether a check is a copy, sent by somebody else: its transaction id has been seen, and it does not come
    /// from where the client is. One that is new is remembered.
    ///
    /// A verbatim copy of a check is as well signed as the check. Without this, whoever can listen in could move
    /// a client's media to an address of his own.
    pub(crate) fn is_copy(&mut self, path: Path, transaction: [u8; 12]) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = transaction;
        let id = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        if self.selected() != Some(path) && self.transactions.ring.contains(&id) {
            return true;
        }
        self.transactions.ring[self.transactions.next % REMEMBERED] = id;
        self.transactions.next = self.transactions.next.wrapping_add(1);
        false
    }

    /// Takes in an authenticated check.
    pub(crate) fn on_check(&mut self, now: Instant, path: Path, priority: u32, nominate: bool) -> Checked {
        let mut checked = Checked::default();
        self.last_check = now;
        let at = match self.known.iter().position(|known| known.path == path) {
            Some(at) => at,
            None => {
                checked.added = true;
                checked.evicted = self.make_room();
                self.known.push(Known { path, priority, last_check: now, nominated: None });
                self.known.len() - 1
            }
        };
        let known = &mut self.known[at];
        known.last_check = now;
        known.priority = priority;
        if nominate {
            known.nominated = Some(now);
        }
        let known = *known;
        let selects = match self.selected.map(|selected| self.known[selected]) {
            None => true,
            Some(current) if current.path == path => false,
            Some(_) if !nominate => false,
            Some(current) => {
                current.nominated.is_none_or(|then| now.since(then) >= NOMINATION_HOLD)
                    || known.priority >= current.priority
            }
        };
        if selects {
            self.selected = Some(at);
            self.selected_path = Some(path);
            checked.reselected = true;
        }
        checked
    }

    /// Where to send.
    pub(crate) fn selected(&self) -> Option<Path> {
        self.selected_path
    }

    /// Every path, to forget the routes of a removed transport.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Path> {
        self.known.iter().map(|known| known.path)
    }

    /// Whether the client's consent holds.
    pub(crate) fn consents(&self, now: Instant) -> bool {
        now.since(self.last_check) < CONSENT
    }

    /// When consent ends unless a check comes.
    pub(crate) fn consent_ends(&self) -> Instant {
        self.last_check + CONSENT
    }

    /// Forgets the path that was checked longest ago, but never the selected one.
    fn make_room(&mut self) -> Option<Path> {
        if self.known.len() < MAX_PATHS {
            return None;
        }
        let at = (0..self.known.len())
            .filter(|at| Some(*at) != self.selected)
            .min_by_key(|at| self.known[*at].last_check)?;
        let gone = self.known.swap_remove(at);
        if self.selected == Some(self.known.len()) {
            self.selected = Some(at);
        }
        Some(gone.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path { remote: ([192, 0, 2, 1], port).into(), local: [192, 0, 2, 9].into() }
    }

    fn at(ms: u64) -> Instant {
        Instant::default() + Duration::from_millis(ms)
    }

    #[test]
    fn the_first_check_selects_and_a_nomination_moves_it() {
        let mut paths = Paths::default();
        assert!(paths.on_check(at(0), path(1), 10, false).reselected);
        assert!(!paths.on_check(at(1), path(2), 5, false).reselected);
        assert_eq!(paths.selected(), Some(path(1)));
        assert!(paths.on_check(at(2), path(2), 5, true).reselected);
        assert_eq!(paths.selected(), Some(path(2)));
    }

    #[test]
    fn aggressive_nomination_settles_on_the_highest_priority() {
        let mut paths = Paths::default();
        for round in 0..20 {
            paths.on_check(at(round * 50), path(1), 5, true);
            paths.on_check(at(round * 50 + 1), path(2), 9, true);
            paths.on_check(at(round * 50 + 2), path(3), 7, true);
        }
        assert_eq!(paths.selected(), Some(path(2)));
    }

    #[test]
    fn a_client_that_falls_back_to_a_lower_priority_is_followed() {
        let mut paths = Paths::default();
        paths.on_check(at(0), path(1), 9, true);
        assert!(!paths.on_check(at(900), path(2), 5, true).reselected);
        assert!(paths.on_check(at(1_000), path(2), 5, true).reselected);
    }

    #[test]
    fn paths_are_bounded_and_the_selected_one_stays() {
        let mut paths = Paths::default();
        paths.on_check(at(0), path(1), 9, true);
        let mut evicted = Vec::new();
        for n in 0..100 {
            evicted.extend(paths.on_check(at(n + 1), path(100 + n as u16), 1, false).evicted);
        }
        assert_eq!(paths.iter().count(), MAX_PATHS);
        assert_eq!(paths.selected(), Some(path(1)));
        assert_eq!(evicted.len(), 101 - MAX_PATHS);
        assert!(!evicted.contains(&path(1)));
    }

    #[test]
    fn a_copy_from_elsewhere_is_told_from_a_check() {
        let mut paths = Paths::default();
        let id = |n: u8| [n; 12];
        assert!(!paths.is_copy(path(1), id(1)));
        paths.on_check(at(0), path(1), 9, true);
        assert!(!paths.is_copy(path(1), id(1)), "the client may repeat itself");
        assert!(paths.is_copy(path(2), id(1)));
        assert!(!paths.is_copy(path(2), id(2)), "a new address has new checks");
        for n in 3..=255 {
            paths.is_copy(path(1), id(n));
        }
        assert!(paths.is_copy(path(2), id(3)));
    }

    #[test]
    fn consent_lasts_thirty_seconds() {
        let mut paths = Paths::default();
        paths.on_check(at(1_000), path(1), 1, true);
        assert!(paths.consents(at(30_999)));
        assert!(!paths.consents(at(31_000)));
    }
}
