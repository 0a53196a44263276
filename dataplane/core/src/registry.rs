//! The process-wide table of transports, tracks and subscriptions.
//!
//! Every command of the control plane passes here first: what contradicts the table or the contract is refused
//! and changes nothing; what passes is entered and handed to every shard, where it cannot fail any more. The
//! table also keeps what shards do not need (labels) and completes their parts to one [`Snapshot`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dataplane_protocol::{
    CodecParameters, Command, CreateTransport, ErrorCode, Failure, Publish, RemoteParameters, Retarget, SetRemote,
    Snapshot, Subscribe, SubscriptionId, SubscriptionInfo, TrackId, TrackInfo, TransportId, TransportInfo,
    TransportState,
};

use crate::io::{ShardCommand, ShardSnapshot};

mod validate;

/// Most tracks that one transport can publish: OpenVidu needs two, a conference bridge a few dozen.
pub const MAX_TRACKS_PER_TRANSPORT: usize = 64;
/// Most subscriptions that leave by one transport.
pub const MAX_SUBSCRIPTIONS_PER_TRANSPORT: usize = 1024;

/// Bounds on the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryLimits {
    /// Most transports, also the size of the claim table.
    pub max_transports: u32,
    /// Most tracks.
    pub max_tracks: usize,
    /// Most subscriptions.
    pub max_subscriptions: usize,
}

impl RegistryLimits {
    /// Bounds for `max_transports` transports: on average 8 tracks and 64 subscriptions each.
    pub const fn for_transports(max_transports: u32) -> Self {
        Self {
            max_transports,
            max_tracks: max_transports as usize * 8,
            max_subscriptions: max_transports as usize * 64,
        }
    }
}

impl Default for RegistryLimits {
    fn default() -> Self {
        Self::for_transports(10_000)
    }
}

/// What an accepted command means for the shards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// To be given to every shard, in this order; empty when nothing changed.
    pub commands: Vec<ShardCommand>,
    /// The claim slot of a removed transport. It stays out of use until the caller knows that every shard has
    /// carried out `commands`, has reset the claim, and says so by [`Registry::release_slot`].
    pub retired_slot: Option<u32>,
}

/// The table.
#[derive(Clone, Debug, PartialEq)]
pub struct Registry {
    limits: RegistryLimits,
    transports: BTreeMap<TransportId, TransportEntry>,
    tracks: BTreeMap<TrackId, TrackEntry>,
    subscriptions: BTreeMap<SubscriptionId, Subscribe>,
    ufrags: BTreeSet<String>,
    slots: Slots,
}

#[derive(Clone, Debug, PartialEq)]
struct TransportEntry {
    slot: u32,
    ice_ufrag: String,
    label: String,
    remote: Option<RemoteParameters>,
    tracks: BTreeSet<TrackId>,
    subscriptions: BTreeSet<SubscriptionId>,
}

#[derive(Clone, Debug, PartialEq)]
struct TrackEntry {
    spec: Publish,
    subscriptions: BTreeSet<SubscriptionId>,
}

impl Registry {
    /// An empty table.
    pub fn new(limits: RegistryLimits) -> Self {
        Self {
            limits,
            transports: BTreeMap::new(),
            tracks: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            ufrags: BTreeSet::new(),
            slots: Slots::new(limits.max_transports),
        }
    }

    /// Checks a command and enters it.
    ///
    /// # Errors
    /// [`Failure`] with the reason; the table is then as it was. `Hello`, `Snapshot` and `Stats` are not about
    /// the table and give [`ErrorCode::Unsupported`].
    pub fn apply(&mut self, command: Command) -> Result<Applied, Failure> {
        match command {
            Command::CreateTransport(spec) => self.create_transport(spec),
            Command::SetRemote(set) => self.set_remote(set),
            Command::RemoveTransport(remove) => self.remove_transport(TransportId(remove.transport)),
            Command::Publish(spec) => self.publish(spec),
            Command::Unpublish(remove) => self.unpublish(TrackId(remove.track)),
            Command::Subscribe(spec) => self.subscribe(spec),
            Command::Unsubscribe(remove) => self.unsubscribe(SubscriptionId(remove.subscription)),
            Command::Retarget(change) => self.retarget(change),
            Command::Hello(_) | Command::Snapshot(_) | Command::Stats(_) => {
                Err(Failure::new(ErrorCode::Unsupported, "the command is not about the table"))
            }
        }
    }

    /// Makes a retired slot usable again; see [`Applied::retired_slot`]. Other slots are left alone.
    pub fn release_slot(&mut self, slot: u32) {
        self.slots.release(slot);
    }

    /// Number of transports.
    pub fn transports(&self) -> usize {
        self.transports.len()
    }

    /// Number of tracks.
    pub fn tracks(&self) -> usize {
        self.tracks.len()
    }

    /// Number of subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// Everything held, with what the shards know of it. What no shard owns yet is there with zero counters;
    /// what was removed since the parts were made is left out. The counters are up to the caller.
    pub fn snapshot(&self, parts: Vec<ShardSnapshot>) -> Snapshot {
        let mut transports = BTreeMap::new();
        let mut tracks = BTreeMap::new();
        let mut subscriptions = BTreeMap::new();
        for part in parts {
            transports.extend(part.transports.into_iter().map(|info| (TransportId(info.transport), info)));
            tracks.extend(part.tracks.into_iter().map(|info| (TrackId(info.track), info)));
            subscriptions.extend(part.subscriptions.into_iter().map(|info| (SubscriptionId(info.subscription), info)));
        }
        Snapshot {
            transports: self.transports.iter().map(|(id, entry)| entry.info(*id, transports.remove(id))).collect(),
            tracks: self.tracks.iter().map(|(id, entry)| entry.info(tracks.remove(id))).collect(),
            subscriptions: self
                .subscriptions
                .iter()
                .map(|(id, spec)| subscription_info(spec, subscriptions.remove(id)))
                .collect(),
            stats: None,
        }
    }

    fn create_transport(&mut self, spec: CreateTransport) -> Result<Applied, Failure> {
        validate::create_transport(&spec)?;
        let id = TransportId(spec.transport);
        if self.transports.contains_key(&id) {
            return Err(exists(format!("transport {id}")));
        }
        if self.ufrags.contains(&spec.ice_ufrag) {
            return Err(exists(format!("ice_ufrag {}", spec.ice_ufrag)));
        }
        let slot = self.slots.take().ok_or_else(|| full("transports", self.limits.max_transports as usize))?;
        self.ufrags.insert(spec.ice_ufrag.clone());
        self.transports.insert(
            id,
            TransportEntry {
                slot,
                ice_ufrag: spec.ice_ufrag.clone(),
                label: spec.label.clone(),
                remote: spec.remote.clone(),
                tracks: BTreeSet::new(),
                subscriptions: BTreeSet::new(),
            },
        );
        Ok(Applied { commands: vec![ShardCommand::CreateTransport { slot, spec }], retired_slot: None })
    }

    fn set_remote(&mut self, set: SetRemote) -> Result<Applied, Failure> {
        let transport = TransportId(set.transport);
        let entry = self.transports.get_mut(&transport).ok_or_else(|| not_found(format!("transport {transport}")))?;
        let remote = set.remote.ok_or_else(|| validate::invalid("remote is missing"))?;
        validate::remote(&remote)?;
        match &entry.remote {
            Some(known) if *known == remote => return Ok(Applied::default()),
            // The DTLS association outlives an ICE restart (RFC 8842 5.5), so that only ICE may change.
            Some(known) if known.fingerprints != remote.fingerprints || known.dtls_role != remote.dtls_role => {
                return Err(validate::invalid("remote: fingerprints and dtls_role cannot change"));
            }
            Some(_) | None => {}
        }
        entry.remote = Some(remote.clone());
        Ok(Applied { commands: vec![ShardCommand::SetRemote { transport, remote }], retired_slot: None })
    }

    fn remove_transport(&mut self, id: TransportId) -> Result<Applied, Failure> {
        let entry = self.transports.remove(&id).ok_or_else(|| not_found(format!("transport {id}")))?;
        self.ufrags.remove(&entry.ice_ufrag);
        let mut commands = Vec::with_capacity(entry.tracks.len() + 1);
        for track in &entry.tracks {
            self.drop_track(*track);
            commands.push(ShardCommand::Unpublish(*track));
        }
        for subscription in &entry.subscriptions {
            self.drop_subscription(*subscription);
        }
        commands.push(ShardCommand::RemoveTransport(id));
        self.slots.retire(entry.slot);
        Ok(Applied { commands, retired_slot: Some(entry.slot) })
    }

    fn publish(&mut self, spec: Publish) -> Result<Applied, Failure> {
        validate::publish(&spec)?;
        let (id, transport) = (TrackId(spec.track), TransportId(spec.transport));
        if self.tracks.contains_key(&id) {
            return Err(exists(format!("track {id}")));
        }
        let owner = self.transports.get(&transport).ok_or_else(|| not_found(format!("transport {transport}")))?;
        if self.tracks.len() >= self.limits.max_tracks {
            return Err(full("tracks", self.limits.max_tracks));
        }
        if owner.tracks.len() >= MAX_TRACKS_PER_TRANSPORT {
            return Err(full("tracks of the transport", MAX_TRACKS_PER_TRANSPORT));
        }
        for other in owner.tracks.iter().filter_map(|track| self.tracks.get(track)) {
            let taken = |ssrc: Option<u32>| ssrc.is_some() && (ssrc == other.spec.ssrc || ssrc == other.spec.rtx_ssrc);
            if taken(spec.ssrc) || taken(spec.rtx_ssrc) {
                return Err(exists(format!("ssrc, by track {}", other.spec.track)));
            }
            // Simulcast layers share an m-line.
            let are_layers = !spec.rid.is_empty() && !other.spec.rid.is_empty() && spec.rid != other.spec.rid;
            if !spec.mid.is_empty() && spec.mid == other.spec.mid && !are_layers {
                return Err(exists(format!("mid, by track {}", other.spec.track)));
            }
        }
        if let Some(owner) = self.transports.get_mut(&transport) {
            owner.tracks.insert(id);
        }
        self.tracks.insert(id, TrackEntry { spec: spec.clone(), subscriptions: BTreeSet::new() });
        Ok(Applied { commands: vec![ShardCommand::Publish(spec)], retired_slot: None })
    }

    fn unpublish(&mut self, id: TrackId) -> Result<Applied, Failure> {
        let entry = self.drop_track(id).ok_or_else(|| not_found(format!("track {id}")))?;
        if let Some(owner) = self.transports.get_mut(&TransportId(entry.spec.transport)) {
            owner.tracks.remove(&id);
        }
        Ok(Applied { commands: vec![ShardCommand::Unpublish(id)], retired_slot: None })
    }

    fn subscribe(&mut self, spec: Subscribe) -> Result<Applied, Failure> {
        validate::subscribe(&spec)?;
        let id = SubscriptionId(spec.subscription);
        let transport = TransportId(spec.transport);
        if self.subscriptions.contains_key(&id) {
            return Err(exists(format!("subscription {id}")));
        }
        let owner = self.transports.get(&transport).ok_or_else(|| not_found(format!("transport {transport}")))?;
        self.check_sources(spec.codec.as_ref(), spec.track, &spec.higher)?;
        if self.subscriptions.len() >= self.limits.max_subscriptions {
            return Err(full("subscriptions", self.limits.max_subscriptions));
        }
        if owner.subscriptions.len() >= MAX_SUBSCRIPTIONS_PER_TRANSPORT {
            return Err(full("subscriptions of the transport", MAX_SUBSCRIPTIONS_PER_TRANSPORT));
        }
        for other in owner.subscriptions.iter().filter_map(|subscription| self.subscriptions.get(subscription)) {
            let taken = |ssrc: u32| ssrc == other.ssrc || Some(ssrc) == other.rtx_ssrc;
            if taken(spec.ssrc) || spec.rtx_ssrc.is_some_and(taken) {
                return Err(exists(format!("ssrc, by subscription {}", other.subscription)));
            }
            if !spec.mid.is_empty() && spec.mid == other.mid {
                return Err(exists(format!("mid, by subscription {}", other.subscription)));
            }
        }
        if let Some(owner) = self.transports.get_mut(&transport) {
            owner.subscriptions.insert(id);
        }
        self.enlist(id, spec.track, &spec.higher);
        self.subscriptions.insert(id, spec.clone());
        Ok(Applied { commands: vec![ShardCommand::Subscribe(spec)], retired_slot: None })
    }

    fn retarget(&mut self, change: Retarget) -> Result<Applied, Failure> {
        let id = SubscriptionId(change.subscription);
        let spec = self.subscriptions.get(&id).ok_or_else(|| not_found(format!("subscription {id}")))?;
        self.check_sources(spec.codec.as_ref(), change.track, &change.higher)?;
        self.strike_out(id);
        self.enlist(id, change.track, &change.higher);
        if let Some(spec) = self.subscriptions.get_mut(&id) {
            spec.track = change.track;
            spec.higher.clone_from(&change.higher);
        }
        Ok(Applied { commands: vec![ShardCommand::Retarget(change)], retired_slot: None })
    }

    /// Whether a subscription with this codec can be sent from these tracks.
    fn check_sources(&self, codec: Option<&CodecParameters>, lowest: u64, higher: &[u64]) -> Result<(), Failure> {
        validate::sources(lowest, higher)?;
        for track in std::iter::once(lowest).chain(higher.iter().copied()).map(TrackId) {
            let entry = self.tracks.get(&track).ok_or_else(|| not_found(format!("track {track}")))?;
            validate::same_codec(codec, entry.spec.codec.as_ref())?;
        }
        Ok(())
    }

    /// Enters a subscription with its tracks.
    fn enlist(&mut self, id: SubscriptionId, lowest: u64, higher: &[u64]) {
        for track in std::iter::once(lowest).chain(higher.iter().copied()) {
            if let Some(track) = self.tracks.get_mut(&TrackId(track)) {
                track.subscriptions.insert(id);
            }
        }
    }

    /// Takes a subscription from the lists of its tracks.
    fn strike_out(&mut self, id: SubscriptionId) {
        let Some(spec) = self.subscriptions.get(&id) else { return };
        for track in std::iter::once(spec.track).chain(spec.higher.iter().copied()) {
            if let Some(track) = self.tracks.get_mut(&TrackId(track)) {
                track.subscriptions.remove(&id);
            }
        }
    }

    fn unsubscribe(&mut self, id: SubscriptionId) -> Result<Applied, Failure> {
        if !self.drop_subscription(id) {
            return Err(not_found(format!("subscription {id}")));
        }
        Ok(Applied { commands: vec![ShardCommand::Unsubscribe(id)], retired_slot: None })
    }

    /// Takes out a track and the subscriptions that have no other; its transport's entry is up to the caller.
    fn drop_track(&mut self, id: TrackId) -> Option<TrackEntry> {
        let entry = self.tracks.remove(&id)?;
        for subscription in &entry.subscriptions {
            let Some(spec) = self.subscriptions.get_mut(subscription) else { continue };
            if spec.track != id.0 {
                spec.higher.retain(|track| *track != id.0);
            } else if spec.higher.is_empty() {
                self.drop_subscription(*subscription);
            } else {
                spec.track = spec.higher.remove(0);
            }
        }
        Some(entry)
    }

    fn drop_subscription(&mut self, id: SubscriptionId) -> bool {
        self.strike_out(id);
        let Some(spec) = self.subscriptions.remove(&id) else { return false };
        if let Some(owner) = self.transports.get_mut(&TransportId(spec.transport)) {
            owner.subscriptions.remove(&id);
        }
        true
    }
}

impl TransportEntry {
    fn info(&self, id: TransportId, part: Option<TransportInfo>) -> TransportInfo {
        let known =
            part.unwrap_or_else(|| TransportInfo { state: TransportState::New as i32, ..TransportInfo::default() });
        TransportInfo { transport: id.0, label: self.label.clone(), ice_ufrag: self.ice_ufrag.clone(), ..known }
    }
}

impl TrackEntry {
    fn info(&self, part: Option<TrackInfo>) -> TrackInfo {
        TrackInfo {
            track: self.spec.track,
            transport: self.spec.transport,
            label: self.spec.label.clone(),
            kind: self.spec.kind,
            codec: self.spec.codec.as_ref().map_or(0, |codec| codec.codec),
            ..part.unwrap_or_default()
        }
    }
}

fn subscription_info(spec: &Subscribe, part: Option<SubscriptionInfo>) -> SubscriptionInfo {
    SubscriptionInfo {
        subscription: spec.subscription,
        transport: spec.transport,
        track: spec.track,
        label: spec.label.clone(),
        ..part.unwrap_or_default()
    }
}

fn not_found(what: String) -> Failure {
    Failure::new(ErrorCode::NotFound, what)
}

fn exists(what: String) -> Failure {
    Failure::new(ErrorCode::Exists, what)
}

fn full(table: &str, bound: usize) -> Failure {
    Failure::new(ErrorCode::Full, format!("{table}: at the bound of {bound}"))
}

/// Indices into the claim table: never used, in use, retired (a shard may still look at its claim), or free.
#[derive(Clone, Debug, PartialEq)]
struct Slots {
    unused: u32,
    capacity: u32,
    free: VecDeque<u32>,
    retired: BTreeSet<u32>,
}

impl Slots {
    fn new(capacity: u32) -> Self {
        Self { unused: 0, capacity, free: VecDeque::new(), retired: BTreeSet::new() }
    }

    fn take(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.pop_front() {
            return Some(slot);
        }
        (self.unused < self.capacity).then(|| {
            self.unused += 1;
            self.unused - 1
        })
    }

    fn retire(&mut self, slot: u32) {
        self.retired.insert(slot);
    }

    fn release(&mut self, slot: u32) {
        if self.retired.remove(&slot) {
            self.free.push_back(slot);
        }
    }
}

#[cfg(test)]
mod tests;
