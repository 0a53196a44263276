//! What a participant receives: at most one subscription per stream, found by its stream and kept in order.

use std::collections::BTreeMap;

use dataplane_protocol::Command;
use serde::{Deserialize, Serialize};

use crate::command::retarget;
use crate::input::SubscribedTrack;
use crate::participant::StreamTrack;
use crate::roster::Index;

/// A running subscription.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionState {
    /// The stream received.
    pub stream: String,
    /// Milliseconds since 1970.
    pub created_at: u64,
    /// The subscriber's path.
    pub transport: u64,
    /// Its media, with the data plane's subscription ids; what no track of the stream can serve any more is left out.
    pub tracks: Vec<(u64, SubscribedTrack)>,
    /// Something was left out, so that the stream must be offered anew.
    pub(crate) outdated: bool,
}

impl SubscriptionState {
    /// Goes over to other tracks, as far as they fit.
    pub(crate) fn follow(&mut self, tracks: &[StreamTrack], commands: &mut Vec<Command>) {
        let before = self.tracks.len();
        self.tracks.retain(|(subscription, wanted)| {
            let track = tracks.get(wanted.source).filter(|track| track.carries(&wanted.codec));
            commands.extend(track.map(|track| retarget(*subscription, track)));
            track.is_some()
        });
        self.outdated |= self.tracks.len() < before;
    }
}

/// The subscriptions of one participant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subscriptions {
    in_order: BTreeMap<u64, SubscriptionState>,
    by_stream: Index<u64>,
    next: u64,
}

impl Subscriptions {
    /// All of them, in order of subscribing.
    pub fn iter(&self) -> impl Iterator<Item = &SubscriptionState> {
        self.in_order.values()
    }

    /// The one of this stream.
    pub fn get(&self, stream: &str) -> Option<&SubscriptionState> {
        self.in_order.get(self.by_stream.get(stream)?)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.in_order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }

    /// Where in the order of subscribing the one of a stream is.
    pub(crate) fn number(&self, stream: &str) -> Option<u64> {
        self.by_stream.get(stream).copied()
    }

    /// Puts one back in the place that it had.
    pub(crate) fn put_back(&mut self, number: u64, subscription: SubscriptionState) {
        self.by_stream.insert(subscription.stream.clone(), number);
        self.in_order.insert(number, subscription);
        self.next = self.next.max(number + 1);
    }

    pub(crate) fn get_mut(&mut self, stream: &str) -> Option<&mut SubscriptionState> {
        self.in_order.get_mut(self.by_stream.get(stream)?)
    }

    /// Adds one; gives the one of the same stream that it replaces.
    pub(crate) fn insert(&mut self, subscription: SubscriptionState) -> Option<SubscriptionState> {
        let replaced = self.remove(&subscription.stream);
        self.by_stream.insert(subscription.stream.clone(), self.next);
        self.in_order.insert(self.next, subscription);
        self.next += 1;
        replaced
    }

    pub(crate) fn remove(&mut self, stream: &str) -> Option<SubscriptionState> {
        self.in_order.remove(&self.by_stream.remove(stream)?)
    }

    pub(crate) fn clear(&mut self) {
        self.in_order.clear();
        self.by_stream.clear();
    }
}
