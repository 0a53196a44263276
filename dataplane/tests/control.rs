//! The control socket of a running process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use common::{Server, create};
use dataplane_protocol::{
    Codec, CodecParameters, Command, ErrorCode, Hello, MediaKind, Outcome, Publish, RemoveTransport, Subscribe,
    TransportState, Unpublish,
};
use millrace_dataplane::{Config, Error, run};

fn opus() -> Option<CodecParameters> {
    Some(CodecParameters { codec: Codec::Opus as i32, payload_type: 111, clock_rate: 48_000, ..Default::default() })
}

fn publish(track: u64, transport: u64) -> Command {
    Command::Publish(Publish {
        track,
        transport,
        kind: MediaKind::Audio as i32,
        mid: track.to_string(),
        codec: opus(),
        label: format!("track {track}"),
        ..Default::default()
    })
}

fn subscribe(subscription: u64, transport: u64, track: u64) -> Command {
    Command::Subscribe(Subscribe {
        subscription,
        transport,
        track,
        mid: subscription.to_string(),
        codec: opus(),
        ssrc: 1000 + subscription as u32,
        cname: "cname".to_owned(),
        label: format!("subscription {subscription}"),
        ..Default::default()
    })
}

#[test]
fn hello_comes_first_and_tells_what_an_sdp_needs() {
    let server = Server::start(2);
    let mut client = server.connect();
    let failure = client.refused(Command::CreateTransport(create(1)));
    assert_eq!(failure.code(), ErrorCode::HelloFirst);
    let hello = client.hello();
    assert_eq!((hello.version, hello.workers), (dataplane_protocol::VERSION, 2));
    assert!(hello.software.starts_with("millrace-dataplane "));
    let fingerprint = hello.fingerprint.clone().unwrap();
    assert_eq!((fingerprint.hash.as_str(), fingerprint.digest.len()), ("sha-256", 32));
    let candidates: Vec<_> = hello.candidates.iter().map(|own| (own.address.clone(), own.port)).collect();
    assert_eq!(candidates, [("127.0.0.1".to_owned(), u32::from(server.media_port()))]);
    assert_eq!(client.hello(), hello, "hello again is the same process");
    assert_ne!(Server::start(1).client().hello().instance, hello.instance);
}

#[test]
fn each_requester_gets_its_own_errors_only() {
    let server = Server::start(1);
    let (mut first, mut second) = (server.client(), server.client());
    first.done(Command::CreateTransport(create(1)));
    assert_eq!(second.refused(Command::CreateTransport(create(1))).code(), ErrorCode::Exists);
    assert_eq!(second.refused(publish(5, 99)).code(), ErrorCode::NotFound);
    first.done(publish(5, 1));
    second.done(Command::Unpublish(Unpublish { track: 5 }));
    assert_eq!(first.refused(Command::Unpublish(Unpublish { track: 5 })).code(), ErrorCode::NotFound);
}

#[test]
fn pipelined_commands_are_answered_once_each_in_order() {
    let server = Server::start(2);
    let mut client = server.client();
    let mut sent = Vec::new();
    for id in 1..=500 {
        sent.push(client.send(Some(Command::CreateTransport(create(id)))));
        sent.push(client.send(Some(Command::CreateTransport(create(id)))));
    }
    for (at, request_id) in sent.into_iter().enumerate() {
        let (answered, outcome) = client.reply();
        assert_eq!(answered, request_id);
        assert_eq!(matches!(outcome, Outcome::Done(_)), at % 2 == 0, "{outcome:?}");
    }
    let stats = client.stats();
    assert_eq!((stats.transports, stats.commands, stats.commands_failed), (500, 1002, 500));
}

#[test]
fn an_unknown_command_is_answered_and_the_connection_lives() {
    let server = Server::start(1);
    let mut client = server.client();
    let sent = client.send(None);
    let (request_id, outcome) = client.reply();
    assert_eq!(request_id, sent);
    assert!(matches!(outcome, Outcome::Failure(failure) if failure.code() == ErrorCode::Unsupported));
    client.done(Command::CreateTransport(create(1)));
}

#[test]
fn a_malformed_frame_closes_its_own_connection_only() {
    let server = Server::start(1);
    let mut good = server.client();
    for frame in [&[0, 0, 0, 3, 0xff, 0xff, 0xff][..], &[0xff, 0xff, 0xff, 0xff][..]] {
        let mut bad = server.client();
        bad.stream.write_all(frame).unwrap();
        assert_eq!(bad.read(), None);
    }
    good.done(Command::CreateTransport(create(1)));
    assert_eq!(good.stats().control_connections, 1);
}

#[test]
fn what_a_dead_client_made_stays_and_its_successor_sees_it() {
    let server = Server::start(2);
    let mut client = server.client();
    let instance = client.hello().instance;
    for id in [1, 2] {
        client.done(Command::CreateTransport(create(id)));
    }
    client.done(publish(10, 1));
    client.done(subscribe(20, 2, 10));
    // In the middle of a frame, as a killed process leaves it.
    client.stream.write_all(&[0, 0, 1]).unwrap();
    drop(client);

    let mut successor = server.client();
    assert_eq!(successor.hello().instance, instance);
    let snapshot = successor.snapshot();
    let transports: Vec<_> = snapshot.transports.iter().map(|info| (info.transport, info.label.as_str())).collect();
    assert_eq!(transports, [(1, "label 1"), (2, "label 2")]);
    assert!(snapshot.transports.iter().all(|info| info.state() == TransportState::New && info.worker.is_none()));
    assert_eq!(snapshot.transports[0].ice_ufrag, "ufrag1");
    let [track] = &snapshot.tracks[..] else { panic!("{:?}", snapshot.tracks) };
    assert_eq!((track.track, track.transport, track.codec()), (10, 1, Codec::Opus));
    let [subscription] = &snapshot.subscriptions[..] else { panic!("{:?}", snapshot.subscriptions) };
    assert_eq!((subscription.subscription, subscription.transport, subscription.track), (20, 2, 10));
    let stats = snapshot.stats.unwrap();
    assert_eq!(stats.workers.iter().map(|worker| worker.worker).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((stats.transports, stats.tracks, stats.subscriptions), (2, 1, 1));

    successor.done(Command::RemoveTransport(RemoveTransport { transport: 1 }));
    let snapshot = successor.snapshot();
    assert_eq!((snapshot.transports.len(), snapshot.tracks.len(), snapshot.subscriptions.len()), (1, 0, 0));
}

#[test]
fn slots_of_removed_transports_are_used_again() {
    let server = Server::start_with(2, |config| config.max_transports = 2);
    let mut client = server.client();
    client.done(Command::CreateTransport(create(1)));
    client.done(Command::CreateTransport(create(2)));
    assert_eq!(client.refused(Command::CreateTransport(create(3))).code(), ErrorCode::Full);
    for id in 3..40 {
        client.done(Command::RemoveTransport(RemoveTransport { transport: id - 1 }));
        // Every worker has carried out what came before a snapshot once that is there.
        client.snapshot();
        client.done(Command::CreateTransport(create(id)));
    }
}

#[test]
fn many_snapshots_at_once_are_all_answered() {
    let server = Server::start(2);
    let mut client = server.client();
    let sent: Vec<_> =
        (0..40).map(|_| client.send(Some(Command::Snapshot(dataplane_protocol::SnapshotRequest {})))).collect();
    let mut answered: Vec<_> = sent.iter().map(|_| client.reply()).collect();
    answered.sort_by_key(|(request_id, _)| *request_id);
    assert_eq!(answered.iter().map(|(request_id, _)| *request_id).collect::<Vec<_>>(), sent);
    assert!(answered.iter().all(|(_, outcome)| matches!(outcome, Outcome::Snapshot(_))));
}

#[test]
fn connections_are_bounded() {
    let server = Server::start(1);
    let mut clients: Vec<_> = (0..16).map(|_| server.client()).collect();
    let mut one_too_many = server.connect();
    let _ = one_too_many.stream.write_all(&[0]);
    assert_eq!(one_too_many.read(), None);
    clients.pop();
    let remaining = &mut clients[0];
    while remaining.stats().control_connections > 15 {}
    server.client();
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    let server = Server::start(1);
    let mut deaf = server.client();
    let mut good = server.client();
    // Each refusal is about 40 bytes: a socket buffer and the outbox fill, and the connection ends.
    let mut frame = bytes::BytesMut::new();
    for request_id in 0..1000 {
        let command = Some(Command::Hello(Hello::default()));
        dataplane_protocol::encode(&dataplane_protocol::ToDataPlane { request_id, command }, &mut frame);
    }
    deaf.stream.set_write_timeout(Some(common::PATIENCE)).unwrap();
    while deaf.stream.write_all(&frame).is_ok() {}
    while good.stats().control_connections > 1 {}
}

#[test]
fn the_socket_is_private_and_gone_at_the_end() {
    let mut server = Server::start(1);
    let path = server.socket().to_owned();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    server.stop();
    assert!(!path.exists());
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn a_dead_processs_socket_is_replaced_and_a_living_ones_is_not() {
    let mut server = Server::start(1);
    let path = server.socket().to_owned();
    let config = Config {
        workers: Some(1),
        media_port: 0,
        announce: vec!["127.0.0.1".parse().unwrap()],
        control_socket: path.clone(),
        buffer_mib: 16,
        pin: false,
        ..Config::defaults()
    };
    assert!(matches!(run(&config), Err(Error::Control { .. })));
    server.client().done(Command::CreateTransport(create(1)));
    server.stop();

    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists() && UnixStream::connect(&path).is_err());
    let running = run(&config).unwrap();
    assert!(UnixStream::connect(&path).is_ok());
    running.stop();

    std::fs::write(&path, "a file of somebody's").unwrap();
    assert!(matches!(run(&config), Err(Error::Control { .. })));
    assert!(path.exists());
}

#[test]
fn a_media_port_in_use_is_an_error_that_names_it() {
    let server = Server::start(2);
    let port = server.media_port();
    let config = Config {
        workers: Some(1),
        media_port: port,
        control_socket: server.directory.join("other.sock"),
        ..Config::defaults()
    };
    let error = run(&config).unwrap_err();
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    assert!(!server.directory.join("other.sock").exists());
}
