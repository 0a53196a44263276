//! Commands: what the tables hold. The registry has checked them, so that none can fail here; one about
//! something unknown (a race with a removal) is a no-op.

use dataplane_protocol::{
    CreateTransport, MediaKind, Publish, RemoteParameters, Subscribe, SubscriptionId, TrackId, TransportId,
};

use super::{Endpoint, Shard, SubscriptionKey, Wanted};
use crate::egress::subscription::Outgoing;
use crate::ingress::track::{Source, Track};
use crate::io::{Claims, Output, PeerMessage, ShardCommand};
use crate::time::Instant;
use crate::transport::{Binding, MAX_BINDINGS, Sending};
use crate::wire::stun::IntegrityKey;

impl Shard {
    /// Takes in a command.
    pub fn handle_command(&mut self, now: Instant, claims: &dyn Claims, command: ShardCommand) {
        self.current = None;
        match command {
            ShardCommand::CreateTransport { slot, spec } => self.create_transport(slot, &spec),
            ShardCommand::SetRemote { transport, remote } => self.set_remote(transport, &remote),
            ShardCommand::RemoveTransport(transport) => self.remove_transport(now, claims, transport),
            ShardCommand::Publish(spec) => self.publish(&spec),
            ShardCommand::Unpublish(track) => self.unpublish(now, claims, track),
            ShardCommand::Subscribe(spec) => self.subscribe(now, claims, spec),
            ShardCommand::Unsubscribe(subscription) => self.unsubscribe(claims, subscription),
            ShardCommand::Retarget(change) => self.retarget(now, claims, &change),
            ShardCommand::Snapshot { token } => {
                let part = Box::new(self.snapshot());
                self.outputs.push_back(Output::Snapshot { token, part });
            }
        }
    }

    fn create_transport(&mut self, slot: u32, spec: &CreateTransport) {
        let id = TransportId(spec.transport);
        let ufrag: Box<str> = spec.ice_ufrag.as_str().into();
        let key = self.endpoints.insert(Endpoint {
            id,
            slot,
            ufrag: ufrag.clone(),
            key: IntegrityKey::new(&spec.ice_pwd),
            remote_ufrag: spec.remote.as_ref().map(|remote| remote.ice_ufrag.as_str().into()),
            tracks: Vec::new(),
            subscriptions: Vec::new(),
            foreign: Vec::new(),
            live: None,
        });
        self.transports.insert(id, key);
        self.ufrags.insert(ufrag, key);
    }

    fn set_remote(&mut self, id: TransportId, remote: &RemoteParameters) {
        if let Some(key) = self.transports.get(&id) {
            self.endpoints[*key].remote_ufrag = Some(remote.ice_ufrag.as_str().into());
        }
    }

    fn remove_transport(&mut self, now: Instant, claims: &dyn Claims, id: TransportId) {
        let Some(key) = self.transports.remove(&id) else { return };
        for track in self.endpoints[key].tracks.clone() {
            let track = self.tracks[track].id;
            self.unpublish(now, claims, track);
        }
        let subscriptions: Vec<_> =
            self.endpoints[key].subscriptions.iter().map(|wanted| SubscriptionId(wanted.spec.subscription)).collect();
        for subscription in subscriptions {
            self.unsubscribe(claims, subscription);
        }
        self.wheel.cancel(key as u32);
        let endpoint = self.endpoints.remove(key);
        self.ufrags.remove(&endpoint.ufrag);
        for path in endpoint.foreign.iter() {
            self.routes.remove(path);
        }
        for path in endpoint.live.iter().flat_map(|live| live.paths.iter()) {
            self.forget_path(path);
        }
    }

    fn publish(&mut self, spec: &Publish) {
        let Some(endpoint) = self.transports.get(&TransportId(spec.transport)).copied() else { return };
        let track = self.tracks.insert(Box::new(Track::new(spec, endpoint)));
        self.track_ids.insert(TrackId(spec.track), track);
        self.endpoints[endpoint].tracks.push(track);
        if self.endpoints[endpoint].live.is_some() {
            self.make_home(endpoint, track);
            // Workers that knew the track before this one did have asked for it in vain.
            let transport = self.endpoints[endpoint].id;
            self.tell_all_peers(&PeerMessage::Claimed { transport });
        }
    }

    /// The track arrives on a transport of this shard.
    pub(super) fn make_home(&mut self, endpoint: usize, key: usize) {
        let track = &mut self.tracks[key];
        track.source = Some(Box::new(Source::new()));
        let Some(live) = self.endpoints[endpoint].live.as_mut() else { return };
        let named = [(track.ssrc, false), (track.rtx_ssrc, true)];
        for (ssrc, repair) in named.into_iter().filter_map(|(ssrc, repair)| Some((ssrc?, repair))) {
            if live.bindings.len() < MAX_BINDINGS {
                live.bindings.push(Binding { ssrc, track: key, repair });
            }
        }
    }

    fn unpublish(&mut self, now: Instant, claims: &dyn Claims, id: TrackId) {
        let Some(key) = self.track_ids.remove(&id) else { return };
        for subscription in std::mem::take(&mut self.tracks[key].subscriptions) {
            if self.outlives(now, claims, subscription, key) {
                continue;
            }
            let Some(at) = self.subscriptions.remove(&subscription) else { continue };
            let endpoint = &mut self.endpoints[at.endpoint];
            endpoint.subscriptions.retain(|wanted| wanted.spec.subscription != subscription.0);
            if let Some(live) = endpoint.live.as_mut() {
                live.sending.retain(|sending| sending.subscription != subscription);
            }
        }
        // Subscriptions that never became active have no BYE to send.
        while let Some(out) = self.tracks[key].outgoing.pop() {
            self.send_bye(now, &out);
        }
        self.forget_pending(key);
        let mut track = self.tracks.remove(key);
        let publisher = &mut self.endpoints[track.endpoint];
        publisher.tracks.retain(|track| *track != key);
        if let Some(live) = publisher.live.as_mut() {
            live.bindings.retain(|binding| binding.track != key);
        }
        if let Some(history) = track.history.as_mut() {
            history.clear(&mut self.pool);
        }
    }

    fn subscribe(&mut self, now: Instant, claims: &dyn Claims, spec: Subscribe) {
        let Some(endpoint) = self.transports.get(&TransportId(spec.transport)).copied() else { return };
        let sources = self.sources(spec.track, &spec.higher);
        let Some(track) = sources.first().copied() else { return };
        let id = SubscriptionId(spec.subscription);
        self.subscriptions.insert(id, SubscriptionKey { endpoint, track });
        for source in &sources {
            self.tracks[*source].subscriptions.push(id);
        }
        let wanted = &mut self.endpoints[endpoint].subscriptions;
        wanted.push(Wanted { spec, sources, active: false });
        let at = wanted.len() - 1;
        self.activate(now, claims, endpoint, at);
    }

    /// Begins the subscription at place `at` of the endpoint, if its transport is connected here.
    pub(super) fn activate(&mut self, now: Instant, claims: &dyn Claims, endpoint: usize, at: usize) {
        let seed = self.random();
        let Some(live) = self.endpoints[endpoint].live.as_ref() else { return };
        if !live.is_connected() || self.endpoints[endpoint].subscriptions[at].active {
            return;
        }
        let sources = self.endpoints[endpoint].subscriptions[at].sources.clone();
        let Some(key) = self.best_source(now, &sources) else { return };
        let wanted = &mut self.endpoints[endpoint].subscriptions[at];
        wanted.active = true;
        let track = &mut self.tracks[key];
        let out = Outgoing::new(&wanted.spec, endpoint, track.kind, seed);
        let sending = Sending { ssrc: out.ssrc, track: key, subscription: out.id };
        self.subscriptions.insert(out.id, SubscriptionKey { endpoint, track: key });
        track.outgoing.push(out);
        let (is_video, is_home) = (track.kind == MediaKind::Video, track.source.is_some());
        if let Some(live) = self.endpoints[endpoint].live.as_mut() {
            live.sending.push(sending);
        }
        if !is_home {
            self.tell_interest(claims, key, true);
        }
        for other in sources.into_iter().filter(|source| *source != key) {
            self.watch(claims, sending.subscription, other);
        }
        if is_video {
            self.want_keyframe(now, claims, key, true);
        }
    }

    fn unsubscribe(&mut self, claims: &dyn Claims, id: SubscriptionId) {
        let Some(SubscriptionKey { endpoint, track: current }) = self.subscriptions.remove(&id) else { return };
        let endpoint = &mut self.endpoints[endpoint];
        let mut tracks = vec![current];
        endpoint.subscriptions.retain(|wanted| {
            let is_it = wanted.spec.subscription == id.0;
            if is_it {
                tracks.extend(wanted.sources.iter().filter(|source| **source != current));
            }
            !is_it
        });
        if let Some(live) = endpoint.live.as_mut() {
            live.sending.retain(|sending| sending.subscription != id);
        }
        for key in tracks {
            let track = &mut self.tracks[key];
            track.subscriptions.retain(|subscription| *subscription != id);
            let was_wanted = track.is_wanted();
            track.away.retain(|subscription| *subscription != id);
            track.outgoing.retain(|out| out.id != id);
            if was_wanted {
                self.unwatch(claims, key);
            }
        }
    }

    /// Takes a track off the list of those with something pending.
    pub(super) fn forget_pending(&mut self, key: usize) {
        self.dirty.retain(|track| *track != key);
        self.resends.retain(|resend| resend.track != key);
        self.tracks[key].clear_pending();
        self.tracks[key].switch_at = None;
        self.cursor = super::fanout::Cursor::default();
    }
}
