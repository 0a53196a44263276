//! What workers tell each other: datagrams that came to the wrong one, media for subscribers elsewhere, and who
//! wants what.

use dataplane_protocol::{MediaKind, TransportId};

use super::Shard;
use crate::ingress::track::SourceClock;
use crate::io::{Claims, Datagram, PeerMessage};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::rtp::RtpHeader;

use super::media::refused;

impl Shard {
    /// Takes in a message of worker `from`.
    pub fn handle_peer(&mut self, now: Instant, claims: &dyn Claims, from: u32, message: PeerMessage) {
        self.current = None;
        match message {
            PeerMessage::Datagram { transport, path, bytes } => {
                self.counters.cross_datagrams_in += 1;
                // Not ours either: dropped rather than sent round in circles.
                let key = self.transports.get(&transport).copied();
                if !key.is_some_and(|key| self.is_ours(claims, key)) {
                    self.counters.drop(DropReason::PeerStale);
                    return;
                }
                match self.pool.copy_in(bytes.as_slice()) {
                    Some(buffer) => {
                        let len = bytes.as_slice().len();
                        self.by_ring = true;
                        self.take_in(now, claims, Datagram { buffer, len, path });
                        self.by_ring = false;
                    }
                    None => self.counters.drop(DropReason::NoBuffer),
                }
            }
            PeerMessage::Media { track, sequence, bytes } => {
                self.counters.cross_media_in += 1;
                let key = self.track_ids.get(&track).copied();
                let taken = match key {
                    Some(key) => self.mirror(now, key, sequence, bytes.as_slice()),
                    None => Err(DropReason::PeerStale),
                };
                if let Err(reason) = taken {
                    self.counters.drop(reason);
                }
                // Its home may have missed that nobody listens any more.
                if let Some(key) = key.filter(|key| !self.tracks[*key].is_wanted()) {
                    self.tell_interest(claims, key, false);
                }
            }
            PeerMessage::Claimed { transport } => self.on_claimed(now, claims, transport),
            PeerMessage::Interest { track, wanted } => {
                if let Some(key) = self.track_ids.get(&track) {
                    let bit = 1 << (from & 63);
                    let mirrors = &mut self.tracks[*key].mirrors;
                    *mirrors = if wanted { *mirrors | bit } else { *mirrors & !bit };
                }
            }
            PeerMessage::KeyframeRequest { track, immediate } => {
                if let Some(key) = self.track_ids.get(&track).copied()
                    && self.tracks[key].source.is_some()
                {
                    self.current = Some(self.tracks[key].endpoint);
                    self.want_keyframe(now, claims, key, immediate);
                }
            }
            PeerMessage::Clock { track, unix_micros, rtp_timestamp } => {
                if let Some(key) = self.track_ids.get(&track) {
                    self.tracks[*key].clock = Some(SourceClock { unix_micros, rtp_timestamp });
                }
            }
        }
    }

    /// Whether a transport has been claimed by this worker, or can be by no other.
    fn is_ours(&self, claims: &dyn Claims, key: usize) -> bool {
        let endpoint = &self.endpoints[key];
        endpoint.live.is_some() || claims.is_assigned(endpoint.slot, self.config.worker)
    }

    /// Takes in a packet of a track whose home is another worker.
    fn mirror(&mut self, now: Instant, key: usize, sequence: u64, bytes: &[u8]) -> Result<(), DropReason> {
        let track = &mut *self.tracks[key];
        if !track.is_wanted() || track.source.is_some() {
            return Err(DropReason::PeerStale);
        }
        track.history_mut().accepts(sequence).map_err(refused)?;
        let header = RtpHeader::parse(bytes).map_err(|_| DropReason::RtpMalformed)?;
        let buffer = self.pool.copy_in(bytes).ok_or(DropReason::NoBuffer)?;
        let Some(packet) = track.describe(bytes, &header, track.read_extensions(bytes, &header), (sequence, buffer))
        else {
            self.pool.release(buffer);
            return Err(DropReason::RtpMalformed);
        };
        if packet.keyframe {
            track.gate.on_keyframe();
        }
        self.keep(now, key, packet, bytes.len());
        Ok(())
    }

    /// A transport has found its worker: what is wanted of its tracks here is asked for.
    fn on_claimed(&mut self, now: Instant, claims: &dyn Claims, transport: TransportId) {
        let Some(key) = self.transports.get(&transport).copied() else { return };
        for at in 0..self.endpoints[key].tracks.len() {
            let track = self.endpoints[key].tracks[at];
            if !self.tracks[track].is_wanted() || self.tracks[track].source.is_some() {
                continue;
            }
            self.tell_interest(claims, track, true);
            if self.tracks[track].kind == MediaKind::Video && !self.tracks[track].outgoing.is_empty() {
                self.want_keyframe(now, claims, track, true);
            }
        }
    }

    /// Tells a track's home whether this worker has subscribers to it.
    pub(super) fn tell_interest(&mut self, claims: &dyn Claims, key: usize, wanted: bool) {
        let track = &self.tracks[key];
        let id = track.id;
        let home = claims.owner(self.endpoints[track.endpoint].slot);
        if let Some(worker) = home.filter(|worker| *worker != self.config.worker) {
            self.tell_peer(worker, PeerMessage::Interest { track: id, wanted });
        }
    }
}
