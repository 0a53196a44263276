//! Rooms again from what was written down. A record that cannot be read is left out, with what hangs on it, and said.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use controlplane_room::{Part, RECONNECTION_WINDOW_MS, Room, Saved};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::Journal;
use super::records::{InviteRecord, Kind, NoticeRecord, ParticipantRecord, ReceiptRecord, SeatRecord, SessionRecord};
use crate::eventlog::{EventLog, Record};
use crate::metrics::StoreMetrics;
use crate::openvidu::dto::SessionProperties;
use crate::openvidu::outbox::Note;
use crate::openvidu::room::{Inherited, RoomHandle};
use crate::openvidu::session::{Asked, RpcSession, Seat};
use crate::store::{Cursor, Keeping, Key, StoreError, Write};

/// Where an earlier control plane ended.
pub(in crate::openvidu) struct Restored {
    pub(in crate::openvidu) journal: Arc<Journal>,
    pub(in crate::openvidu) rooms: Vec<Arc<RoomHandle>>,
    /// RPC sessions without sockets, and the queues that their workers read.
    pub(in crate::openvidu) sessions: Vec<(Arc<RpcSession>, mpsc::Receiver<Asked>)>,
    /// The data plane's instance that it worked with.
    pub(in crate::openvidu) instance: Option<u64>,
    /// Until when participants may come back; milliseconds since 1970.
    pub(in crate::openvidu) lost_until: u64,
}

/// The records of one session.
#[derive(Default)]
struct Session {
    created_at: u64,
    properties: Option<SessionProperties>,
    participants: Vec<ParticipantRecord<'static>>,
    invites: Vec<InviteRecord<'static>>,
    receipts: Vec<(String, String, ReceiptRecord<'static>)>,
    notices: Vec<(u64, NoticeRecord<'static>)>,
}

/// Everything that was found.
#[derive(Default)]
struct Found {
    sessions: BTreeMap<String, Session>,
    events: Vec<(u64, Record)>,
    instance: Option<u64>,
    last_number: u64,
    unreadable: usize,
}

impl Restored {
    /// Reads what there is.
    ///
    /// # Errors
    /// When nothing can be read.
    pub(in crate::openvidu) fn load(
        keeping: Keeping,
        events: EventLog,
        metrics: StoreMetrics,
        now_ms: u64,
    ) -> Result<Self, StoreError> {
        let found = Found::sort(keeping.store.load()?);
        if found.unreadable > 0 {
            tracing::warn!(records = found.unreadable, "records of an earlier run cannot be read and are left out");
        }
        let cursors = cursors(&keeping, &found);
        // Also behind the cursors: records of what they have passed may be gone.
        let last_number = cursors.values().map(|cursor| cursor.number()).fold(found.last_number, u64::max);
        let journal = Arc::new(Journal::new(keeping, events, metrics, last_number, now_ms));
        journal.give_again(found.events);
        let lost_until = now_ms + RECONNECTION_WINDOW_MS;
        let mut restored = Self {
            journal: journal.clone(),
            rooms: Vec::new(),
            sessions: Vec::new(),
            instance: found.instance,
            lost_until,
        };
        for (id, session) in found.sessions {
            restored.add(id, session, &cursors, now_ms);
        }
        Ok(restored)
    }

    fn add(&mut self, id: String, session: Session, cursors: &HashMap<u32, Arc<Cursor>>, now_ms: u64) {
        let Some(properties) = session.properties else {
            self.journal.commit(vec![Write::Clear(id)]);
            return;
        };
        let mut inherited = Inherited::default();
        let mut saved = Saved::default();
        let mut seats = Vec::new();
        for record in session.participants {
            let participant = record.participant.into_owned();
            let name = participant.id.clone();
            if let (Some(stream), Some(negotiated)) = (&participant.stream, record.negotiated) {
                inherited.published.insert(stream.id.clone(), negotiated.into_owned());
            }
            inherited.connections.extend(record.properties.map(|properties| (name.clone(), properties)));
            seats.extend(record.seat.map(|seat| (name, seat)));
            saved.participants.push((record.place, participant));
        }
        for record in session.invites {
            let invite = record.invite.into_owned();
            inherited.connections.extend(record.properties.map(|properties| (invite.participant.clone(), properties)));
            saved.invites.push((record.place, invite));
        }
        for (participant, stream, record) in session.receipts {
            if let Some(offer) = record.offer {
                inherited.offers.entry(participant.clone()).or_default().insert(stream.clone(), offer.into_owned());
            }
            saved.receipts.push((participant, stream, record.receipt));
        }
        // In whatever time they went out: they are taken back with the others.
        inherited.unwritten.notices = session.notices.iter().map(|(number, _)| (now_ms, *number)).collect();
        let model = Room::restore(id.clone(), saved, self.lost_until);
        let room =
            Arc::new(RoomHandle::restored(model, session.created_at, properties, self.journal.clone(), inherited));
        for (participant, seat) in seats {
            let cursor = seat.cursor.and_then(|place| cursors.get(&place)).cloned();
            let (peer, requests) = self.seat(&room, &participant, &seat, cursor);
            for (number, notice) in &session.notices {
                let is_new = peer.cursor.get().is_some_and(|cursor| cursor.number() < *number);
                if is_new && notice.to.iter().any(|to| *to == participant) {
                    // Too much to be kept is found out when it comes back.
                    let _ = peer.notify(Note::new(notice.text.as_ref().into(), *number, peer.cursor.get()));
                }
            }
            room.lock().peers.insert(participant, peer.clone());
            self.sessions.push((peer, requests));
        }
        self.rooms.push(room);
    }

    fn seat(
        &self,
        room: &Arc<RoomHandle>,
        participant: &str,
        seat: &SeatRecord<'_>,
        cursor: Option<Arc<Cursor>>,
    ) -> (Arc<RpcSession>, mpsc::Receiver<Asked>) {
        let (id, user, address) = (seat.id.to_string(), seat.user.to_string(), seat.address.to_string());
        let (peer, requests) = RpcSession::new(id, user, address);
        let _ = peer.seat.set(Seat { room: room.clone(), participant: participant.to_owned() });
        let _ = peer.join_tried.set(());
        if seat.has_published {
            let _ = peer.has_published.set(());
        }
        let cursor = cursor.unwrap_or_else(|| {
            // Its number is behind all that was sent: what it missed is unknown.
            room.lock().unwritten.add(Part::Participant(participant.to_owned()));
            self.journal.cursor()
        });
        let _ = peer.cursor.set(cursor);
        (peer, requests)
    }
}

/// The cursors of all seats, by their places.
fn cursors(keeping: &Keeping, found: &Found) -> HashMap<u32, Arc<Cursor>> {
    let seats = found.sessions.values().flat_map(|session| &session.participants);
    let mut named = BTreeMap::<u32, usize>::new();
    for place in seats.filter_map(|record| record.seat.as_ref()?.cursor) {
        *named.entry(place).or_default() += 1;
    }
    // Of two that name one place, a record is old: what either has heard is unknown.
    let places: Vec<u32> = named.into_iter().filter(|(_, count)| *count == 1).map(|(place, _)| place).collect();
    places.iter().copied().zip(keeping.cursors.resume(&places)).collect()
}

impl Found {
    fn sort(records: Vec<(Key, Vec<u8>)>) -> Self {
        let mut found = Self::default();
        for (key, value) in records {
            if found.add(&key, &value).is_none() {
                tracing::debug!(session = key.scope, kind = key.kind, name = key.name, "unreadable record");
                found.unreadable += 1;
            }
        }
        found
    }

    fn add(&mut self, key: &Key, value: &[u8]) -> Option<()> {
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == key.kind)?;
        if kind == Kind::Event {
            let number = self.number(key)?;
            self.events.push((number, read(value)?));
            return Some(());
        }
        if kind == Kind::Instance {
            self.instance = Some(read(value)?);
            return Some(());
        }
        let number = if kind == Kind::Notice { self.number(key)? } else { 0 };
        let session = self.sessions.entry(key.scope.clone()).or_default();
        match kind {
            Kind::Session => {
                let record: SessionRecord<'static> = read(value)?;
                session.created_at = record.created_at;
                session.properties = Some(record.properties.into_owned());
            }
            Kind::Participant => session.participants.push(read(value)?),
            Kind::Invite => session.invites.push(read(value)?),
            Kind::Receipt => {
                let (participant, stream) = key.name.split_once('/')?;
                session.receipts.push((participant.to_owned(), stream.to_owned(), read(value)?));
            }
            Kind::Notice => session.notices.push((number, read(value)?)),
            Kind::Event | Kind::Instance => {}
        }
        Some(())
    }

    fn number(&mut self, key: &Key) -> Option<u64> {
        let number = key.name.parse().ok()?;
        self.last_number = self.last_number.max(number);
        Some(number)
    }
}

fn read<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

impl std::fmt::Debug for Restored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restored").field("rooms", &self.rooms.len()).finish_non_exhaustive()
    }
}
