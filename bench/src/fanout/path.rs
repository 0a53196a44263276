//! The way in: a path check, the DTLS handshake, keys. Each endpoint has a loopback address of its own and does this on
//! a socket of its own. A subscriber's socket closes when it is done: all of them share one port, and what is sent to
//! them from then on falls to the load client's one receiving socket, bound to all addresses of that port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use dataplane_core::wire::stun::{
    Class, IntegrityKey, Message, Role as IceRole, write_binding_request, write_binding_success,
};
use dataplane_protocol::SrtpProfile;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{Mutex, mpsc, watch};
use webrtc_dtls::config::{ClientAuthType, Config, ExtendedMasterSecretType};
use webrtc_dtls::conn::DTLSConn;
use webrtc_util::Conn;

use crate::drivers::{Failure, ServerEnd};
use crate::fanout::inbound::is_media;
use crate::fanout::session::{Identity, keys, offered};

/// The port that all subscribers have, each at its own address.
pub const CLIENT_PORT: u16 = 39_990;

/// Between two checks until one is answered.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Longest way in.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an endpoint is for, and its number among its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends.
    Publisher(u32),
    /// Receives.
    Subscriber(u32),
}

/// Master keys of a handshake's outcome, RFC 5764 4.2.
#[derive(Clone)]
pub struct Keys {
    /// The profile they are for.
    pub profile: SrtpProfile,
    /// Of what this client sends.
    pub local_key: Vec<u8>,
    /// Of what this client sends.
    pub local_salt: Vec<u8>,
    /// Of what the server sends.
    pub remote_key: Vec<u8>,
    /// Of what the server sends.
    pub remote_salt: Vec<u8>,
}

/// How long the way in took.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// When the first check was sent.
    pub started: Instant,
    /// When a check was answered.
    pub checked: Instant,
    /// When the handshake was done.
    pub connected: Instant,
    /// When the first media packet arrived, if it did before the socket closed.
    pub first_media: Option<Instant>,
}

/// The address of an endpoint.
pub fn session_address(role: Role) -> SocketAddr {
    let (net, n, port) = match role {
        Role::Publisher(n) => (30, n, 0),
        Role::Subscriber(n) => (20, n, CLIENT_PORT),
    };
    let [_, high, middle, low] = (n + 2).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, net + high, middle, low), port))
}

/// The number of the subscriber that has this address.
pub(crate) fn subscriber_number(address: Ipv4Addr) -> Option<u32> {
    let [_, high, middle, low] = address.octets();
    u32::from_be_bytes([0, high.checked_sub(20)?, middle, low]).checked_sub(2)
}

/// Checks the path, shakes hands and gives the keys, and the socket, connected to the server.
///
/// # Errors
/// When the server does not answer, refuses the handshake or takes another profile.
pub async fn connect(
    role: Role,
    identity: &Identity,
    server: &ServerEnd,
    profile: SrtpProfile,
) -> Result<(Keys, Timing, UdpSocket), Failure> {
    let socket = open(role, server.address)?;
    let kept = socket.try_clone()?;
    let shared = Arc::new(tokio::net::UdpSocket::from_std(socket)?);
    let conn = Arc::new(Handshake { socket: Arc::downgrade(&shared), received: Mutex::new(None) });
    let (dtls_tx, dtls_rx) = mpsc::channel(64);
    *conn.received.lock().await = Some(dtls_rx);
    let (answered_tx, answered) = watch::channel(None);
    let (media_tx, media) = watch::channel(None);
    let started = Instant::now();
    let reader = tokio::spawn(read(
        Arc::clone(&shared),
        IntegrityKey::new(&identity.end().password),
        dtls_tx,
        answered_tx,
        media_tx,
    ));
    let outcome = tokio::time::timeout(PATIENCE, async {
        let checked = check(&shared, identity, server, answered).await?;
        let config = Config {
            certificates: vec![identity.certificate.clone()],
            srtp_protection_profiles: vec![offered(profile)?],
            client_auth: ClientAuthType::RequireAnyClientCert,
            insecure_skip_verify: true,
            extended_master_secret: ExtendedMasterSecretType::Request,
            ..Config::default()
        };
        let dtls = DTLSConn::new(conn, config, true, None).await?;
        Ok::<_, Failure>((keys(&dtls, profile).await?, checked))
    })
    .await;
    let connected = Instant::now();
    // Both hold the socket, which must be closed when this returns.
    reader.abort();
    let _ = reader.await;
    let mut first_media = *media.borrow();
    let mut buffer = [0; 2_048];
    while let Ok(len) = shared.try_recv(&mut buffer) {
        if is_media(&buffer[..len]) {
            first_media.get_or_insert_with(Instant::now);
        }
    }
    drop(shared);
    let (keys, checked) = outcome.map_err(|_| format!("{role:?} did not connect within {PATIENCE:?}"))??;
    Ok((keys, Timing { started, checked, connected, first_media }, kept))
}

/// A connectivity check of a controlling agent that nominates its path, with an id that no other one has. The tie-breaker
/// is the highest: a server that would rather control gives way (RFC 8445 7.3.1.1).
pub(crate) fn request(out: &mut [u8], client_ufrag: &str, server: &ServerEnd, key: &IntegrityKey) -> usize {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut transaction = [0x6d; 12];
    transaction[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    let user = format!("{}:{client_ufrag}", server.ufrag);
    write_binding_request(out, transaction, &user, 0x6e00_00ff, IceRole::Controlling(u64::MAX), true, key).unwrap_or(0)
}

fn open(role: Role, server: SocketAddr) -> Result<UdpSocket, Failure> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    let address = session_address(role);
    socket.bind(&address.into()).map_err(|error| format!("{address}: {error}"))?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}

async fn check(
    socket: &tokio::net::UdpSocket,
    identity: &Identity,
    server: &ServerEnd,
    mut answered: watch::Receiver<Option<Instant>>,
) -> Result<Instant, Failure> {
    let key = IntegrityKey::new(&server.password);
    let mut out = [0; 256];
    loop {
        let len = request(&mut out, &identity.end().ufrag, server, &key);
        // A refusal by ICMP says that the server is not there yet.
        let _ = socket.send(&out[..len]).await;
        let wait = tokio::time::timeout(CHECK_INTERVAL, answered.wait_for(Option::is_some));
        if let Ok(Ok(at)) = wait.await
            && let Some(at) = *at
        {
            return Ok(at);
        }
    }
}

/// Takes the datagrams apart by their first byte (RFC 7983).
async fn read(
    socket: Arc<tokio::net::UdpSocket>,
    key: IntegrityKey,
    dtls: mpsc::Sender<Vec<u8>>,
    answered: watch::Sender<Option<Instant>>,
    media: watch::Sender<Option<Instant>>,
) {
    let mut buffer = vec![0; 2_048];
    loop {
        let Ok(len) = socket.recv(&mut buffer).await else { continue };
        let datagram = &buffer[..len];
        match datagram.first() {
            Some(0..=3) => match Message::parse(datagram) {
                Ok(message) if message.class() == Class::Success => {
                    answered.send_if_modified(|at| at.is_none() && at.replace(Instant::now()).is_none());
                }
                Ok(message) if message.class() == Class::Request => answer(&socket, &message, &key).await,
                _ => {}
            },
            Some(20..=63) => {
                let _ = dtls.try_send(datagram.to_vec());
            }
            Some(128..=191) if is_media(datagram) => {
                media.send_if_modified(|at| at.is_none() && at.replace(Instant::now()).is_none());
            }
            _ => {}
        }
    }
}

/// Answers the check of a server that is a full agent.
async fn answer(socket: &tokio::net::UdpSocket, request: &Message<'_>, key: &IntegrityKey) {
    let mut out = [0; 256];
    if let Ok(server) = socket.peer_addr()
        && let Some(len) = write_binding_success(&mut out, request.transaction_id(), server, key)
    {
        let _ = socket.send(&out[..len]).await;
    }
}

/// The socket as webrtc-dtls wants to see it. It does not keep it open.
struct Handshake {
    socket: Weak<tokio::net::UdpSocket>,
    received: Mutex<Option<mpsc::Receiver<Vec<u8>>>>,
}

#[async_trait::async_trait]
impl Conn for Handshake {
    async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
        Ok(())
    }

    async fn recv(&self, buffer: &mut [u8]) -> webrtc_util::Result<usize> {
        let mut received = self.received.lock().await;
        let datagram = match received.as_mut() {
            Some(received) => received.recv().await,
            None => None,
        };
        let datagram = datagram.ok_or(webrtc_util::Error::ErrClosedListener)?;
        let len = datagram.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram[..len]);
        Ok(len)
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
        Ok((self.recv(buffer).await?, self.local_addr()?))
    }

    async fn send(&self, datagram: &[u8]) -> webrtc_util::Result<usize> {
        if let Some(socket) = self.socket.upgrade() {
            let _ = socket.send(datagram).await;
        }
        Ok(datagram.len())
    }

    async fn send_to(&self, datagram: &[u8], _: SocketAddr) -> webrtc_util::Result<usize> {
        self.send(datagram).await
    }

    fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
        Ok(SocketAddr::from((IpAddr::from(Ipv4Addr::UNSPECIFIED), 0)))
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> webrtc_util::Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subscriber_is_known_by_its_address() {
        for n in [0, 1, 253, 254, 65_533, 65_534, 200_000] {
            let SocketAddr::V4(address) = session_address(Role::Subscriber(n)) else { panic!() };
            assert_eq!(subscriber_number(*address.ip()), Some(n));
        }
        assert_eq!(subscriber_number(Ipv4Addr::LOCALHOST), None);
    }
}
