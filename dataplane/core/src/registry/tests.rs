use std::collections::BTreeSet;

use dataplane_protocol::{
    Codec, CodecParameters, Command, CreateTransport, DtlsRole, ErrorCode, ExtensionKind, Failure, Fingerprint,
    HeaderExtension, Hello, MediaKind, Publish, RemoteParameters, RemoveTransport, Retarget, SetRemote, Subscribe,
    SubscriptionId, TrackId, TrackInfo, TransportId, TransportInfo, TransportState, Unpublish, Unsubscribe,
};
use proptest::prelude::*;

use super::{Applied, Registry, RegistryLimits};
use crate::io::{ShardCommand, ShardSnapshot};

fn create(transport: u64) -> CreateTransport {
    CreateTransport {
        transport,
        ice_ufrag: format!("uf{transport:02}"),
        ice_pwd: "p".repeat(22),
        remote: None,
        label: format!("transport {transport}"),
        near: None,
    }
}

fn remote() -> RemoteParameters {
    RemoteParameters {
        ice_ufrag: "abcd".to_owned(),
        ice_pwd: "q".repeat(22),
        fingerprints: vec![Fingerprint { hash: "sha-256".to_owned(), digest: vec![7; 32] }],
        dtls_role: DtlsRole::Server as i32,
    }
}

fn vp8(payload_type: u32) -> CodecParameters {
    CodecParameters {
        codec: Codec::Vp8 as i32,
        payload_type,
        clock_rate: 90_000,
        rtx_payload_type: Some(payload_type + 1),
        ..Default::default()
    }
}

fn publish(track: u64, transport: u64) -> Publish {
    Publish {
        track,
        transport,
        kind: MediaKind::Video as i32,
        mid: format!("m{track}"),
        codec: Some(vp8(96)),
        ssrc: Some(track as u32 * 2),
        rtx_ssrc: Some(track as u32 * 2 + 1),
        extensions: vec![HeaderExtension { kind: ExtensionKind::Mid as i32, id: 4 }],
        label: format!("track {track}"),
        ..Publish::default()
    }
}

fn subscribe(subscription: u64, transport: u64, track: u64) -> Subscribe {
    Subscribe {
        subscription,
        transport,
        track,
        mid: format!("s{subscription}"),
        codec: Some(vp8(100)),
        ssrc: subscription as u32 * 2,
        rtx_ssrc: Some(subscription as u32 * 2 + 1),
        cname: "cname".to_owned(),
        label: format!("subscription {subscription}"),
        ..Default::default()
    }
}

fn small() -> Registry {
    Registry::new(RegistryLimits { max_transports: 4, max_tracks: 6, max_subscriptions: 10 })
}

/// Two transports, a track on the first, subscribed to by the second.
fn a_call() -> Registry {
    let mut registry = small();
    for command in [
        Command::CreateTransport(create(1)),
        Command::CreateTransport(create(2)),
        Command::Publish(publish(1, 1)),
        Command::Subscribe(subscribe(1, 2, 1)),
    ] {
        registry.apply(command).unwrap();
    }
    registry
}

fn code(outcome: Result<Applied, Failure>) -> ErrorCode {
    outcome.unwrap_err().code()
}

#[test]
fn a_removed_transport_takes_its_tracks_and_their_subscriptions() {
    let mut registry = a_call();
    let applied = registry.apply(Command::RemoveTransport(RemoveTransport { transport: 1 })).unwrap();
    assert_eq!(applied.commands, [ShardCommand::Unpublish(TrackId(1)), ShardCommand::RemoveTransport(TransportId(1))]);
    assert_eq!((registry.transports(), registry.tracks(), registry.subscriptions()), (1, 0, 0));
    let again = registry.apply(Command::Unsubscribe(Unsubscribe { subscription: 1 }));
    assert_eq!(code(again), ErrorCode::NotFound);
}

#[test]
fn a_removed_subscriber_leaves_the_track() {
    let mut registry = a_call();
    registry.apply(Command::RemoveTransport(RemoveTransport { transport: 2 })).unwrap();
    assert_eq!((registry.transports(), registry.tracks(), registry.subscriptions()), (1, 1, 0));
}

#[test]
fn a_slot_is_reused_only_after_its_release() {
    let mut registry = small();
    for transport in 1..=4 {
        registry.apply(Command::CreateTransport(create(transport))).unwrap();
    }
    let retired = registry.apply(Command::RemoveTransport(RemoveTransport { transport: 2 })).unwrap().retired_slot;
    assert_eq!(retired, Some(1));
    assert_eq!(code(registry.apply(Command::CreateTransport(create(5)))), ErrorCode::Full);
    registry.release_slot(0);
    assert_eq!(code(registry.apply(Command::CreateTransport(create(5)))), ErrorCode::Full);
    registry.release_slot(1);
    let applied = registry.apply(Command::CreateTransport(create(5))).unwrap();
    assert_eq!(applied.commands, [ShardCommand::CreateTransport { slot: 1, spec: create(5) }]);
}

#[test]
fn the_remote_end_may_restart_ice_but_not_change_its_certificate() {
    let mut registry = small();
    registry.apply(Command::CreateTransport(create(1))).unwrap();
    let mut set = |remote| registry.apply(Command::SetRemote(SetRemote { transport: 1, remote: Some(remote) }));
    assert_eq!(set(remote()).unwrap().commands.len(), 1);
    assert_eq!(set(remote()).unwrap(), Applied::default());
    assert_eq!(set(RemoteParameters { ice_ufrag: "other".to_owned(), ..remote() }).unwrap().commands.len(), 1);
    let client = DtlsRole::Client as i32;
    assert_eq!(code(set(RemoteParameters { dtls_role: client, ..remote() })), ErrorCode::Invalid);
}

#[test]
fn taken_names_are_refused() {
    let mut registry = a_call();
    let mut refused = |command| code(registry.apply(command));
    assert_eq!(refused(Command::CreateTransport(create(1))), ErrorCode::Exists);
    let same_ufrag = CreateTransport { ice_ufrag: "uf01".to_owned(), ..create(3) };
    assert_eq!(refused(Command::CreateTransport(same_ufrag)), ErrorCode::Exists);
    assert_eq!(refused(Command::Publish(publish(1, 1))), ErrorCode::Exists);
    assert_eq!(refused(Command::Publish(Publish { ssrc: Some(3), ..publish(2, 1) })), ErrorCode::Exists);
    assert_eq!(refused(Command::Publish(Publish { rtx_ssrc: Some(2), ..publish(2, 1) })), ErrorCode::Exists);
    assert_eq!(refused(Command::Publish(Publish { mid: "m1".to_owned(), ..publish(2, 1) })), ErrorCode::Exists);
    assert_eq!(refused(Command::Subscribe(subscribe(1, 2, 1))), ErrorCode::Exists);
    assert_eq!(refused(Command::Subscribe(Subscribe { ssrc: 3, ..subscribe(2, 2, 1) })), ErrorCode::Exists);
    let same_ssrc_elsewhere = Subscribe { ssrc: 2, rtx_ssrc: Some(3), ..subscribe(2, 1, 1) };
    assert!(registry.apply(Command::Subscribe(same_ssrc_elsewhere)).is_ok());
}

#[test]
fn what_the_contract_forbids_is_invalid() {
    let ext = |kind: ExtensionKind, id| HeaderExtension { kind: kind as i32, id };
    let bad_remote = |change: fn(&mut RemoteParameters)| {
        let mut remote = remote();
        change(&mut remote);
        Command::SetRemote(SetRemote { transport: 1, remote: Some(remote) })
    };
    let bad_codec = |change: fn(&mut CodecParameters)| {
        let mut codec = vp8(96);
        change(&mut codec);
        Command::Publish(Publish { codec: Some(codec), ..publish(2, 1) })
    };
    let commands = [
        Command::CreateTransport(create(0)),
        Command::CreateTransport(CreateTransport { ice_ufrag: "abc".to_owned(), ..create(3) }),
        Command::CreateTransport(CreateTransport { ice_ufrag: "ab:cd".to_owned(), ..create(3) }),
        Command::CreateTransport(CreateTransport { ice_ufrag: "a".repeat(33), ..create(3) }),
        Command::CreateTransport(CreateTransport { ice_pwd: "p".repeat(21), ..create(3) }),
        Command::CreateTransport(CreateTransport { ice_pwd: "p".repeat(65), ..create(3) }),
        Command::CreateTransport(CreateTransport { label: "l".repeat(257), ..create(3) }),
        Command::SetRemote(SetRemote { transport: 1, remote: None }),
        bad_remote(|remote| remote.fingerprints.clear()),
        bad_remote(|remote| remote.fingerprints[0].hash = "md5".to_owned()),
        bad_remote(|remote| remote.fingerprints[0].digest.truncate(31)),
        bad_remote(|remote| remote.dtls_role = 9),
        bad_remote(|remote| remote.ice_ufrag = "abc".to_owned()),
        bad_remote(|remote| remote.ice_pwd = "p".repeat(257)),
        bad_codec(|codec| codec.codec = 0),
        bad_codec(|codec| codec.codec = 99),
        bad_codec(|codec| codec.codec = Codec::Opus as i32),
        bad_codec(|codec| codec.payload_type = 128),
        bad_codec(|codec| codec.clock_rate = 0),
        bad_codec(|codec| codec.rtx_payload_type = Some(96)),
        bad_codec(|codec| codec.rtx_payload_type = Some(200)),
        Command::Publish(Publish { codec: None, ..publish(2, 1) }),
        Command::Publish(Publish { kind: 5, ..publish(2, 1) }),
        Command::Publish(Publish { mid: "m".repeat(17), ..publish(2, 1) }),
        Command::Publish(Publish { mid: String::new(), ssrc: None, ..publish(2, 1) }),
        Command::Publish(Publish { ssrc: Some(5), rtx_ssrc: Some(5), ..publish(2, 1) }),
        Command::Publish(Publish { extensions: vec![ext(ExtensionKind::Mid, 0)], ..publish(2, 1) }),
        Command::Publish(Publish { extensions: vec![ext(ExtensionKind::Mid, 256)], ..publish(2, 1) }),
        Command::Publish(Publish {
            extensions: vec![ext(ExtensionKind::Mid, 1), ext(ExtensionKind::Rid, 1)],
            ..publish(2, 1)
        }),
        Command::Publish(Publish {
            extensions: vec![ext(ExtensionKind::Mid, 1), ext(ExtensionKind::Mid, 2)],
            ..publish(2, 1)
        }),
        Command::Subscribe(Subscribe { ssrc: 0, ..subscribe(2, 2, 1) }),
        Command::Subscribe(Subscribe { rtx_ssrc: None, ..subscribe(2, 2, 1) }),
        Command::Subscribe(Subscribe { rtx_ssrc: Some(4), ..subscribe(2, 2, 1) }),
        Command::Subscribe(Subscribe { cname: "c".repeat(65), ..subscribe(2, 2, 1) }),
        Command::Subscribe(Subscribe {
            codec: Some(CodecParameters { codec: Codec::H264 as i32, ..vp8(100) }),
            ..subscribe(2, 2, 1)
        }),
        Command::Subscribe(Subscribe {
            codec: Some(CodecParameters { clock_rate: 48_000, ..vp8(100) }),
            ..subscribe(2, 2, 1)
        }),
    ];
    let before = a_call();
    for command in commands {
        let mut registry = before.clone();
        let outcome = registry.apply(command.clone());
        assert!(matches!(&outcome, Err(failure) if failure.code() == ErrorCode::Invalid), "{command:?}: {outcome:?}");
        assert_eq!(registry, before);
    }
}

#[test]
fn ids_that_do_not_exist_are_not_found() {
    let mut registry = a_call();
    let mut refused = |command| code(registry.apply(command));
    assert_eq!(refused(Command::RemoveTransport(RemoveTransport { transport: 9 })), ErrorCode::NotFound);
    assert_eq!(refused(Command::SetRemote(SetRemote { transport: 9, remote: Some(remote()) })), ErrorCode::NotFound);
    assert_eq!(refused(Command::Publish(publish(2, 9))), ErrorCode::NotFound);
    assert_eq!(refused(Command::Unpublish(Unpublish { track: 9 })), ErrorCode::NotFound);
    assert_eq!(refused(Command::Subscribe(subscribe(2, 9, 1))), ErrorCode::NotFound);
    assert_eq!(refused(Command::Subscribe(subscribe(2, 2, 9))), ErrorCode::NotFound);
    assert_eq!(refused(Command::Hello(Hello::default())), ErrorCode::Unsupported);
}

#[test]
fn a_snapshot_joins_what_shards_know_with_what_only_the_table_knows() {
    let registry = a_call();
    let part = ShardSnapshot {
        transports: vec![
            TransportInfo {
                transport: 1,
                state: TransportState::Connected as i32,
                worker: Some(1),
                bytes_received: 5,
                ..Default::default()
            },
            TransportInfo { transport: 77, ..Default::default() },
        ],
        tracks: vec![TrackInfo { track: 1, packets: 8, ..Default::default() }],
        ..Default::default()
    };
    let snapshot = registry.snapshot(vec![ShardSnapshot::default(), part]);
    let [first, second] = &snapshot.transports[..] else { panic!("two transports: {snapshot:?}") };
    assert_eq!((first.label.as_str(), first.worker, first.bytes_received), ("transport 1", Some(1), 5));
    assert_eq!((first.ice_ufrag.as_str(), first.state()), ("uf01", TransportState::Connected));
    assert_eq!((second.state(), second.worker, second.ice_ufrag.as_str()), (TransportState::New, None, "uf02"));
    let [track] = &snapshot.tracks[..] else { panic!("one track: {snapshot:?}") };
    assert_eq!((track.label.as_str(), track.packets, track.codec()), ("track 1", 8, Codec::Vp8));
    let [subscription] = &snapshot.subscriptions[..] else { panic!("one subscription: {snapshot:?}") };
    assert_eq!((subscription.label.as_str(), subscription.transport, subscription.track), ("subscription 1", 2, 1));
}

/// A simulcast layer; all of them share a mid.
fn layer(track: u64, transport: u64, rid: u8) -> Publish {
    let rid = format!("r{rid}");
    Publish { rid, mid: "v".to_owned(), ssrc: None, rtx_ssrc: None, ..publish(track, transport) }
}

#[test]
fn layers_share_a_mid_and_a_subscription_outlives_all_but_the_last() {
    let mut registry = small();
    for id in [1, 2] {
        registry.apply(Command::CreateTransport(create(id))).unwrap();
    }
    for (track, rid) in [(1, 0), (2, 1), (3, 2)] {
        registry.apply(Command::Publish(layer(track, 1, rid))).unwrap();
    }
    let same_rid = registry.apply(Command::Publish(layer(4, 1, 2))).unwrap_err();
    assert_eq!(same_rid.code(), ErrorCode::Exists);
    let no_rid = registry.apply(Command::Publish(Publish { rid: String::new(), ..layer(4, 1, 0) })).unwrap_err();
    assert_eq!(no_rid.code(), ErrorCode::Exists);
    registry.apply(Command::Subscribe(Subscribe { higher: vec![2, 3], ..subscribe(1, 2, 1) })).unwrap();
    for (track, left) in [(1, vec![2, 3]), (3, vec![2])] {
        registry.apply(Command::Unpublish(Unpublish { track })).unwrap();
        let spec = &registry.subscriptions[&SubscriptionId(1)];
        assert_eq!([&[spec.track], &*spec.higher].concat(), left);
    }
    registry.apply(Command::Unpublish(Unpublish { track: 2 })).unwrap();
    assert_eq!(registry.subscriptions(), 0);
}

#[test]
fn a_subscription_is_given_other_tracks_of_its_codec_only() {
    let mut registry = small();
    for id in [1, 2] {
        registry.apply(Command::CreateTransport(create(id))).unwrap();
    }
    registry.apply(Command::Publish(publish(1, 1))).unwrap();
    registry.apply(Command::Publish(publish(2, 1))).unwrap();
    let h264 = CodecParameters { codec: Codec::H264 as i32, ..vp8(96) };
    registry.apply(Command::Publish(Publish { codec: Some(h264), ..publish(3, 1) })).unwrap();
    registry.apply(Command::Subscribe(subscribe(1, 2, 1))).unwrap();
    let retarget =
        |track, higher: &[u64]| Command::Retarget(Retarget { subscription: 1, track, higher: higher.to_vec() });
    for (track, higher, code) in [
        (3, &[][..], ErrorCode::Invalid),
        (2, &[3], ErrorCode::Invalid),
        (2, &[2], ErrorCode::Invalid),
        (0, &[], ErrorCode::Invalid),
        (9, &[], ErrorCode::NotFound),
        (1, &[2, 4, 5, 6], ErrorCode::Invalid),
    ] {
        assert_eq!(registry.apply(retarget(track, higher)).unwrap_err().code(), code, "{track} {higher:?}");
    }
    registry.apply(retarget(2, &[])).unwrap();
    registry.apply(Command::Unpublish(Unpublish { track: 1 })).unwrap();
    assert_eq!(registry.subscriptions(), 1, "it is not on the old track any more");
    registry.apply(Command::Unpublish(Unpublish { track: 2 })).unwrap();
    assert_eq!(registry.subscriptions(), 0);
}

fn any_command() -> impl Strategy<Value = Command> {
    let (transport, track, subscription) = (0u64..7, 0u64..9, 0u64..14);
    prop_oneof![
        transport.clone().prop_map(|id| Command::CreateTransport(create(id))),
        (transport.clone(), any::<bool>())
            .prop_map(|(id, some)| { Command::SetRemote(SetRemote { transport: id, remote: some.then(remote) }) }),
        transport.clone().prop_map(|transport| Command::RemoveTransport(RemoveTransport { transport })),
        (track.clone(), transport.clone()).prop_map(|(id, transport)| Command::Publish(publish(id, transport))),
        (track.clone(), transport.clone(), 0..3u8)
            .prop_map(|(id, transport, rid)| Command::Publish(layer(id, transport, rid))),
        (subscription.clone(), transport.clone(), proptest::collection::vec(track.clone(), 0..4)).prop_map(
            |(id, transport, higher)| Command::Subscribe(Subscribe { higher, ..subscribe(id, transport, 1) })
        ),
        (subscription.clone(), track.clone(), proptest::collection::vec(track.clone(), 0..4))
            .prop_map(|(subscription, track, higher)| Command::Retarget(Retarget { subscription, track, higher })),
        track.clone().prop_map(|track| Command::Unpublish(Unpublish { track })),
        (subscription.clone(), transport, track)
            .prop_map(|(id, transport, track)| Command::Subscribe(subscribe(id, transport, track))),
        subscription.prop_map(|subscription| Command::Unsubscribe(Unsubscribe { subscription })),
    ]
}

/// Every cross-reference holds in both directions, no slot is used twice, and the bounds hold.
fn check(registry: &Registry) {
    assert!(registry.transports() <= 4 && registry.tracks() <= 6 && registry.subscriptions() <= 10);
    let live: BTreeSet<u32> = registry.transports.values().map(|entry| entry.slot).collect();
    assert_eq!(live.len(), registry.transports());
    assert!(live.iter().all(|slot| *slot < 4));
    assert!(live.is_disjoint(&registry.slots.retired));
    assert!(registry.slots.free.iter().all(|slot| !live.contains(slot) && !registry.slots.retired.contains(slot)));
    let ufrags: BTreeSet<String> = registry.transports.values().map(|entry| entry.ice_ufrag.clone()).collect();
    assert_eq!(ufrags, registry.ufrags);
    for (id, entry) in &registry.tracks {
        assert!(registry.transports[&TransportId(entry.spec.transport)].tracks.contains(id));
        let names = |spec: &Subscribe| spec.track == id.0 || spec.higher.contains(&id.0);
        assert!(entry.subscriptions.iter().all(|sub| names(&registry.subscriptions[sub])));
    }
    for (id, spec) in &registry.subscriptions {
        assert!(registry.transports[&TransportId(spec.transport)].subscriptions.contains(id));
        for track in std::iter::once(&spec.track).chain(&spec.higher) {
            assert!(registry.tracks[&TrackId(*track)].subscriptions.contains(id));
        }
    }
    for (id, entry) in &registry.transports {
        assert!(entry.tracks.iter().all(|track| registry.tracks[track].spec.transport == id.0));
        let owns = |sub: &SubscriptionId| registry.subscriptions[sub].transport == id.0;
        assert!(entry.subscriptions.iter().all(owns));
    }
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_table_whole_and_a_refusal_changes_nothing(
        steps in proptest::collection::vec((any_command(), any::<bool>()), 1..120)
    ) {
        let mut registry = small();
        let mut retired = Vec::new();
        for (command, release) in steps {
            let before = registry.clone();
            match registry.apply(command) {
                Ok(applied) => retired.extend(applied.retired_slot),
                Err(_) => prop_assert_eq!(&registry, &before),
            }
            if release && let Some(slot) = retired.pop() {
                registry.release_slot(slot);
            }
            check(&registry);
        }
    }
}
