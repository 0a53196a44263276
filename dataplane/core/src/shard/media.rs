//! RTP from publishers: opened in place, bound to its track, kept as the retransmission copy.

use dataplane_protocol::{ExtensionKind, MediaKind};

use super::{Fate, Shard};
use crate::buffer::BufferId;
use crate::ingress::history::{Packet, Refused, unwrap_near};
use crate::ingress::nack::Arrival;
use crate::ingress::track::{Extensions, Track};
use crate::io::{Bytes1500, Datagram, Output, PeerMessage};
use crate::srtp::SrtpError;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::transport::{Binding, MAX_BINDINGS};
use crate::wire::rtp::{self, RtpHeader};
use crate::wire::{ext, rtp::payload_len};

/// A decrypted packet on its way into a track.
struct Incoming {
    buffer: BufferId,
    len: usize,
    header: RtpHeader,
    extensions: Extensions,
    sequence: u64,
    repair: bool,
}

impl Shard {
    pub(super) fn on_rtp(&mut self, now: Instant, key: usize, datagram: &Datagram) -> Result<Fate, DropReason> {
        let endpoint = &mut self.endpoints[key];
        let Some(live) = endpoint.live.as_mut() else { return Err(DropReason::UnknownPath) };
        let inbound = live.inbound.as_mut().ok_or(DropReason::NoKeys)?;
        let bytes = &mut self.pool.bytes_mut(datagram.buffer)[..datagram.len];
        let header = RtpHeader::parse(bytes).map_err(|_| DropReason::RtpMalformed)?;
        let opened =
            inbound.unprotect_rtp(bytes, header.header_len, header.ssrc, header.sequence).map_err(srtp_drop)?;
        let (len, index) = (opened.len, opened.index);
        self.counters.rtp_received += 1;
        let binding = match live.binding(header.ssrc) {
            Some(binding) => binding,
            None => self.bind(key, datagram.buffer, len, &header)?,
        };
        // An RFC 4588 packet has them where the packet that it repeats has.
        let extensions = self.tracks[binding.track].read_extensions(&self.pool.bytes(datagram.buffer)[..len], &header);
        if let Some(sequence) = extensions.transport_sequence {
            self.note_transport_sequence(now, key, sequence);
        }
        let (buffer, repair) = (datagram.buffer, binding.repair);
        let mut incoming = Incoming { buffer, len, header, extensions, sequence: index, repair };
        if binding.repair {
            self.unwrap_repair(binding.track, &mut incoming)?;
        } else {
            self.place(now, binding.track, &mut incoming)?;
        }
        self.store(now, binding.track, &incoming)
    }

    /// Finds the track of an SSRC that the SDP did not name: by its mid, else by its payload type alone.
    fn bind(&mut self, key: usize, buffer: BufferId, len: usize, header: &RtpHeader) -> Result<Binding, DropReason> {
        let bytes = &self.pool.bytes(buffer)[..len];
        let endpoint = &self.endpoints[key];
        let carries = |track: &Track| {
            track.payload_type == header.payload_type || track.rtx_payload_type == Some(header.payload_type)
        };
        let mut candidates = endpoint.tracks.iter().copied().filter(|track| carries(&self.tracks[*track]));
        let has = |track: &Track, kinds: &[ExtensionKind], value: &[u8]| {
            ext::elements(bytes, header).any(|(id, data)| kinds.contains(&track.extensions.kind(id)) && data == value)
        };
        // Layers of an m-line share its mid, and are told apart by their rid (RFC 8852).
        let by_ids = |track: &usize| {
            let track = &*self.tracks[*track];
            has(track, &[ExtensionKind::Mid], track.mid.as_bytes())
                && (track.rid.is_empty()
                    || has(track, &[ExtensionKind::Rid, ExtensionKind::RepairedRid], track.rid.as_bytes()))
        };
        let track = match endpoint.tracks.iter().copied().find(by_ids) {
            Some(track) if carries(&self.tracks[track]) => track,
            Some(_) => return Err(DropReason::RtpUnknownPayloadType),
            None => match (candidates.next(), candidates.next()) {
                (Some(track), None) => track,
                _ => return Err(DropReason::RtpUnknownSsrc),
            },
        };
        let repair = self.tracks[track].rtx_payload_type == Some(header.payload_type);
        let binding = Binding { ssrc: header.ssrc, track, repair };
        let Some(live) = self.endpoints[key].live.as_mut() else { return Err(DropReason::UnknownPath) };
        if live.bindings.len() >= MAX_BINDINGS {
            return Err(DropReason::TooManySsrcs);
        }
        live.bindings.push(binding);
        Ok(binding)
    }

    fn note_transport_sequence(&mut self, now: Instant, key: usize, sequence: u16) {
        let Some(live) = self.endpoints[key].live.as_mut() else { return };
        let was_due = live.feedback.due();
        live.feedback.on_packet(now, sequence);
        if let (None, Some(due)) = (was_due, live.feedback.due()) {
            self.wheel.schedule(key as u32, due);
        }
    }

    /// Puts the publisher's numbers on the track's scale: they differ once its SSRC has changed.
    fn place(&mut self, now: Instant, key: usize, incoming: &mut Incoming) -> Result<(), DropReason> {
        let track = &mut *self.tracks[key];
        if incoming.header.payload_type != track.payload_type {
            return Err(DropReason::RtpUnknownPayloadType);
        }
        let highest = track.history.as_ref().and_then(|history| history.highest());
        let Some(source) = track.source.as_mut() else { return Err(DropReason::RtpUnknownSsrc) };
        let ssrc = incoming.header.ssrc;
        if source.ssrc.replace(ssrc).is_some_and(|old| old != ssrc)
            && let Some(highest) = highest
        {
            source.splice(now, highest, incoming.sequence, incoming.header.timestamp, track.clock_rate);
            track.clock = None;
        }
        incoming.sequence = incoming.sequence.checked_add_signed(source.sequence_offset).ok_or(DropReason::TooOld)?;
        if source.timestamp_offset != 0 {
            incoming.header.timestamp = incoming.header.timestamp.wrapping_add(source.timestamp_offset);
            rtp::set_timestamp(self.pool.bytes_mut(incoming.buffer), incoming.header.timestamp);
        }
        Ok(())
    }

    /// Turns an RFC 4588 packet back into the one it repeats, in place.
    fn unwrap_repair(&mut self, key: usize, incoming: &mut Incoming) -> Result<(), DropReason> {
        let track = &mut *self.tracks[key];
        let Some(source) = track.source.as_ref() else { return Err(DropReason::RtpUnknownSsrc) };
        if Some(incoming.header.payload_type) != track.rtx_payload_type {
            return Err(DropReason::RtpUnknownPayloadType);
        }
        let at = incoming.header.header_len;
        let bytes = &mut self.pool.bytes_mut(incoming.buffer)[..incoming.len];
        // Probes for bandwidth are empty, and come before the first media packet too.
        if payload_len(bytes, &incoming.header).map_err(|_| DropReason::RtpMalformed)? < 2 {
            return Err(DropReason::Padding);
        }
        let (Some(ssrc), Some(highest)) = (source.ssrc, track.history.as_ref().and_then(|history| history.highest()))
        else {
            return Err(DropReason::TooOld);
        };
        let original = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        bytes.copy_within(at + 2.., at);
        incoming.len -= 2;
        let header = &mut incoming.header;
        header.ssrc = ssrc;
        header.payload_type = track.payload_type;
        header.timestamp = header.timestamp.wrapping_add(source.timestamp_offset);
        rtp::set_ssrc(bytes, header.ssrc);
        rtp::set_payload_type(bytes, header.payload_type);
        rtp::set_timestamp(bytes, header.timestamp);
        incoming.sequence =
            unwrap_near(highest, original.wrapping_add(source.sequence_offset as u16)).ok_or(DropReason::TooOld)?;
        Ok(())
    }

    /// Takes a packet into its track: statistics, history, and the list of what is to be fanned out.
    fn store(&mut self, now: Instant, key: usize, incoming: &Incoming) -> Result<Fate, DropReason> {
        let track = &mut *self.tracks[key];
        let clock_rate = track.clock_rate;
        let accepts = track.history_mut().accepts(incoming.sequence);
        let Some(source) = track.source.as_mut() else { return Err(DropReason::RtpUnknownSsrc) };
        if !incoming.repair {
            let timestamp = incoming.header.timestamp;
            source.reception.on_packet(now, incoming.sequence, timestamp, clock_rate, true);
        }
        accepts.map_err(refused)?;
        let bytes = &self.pool.bytes(incoming.buffer)[..incoming.len];
        let packet = track
            .describe(bytes, &incoming.header, incoming.extensions, (incoming.sequence, incoming.buffer))
            .ok_or(DropReason::RtpMalformed)?;
        let Some(source) = track.source.as_mut() else { return Err(DropReason::RtpUnknownSsrc) };
        source.packets += 1;
        source.bytes += u64::from(packet.payload.len);
        source.keyframes += u64::from(packet.keyframe && track.kind == MediaKind::Video);
        if Some(incoming.sequence) > track.history.as_ref().and_then(|history| history.highest()) {
            source.last_timestamp = packet.timestamp;
            source.last_arrival = now;
        }
        if packet.keyframe {
            track.gate.on_keyframe();
        }
        if track.nack {
            let endpoint = track.endpoint as u32;
            match source.nacks.on_packet(now, incoming.sequence) {
                Arrival::Expected => {}
                Arrival::Recovered => source.recovered += 1,
                Arrival::Gap => {
                    if let Some(due) = source.nacks.due() {
                        self.wheel.schedule(endpoint, due);
                    }
                }
                Arrival::Lost => {
                    track.wants_keyframe = track.kind == MediaKind::Video;
                    self.wheel.schedule(endpoint, now);
                }
            }
        }
        self.give_to_mirrors(key, incoming);
        self.keep(now, key, packet, incoming.len);
        Ok(Fate::Kept)
    }

    /// Puts a packet into the track's history and on the list of what is to be fanned out.
    pub(super) fn keep(&mut self, now: Instant, key: usize, mut packet: Packet, len: usize) {
        packet.buffer = self.pool.shrink(packet.buffer, len);
        let track = &mut *self.tracks[key];
        let sequence = packet.sequence;
        // Packets of padding keep a path warm that has nothing to say.
        if packet.payload.len > 0 {
            track.note_flow(now);
        }
        let Self { tracks, pool, .. } = self;
        tracks[key].history_mut().insert(now, packet, pool);
        let track = &mut *self.tracks[key];
        if !track.away.is_empty() {
            self.consider(now, key, packet.keyframe.then_some(sequence));
        }
        let track = &mut *self.tracks[key];
        if track.outgoing.is_empty() && track.switch_at.is_none() {
            return;
        }
        if track.pending.len() == track.pending.capacity() {
            self.counters.drop(DropReason::QueueFull);
            return;
        }
        track.pending.push(sequence);
        if !track.dirty {
            track.dirty = true;
            self.dirty.push(key);
        }
    }

    fn give_to_mirrors(&mut self, key: usize, incoming: &Incoming) {
        let track = &*self.tracks[key];
        let mut mirrors = track.mirrors;
        let id = track.id;
        while mirrors != 0 {
            let worker = mirrors.trailing_zeros();
            mirrors &= mirrors - 1;
            let bytes = &self.pool.bytes(incoming.buffer)[..incoming.len];
            let Some(bytes) = Bytes1500::copy_from(bytes) else { continue };
            let message = PeerMessage::Media { track: id, sequence: incoming.sequence, bytes };
            self.counters.cross_media_out += 1;
            self.output(Output::Peer { worker, message });
        }
    }
}

pub(super) fn refused(refused: Refused) -> DropReason {
    match refused {
        Refused::Duplicate => DropReason::Duplicate,
        Refused::TooOld => DropReason::TooOld,
    }
}

pub(super) fn srtp_drop(error: SrtpError) -> DropReason {
    match error {
        SrtpError::AuthFailed => DropReason::SrtpAuthentication,
        SrtpError::Replayed => DropReason::SrtpReplay,
        SrtpError::TooManySsrcs => DropReason::TooManySsrcs,
        _ => DropReason::SrtpFailed,
    }
}
