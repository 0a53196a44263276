//! The records of a session, as JSON: members may be added with defaults, never change their meaning.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use controlplane_room::{Invite, Part, Participant, Receipt};
use serde::{Deserialize, Serialize};

use super::key;
use crate::openvidu::dto::{ConnectionProperties, SessionProperties};
use crate::openvidu::room::{Inner, Negotiated, RoomHandle};
use crate::openvidu::session::RpcSession;
use crate::sdp::SubscribePlan;
use crate::store::{Key, Write};

/// Kinds of records. The numbers are in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Of the session itself.
    Session = 1,
    /// By connection id.
    Participant = 2,
    /// By connection id.
    Invite = 3,
    /// By connection id, `/`, stream id.
    Receipt = 4,
    /// By number.
    Notice = 5,
    /// By number, of no session: events outlive it.
    Event = 6,
    /// The data plane's instance, of no session.
    Instance = 7,
}

impl Kind {
    pub(super) const ALL: [Self; 7] =
        [Self::Session, Self::Participant, Self::Invite, Self::Receipt, Self::Notice, Self::Event, Self::Instance];
}

#[derive(Serialize, Deserialize)]
pub(super) struct SessionRecord<'a> {
    pub(super) created_at: u64,
    pub(super) properties: Cow<'a, SessionProperties>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ParticipantRecord<'a> {
    pub(super) place: u64,
    pub(super) participant: Cow<'a, Participant>,
    pub(super) properties: Option<Arc<ConnectionProperties>>,
    pub(super) seat: Option<SeatRecord<'a>>,
    /// With whom it publishes.
    pub(super) negotiated: Option<Cow<'a, Negotiated>>,
}

/// Who may come back for a participant.
#[derive(Serialize, Deserialize)]
pub(super) struct SeatRecord<'a> {
    /// The RPC session's secret id.
    pub(super) id: Cow<'a, str>,
    pub(super) user: Cow<'a, str>,
    pub(super) address: Cow<'a, str>,
    pub(super) has_published: bool,
    /// Its place among the cursors.
    pub(super) cursor: Option<u32>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct InviteRecord<'a> {
    pub(super) place: u64,
    pub(super) invite: Cow<'a, Invite>,
    pub(super) properties: Option<Arc<ConnectionProperties>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ReceiptRecord<'a> {
    pub(super) receipt: Receipt,
    /// What was offered and is not answered.
    pub(super) offer: Option<Cow<'a, SubscribePlan>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct NoticeRecord<'a> {
    pub(super) to: Vec<Cow<'a, str>>,
    pub(super) text: Cow<'a, str>,
}

pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    // Maps with other keys than text could fail; there are none.
    serde_json::to_vec(value).unwrap_or_default()
}

pub(super) fn session(room: &RoomHandle) -> Write {
    let record = SessionRecord { created_at: room.created_at, properties: Cow::Borrowed(&room.properties) };
    Write::Put(key(&room.id, Kind::Session, ""), json(&record))
}

/// A part as it is now; removed when it is not there any more.
pub(super) fn part(session: &str, inner: &Inner, part: &Part) -> Write {
    let (key, value) = match part {
        Part::Participant(id) => (key(session, Kind::Participant, id), participant(inner, id)),
        Part::Invite(id) => (key(session, Kind::Invite, id), invite(inner, id)),
        Part::Receipt { participant, stream } => {
            (key(session, Kind::Receipt, format!("{participant}/{stream}")), receipt(inner, participant, stream))
        }
    };
    match value {
        Some(value) => Write::Put(key, value),
        None => Write::Delete(key),
    }
}

fn participant(inner: &Inner, id: &str) -> Option<Vec<u8>> {
    let participant = inner.room.participant(id)?;
    let stream = participant.stream.as_ref();
    Some(json(&ParticipantRecord {
        place: inner.room.place_of(id)?,
        participant: Cow::Borrowed(participant),
        properties: inner.connections.get(id).cloned(),
        seat: inner.peers.get(id).map(|peer| seat(peer)),
        negotiated: stream.and_then(|stream| inner.published.get(&stream.id)).map(Cow::Borrowed),
    }))
}

fn seat(peer: &RpcSession) -> SeatRecord<'_> {
    SeatRecord {
        id: peer.id.as_str().into(),
        user: peer.user.as_str().into(),
        address: peer.address.as_str().into(),
        has_published: peer.has_published.get().is_some(),
        cursor: peer.cursor.get().map(|cursor| cursor.place()),
    }
}

fn invite(inner: &Inner, id: &str) -> Option<Vec<u8>> {
    Some(json(&InviteRecord {
        place: inner.room.place_of_invite(id)?,
        invite: Cow::Borrowed(inner.room.invite_of(id)?),
        properties: inner.connections.get(id).cloned(),
    }))
}

fn receipt(inner: &Inner, participant: &str, stream: &str) -> Option<Vec<u8>> {
    let receipt = inner.room.receipt(participant, stream);
    if receipt.is_empty() {
        return None;
    }
    let offer = receipt.prepared.and_then(|_| inner.offer(participant, stream)).map(Cow::Borrowed);
    Some(json(&ReceiptRecord { receipt, offer }))
}

pub(super) fn notice(session: &str, number: u64, to: &[(String, Arc<RpcSession>)], text: &Utf8Bytes) -> Write {
    let to = to.iter().map(|(id, _)| id.as_str().into()).collect();
    Write::Put(notice_key(session, number), json(&NoticeRecord { to, text: text.as_str().into() }))
}

pub(super) fn notice_key(session: &str, number: u64) -> Key {
    key(session, Kind::Notice, in_order(number))
}

pub(super) fn event_key(number: u64) -> Key {
    key("", Kind::Event, in_order(number))
}

pub(super) fn instance_key() -> Key {
    key("", Kind::Instance, "")
}

/// A name that sorts like the number.
fn in_order(number: u64) -> String {
    format!("{number:020}")
}
