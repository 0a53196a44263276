//! What rooms hold, so that streams that flow can be held against streams that should.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One room.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) index: usize,
    pub(crate) session: String,
    members: Mutex<Vec<Member>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Member {
    /// Whether it is there now.
    is_here: bool,
    /// Since when it should receive what the others publish; also while it cannot.
    joined: Option<Instant>,
    /// Since when the others should receive its stream, likewise.
    published: Option<Instant>,
}

/// All rooms.
pub(crate) type Rooms = Vec<std::sync::Arc<Room>>;

impl Room {
    pub(crate) fn new(index: usize, session: String, members: usize) -> Self {
        Self { index, session, members: Mutex::new(vec![Member::default(); members]) }
    }

    pub(crate) fn joined(&self, member: usize, at: Instant) {
        self.change(member, |member| *member = Member { is_here: true, joined: Some(at), published: None });
    }

    pub(crate) fn published(&self, member: usize, at: Instant) {
        self.change(member, |member| member.published = Some(at));
    }

    /// It does not want to be there any more.
    pub(crate) fn left(&self, member: usize) {
        self.change(member, |member| *member = Member::default());
    }

    /// It wants to be there and is not.
    pub(crate) fn missing(&self, member: usize, publishes: bool, at: Instant) {
        self.change(member, |member| {
            member.is_here = false;
            member.joined.get_or_insert(at);
            if publishes {
                member.published.get_or_insert(at);
            }
        });
    }

    /// How many members are there.
    pub(crate) fn present(&self) -> usize {
        self.lock().iter().filter(|member| member.is_here).count()
    }

    /// Streams that should reach somebody: every one to every other member, when both have been there for `grace`, or
    /// should have been.
    pub(crate) fn expected(&self, now: Instant, grace: Duration) -> usize {
        let since = |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at) >= grace);
        let members = self.lock();
        let present = members.iter().filter(|member| since(member.joined)).count();
        let streams = members.iter().filter(|member| since(member.published)).count();
        streams * present.saturating_sub(1)
    }

    fn change(&self, member: usize, change: impl FnOnce(&mut Member)) {
        if let Some(member) = self.lock().get_mut(member) {
            change(member);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_should_reach_every_other_member() {
        let room = Room::new(0, "room".to_owned(), 4);
        let start = Instant::now();
        let second = Duration::from_secs(1);
        (0..3).for_each(|member| room.joined(member, start));
        room.published(0, start);
        room.published(1, start + 5 * second);
        assert_eq!(room.expected(start + second, 2 * second), 0, "too early to expect anything");
        assert_eq!(room.expected(start + 2 * second, 2 * second), 2);
        assert_eq!(room.expected(start + 7 * second, 2 * second), 4);
        room.left(0);
        assert_eq!((room.expected(start + 7 * second, 2 * second), room.present()), (1, 2));
    }

    #[test]
    fn who_is_thrown_out_or_not_let_in_is_expected_all_the_same() {
        let room = Room::new(0, "room".to_owned(), 3);
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let expected = |seconds| room.expected(start + seconds * second, 2 * second);
        (0..2).for_each(|member| room.joined(member, start));
        room.published(0, start);
        assert_eq!((expected(4), room.present()), (1, 2));
        room.missing(0, true, start + 4 * second);
        assert_eq!((expected(5), room.present()), (1, 1), "its stream should still flow");
        room.missing(2, true, start + 4 * second);
        assert_eq!((expected(5), expected(6)), (1, 4), "two streams, to two others each");
    }
}
