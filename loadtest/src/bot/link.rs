//! One peer connection's way to the server: its socket with the network's impairments, ICE checks, the handshake, and
//! SRTP. One task owns it and waits on it; nothing is shared, so that thousands fit on a few threads.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use rtp::packet::Packet;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use webrtc_dtls::config::{ClientAuthType, Config, ExtendedMasterSecretType};
use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use webrtc_srtp::context::Context;
use webrtc_util::marshal::Marshal;

use crate::checks::Checks;
use crate::impair::{Conditions, Impairer};
use crate::keys::contexts;
use crate::peer::{Identity, PeerError};
use crate::sdp::Remote;
use crate::socket::QueuedConn;

/// Checks before the first answer.
const CHECK_EVERY: Duration = Duration::from_millis(50);
/// Checks after it, as browsers send them.
const CONSENT_EVERY: Duration = Duration::from_millis(2_500);
/// Without an answer for so long the path is lost: browsers call it failed after some 15 s.
const CONSENT_LOST: Duration = Duration::from_secs(15);
/// How long connecting may take, as the clients have it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// The network between the bots and the server; it can change under way.
#[derive(Debug, Default)]
pub(crate) struct Network {
    version: AtomicU64,
    /// Towards the server, and from it.
    conditions: Mutex<(Conditions, Conditions)>,
}

/// What [`Link::next`] waited for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// SRTP or SRTCP; [`Link::datagram`] has it.
    Media,
    /// The deadline.
    Due,
    /// The server has stopped answering checks.
    PathLost,
}

/// How one connects.
pub(crate) struct Plan<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) remote: &'a Remote,
    pub(crate) address: SocketAddr,
    /// Whether the bot is the client of the handshake.
    pub(crate) is_client: bool,
    pub(crate) profiles: Vec<SrtpProtectionProfile>,
    pub(crate) network: Arc<Network>,
    pub(crate) seed: u64,
}

/// A connected path.
pub(crate) struct Link {
    path: Path,
    inbound: Context,
    outbound: Context,
    _dtls: DTLSConn,
}

/// The path before and after the handshake.
struct Path {
    socket: UdpSocket,
    network: Arc<Network>,
    network_version: u64,
    up: Impairer<Bytes>,
    down: Impairer<Bytes>,
    epoch: Instant,
    checks: Checks,
    next_check: Instant,
    answered: Option<Instant>,
    buffer: Box<[u8]>,
    len: usize,
    dtls_in: mpsc::UnboundedSender<Vec<u8>>,
    dtls_out: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Network {
    pub(crate) fn new(up: Conditions, down: Conditions) -> Self {
        Self { version: AtomicU64::new(0), conditions: Mutex::new((up, down)) }
    }

    /// From now on.
    pub(crate) fn change(&self, up: Conditions, down: Conditions) {
        *self.conditions.lock().unwrap_or_else(PoisonError::into_inner) = (up, down);
        self.version.fetch_add(1, Ordering::Release);
    }

    fn conditions(&self) -> (Conditions, Conditions) {
        *self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Checks the path, shakes hands, verifies the server's certificate, and derives keys.
    pub(crate) async fn connect(plan: Plan<'_>) -> Result<Self, PeerError> {
        let connecting = async {
            let (conn, dtls_in, dtls_out) = QueuedConn::new();
            let mut path = Path::open(&plan, dtls_in, dtls_out).await?;
            while path.answered.is_none() {
                path.next(Instant::now() + CHECK_EVERY).await;
            }
            let config = Config {
                certificates: vec![plan.identity.certificate.clone()],
                srtp_protection_profiles: plan.profiles.clone(),
                client_auth: ClientAuthType::RequireAnyClientCert,
                insecure_skip_verify: true,
                extended_master_secret: ExtendedMasterSecretType::Require,
                ..Config::default()
            };
            let handshake = DTLSConn::new(Arc::new(conn), config, plan.is_client, None);
            tokio::pin!(handshake);
            let dtls = loop {
                tokio::select! {
                    done = &mut handshake => break done?,
                    _ = path.next(Instant::now() + CHECK_EVERY) => {}
                }
            };
            verify(&dtls, plan.remote).await?;
            let (outbound, inbound) = contexts(&dtls, plan.is_client).await?;
            // The last flight may still wait to be sent.
            path.carry_dtls();
            Ok(Self { path, inbound, outbound, _dtls: dtls })
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or(Err(PeerError::NoPath(CONNECT_TIMEOUT)))
    }

    /// Waits for media or the deadline, whichever comes first. Nothing is lost if it is dropped.
    pub(crate) async fn next(&mut self, deadline: Instant) -> Event {
        self.path.next(deadline).await
    }

    /// The datagram of the last [`Event::Media`].
    pub(crate) fn datagram(&self) -> &[u8] {
        &self.path.buffer[..self.path.len]
    }

    /// Opens the datagram as SRTP: header and payload.
    pub(crate) fn open_rtp(&mut self) -> Option<Bytes> {
        self.inbound.decrypt_rtp(&self.path.buffer[..self.path.len]).ok()
    }

    /// Opens the datagram as SRTCP.
    pub(crate) fn open_rtcp(&mut self) -> Option<Bytes> {
        self.inbound.decrypt_rtcp(&self.path.buffer[..self.path.len]).ok()
    }

    /// Seals and sends a packet.
    pub(crate) fn send(&mut self, packet: &Packet) {
        let sealed = packet.marshal().ok().and_then(|plain| self.outbound.encrypt_rtp(&plain).ok());
        if let Some(sealed) = sealed {
            self.path.send(&sealed);
        }
    }

    /// Seals and sends a compound.
    pub(crate) fn send_rtcp(&mut self, compound: &[u8]) {
        if let Ok(sealed) = self.outbound.encrypt_rtcp(compound) {
            self.path.send(&sealed);
        }
    }
}

impl Path {
    async fn open(
        plan: &Plan<'_>,
        dtls_in: mpsc::UnboundedSender<Vec<u8>>,
        dtls_out: mpsc::UnboundedReceiver<Vec<u8>>,
    ) -> Result<Self, PeerError> {
        let any: SocketAddr = if plan.address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(plan.address).await?;
        let (up, down) = plan.network.conditions();
        let now = Instant::now();
        Ok(Self {
            socket,
            network_version: plan.network.version.load(Ordering::Acquire),
            network: Arc::clone(&plan.network),
            up: Impairer::new(up, plan.seed),
            down: Impairer::new(down, plan.seed ^ u64::MAX),
            epoch: now,
            checks: Checks::new(&plan.identity.ufrag, &plan.remote.ufrag, &plan.remote.password),
            next_check: now,
            answered: None,
            buffer: vec![0; 2_048].into(),
            len: 0,
            dtls_in,
            dtls_out,
        })
    }

    async fn next(&mut self, deadline: Instant) -> Event {
        loop {
            let now = Instant::now();
            self.housekeeping(now);
            if self.answered.is_some_and(|at| now - at > CONSENT_LOST) {
                self.answered = Some(now);
                return Event::PathLost;
            }
            if self.receive(now) {
                if self.is_media() {
                    return Event::Media;
                }
                continue;
            }
            if deadline <= now {
                return Event::Due;
            }
            let releases = [self.up.next_release(), self.down.next_release()];
            let release = releases.into_iter().flatten().min().map(|at| self.epoch + at);
            let wake = deadline.min(self.next_check).min(release.unwrap_or(deadline));
            tokio::select! {
                _ = self.socket.readable() => {}
                Some(flight) = self.dtls_out.recv() => self.send(&flight),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// Whether a datagram has come through the network into the buffer.
    fn receive(&mut self, now: Instant) -> bool {
        let since = now - self.epoch;
        loop {
            if self.down.is_transparent() {
                let received = self.socket.try_recv(&mut self.buffer);
                self.len = received.as_ref().copied().unwrap_or(0);
                return received.is_ok();
            }
            while let Ok(len) = self.socket.try_recv(&mut self.buffer) {
                self.down.offer(since, len, Bytes::copy_from_slice(&self.buffer[..len]));
            }
            let Some(datagram) = self.down.release(since) else {
                // The last packet of former conditions has left: now all pass at once.
                if self.down.is_transparent() {
                    continue;
                }
                return false;
            };
            self.len = datagram.len();
            self.buffer[..self.len].copy_from_slice(&datagram);
            return true;
        }
    }

    /// Takes the datagram apart by its first byte (RFC 7983); true: it is media.
    fn is_media(&mut self) -> bool {
        let datagram = &self.buffer[..self.len];
        match datagram.first() {
            Some(0..=3) if self.checks.is_success(datagram) => {
                let now = Instant::now();
                if self.answered.replace(now).is_none() {
                    self.next_check = now + CONSENT_EVERY;
                }
                false
            }
            Some(20..=63) => {
                let _ = self.dtls_in.send(datagram.to_vec());
                false
            }
            Some(128..=191) => true,
            _ => false,
        }
    }

    fn housekeeping(&mut self, now: Instant) {
        let version = self.network.version.load(Ordering::Acquire);
        if version != self.network_version {
            self.network_version = version;
            let (up, down) = self.network.conditions();
            self.up.change(up);
            self.down.change(down);
        }
        while let Some(datagram) = self.up.release(now - self.epoch) {
            let _ = self.socket.try_send(&datagram);
        }
        if self.next_check <= now {
            self.next_check = now + if self.answered.is_some() { CONSENT_EVERY } else { CHECK_EVERY };
            if let Ok(request) = self.checks.request() {
                self.send(&request);
            }
        }
        self.carry_dtls();
    }

    fn carry_dtls(&mut self) {
        while let Ok(flight) = self.dtls_out.try_recv() {
            self.send(&flight);
        }
    }

    /// What the socket does not take is lost, as on any network.
    fn send(&mut self, datagram: &[u8]) {
        if self.up.is_transparent() {
            let _ = self.socket.try_send(datagram);
        } else {
            self.up.offer(self.epoch.elapsed(), datagram.len(), Bytes::copy_from_slice(datagram));
        }
    }
}

/// The certificate must be the one that the SDP names (RFC 8122 5).
async fn verify(dtls: &DTLSConn, remote: &Remote) -> Result<(), PeerError> {
    let (hash, expected) = &remote.fingerprint;
    if hash != "sha-256" {
        return Ok(());
    }
    let state = dtls.connection_state().await;
    let certificate = state.peer_certificates.first().ok_or(PeerError::WrongCertificate)?;
    if fingerprint(certificate) == *expected { Ok(()) } else { Err(PeerError::WrongCertificate) }
}

/// SHA-256 of a certificate as `a=fingerprint` has it.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    let bytes: Vec<_> = digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}
