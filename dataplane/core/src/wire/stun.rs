//! STUN messages as ICE uses them: RFC 8489 with short-term credentials, and the attributes of RFC 8445.

mod crc32;
mod write;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::bytes::{read_u8, read_u16, read_u32, read_u64};
pub use write::{Role, write_binding_request, write_binding_success, write_error, write_unknown_attributes};

/// Method of binding requests and responses.
pub const BINDING: u16 = 0x001;
/// Bytes of the message header.
pub const HEADER_LEN: usize = 20;
/// Most unknown attributes that are reported back.
pub const MAX_UNKNOWN: usize = 8;

const MAGIC_COOKIE: u32 = 0x2112_a442;
/// XORed to the CRC so that it differs from other protocols', RFC 8489 14.7.
const FINGERPRINT_XOR: u32 = 0x5354_554e;
const INTEGRITY_LEN: usize = 20;
const FINGERPRINT_LEN: usize = 4;
const ATTRIBUTE_HEADER_LEN: usize = 4;

/// Attribute types, RFC 8489 18.3 and RFC 8445 16.1.
mod attribute {
    pub(super) const MAPPED_ADDRESS: u16 = 0x0001;
    pub(super) const USERNAME: u16 = 0x0006;
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const ERROR_CODE: u16 = 0x0009;
    pub(super) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(super) const REALM: u16 = 0x0014;
    pub(super) const NONCE: u16 = 0x0015;
    pub(super) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub(super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(super) const PRIORITY: u16 = 0x0024;
    pub(super) const USE_CANDIDATE: u16 = 0x0025;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    pub(super) const ICE_CONTROLLED: u16 = 0x8029;
    pub(super) const ICE_CONTROLLING: u16 = 0x802a;

    /// Comprehension-required attributes that are understood; the rest make a request fail with 420.
    pub(super) const UNDERSTOOD: [u16; 11] = [
        MAPPED_ADDRESS,
        USERNAME,
        MESSAGE_INTEGRITY,
        ERROR_CODE,
        UNKNOWN_ATTRIBUTES,
        REALM,
        NONCE,
        MESSAGE_INTEGRITY_SHA256,
        XOR_MAPPED_ADDRESS,
        PRIORITY,
        USE_CANDIDATE,
    ];
}

/// Why a datagram is not a STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// Shorter than a header, or of another length than the header says.
    #[error("STUN message length does not match the datagram")]
    BadLength,
    /// The first two bits are not 0 or the magic cookie is wrong.
    #[error("not a STUN message of RFC 8489")]
    BadHeader,
    /// An attribute runs past the message's end, or one of fixed length has another.
    #[error("malformed STUN attribute")]
    BadAttribute,
}

/// A short-term credential's key: HMAC-SHA1 with the password already absorbed.
#[derive(Clone)]
pub struct IntegrityKey(Hmac<Sha1>);

impl IntegrityKey {
    /// The key of an ICE password. It is used as it is: ICE passwords are ASCII, which SASLprep leaves alone.
    pub fn new(password: &str) -> Self {
        // HMAC takes keys of any length, so that this cannot fail; a key of no bytes stands in if it did.
        Self(Hmac::new_from_slice(password.as_bytes()).unwrap_or_else(|_| Hmac::new(&Default::default())))
    }

    /// MAC over a message's first bytes with its length field replaced.
    fn mac(&self, message: &[u8], length: u16) -> Hmac<Sha1> {
        let mut mac = self.0.clone();
        mac.update(&message[..2]);
        mac.update(&length.to_be_bytes());
        mac.update(&message[4..]);
        mac
    }
}

impl std::fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IntegrityKey")
    }
}

/// Class of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Expects a response.
    Request,
    /// Expects none.
    Indication,
    /// Success response.
    Success,
    /// Error response.
    Error,
}

/// A well-formed message. Attributes that follow MESSAGE-INTEGRITY are ignored, except FINGERPRINT; of repeated
/// attributes the first counts.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// End of the attributes that count.
    body_end: usize,
    /// Offset of MESSAGE-INTEGRITY.
    integrity: Option<usize>,
    /// Offset of FINGERPRINT, only if it is the last attribute.
    fingerprint: Option<usize>,
}

impl<'a> Message<'a> {
    /// Checks the header and the attributes' lengths of a whole datagram. Costs one pass over the attributes.
    ///
    /// # Errors
    /// [`StunError`] says what is malformed.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, StunError> {
        let (Some(kind), Some(length), Some(cookie)) =
            (read_u16(datagram, 0), read_u16(datagram, 2), read_u32(datagram, 4))
        else {
            return Err(StunError::BadLength);
        };
        if datagram.len() != HEADER_LEN + usize::from(length) || length % 4 != 0 {
            return Err(StunError::BadLength);
        }
        if kind & 0xc000 != 0 || cookie != MAGIC_COOKIE {
            return Err(StunError::BadHeader);
        }
        let mut message = Self { bytes: datagram, body_end: datagram.len(), integrity: None, fingerprint: None };
        let mut at = HEADER_LEN;
        while at < datagram.len() {
            let (kind, value) = attribute_at(datagram, at).ok_or(StunError::BadAttribute)?;
            let end = at + ATTRIBUTE_HEADER_LEN + value.len().next_multiple_of(4);
            if end > datagram.len() {
                return Err(StunError::BadAttribute);
            }
            match kind {
                attribute::MESSAGE_INTEGRITY if message.integrity.is_none() => {
                    if value.len() != INTEGRITY_LEN {
                        return Err(StunError::BadAttribute);
                    }
                    message.integrity = Some(at);
                    message.body_end = message.body_end.min(at);
                }
                attribute::FINGERPRINT if end == datagram.len() => {
                    if value.len() != FINGERPRINT_LEN {
                        return Err(StunError::BadAttribute);
                    }
                    message.fingerprint = Some(at);
                    message.body_end = message.body_end.min(at);
                }
                _ => {}
            }
            at = end;
        }
        Ok(message)
    }

    /// The message's class.
    pub fn class(&self) -> Class {
        match self.kind() & 0x0110 {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        }
    }

    /// The message's method, 12 bits; see [`BINDING`].
    pub fn method(&self) -> u16 {
        let kind = self.kind();
        kind & 0x000f | (kind & 0x00e0) >> 1 | (kind & 0x3e00) >> 2
    }

    /// The 96 bits that a response repeats.
    pub fn transaction_id(&self) -> [u8; 12] {
        self.bytes.get(8..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default()
    }

    /// USERNAME, if it is valid UTF-8.
    pub fn username(&self) -> Option<&'a str> {
        std::str::from_utf8(self.attribute(attribute::USERNAME)?).ok()
    }

    /// PRIORITY.
    pub fn priority(&self) -> Option<u32> {
        self.attribute(attribute::PRIORITY).filter(|value| value.len() == 4).and_then(|value| read_u32(value, 0))
    }

    /// Whether USE-CANDIDATE is there.
    pub fn use_candidate(&self) -> bool {
        self.attribute(attribute::USE_CANDIDATE).is_some()
    }

    /// The tie-breaker of ICE-CONTROLLING.
    pub fn ice_controlling(&self) -> Option<u64> {
        self.tie_breaker(attribute::ICE_CONTROLLING)
    }

    /// The tie-breaker of ICE-CONTROLLED.
    pub fn ice_controlled(&self) -> Option<u64> {
        self.tie_breaker(attribute::ICE_CONTROLLED)
    }

    /// XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS of an old server.
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        match self.attribute(attribute::XOR_MAPPED_ADDRESS) {
            Some(value) => read_address(value, Some(&self.transaction_id())),
            None => read_address(self.attribute(attribute::MAPPED_ADDRESS)?, None),
        }
    }

    /// ERROR-CODE: 300 to 699, and its reason phrase if that is valid UTF-8.
    pub fn error_code(&self) -> Option<(u16, &'a str)> {
        let value = self.attribute(attribute::ERROR_CODE)?;
        let (class, number) = (read_u8(value, 2)? & 0x07, read_u8(value, 3)?);
        if !(3..=6).contains(&class) || number > 99 {
            return None;
        }
        Some((u16::from(class) * 100 + u16::from(number), std::str::from_utf8(&value[4..]).unwrap_or("")))
    }

    /// The types listed in UNKNOWN-ATTRIBUTES of an error response.
    pub fn unknown_attributes(&self) -> impl Iterator<Item = u16> + 'a {
        let value = self.attribute(attribute::UNKNOWN_ATTRIBUTES).unwrap_or_default();
        value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }

    /// Whether there is a MESSAGE-INTEGRITY.
    pub fn has_integrity(&self) -> bool {
        self.integrity.is_some()
    }

    /// Whether MESSAGE-INTEGRITY is there and right, in constant time.
    pub fn verify_integrity(&self, key: &IntegrityKey) -> bool {
        let Some(at) = self.integrity else { return false };
        let value_at = at + ATTRIBUTE_HEADER_LEN;
        let Some(tag) = self.bytes.get(value_at..value_at + INTEGRITY_LEN) else { return false };
        // The length that the sender's message had when it ended with this attribute, RFC 8489 14.5.
        let length = (value_at + INTEGRITY_LEN - HEADER_LEN) as u16;
        key.mac(&self.bytes[..at], length).verify_slice(tag).is_ok()
    }

    /// Whether FINGERPRINT is the last attribute and right.
    pub fn verify_fingerprint(&self) -> bool {
        let Some(at) = self.fingerprint else { return false };
        read_u32(self.bytes, at + ATTRIBUTE_HEADER_LEN) == Some(crc32::of(&self.bytes[..at]) ^ FINGERPRINT_XOR)
    }

    /// Comprehension-required attributes that are not understood: how many, and the first [`MAX_UNKNOWN`].
    pub fn unknown_required(&self) -> (usize, [u16; MAX_UNKNOWN]) {
        let mut first = [0; MAX_UNKNOWN];
        let mut count = 0;
        for (kind, _) in self.attributes() {
            if kind < 0x8000 && !attribute::UNDERSTOOD.contains(&kind) {
                if let Some(slot) = first.get_mut(count) {
                    *slot = kind;
                }
                count += 1;
            }
        }
        (count, first)
    }

    fn kind(&self) -> u16 {
        read_u16(self.bytes, 0).unwrap_or_default()
    }

    fn tie_breaker(&self, kind: u16) -> Option<u64> {
        self.attribute(kind).filter(|value| value.len() == 8).and_then(|value| read_u64(value, 0))
    }

    fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find(|&(found, _)| found == kind).map(|(_, value)| value)
    }

    fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let body = &self.bytes[..self.body_end];
        let mut at = HEADER_LEN;
        std::iter::from_fn(move || {
            let (kind, value) = attribute_at(body, at)?;
            at += ATTRIBUTE_HEADER_LEN + value.len().next_multiple_of(4);
            Some((kind, value))
        })
    }
}

/// The attribute that starts at `at`.
fn attribute_at(bytes: &[u8], at: usize) -> Option<(u16, &[u8])> {
    let len = usize::from(read_u16(bytes, at + 2)?);
    let start = at + ATTRIBUTE_HEADER_LEN;
    Some((read_u16(bytes, at)?, bytes.get(start..start + len)?))
}

/// Reads an address attribute; with a transaction id it is one of the XOR-ed kind.
fn read_address(value: &[u8], xor: Option<&[u8; 12]>) -> Option<SocketAddr> {
    let mut port = read_u16(value, 2)?;
    let mask = xor.map_or([0; 16], address_mask);
    if xor.is_some() {
        port ^= (MAGIC_COOKIE >> 16) as u16;
    }
    let unmask = |byte: usize| value[4 + byte] ^ mask[byte];
    let ip = match (read_u8(value, 1)?, value.len()) {
        (1, 8) => IpAddr::V4(Ipv4Addr::from(std::array::from_fn::<u8, 4, _>(unmask))),
        (2, 20) => IpAddr::V6(Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(unmask))),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// What an address is XOR-ed with: the cookie, then the transaction id, RFC 8489 14.2.
fn address_mask(transaction_id: &[u8; 12]) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(transaction_id);
    mask
}

#[cfg(test)]
mod tests;
