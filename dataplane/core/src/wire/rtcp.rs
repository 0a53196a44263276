//! RTCP: a view of compound packets and a writer of them. RFC 3550 6, feedback of RFC 4585 and RFC 5104,
//! reduced size of RFC 5506, and the two drafts that browsers use, REMB and transport-wide congestion control.

mod write;

use super::bytes::{read_u8, read_u16, read_u24, read_u32, read_u64};
pub use write::RtcpWriter;

/// Bytes of the common header.
pub const HEADER_LEN: usize = 4;
/// Bytes of one report block.
pub const REPORT_BLOCK_LEN: usize = 24;

/// Packet types and feedback formats, RFC 3550 12.1, RFC 4585 6, RFC 5104 4.3.
mod kind {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SDES: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
    pub(super) const NACK: u8 = 1;
    pub(super) const TRANSPORT_CC: u8 = 15;
    pub(super) const PLI: u8 = 1;
    pub(super) const FIR: u8 = 4;
    pub(super) const APPLICATION: u8 = 15;
}

/// What marks an application layer feedback message as REMB.
const REMB_IDENTIFIER: &[u8; 4] = b"REMB";

/// Why (part of) a compound packet cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// Less than a header is left.
    #[error("RTCP packet ends within its header")]
    TooShort,
    /// The version is not 2.
    #[error("RTCP version is not 2")]
    BadVersion,
    /// The length field or the padding points past the end.
    #[error("RTCP length exceeds the datagram")]
    BadLength,
    /// The packet is shorter than its type demands.
    #[error("RTCP packet of type {0} is truncated")]
    Truncated(u8),
}

/// The packets of a datagram, in order.
pub fn packets(datagram: &[u8]) -> Compound<'_> {
    Compound { rest: datagram }
}

/// Iterator of [`packets`]. Wrong framing ends it after one error; a wrong packet within is an error of its own
/// and the next one follows.
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Rtcp<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(self.split().and_then(|(header, body)| Rtcp::parse(header, body)))
    }
}

impl<'a> Compound<'a> {
    /// Takes one packet off the front: its common header and its body without padding.
    fn split(&mut self) -> Result<([u8; HEADER_LEN], &'a [u8]), RtcpError> {
        let rest = std::mem::take(&mut self.rest);
        let (&header, after) = rest.split_first_chunk::<HEADER_LEN>().ok_or(RtcpError::TooShort)?;
        if header[0] >> 6 != 2 {
            return Err(RtcpError::BadVersion);
        }
        let len = 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
        let (mut body, rest) = after.split_at_checked(len).ok_or(RtcpError::BadLength)?;
        if header[0] & 0x20 != 0 {
            let padding = usize::from(*body.last().ok_or(RtcpError::BadLength)?);
            let kept = body.len().checked_sub(padding).filter(|_| padding != 0).ok_or(RtcpError::BadLength)?;
            body = &body[..kept];
        }
        self.rest = rest;
        Ok((header, body))
    }
}

/// One packet.
#[derive(Clone, Debug)]
pub enum Rtcp<'a> {
    /// SR.
    SenderReport {
        /// Whose report.
        ssrc: u32,
        /// 32.32 fixed point seconds since 1900.
        ntp: u64,
        /// The RTP timestamp of that moment.
        rtp: u32,
        /// Packets sent.
        packets: u32,
        /// Payload octets sent.
        octets: u32,
        /// What it received.
        blocks: ReportBlocks<'a>,
    },
    /// RR.
    ReceiverReport {
        /// Whose report.
        ssrc: u32,
        /// What it received.
        blocks: ReportBlocks<'a>,
    },
    /// SDES; its items are of no use here.
    Sdes,
    /// BYE.
    Bye {
        /// Sources that end.
        ssrcs: Ssrcs<'a>,
    },
    /// Picture loss indication.
    Pli {
        /// Who asks.
        sender: u32,
        /// For which source.
        media: u32,
    },
    /// Full intra request.
    Fir {
        /// Who asks.
        sender: u32,
        /// For which sources, with a number that changes with each new request.
        entries: FirEntries<'a>,
    },
    /// Generic NACK.
    Nack {
        /// Who asks.
        sender: u32,
        /// Of which source.
        media: u32,
        /// Sequence numbers to send again.
        lost: NackSequences<'a>,
    },
    /// Transport-wide congestion control feedback; see [`super::twcc::parse_feedback`].
    TransportCc {
        /// Who reports.
        sender: u32,
        /// Any source of the transport.
        media: u32,
        /// The feedback control information.
        fci: &'a [u8],
    },
    /// Receiver estimated maximum bitrate.
    Remb {
        /// Who reports.
        sender: u32,
        /// Bits per second.
        bitrate_bps: u64,
        /// Sources that share it.
        ssrcs: Ssrcs<'a>,
    },
    /// Anything else, skipped.
    Other {
        /// Its type.
        packet_type: u8,
        /// Its count or format, 0 to 31.
        count: u8,
    },
}

impl<'a> Rtcp<'a> {
    fn parse(header: [u8; HEADER_LEN], body: &'a [u8]) -> Result<Self, RtcpError> {
        let [first, packet_type, ..] = header;
        let count = first & 0x1f;
        let parsed = match (packet_type, count) {
            (kind::SENDER_REPORT, _) => Self::sender_report(body, count),
            (kind::RECEIVER_REPORT, _) => Self::receiver_report(body, count),
            (kind::SDES, _) => Some(Self::Sdes),
            (kind::BYE, _) => body.get(..4 * usize::from(count)).map(|rest| Self::Bye { ssrcs: Ssrcs { rest } }),
            (kind::TRANSPORT_FEEDBACK | kind::PAYLOAD_FEEDBACK, _) => Self::feedback(packet_type, count, body),
            _ => Some(Self::Other { packet_type, count }),
        };
        parsed.ok_or(RtcpError::Truncated(packet_type))
    }

    fn sender_report(body: &'a [u8], count: u8) -> Option<Self> {
        Some(Self::SenderReport {
            ssrc: read_u32(body, 0)?,
            ntp: read_u64(body, 4)?,
            rtp: read_u32(body, 12)?,
            packets: read_u32(body, 16)?,
            octets: read_u32(body, 20)?,
            blocks: ReportBlocks::parse(body.get(24..)?, count)?,
        })
    }

    fn receiver_report(body: &'a [u8], count: u8) -> Option<Self> {
        Some(Self::ReceiverReport { ssrc: read_u32(body, 0)?, blocks: ReportBlocks::parse(body.get(4..)?, count)? })
    }

    fn feedback(packet_type: u8, format: u8, body: &'a [u8]) -> Option<Self> {
        let (sender, media, fci) = (read_u32(body, 0)?, read_u32(body, 4)?, body.get(8..)?);
        Some(match (packet_type, format) {
            (kind::TRANSPORT_FEEDBACK, kind::NACK) => {
                Self::Nack { sender, media, lost: NackSequences { rest: fci, base: 0, mask: 0 } }
            }
            (kind::TRANSPORT_FEEDBACK, kind::TRANSPORT_CC) => Self::TransportCc { sender, media, fci },
            (kind::PAYLOAD_FEEDBACK, kind::PLI) => Self::Pli { sender, media },
            (kind::PAYLOAD_FEEDBACK, kind::FIR) => Self::Fir { sender, entries: FirEntries { rest: fci } },
            (kind::PAYLOAD_FEEDBACK, kind::APPLICATION) if fci.starts_with(REMB_IDENTIFIER) => {
                let count = usize::from(read_u8(fci, 4)?);
                let exponent = read_u8(fci, 5)? >> 2;
                let mantissa = u64::from(read_u24(fci, 5)? & 0x3_ffff);
                // 18 bits shifted by up to 63 may leave 64: that sender has no limit.
                let bitrate_bps =
                    if mantissa.leading_zeros() < u32::from(exponent) { u64::MAX } else { mantissa << exponent };
                Self::Remb { sender, bitrate_bps, ssrcs: Ssrcs { rest: fci.get(8..8 + 4 * count)? } }
            }
            _ => Self::Other { packet_type, count: format },
        })
    }
}

/// One report block, RFC 3550 6.4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source that is reported on.
    pub ssrc: u32,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost in all, 24 bits signed: duplicates make it negative.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with the count of roll-overs in the upper 16 bits.
    pub highest_sequence: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report, or 0.
    pub lsr: u32,
    /// Since that report, in 1/65536 s.
    pub dlsr: u32,
}

impl ReportBlock {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let lost = read_u24(bytes, 5)?;
        Some(Self {
            ssrc: read_u32(bytes, 0)?,
            fraction_lost: read_u8(bytes, 4)?,
            // Moves the sign bit of 24 to that of 32 and back.
            cumulative_lost: (lost << 8) as i32 >> 8,
            highest_sequence: read_u32(bytes, 8)?,
            jitter: read_u32(bytes, 12)?,
            lsr: read_u32(bytes, 16)?,
            dlsr: read_u32(bytes, 20)?,
        })
    }
}

/// Report blocks of one packet.
#[derive(Clone, Debug, Default)]
pub struct ReportBlocks<'a> {
    rest: &'a [u8],
}

impl<'a> ReportBlocks<'a> {
    /// The first `count` blocks; profile-specific extensions may follow them.
    fn parse(bytes: &'a [u8], count: u8) -> Option<Self> {
        Some(Self { rest: bytes.get(..REPORT_BLOCK_LEN * usize::from(count))? })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<Self::Item> {
        let (block, rest) = self.rest.split_at_checked(REPORT_BLOCK_LEN)?;
        self.rest = rest;
        ReportBlock::parse(block)
    }
}

/// SSRCs of one packet.
#[derive(Clone, Debug, Default)]
pub struct Ssrcs<'a> {
    rest: &'a [u8],
}

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<Self::Item> {
        let (ssrc, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*ssrc))
    }
}

/// Entries of a FIR: source and request number.
#[derive(Clone, Debug, Default)]
pub struct FirEntries<'a> {
    rest: &'a [u8],
}

impl Iterator for FirEntries<'_> {
    type Item = (u32, u8);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[a, b, c, d, sequence, ..], rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some((u32::from_be_bytes([a, b, c, d]), sequence))
    }
}

/// Sequence numbers of a generic NACK, RFC 4585 6.2.1, in the order of the packet.
#[derive(Clone, Debug, Default)]
pub struct NackSequences<'a> {
    rest: &'a [u8],
    base: u16,
    /// Bits still to give of the current pair; bit n is `base + 1 + n`.
    mask: u16,
}

impl Iterator for NackSequences<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<Self::Item> {
        if self.mask != 0 {
            let bit = self.mask.trailing_zeros() as u16;
            self.mask &= self.mask - 1;
            return Some(self.base.wrapping_add(1 + bit));
        }
        self.base = read_u16(self.rest, 0)?;
        self.mask = read_u16(self.rest, 2)?;
        self.rest = &self.rest[4..];
        Some(self.base)
    }
}

#[cfg(test)]
mod tests;
