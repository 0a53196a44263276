//! One DTLS association, from the first datagram to its end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dataplane_core::{HandshakeInput, SrtpKeys};
use dataplane_protocol::{DtlsRole, Fingerprint, RemoteParameters, SrtpProfile};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use webrtc_dtls::config::{ClientAuthType, Config, ExtendedMasterSecretType};
use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::Wire;
use super::certificate::matches_any;
use super::conn::QueueConn;
use super::hello::{HelloPeek, best_profile};
use crate::telemetry::HandshakeCounters;

/// Most datagrams kept while the ClientHello is not whole.
const MAX_PEEKED: usize = 16;
/// Said when the certificate does not match, and looked for in what the crate reports.
const WRONG_CERTIFICATE: &str = "the client's certificate has none of the fingerprints of its SDP";

/// Runs the association; returns when it failed or the client ended it. Dropping the future ends it at once.
pub(super) async fn run(
    wire: Wire,
    remote: RemoteParameters,
    queue: mpsc::Receiver<Vec<u8>>,
    permit: OwnedSemaphorePermit,
) {
    let transport = wire.transport;
    let active = Active::begin(&wire);
    let timeout = wire.shared.settings.timeout;
    // In a task of its own, so that a panic in the crate ends this handshake and nothing else. The set aborts
    // the task when it is dropped.
    let mut handshake = JoinSet::new();
    handshake.spawn(tokio::time::timeout(timeout, establish(wire.clone(), remote, queue)));
    let outcome = match handshake.join_next().await {
        Some(Ok(Ok(outcome))) => outcome,
        Some(Ok(Err(_))) => Err(format!("the DTLS handshake took longer than {} ms", timeout.as_millis())),
        Some(Err(_)) | None => Err("the DTLS handshake failed inside".to_owned()),
    };
    let counters = &wire.shared.counters;
    HandshakeCounters::count(if outcome.is_ok() { &counters.completed } else { &counters.failed });
    drop(active);
    drop(permit);
    match outcome {
        Ok((association, keys)) => {
            wire.tell(HandshakeInput::Keys { transport, keys }).await;
            wait_for_end(&association).await;
            wire.tell(HandshakeInput::Closed { transport }).await;
        }
        Err(detail) => {
            tracing::debug!(%transport, detail, "handshake failed");
            wire.tell(HandshakeInput::Failed { transport, detail }).await;
        }
    }
}

/// Counts a handshake as under way for as long as it lives.
struct Active {
    wire: Wire,
}

impl Active {
    fn begin(wire: &Wire) -> Self {
        HandshakeCounters::count(&wire.shared.counters.started);
        HandshakeCounters::count(&wire.shared.counters.active);
        Self { wire: wire.clone() }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.wire.shared.counters.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The handshake itself, without its time limit.
async fn establish(
    wire: Wire,
    remote: RemoteParameters,
    mut queue: mpsc::Receiver<Vec<u8>>,
) -> Result<(DTLSConn, SrtpKeys), String> {
    let is_client = remote.dtls_role() == DtlsRole::Client;
    let (first, profiles) = if is_client {
        let all = [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::Aes128CmSha1_80];
        (VecDeque::new(), all.to_vec())
    } else {
        let (first, profile) = peek(&mut queue).await?;
        (first, vec![profile])
    };
    let conn = Arc::new(QueueConn::new(wire.clone(), first, queue));
    let config = config(&wire, &remote.fingerprints, &profiles);
    let dtls = DTLSConn::new(Arc::clone(&conn) as _, config, is_client, None).await.map_err(|error| reason(&error))?;
    conn.complete();
    let keys = export(&dtls, &remote.fingerprints, is_client).await?;
    Ok((dtls, keys))
}

/// Waits for a whole ClientHello; gives the datagrams it came in and the best mutual profile.
async fn peek(queue: &mut mpsc::Receiver<Vec<u8>>) -> Result<(VecDeque<Vec<u8>>, SrtpProfile), String> {
    let (mut hello, mut datagrams) = (HelloPeek::default(), VecDeque::new());
    while let Some(data) = queue.recv().await {
        let offered = hello.push(&data);
        if datagrams.len() == MAX_PEEKED {
            datagrams.pop_front();
        }
        datagrams.push_back(data);
        let Some(offered) = offered else { continue };
        return match best_profile(&offered) {
            Some(profile) => Ok((datagrams, profile)),
            None if offered.is_empty() => Err("the client offers no SRTP (no use_srtp extension)".to_owned()),
            None => Err(format!("no common SRTP profile: the client offers {offered:#06x?}")),
        };
    }
    Err("the transport was removed".to_owned())
}

fn config(wire: &Wire, fingerprints: &[Fingerprint], profiles: &[SrtpProfile]) -> Config {
    let fingerprints = fingerprints.to_vec();
    Config {
        certificates: vec![wire.shared.identity.certificate().clone()],
        srtp_protection_profiles: profiles.iter().copied().filter_map(to_dtls).collect(),
        client_auth: ClientAuthType::RequireAnyClientCert,
        extended_master_secret: ExtendedMasterSecretType::Request,
        flight_interval: wire.shared.settings.flight_interval,
        // Certificates are self-signed; what counts is the fingerprint, RFC 8122 and RFC 5763 5.
        insecure_skip_verify: true,
        verify_peer_certificate: Some(Arc::new(move |chain, _| match chain.first() {
            Some(certificate) if matches_any(certificate, &fingerprints) => Ok(()),
            _ => Err(webrtc_dtls::Error::Other(WRONG_CERTIFICATE.to_owned())),
        })),
        server_name: "millrace".to_owned(),
        ..Config::default()
    }
}

/// Takes the keys out of a complete handshake, after a second look at the certificate: whatever the crate
/// calls back or does not, no keys leave here without a match.
async fn export(dtls: &DTLSConn, fingerprints: &[Fingerprint], is_client: bool) -> Result<SrtpKeys, String> {
    let state = dtls.connection_state().await;
    if !state.peer_certificates.first().is_some_and(|certificate| matches_any(certificate, fingerprints)) {
        return Err(WRONG_CERTIFICATE.to_owned());
    }
    let selected = dtls.selected_srtpprotection_profile();
    let (profile, protection) = match selected {
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => (SrtpProfile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
        SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => (SrtpProfile::AeadAes256Gcm, ProtectionProfile::AeadAes256Gcm),
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => {
            (SrtpProfile::Aes128CmSha1_80, ProtectionProfile::Aes128CmHmacSha1_80)
        }
        _ => return Err("the handshake chose no SRTP profile".to_owned()),
    };
    let mut srtp = webrtc_srtp::config::Config { profile: protection, ..Default::default() };
    srtp.extract_session_keys_from_dtls(state, is_client)
        .await
        .map_err(|error| format!("cannot export the SRTP keys: {error}"))?;
    Ok(SrtpKeys {
        profile,
        local_key: srtp.keys.local_master_key,
        local_salt: srtp.keys.local_master_salt,
        remote_key: srtp.keys.remote_master_key,
        remote_salt: srtp.keys.remote_master_salt,
    })
}

/// Waits for close_notify or a fatal alert.
async fn wait_for_end(dtls: &DTLSConn) {
    let mut buffer = [0; 2048];
    while let Ok(_) | Err(webrtc_dtls::Error::ErrBufferTooSmall) = dtls.read(&mut buffer, None).await {}
}

fn to_dtls(profile: SrtpProfile) -> Option<SrtpProtectionProfile> {
    match profile {
        SrtpProfile::None => None,
        SrtpProfile::AeadAes128Gcm => Some(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm),
        SrtpProfile::AeadAes256Gcm => Some(SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm),
        SrtpProfile::Aes128CmSha1_80 => Some(SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80),
    }
}

fn reason(error: &webrtc_dtls::Error) -> String {
    let text = error.to_string();
    if text.contains(WRONG_CERTIFICATE) { WRONG_CERTIFICATE.to_owned() } else { format!("DTLS: {text}") }
}
