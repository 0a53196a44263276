//! A publisher: seals its frames, sends each in one burst, and answers keyframe requests.

use std::net::UdpSocket;

use dataplane_core::srtp::Outbound;
use webrtc_srtp::context::Context;

use crate::drivers::{AUDIO_PAYLOAD_TYPE, Failure, Media, VIDEO_PAYLOAD_TYPE};
use crate::fanout::path::Keys;
use crate::fanout::session;
use crate::fanout::traffic::{
    AUDIO_PER_SECOND, HEADER, Header, Start, VIDEO_FRAMES_PER_SECOND, audio_size, is_keyframe, video_sizes,
    write_packet,
};
use crate::fanout::wire::Burst;

/// Packets whose sending time is remembered: 20 s of video.
const REMEMBERED: usize = 4_096;
/// First packet index, so that sequence numbers do not wrap before everybody has seen the first.
const FIRST_INDEX: u64 = 1_000;

/// One stream of a publisher, and when its packets left.
pub(crate) struct Track {
    number: u32,
    ssrc: u32,
    next: u64,
    sent_at: Vec<u64>,
    /// Subscribers that are to get it.
    pub(crate) subscribers: u32,
}

impl Track {
    pub(crate) fn new(number: u32, ssrc: u32, subscribers: u32) -> Self {
        Self { number, ssrc, next: FIRST_INDEX, sent_at: vec![0; REMEMBERED], subscribers }
    }

    /// The index of the packet that will be sent next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// When packet `index` left, if it is remembered.
    pub(crate) fn sent_at(&self, index: u64) -> Option<u64> {
        let is_remembered = index < self.next && index + REMEMBERED as u64 >= self.next;
        is_remembered.then(|| self.sent_at[index as usize % REMEMBERED])
    }

    fn advance(&mut self, now: u64) -> u64 {
        let index = self.next;
        self.sent_at[index as usize % REMEMBERED] = now;
        self.next += 1;
        index
    }
}

/// One sending endpoint.
pub(crate) struct Publisher {
    pub(crate) socket: UdpSocket,
    outbound: Outbound,
    inbound: Context,
    /// Numbers of its tracks.
    pub(crate) audio: u32,
    pub(crate) video: Option<u32>,
    media: Media,
    frames: u64,
    is_keyframe_wanted: bool,
    /// Keyframes sent because the server asked.
    pub(crate) keyframes_asked: u64,
}

impl Publisher {
    pub(crate) fn new(
        socket: UdpSocket,
        keys: &Keys,
        media: Media,
        audio: u32,
        video: Option<u32>,
    ) -> Result<Self, Failure> {
        let outbound = Outbound::new(keys.profile, &keys.local_key, &keys.local_salt)
            .map_err(|error| format!("keys of a publisher: {error}"))?;
        let inbound = session::inbound(keys)?;
        Ok(Self {
            socket,
            outbound,
            inbound,
            audio,
            video,
            media,
            frames: 0,
            is_keyframe_wanted: false,
            keyframes_asked: 0,
        })
    }

    /// What it sends.
    pub(crate) fn media(&self) -> Media {
        self.media
    }

    /// Sends the next opus packet.
    pub(crate) fn send_audio(&mut self, burst: &mut Burst, track: &mut Track, now: u64) -> usize {
        let index = track.advance(now);
        let timestamp = ((index - FIRST_INDEX) * (48_000 / AUDIO_PER_SECOND)) as u32;
        let header = Header {
            payload_type: AUDIO_PAYLOAD_TYPE,
            marker: index == FIRST_INDEX,
            index,
            timestamp,
            ssrc: track.ssrc,
        };
        self.add(burst, header, Start::Audio, audio_size(), track.number);
        burst.send(&self.socket)
    }

    /// Sends the next video frame; `period` is the number of frame periods since 1970, by which keyframes fall due.
    pub(crate) fn send_video(
        &mut self,
        burst: &mut Burst,
        track: &mut Track,
        now: u64,
        period: u64,
        sizes: &mut Vec<usize>,
    ) -> usize {
        let is_asked = std::mem::take(&mut self.is_keyframe_wanted);
        self.keyframes_asked += u64::from(is_asked);
        let is_key = is_asked || self.frames == 0 || is_keyframe(self.audio, period);
        video_sizes(self.frames, is_key, sizes);
        let timestamp = (self.frames * (90_000 / VIDEO_FRAMES_PER_SECOND)) as u32;
        for (at, size) in sizes.iter().enumerate() {
            let index = track.advance(now);
            let marker = at + 1 == sizes.len();
            let header = Header { payload_type: VIDEO_PAYLOAD_TYPE, marker, index, timestamp, ssrc: track.ssrc };
            let start = match (at, is_key) {
                (0, true) => Start::Keyframe,
                (0, false) => Start::Delta,
                _ => Start::Continuation,
            };
            self.add(burst, header, start, *size, track.number);
        }
        self.frames += 1;
        burst.send(&self.socket)
    }

    /// Reads what the server has sent back, for its requests of keyframes.
    pub(crate) fn listen(&mut self) {
        let mut buffer = [0; 1_500];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            let datagram = &buffer[..len];
            let is_rtcp = len > 8 && datagram[0] >> 6 == 2 && (192..=223).contains(&datagram[1]);
            if is_rtcp && let Ok(compound) = self.inbound.decrypt_rtcp(datagram) {
                self.is_keyframe_wanted |= asks_for_keyframe(&compound);
            }
        }
    }

    fn add(&self, burst: &mut Burst, header: Header, start: Start, size: usize, track: u32) {
        burst.add(|room| {
            let len = write_packet(room, header, start, size, track);
            self.outbound.protect_rtp(room, len, HEADER, header.index).unwrap_or(0)
        });
    }
}

/// PLI or FIR (RFC 4585 6.3.1, RFC 5104 4.3.1) anywhere in a compound.
fn asks_for_keyframe(mut compound: &[u8]) -> bool {
    while let [first, kind, high, low, ..] = *compound {
        if kind == 206 && matches!(first & 0x1f, 1 | 4) {
            return true;
        }
        let len = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        compound = compound.get(len..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyframe_request_is_found_behind_a_report() {
        let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
        let mut compound = report.to_vec();
        compound.extend([0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert!(asks_for_keyframe(&compound));
        assert!(!asks_for_keyframe(&report));
        assert!(!asks_for_keyframe(&compound[..11][..8]));
    }

    #[test]
    fn a_track_remembers_when_its_last_packets_left() {
        let mut track = Track::new(0, 1, 1);
        let first = track.advance(5);
        assert_eq!((track.sent_at(first), track.sent_at(first + 1)), (Some(5), None));
        for n in 0..REMEMBERED as u64 {
            track.advance(100 + n);
        }
        assert_eq!((track.sent_at(first), track.sent_at(first + 1)), (None, Some(100)));
    }
}
