//! Subscriptions to several tracks, layers of a simulcast or a stream that comes over another transport now: who
//! rides which, and how they change over without the client noticing more than a keyframe.

use dataplane_protocol::{MediaKind, Retarget, SubscriptionId, TrackId};

use super::fanout::{MAX_CATCH_UP, missed};
use super::{Shard, SubscriptionKey};
use crate::egress::select::{self, LOOK};
use crate::io::Claims;
use crate::time::Instant;

impl Shard {
    /// Keys of the tracks that a command names; unknown ones (a race with a removal) are left out.
    pub(super) fn sources(&self, lowest: u64, higher: &[u64]) -> Vec<usize> {
        let ids = std::iter::once(lowest).chain(higher.iter().copied());
        ids.filter_map(|id| self.track_ids.get(&TrackId(id)).copied()).collect()
    }

    /// The best of these tracks now; `None` if there are none.
    pub(super) fn best_source(&self, now: Instant, sources: &[usize]) -> Option<usize> {
        select::best(sources, |track| self.tracks[track].flows(now))
    }

    /// A packet has come of a track that some subscriptions may be sent and are not. At a keyframe those that prefer
    /// it come over; otherwise a keyframe is asked for if there are any.
    pub(super) fn consider(&mut self, now: Instant, key: usize, keyframe: Option<u64>) {
        let track = &self.tracks[key];
        if track.switch_at.is_some() || (keyframe.is_none() && now.since(track.looked_at) < LOOK) {
            return;
        }
        let wanted = track.away.iter().any(|id| self.prefers(now, *id, key));
        let track = &mut self.tracks[key];
        track.looked_at = now;
        match keyframe {
            Some(sequence) if wanted => track.switch_at = Some(sequence),
            None if wanted => {
                track.wants_keyframe = true;
                self.wheel.schedule(track.endpoint as u32, now);
            }
            _ => {}
        }
    }

    /// Whether a subscription would rather ride this track, which flows.
    fn prefers(&self, now: Instant, id: SubscriptionId, to: usize) -> bool {
        let Some(SubscriptionKey { endpoint, track: current }) = self.subscriptions.get(&id).copied() else {
            return false;
        };
        let wanted = self.endpoints[endpoint].subscriptions.iter().find(|wanted| wanted.spec.subscription == id.0);
        let steady = now.since(self.tracks[to].flows_since) >= LOOK;
        wanted.is_some_and(|wanted| {
            select::prefers(&wanted.sources, current, (to, steady), |track| self.tracks[track].flows(now))
        })
    }

    /// Brings the subscriptions over that prefer this track, to begin at the keyframe that waits in it. What of the
    /// keyframe's successors came before it (it may have been repaired) is for them to ask for again.
    pub(super) fn switch(&mut self, now: Instant, key: usize) {
        let Some(sequence) = self.tracks[key].switch_at.take() else { return };
        let mut away = std::mem::take(&mut self.tracks[key].away);
        away.retain(|id| {
            let goes = self.prefers(now, *id, key);
            if goes {
                self.change_over(*id, key);
                self.start_at(now, *id, key, sequence);
            }
            !goes
        });
        self.tracks[key].away = away;
    }

    fn start_at(&mut self, now: Instant, id: SubscriptionId, key: usize, sequence: u64) {
        let room = self.config.limits.max_resends.saturating_sub(self.resends.len());
        let track = &mut *self.tracks[key];
        let Some(history) = track.history.as_ref() else { return };
        let out = track.outgoing.iter_mut().find(|out| out.id == id);
        let (Some(packet), Some(out)) = (history.get(sequence), out) else { return };
        out.start(now, packet, self.pool.bytes(packet.buffer), (track.clock, track.clock_rate));
        self.resends.extend(missed(out, key, history, &track.pending).take(room.min(MAX_CATCH_UP)));
    }

    /// Moves an active subscription from the track that it rides to another one, where it waits to begin.
    fn change_over(&mut self, id: SubscriptionId, to: usize) {
        let Some(at) = self.subscriptions.get_mut(&id) else { return };
        let SubscriptionKey { endpoint, track: from } = *at;
        at.track = to;
        let track = &mut *self.tracks[from];
        let Some(place) = track.outgoing.iter().position(|out| out.id == id) else { return };
        let mut out = track.outgoing.swap_remove(place);
        let last = out.sequence.highest().zip(track.history.as_ref()).and_then(|(last, history)| history.get(last));
        out.leave(track.clock, last.map(|packet| (packet, self.pool.bytes(packet.buffer))));
        let endpoint = &mut self.endpoints[endpoint];
        let is_source = |wanted: &super::Wanted| wanted.spec.subscription == id.0 && wanted.sources.contains(&from);
        if endpoint.subscriptions.iter().any(is_source) {
            track.away.push(id);
        } else {
            track.subscriptions.retain(|other| *other != id);
        }
        if let Some(sending) =
            endpoint.live.as_mut().and_then(|live| live.sending.iter_mut().find(|s| s.subscription == id))
        {
            sending.track = to;
        }
        self.resends.retain(|resend| resend.subscription != id);
        self.tracks[to].outgoing.push(out);
    }

    /// Gives a subscription other tracks. It stays on the one it rides until one of them has a keyframe.
    pub(super) fn retarget(&mut self, now: Instant, claims: &dyn Claims, change: &Retarget) {
        let id = SubscriptionId(change.subscription);
        let sources = self.sources(change.track, &change.higher);
        let Some(SubscriptionKey { endpoint, track: current }) = self.subscriptions.get(&id).copied() else { return };
        let mut subscriptions = self.endpoints[endpoint].subscriptions.iter_mut();
        let Some(wanted) = subscriptions.find(|wanted| wanted.spec.subscription == id.0) else { return };
        let Some(first) = sources.first().copied() else { return };
        wanted.spec.track = change.track;
        wanted.spec.higher.clone_from(&change.higher);
        let active = wanted.active;
        let old = std::mem::replace(&mut wanted.sources, sources.clone());
        for track in sources.iter().copied().filter(|track| !old.contains(track)) {
            let listed = &mut self.tracks[track].subscriptions;
            if !listed.contains(&id) {
                listed.push(id);
            }
            if active && track != current {
                self.watch(claims, id, track);
            }
        }
        for track in old.into_iter().filter(|track| !sources.contains(track)) {
            if active && track == current {
                continue;
            }
            self.tracks[track].subscriptions.retain(|other| *other != id);
            self.tracks[track].away.retain(|other| *other != id);
            self.unwatch(claims, track);
        }
        if !active {
            if let Some(at) = self.subscriptions.get_mut(&id) {
                at.track = first;
            }
        } else if self.tracks[first].kind == MediaKind::Video
            && let Some(best) = self.best_source(now, &sources).filter(|best| *best != current)
        {
            self.want_keyframe(now, claims, best, true);
        }
    }

    /// An active subscription may be sent a track from here on.
    pub(super) fn watch(&mut self, claims: &dyn Claims, id: SubscriptionId, key: usize) {
        self.tracks[key].away.push(id);
        if self.tracks[key].source.is_none() {
            self.tell_interest(claims, key, true);
        }
    }

    /// Somebody has lost interest in a track: if nobody here is left, it need not come to this worker.
    pub(super) fn unwatch(&mut self, claims: &dyn Claims, key: usize) {
        if self.tracks[key].is_wanted() || self.tracks[key].source.is_some() {
            return;
        }
        self.tell_interest(claims, key, false);
        self.forget_pending(key);
        if let Some(history) = self.tracks[key].history.as_mut() {
            history.clear(&mut self.pool);
        }
    }

    /// A track ends that a subscription names or rides. True if the subscription goes on with another one.
    pub(super) fn outlives(&mut self, now: Instant, claims: &dyn Claims, id: SubscriptionId, ended: usize) -> bool {
        let Some(SubscriptionKey { endpoint, track: current }) = self.subscriptions.get(&id).copied() else {
            return false;
        };
        let mut subscriptions = self.endpoints[endpoint].subscriptions.iter_mut();
        let Some(wanted) = subscriptions.find(|wanted| wanted.spec.subscription == id.0) else { return false };
        wanted.sources.retain(|source| *source != ended);
        let (active, sources) = (wanted.active, wanted.sources.clone());
        let Some(next) = self.best_source(now, &sources) else { return false };
        if current != ended {
            return true;
        }
        if !active {
            if let Some(at) = self.subscriptions.get_mut(&id) {
                at.track = next;
            }
            return true;
        }
        self.change_over(id, next);
        self.tracks[next].away.retain(|other| *other != id);
        if self.tracks[next].kind == MediaKind::Video {
            self.want_keyframe(now, claims, next, true);
        }
        true
    }
}
