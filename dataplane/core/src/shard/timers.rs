//! What is due on an endpoint: feedback, NACKs and keyframe requests to its publisher, reports, consent.

use dataplane_protocol::{MediaKind, TransportState};

use super::Shard;
use crate::ingress::nack::MAX_MISSING;
use crate::io::Claims;
use crate::time::Instant;

impl Shard {
    pub(super) fn run_timers(&mut self, now: Instant, claims: &dyn Claims, key: usize) {
        for at in 0..self.endpoints[key].tracks.len() {
            let track = self.endpoints[key].tracks[at];
            self.run_keyframes(now, claims, track);
            self.run_nacks(now, key, track);
            self.expire_history(now, track);
        }
        self.run_feedback(now, key);
        self.run_transport(now, claims, key);
        self.schedule_next(key);
    }

    fn run_keyframes(&mut self, now: Instant, claims: &dyn Claims, key: usize) {
        let track = &mut *self.tracks[key];
        if track.gate.poll(now) {
            track.wants_keyframe = false;
            self.ask_for_keyframe(claims, key, false);
        } else if track.wants_keyframe && track.kind == MediaKind::Video {
            self.want_keyframe(now, claims, key, false);
        }
    }

    fn run_nacks(&mut self, now: Instant, endpoint: usize, key: usize) {
        let track = &mut *self.tracks[key];
        let Some(source) = track.source.as_mut() else { return };
        if source.nacks.due().is_none_or(|due| due > now) {
            return;
        }
        let mut lost = [0; MAX_MISSING];
        let count = source.nacks.poll(now, &mut lost);
        source.nacked += count as u64;
        let Some(media) = source.ssrc else { return };
        // On the track's scale; the publisher counts on its own.
        let offset = source.sequence_offset as u16;
        for sequence in &mut lost[..count] {
            *sequence = sequence.wrapping_sub(offset);
        }
        if count > 0 {
            self.send_feedback(endpoint, |writer, sender| writer.nack(sender, media, &lost[..count]));
        }
    }

    /// Lets go of what a track that has fallen silent need not keep; one that flows does so itself.
    fn expire_history(&mut self, now: Instant, key: usize) {
        if let Some(history) = self.tracks[key].history.as_mut() {
            history.expire(now, &mut self.pool);
        }
    }

    fn run_feedback(&mut self, now: Instant, key: usize) {
        loop {
            let Some(live) = self.endpoints[key].live.as_mut() else { return };
            if !live.is_connected() || live.feedback.due().is_none_or(|due| due > now) {
                return;
            }
            let mut feedback = std::mem::take(&mut live.feedback);
            let media = live.bindings.first().map_or(0, |binding| binding.ssrc);
            self.send_feedback(key, |writer, sender| feedback.write(now, writer, sender, media));
            if let Some(live) = self.endpoints[key].live.as_mut() {
                live.feedback = feedback;
            }
        }
    }

    fn run_transport(&mut self, now: Instant, claims: &dyn Claims, key: usize) {
        let Some(live) = self.endpoints[key].live.as_mut() else { return };
        if live.state == TransportState::Connected && !live.paths.consents(now) {
            live.state = TransportState::Disconnected;
            self.tell_state(key);
            return;
        }
        if live.is_connected() && live.report_due <= now {
            self.send_reports(now, key);
            self.renew_interest(now, claims, key);
        }
    }

    /// Asks again for the tracks of other workers: the first word may have met a full ring. Their publishers have no
    /// timers here, so that this is also where silent mirrors let go of their packets.
    fn renew_interest(&mut self, now: Instant, claims: &dyn Claims, key: usize) {
        for at in 0..self.endpoints[key].subscriptions.len() {
            for source in 0.. {
                let wanted = &self.endpoints[key].subscriptions[at];
                let Some(track) = wanted.sources.get(source).copied().filter(|_| wanted.active) else { break };
                if self.tracks[track].source.is_none() {
                    self.expire_history(now, track);
                    self.tell_interest(claims, track, true);
                }
            }
        }
    }

    fn schedule_next(&mut self, key: usize) {
        let endpoint = &self.endpoints[key];
        let mut next = Instant::FAR_FUTURE;
        for track in &endpoint.tracks {
            let track = &self.tracks[*track];
            let nacks = track.source.as_ref().and_then(|source| source.nacks.due());
            for due in [track.gate.due(), nacks].into_iter().flatten() {
                next = next.min(due);
            }
        }
        // A transport that has ended, or whose client has not consented, has nothing due of its own.
        if let Some(live) = endpoint.live.as_ref().filter(|live| live.is_connected()) {
            next = next.min(live.report_due).min(live.paths.consent_ends());
            if let Some(due) = live.feedback.due() {
                next = next.min(due);
            }
        }
        if next != Instant::FAR_FUTURE {
            self.wheel.schedule(key as u32, next);
        }
    }
}
