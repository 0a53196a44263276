use std::cell::Cell;

use dataplane_protocol::CreateTransport;

use super::*;
use crate::io::ShardCommand;
use crate::tx::TxBatch;
use crate::wire::stun::{self, Class, Message, Role};

const PASSWORD: &str = "aPasswordOf22Characters";
const NOW: Instant = Instant::from_micros(5_000_000);

/// One claimable slot.
#[derive(Default)]
struct OneSlot(Cell<Option<u32>>);

impl Claims for OneSlot {
    fn owner(&self, _slot: u32) -> Option<u32> {
        self.0.get()
    }

    fn claim(&self, _slot: u32, worker: u32) -> u32 {
        let owner = self.0.get().unwrap_or(worker);
        self.0.set(Some(owner));
        owner
    }
}

fn shard() -> Shard {
    let mut shard =
        Shard::new(ShardConfig { worker: 0, workers: 2, seed: 1, unix_micros_at_zero: 0, limits: Limits::default() });
    let spec = CreateTransport {
        transport: 7,
        ice_ufrag: "ours".to_owned(),
        ice_pwd: PASSWORD.to_owned(),
        ..Default::default()
    };
    shard.handle_command(NOW, &OneSlot::default(), ShardCommand::CreateTransport { slot: 0, spec });
    shard
}

fn path(port: u16) -> Path {
    Path { remote: ([192, 0, 2, 1], port).into(), local: [192, 0, 2, 2].into() }
}

fn request(user: &str, password: &str, role: Role) -> Vec<u8> {
    request_with([3; 12], user, password, role)
}

fn request_with(transaction: [u8; 12], user: &str, password: &str, role: Role) -> Vec<u8> {
    let mut bytes = vec![0; 256];
    let key = IntegrityKey::new(password);
    let len = stun::write_binding_request(&mut bytes, transaction, user, 1, role, true, &key).unwrap();
    bytes.truncate(len);
    bytes
}

fn receive(shard: &mut Shard, claims: &OneSlot, from: Path, bytes: &[u8]) {
    let buffer = shard.receive_buffer().unwrap();
    shard.buffer_mut(buffer)[..bytes.len()].copy_from_slice(bytes);
    shard.handle_datagram(NOW, claims, Datagram { buffer, len: bytes.len(), path: from });
}

fn answers(shard: &mut Shard) -> Vec<Vec<u8>> {
    let mut batch = TxBatch::new(1 << 20, 1_000);
    assert!(!shard.poll_transmit(NOW, &mut batch));
    batch.datagrams().map(|(_, bytes)| bytes.to_vec()).collect()
}

fn dropped(shard: &Shard, reason: DropReason) -> u64 {
    let drops = shard.snapshot().stats.drops;
    drops.iter().find(|drop| drop.reason == reason.as_str()).map_or(0, |drop| drop.count)
}

#[test]
fn a_good_check_claims_and_is_answered_with_the_address_it_came_from() {
    let (mut shard, claims) = (shard(), OneSlot::default());
    receive(&mut shard, &claims, path(1), &request("ours:theirs", PASSWORD, Role::Controlling(9)));
    let sent = answers(&mut shard);
    let answer = Message::parse(&sent[0]).unwrap();
    assert_eq!((answer.class(), answer.transaction_id()), (Class::Success, [3; 12]));
    assert_eq!(answer.mapped_address(), Some(path(1).remote));
    assert!(answer.verify_integrity(&IntegrityKey::new(PASSWORD)) && answer.verify_fingerprint());
    assert_eq!(claims.owner(0), Some(0));
    let told: Vec<_> = std::iter::from_fn(|| shard.poll_output()).collect();
    assert!(told.contains(&Output::Claimed { transport: TransportId(7) }));
    assert!(
        told.iter().any(|output| matches!(output, Output::Peer { worker: 1, message: PeerMessage::Claimed { .. } }))
    );
}

#[test]
fn a_copied_check_moves_nothing() {
    let (mut shard, claims) = (shard(), OneSlot::default());
    let check = request("ours:theirs", PASSWORD, Role::Controlling(9));
    receive(&mut shard, &claims, path(1), &check);
    answers(&mut shard);
    receive(&mut shard, &claims, path(2), &check);
    assert!(answers(&mut shard).is_empty());
    assert_eq!(dropped(&shard, DropReason::StunReplay), 1);
    assert_eq!(shard.snapshot().transports[0].remote_address, path(1).remote.to_string());
    let moved = request_with([4; 12], "ours:theirs", PASSWORD, Role::Controlling(9));
    receive(&mut shard, &claims, path(2), &moved);
    assert_eq!(answers(&mut shard).len(), 1, "the client itself may move");
    assert_eq!(shard.snapshot().transports[0].remote_address, path(2).remote.to_string());
}

#[test]
fn refusals_say_why() {
    let (mut shard, claims) = (shard(), OneSlot::default());
    let wrong_password = request("ours:theirs", "anotherPasswordOf22Chars", Role::Controlling(9));
    let wrong_role = request("ours:theirs", PASSWORD, Role::Controlled(9));
    for (bytes, code) in [(wrong_password, 401), (wrong_role, 487)] {
        receive(&mut shard, &claims, path(1), &bytes);
        let sent = answers(&mut shard);
        let answer = Message::parse(&sent[0]).unwrap();
        assert_eq!((answer.class(), answer.error_code().unwrap().0), (Class::Error, code));
    }
    assert_eq!(claims.owner(0), None, "nothing was claimed");
    assert_eq!(dropped(&shard, DropReason::StunUnauthenticated), 1);
}

#[test]
fn strangers_get_no_answer() {
    let (mut shard, claims) = (shard(), OneSlot::default());
    receive(&mut shard, &claims, path(1), &request("nobody:theirs", PASSWORD, Role::Controlling(9)));
    let mut no_fingerprint = request("ours:theirs", PASSWORD, Role::Controlling(9));
    *no_fingerprint.last_mut().unwrap() ^= 1;
    receive(&mut shard, &claims, path(1), &no_fingerprint);
    receive(&mut shard, &claims, path(1), &[0x80; 40]);
    receive(&mut shard, &claims, path(1), &[0x16; 40]);
    receive(&mut shard, &claims, path(1), &[]);
    assert!(answers(&mut shard).is_empty());
    assert_eq!(dropped(&shard, DropReason::StunUnknownUser), 1);
    assert_eq!(dropped(&shard, DropReason::StunFingerprint), 1);
    assert_eq!(dropped(&shard, DropReason::UnknownPath), 2);
    assert_eq!(dropped(&shard, DropReason::UnknownProtocol), 1);
    assert_eq!(shard.snapshot().stats.buffers_in_use, 0);
}

#[test]
fn a_flood_of_bad_checks_is_answered_only_so_often() {
    let (mut shard, claims) = (shard(), OneSlot::default());
    let bad = request("ours:theirs", "anotherPasswordOf22Chars", Role::Controlling(9));
    for _ in 0..1_000 {
        receive(&mut shard, &claims, path(1), &bad);
    }
    let limit = Limits::default().max_refusals_per_second as usize;
    assert_eq!(answers(&mut shard).len(), limit);
    assert_eq!(dropped(&shard, DropReason::StunFlood), 1_000 - limit as u64);
}

#[test]
fn the_remote_ufrag_must_match_once_it_is_known() {
    let (mut shard, claims) = (shard(), OneSlot::default());
    let remote = dataplane_protocol::RemoteParameters { ice_ufrag: "theirs".to_owned(), ..Default::default() };
    shard.handle_command(NOW, &claims, ShardCommand::SetRemote { transport: TransportId(7), remote });
    receive(&mut shard, &claims, path(1), &request("ours:others", PASSWORD, Role::Controlling(9)));
    assert!(answers(&mut shard).is_empty());
    receive(&mut shard, &claims, path(1), &request("ours:theirs", PASSWORD, Role::Controlling(9)));
    assert_eq!(answers(&mut shard).len(), 1);
}

#[test]
fn what_belongs_to_another_worker_is_handed_over_and_remembered() {
    let (mut shard, claims) = (shard(), OneSlot(Cell::new(Some(1))));
    let check = request("ours:theirs", PASSWORD, Role::Controlling(9));
    receive(&mut shard, &claims, path(1), &check);
    receive(&mut shard, &claims, path(1), &[0x80; 40]);
    receive(&mut shard, &claims, path(2), &[0x80; 40]);
    let lengths: Vec<_> = std::iter::from_fn(|| shard.poll_output())
        .map(|output| match output {
            Output::Peer { worker: 1, message: PeerMessage::Datagram { bytes, .. } } => bytes.as_slice().len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lengths, [check.len(), 40]);
    assert!(answers(&mut shard).is_empty());
    shard.handle_command(NOW, &claims, ShardCommand::RemoveTransport(TransportId(7)));
    receive(&mut shard, &claims, path(1), &[0x80; 40]);
    assert_eq!(shard.poll_output(), None, "the route went with the transport");
}

#[test]
fn a_panic_fails_the_transport_in_hand_and_no_other() {
    let (mut shard, claims) = (shard(), OneSlot::default());
    receive(&mut shard, &claims, path(1), &request("ours:theirs", PASSWORD, Role::Controlling(9)));
    shard.recover_from_panic(NOW);
    let states: Vec<_> = std::iter::from_fn(|| shard.poll_output())
        .filter_map(|output| if let Output::Event(event) = output { Some(event.state()) } else { None })
        .collect();
    assert_eq!(states, [TransportState::Connecting, TransportState::Failed]);
    assert_eq!(shard.snapshot().stats.panics, 1);
}

#[test]
fn buffers_that_nobody_needs_any_more_are_given_back() {
    let (mut shard, claims) = (shard(), OneSlot::default());
    let taken: Vec<_> = (0..10_000).map(|_| shard.receive_buffer().unwrap()).collect();
    let held = shard.pool.held_bytes();
    taken.into_iter().for_each(|buffer| shard.release_buffer(buffer));
    // Nothing else is due: the shell comes because of this alone, and no longer than it takes.
    let begun = shard.next_timeout();
    let mut now = NOW.max(begun);
    while shard.next_timeout() != Instant::FAR_FUTURE {
        now = now.max(shard.next_timeout());
        shard.handle_timeout(now, &claims);
        assert!(now.since(NOW) < Duration::from_secs(60), "{} of {held} bytes after a minute", shard.pool.held_bytes());
    }
    assert!(now.since(NOW) >= Duration::from_secs(30), "not before half a minute: {:?}", now.since(NOW));
    assert!(shard.pool.held_bytes() < held / 5, "{} of {held}", shard.pool.held_bytes());
}
