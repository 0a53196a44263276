//! RTCP, both ways: what clients report and ask for, and what is reported to them.

use dataplane_protocol::MediaKind;

use super::{Fate, Shard, fanout::Resend};
use crate::egress::report::{on_report_block, unix_from_ntp, write_sender_report};
use crate::egress::subscription::Outgoing;
use crate::ingress::reception::SenderReport;
use crate::ingress::track::SourceClock;
use crate::io::{Claims, Datagram, MAX_DATAGRAM, PeerMessage};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::transport::{MAX_BINDINGS, REPORT_INTERVAL, Sending};
use crate::wire::rtcp::{self, ReportBlock, Rtcp, RtcpWriter};

use super::media::srtp_drop;

/// What a bound leaves for the rest of a transport: audio, and what is sent twice.
const UNBOUNDED_ALLOWANCE_BPS: u64 = 128_000;
/// Longest compound that we write, before SRTCP's own bytes: what passes every path.
const MAX_COMPOUND: usize = 1_200;

impl Shard {
    pub(super) fn on_rtcp(
        &mut self,
        now: Instant,
        claims: &dyn Claims,
        key: usize,
        datagram: &Datagram,
    ) -> Result<Fate, DropReason> {
        let Some(live) = self.endpoints[key].live.as_mut() else { return Err(DropReason::UnknownPath) };
        let inbound = live.inbound.as_mut().ok_or(DropReason::NoKeys)?;
        let bytes = &mut self.pool.bytes_mut(datagram.buffer)[..datagram.len];
        let len = inbound.unprotect_rtcp(bytes).map_err(srtp_drop)?;
        self.counters.rtcp_received += 1;
        // Copied out, because what it asks for touches the whole shard. It is rare next to media.
        let mut compound = [0; MAX_DATAGRAM];
        let compound = compound.get_mut(..len).ok_or(DropReason::TooLong)?;
        compound.copy_from_slice(&self.pool.bytes(datagram.buffer)[..len]);
        for packet in rtcp::packets(compound) {
            let packet = packet.map_err(|_| DropReason::RtcpMalformed)?;
            self.on_rtcp_packet(now, claims, key, &packet);
        }
        Ok(Fate::Done)
    }

    fn on_rtcp_packet(&mut self, now: Instant, claims: &dyn Claims, key: usize, packet: &Rtcp<'_>) {
        match packet {
            Rtcp::SenderReport { ssrc, ntp, rtp, blocks, .. } => {
                self.on_sender_report(now, key, *ssrc, *ntp, *rtp);
                blocks.clone().for_each(|block| self.on_report_block(now, key, &block));
            }
            Rtcp::ReceiverReport { blocks, .. } => {
                blocks.clone().for_each(|block| self.on_report_block(now, key, &block));
            }
            Rtcp::Pli { media, .. } => self.on_keyframe_wish(now, claims, key, *media, None),
            Rtcp::Fir { entries, .. } => {
                entries.clone().for_each(|(ssrc, seq)| self.on_keyframe_wish(now, claims, key, ssrc, Some(seq)));
            }
            Rtcp::Nack { media, lost, .. } => {
                lost.clone().for_each(|sequence| self.on_nack(now, key, *media, sequence));
            }
            Rtcp::TransportCc { .. } => self.with_downlink(key, |downlink| downlink.feedback += 1),
            Rtcp::Remb { bitrate_bps, .. } => self.with_downlink(key, |downlink| downlink.remb_bps = *bitrate_bps),
            Rtcp::Sdes | Rtcp::Bye { .. } | Rtcp::Other { .. } => {}
        }
    }

    fn with_downlink(&mut self, key: usize, change: impl FnOnce(&mut crate::bwe::Downlink)) {
        if let Some(live) = self.endpoints[key].live.as_mut() {
            change(&mut live.downlink);
        }
    }

    fn on_sender_report(&mut self, now: Instant, key: usize, ssrc: u32, ntp: u64, rtp: u32) {
        let unix_micros = self.unix_micros(now);
        let Some(live) = self.endpoints[key].live.as_mut() else { return };
        let Some(binding) = live.binding(ssrc).filter(|binding| !binding.repair) else { return };
        let made_at = live.align_clock(unix_from_ntp(ntp), unix_micros);
        let track = &mut *self.tracks[binding.track];
        let Some(source) = track.source.as_mut() else { return };
        source.reception.on_sender_report(SenderReport { ntp, at: now });
        let clock = SourceClock { unix_micros: made_at, rtp_timestamp: rtp.wrapping_add(source.timestamp_offset) };
        track.clock = Some(clock);
        let (id, mirrors) = (track.id, track.mirrors);
        for worker in (0..64).filter(|worker| mirrors >> worker & 1 == 1) {
            let SourceClock { unix_micros, rtp_timestamp } = clock;
            self.tell_peer(worker, PeerMessage::Clock { track: id, unix_micros, rtp_timestamp });
        }
    }

    fn sending(&self, key: usize, ssrc: u32) -> Option<Sending> {
        self.endpoints[key].live.as_ref()?.sending.iter().find(|sending| sending.ssrc == ssrc).copied()
    }

    fn outgoing(&mut self, sending: Sending) -> Option<&mut Outgoing> {
        let track = self.tracks.get_mut(sending.track)?;
        track.outgoing.iter_mut().find(|out| out.id == sending.subscription)
    }

    fn on_report_block(&mut self, now: Instant, key: usize, block: &ReportBlock) {
        let unix_micros = self.unix_micros(now);
        if let Some(out) = self.sending(key, block.ssrc).and_then(|sending| self.outgoing(sending)) {
            on_report_block(out, block, unix_micros);
        }
    }

    /// A PLI, or a FIR with its command number: the same number again is a repetition (RFC 5104 4.3.1.2).
    fn on_keyframe_wish(&mut self, now: Instant, claims: &dyn Claims, key: usize, ssrc: u32, fir: Option<u8>) {
        let Some(sending) = self.sending(key, ssrc) else { return };
        let Some(out) = self.outgoing(sending) else { return };
        if fir.is_some() && out.fir_seen == fir {
            return;
        }
        out.fir_seen = fir.or(out.fir_seen);
        out.keyframe_requests += 1;
        if self.tracks[sending.track].kind == MediaKind::Video {
            self.want_keyframe(now, claims, sending.track, false);
        }
    }

    fn on_nack(&mut self, now: Instant, key: usize, ssrc: u32, sequence: u16) {
        let Some(sending) = self.sending(key, ssrc) else { return };
        let full = self.resends.len() >= self.config.limits.max_resends;
        let Some(out) = self.outgoing(sending) else { return };
        out.nacks_received += 1;
        // Asked for without having been negotiated: its header changes with time, and a repetition under the old
        // index would seal another text with the same nonce.
        if !out.answers_nack {
            return;
        }
        let Some((index, source)) = out.sequence.unmap(sequence) else { return };
        let rtt = out.rtt;
        if !out.retransmit.admits(now, index, rtt) {
            return;
        }
        let track = &self.tracks[sending.track];
        if track.history.as_ref().is_none_or(|history| history.get(source).is_none()) {
            return;
        }
        if full {
            self.counters.drop(DropReason::QueueFull);
            return;
        }
        let Sending { track, subscription, .. } = sending;
        self.resends.push_back(Resend { track, subscription, index, sequence: source });
    }

    /// A subscriber of this shard needs a keyframe of the track.
    pub(super) fn want_keyframe(&mut self, now: Instant, claims: &dyn Claims, key: usize, immediate: bool) {
        let track = &mut *self.tracks[key];
        let can_ask = match &track.source {
            Some(source) => source.ssrc.or(track.ssrc).is_some() && self.endpoints[track.endpoint].is_connected(),
            None => claims.owner(self.endpoints[track.endpoint].slot).is_some(),
        };
        // Nobody to ask yet: the first packets will bring it up again.
        track.wants_keyframe = !can_ask;
        if !can_ask {
            return;
        }
        if track.gate.request(now, immediate) {
            self.ask_for_keyframe(claims, key, immediate);
        } else if let Some(due) = track.gate.due() {
            let endpoint = track.endpoint as u32;
            self.wheel.schedule(endpoint, due);
        }
    }

    /// Asks the publisher if it is here, else the track's home.
    pub(super) fn ask_for_keyframe(&mut self, claims: &dyn Claims, key: usize, immediate: bool) {
        let track = &mut *self.tracks[key];
        let (id, endpoint, pli) = (track.id, track.endpoint, track.pli);
        let Some(source) = track.source.as_mut() else {
            if let Some(worker) = claims.owner(self.endpoints[endpoint].slot) {
                self.tell_peer(worker, PeerMessage::KeyframeRequest { track: id, immediate });
            }
            return;
        };
        let Some(media) = source.ssrc.or(track.ssrc) else { return };
        source.keyframe_requests += 1;
        source.fir_count = source.fir_count.wrapping_add(1);
        let command = source.fir_count;
        self.send_feedback(
            endpoint,
            |writer, sender| {
                if pli { writer.pli(sender, media) } else { writer.fir(sender, media, command) }
            },
        );
    }

    /// After a pause of consent every video subscription of the transport starts anew.
    pub(super) fn want_keyframes_for(&mut self, now: Instant, key: usize) {
        let Some(live) = self.endpoints[key].live.as_ref() else { return };
        for sending in &live.sending {
            let track = &mut self.tracks[sending.track];
            if track.kind == MediaKind::Video {
                track.wants_keyframe = true;
                self.wheel.schedule(track.endpoint as u32, now);
            }
        }
    }

    /// Sends one compound of an empty receiver report and what `write` adds (RFC 4585 3.1).
    pub(super) fn send_feedback(&mut self, key: usize, write: impl FnOnce(&mut RtcpWriter<'_>, u32) -> bool) {
        let Some(sender) = self.endpoints[key].live.as_ref().map(|live| live.receiver_ssrc) else { return };
        self.send_rtcp(key, |_, writer| writer.receiver_report(sender, &[]) && write(writer, sender));
    }

    /// Receiver reports for what comes in on a transport, sender reports for what leaves on it.
    pub(super) fn send_reports(&mut self, now: Instant, key: usize) {
        let Some(live) = self.endpoints[key].live.as_mut() else { return };
        live.report_due = now + REPORT_INTERVAL;
        let receiver = live.receiver_ssrc;
        for at in 0..self.endpoints[key].tracks.len() {
            let track = self.endpoints[key].tracks[at];
            let Some(source) = self.tracks[track].source.as_mut() else { continue };
            let Some(block) = source.ssrc.and_then(|ssrc| source.reception.report(now, ssrc)) else { continue };
            self.send_rtcp(key, |_, writer| writer.receiver_report(receiver, &[block]));
        }
        self.send_bound(key);
        let unix_micros = self.unix_micros(now);
        let sendings = self.endpoints[key].live.as_ref().map_or(0, |live| live.sending.len());
        for at in 0..sendings {
            let Some(sending) = self.endpoints[key].live.as_ref().and_then(|live| live.sending.get(at).copied()) else {
                return;
            };
            self.send_rtcp(key, |shard, writer| {
                let track = &shard.tracks[sending.track];
                let (Some(clock), rate) = (track.clock, track.clock_rate) else { return false };
                let out = track.outgoing.iter().find(|out| out.id == sending.subscription && out.packets > 0);
                out.is_some_and(|out| write_sender_report(writer, out, clock, rate, unix_micros))
            });
        }
    }

    /// Tells a publisher how much it may send on the transport, where a bound is set (draft-alvestrand-rmcat-remb-03).
    fn send_bound(&mut self, key: usize) {
        let mut ssrcs = [0; MAX_BINDINGS];
        let (mut count, mut bps) = (0, 0);
        for track in &self.endpoints[key].tracks {
            let track = &self.tracks[*track];
            let ssrc = track.source.as_ref().and_then(|source| source.ssrc).filter(|_| track.remb_bps > 0);
            if let (Some(ssrc), Some(slot)) = (ssrc, ssrcs.get_mut(count)) {
                *slot = ssrc;
                count += 1;
                bps = track.remb_bps.max(bps);
            }
        }
        if count > 0 {
            let bps = bps + UNBOUNDED_ALLOWANCE_BPS;
            self.send_feedback(key, |writer, sender| writer.remb(sender, bps, &ssrcs[..count]));
        }
    }

    /// Tells a subscriber that a track has ended (RFC 3550 6.6).
    pub(super) fn send_bye(&mut self, _now: Instant, out: &Outgoing) {
        let (endpoint, ssrc) = (out.endpoint, out.ssrc);
        self.send_rtcp(endpoint, |_, writer| writer.receiver_report(ssrc, &[]) && writer.bye(ssrc));
    }

    /// Writes, seals and queues one compound, if `write` wants to and the transport is connected.
    pub(super) fn send_rtcp(&mut self, key: usize, write: impl FnOnce(&Self, &mut RtcpWriter<'_>) -> bool) {
        let connected = self.endpoints.get(key).and_then(|endpoint| endpoint.live.as_ref());
        let Some(path) = connected.filter(|live| live.is_connected()).and_then(|live| live.paths.selected()) else {
            return;
        };
        let mut compound = [0; MAX_DATAGRAM];
        let mut writer = RtcpWriter::new(&mut compound[..MAX_COMPOUND]);
        if !write(self, &mut writer) {
            return;
        }
        let len = writer.len();
        let Some(live) = self.endpoints[key].live.as_mut() else { return };
        let Some(Ok(sealed)) = live.outbound.as_mut().map(|srtp| srtp.protect_rtcp(&mut compound, len)) else { return };
        live.packets_sent += 1;
        live.bytes_sent += sealed as u64;
        self.counters.rtcp_sent += 1;
        self.send_control(path, &compound[..sealed]);
    }
}
