//! What a publisher sends: VP8 at 1.5 Mbps as a camera would, in frames of unequal size with a large keyframe now and
//! then, and opus at 50 packets a second. The payload is filler, but for what a server looks at (the VP8 payload
//! descriptor and the keyframe header) and a mark at its end by which the receiver knows the packet.

/// VP8, payload bits a second on average.
pub const VIDEO_BITS_PER_SECOND: u64 = 1_500_000;
/// VP8 frames a second.
pub const VIDEO_FRAMES_PER_SECOND: u64 = 30;
/// Opus packets a second: 20 ms each.
pub const AUDIO_PER_SECOND: u64 = 50;

/// Between keyframes: 4 s.
const KEYFRAME_INTERVAL: u64 = 4 * VIDEO_FRAMES_PER_SECOND;
/// A keyframe has the bytes of this many average frames.
const KEYFRAME_WEIGHT: u64 = 6;
/// Multiples of it spread evenly over a period, however many there are.
pub(crate) const GOLDEN_RATIO: f64 = 0.618_033_988_75;
/// Bytes of an average frame.
const FRAME: u64 = VIDEO_BITS_PER_SECOND / 8 / VIDEO_FRAMES_PER_SECOND;
/// Bytes of the frames between keyframes, on average, so that the whole comes to [`VIDEO_BITS_PER_SECOND`].
const DELTA: u64 = FRAME * (KEYFRAME_INTERVAL - KEYFRAME_WEIGHT) / (KEYFRAME_INTERVAL - 1);
/// Bytes of an opus packet: 32 kbit/s.
const AUDIO: usize = 80;
/// Most payload of a packet: with header and tag, 1,200 bytes of datagram.
const MAX_PAYLOAD: usize = 1_172;
/// Of a plain RTP header.
pub(crate) const HEADER: usize = 12;

const MAGIC: u32 = 0x6d72_6263;
/// Magic, track, index.
const MARK: usize = 16;

/// Sizes of the packets of video frame number `frame`: as browsers split it, about equal, the smaller ones first.
/// A frame that was asked for as a keyframe is one, whatever its number.
pub(crate) fn video_sizes(frame: u64, is_keyframe: bool, sizes: &mut Vec<usize>) {
    // A fixed sequence between 3/4 and 5/4 of the average.
    let wobble = (frame.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) * DELTA / 512;
    let bytes = if is_keyframe { KEYFRAME_WEIGHT * FRAME } else { DELTA * 3 / 4 + wobble } as usize;
    let count = bytes.div_ceil(MAX_PAYLOAD);
    let (size, larger) = (bytes / count, bytes % count);
    sizes.clear();
    sizes.extend((0..count).map(|at| size + usize::from(at >= count - larger)));
}

/// Whether a publisher's frame of this period is a keyframe: one every 4 s, at another time for each publisher, as nobody's
/// cameras were switched on at one moment. It is the clock that counts and not the publisher's frames: those who were
/// silent for a while would otherwise meet others by chance, in other ways with each load.
pub(crate) fn is_keyframe(publisher: u32, period: u64) -> bool {
    let phase = (f64::from(publisher) * GOLDEN_RATIO).fract() * KEYFRAME_INTERVAL as f64;
    (period + phase as u64).is_multiple_of(KEYFRAME_INTERVAL)
}

/// Bytes of every audio packet's payload.
pub(crate) fn audio_size() -> usize {
    AUDIO
}

/// One packet's header fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) index: u64,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
}

/// What comes first in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Audio,
    Keyframe,
    Delta,
    Continuation,
}

/// Writes a packet of `size` bytes of payload without its tag into `out`, and returns its length.
pub(crate) fn write_packet(out: &mut [u8], header: Header, start: Start, size: usize, track: u32) -> usize {
    let len = HEADER + size;
    out[0] = 0x80;
    out[1] = header.payload_type | u8::from(header.marker) << 7;
    out[2..4].copy_from_slice(&(header.index as u16).to_be_bytes());
    out[4..8].copy_from_slice(&header.timestamp.to_be_bytes());
    out[8..12].copy_from_slice(&header.ssrc.to_be_bytes());
    let payload = &mut out[HEADER..len];
    payload.fill(0x5a);
    match start {
        Start::Audio => payload[0] = 0x78,
        // RFC 7741 4.2 and 4.3: S begins a partition; P = 0 is a keyframe, with start code, width and height.
        Start::Keyframe => {
            payload[..11].copy_from_slice(&[0x10, 0x10, 2, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01]);
        }
        Start::Delta => payload[..2].copy_from_slice(&[0x10, 0x11]),
        Start::Continuation => payload[0] = 0,
    }
    let mark = &mut payload[size - MARK..];
    mark[..4].copy_from_slice(&MAGIC.to_be_bytes());
    mark[4..8].copy_from_slice(&track.to_be_bytes());
    mark[8..].copy_from_slice(&header.index.to_be_bytes());
    len
}

/// Track and index of an opened packet, if it is one of ours. A server may have padded it (RFC 3550 5.1).
pub(crate) fn read_mark(packet: &[u8]) -> Option<(u32, u64)> {
    let padding = if packet.first()? & 0x20 == 0 { 0 } else { usize::from(*packet.last()?) };
    let packet = packet.get(..packet.len().checked_sub(padding)?)?;
    let (magic, rest) = packet.get(packet.len().checked_sub(MARK)?..)?.split_first_chunk()?;
    let (track, index) = rest.split_first_chunk()?;
    let mark = (u32::from_be_bytes(*track), u64::from_be_bytes(*index.first_chunk()?));
    (u32::from_be_bytes(*magic) == MAGIC).then_some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bitrate_is_as_announced_and_every_datagram_fits() {
        let (mut bytes, mut sizes, frames) = (0, Vec::new(), 100 * KEYFRAME_INTERVAL);
        for frame in 0..frames {
            video_sizes(frame, is_keyframe(3, frame), &mut sizes);
            assert!(sizes.iter().all(|size| (MARK + 11..=MAX_PAYLOAD).contains(size)), "{sizes:?}");
            assert!(sizes.is_sorted() && sizes[sizes.len() - 1] - sizes[0] <= 1);
            bytes += sizes.iter().sum::<usize>() as u64;
        }
        let rate = bytes * 8 * VIDEO_FRAMES_PER_SECOND / frames;
        assert!(rate.abs_diff(VIDEO_BITS_PER_SECOND) < VIDEO_BITS_PER_SECOND / 100, "{rate}");
    }

    #[test]
    fn a_packet_is_known_by_its_mark() {
        let mut out = [0; 1_500];
        let header = Header { payload_type: 96, marker: true, index: 0x1_0002, timestamp: 7, ssrc: 9 };
        let len = write_packet(&mut out, header, Start::Keyframe, 300, 5);
        assert_eq!((len, &out[1..4]), (312, &[0xe0, 0, 2][..]));
        assert_eq!(read_mark(&out[..len]), Some((5, 0x1_0002)));
        assert_eq!(read_mark(&out[..len - 1]), None);
        assert_eq!(read_mark(&out[..8]), None);
        out[0] |= 0x20;
        out[len..len + 3].copy_from_slice(&[0, 0, 3]);
        assert_eq!(read_mark(&out[..len + 3]), Some((5, 0x1_0002)));
    }
}
