//! What goes out: control datagrams, retransmissions, and the fan-out of what has come in.
//!
//! Subscribers are the outer loop and packets the inner one, so that the packets of a frame leave for one
//! subscriber as one run. A batch that fills up stops the loops where they are; the next call goes on.

use std::collections::VecDeque;

use dataplane_protocol::SubscriptionId;

use super::{Endpoint, Shard};
use crate::egress::subscription::{Outgoing, Shape, Stamp};
use crate::ingress::history::History;
use crate::ingress::track::Track;
use crate::io::Path;
use crate::srtp::Outbound;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::tx::TxBatch;
use crate::wire::ext;

/// Packets of a keyframe that may have overtaken its first: more is a stream that is better begun anew.
pub(super) const MAX_CATCH_UP: usize = 64;

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
        let is_full = self.fill(now, batch);
        batch.finish();
        is_full
    }

    fn fill(&mut self, now: Instant, batch: &mut TxBatch) -> bool {
        // Before repeats of anything that is pending.
        for key in &self.dirty {
            self.tracks[*key].even_out();
        }
        self.flush_control(batch) == Progress::Full
            || self.flush_resends(now, batch) == Progress::Full
            || self.fan_out(now, batch) == Progress::Full
            // Those who have just begun may have something to catch up with.
            || self.flush_resends(now, batch) == Progress::Full
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
        let pushed = batch.push_sealed(path, |bytes, tags| {
            written = out.write(bytes, &packet, buffer, (index, shape, stamp), srtp, tags)?;
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
        while let Some(key) = self.next_dirty(now) {
            let room = self.config.limits.max_resends.saturating_sub(self.resends.len());
            let Self { tracks, endpoints, pool, counters, cursor, wheel, current, resends, .. } = self;
            let track = &mut *tracks[key];
            *current = Some(track.endpoint);
            let mut forward = Forward { now, endpoints, pool, counters, send_time, key, resends, room };
            if forward.track(track, cursor, batch) == Progress::Full {
                return Progress::Full;
            }
            if track.wants_keyframe {
                wheel.schedule(track.endpoint as u32, now);
            }
            track.clear_pending();
            *cursor = Cursor { track: cursor.track + 1, ..Cursor::default() };
        }
        self.dirty.clear();
        self.cursor = Cursor::default();
        Progress::Finished
    }

    /// The track whose turn it is. One that subscriptions come over to waits for the others, so that they have been
    /// sent all that came of their old tracks before.
    fn next_dirty(&mut self, now: Instant) -> Option<usize> {
        let key = *self.dirty.get(self.cursor.track)?;
        if self.tracks[key].switch_at.is_none() || self.cursor.has_begun() {
            return Some(key);
        }
        let rest = &self.dirty[self.cursor.track..];
        if let Some(at) = rest.iter().position(|track| self.tracks[*track].switch_at.is_none()) {
            self.dirty.swap(self.cursor.track, self.cursor.track + at);
            return self.dirty.get(self.cursor.track).copied();
        }
        self.switch(now, key);
        Some(key)
    }
}

impl Cursor {
    /// Whether the track at hand has been sent in part.
    fn has_begun(&self) -> bool {
        self.subscriber > 0 || self.packet > 0
    }
}

/// What the inner loops need of the shard.
struct Forward<'a> {
    now: Instant,
    endpoints: &'a mut slab::Slab<Endpoint>,
    pool: &'a crate::buffer::Pool,
    counters: &'a mut crate::stats::Counters,
    send_time: [u8; 3],
    /// The track at hand.
    key: usize,
    resends: &'a mut VecDeque<Resend>,
    /// How many more the queue takes.
    room: usize,
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
        let Track { outgoing, pending, history: Some(history), wants_keyframe, clock, clock_rate, .. } = track else {
            return Progress::Finished;
        };
        let out = &mut outgoing[cursor.subscriber];
        let Some((path, srtp, transport_sequence)) = sender(self.endpoints, out.endpoint) else {
            self.counters.drop(DropReason::NoConsent);
            return Progress::Finished;
        };
        batch.aim(path);
        let (mut packets, mut bytes) = (0, 0);
        let mut progress = Progress::Finished;
        while let Some(sequence) = pending.get(cursor.packet) {
            if !batch.has_room() {
                progress = Progress::Full;
                break;
            }
            cursor.packet += 1;
            let Some(packet) = history.get(*sequence) else { continue };
            let buffer = self.pool.bytes(packet.buffer);
            if !out.started {
                if !packet.keyframe {
                    *wants_keyframe = true;
                    continue;
                }
                out.start(self.now, packet, buffer, (*clock, *clock_rate));
                let missed = missed(out, self.key, history, pending);
                self.resends.extend(missed.take(self.room.min(MAX_CATCH_UP)));
            }
            let Some(index) = out.sequence.map(*sequence) else { continue };
            let stamp = Stamp { send_time: self.send_time, transport_sequence: *transport_sequence };
            let pushed = batch.add_sealed(|to, tags| {
                let len = out.write(to, packet, buffer, (index, Shape::Media, stamp), srtp, tags)?;
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
        if packets > 0 {
            out.last_sent = self.now;
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

/// What came before the keyframe that a subscription has begun with and follows it: a keyframe whose first packet was
/// late or repaired. Sent as retransmissions, since the packets themselves have had their turn.
pub(super) fn missed<'a>(
    out: &'a mut Outgoing,
    track: usize,
    history: &'a History,
    pending: &'a [u64],
) -> impl Iterator<Item = Resend> + 'a {
    let begun = out.sequence.highest().map_or(u64::MAX, |sequence| sequence + 1);
    let last = history.highest().unwrap_or_default();
    let subscription = out.id;
    (begun..=last).filter(|sequence| history.get(*sequence).is_some() && !pending.contains(sequence)).filter_map(
        move |sequence| {
            let index = out.sequence.map(sequence)?;
            Some(Resend { track, subscription, index, sequence })
        },
    )
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
