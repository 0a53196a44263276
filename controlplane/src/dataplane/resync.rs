//! What a data plane held when the control plane (re)connected to it.
//!
//! The data plane goes on forwarding while no control plane is there, so that its state is the truth. Transports that
//! this control plane did not create belong to calls of its predecessor: they are reported, for the adapter to take over.

use std::collections::HashSet;

use dataplane_protocol::{Snapshot, TransportId, TransportState};

/// Labels named in the log.
const LABELS_SHOWN: usize = 8;

/// A comparison of a snapshot with the transports that this control plane created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Transports that the data plane holds.
    pub transports: usize,
    /// Those of them in [`TransportState::Connected`].
    pub connected: usize,
    /// Tracks that it holds.
    pub tracks: usize,
    /// Subscriptions that it holds.
    pub subscriptions: usize,
    /// Held, but not created by this control plane.
    pub unknown: Vec<TransportId>,
    /// Created by this control plane, but no longer held: the data plane restarted, or removed them.
    pub lost: Vec<TransportId>,
    /// The first labels of the unknown ones, for the log.
    pub unknown_labels: Vec<String>,
}

impl Holdings {
    /// Compares. Both lists of ids come in ascending order.
    pub fn compare(snapshot: &Snapshot, created: &HashSet<TransportId>) -> Self {
        let held: HashSet<TransportId> = snapshot.transports.iter().map(|t| TransportId(t.transport)).collect();
        let mut unknown: Vec<_> = held.difference(created).copied().collect();
        let mut lost: Vec<_> = created.difference(&held).copied().collect();
        unknown.sort_unstable();
        lost.sort_unstable();
        let foreign = snapshot.transports.iter().filter(|t| !created.contains(&TransportId(t.transport)));
        Self {
            transports: snapshot.transports.len(),
            connected: snapshot.transports.iter().filter(|t| t.state() == TransportState::Connected).count(),
            tracks: snapshot.tracks.len(),
            subscriptions: snapshot.subscriptions.len(),
            unknown,
            lost,
            unknown_labels: foreign.map(|t| t.label.clone()).take(LABELS_SHOWN).collect(),
        }
    }

    pub(super) fn log(&self) {
        tracing::info!(
            transports = self.transports,
            connected = self.connected,
            tracks = self.tracks,
            subscriptions = self.subscriptions,
            "the data plane holds"
        );
        if !self.unknown.is_empty() {
            tracing::info!(
                count = self.unknown.len(),
                labels = ?self.unknown_labels,
                "transports of an earlier control plane are there"
            );
        }
        if !self.lost.is_empty() {
            tracing::warn!(count = self.lost.len(), "transports that the data plane no longer holds");
        }
    }
}
