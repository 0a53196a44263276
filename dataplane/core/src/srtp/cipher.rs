//! The transforms themselves: one packet, one index, in place.
//!
//! Both kinds are keyed once. aws-lc-rs keeps the expanded AES keys, in GCM's case with the hash key; of HMAC's key
//! there are the states after its block.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::EncryptingKey;
use dataplane_protocol::SrtpProfile;
use subtle::ConstantTimeEq;

use super::SrtpError;
use super::kdf::{GCM_SALT_LEN, KeySet, apply_counter_mode, counter_mode_key};
use super::tags::{MacKey, Tags};

/// Bytes of the GCM tag, RFC 7714 13.
pub(super) const GCM_TAG_LEN: usize = 16;
/// Bytes of the truncated HMAC-SHA1 of the `_80` profiles.
pub(super) const HMAC_TAG_LEN: usize = 10;
/// Bytes of SRTCP's E bit and index.
pub(super) const RTCP_INDEX_LEN: usize = 4;
/// Bytes of an RTCP packet that stay in the clear: common header and SSRC.
pub(super) const RTCP_CLEAR_LEN: usize = 8;
/// The E bit: the packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;

/// A keyed SRTP transform.
pub enum RtpCipher {
    /// RFC 7714.
    Gcm(Gcm),
    /// RFC 3711 with HMAC-SHA1.
    Cm(Box<Cm>),
}

/// A keyed SRTCP transform.
pub enum RtcpCipher {
    /// RFC 7714.
    Gcm(Gcm),
    /// RFC 3711 with HMAC-SHA1.
    Cm(Box<Cm>),
}

/// AES-GCM with its session salt.
pub struct Gcm {
    key: LessSafeKey,
    salt: [u8; GCM_SALT_LEN],
}

/// AES counter mode with its session salt, and HMAC-SHA1.
pub struct Cm {
    key: EncryptingKey,
    salt: [u8; 14],
    mac: MacKey,
}

impl RtpCipher {
    /// Keys a transform.
    ///
    /// # Errors
    /// [`SrtpError::BadKey`].
    pub fn new(profile: SrtpProfile, keys: &KeySet) -> Result<Self, SrtpError> {
        Ok(match profile {
            SrtpProfile::None => return Err(SrtpError::BadKey),
            SrtpProfile::Aes128CmSha1_80 => Self::Cm(Box::new(Cm::new(keys)?)),
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => Self::Gcm(Gcm::new(keys)?),
        })
    }

    /// Bytes that sealing adds.
    pub fn overhead(&self) -> usize {
        match self {
            Self::Gcm(_) => GCM_TAG_LEN,
            Self::Cm(_) => HMAC_TAG_LEN,
        }
    }

    /// Seals the `len` bytes in `buffer` and appends the tag; returns the new length. `index` is the 48-bit packet
    /// index.
    ///
    /// # Errors
    /// [`SrtpError::NoRoom`], and [`SrtpError::TooShort`] when `header_len` exceeds `len`.
    pub fn seal(
        &self,
        buffer: &mut [u8],
        len: usize,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let end = len + self.overhead();
        let (packet, tag) = buffer.get_mut(..end).ok_or(SrtpError::NoRoom)?.split_at_mut(len);
        let (header, payload) = packet.split_at_mut_checked(header_len).ok_or(SrtpError::TooShort)?;
        match self {
            Self::Gcm(gcm) => tag.copy_from_slice(&gcm.seal(gcm.rtp_nonce(ssrc, index), header, payload)?),
            Self::Cm(cm) => {
                apply_counter_mode(&cm.key, cm.iv(ssrc, index), payload)?;
                tag.copy_from_slice(&cm.mac.tag(packet, roc(index))[..HMAC_TAG_LEN]);
            }
        }
        Ok(end)
    }

    /// As [`Self::seal`], but may leave the tag to `tags`, which write it later into the place that is left for it.
    ///
    /// # Errors
    /// As [`Self::seal`].
    #[inline]
    pub(super) fn seal_for(
        &self,
        tags: &mut Tags,
        buffer: &mut [u8],
        len: usize,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let Self::Cm(cm) = self else { return self.seal(buffer, len, header_len, ssrc, index) };
        let end = len + HMAC_TAG_LEN;
        let packet = &mut buffer.get_mut(..end).ok_or(SrtpError::NoRoom)?[..len];
        let payload = packet.get_mut(header_len..).ok_or(SrtpError::TooShort)?;
        apply_counter_mode(&cm.key, cm.iv(ssrc, index), payload)?;
        tags.later(len, roc(index), cm.mac);
        Ok(end)
    }

    /// Opens a packet and returns its length without the tag.
    ///
    /// # Errors
    /// [`SrtpError::TooShort`], [`SrtpError::AuthFailed`]; after the latter the payload's bytes are undefined.
    pub fn open(&self, packet: &mut [u8], header_len: usize, ssrc: u32, index: u64) -> Result<usize, SrtpError> {
        let len = packet.len().checked_sub(self.overhead()).ok_or(SrtpError::TooShort)?;
        let (packet, tag) = packet.split_at_mut(len);
        let (header, payload) = packet.split_at_mut_checked(header_len).ok_or(SrtpError::TooShort)?;
        match self {
            Self::Gcm(gcm) => gcm.open(gcm.rtp_nonce(ssrc, index), header, payload, tag)?,
            Self::Cm(cm) => {
                cm.verify(packet, roc(index), tag)?;
                apply_counter_mode(&cm.key, cm.iv(ssrc, index), &mut packet[header_len..])?;
            }
        }
        Ok(len)
    }
}

impl RtcpCipher {
    /// Keys a transform.
    ///
    /// # Errors
    /// [`SrtpError::BadKey`].
    pub fn new(profile: SrtpProfile, keys: &KeySet) -> Result<Self, SrtpError> {
        Ok(match profile {
            SrtpProfile::None => return Err(SrtpError::BadKey),
            SrtpProfile::Aes128CmSha1_80 => Self::Cm(Box::new(Cm::new(keys)?)),
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => Self::Gcm(Gcm::new(keys)?),
        })
    }

    /// Bytes that sealing adds.
    pub fn overhead(&self) -> usize {
        RTCP_INDEX_LEN
            + match self {
                Self::Gcm(_) => GCM_TAG_LEN,
                Self::Cm(_) => HMAC_TAG_LEN,
            }
    }

    /// Encrypts and seals the `len` bytes in `buffer`, appends tag and index, and returns the new length. `index` has
    /// 31 bits.
    ///
    /// # Errors
    /// [`SrtpError::NoRoom`], and [`SrtpError::TooShort`] when there is no SSRC.
    pub fn seal(&self, buffer: &mut [u8], len: usize, index: u32) -> Result<usize, SrtpError> {
        let end = len + self.overhead();
        let (packet, trailer) = buffer.get_mut(..end).ok_or(SrtpError::NoRoom)?.split_at_mut(len);
        let ssrc = rtcp_ssrc(packet)?;
        let word = (index | ENCRYPTED).to_be_bytes();
        match self {
            // Header, ciphertext, tag, index: RFC 7714 9.
            Self::Gcm(gcm) => {
                let (header, payload) = packet.split_at_mut(RTCP_CLEAR_LEN);
                let (tag, trailer) = trailer.split_at_mut(GCM_TAG_LEN);
                let aad = rtcp_aad(header, word);
                tag.copy_from_slice(&gcm.seal(gcm.rtcp_nonce(ssrc, index), &aad, payload)?);
                trailer.copy_from_slice(&word);
            }
            // Header, ciphertext, index, tag: RFC 3711 3.4.
            Self::Cm(cm) => {
                let (trailer, tag) = trailer.split_at_mut(RTCP_INDEX_LEN);
                trailer.copy_from_slice(&word);
                apply_counter_mode(&cm.key, cm.iv(ssrc, u64::from(index)), &mut packet[RTCP_CLEAR_LEN..])?;
                tag.copy_from_slice(&cm.mac.tag(packet, word)[..HMAC_TAG_LEN]);
            }
        }
        Ok(end)
    }

    /// The index that a packet claims, before it is authenticated.
    ///
    /// # Errors
    /// [`SrtpError::TooShort`].
    pub fn claimed_index(&self, packet: &[u8]) -> Result<u32, SrtpError> {
        Ok(self.word(packet)? & !ENCRYPTED)
    }

    /// Opens a packet, encrypted or only authenticated, and returns its length without tag and index.
    ///
    /// # Errors
    /// [`SrtpError::TooShort`], [`SrtpError::AuthFailed`]; after the latter the bytes after the SSRC are undefined.
    pub fn open(&self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let word = self.word(packet)?;
        let (index, encrypted) = (word & !ENCRYPTED, word & ENCRYPTED != 0);
        let ssrc = rtcp_ssrc(packet)?;
        let len = packet.len() - self.overhead();
        match self {
            Self::Gcm(gcm) => {
                let nonce = gcm.rtcp_nonce(ssrc, index);
                let sealed = &mut packet[..len + GCM_TAG_LEN];
                if encrypted {
                    let (header, sealed) = sealed.split_at_mut(RTCP_CLEAR_LEN);
                    let (payload, tag) = sealed.split_at_mut(len - RTCP_CLEAR_LEN);
                    gcm.open(nonce, &rtcp_aad(header, word.to_be_bytes()), payload, tag)?;
                } else {
                    gcm.open_clear(nonce, sealed, len, word.to_be_bytes())?;
                }
            }
            Self::Cm(cm) => {
                let (packet, trailer) = packet.split_at_mut(len);
                let (word, tag) = trailer.split_first_chunk().ok_or(SrtpError::TooShort)?;
                cm.verify(packet, *word, tag)?;
                if encrypted {
                    apply_counter_mode(&cm.key, cm.iv(ssrc, u64::from(index)), &mut packet[RTCP_CLEAR_LEN..])?;
                }
            }
        }
        Ok(len)
    }

    /// The E bit and index; checks that the packet has room for them, the tag and a header.
    fn word(&self, packet: &[u8]) -> Result<u32, SrtpError> {
        let len = packet.len().checked_sub(self.overhead()).ok_or(SrtpError::TooShort)?;
        if len < RTCP_CLEAR_LEN {
            return Err(SrtpError::TooShort);
        }
        let at = match self {
            Self::Gcm(_) => len + GCM_TAG_LEN,
            Self::Cm(_) => len,
        };
        let word = packet.get(at..).and_then(|rest| rest.first_chunk()).ok_or(SrtpError::TooShort)?;
        Ok(u32::from_be_bytes(*word))
    }
}

impl Gcm {
    fn new(keys: &KeySet) -> Result<Self, SrtpError> {
        let algorithm = if keys.encryption().len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, keys.encryption()).map_err(|_| SrtpError::BadKey)?;
        let salt = *keys.salt().first_chunk().ok_or(SrtpError::BadKey)?;
        Ok(Self { key: LessSafeKey::new(key), salt })
    }

    /// RFC 7714 8.1: 16 zero bits, SSRC, roll-over counter and sequence number.
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> Nonce {
        self.nonce(u128::from(ssrc) << 48 | u128::from(index & 0xffff_ffff_ffff))
    }

    /// RFC 7714 9.1: 16 zero bits, SSRC, 16 zero bits and the 31-bit index.
    fn rtcp_nonce(&self, ssrc: u32, index: u32) -> Nonce {
        self.nonce(u128::from(ssrc) << 48 | u128::from(index))
    }

    fn nonce(&self, low_96_bits: u128) -> Nonce {
        let mut nonce = self.salt;
        nonce.iter_mut().zip(&low_96_bits.to_be_bytes()[4..]).for_each(|(byte, mask)| *byte ^= mask);
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&self, nonce: Nonce, aad: &[u8], data: &mut [u8]) -> Result<[u8; GCM_TAG_LEN], SrtpError> {
        let tag =
            self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), data).map_err(|_| SrtpError::KeyExhausted)?;
        tag.as_ref().try_into().map_err(|_| SrtpError::BadKey)
    }

    fn open(&self, nonce: Nonce, aad: &[u8], data: &mut [u8], tag: &[u8]) -> Result<(), SrtpError> {
        self.key
            .open_in_place_separate_tag(nonce, Aad::from(aad), tag, data)
            .map(|_| ())
            .map_err(|_| SrtpError::AuthFailed)
    }

    /// Authenticates an SRTCP packet whose E bit is 0: all of it and the index word are associated data, and the
    /// plaintext is empty. The word takes the tag's place in the buffer for as long as that takes, so that both are
    /// one slice.
    fn open_clear(
        &self,
        nonce: Nonce,
        sealed: &mut [u8],
        len: usize,
        word: [u8; RTCP_INDEX_LEN],
    ) -> Result<(), SrtpError> {
        let tag: [u8; GCM_TAG_LEN] = *sealed[len..].first_chunk().ok_or(SrtpError::TooShort)?;
        sealed[len..len + RTCP_INDEX_LEN].copy_from_slice(&word);
        let opened = self.open(nonce, &sealed[..len + RTCP_INDEX_LEN], &mut [], &tag);
        sealed[len..].copy_from_slice(&tag);
        opened
    }
}

impl Cm {
    fn new(keys: &KeySet) -> Result<Self, SrtpError> {
        Ok(Self {
            key: counter_mode_key(keys.encryption())?,
            salt: *keys.salt(),
            mac: MacKey::new(keys.authentication()),
        })
    }

    /// RFC 3711 4.1.1: salt, SSRC and index XOR-ed, above 16 bits that count blocks.
    fn iv(&self, ssrc: u32, index: u64) -> [u8; 16] {
        let mut iv = (u128::from(ssrc) << 64 | u128::from(index & 0xffff_ffff_ffff) << 16).to_be_bytes();
        iv.iter_mut().zip(self.salt).for_each(|(byte, salt)| *byte ^= salt);
        iv
    }

    fn verify(&self, packet: &[u8], suffix: [u8; 4], tag: &[u8]) -> Result<(), SrtpError> {
        let right = self.mac.tag(packet, suffix);
        if bool::from(right[..HMAC_TAG_LEN].ct_eq(tag)) { Ok(()) } else { Err(SrtpError::AuthFailed) }
    }
}

/// The roll-over counter, which HMAC covers after the packet, RFC 3711 4.2.
fn roc(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// Associated data of an encrypted SRTCP packet, RFC 7714 9.2: the clear header and the index word.
fn rtcp_aad(header: &[u8], word: [u8; RTCP_INDEX_LEN]) -> [u8; RTCP_CLEAR_LEN + RTCP_INDEX_LEN] {
    let mut aad = [0; RTCP_CLEAR_LEN + RTCP_INDEX_LEN];
    aad[..RTCP_CLEAR_LEN].copy_from_slice(&header[..RTCP_CLEAR_LEN]);
    aad[RTCP_CLEAR_LEN..].copy_from_slice(&word);
    aad
}

/// The SSRC of an RTCP packet's first sender.
pub(super) fn rtcp_ssrc(packet: &[u8]) -> Result<u32, SrtpError> {
    packet.get(4..).and_then(|rest| rest.first_chunk()).map(|ssrc| u32::from_be_bytes(*ssrc)).ok_or(SrtpError::TooShort)
}
