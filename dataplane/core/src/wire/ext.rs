//! Header extensions, RFC 8285: an iterator over a packet's elements, a writer of a whole block, and the values
//! of the few extensions that Millrace reads or writes itself.

use super::bytes::{read_u16, read_u24};
use super::rtp::RtpHeader;

/// The profile that announces one-byte elements.
pub const ONE_BYTE_PROFILE: u16 = 0xbede;
/// The profile that announces two-byte elements; the low four bits are the application's.
pub const TWO_BYTE_PROFILE: u16 = 0x1000;
/// Bytes before the first element: profile and length.
pub const BLOCK_HEADER_LEN: usize = 4;
/// The id that ends a one-byte block, RFC 8285 4.2.
const STOP_ID: u8 = 15;

/// The elements of a packet's extension block, in order; none when there is no block or its profile is not
/// RFC 8285's. An element that runs past the block ends the iteration.
pub fn elements<'a>(packet: &'a [u8], header: &RtpHeader) -> Elements<'a> {
    let Some(block) = header.ext else { return Elements { rest: &[], two_byte: false } };
    let two_byte = block.profile & 0xfff0 == TWO_BYTE_PROFILE;
    if !two_byte && block.profile != ONE_BYTE_PROFILE {
        return Elements { rest: &[], two_byte };
    }
    Elements { rest: packet.get(block.start..block.start + block.len).unwrap_or_default(), two_byte }
}

/// The data of the first element with `id`.
pub fn element<'a>(packet: &'a [u8], header: &RtpHeader, id: u8) -> Option<&'a [u8]> {
    elements(packet, header).find(|&(found, _)| found == id).map(|(_, data)| data)
}

/// Iterator of [`elements`]: id and data.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    two_byte: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            self.rest = rest;
            if first == 0 {
                continue;
            }
            let (id, len) = if self.two_byte {
                let (&len, rest) = self.rest.split_first()?;
                self.rest = rest;
                (first, usize::from(len))
            } else {
                (first >> 4, usize::from(first & 0x0f) + 1)
            };
            if !self.two_byte && id == STOP_ID || len > self.rest.len() {
                self.rest = &[];
                return None;
            }
            let (data, rest) = self.rest.split_at(len);
            self.rest = rest;
            // Id 0 with a length is not an element but is skipped by its length.
            if id != 0 {
                return Some((id, data));
            }
        }
    }
}

/// Builds one extension block at the front of a buffer.
#[derive(Debug)]
pub struct ExtWriter<'a> {
    out: &'a mut [u8],
    len: usize,
    two_byte: bool,
}

impl<'a> ExtWriter<'a> {
    /// A block of one-byte elements: ids 1 to 14, 1 to 16 bytes of data each.
    pub fn one_byte(out: &'a mut [u8]) -> Self {
        Self { out, len: BLOCK_HEADER_LEN, two_byte: false }
    }

    /// A block of two-byte elements: ids 1 to 255, 0 to 255 bytes of data each.
    pub fn two_byte(out: &'a mut [u8]) -> Self {
        Self { out, len: BLOCK_HEADER_LEN, two_byte: true }
    }

    /// Appends an element and returns the offset of its data from the front of the buffer. `None`, with nothing
    /// written, if the form cannot express it or it does not fit with the padding it may need.
    pub fn push(&mut self, id: u8, data: &[u8]) -> Option<usize> {
        let prefix_len = 1 + usize::from(self.two_byte);
        let end = self.len + prefix_len + data.len();
        if end.next_multiple_of(4) > self.out.len() {
            return None;
        }
        if self.two_byte {
            let len = u8::try_from(data.len()).ok().filter(|_| id != 0)?;
            self.out[self.len] = id;
            self.out[self.len + 1] = len;
        } else {
            if !(1..STOP_ID).contains(&id) || !(1..=16).contains(&data.len()) {
                return None;
            }
            self.out[self.len] = id << 4 | (data.len() - 1) as u8;
        }
        let start = self.len + prefix_len;
        self.out[start..end].copy_from_slice(data);
        self.len = end;
        Some(start)
    }

    /// Pads the block to 32 bits, writes its header and returns its bytes in all, or 0 if it has no element.
    pub fn finish(self) -> usize {
        if self.len == BLOCK_HEADER_LEN {
            return 0;
        }
        let end = self.len.next_multiple_of(4);
        self.out[self.len..end].fill(0);
        let profile = if self.two_byte { TWO_BYTE_PROFILE } else { ONE_BYTE_PROFILE };
        let words = ((end - BLOCK_HEADER_LEN) / 4) as u16;
        self.out[..2].copy_from_slice(&profile.to_be_bytes());
        self.out[2..4].copy_from_slice(&words.to_be_bytes());
        end
    }
}

/// The value of abs-send-time: seconds modulo 64 as 6.18 bit fixed point.
pub fn abs_send_time(micros: u64) -> [u8; 3] {
    // 64 s in 18 fractional bits are 24 bits: the quotient fits.
    let [_, a, b, c] = ((((micros % 64_000_000) << 18) / 1_000_000) as u32).to_be_bytes();
    [a, b, c]
}

/// Reads abs-send-time as its 24 bits, in units of 2^-18 s modulo 64 s.
pub fn parse_abs_send_time(data: &[u8]) -> Option<u32> {
    read_u24(data, 0).filter(|_| data.len() == 3)
}

/// The value of transport-wide-cc.
pub fn transport_cc(sequence: u16) -> [u8; 2] {
    sequence.to_be_bytes()
}

/// Reads transport-wide-cc; version 2 of the extension appends two bytes, which are ignored.
pub fn parse_transport_cc(data: &[u8]) -> Option<u16> {
    read_u16(data, 0)
}

/// A client-to-mixer audio level, RFC 6464.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// Whether the sender thinks that it is speech.
    pub voice: bool,
    /// 0 (loudest) to 127 (silence), in -dBov.
    pub level: u8,
}

impl AudioLevel {
    /// Reads the value.
    pub fn parse(data: &[u8]) -> Option<Self> {
        data.first().map(|&byte| Self { voice: byte & 0x80 != 0, level: byte & 0x7f })
    }

    /// The value's byte.
    pub fn to_byte(self) -> u8 {
        u8::from(self.voice) << 7 | self.level & 0x7f
    }
}

#[cfg(test)]
mod tests;
