//! The floor: what receiving, opening, sealing and sending alone cost. Each subscriber has its key; each packet is
//! copied, its sequence number set, sealed in place and appended to the same kind of run. There is no table, no history,
//! no decision: whatever the shard costs more than this is what an SFU costs.

use dataplane_core::srtp::{Inbound, Outbound};
use dataplane_core::wire::rtp::RtpHeader;
use dataplane_core::{Path, TxBatch};
use dataplane_protocol::SrtpProfile;

use crate::rig::{DATAGRAM, FRAME, keys, subscriber_path, tag_len};

/// Bytes of the header that the shard writes for the bench's subscriptions: fixed part, mid, send time, sequence.
const HEADER: usize = 12 + 4 + 12;

/// The floor's destinations.
pub struct Floor {
    inbound: Inbound,
    destinations: Vec<(Path, Outbound)>,
    packet: [u8; DATAGRAM],
    len: usize,
    index: u64,
    /// Whether the tags of several packets are made together, as the shard does.
    together: bool,
}

impl std::fmt::Debug for Floor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Floor").field("destinations", &self.destinations.len()).finish_non_exhaustive()
    }
}

impl Floor {
    /// As many destinations as the rig has subscribers.
    ///
    /// # Panics
    /// If the profile is `None`.
    pub fn new(subscribers: usize, profile: SrtpProfile, port: u16) -> Self {
        let keys = keys(profile);
        let destination = |n| match Outbound::new(profile, &keys.local_key, &keys.local_salt) {
            Ok(srtp) => (subscriber_path(n, port), srtp),
            Err(error) => panic!("{profile:?}: {error}"),
        };
        let inbound = match Inbound::new(profile, &keys.remote_key, &keys.remote_salt) {
            Ok(inbound) => inbound,
            Err(error) => panic!("{profile:?}: {error}"),
        };
        let mut packet = [0x5a; DATAGRAM];
        packet[..HEADER].fill(0);
        packet[0] = 0x90;
        packet[12..16].copy_from_slice(&[0xbe, 0xde, 0, 3]);
        let len = DATAGRAM - tag_len(profile);
        Self {
            inbound,
            destinations: (0..subscribers).map(destination).collect(),
            packet,
            len,
            index: 0,
            together: true,
        }
    }

    /// With every packet's tag made by itself, as most SFUs do.
    pub fn one_by_one(self) -> Self {
        Self { together: false, ..self }
    }

    /// Opens a received packet in place; whether it was one.
    pub fn open(&mut self, bytes: &mut [u8]) -> bool {
        let Ok(header) = RtpHeader::parse(bytes) else { return false };
        self.inbound.unprotect_rtp(bytes, header.header_len, header.ssrc, header.sequence).is_ok()
    }

    /// Seals one frame for every destination and gives it to `send`; returns the number of datagrams.
    pub fn frame(&mut self, batch: &mut TxBatch, mut send: impl FnMut(&TxBatch)) -> u64 {
        let mut datagrams = 0;
        for (path, srtp) in &self.destinations {
            for at in 0..FRAME as u64 {
                if !batch.has_room() {
                    batch.finish();
                    send(batch);
                    batch.clear();
                }
                let index = self.index + at;
                batch.push_sealed(*path, |out, tags| {
                    out[..self.len].copy_from_slice(&self.packet[..self.len]);
                    out[2..4].copy_from_slice(&(index as u16).to_be_bytes());
                    if self.together {
                        srtp.protect_rtp_for(tags, out, self.len, HEADER, index).ok()
                    } else {
                        srtp.protect_rtp(out, self.len, HEADER, index).ok()
                    }
                });
                datagrams += 1;
            }
        }
        self.index += FRAME as u64;
        batch.finish();
        send(batch);
        batch.clear();
        datagrams
    }
}
