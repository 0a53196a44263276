//! What somebody knows of a room who reads nothing but its events.

use std::collections::BTreeMap;

use crate::*;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    people: BTreeMap<String, Person>,
    /// By participant and stream.
    media: BTreeMap<(String, String), Media>,
}

impl Ledger {
    pub(super) fn enter(&mut self, event: Event, now: u64) {
        match event {
            Event::Joined(person) => {
                assert_eq!(person.joined_at, now);
                let id = person.participant.clone();
                assert!(self.people.insert(id, person).is_none(), "joined twice");
            }
            Event::Left { person, .. } => {
                assert_eq!(self.people.remove(&person.participant).as_ref(), Some(&person));
                let theirs = |media: &Media| {
                    media.participant == person.participant || media.publisher.as_ref() == Some(&person.participant)
                };
                assert!(!self.media.values().any(theirs), "it left before its media ended");
            }
            Event::MediaBegan(media) => {
                assert_eq!(media.began_at, now);
                assert!(self.people.contains_key(&media.participant));
                if let Some(publisher) = &media.publisher {
                    let published = &self.media[&(publisher.clone(), media.stream.clone())];
                    assert_eq!((&published.publisher, &published.description), (&None, &media.description));
                }
                let key = (media.participant.clone(), media.stream.clone());
                assert!(self.media.insert(key, media).is_none(), "began twice");
            }
            Event::MediaEnded { media, .. } => {
                let key = (media.participant.clone(), media.stream.clone());
                assert_eq!(self.media.remove(&key).as_ref(), Some(&media), "it ends as it began");
            }
            Event::Signalled { from, .. } => assert!(from.is_none_or(|from| self.people.contains_key(&from))),
        }
    }

    /// The events so far tell who is there and what flows.
    pub(super) fn compare(&self, room: &Room) {
        assert!(self.people.keys().eq(room.visible().map(|p| &p.id).collect::<std::collections::BTreeSet<_>>()));
        let mut sending = 0;
        for participant in room.visible() {
            let key = |stream: &str| (participant.id.clone(), stream.to_owned());
            if let Some(stream) = &participant.stream {
                sending += 1;
                assert!(self.media[&key(&stream.id)].publisher.is_none());
            }
            for subscription in participant.subscriptions.iter() {
                assert!(self.media[&key(&subscription.stream)].publisher.is_some());
            }
        }
        assert_eq!(self.media.values().filter(|media| media.publisher.is_none()).count(), sending);
    }
}
