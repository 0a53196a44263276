//! Session keys from the master key, RFC 3711 4.3 with key derivation rate 0, and RFC 7714 11 for GCM.

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use dataplane_protocol::SrtpProfile;

use super::SrtpError;

/// Bytes of the HMAC-SHA1 key.
pub(super) const AUTH_KEY_LEN: usize = 20;
/// Bytes of the master salt for AES-CM and of what the derivation works on.
const SALT_LEN: usize = 14;
/// Bytes of master and session salt for GCM.
pub(super) const GCM_SALT_LEN: usize = 12;

/// Labels of RFC 3711 4.3.1 and 4.3.2.
mod label {
    pub(super) const RTP_ENCRYPTION: u8 = 0;
    pub(super) const RTP_AUTHENTICATION: u8 = 1;
    pub(super) const RTP_SALT: u8 = 2;
    pub(super) const RTCP_ENCRYPTION: u8 = 3;
    pub(super) const RTCP_AUTHENTICATION: u8 = 4;
    pub(super) const RTCP_SALT: u8 = 5;
}

/// The session keys of one direction.
pub struct SessionKeys {
    /// For SRTP.
    pub rtp: KeySet,
    /// For SRTCP.
    pub rtcp: KeySet,
}

/// The session keys of SRTP or of SRTCP.
pub struct KeySet {
    encryption: [u8; 32],
    encryption_len: usize,
    authentication: [u8; AUTH_KEY_LEN],
    salt: [u8; SALT_LEN],
}

impl KeySet {
    /// The AES key: 16 or 32 bytes.
    pub fn encryption(&self) -> &[u8] {
        &self.encryption[..self.encryption_len]
    }

    /// The HMAC-SHA1 key; derived for GCM too but not used there.
    pub fn authentication(&self) -> &[u8; AUTH_KEY_LEN] {
        &self.authentication
    }

    /// The salt: 14 bytes, of which GCM uses the first 12.
    pub fn salt(&self) -> &[u8; SALT_LEN] {
        &self.salt
    }

    /// A set of published session keys.
    #[cfg(test)]
    pub(super) fn from_session_keys(encryption: &[u8], authentication: &[u8; AUTH_KEY_LEN], salt: &[u8]) -> Self {
        let mut keys = Self {
            encryption: [0; 32],
            encryption_len: encryption.len(),
            authentication: *authentication,
            salt: [0; SALT_LEN],
        };
        keys.encryption[..encryption.len()].copy_from_slice(encryption);
        keys.salt[..salt.len()].copy_from_slice(salt);
        keys
    }
}

impl SessionKeys {
    /// Derives all session keys.
    ///
    /// # Errors
    /// [`SrtpError::BadKey`] when a length does not fit the profile or the profile is `None`.
    pub fn derive(profile: SrtpProfile, master_key: &[u8], master_salt: &[u8]) -> Result<Self, SrtpError> {
        let (key_len, salt_len) = lengths(profile).ok_or(SrtpError::BadKey)?;
        if master_key.len() != key_len || master_salt.len() != salt_len {
            return Err(SrtpError::BadKey);
        }
        // A GCM salt is the upper 96 of the 112 bits, RFC 7714 11.
        let mut salt = [0; SALT_LEN];
        salt[..salt_len].copy_from_slice(master_salt);
        let prf = Prf::new(master_key, salt)?;
        Ok(Self {
            rtp: prf.key_set(key_len, label::RTP_ENCRYPTION, label::RTP_AUTHENTICATION, label::RTP_SALT)?,
            rtcp: prf.key_set(key_len, label::RTCP_ENCRYPTION, label::RTCP_AUTHENTICATION, label::RTCP_SALT)?,
        })
    }
}

/// Lengths of master key and master salt.
fn lengths(profile: SrtpProfile) -> Option<(usize, usize)> {
    match profile {
        SrtpProfile::None => None,
        SrtpProfile::AeadAes128Gcm => Some((16, GCM_SALT_LEN)),
        SrtpProfile::AeadAes256Gcm => Some((32, GCM_SALT_LEN)),
        SrtpProfile::Aes128CmSha1_80 => Some((16, SALT_LEN)),
    }
}

/// AES in counter mode over zeros, RFC 3711 4.3.3; with 256-bit keys RFC 6188 3.
struct Prf {
    key: EncryptingKey,
    salt: [u8; SALT_LEN],
}

impl Prf {
    fn new(master_key: &[u8], salt: [u8; SALT_LEN]) -> Result<Self, SrtpError> {
        Ok(Self { key: counter_mode_key(master_key)?, salt })
    }

    fn key_set(&self, key_len: usize, encryption: u8, authentication: u8, salt: u8) -> Result<KeySet, SrtpError> {
        let mut keys = KeySet {
            encryption: [0; 32],
            encryption_len: key_len,
            authentication: [0; AUTH_KEY_LEN],
            salt: [0; SALT_LEN],
        };
        self.fill(encryption, &mut keys.encryption[..key_len])?;
        self.fill(authentication, &mut keys.authentication)?;
        self.fill(salt, &mut keys.salt)?;
        Ok(keys)
    }

    fn fill(&self, label: u8, out: &mut [u8]) -> Result<(), SrtpError> {
        // key_id is the label above a 48-bit index, which is 0; the last two bytes count blocks.
        let mut iv = [0; 16];
        iv[..SALT_LEN].copy_from_slice(&self.salt);
        iv[7] ^= label;
        out.fill(0);
        apply_counter_mode(&self.key, iv, out)
    }
}

/// An AES-CM key of 16 or 32 bytes.
pub(super) fn counter_mode_key(key: &[u8]) -> Result<EncryptingKey, SrtpError> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    let unbound = UnboundCipherKey::new(algorithm, key).map_err(|_| SrtpError::BadKey)?;
    EncryptingKey::ctr(unbound).map_err(|_| SrtpError::BadKey)
}

/// XORs the key stream that starts at counter block `iv` into `data`. The expanded key is reused and nothing is
/// allocated.
pub(super) fn apply_counter_mode(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) -> Result<(), SrtpError> {
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    key.less_safe_encrypt(data, context).map(|_| ()).map_err(|_| SrtpError::BadKey)
}

#[cfg(test)]
mod tests;
