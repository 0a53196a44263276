//! What is written down of every step, before anybody hears of it: rooms, invitations, what was negotiated, and the
//! notifications and events that are about to go out. A control plane that starts on it goes on where the last one ended.
//!
//! Each step is one transaction. A notification is kept for as long as somebody may come back for it, and numbered, so
//! that a client is told exactly what it was not told; an event until whoever gets it has it on disk.

mod records;
mod restore;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use controlplane_room::{Part, RECONNECTION_WINDOW_MS};

use super::room::{Inner, Outgoing, RoomHandle};
use crate::eventlog::{EventLog, Pending, Record};
use crate::metrics::StoreMetrics;
use crate::store::{Cursor, Keeping, Key, Write};
use records::Kind;
pub(super) use restore::Restored;

/// How long notifications are kept: clients that are gone for longer do not come back.
const NOTICE_MS: u64 = RECONNECTION_WINDOW_MS + 5_000;
/// Notifications kept of one room. Of more than a client may miss, nobody needs the oldest.
const MAX_NOTICES: usize = 2 * super::missed::MISSED_FRAMES;

/// Changes remembered for a store that takes none.
const MAX_OWED: usize = 1 << 18;

/// The only writer of the store.
#[derive(Debug)]
pub(super) struct Journal {
    keeping: Keeping,
    events: EventLog,
    metrics: StoreMetrics,
    /// The next number of a notification or event: they rise over restarts.
    next: AtomicU64,
    /// Changes that the store refused and nobody would make again: they go first. Held over each commit, so that none of
    /// them comes late.
    owed: Mutex<Vec<Write>>,
    /// Events that were recorded and are perhaps not on disk where they go, with their numbers.
    recorded: Mutex<VecDeque<(Pending, u64)>>,
}

/// What a room has not written down yet, and what it has to take back.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    parts: std::collections::BTreeSet<Part>,
    /// The session's own record.
    is_new: bool,
    /// The session has ended, and its records are gone: another one may have its name by now.
    is_over: bool,
    /// Notifications in the store: when they went out, and their numbers.
    notices: VecDeque<(u64, u64)>,
}

impl Unwritten {
    /// Of a session that has just been made.
    pub(super) fn new_session() -> Self {
        Self { is_new: true, ..Self::default() }
    }

    /// A part has changed.
    pub(super) fn add(&mut self, part: Part) {
        self.parts.insert(part);
    }

    /// What a participant has of a stream has changed.
    pub(super) fn add_receipt(&mut self, participant: &str, stream: &str) {
        self.add(Part::Receipt { participant: participant.to_owned(), stream: stream.to_owned() });
    }
}

impl Journal {
    /// A journal whose numbers begin behind `last` and the clock.
    fn new(keeping: Keeping, events: EventLog, metrics: StoreMetrics, last: u64, now_ms: u64) -> Self {
        // A million per millisecond, so that a new process begins behind the last one even if a record was lost.
        let next = AtomicU64::new((last + 1).max(now_ms.saturating_mul(1_000_000)));
        Self { keeping, events, metrics, next, owed: Mutex::default(), recorded: Mutex::default() }
    }

    /// Whether anybody reads events.
    pub(super) fn has_readers(&self) -> bool {
        self.events.is_on()
    }

    /// The number of a notification. To be drawn under the lock of its room, which then has them in order.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A place to note how far a client has been told, which is: up to now.
    pub(super) fn cursor(&self) -> Arc<Cursor> {
        self.keeping.cursors.allot(self.number())
    }

    /// Writes down what a step has changed and what goes out for it, then gives its events on. When that fails, the
    /// changes are written with those of the next step, and the room goes on.
    pub(super) fn write(&self, room: &RoomHandle, inner: &mut Inner, now_ms: u64, events: Vec<Record>) {
        let mut writes = Vec::new();
        if inner.unwritten.is_over {
            // Late steps of an ended room change nothing that is kept.
        } else if inner.room.ended() {
            writes.push(Write::Clear(room.id.clone()));
            inner.unwritten = Unwritten { is_over: true, ..Unwritten::default() };
        } else {
            self.collect(room, inner, now_ms, &mut writes);
        }
        let events: Vec<(u64, Record)> = events.into_iter().map(|event| (self.number(), event)).collect();
        let numbered = events.iter();
        writes.extend(numbered.map(|(number, event)| Write::Put(records::event_key(*number), records::json(event))));
        let is_written = self.commit(writes);
        if is_written {
            inner.unwritten.parts.clear();
            inner.unwritten.is_new = false;
        }
        self.give_on(events);
    }

    /// The control plane's own record of which data plane it works with.
    pub(super) fn write_instance(&self, instance: u64) {
        self.commit(vec![Write::Put(records::instance_key(), records::json(&instance))]);
    }

    /// Forgets events that have arrived where they go. To be called after [`Self::arrival`].
    pub(super) fn tidy(&self) {
        self.commit(Vec::new());
    }

    fn collect(&self, room: &RoomHandle, inner: &mut Inner, now_ms: u64, writes: &mut Vec<Write>) {
        if inner.unwritten.is_new {
            // Nothing of another session of this name may be left.
            writes.push(Write::Clear(room.id.clone()));
            writes.push(records::session(room));
        }
        writes.extend(inner.unwritten.parts.iter().map(|part| records::part(&room.id, inner, part)));
        let notices = &mut inner.unwritten.notices;
        for outgoing in &inner.outgoing {
            if let Outgoing::Notice { number, to, text } = outgoing {
                writes.push(records::notice(&room.id, *number, to, text));
                notices.push_back((now_ms, *number));
            }
        }
        let is_over = |(at_ms, _): &(u64, u64)| at_ms + NOTICE_MS < now_ms;
        while notices.len() > MAX_NOTICES || notices.front().is_some_and(is_over) {
            let Some((_, number)) = notices.pop_front() else { break };
            writes.push(Write::Delete(records::notice_key(&room.id, number)));
        }
    }

    /// Waits until some event has perhaps arrived where it goes.
    pub(super) async fn arrival(&self) {
        self.events.arrival().await;
    }

    fn give_on(&self, events: Vec<(u64, Record)>) {
        if !events.is_empty() {
            let mut recorded = self.recorded();
            recorded.extend(events.into_iter().map(|(number, event)| (self.events.record(event), number)));
        }
    }

    /// Gives on what an earlier run has perhaps given on already.
    fn give_again(&self, events: Vec<(u64, Record)>) {
        self.recorded().extend(events.into_iter().map(|(number, event)| (self.events.record_again(event), number)));
        self.events.has_caught_up();
    }

    fn commit(&self, writes: Vec<Write>) -> bool {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writes = [std::mem::take(&mut *owed), writes].concat();
        {
            let mut recorded = self.recorded();
            while recorded.front().is_some_and(|(pending, _)| pending.has_arrived()) {
                let Some((_, number)) = recorded.pop_front() else { break };
                writes.push(Write::Delete(records::event_key(number)));
            }
        }
        if writes.is_empty() {
            return true;
        }
        let began = std::time::Instant::now();
        match self.keeping.store.commit(&writes) {
            Ok(()) => {
                self.metrics.committed(writes.len(), began.elapsed());
                true
            }
            Err(error) => {
                self.metrics.failed();
                tracing::error!(%error, "nothing is written down: a crash now would lose it");
                // What is there is written again with the next step of its room; what is gone would not be.
                writes.retain(|write| !matches!(write, Write::Put(key, _) if key.kind != Kind::Instance as u8));
                writes.truncate(MAX_OWED);
                *owed = writes;
                false
            }
        }
    }

    fn recorded(&self) -> MutexGuard<'_, VecDeque<(Pending, u64)>> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a record of a session is.
fn key(session: &str, kind: Kind, name: impl Into<String>) -> Key {
    Key { scope: session.to_owned(), kind: kind as u8, name: name.into() }
}

#[cfg(test)]
mod tests;
