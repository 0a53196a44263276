//! The client's certificate, and SRTP contexts from a finished handshake.

use dataplane_protocol::SrtpProfile;
use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::crypto::Certificate;
use webrtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

use crate::drivers::{ClientEnd, Failure};
use crate::fanout::path::Keys;

/// One certificate and one set of ICE credentials for all endpoints of this client: servers do not mind, and a
/// thousand certificates take a while to make.
#[derive(Clone)]
pub struct Identity {
    pub(crate) certificate: Certificate,
    end: ClientEnd,
}

impl Identity {
    /// A new self-signed certificate.
    ///
    /// # Errors
    /// When none can be made.
    pub fn generate() -> Result<Self, Failure> {
        // webrtc-dtls asks for the process's provider; a second one that is asked for is refused, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let certificate = Certificate::generate_self_signed(["millrace-bench".to_owned()])?;
        let der = certificate.certificate.first().ok_or("an empty certificate")?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der.as_ref());
        let end = ClientEnd {
            ufrag: "bench".to_owned(),
            password: "passwordOfTheBenchClient".to_owned(),
            fingerprint: digest.as_ref().to_vec(),
        };
        Ok(Self { certificate, end })
    }

    /// What servers are told of it.
    pub fn end(&self) -> &ClientEnd {
        &self.end
    }
}

/// The one profile that a client offers, in the words of webrtc-dtls.
pub(crate) fn offered(profile: SrtpProfile) -> Result<SrtpProtectionProfile, Failure> {
    match profile {
        SrtpProfile::AeadAes128Gcm => Ok(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm),
        SrtpProfile::AeadAes256Gcm => Ok(SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm),
        SrtpProfile::Aes128CmSha1_80 => Ok(SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80),
        SrtpProfile::None => Err("no SRTP profile to offer".into()),
    }
}

fn protection(profile: SrtpProfile) -> Result<ProtectionProfile, Failure> {
    match profile {
        SrtpProfile::AeadAes128Gcm => Ok(ProtectionProfile::AeadAes128Gcm),
        SrtpProfile::AeadAes256Gcm => Ok(ProtectionProfile::AeadAes256Gcm),
        SrtpProfile::Aes128CmSha1_80 => Ok(ProtectionProfile::Aes128CmHmacSha1_80),
        SrtpProfile::None => Err("no SRTP profile".into()),
    }
}

/// The master keys that a client's handshake has given.
pub(crate) async fn keys(dtls: &DTLSConn, profile: SrtpProfile) -> Result<Keys, Failure> {
    if dtls.selected_srtpprotection_profile() != offered(profile)? {
        return Err("the server did not take the SRTP profile that was offered".into());
    }
    let mut config = webrtc_srtp::config::Config { profile: protection(profile)?, ..Default::default() };
    config.extract_session_keys_from_dtls(dtls.connection_state().await, true).await?;
    let keys = config.keys;
    Ok(Keys {
        profile,
        local_key: keys.local_master_key,
        local_salt: keys.local_master_salt,
        remote_key: keys.remote_master_key,
        remote_salt: keys.remote_master_salt,
    })
}

/// A context that opens what the server sends. Without replay protection, as it sees a sample.
pub(crate) fn inbound(keys: &Keys) -> Result<Context, Failure> {
    Ok(Context::new(&keys.remote_key, &keys.remote_salt, protection(keys.profile)?, None, None)?)
}
