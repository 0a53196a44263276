//! A subscriber: counts what arrives by its header, and opens a sample of it.
//!
//! A server gives each stream a sequence of its own. How it differs from the publisher's is learnt from the first packet
//! that is opened, which tells what it is at its end; every later sample must agree.

use webrtc_srtp::context::Context;

use crate::drivers::Failure;
use crate::fanout::path::Keys;
use crate::fanout::session;
use crate::fanout::traffic::read_mark;

/// What a received packet turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A packet of a track, known by its header; `is_repeated` if it is not newer than the newest.
    Media { track: u32, index: u64, is_repeated: bool, is_verified: bool },
    /// RTCP, STUN, DTLS.
    Control,
    /// Media that does not open, or is not what it should be.
    Wrong,
}

/// One receiving endpoint.
pub(crate) struct Subscriber {
    context: Context,
    streams: Vec<Stream>,
    /// When its first media packet arrived.
    pub(crate) first_media: Option<u64>,
}

struct Stream {
    ssrc: u32,
    track: u32,
    /// The server's sequence number less the publisher's.
    offset: u16,
    newest: u64,
}

impl Subscriber {
    pub(crate) fn new(keys: &Keys) -> Result<Self, Failure> {
        Ok(Self { context: session::inbound(keys)?, streams: Vec::new(), first_media: None })
    }

    /// Takes in a datagram; `next` tells the index of the packet that the publisher of a track will send next.
    pub(crate) fn take(
        &mut self,
        datagram: &[u8],
        stamp: u64,
        is_sampled: bool,
        next: impl Fn(u32) -> Option<u64>,
    ) -> Arrival {
        let [first, second, high, low, _, _, _, _, a, b, c, d, ..] = *datagram else { return Arrival::Control };
        if first >> 6 != 2 || (64..=95).contains(&(second & 0x7f)) {
            return Arrival::Control;
        }
        self.first_media.get_or_insert(stamp);
        let (sequence, ssrc) = (u16::from_be_bytes([high, low]), u32::from_be_bytes([a, b, c, d]));
        let known = self.streams.iter().position(|stream| stream.ssrc == ssrc);
        let Some(at) = known.filter(|_| !is_sampled) else { return self.verify(datagram, sequence, ssrc, known) };
        let stream = &mut self.streams[at];
        let Some(next) = next(stream.track) else { return Arrival::Wrong };
        // Nothing arrives that has not been sent: the index is the last one before `next` with these 16 bits.
        let back = (next as u16).wrapping_sub(sequence.wrapping_sub(stream.offset));
        let Some(index) = next.checked_sub(u64::from(back)).filter(|_| back != 0) else { return Arrival::Wrong };
        Arrival::Media { track: stream.track, index, is_repeated: !stream.advance(index), is_verified: false }
    }

    fn verify(&mut self, datagram: &[u8], sequence: u16, ssrc: u32, known: Option<usize>) -> Arrival {
        let Ok(opened) = self.context.decrypt_rtp(datagram) else { return Arrival::Wrong };
        let Some((track, index)) = read_mark(&opened) else { return Arrival::Wrong };
        let offset = sequence.wrapping_sub(index as u16);
        let Some(at) = known else {
            self.streams.push(Stream { ssrc, track, offset, newest: index });
            return Arrival::Media { track, index, is_repeated: false, is_verified: true };
        };
        let stream = &mut self.streams[at];
        if stream.track != track || stream.offset != offset {
            // What was counted by the header since the last sample may have been counted wrongly.
            *stream = Stream { ssrc, track, offset, newest: index };
            return Arrival::Wrong;
        }
        Arrival::Media { track, index, is_repeated: !stream.advance(index), is_verified: true }
    }
}

impl Stream {
    /// Whether `index` is new.
    fn advance(&mut self, index: u64) -> bool {
        let is_new = index > self.newest;
        self.newest = self.newest.max(index);
        is_new
    }
}
