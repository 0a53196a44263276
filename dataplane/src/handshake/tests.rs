//! A real client against the real service, through queues instead of sockets.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dataplane_core::{HandshakeInput, SrtpKeys};
use dataplane_protocol::{DtlsRole, Fingerprint, RemoteParameters, SrtpProfile, TransportId};
use tokio::sync::{Mutex, mpsc, oneshot};
use webrtc_dtls::config::{ClientAuthType, Config};
use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile as Profile;
use webrtc_srtp::protection_profile::ProtectionProfile;
use webrtc_util::Conn;

use super::{HandshakeCounters, INPUT_QUEUE, Identity, Input, Settings, Shared, run};
use crate::handoff::{WorkerInbox, worker_port};
use crate::worker::poll_with_doorbell;

const TRANSPORT: TransportId = TransportId(7);
const LONG: Duration = Duration::from_secs(20);
const CM: Profile = Profile::Srtp_Aes128_Cm_Hmac_Sha1_80;
const GCM_128: Profile = Profile::Srtp_Aead_Aes_128_Gcm;
const GCM_256: Profile = Profile::Srtp_Aead_Aes_256_Gcm;

/// The service on its thread, with one worker whose queue the test reads.
struct Service {
    inputs: mpsc::Sender<Input>,
    inbox: Arc<WorkerInbox>,
    counters: Arc<HandshakeCounters>,
    fingerprint: Fingerprint,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Service {
    fn start(timeout: Duration, max_active: usize) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (_poll, doorbell) = poll_with_doorbell().unwrap();
        let (port, inbox) = worker_port(doorbell);
        let identity = Identity::generate().unwrap();
        let counters = Arc::new(HandshakeCounters::default());
        let settings = Settings { flight_interval: Duration::from_millis(50), ..Settings::new(timeout, max_active) };
        let fingerprint = identity.fingerprint().clone();
        let shared = Shared { identity, settings, workers: vec![port], counters: Arc::clone(&counters) };
        let (inputs, input_rx) = mpsc::channel(INPUT_QUEUE);
        let (stop, stop_rx) = oneshot::channel();
        let thread = std::thread::spawn(move || run(shared, input_rx, stop_rx).unwrap());
        Self { inputs, inbox: Arc::new(inbox), counters, fingerprint, stop: Some(stop), thread: Some(thread) }
    }

    async fn tell(&self, input: Input) {
        self.inputs.send(input).await.unwrap();
    }

    async fn create(&self, transport: TransportId, remote: Option<RemoteParameters>) {
        self.tell(Input::Create { transport, remote }).await;
        self.tell(Input::Claimed { transport, worker: 0 }).await;
    }

    /// What the service tells the worker next, datagrams aside.
    async fn verdict(&self) -> HandshakeInput {
        loop {
            match self.next().await {
                HandshakeInput::Send { .. } => {}
                verdict => return verdict,
            }
        }
    }

    async fn next(&self) -> HandshakeInput {
        let inbox = Arc::clone(&self.inbox);
        let receive = move || inbox.handshakes.recv_timeout(LONG).unwrap();
        tokio::task::spawn_blocking(receive).await.unwrap()
    }

    /// Moves the service's datagrams to a client until a verdict comes.
    async fn pump(&self, to_client: &mpsc::Sender<Vec<u8>>, mut pass: impl FnMut(usize) -> bool) -> HandshakeInput {
        let mut count = 0;
        loop {
            match self.next().await {
                HandshakeInput::Send { data, .. } => {
                    if pass(count) {
                        let _ = to_client.send(data).await;
                    }
                    count += 1;
                }
                verdict => return verdict,
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The client's network.
struct ClientConn {
    transport: TransportId,
    to_service: mpsc::Sender<Input>,
    from_service: Mutex<mpsc::Receiver<Vec<u8>>>,
    sent: AtomicUsize,
}

#[async_trait]
impl Conn for ClientConn {
    async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
        Ok(())
    }
    async fn recv(&self, buf: &mut [u8]) -> webrtc_util::Result<usize> {
        let received = self.from_service.lock().await.recv().await;
        let Some(data) = received else { return std::future::pending().await };
        buf[..data.len()].copy_from_slice(&data);
        Ok(data.len())
    }
    async fn recv_from(&self, _: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
        std::future::pending().await
    }
    async fn send(&self, buf: &[u8]) -> webrtc_util::Result<usize> {
        let input = Input::Datagram { transport: self.transport, worker: 0, data: buf.to_vec() };
        self.to_service.send(input).await.unwrap();
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(buf.len())
    }
    async fn send_to(&self, buf: &[u8], _: SocketAddr) -> webrtc_util::Result<usize> {
        self.send(buf).await
    }
    fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 1).into())
    }
    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(([127, 0, 0, 1], 2).into())
    }
    async fn close(&self) -> webrtc_util::Result<()> {
        Ok(())
    }
    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

struct Client {
    identity: Identity,
    conn: Arc<ClientConn>,
    inbox: mpsc::Sender<Vec<u8>>,
}

impl Client {
    fn new(service: &Service, transport: TransportId) -> Self {
        let (inbox, from_service) = mpsc::channel(64);
        let to_service = service.inputs.clone();
        let conn = Arc::new(ClientConn {
            transport,
            to_service,
            from_service: Mutex::new(from_service),
            sent: AtomicUsize::new(0),
        });
        Self { identity: Identity::generate().unwrap(), conn, inbox }
    }

    fn remote(&self, role: DtlsRole) -> RemoteParameters {
        RemoteParameters {
            ice_ufrag: "abcd".to_owned(),
            ice_pwd: "p".repeat(22),
            fingerprints: vec![self.identity.fingerprint().clone()],
            dtls_role: role as i32,
        }
    }

    fn config(&self, profiles: &[Profile]) -> Config {
        Config {
            certificates: vec![self.identity.certificate().clone()],
            srtp_protection_profiles: profiles.to_vec(),
            client_auth: ClientAuthType::RequireAnyClientCert,
            insecure_skip_verify: true,
            flight_interval: Duration::from_millis(50),
            server_name: "test".to_owned(),
            ..Config::default()
        }
    }

    /// Waits until the client has put more than `before` datagrams into the service's queue.
    async fn sent_more_than(&self, before: usize) {
        while self.conn.sent.load(Ordering::Relaxed) <= before {
            tokio::task::yield_now().await;
        }
    }

    /// Starts the client's half; it ends with the handshake.
    fn handshake(&self, config: Config, is_client: bool) -> tokio::task::JoinHandle<Result<DTLSConn, String>> {
        let conn = Arc::clone(&self.conn);
        tokio::spawn(
            async move { DTLSConn::new(conn, config, is_client, None).await.map_err(|error| error.to_string()) },
        )
    }
}

async fn client_keys(dtls: &DTLSConn, profile: ProtectionProfile, is_client: bool) -> webrtc_srtp::config::SessionKeys {
    let mut config = webrtc_srtp::config::Config { profile, ..Default::default() };
    config.extract_session_keys_from_dtls(dtls.connection_state().await, is_client).await.unwrap();
    config.keys
}

fn keys(verdict: HandshakeInput) -> SrtpKeys {
    match verdict {
        HandshakeInput::Keys { transport, keys } => {
            assert_eq!(transport, TRANSPORT);
            keys
        }
        other => panic!("no keys: {}", describe(&other)),
    }
}

fn failure(verdict: HandshakeInput) -> String {
    match verdict {
        HandshakeInput::Failed { detail, .. } => detail,
        other => panic!("no failure: {}", describe(&other)),
    }
}

fn describe(input: &HandshakeInput) -> String {
    match input {
        HandshakeInput::Send { data, .. } => format!("{} bytes", data.len()),
        HandshakeInput::Keys { keys, .. } => format!("{keys:?}"),
        HandshakeInput::Failed { detail, .. } => detail.clone(),
        HandshakeInput::Closed { .. } => "closed".to_owned(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A whole handshake; gives both halves' keys and the client's association.
async fn connect(service: &Service, client: &Client, offered: &[Profile], role: DtlsRole) -> (SrtpKeys, DTLSConn) {
    let is_client = role == DtlsRole::Server;
    service.create(TRANSPORT, Some(client.remote(role))).await;
    let half = client.handshake(client.config(offered), is_client);
    let keys = keys(service.pump(&client.inbox, |_| true).await);
    (keys, half.await.unwrap().unwrap())
}

#[test]
fn the_best_mutual_profile_is_taken_whatever_the_client_puts_first() {
    runtime().block_on(async {
        let cases = [
            (&[CM, GCM_256, GCM_128][..], SrtpProfile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
            (&[CM, GCM_256][..], SrtpProfile::AeadAes256Gcm, ProtectionProfile::AeadAes256Gcm),
            (&[CM][..], SrtpProfile::Aes128CmSha1_80, ProtectionProfile::Aes128CmHmacSha1_80),
        ];
        for (offered, expected, protection) in cases {
            let service = Service::start(LONG, 8);
            let client = Client::new(&service, TRANSPORT);
            let (keys, dtls) = connect(&service, &client, offered, DtlsRole::Server).await;
            assert_eq!(keys.profile, expected);
            let theirs = client_keys(&dtls, protection, true).await;
            assert_eq!((&keys.local_key, &keys.local_salt), (&theirs.remote_master_key, &theirs.remote_master_salt));
            assert_eq!((&keys.remote_key, &keys.remote_salt), (&theirs.local_master_key, &theirs.local_master_salt));
            let state = dtls.connection_state().await;
            assert!(super::certificate::matches_any(
                &state.peer_certificates[0],
                std::slice::from_ref(&service.fingerprint)
            ));
            assert_eq!(HandshakeCounters::read(&service.counters.completed), 1);
            assert_eq!(HandshakeCounters::read(&service.counters.active), 0);
        }
    });
}

#[test]
fn as_client_the_service_speaks_first() {
    runtime().block_on(async {
        let service = Service::start(LONG, 8);
        let client = Client::new(&service, TRANSPORT);
        let (keys, dtls) = connect(&service, &client, &[CM, GCM_128], DtlsRole::Client).await;
        let (expected, protection) = match dtls.selected_srtpprotection_profile() {
            GCM_128 => (SrtpProfile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
            other => panic!("{other:?}"),
        };
        let theirs = client_keys(&dtls, protection, false).await;
        assert_eq!((keys.profile, keys.local_key), (expected, theirs.remote_master_key));
    });
}

#[test]
fn what_comes_before_the_fingerprint_is_known_is_kept() {
    runtime().block_on(async {
        let service = Service::start(LONG, 8);
        let client = Client::new(&service, TRANSPORT);
        service.create(TRANSPORT, None).await;
        let config = Config { flight_interval: LONG, ..client.config(&[GCM_128]) };
        let half = client.handshake(config, true);
        client.sent_more_than(0).await;
        let remote = client.remote(DtlsRole::Server);
        service.tell(Input::SetRemote { transport: TRANSPORT, remote }).await;
        assert_eq!(keys(service.pump(&client.inbox, |_| true).await).profile, SrtpProfile::AeadAes128Gcm);
        half.await.unwrap().unwrap();
    });
}

#[test]
fn a_client_with_another_certificate_gets_no_keys() {
    runtime().block_on(async {
        for role in [DtlsRole::Server, DtlsRole::Client] {
            let service = Service::start(LONG, 8);
            let client = Client::new(&service, TRANSPORT);
            let other = Identity::generate().unwrap();
            let remote = RemoteParameters { fingerprints: vec![other.fingerprint().clone()], ..client.remote(role) };
            service.create(TRANSPORT, Some(remote)).await;
            let half = client.handshake(client.config(&[GCM_128]), role == DtlsRole::Server);
            let detail = failure(service.pump(&client.inbox, |_| true).await);
            assert!(detail.contains("fingerprint"), "{detail}");
            assert_eq!(HandshakeCounters::read(&service.counters.failed), 1);
            half.abort();
        }
    });
}

#[test]
fn no_common_profile_is_a_failure_that_names_the_offer() {
    runtime().block_on(async {
        let service = Service::start(LONG, 8);
        let client = Client::new(&service, TRANSPORT);
        service.create(TRANSPORT, Some(client.remote(DtlsRole::Server))).await;
        let half = client.handshake(client.config(&[Profile::Srtp_Aes128_Cm_Hmac_Sha1_32]), true);
        let detail = failure(service.verdict().await);
        assert!(detail.contains("no common SRTP profile") && detail.contains("0x0002"), "{detail}");
        half.abort();
        let client = Client::new(&service, TransportId(8));
        service.create(TransportId(8), Some(client.remote(DtlsRole::Server))).await;
        let half = client.handshake(client.config(&[]), true);
        let detail = failure(service.verdict().await);
        assert!(detail.contains("no SRTP"), "{detail}");
        half.abort();
    });
}

#[test]
fn a_fragmented_client_hello_is_put_together() {
    runtime().block_on(async {
        let service = Service::start(LONG, 8);
        let client = Client::new(&service, TRANSPORT);
        service.create(TRANSPORT, Some(client.remote(DtlsRole::Server))).await;
        let half = client.handshake(Config { mtu: 60, ..client.config(&[CM, GCM_128]) }, true);
        assert_eq!(keys(service.pump(&client.inbox, |_| true).await).profile, SrtpProfile::AeadAes128Gcm);
        half.await.unwrap().unwrap();
    });
}

#[test]
fn lost_flights_are_sent_again() {
    runtime().block_on(async {
        let service = Service::start(LONG, 8);
        let client = Client::new(&service, TRANSPORT);
        service.create(TRANSPORT, Some(client.remote(DtlsRole::Server))).await;
        let half = client.handshake(client.config(&[GCM_128]), true);
        // The first datagram of every two is lost, the last flight's among them.
        keys(service.pump(&client.inbox, |count| count % 2 == 1).await);
        finish(&service, &client, half).await;
    });
}

#[test]
fn a_client_that_missed_our_last_flight_gets_it_again() {
    runtime().block_on(async {
        let service = Service::start(LONG, 8);
        let client = Client::new(&service, TRANSPORT);
        service.create(TRANSPORT, Some(client.remote(DtlsRole::Server))).await;
        let half = client.handshake(client.config(&[GCM_128]), true);
        // The last flight goes out before the keys are told: hold back one datagram, and drop it when they come.
        let mut held = None;
        loop {
            match service.next().await {
                HandshakeInput::Send { data, .. } => {
                    if let Some(earlier) = held.replace(data) {
                        client.inbox.send(earlier).await.unwrap();
                    } else {
                        continue;
                    }
                }
                HandshakeInput::Keys { .. } => break,
                other => panic!("{}", describe(&other)),
            }
            // A flight of one datagram must not wait for the next one forever.
            if service.inbox.handshakes.is_empty() && !is_finished(held.as_deref()) {
                client.inbox.send(held.take().unwrap()).await.unwrap();
            }
        }
        assert!(is_finished(held.as_deref()), "the last datagram is our last flight");
        assert!(!half.is_finished());
        finish(&service, &client, half).await;
    });
}

/// Whether a datagram starts with ChangeCipherSpec, as the server's last flight does.
fn is_finished(datagram: Option<&[u8]>) -> bool {
    datagram.is_some_and(|data| data.first() == Some(&20))
}

/// Moves datagrams until the client's half is done.
async fn finish(service: &Service, client: &Client, half: tokio::task::JoinHandle<Result<DTLSConn, String>>) {
    let mut half = half;
    let outcome = loop {
        tokio::select! {
            outcome = &mut half => break outcome,
            input = service.next() => if let HandshakeInput::Send { data, .. } = input {
                client.inbox.send(data).await.unwrap();
            },
        }
    };
    outcome.unwrap().unwrap();
}

#[test]
fn a_silent_client_times_out_and_stays_failed() {
    runtime().block_on(async {
        let service = Service::start(Duration::from_millis(50), 8);
        let client = Client::new(&service, TRANSPORT);
        service.create(TRANSPORT, Some(client.remote(DtlsRole::Server))).await;
        let half = client.handshake(client.config(&[GCM_128]), true);
        let detail = failure(service.pump(&client.inbox, |_| false).await);
        assert!(detail.contains("50 ms"), "{detail}");
        half.abort();
        let sent = client.conn.sent.load(Ordering::Relaxed);
        let again = client.handshake(client.config(&[GCM_128]), true);
        client.sent_more_than(sent).await;
        // Inputs are taken in order: once this one has had its effect, those before had theirs.
        service.create(TransportId(8), Some(client.remote(DtlsRole::Client))).await;
        assert!(matches!(service.next().await, HandshakeInput::Send { transport: TransportId(8), .. }));
        assert_eq!(HandshakeCounters::read(&service.counters.started), 2);
        again.abort();
    });
}

#[test]
fn beyond_the_bound_clients_wait_for_their_turn() {
    runtime().block_on(async {
        let service = Service::start(LONG, 1);
        let first = Client::new(&service, TransportId(1));
        service.create(TransportId(1), Some(first.remote(DtlsRole::Server))).await;
        let idle = first.handshake(first.config(&[GCM_128]), true);
        assert!(matches!(service.next().await, HandshakeInput::Send { transport: TransportId(1), .. }));

        let second = Client::new(&service, TRANSPORT);
        service.create(TRANSPORT, Some(second.remote(DtlsRole::Server))).await;
        let half = second.handshake(second.config(&[GCM_128]), true);
        while HandshakeCounters::read(&service.counters.refused) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(HandshakeCounters::read(&service.counters.active), 1);

        idle.abort();
        service.tell(Input::Remove { transport: TransportId(1) }).await;
        let verdict = loop {
            match service.next().await {
                HandshakeInput::Send { transport: TRANSPORT, data } => second.inbox.send(data).await.unwrap(),
                HandshakeInput::Send { .. } => {}
                verdict => break verdict,
            }
        };
        assert_eq!(keys(verdict).profile, SrtpProfile::AeadAes128Gcm);
        half.await.unwrap().unwrap();
    });
}

#[test]
fn the_clients_close_is_noticed() {
    runtime().block_on(async {
        let service = Service::start(LONG, 8);
        let client = Client::new(&service, TRANSPORT);
        let (_, dtls) = connect(&service, &client, &[GCM_128], DtlsRole::Server).await;
        // Forged: an alert in the clear, close_notify.
        let forged = vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 1, 0];
        service.tell(Input::Datagram { transport: TRANSPORT, worker: 0, data: forged }).await;
        let garbage = vec![22; 100];
        service.tell(Input::Datagram { transport: TRANSPORT, worker: 0, data: garbage }).await;
        assert!(service.inbox.handshakes.is_empty());
        dtls.close().await.unwrap();
        assert!(matches!(service.verdict().await, HandshakeInput::Closed { transport: TRANSPORT }));
    });
}

#[test]
fn a_removed_transport_leaves_no_task_behind() {
    let service = Service::start(LONG, 64);
    runtime().block_on(async {
        let mut halves = Vec::new();
        let mut started = BTreeSet::new();
        for id in 1..=20 {
            let client = Client::new(&service, TransportId(id));
            service.create(TransportId(id), Some(client.remote(DtlsRole::Server))).await;
            halves.push((client.handshake(client.config(&[GCM_128]), true), client));
        }
        while started.len() < 20 {
            if let HandshakeInput::Send { transport, .. } = service.next().await {
                started.insert(transport);
            }
        }
        assert_eq!(HandshakeCounters::read(&service.counters.active), 20);
        for id in 1..=20 {
            service.tell(Input::Remove { transport: TransportId(id) }).await;
        }
        while HandshakeCounters::read(&service.counters.active) != 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for (half, _) in &halves {
            half.abort();
        }
    });
}
