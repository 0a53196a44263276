//! What was written down of a room, from nothing but the parts that it says have changed.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};

use crate::*;

#[derive(Clone, Debug)]
enum Value {
    Participant(u64, Box<Participant>),
    Invite(u64, Invite),
    Receipt(Receipt),
}

#[derive(Debug, Default)]
pub(in crate::tests) struct Kept(BTreeMap<Part, Value>);

impl Kept {
    pub(in crate::tests) fn write(&mut self, room: &mut Room) {
        for part in room.take_changed() {
            match value(room, &part) {
                Some(value) => self.0.insert(part, value),
                None => self.0.remove(&part),
            };
        }
    }

    /// The room again, by way of text.
    pub(in crate::tests) fn restore(&self, lost_until: u64) -> Room {
        let mut saved = Saved::default();
        for (part, value) in self.0.iter().rev() {
            match (part, value.clone()) {
                (_, Value::Participant(place, value)) => saved.participants.push((place, reread(&*value))),
                (_, Value::Invite(place, value)) => saved.invites.push((place, reread(&value))),
                (Part::Receipt { participant, stream }, Value::Receipt(value)) => {
                    saved.receipts.push((participant.clone(), stream.clone(), reread(&value)));
                }
                (part, value) => panic!("{part:?} is no {value:?}"),
            }
        }
        Room::restore("room", saved, lost_until)
    }
}

fn value(room: &Room, part: &Part) -> Option<Value> {
    match part {
        Part::Participant(id) => Some(Value::Participant(room.place_of(id)?, room.participant(id)?.clone().into())),
        Part::Invite(id) => Some(Value::Invite(room.place_of_invite(id)?, room.invite_of(id)?.clone())),
        Part::Receipt { participant, stream } => {
            Some(room.receipt(participant, stream)).filter(|receipt| !receipt.is_empty()).map(Value::Receipt)
        }
    }
}

fn reread<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}
