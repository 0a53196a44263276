//! Whole calls over real sockets, rings and handshakes, with peers of an independent WebRTC stack.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing helper is a failing test")]

mod common;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use bytes::Bytes;
use common::{Client, PASSWORD, PATIENCE, Server};
use dataplane_protocol::{
    Codec, CodecParameters, Command, CreateTransport, DtlsRole, ExtensionKind, Fingerprint, HeaderExtension, MediaKind,
    Publish, RemoteParameters, Stats, Subscribe, TransportState, WorkerStats,
};
use millrace_dataplane::{Config, SendBy};
use millrace_loadtest::{Identity, Offer, Packet, Peer, SrtpProtectionProfile};
use rtp::header::Header;

const GCM_128: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm;
const GCM_256: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm;
const CM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80;
const PUBLISHER: u64 = 1;
const TRACK: u64 = 10;
const SSRC: u32 = 0x0102_0304;
/// Packets of a frame.
const FRAME: u16 = 5;

/// A publisher and subscribers, connected.
struct Call {
    server: Server,
    control: Client,
    publisher: Peer,
    subscribers: Vec<Peer>,
    sequence: u16,
    frames: u32,
}

fn extension(kind: ExtensionKind, id: u32) -> HeaderExtension {
    HeaderExtension { kind: kind as i32, id }
}

fn codec(payload_type: u32) -> Option<CodecParameters> {
    Some(CodecParameters {
        codec: Codec::Vp8 as i32,
        payload_type,
        clock_rate: 90_000,
        nack: true,
        pli: true,
        ..Default::default()
    })
}

fn ufrag(transport: u64) -> String {
    format!("ufrag{transport}")
}

/// Waits for the event that tells of this state.
fn await_state(control: &mut Client, transport: u64, state: TransportState) {
    loop {
        let event = control.event();
        assert_ne!(event.state(), TransportState::Failed, "{event:?}");
        if event.transport == transport && event.state() == state {
            return;
        }
    }
}

/// Waits until the server sends to this port.
fn await_remote_port(control: &mut Client, transport: u64, port: u16) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let snapshot = control.snapshot();
        let known = snapshot.transports.iter().find(|known| known.transport == transport).unwrap();
        if known.remote_address.ends_with(&format!(":{port}")) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "transport {transport} is still at {}", known.remote_address);
        std::thread::yield_now();
    }
}

async fn connect(
    server: &Server,
    control: &mut Client,
    (transport, near): (u64, Option<u64>),
    profile: SrtpProtectionProfile,
) -> Peer {
    let identity = Identity::generate("peer", "passwordOfThePeer00000001").unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, identity.der());
    control.done(Command::CreateTransport(CreateTransport {
        transport,
        ice_ufrag: ufrag(transport),
        ice_pwd: PASSWORD.to_owned(),
        remote: Some(RemoteParameters {
            ice_ufrag: identity.ufrag.clone(),
            ice_pwd: identity.password.clone(),
            fingerprints: vec![Fingerprint { hash: "sha-256".to_owned(), digest: digest.as_ref().to_vec() }],
            dtls_role: DtlsRole::Server as i32,
        }),
        label: String::new(),
        near,
    }));
    let offer = Offer {
        server: server.media_address(),
        ufrag: ufrag(transport),
        password: PASSWORD.to_owned(),
        profiles: vec![profile],
        timeout: PATIENCE,
    };
    let peer = Peer::connect(&identity, &offer).await.unwrap();
    await_state(control, transport, TransportState::Connected);
    assert_eq!(peer.profile(), profile);
    peer
}

impl Call {
    /// Subscribers anywhere.
    async fn start(workers: u16, profiles: &[SrtpProtectionProfile]) -> Self {
        Self::start_near(workers, profiles, None).await
    }

    /// Subscribers near this transport.
    async fn start_near(workers: u16, profiles: &[SrtpProtectionProfile], near: Option<u64>) -> Self {
        Self::start_on(Server::start(workers), profiles, near).await
    }

    async fn start_on(server: Server, profiles: &[SrtpProtectionProfile], near: Option<u64>) -> Self {
        let mut control = server.client();
        let publisher = connect(&server, &mut control, (PUBLISHER, None), GCM_128).await;
        control.done(Command::Publish(Publish {
            track: TRACK,
            transport: PUBLISHER,
            kind: MediaKind::Video as i32,
            mid: "0".to_owned(),
            codec: codec(96),
            ssrc: Some(SSRC),
            ..Default::default()
        }));
        let mut subscribers = Vec::new();
        for (n, profile) in profiles.iter().enumerate() {
            let transport = 100 + n as u64;
            subscribers.push(connect(&server, &mut control, (transport, near), *profile).await);
            control.done(Command::Subscribe(Subscribe {
                subscription: transport,
                transport,
                track: TRACK,
                mid: "7".to_owned(),
                codec: codec(120),
                ssrc: 0xabcd_0000 + n as u32,
                extensions: vec![extension(ExtensionKind::Mid, 4)],
                cname: "call".to_owned(),
                ..Default::default()
            }));
        }
        // Commands take effect in the order of the connection, before the snapshot that follows them; what they
        // make workers tell each other goes by ring and may still be under way.
        control.snapshot();
        let mut call = Self { server, control, publisher, subscribers, sequence: 0xfff0, frames: 0 };
        call.warm_up().await;
        call
    }

    /// Sends keyframes until every subscriber has seen one.
    async fn warm_up(&mut self) {
        let mut waiting: Vec<_> = (0..self.subscribers.len()).collect();
        while !waiting.is_empty() {
            self.send_frame(true).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            waiting.retain(|n| !matches!(self.subscribers[*n].try_receive(), Some(Packet::Rtp(_))));
        }
    }

    /// The payload of part `part` of frame `frame`.
    fn payload(frame: u32, part: u16, keyframe: bool) -> Bytes {
        let mut payload = vec![if part == 0 { 0x10 } else { 0 }, u8::from(!keyframe), 0, 0];
        payload.extend(frame.to_be_bytes());
        payload.extend(part.to_be_bytes());
        payload.resize(1_000 + usize::from(part), frame as u8);
        payload.into()
    }

    async fn send_frame(&mut self, keyframe: bool) {
        for part in 0..FRAME {
            let header = Header {
                version: 2,
                marker: part + 1 == FRAME,
                payload_type: 96,
                sequence_number: self.sequence,
                timestamp: self.frames * 3_000,
                ssrc: SSRC,
                ..Default::default()
            };
            self.sequence = self.sequence.wrapping_add(1);
            let payload = Self::payload(self.frames, part, keyframe);
            self.publisher.send(&rtp::packet::Packet { header, payload }).await.unwrap();
        }
        self.frames += 1;
    }

    /// Sends `count` frames and checks that each subscriber gets each packet of them once, with the right bytes.
    async fn exchange(&mut self, count: u32) {
        let first = self.frames;
        for frame in 0..count {
            self.send_frame(frame == 0).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let expected = (count as usize) * usize::from(FRAME);
        for (n, subscriber) in self.subscribers.iter_mut().enumerate() {
            let mut seen = BTreeMap::new();
            while seen.len() < expected {
                let packet = tokio::time::timeout(PATIENCE, subscriber.receive()).await;
                match packet.unwrap_or_else(|_| panic!("subscriber {n}: {} of {expected}", seen.len())) {
                    Some(Packet::Rtp(packet)) => {
                        let frame = u32::from_be_bytes(packet.payload[4..8].try_into().unwrap());
                        let part = u16::from_be_bytes(packet.payload[8..10].try_into().unwrap());
                        if frame < first {
                            continue;
                        }
                        assert_eq!(packet.payload, Self::payload(frame, part, frame == first));
                        assert_eq!(packet.header.payload_type, 120);
                        assert_eq!(packet.header.ssrc, 0xabcd_0000 + n as u32);
                        assert_eq!(packet.header.timestamp, frame * 3_000);
                        assert_eq!(packet.header.get_extension(4), Some(Bytes::from_static(b"7")));
                        assert!(seen.insert((frame, part), packet.header.sequence_number).is_none(), "twice");
                    }
                    Some(Packet::Rtcp(_)) => {}
                    other => panic!("subscriber {n}: {other:?}"),
                }
            }
            let sequences: Vec<_> = seen.values().copied().collect();
            assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{sequences:?}");
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn every_profile_carries_every_byte_across_two_workers() {
    runtime().block_on(async {
        let mut call = Call::start(2, &[GCM_128, GCM_256, CM, GCM_128, CM]).await;
        call.exchange(60).await;
        let stats = call.control.stats();
        let drops: Vec<_> = stats.workers.iter().flat_map(|worker| &worker.drops).collect();
        assert!(drops.is_empty(), "{drops:?}");
    });
}

#[test]
fn peers_behind_a_forgetful_nat_keep_their_call() {
    runtime().block_on(async {
        let mut call = Call::start(2, &[GCM_128, GCM_128]).await;
        call.exchange(5).await;
        // Each new port is hashed to one of two workers anew: of so many moves, one ends on the one that does not own it.
        let handed = |call: &mut Call| -> u64 {
            call.control.stats().workers.iter().map(|worker| worker.cross_datagrams_in).sum()
        };
        for round in 0..64 {
            if round >= 6 && handed(&mut call) > 0 {
                break;
            }
            let moving = if round % 2 == 0 { &call.publisher } else { &call.subscribers[0] };
            let address = moving.rebind().await.unwrap();
            let transport = if round % 2 == 0 { PUBLISHER } else { 100 };
            await_remote_port(&mut call.control, transport, address.port());
            call.exchange(5).await;
        }
        let claims: u64 = call.control.stats().workers.iter().map(|worker| worker.claims).sum();
        assert!(handed(&mut call) > 0, "no move ended on the other worker");
        assert_eq!(claims, 3, "owners stay");
    });
}

#[test]
fn subscribers_near_their_publisher_are_on_its_worker_and_the_kernel_delivers_there() {
    runtime().block_on(async {
        let mut call = Call::start_near(2, &[GCM_128, GCM_256, CM, GCM_128, CM], Some(PUBLISHER)).await;
        let before = call.control.stats();
        if before.workers.iter().map(|worker| worker.flows_steered).sum::<u64>() == 0 {
            eprintln!("not tested: the kernel does not permit BPF programs here");
            return;
        }
        call.exchange(20).await;
        let workers: Vec<_> = call.control.snapshot().transports.iter().map(|known| known.worker).collect();
        assert_eq!(workers, [workers[0]; 6]);
        let after = call.control.stats();
        let sum = |stats: &Stats, count: fn(&WorkerStats) -> u64| stats.workers.iter().map(count).sum::<u64>();
        assert_eq!(sum(&after, |worker| worker.cross_media_out), 0);
        let crossed = |stats: &Stats| sum(stats, |worker| worker.cross_datagrams_out);
        assert_eq!(crossed(&after), crossed(&before), "none after the first checks");
        assert_eq!((sum(&after, |worker| worker.flows_steered), sum(&after, |worker| worker.flows_unsteered)), (6, 0));
    });
}

/// Gives the calling thread, and all that it starts, a network of its own; false, and said, where that is not permitted.
fn own_network() -> bool {
    // SAFETY: it takes no pointers, and only this thread has another network afterwards.
    let is_permitted = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
    if !is_permitted || std::process::Command::new("ip").arg("-V").output().is_err() {
        eprintln!("not tested: no network of our own, or no `ip` to set it up");
        return false;
    }
    true
}

/// Runs `ip` in the calling thread's network.
fn ip(arguments: &str) {
    let done = std::process::Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A server at the near end of a cable, the calling thread at its far end.
fn behind_a_cable(workers: u16, change: impl FnOnce(&mut Config) + Send + 'static) -> Option<Server> {
    if !own_network() {
        return None;
    }
    let (tell_network, network) = std::sync::mpsc::channel();
    let (tell_laid, laid) = std::sync::mpsc::channel();
    let near = std::thread::spawn(move || {
        assert!(own_network());
        // SAFETY: it takes nothing and cannot fail.
        tell_network.send(unsafe { libc::gettid() }).unwrap();
        laid.recv().unwrap();
        ip("address add 192.0.2.1/24 dev near");
        ip("link set near up");
        Server::start_with(workers, |config| {
            config.bind = vec![[192, 0, 2, 1].into()];
            config.announce = vec!["192.0.2.1".parse().unwrap()];
            change(config);
        })
    });
    ip(&format!("link add far type veth peer name near netns {}", network.recv().unwrap()));
    ip("address add 192.0.2.2/24 dev far");
    ip("link set far up");
    tell_laid.send(()).unwrap();
    Some(near.join().unwrap())
}

#[test]
fn frames_of_the_card_are_what_the_socket_sends() {
    let checked = std::thread::spawn(|| {
        let Some(server) = behind_a_cable(2, |config| config.send_by = SendBy::Card) else { return };
        runtime().block_on(async {
            let mut call = Call::start_on(server, &[GCM_128, GCM_256, CM], None).await;
            let by_card = |call: &mut Call| {
                let sum = |count: fn(&WorkerStats) -> u64, stats: &Stats| stats.workers.iter().map(count).sum::<u64>();
                let stats = call.control.stats();
                assert_eq!(sum(|worker| worker.card_refused, &stats), 0);
                (sum(|worker| worker.datagrams_by_card, &stats), sum(|worker| worker.datagrams_sent, &stats))
            };
            let deadline = std::time::Instant::now() + PATIENCE;
            while by_card(&mut call).0 == 0 {
                assert!(std::time::Instant::now() < deadline, "nothing is sent by the card");
                call.exchange(20).await;
            }
            let before = by_card(&mut call);
            call.exchange(100).await;
            let after = by_card(&mut call);
            let (frames, all) = (after.0 - before.0, after.1 - before.1);
            assert!(frames * 10 > all * 8, "{frames} of {all} by the card");
        });
    });
    checked.join().unwrap();
}

#[test]
fn media_outlives_its_control_plane() {
    runtime().block_on(async {
        let mut call = Call::start(2, &[GCM_128, CM]).await;
        call.exchange(5).await;
        let before = call.control.snapshot();
        // The socket closes without a word, as when its process is killed.
        call.control = call.server.connect();
        call.exchange(40).await;
        call.control = call.server.client();
        let after = call.control.snapshot();
        let ids = |snapshot: &dataplane_protocol::Snapshot| {
            let transports: Vec<_> = snapshot.transports.iter().map(|transport| transport.transport).collect();
            let tracks: Vec<_> = snapshot.tracks.iter().map(|track| track.track).collect();
            let subscriptions: Vec<_> =
                snapshot.subscriptions.iter().map(|subscription| subscription.subscription).collect();
            (transports, tracks, subscriptions)
        };
        assert_eq!(ids(&after), ids(&before));
        assert_eq!(ids(&after), (vec![1, 100, 101], vec![TRACK], vec![100, 101]));
        assert!(after.tracks[0].packets >= before.tracks[0].packets + 40 * u64::from(FRAME));
    });
}

#[test]
fn a_hundred_thousand_hostile_datagrams_change_nothing() {
    runtime().block_on(async {
        let mut call = Call::start(2, &[GCM_128, CM]).await;
        call.exchange(5).await;
        let replay = {
            let header = Header {
                version: 2,
                payload_type: 96,
                sequence_number: call.sequence - 1,
                ssrc: SSRC,
                ..Default::default()
            };
            call.publisher.seal(&rtp::packet::Packet { header, payload: Bytes::from_static(&[0; 100]) }).unwrap()
        };
        let server = SocketAddr::from(([127, 0, 0, 1], call.server.media_port()));
        let attacker = std::thread::spawn({
            let replay = replay.clone();
            move || {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                let mut noise = 0x9e37_79b9_u32;
                for n in 0..90_000usize {
                    let mut datagram = replay.to_vec();
                    for byte in datagram.iter_mut().take(n % 64) {
                        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        *byte = (noise >> 24) as u8;
                    }
                    let _ = socket.send_to(&datagram, server);
                    if n % 100 == 0 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            }
        });
        // And from the publisher's own address, where they are looked at more closely.
        for _ in 0..20 {
            for _ in 0..500 {
                call.publisher.send_raw(&replay).await;
            }
            call.exchange(5).await;
        }
        attacker.join().unwrap();
        call.exchange(10).await;
        let stats = call.control.stats();
        let dropped = |reason: &str| -> u64 {
            let drops = stats.workers.iter().flat_map(|worker| &worker.drops);
            drops.filter(|drop| drop.reason == reason).map(|drop| drop.count).sum()
        };
        assert!(dropped("srtp_replay") + dropped("srtp_authentication") > 5_000, "{stats:?}");
        assert!(dropped("unknown_path") + dropped("unknown_protocol") > 40_000, "{stats:?}");
        assert_eq!(stats.workers.iter().map(|worker| worker.panics).sum::<u64>(), 0);
    });
}
