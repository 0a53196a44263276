//! Writers of the STUN messages that an ICE agent sends. Each ends with FINGERPRINT and returns its length, or
//! `None` when it does not fit the buffer.

use std::net::{IpAddr, SocketAddr};

use hmac::Mac;

use super::super::bytes::Cursor;
use super::{
    BINDING, Class, FINGERPRINT_LEN, FINGERPRINT_XOR, HEADER_LEN, INTEGRITY_LEN, IntegrityKey, MAGIC_COOKIE,
    address_mask, attribute, crc32,
};

/// Which side of ICE a request claims for its sender, with the tie-breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// ICE-CONTROLLING.
    Controlling(u64),
    /// ICE-CONTROLLED.
    Controlled(u64),
}

/// Writes a binding success response with `mapped` as XOR-MAPPED-ADDRESS.
pub fn write_binding_success(
    out: &mut [u8],
    transaction_id: [u8; 12],
    mapped: SocketAddr,
    key: &IntegrityKey,
) -> Option<usize> {
    let mut writer = Writer::new(out, Class::Success, transaction_id)?;
    writer.xor_mapped_address(mapped, &transaction_id)?;
    writer.finish(Some(key))
}

/// Writes a binding error response: `code` is 300 to 699, `reason` a phrase for people.
pub fn write_error(
    out: &mut [u8],
    transaction_id: [u8; 12],
    code: u16,
    reason: &str,
    key: Option<&IntegrityKey>,
) -> Option<usize> {
    let mut writer = Writer::new(out, Class::Error, transaction_id)?;
    writer.error_code(code, reason)?;
    writer.finish(key)
}

/// Writes the error response 420 (Unknown Attribute) that lists the `unknown` types.
pub fn write_unknown_attributes(
    out: &mut [u8],
    transaction_id: [u8; 12],
    unknown: &[u16],
    key: Option<&IntegrityKey>,
) -> Option<usize> {
    let mut writer = Writer::new(out, Class::Error, transaction_id)?;
    writer.error_code(420, "Unknown Attribute")?;
    writer.begin(attribute::UNKNOWN_ATTRIBUTES, unknown.len() * 2)?;
    for kind in unknown {
        writer.cursor.put_u16(*kind)?;
    }
    writer.pad()?;
    writer.finish(key)
}

/// Writes a connectivity check, RFC 8445 7.2.2; `username` is `<remote ufrag>:<local ufrag>`.
pub fn write_binding_request(
    out: &mut [u8],
    transaction_id: [u8; 12],
    username: &str,
    priority: u32,
    role: Role,
    use_candidate: bool,
    key: &IntegrityKey,
) -> Option<usize> {
    let mut writer = Writer::new(out, Class::Request, transaction_id)?;
    writer.attribute(attribute::USERNAME, username.as_bytes())?;
    writer.attribute(attribute::PRIORITY, &priority.to_be_bytes())?;
    match role {
        Role::Controlling(tie) => writer.attribute(attribute::ICE_CONTROLLING, &tie.to_be_bytes())?,
        Role::Controlled(tie) => writer.attribute(attribute::ICE_CONTROLLED, &tie.to_be_bytes())?,
    }
    if use_candidate {
        writer.attribute(attribute::USE_CANDIDATE, &[])?;
    }
    writer.finish(Some(key))
}

struct Writer<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Writer<'a> {
    fn new(out: &'a mut [u8], class: Class, transaction_id: [u8; 12]) -> Option<Self> {
        let class = match class {
            Class::Request => 0x0000,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        };
        let mut cursor = Cursor::new(out);
        // BINDING has only bits that no class bit displaces.
        cursor.put_u16(class | BINDING)?;
        cursor.put_u16(0)?;
        cursor.put_u32(MAGIC_COOKIE)?;
        cursor.put(&transaction_id)?;
        Some(Self { cursor })
    }

    fn begin(&mut self, kind: u16, len: usize) -> Option<()> {
        self.cursor.put_u16(kind)?;
        self.cursor.put_u16(u16::try_from(len).ok()?)
    }

    fn pad(&mut self) -> Option<()> {
        let len = self.cursor.len();
        self.cursor.put(&[0; 3][..len.next_multiple_of(4) - len])
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) -> Option<()> {
        self.begin(kind, value.len())?;
        self.cursor.put(value)?;
        self.pad()
    }

    fn error_code(&mut self, code: u16, reason: &str) -> Option<()> {
        self.begin(attribute::ERROR_CODE, 4 + reason.len())?;
        self.cursor.put(&[0, 0, (code / 100) as u8 & 0x07, (code % 100) as u8])?;
        self.cursor.put(reason.as_bytes())?;
        self.pad()
    }

    fn xor_mapped_address(&mut self, address: SocketAddr, transaction_id: &[u8; 12]) -> Option<()> {
        let mask = address_mask(transaction_id);
        let port = address.port() ^ (MAGIC_COOKIE >> 16) as u16;
        let mut ip = [0; 16];
        let (family, len) = match address.ip() {
            IpAddr::V4(v4) => {
                ip[..4].copy_from_slice(&v4.octets());
                (1, 4)
            }
            IpAddr::V6(v6) => {
                ip = v6.octets();
                (2, 16)
            }
        };
        ip.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        self.begin(attribute::XOR_MAPPED_ADDRESS, 4 + len)?;
        self.cursor.put_u16(family)?;
        self.cursor.put_u16(port)?;
        self.cursor.put(&ip[..len])
    }

    /// Sets the header's length as if `more` bytes followed.
    fn set_length(&mut self, more: usize) -> Option<()> {
        let length = u16::try_from(self.cursor.len() + more - HEADER_LEN).ok()?;
        self.cursor.set(2, &length.to_be_bytes())
    }

    fn finish(mut self, key: Option<&IntegrityKey>) -> Option<usize> {
        if let Some(key) = key {
            let written = self.cursor.written();
            let length = u16::try_from(written.len() + 4 + INTEGRITY_LEN - HEADER_LEN).ok()?;
            let tag = key.mac(written, length).finalize().into_bytes();
            self.attribute(attribute::MESSAGE_INTEGRITY, &tag)?;
        }
        self.set_length(4 + FINGERPRINT_LEN)?;
        let crc = crc32::of(self.cursor.written()) ^ FINGERPRINT_XOR;
        self.attribute(attribute::FINGERPRINT, &crc.to_be_bytes())?;
        Some(self.cursor.len())
    }
}
