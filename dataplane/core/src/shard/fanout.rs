//! What goes out: control datagrams, retransmissions, and the fan-out of what has come in.
//!
//! Subscribers are the outer loop and packets the inner one, so that the packets of a frame leave for one
//! subscriber as one run. A batch that fills up stops the loops where they are; the next call goes on.

use dataplane_protocol::SubscriptionId;

use super::{Endpoint, Shard};
use crate::egress::subscription::{Shape, Stamp};
use crate::ingress::track::Track;
use crate::io::Path;
use crate::srtp::Outbound;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::tx::TxBatch;
use crate::wire::ext;

/// How far the fan-out of the dirty tracks has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    track: usize,
    subscriber: usize,
    packet: usize,
}

/// A packet that a subscriber asked for again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resend {
    pub(super) track: usize,
    pub(super) subscription: SubscriptionId,
    /// Its packet index when it first went out.
    pub(super) index: u64,
    /// Its number in the track's history.
    pub(super) sequence: u64,
}

/// Whether a batch has room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Finished,
    Full,
}

impl Shard {
    /// Fills `batch` with what is to be sent. True if it filled up: send it, clear it, and call again.
    pub fn poll_transmit(&mut self, now: Instant, batch: &mut TxBatch) -> bool {
        self.flush_control(batch) == Progress::Full
            || self.flush_resends(now, batch) == Progress::Full
            || self.fan_out(now, batch) == Progress::Full
    }

    fn flush_control(&mut self, batch: &mut TxBatch) -> Progress {
        while let Some(control) = self.control.front() {
            if !batch.has_room() {
                return Progress::Full;
            }
            let bytes = &self.pool.bytes(control.buffer)[..control.len];
            batch.push(control.path, |out| {
                out[..bytes.len()].copy_from_slice(bytes);
                Some(bytes.len())
            });
            self.pool.release(control.buffer);
            self.control.pop_front();
        }
        Progress::Finished
    }

    fn flush_resends(&mut self, now: Instant, batch: &mut TxBatch) -> Progress {
        while let Some(resend) = self.resends.front().copied() {
            if !batch.has_room() {
                return Progress::Full;
            }
            self.resends.pop_front();
            self.resend(now, batch, resend);
        }
        Progress::Finished
    }

    fn resend(&mut self, now: Instant, batch: &mut TxBatch, resend: Resend) {
        let unix_micros = self.unix_micros(now);
        let Self { tracks, endpoints, pool, counters, .. } = self;
        let Some(track) = tracks.get_mut(resend.track) else { return };
        let Some(packet) = track.history.as_ref().and_then(|history| history.get(resend.sequence)).copied() else {
            return;
        };
        let Some(out) = track.outgoing.iter_mut().find(|out| out.id == resend.subscription) else { return };
        let Some((path, srtp, transport_sequence)) = sender(endpoints, out.endpoint) else { return };
        let shape = out.repair_shape(resend.index as u16);
        let index = match shape {
            Shape::Media => resend.index,
            Shape::Rtx { .. } => out.retransmit.next_index(),
        };
        let stamp = Stamp { send_time: ext::abs_send_time(unix_micros), transport_sequence: *transport_sequence };
        let buffer = pool.bytes(packet.buffer);
        let mut written = 0;
        let pushed = batch.push(path, |bytes| {
            written = out.write(bytes, &packet, buffer, (index, shape, stamp), srtp)?;
            Some(written)
        });
        if !pushed {
            counters.drop(DropReason::TooLong);
            return;
        }
        if out.has_transport_cc() {
            *transport_sequence = transport_sequence.wrapping_add(1);
        }
        out.retransmitted += 1;
        counters.rtp_retransmitted += 1;
        sent(endpoints, out.endpoint, written);
    }

    fn fan_out(&mut self, now: Instant, batch: &mut TxBatch) -> Progress {
        let send_time = ext::abs_send_time(self.unix_micros(now));
        let Self { tracks, endpoints, pool, counters, dirty, cursor, wheel, current, .. } = self;
        while let Some(key) = dirty.get(cursor.track).copied() {
            let track = &mut *tracks[key];
            *current = Some(track.endpoint);
            let mut forward = Forward { endpoints, pool, counters, send_time };
            if forward.track(track, cursor, batch) == Progress::Full {
                return Progress::Full;
            }
            if track.wants_keyframe {
                wheel.schedule(track.endpoint as u32, now);
            }
            track.pending.clear();
            track.dirty = false;
            *cursor = Cursor { track: cursor.track + 1, ..Cursor::default() };
        }
        dirty.clear();
        *cursor = Cursor::default();
        Progress::Finished
    }
}

/// What the inner loops need of the shard.
struct Forward<'a> {
    endpoints: &'a mut slab::Slab<Endpoint>,
    pool: &'a crate::buffer::Pool,
    counters: &'a mut crate::stats::Counters,
    send_time: [u8; 3],
}

impl Forward<'_> {
    fn track(&mut self, track: &mut Track, cursor: &mut Cursor, batch: &mut TxBatch) -> Progress {
        while cursor.subscriber < track.outgoing.len() {
            if self.subscriber(track, cursor, batch) == Progress::Full {
                return Progress::Full;
            }
            cursor.subscriber += 1;
            cursor.packet = 0;
        }
        Progress::Finished
    }

    /// All pending packets of a track to one subscriber.
    fn subscriber(&mut self, track: &mut Track, cursor: &mut Cursor, batch: &mut TxBatch) -> Progress {
        let Track { outgoing, pending, history: Some(history), wants_keyframe, .. } = track else {
            return Progress::Finished;
        };
        let out = &mut outgoing[cursor.subscriber];
        let Some((path, srtp, transport_sequence)) = sender(self.endpoints, out.endpoint) else {
            self.counters.drop(DropReason::NoConsent);
            return Progress::Finished;
        };
        let (mut packets, mut bytes) = (0, 0);
        let mut progress = Progress::Finished;
        while let Some(sequence) = pending.get(cursor.packet) {
            if !batch.has_room() {
                progress = Progress::Full;
                break;
            }
            cursor.packet += 1;
            let Some(packet) = history.get(*sequence) else { continue };
            if !out.select.admits(packet) {
                *wants_keyframe = true;
                continue;
            }
            let Some(index) = out.sequence.map(*sequence) else { continue };
            let stamp = Stamp { send_time: self.send_time, transport_sequence: *transport_sequence };
            let buffer = self.pool.bytes(packet.buffer);
            let pushed = batch.push(path, |to| {
                let len = out.write(to, packet, buffer, (index, Shape::Media, stamp), srtp)?;
                bytes += len;
                Some(len)
            });
            if !pushed {
                self.counters.drop(DropReason::TooLong);
                continue;
            }
            if out.has_transport_cc() {
                *transport_sequence = transport_sequence.wrapping_add(1);
            }
            packets += 1;
            out.bytes += u64::from(packet.payload.len);
            out.last_timestamp = packet.timestamp;
        }
        out.packets += packets;
        self.counters.rtp_forwarded += packets;
        if let Some(live) = self.endpoints[out.endpoint].live.as_mut() {
            live.packets_sent += packets;
            live.bytes_sent += bytes as u64;
        }
        progress
    }
}

/// Where to send to a subscriber, with its keys and its transport-wide sequence; `None` unless it is connected.
fn sender(endpoints: &mut slab::Slab<Endpoint>, key: usize) -> Option<(Path, &Outbound, &mut u16)> {
    let live = endpoints.get_mut(key)?.live.as_deref_mut()?;
    if !live.is_connected() {
        return None;
    }
    Some((live.paths.selected()?, live.outbound.as_ref()?, &mut live.transport_sequence))
}

fn sent(endpoints: &mut slab::Slab<Endpoint>, key: usize, len: usize) {
    if let Some(live) = endpoints.get_mut(key).and_then(|endpoint| endpoint.live.as_mut()) {
        live.packets_sent += 1;
        live.bytes_sent += len as u64;
    }
}
