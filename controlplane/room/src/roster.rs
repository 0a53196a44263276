//! Who is in a room and who is invited, in order and found at once by id, stream or token: no input of a large room
//! costs more than one walk over its participants.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::FixedState;

use crate::input::Grant;
use crate::participant::{Invite, Participant, Stream};
use crate::saved::Part;

/// From text to something. Its seed is fixed: all keys are the server's or the application's own.
pub(crate) type Index<T> = HashMap<String, T, FixedState>;

/// The participants.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    /// In order of joining.
    participants: Vec<Participant>,
    /// What orders them beyond this process, rising, in step with `participants`.
    places: Vec<u64>,
    next_place: u64,
    positions: Index<usize>,
    /// Whose a stream is, also while the data plane still makes it.
    owners: Index<String>,
    visible: usize,
    /// What was changed and is not written down.
    pub(crate) changed: BTreeSet<Part>,
}

impl Roster {
    pub(crate) fn all(&self) -> &[Participant] {
        &self.participants
    }

    /// The ids of all for whom something holds, in order.
    pub(crate) fn ids(&self, holds: impl Fn(&Participant) -> bool) -> Vec<String> {
        self.participants.iter().filter(|p| holds(p)).map(|p| p.id.clone()).collect()
    }

    /// What orders a participant among those who joined before and after.
    pub(crate) fn place(&self, id: &str) -> Option<u64> {
        self.places.get(self.position(id)?).copied()
    }

    /// How many of them are not hidden.
    pub(crate) fn visible(&self) -> usize {
        self.visible
    }

    /// Where in [`Self::all`] a participant is.
    pub(crate) fn position(&self, id: &str) -> Option<usize> {
        self.positions.get(id).copied()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Participant> {
        self.participants.get(self.position(id)?)
    }

    /// A participant to change, of which note is taken.
    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Participant> {
        let at = self.position(id)?;
        self.changed.insert(Part::Participant(id.to_owned()));
        self.participants.get_mut(at)
    }

    pub(crate) fn publisher_of(&self, stream: &str) -> Option<&Participant> {
        let owner = self.get(self.owners.get(stream)?)?;
        owner.stream.as_ref().is_some_and(|s| s.id == stream).then_some(owner)
    }

    /// A participant to change in what it has of a stream, of which alone note is taken.
    pub(crate) fn receiver_mut(&mut self, id: &str, stream: &str) -> Option<&mut Participant> {
        let at = self.position(id)?;
        self.changed.insert(Part::Receipt { participant: id.to_owned(), stream: stream.to_owned() });
        self.participants.get_mut(at)
    }

    /// A participant to change in nothing that is kept.
    pub(crate) fn passing_mut(&mut self, id: &str) -> Option<&mut Participant> {
        let at = self.position(id)?;
        self.participants.get_mut(at)
    }

    /// Puts a participant behind those that are there, in the place that it had.
    pub(crate) fn put_back(&mut self, place: u64, participant: Participant) {
        if let Some(stream) = &participant.stream {
            self.owners.insert(stream.id.clone(), participant.id.clone());
        }
        self.next_place = self.next_place.max(place);
        self.push(participant);
    }

    pub(crate) fn push(&mut self, participant: Participant) {
        self.changed.insert(Part::Participant(participant.id.clone()));
        self.places.push(self.next_place);
        self.next_place += 1;
        self.positions.insert(participant.id.clone(), self.participants.len());
        self.visible += usize::from(participant.hidden.is_none());
        self.participants.push(participant);
    }

    /// Takes a participant out; its stream's id must have been given back.
    pub(crate) fn remove(&mut self, id: &str) -> Option<Participant> {
        let at = self.positions.remove(id)?;
        let gone = self.participants.remove(at);
        self.places.remove(at);
        self.changed.insert(Part::Participant(gone.id.clone()));
        for stream in gone.streams() {
            self.changed.insert(Part::Receipt { participant: gone.id.clone(), stream: stream.to_owned() });
        }
        for (position, participant) in self.participants.iter().enumerate().skip(at) {
            if let Some(known) = self.positions.get_mut(&participant.id) {
                *known = position;
            }
        }
        self.visible -= usize::from(gone.hidden.is_none());
        Some(gone)
    }

    /// Whether a stream id is in use or about to be.
    pub(crate) fn is_stream_taken(&self, stream: &str) -> bool {
        self.owners.contains_key(stream)
    }

    /// Sets a stream id aside for a participant.
    pub(crate) fn reserve_stream(&mut self, stream: &str, owner: &str) {
        self.owners.insert(stream.to_owned(), owner.to_owned());
    }

    /// Gives up an id that was set aside for a stream that did not come about.
    pub(crate) fn release_stream(&mut self, stream: &str) {
        self.owners.remove(stream);
    }

    /// Gives a participant a stream whose id was set aside for it; gives back the one before.
    pub(crate) fn set_stream(&mut self, id: &str, stream: Stream) -> Option<Stream> {
        self.get_mut(id)?.stream.replace(stream)
    }

    #[cfg(test)]
    pub(crate) fn is_bare(&self) -> bool {
        self.participants.is_empty() && self.positions.is_empty() && self.owners.is_empty() && self.visible == 0
    }

    pub(crate) fn take_stream(&mut self, id: &str) -> Option<Stream> {
        let stream = self.get_mut(id)?.stream.take()?;
        self.owners.remove(&stream.id);
        Some(stream)
    }
}

/// The unused invitations.
#[derive(Debug, Default)]
pub(crate) struct Invites {
    /// Oldest first, in step with `numbers`.
    invites: Vec<Invite>,
    /// What the indices know the invitations by, rising.
    numbers: Vec<u64>,
    by_token: Index<u64>,
    by_participant: Index<u64>,
    next: u64,
    /// What was changed and is not written down.
    pub(crate) changed: BTreeSet<Part>,
}

impl Invites {
    pub(crate) fn all(&self) -> &[Invite] {
        &self.invites
    }

    pub(crate) fn of(&self, participant: &str) -> Option<&Invite> {
        let number = self.by_participant.get(participant)?;
        self.invites.get(self.numbers.binary_search(number).ok()?)
    }

    /// What the invitation of a participant to be allows.
    pub(crate) fn grant_mut(&mut self, participant: &str) -> Option<&mut Grant> {
        let number = self.by_participant.get(participant)?;
        let at = self.numbers.binary_search(number).ok()?;
        self.changed.insert(Part::Invite(participant.to_owned()));
        self.invites.get_mut(at).map(|invite| &mut invite.grant)
    }

    pub(crate) fn has_token(&self, token: &str) -> bool {
        self.by_token.contains_key(token)
    }

    /// What orders the invitation of a participant among the others.
    pub(crate) fn place(&self, participant: &str) -> Option<u64> {
        self.by_participant.get(participant).copied()
    }

    /// Puts an invitation behind those that are there, in the place that it had.
    pub(crate) fn put_back(&mut self, place: u64, invite: Invite) {
        self.next = self.next.max(place);
        self.push(invite);
    }

    pub(crate) fn push(&mut self, invite: Invite) {
        self.changed.insert(Part::Invite(invite.participant.clone()));
        self.by_token.insert(invite.token.clone(), self.next);
        self.by_participant.insert(invite.participant.clone(), self.next);
        self.numbers.push(self.next);
        self.invites.push(invite);
        self.next += 1;
    }

    /// Takes an invitation out by its token.
    pub(crate) fn redeem(&mut self, token: &str) -> Option<Invite> {
        let number = *self.by_token.get(token)?;
        self.remove(number)
    }

    /// Takes an invitation out by whom it is for.
    pub(crate) fn withdraw(&mut self, participant: &str) -> Option<Invite> {
        let number = *self.by_participant.get(participant)?;
        self.remove(number)
    }

    pub(crate) fn clear(&mut self) {
        let gone = self.invites.drain(..).map(|invite| Part::Invite(invite.participant));
        let mut changed = std::mem::take(&mut self.changed);
        changed.extend(gone);
        *self = Self { next: self.next, changed, ..Self::default() };
    }

    fn remove(&mut self, number: u64) -> Option<Invite> {
        let at = self.numbers.binary_search(&number).ok()?;
        self.numbers.remove(at);
        let invite = self.invites.remove(at);
        self.by_token.remove(&invite.token);
        self.by_participant.remove(&invite.participant);
        self.changed.insert(Part::Invite(invite.participant.clone()));
        Some(invite)
    }
}
