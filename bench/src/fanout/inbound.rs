//! A subscriber: counts what arrives by its header, and opens a sample of it.
//!
//! A server gives each stream a sequence of its own. How it differs from the publisher's is learnt from the first packet
//! that is opened, which tells what it is at its end; every later sample must agree.

use webrtc_srtp::context::Context;

use crate::drivers::Failure;
use crate::fanout::path::Keys;
use crate::fanout::session;
use crate::fanout::traffic::read_mark;

/// Whether this is RTP, by its first two bytes (RFC 7983, RFC 5761 4).
pub(crate) fn is_media(datagram: &[u8]) -> bool {
    matches!(*datagram, [first, second, ..] if first >> 6 == 2 && !(64..=95).contains(&(second & 0x7f)))
}

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
        Ok(Self { context: session::inbound(keys)?, streams: Vec::new() })
    }

    /// Takes in a datagram; `next` tells the index of the packet that the publisher of a track will send next.
    pub(crate) fn take(&mut self, datagram: &[u8], is_sampled: bool, next: impl Fn(u32) -> Option<u64>) -> Arrival {
        let [_, _, high, low, _, _, _, _, a, b, c, d, ..] = *datagram else { return Arrival::Control };
        if !is_media(datagram) {
            return Arrival::Control;
        }
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

#[cfg(test)]
mod tests {
    use dataplane_core::srtp::Outbound;
    use dataplane_protocol::SrtpProfile;

    use super::*;
    use crate::fanout::traffic::{HEADER, Header, Start, write_packet};

    const TRACK: u32 = 3;

    fn keys() -> Keys {
        Keys {
            profile: SrtpProfile::AeadAes128Gcm,
            local_key: vec![1; 16],
            local_salt: vec![2; 12],
            remote_key: vec![3; 16],
            remote_salt: vec![4; 12],
        }
    }

    /// Packet `index` of the publisher as a server sends it: with a sequence number of its own.
    fn packet(index: u64, sequence: u64) -> Vec<u8> {
        let keys = keys();
        let outbound = Outbound::new(keys.profile, &keys.remote_key, &keys.remote_salt).unwrap();
        let mut out = vec![0; 1_500];
        let header = Header { payload_type: 96, marker: false, index, timestamp: 0, ssrc: 77 };
        let len = write_packet(&mut out, header, Start::Delta, 100, TRACK);
        out[2..4].copy_from_slice(&(sequence as u16).to_be_bytes());
        let len = outbound.protect_rtp(&mut out, len, HEADER, sequence).unwrap();
        out.truncate(len);
        out
    }

    fn media(index: u64, is_repeated: bool, is_verified: bool) -> Arrival {
        Arrival::Media { track: TRACK, index, is_repeated, is_verified }
    }

    #[test]
    fn packets_are_known_by_their_header_once_one_was_opened() {
        let mut subscriber = Subscriber::new(&keys()).unwrap();
        let next = |_| Some(1_010);
        assert_eq!(subscriber.take(&packet(1_000, 500), false, next), media(1_000, false, true));
        assert_eq!(subscriber.take(&packet(1_002, 502), false, next), media(1_002, false, false));
        assert_eq!(subscriber.take(&packet(1_001, 501), false, next), media(1_001, true, false));
        assert_eq!(subscriber.take(&packet(1_003, 503), true, next), media(1_003, false, true));
    }

    #[test]
    fn a_sample_that_is_not_what_its_header_says_is_wrong() {
        let mut subscriber = Subscriber::new(&keys()).unwrap();
        let next = |_| Some(1_010);
        subscriber.take(&packet(1_000, 500), false, next);
        assert_eq!(subscriber.take(&packet(1_004, 502), true, next), Arrival::Wrong);
        let mut forged = packet(1_005, 503);
        forged[50] ^= 1;
        assert_eq!(subscriber.take(&forged, true, next), Arrival::Wrong);
        // By its header it has not been sent yet.
        assert_eq!(subscriber.take(&packet(1_010, 508), false, next), Arrival::Wrong);
    }

    #[test]
    fn control_packets_are_not_media() {
        let mut subscriber = Subscriber::new(&keys()).unwrap();
        for datagram in [vec![], vec![0; 20], vec![22; 40], [vec![0x81, 200], vec![0; 40]].concat()] {
            assert_eq!(subscriber.take(&datagram, true, |_| None), Arrival::Control);
        }
    }
}
