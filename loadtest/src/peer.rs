//! One end of one peer connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rtp::packet::Packet as RtpPacket;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use webrtc_dtls::config::{ClientAuthType, Config, ExtendedMasterSecretType};
use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::crypto::Certificate;
use webrtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use webrtc_srtp::context::Context;
use webrtc_util::marshal::{Marshal, Unmarshal};

use crate::checks::Checks;
use crate::keys::contexts;
use crate::socket::{QueuedConn, Wire};

/// Checks before the first answer.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Checks after it, well within RFC 7675's consent.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// Packets that the user of a peer may leave unread; later ones are dropped, as a full socket buffer would.
const QUEUE: usize = 8_192;

/// Why a peer does not connect or cannot send.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The socket failed.
    #[error("socket: {0}")]
    Socket(#[from] std::io::Error),
    /// A STUN message cannot be built.
    #[error("STUN: {0}")]
    Stun(#[from] stun::Error),
    /// The handshake failed.
    #[error("DTLS: {0}")]
    Dtls(#[from] webrtc_dtls::Error),
    /// SRTP failed.
    #[error("SRTP: {0}")]
    Srtp(#[from] webrtc_srtp::Error),
    /// A packet cannot be written.
    #[error("packet: {0}")]
    Packet(#[from] webrtc_util::Error),
    /// The server selected no SRTP profile that is known here.
    #[error("no SRTP profile was negotiated")]
    NoProfile,
    /// The server's certificate is not the one of its SDP.
    #[error("the server's certificate does not match the fingerprint of its SDP")]
    WrongCertificate,
    /// The server's SDP does not say how to reach it.
    #[error("{0}")]
    Sdp(String),
    /// No answer to any check.
    #[error("no answer to connectivity checks within {0:?}")]
    NoPath(Duration),
}

/// A certificate and ICE credentials: what a peer puts into its SDP.
#[derive(Clone)]
pub struct Identity {
    pub(crate) certificate: Certificate,
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub password: String,
}

/// The server's end, from its SDP, and what to offer it.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Its candidate.
    pub server: SocketAddr,
    /// Its `a=ice-ufrag`.
    pub ufrag: String,
    /// Its `a=ice-pwd`.
    pub password: String,
    /// SRTP profiles, in the order of the client's preference.
    pub profiles: Vec<SrtpProtectionProfile>,
    /// How long connecting may take.
    pub timeout: Duration,
}

/// Something received.
#[derive(Debug)]
pub enum Packet {
    /// Decrypted RTP.
    Rtp(Box<RtpPacket>),
    /// Decrypted RTCP, a compound.
    Rtcp(Bytes),
    /// SRTP or SRTCP that did not open.
    Unopened,
}

/// A connected peer. Dropping it ends it.
pub struct Peer {
    wire: Wire,
    replace: watch::Sender<Arc<UdpSocket>>,
    server: SocketAddr,
    checks: Checks,
    outbound: Context,
    packets: mpsc::Receiver<Packet>,
    profile: SrtpProtectionProfile,
    dtls: Arc<DTLSConn>,
    tasks: Vec<JoinHandle<()>>,
}

impl Identity {
    /// A new self-signed certificate with these ICE credentials.
    ///
    /// # Errors
    /// [`PeerError::Dtls`] if no certificate can be made.
    pub fn generate(ufrag: &str, password: &str) -> Result<Self, PeerError> {
        let certificate = Certificate::generate_self_signed(["millrace-loadtest".to_owned()])?;
        Ok(Self { certificate, ufrag: ufrag.to_owned(), password: password.to_owned() })
    }

    /// The certificate in DER, for `a=fingerprint`.
    pub fn der(&self) -> &[u8] {
        self.certificate.certificate.first().map_or(&[], |certificate| certificate.as_ref())
    }
}

impl Peer {
    /// Checks the path, shakes hands, and derives keys.
    ///
    /// # Errors
    /// Any [`PeerError`].
    pub async fn connect(identity: &Identity, offer: &Offer) -> Result<Self, PeerError> {
        let (replace, current) = watch::channel(Arc::new(bind(offer.server).await?));
        let wire = Wire::new(current);
        let checks = Checks::new(&identity.ufrag, &offer.ufrag, &offer.password);
        let (conn, dtls_received, dtls_sent) = QueuedConn::new();
        let (media_tx, media_rx) = mpsc::channel(QUEUE);
        let (answered_tx, mut answered) = watch::channel(false);
        let reader = tokio::spawn(read(wire.clone(), checks.clone(), dtls_received, media_tx, answered_tx));
        let checker = tokio::spawn(keep_checking(wire.clone(), checks.clone(), answered.clone()));
        // Ends by itself with the connection, after its close_notify.
        drop(tokio::spawn(carry(wire.clone(), dtls_sent)));
        let mut tasks = vec![reader, checker];
        tokio::time::timeout(offer.timeout, answered.wait_for(|answered| *answered))
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or(PeerError::NoPath(offer.timeout))?;

        let config = Config {
            certificates: vec![identity.certificate.clone()],
            srtp_protection_profiles: offer.profiles.clone(),
            client_auth: ClientAuthType::RequireAnyClientCert,
            insecure_skip_verify: true,
            extended_master_secret: ExtendedMasterSecretType::Require,
            ..Config::default()
        };
        let dtls = Arc::new(DTLSConn::new(Arc::new(conn), config, true, None).await?);
        let profile = dtls.selected_srtpprotection_profile();
        let (outbound, inbound) = contexts(&dtls, true).await?;
        let (packets_tx, packets) = mpsc::channel(QUEUE);
        tasks.push(tokio::spawn(open(inbound, media_rx, packets_tx)));
        Ok(Self { wire, replace, server: offer.server, checks, outbound, packets, profile, dtls, tasks })
    }

    /// The negotiated profile.
    pub fn profile(&self) -> SrtpProtectionProfile {
        self.profile
    }

    /// Seals and sends RTP.
    ///
    /// # Errors
    /// [`PeerError::Srtp`] or [`PeerError::Packet`] if it cannot be written.
    pub async fn send(&mut self, packet: &RtpPacket) -> Result<(), PeerError> {
        let sealed = self.seal(packet)?;
        self.wire.send(&sealed).await;
        Ok(())
    }

    /// Seals RTP without sending it: for replays.
    ///
    /// # Errors
    /// As [`Peer::send`].
    pub fn seal(&mut self, packet: &RtpPacket) -> Result<Bytes, PeerError> {
        Ok(self.outbound.encrypt_rtp(&packet.marshal()?)?)
    }

    /// Seals and sends an RTCP compound.
    ///
    /// # Errors
    /// [`PeerError::Srtp`] if it cannot be sealed.
    pub async fn send_rtcp(&mut self, compound: &[u8]) -> Result<(), PeerError> {
        let sealed = self.outbound.encrypt_rtcp(compound)?;
        self.wire.send(&sealed).await;
        Ok(())
    }

    /// Sends raw bytes from the peer's own address.
    pub async fn send_raw(&self, datagram: &[u8]) {
        self.wire.send(datagram).await;
    }

    /// The next packet received; `None` when the peer has ended.
    pub async fn receive(&mut self) -> Option<Packet> {
        self.packets.recv().await
    }

    /// The next packet that has already been received.
    pub fn try_receive(&mut self) -> Option<Packet> {
        self.packets.try_recv().ok()
    }

    /// Goes on from another local port, as behind a NAT that has forgotten the old one, and checks the new path.
    ///
    /// # Errors
    /// [`PeerError::Socket`] if no socket can be had.
    pub async fn rebind(&self) -> Result<SocketAddr, PeerError> {
        let socket = bind(self.server).await?;
        let address = socket.local_addr()?;
        self.replace.send_replace(Arc::new(socket));
        self.wire.send(&self.checks.request()?).await;
        Ok(address)
    }

    /// Ends the DTLS association (close_notify).
    pub async fn close(&self) {
        let _ = self.dtls.close().await;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn bind(server: SocketAddr) -> Result<UdpSocket, std::io::Error> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    Ok(socket)
}

async fn keep_checking(wire: Wire, checks: Checks, answered: watch::Receiver<bool>) {
    loop {
        if let Ok(request) = checks.request() {
            wire.send(&request).await;
        }
        let pause = if *answered.borrow() { KEEP_ALIVE } else { CHECK_INTERVAL };
        tokio::time::sleep(pause).await;
    }
}

/// Sends what the handshake writes.
async fn carry(wire: Wire, mut flights: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(flight) = flights.recv().await {
        wire.send(&flight).await;
    }
}

/// Takes the datagrams apart by their first byte (RFC 7983).
async fn read(
    mut wire: Wire,
    checks: Checks,
    dtls: mpsc::UnboundedSender<Vec<u8>>,
    media: mpsc::Sender<Bytes>,
    answered: watch::Sender<bool>,
) {
    let mut buffer = vec![0; 2_048];
    while let Some(len) = wire.receive(&mut buffer).await {
        let datagram = &buffer[..len];
        match datagram.first() {
            Some(0..=3) if checks.is_success(datagram) => {
                answered.send_replace(true);
            }
            Some(20..=63) => {
                let _ = dtls.send(datagram.to_vec());
            }
            Some(128..=191) => {
                let _ = media.try_send(Bytes::copy_from_slice(datagram));
            }
            _ => {}
        }
    }
}

async fn open(mut inbound: Context, mut media: mpsc::Receiver<Bytes>, packets: mpsc::Sender<Packet>) {
    while let Some(datagram) = media.recv().await {
        let is_rtcp = datagram.get(1).is_some_and(|second| (192..=223).contains(second));
        let packet = if is_rtcp {
            inbound.decrypt_rtcp(&datagram).map_or(Packet::Unopened, Packet::Rtcp)
        } else {
            inbound
                .decrypt_rtp(&datagram)
                .ok()
                .and_then(|mut plain| RtpPacket::unmarshal(&mut plain).ok())
                .map_or(Packet::Unopened, |packet| Packet::Rtp(Box::new(packet)))
        };
        let _ = packets.try_send(packet);
    }
}
