//! SRTP contexts from a DTLS association (RFC 5764 4.2).

use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use webrtc_srtp::context::Context;
use webrtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use webrtc_srtp::protection_profile::ProtectionProfile;

use crate::peer::PeerError;

/// Contexts for sending and for receiving, of the end that was client or server of the handshake.
pub(crate) async fn contexts(dtls: &DTLSConn, is_client: bool) -> Result<(Context, Context), PeerError> {
    let profile = match dtls.selected_srtpprotection_profile() {
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => ProtectionProfile::AeadAes256Gcm,
        _ => return Err(PeerError::NoProfile),
    };
    let mut config = webrtc_srtp::config::Config { profile, ..Default::default() };
    let state = dtls.connection_state().await;
    config.extract_session_keys_from_dtls(state, is_client).await?;
    let keys = config.keys;
    let outbound = Context::new(&keys.local_master_key, &keys.local_master_salt, profile, None, None)?;
    let inbound = Context::new(
        &keys.remote_master_key,
        &keys.remote_master_salt,
        profile,
        Some(srtp_replay_protection(1_024)),
        Some(srtcp_replay_protection(1_024)),
    )?;
    Ok((outbound, inbound))
}
