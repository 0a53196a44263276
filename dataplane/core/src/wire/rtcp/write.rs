//! Writes compound packets into the caller's buffer, packet by packet.

use super::super::bytes::Cursor;
use super::super::twcc::{self, Feedback};
use super::{REMB_IDENTIFIER, ReportBlock, kind};

/// Most report blocks, SSRCs or items that the 5-bit count can tell.
const MAX_COUNT: usize = 31;
/// The SDES item that names a participant.
const CNAME: u8 = 1;

/// A compound packet being written. Each method appends one packet and answers whether it fitted; one that did
/// not fit leaves what was written before as it was.
#[derive(Debug)]
pub struct RtcpWriter<'a> {
    cursor: Cursor<'a>,
}

impl<'a> RtcpWriter<'a> {
    /// Starts at the front of `out`.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { cursor: Cursor::new(out) }
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.cursor.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.cursor.room()
    }

    /// Appends an SR with at most 31 blocks; `ntp` as in [`super::Rtcp::SenderReport`].
    pub fn sender_report(
        &mut self,
        ssrc: u32,
        ntp: u64,
        rtp: u32,
        packets: u32,
        octets: u32,
        blocks: &[ReportBlock],
    ) -> bool {
        self.packet(kind::SENDER_REPORT, blocks.len(), |cursor| {
            cursor.put_u32(ssrc)?;
            cursor.put(&ntp.to_be_bytes())?;
            cursor.put_u32(rtp)?;
            cursor.put_u32(packets)?;
            cursor.put_u32(octets)?;
            blocks.iter().try_for_each(|block| put_block(cursor, block))
        })
    }

    /// Appends an RR with at most 31 blocks.
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> bool {
        self.packet(kind::RECEIVER_REPORT, blocks.len(), |cursor| {
            cursor.put_u32(ssrc)?;
            blocks.iter().try_for_each(|block| put_block(cursor, block))
        })
    }

    /// Appends an SDES with one CNAME of at most 255 bytes.
    pub fn sdes_cname(&mut self, ssrc: u32, cname: &str) -> bool {
        let Ok(len) = u8::try_from(cname.len()) else { return false };
        self.packet(kind::SDES, 1, |cursor| {
            cursor.put_u32(ssrc)?;
            cursor.put(&[CNAME, len])?;
            cursor.put(cname.as_bytes())?;
            // The list of items ends with at least one zero byte on a 32-bit boundary, RFC 3550 6.5.
            let items = 2 + cname.len();
            cursor.put(&[0; 4][..4 - items % 4])
        })
    }

    /// Appends a BYE of one source.
    pub fn bye(&mut self, ssrc: u32) -> bool {
        self.packet(kind::BYE, 1, |cursor| cursor.put_u32(ssrc))
    }

    /// Appends a PLI.
    pub fn pli(&mut self, sender: u32, media: u32) -> bool {
        self.packet(kind::PAYLOAD_FEEDBACK, usize::from(kind::PLI), |cursor| {
            cursor.put_u32(sender)?;
            cursor.put_u32(media)
        })
    }

    /// Appends a FIR for one source; `sequence` changes with each new request.
    pub fn fir(&mut self, sender: u32, media: u32, sequence: u8) -> bool {
        self.packet(kind::PAYLOAD_FEEDBACK, usize::from(kind::FIR), |cursor| {
            cursor.put_u32(sender)?;
            // The media field of the header is unused, RFC 5104 4.3.1.2.
            cursor.put_u32(0)?;
            cursor.put_u32(media)?;
            cursor.put(&[sequence, 0, 0, 0])
        })
    }

    /// Appends a generic NACK of `lost`, which ascends (through the roll-over) and is not empty.
    pub fn nack(&mut self, sender: u32, media: u32, lost: &[u16]) -> bool {
        if lost.is_empty() {
            return false;
        }
        self.packet(kind::TRANSPORT_FEEDBACK, usize::from(kind::NACK), |cursor| {
            cursor.put_u32(sender)?;
            cursor.put_u32(media)?;
            let mut lost = lost.iter().copied().peekable();
            while let Some(base) = lost.next() {
                let mut mask = 0u16;
                while let Some(bit) = lost.peek().map(|next| next.wrapping_sub(base)).filter(|bit| *bit <= 16) {
                    // A repeated number is in the pair already.
                    mask |= bit.checked_sub(1).map_or(0, |shift| 1 << shift);
                    lost.next();
                }
                cursor.put_u16(base)?;
                cursor.put_u16(mask)?;
            }
            Some(())
        })
    }

    /// Appends a REMB of `bitrate_bps` for at most 255 `ssrcs`. The format keeps 18 significant bits, rounded down.
    pub fn remb(&mut self, sender: u32, bitrate_bps: u64, ssrcs: &[u32]) -> bool {
        let Ok(count) = u8::try_from(ssrcs.len()) else { return false };
        let exponent = (u64::BITS - bitrate_bps.leading_zeros()).saturating_sub(18);
        let mantissa = (bitrate_bps >> exponent) as u32;
        self.packet(kind::PAYLOAD_FEEDBACK, usize::from(kind::APPLICATION), |cursor| {
            cursor.put_u32(sender)?;
            cursor.put_u32(0)?;
            cursor.put(REMB_IDENTIFIER)?;
            cursor.put_u32(u32::from(count) << 24 | exponent << 18 | mantissa)?;
            ssrcs.iter().try_for_each(|ssrc| cursor.put_u32(*ssrc))
        })
    }

    /// Appends transport-wide feedback on the first of `arrivals` and returns how many it covers, 0 if none
    /// fits; see [`twcc::write_feedback`].
    pub fn transport_cc(&mut self, feedback: Feedback, arrivals: &[Option<i64>]) -> usize {
        match twcc::write_feedback(self.cursor.rest(), feedback, arrivals) {
            Some(written) => {
                self.cursor.advance(written.len);
                written.covered
            }
            None => 0,
        }
    }

    fn packet(&mut self, packet_type: u8, count: usize, body: impl FnOnce(&mut Cursor<'a>) -> Option<()>) -> bool {
        let start = self.cursor.len();
        if count > MAX_COUNT || self.write(start, packet_type, count as u8, body).is_none() {
            self.cursor.truncate(start);
            return false;
        }
        true
    }

    fn write(
        &mut self,
        start: usize,
        packet_type: u8,
        count: u8,
        body: impl FnOnce(&mut Cursor<'a>) -> Option<()>,
    ) -> Option<()> {
        self.cursor.put(&[0x80 | count, packet_type, 0, 0])?;
        body(&mut self.cursor)?;
        let words = u16::try_from((self.cursor.len() - start) / 4 - 1).ok()?;
        self.cursor.set(start + 2, &words.to_be_bytes())
    }
}

fn put_block(cursor: &mut Cursor<'_>, block: &ReportBlock) -> Option<()> {
    /// Range of the 24-bit signed count, which saturates as RFC 3550 A.3 does.
    const MAX_LOST: i32 = (1 << 23) - 1;
    let lost = block.cumulative_lost.clamp(-MAX_LOST - 1, MAX_LOST) as u32 & 0x00ff_ffff;
    cursor.put_u32(block.ssrc)?;
    cursor.put_u32(u32::from(block.fraction_lost) << 24 | lost)?;
    cursor.put_u32(block.highest_sequence)?;
    cursor.put_u32(block.jitter)?;
    cursor.put_u32(block.lsr)?;
    cursor.put_u32(block.dlsr)
}
