//! The RTP header, RFC 3550 5.1: a parsed copy of its fields, and setters that overwrite them in the packet.

use super::bytes::{read_u16, read_u32};

/// Bytes of the header without CSRCs and extension.
pub const FIXED_HEADER_LEN: usize = 12;

/// Why a packet is not RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// It ends before its header does.
    #[error("RTP packet ends within its header")]
    TooShort,
    /// Its version is not 2.
    #[error("RTP version is not 2")]
    BadVersion,
    /// Its padding is zero bytes long or longer than what follows the header.
    #[error("RTP padding exceeds the payload")]
    BadPadding,
}

/// The fields of one packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// The marker bit: last packet of a video frame, first of a talk spurt.
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// In units of the payload's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Whether the payload ends in padding; see [`payload_len`].
    pub padding: bool,
    /// Bytes before the payload: fixed header, CSRCs and extension block.
    pub header_len: usize,
    /// The extension block, if the X bit is set.
    pub ext: Option<ExtBlock>,
}

/// Where a packet's header extension is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtBlock {
    /// "Defined by profile": 0xBEDE or 0x1000 to 0x100F for RFC 8285.
    pub profile: u16,
    /// Offset in the packet of the first byte after the block's own 4-byte header.
    pub start: usize,
    /// Bytes from `start`, a multiple of 4.
    pub len: usize,
}

impl RtpHeader {
    /// Reads the header of `packet`, which may be encrypted: nothing after the header is looked at.
    ///
    /// # Errors
    /// [`RtpError::TooShort`] and [`RtpError::BadVersion`].
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        let Some(&[first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3]) = packet.first_chunk::<FIXED_HEADER_LEN>()
        else {
            return Err(RtpError::TooShort);
        };
        if first >> 6 != 2 {
            return Err(RtpError::BadVersion);
        }
        let mut header_len = FIXED_HEADER_LEN + 4 * usize::from(first & 0x0f);
        let mut ext = None;
        if first & 0x10 != 0 {
            let profile = read_u16(packet, header_len).ok_or(RtpError::TooShort)?;
            let words = read_u16(packet, header_len + 2).ok_or(RtpError::TooShort)?;
            let block = ExtBlock { profile, start: header_len + 4, len: 4 * usize::from(words) };
            header_len = block.start + block.len;
            ext = Some(block);
        }
        if header_len > packet.len() {
            return Err(RtpError::TooShort);
        }
        Ok(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            padding: first & 0x20 != 0,
            header_len,
            ext,
        })
    }
}

/// Bytes of payload of the decrypted `packet`, without padding. It starts at `header.header_len`.
///
/// # Errors
/// [`RtpError::BadPadding`], and [`RtpError::TooShort`] when `header` is of a longer packet.
pub fn payload_len(packet: &[u8], header: &RtpHeader) -> Result<usize, RtpError> {
    let payload = packet.get(header.header_len..).ok_or(RtpError::TooShort)?;
    if !header.padding {
        return Ok(payload.len());
    }
    match payload.last().map(|&last| usize::from(last)) {
        Some(padding) if (1..=payload.len()).contains(&padding) => Ok(payload.len() - padding),
        _ => Err(RtpError::BadPadding),
    }
}

/// Overwrites the payload type (7 bits), keeping the marker. Packets shorter than a header are left alone,
/// here and in the other setters.
pub fn set_payload_type(packet: &mut [u8], payload_type: u8) {
    if let Some(byte) = packet.get_mut(1) {
        *byte = *byte & 0x80 | payload_type & 0x7f;
    }
}

/// Overwrites the marker bit.
pub fn set_marker(packet: &mut [u8], marker: bool) {
    if let Some(byte) = packet.get_mut(1) {
        *byte = *byte & 0x7f | u8::from(marker) << 7;
    }
}

/// Overwrites the padding bit.
pub fn set_padding(packet: &mut [u8], padding: bool) {
    if let Some(byte) = packet.get_mut(0) {
        *byte = *byte & !0x20 | u8::from(padding) << 5;
    }
}

/// Adds `count` octets of padding behind the packet's `len` bytes in `out`, and sets the padding bit; returns `count`, or
/// `None` if they do not fit. No padding can be 0 octets long.
pub fn pad(out: &mut [u8], len: usize, count: u8) -> Option<usize> {
    let padding = out.get_mut(len..len + usize::from(count))?;
    let (last, others) = padding.split_last_mut()?;
    others.fill(0);
    *last = count;
    set_padding(out, true);
    Some(usize::from(count))
}

/// Overwrites the sequence number.
pub fn set_sequence(packet: &mut [u8], sequence: u16) {
    set(packet, 2, sequence.to_be_bytes());
}

/// Overwrites the timestamp.
pub fn set_timestamp(packet: &mut [u8], timestamp: u32) {
    set(packet, 4, timestamp.to_be_bytes());
}

/// Overwrites the SSRC.
pub fn set_ssrc(packet: &mut [u8], ssrc: u32) {
    set(packet, 8, ssrc.to_be_bytes());
}

/// Writes a header without CSRCs; `has_ext` sets the X bit for a block that follows at [`FIXED_HEADER_LEN`].
/// Returns the bytes written, or `None` if they do not fit.
pub fn write_fixed_header(out: &mut [u8], header: &RtpHeader, has_ext: bool) -> Option<usize> {
    let fixed = out.first_chunk_mut::<FIXED_HEADER_LEN>()?;
    fixed[0] = 0x80 | u8::from(header.padding) << 5 | u8::from(has_ext) << 4;
    fixed[1] = u8::from(header.marker) << 7 | header.payload_type & 0x7f;
    fixed[2..4].copy_from_slice(&header.sequence.to_be_bytes());
    fixed[4..8].copy_from_slice(&header.timestamp.to_be_bytes());
    fixed[8..].copy_from_slice(&header.ssrc.to_be_bytes());
    Some(FIXED_HEADER_LEN)
}

/// The SSRC of a packet whose header has not been parsed.
pub fn ssrc(packet: &[u8]) -> Option<u32> {
    read_u32(packet, 8)
}

fn set<const N: usize>(packet: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(field) = packet.get_mut(at..at + N) {
        field.copy_from_slice(&bytes);
    }
}

#[cfg(test)]
mod tests;
