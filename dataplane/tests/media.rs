//! A client's way in: a STUN check, the claim, the DTLS handshake, over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Client, PASSWORD, PATIENCE, Server, create, remote};
use dataplane_core::wire::stun::{Class, IntegrityKey, Message, Role, write_binding_request};
use dataplane_protocol::{
    Command, CreateTransport, Fingerprint, RemoveTransport, SetRemote, SrtpProfile, TransportState,
};
use millrace_dataplane::Steer;
use webrtc_dtls::config::{ClientAuthType, Config};
use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::crypto::Certificate;
use webrtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

fn udp(server: &Server, ip: &str) -> UdpSocket {
    let ip: IpAddr = ip.parse().unwrap();
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.connect((ip, server.media_port())).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A transaction id that no other check has: a copy of one is refused from another address.
fn transaction() -> [u8; 12] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [7; 12];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    id
}

fn check(transport: u64, password: &str) -> Vec<u8> {
    let mut request = vec![0; 256];
    let user = format!("ufrag{transport}:client");
    let key = IntegrityKey::new(password);
    let len = write_binding_request(&mut request, transaction(), &user, 1, Role::Controlling(1), true, &key).unwrap();
    request.truncate(len);
    request
}

/// Sends a check and gives the class of the answer.
fn ping(socket: &UdpSocket, transport: u64, password: &str) -> Class {
    let request = check(transport, password);
    socket.send(&request).unwrap();
    let mut answer = [0; 1500];
    let len = socket.recv(&mut answer).unwrap();
    let message = Message::parse(&answer[..len]).unwrap();
    assert_eq!(message.transaction_id(), request[8..20]);
    message.class()
}

#[test]
fn a_check_is_answered_and_claims_the_transport() {
    let server = Server::start(2);
    let mut client = server.client();
    let mut other = server.client();
    client.done(Command::CreateTransport(create(1)));
    let socket = udp(&server, "127.0.0.1");
    // The workers learn of the transport before the reply, but take it in at their own pace.
    client.snapshot();
    assert_eq!(ping(&socket, 1, PASSWORD), Class::Success);
    for client in [&mut client, &mut other] {
        let event = client.event();
        assert_eq!((event.transport, event.state()), (1, TransportState::Connecting));
    }
    let snapshot = client.snapshot();
    let worker = snapshot.transports[0].worker.unwrap();
    assert_eq!(snapshot.transports[0].state(), TransportState::Connecting);
    assert_eq!(snapshot.transports[0].remote_address, socket.local_addr().unwrap().to_string());
    let stats = snapshot.stats.unwrap();
    assert_eq!((stats.workers[worker as usize].stun_answered, stats.workers[worker as usize].claims), (1, 1));
    assert_eq!(stats.workers.iter().map(|worker| worker.datagrams_received).sum::<u64>(), 1);
    assert_eq!(stats.workers.iter().map(|worker| worker.datagrams_sent).sum::<u64>(), 1);
}

#[test]
fn a_flow_on_another_worker_reaches_the_owner() {
    let server = Server::start(2);
    let mut client = server.client();
    client.done(Command::CreateTransport(create(1)));
    client.snapshot();
    // Each socket's flow falls to a worker by its hash; of twenty, both get some.
    let sockets: Vec<_> = (0..20).map(|_| udp(&server, "127.0.0.1")).collect();
    for socket in &sockets {
        assert_eq!(ping(socket, 1, PASSWORD), Class::Success);
    }
    let stats = client.stats();
    assert_eq!(stats.workers.iter().map(|worker| worker.claims).sum::<u64>(), 1);
    assert_eq!(stats.workers.iter().map(|worker| worker.stun_answered).sum::<u64>(), 20);
    let crossed: u64 = stats.workers.iter().map(|worker| worker.cross_datagrams_in).sum();
    assert!((1..20).contains(&crossed), "{crossed}");
    assert_eq!(crossed, stats.workers.iter().map(|worker| worker.cross_datagrams_out).sum::<u64>());
}

#[test]
fn without_steering_the_first_check_decides() {
    let server = Server::start_with(2, |config| config.steer = Steer::Off);
    let mut client = server.client();
    for id in 1..=24 {
        client.done(Command::CreateTransport(CreateTransport { near: Some(1), ..create(id) }));
        client.snapshot();
        assert_eq!(ping(&udp(&server, "127.0.0.1"), id, PASSWORD), Class::Success);
    }
    let stats = client.stats();
    assert!(stats.workers.iter().all(|worker| worker.claims > 0 && worker.flows_steered == 0), "{stats:?}");
    assert_eq!(stats.workers.iter().map(|worker| worker.cross_datagrams_out).sum::<u64>(), 0);
}

#[test]
fn a_slot_used_again_is_not_claimed_by_its_past() {
    let server = Server::start_with(2, |config| config.max_transports = 1);
    let mut client = server.client();
    for id in 1..=12 {
        client.done(Command::CreateTransport(create(id)));
        client.snapshot();
        assert_eq!(ping(&udp(&server, "127.0.0.1"), id, PASSWORD), Class::Success);
        client.done(Command::RemoveTransport(RemoveTransport { transport: id }));
        client.snapshot();
    }
    let stats = client.stats();
    assert_eq!(stats.workers.iter().map(|worker| worker.claims).sum::<u64>(), 12);
}

struct Browser {
    certificate: Certificate,
}

impl Browser {
    fn new() -> Self {
        Self { certificate: Certificate::generate_self_signed(["browser".to_owned()]).unwrap() }
    }

    fn fingerprint(&self) -> Fingerprint {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.certificate.certificate[0].as_ref());
        Fingerprint { hash: "sha-256".to_owned(), digest: digest.as_ref().to_vec() }
    }

    async fn handshake(&self, socket: UdpSocket) -> Result<DTLSConn, webrtc_dtls::Error> {
        socket.set_nonblocking(true).unwrap();
        let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
        let config = Config {
            certificates: vec![self.certificate.clone()],
            srtp_protection_profiles: vec![
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            ],
            client_auth: ClientAuthType::RequireAnyClientCert,
            insecure_skip_verify: true,
            ..Config::default()
        };
        DTLSConn::new(Arc::new(socket), config, true, None).await
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn expect_state(client: &mut Client, expected: TransportState) -> dataplane_protocol::TransportEvent {
    let event = client.event();
    assert_eq!(event.state(), expected, "{event:?}");
    event
}

#[test]
fn a_client_connects_and_closes_on_either_family() {
    for ip in ["127.0.0.1", "::1"] {
        let server = Server::start(2);
        if ip == "::1" && UdpSocket::bind((ip, 0)).is_err() {
            continue;
        }
        let mut client = server.client();
        let browser = Browser::new();
        let spec = CreateTransport { remote: Some(remote(browser.fingerprint())), ..create(1) };
        client.done(Command::CreateTransport(spec));
        client.snapshot();
        let socket = udp(&server, ip);
        let address: SocketAddr = socket.local_addr().unwrap();
        assert_eq!(ping(&socket, 1, PASSWORD), Class::Success);
        expect_state(&mut client, TransportState::Connecting);
        runtime().block_on(async {
            let dtls = browser.handshake(socket).await.unwrap();
            assert_eq!(dtls.selected_srtpprotection_profile(), SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm);
            let event = expect_state(&mut client, TransportState::Connected);
            assert_eq!(event.srtp_profile(), SrtpProfile::AeadAes128Gcm);
            assert_eq!(event.remote_address, address.to_string());
            let snapshot = client.snapshot();
            assert_eq!(snapshot.transports[0].state(), TransportState::Connected);
            let stats = snapshot.stats.unwrap();
            assert_eq!((stats.handshakes_started, stats.handshakes_completed, stats.handshakes_active), (1, 1, 0));
            dtls.close().await.unwrap();
            expect_state(&mut client, TransportState::Closed);
        });
    }
}

#[test]
fn the_answer_may_come_after_the_first_client_hello() {
    let server = Server::start(1);
    let mut client = server.client();
    let browser = Browser::new();
    client.done(Command::CreateTransport(create(1)));
    client.snapshot();
    let socket = udp(&server, "127.0.0.1");
    assert_eq!(ping(&socket, 1, PASSWORD), Class::Success);
    expect_state(&mut client, TransportState::Connecting);
    runtime().block_on(async {
        let set = Command::SetRemote(SetRemote { transport: 1, remote: Some(remote(browser.fingerprint())) });
        let (dtls, ()) = tokio::join!(browser.handshake(socket), async { client.done(set) });
        dtls.unwrap();
        expect_state(&mut client, TransportState::Connected);
    });
}

#[test]
fn a_client_with_another_certificate_fails() {
    let server = Server::start(1);
    let mut client = server.client();
    let (browser, other) = (Browser::new(), Browser::new());
    let spec = CreateTransport { remote: Some(remote(other.fingerprint())), ..create(1) };
    client.done(Command::CreateTransport(spec));
    client.snapshot();
    let socket = udp(&server, "127.0.0.1");
    assert_eq!(ping(&socket, 1, PASSWORD), Class::Success);
    expect_state(&mut client, TransportState::Connecting);
    runtime().block_on(async {
        assert!(browser.handshake(socket).await.is_err());
    });
    let event = expect_state(&mut client, TransportState::Failed);
    assert!(event.detail.contains("fingerprint"), "{}", event.detail);
}

#[test]
fn garbage_and_forged_checks_change_nothing_and_are_counted() {
    let server = Server::start(2);
    let mut client = server.client();
    client.done(Command::CreateTransport(create(1)));
    client.snapshot();
    let socket = udp(&server, "127.0.0.1");
    for n in 0..200u8 {
        socket.send(&vec![n; usize::from(n) + 1]).unwrap();
    }
    socket.send(&check(1, "notThePasswordOfThis1")).unwrap();
    socket.send(&check(2, PASSWORD)).unwrap();
    assert_eq!(ping_last(&socket), Class::Success);
    let snapshot = client.snapshot();
    let stats = snapshot.stats.unwrap();
    assert_eq!(stats.workers.iter().map(|worker| worker.claims).sum::<u64>(), 1);
    assert!(stats.workers.iter().flat_map(|worker| &worker.drops).map(|drop| drop.count).sum::<u64>() >= 200);
    assert_eq!(stats.workers.iter().map(|worker| worker.panics).sum::<u64>(), 0);
}

/// Pings, passing over refusals of earlier checks.
fn ping_last(socket: &UdpSocket) -> Class {
    socket.send(&check(1, PASSWORD)).unwrap();
    let mut answer = [0; 1500];
    loop {
        let len = socket.recv(&mut answer).unwrap();
        let class = Message::parse(&answer[..len]).unwrap().class();
        if class == Class::Success {
            return class;
        }
    }
}
