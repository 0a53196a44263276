//! Which protocol a datagram on the media port belongs to: RFC 7983, and RFC 5761 for RTCP among RTP.

/// The protocol of a datagram, judged by its first two bytes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packet {
    /// A STUN message: first byte 0 to 3.
    Stun,
    /// A DTLS record: first byte 20 to 63.
    Dtls,
    /// An RTP or SRTP packet: first byte 128 to 191.
    Rtp,
    /// An RTCP or SRTCP packet: as RTP, and the second byte is 192 to 223.
    Rtcp,
    /// None of ours: ZRTP, TURN channel data, too short, or garbage.
    Unknown,
}

/// Classifies a datagram in constant time.
pub fn classify(datagram: &[u8]) -> Packet {
    match *datagram {
        [0..=3, ..] => Packet::Stun,
        [20..=63, ..] => Packet::Dtls,
        [128..=191, 192..=223, ..] => Packet::Rtcp,
        [128..=191, _, ..] => Packet::Rtp,
        _ => Packet::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_are_split_as_rfc_7983_says() {
        for first in 0..=255u8 {
            let expected = match first {
                0..=3 => Packet::Stun,
                20..=63 => Packet::Dtls,
                128..=191 => Packet::Rtp,
                _ => Packet::Unknown,
            };
            assert_eq!(classify(&[first, 0]), expected, "{first}");
        }
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_its_packet_type() {
        for second in 0..=255u8 {
            let expected = if (192..224).contains(&second) { Packet::Rtcp } else { Packet::Rtp };
            assert_eq!(classify(&[0x80, second]), expected, "{second}");
        }
    }

    #[test]
    fn nothing_is_said_of_too_short_media() {
        assert_eq!(classify(&[]), Packet::Unknown);
        assert_eq!(classify(&[0x80]), Packet::Unknown);
    }
}
