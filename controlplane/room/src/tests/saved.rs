//! What a room is after its process ended in the midst of something; the random histories show the rest.

use dataplane_protocol::Command;

use super::{Bench, ice, reply, subscribe};
use crate::tests::interleavings::Kept;
use crate::*;

/// The room as another process finds it.
fn restored(bench: &mut Bench) -> Room {
    let mut kept = Kept::default();
    kept.write(&mut bench.room);
    kept.restore(bench.now + RECONNECTION_WINDOW_MS)
}

fn prepared() -> (Bench, String, String, u64) {
    let mut bench = Bench::new();
    let (a, b) = (bench.join(Role::Publisher), bench.join(Role::Publisher));
    let stream = bench.publish(&a);
    let prepare = Input::PrepareSubscribe { participant: b.clone(), stream: stream.clone(), ice: ice() };
    let effects = bench.run(prepare);
    let transport = super::runs(&effects).flat_map(|run| &run.commands).find_map(|command| match command {
        Command::CreateTransport(create) => Some(create.transport),
        _ => None,
    });
    (bench, b, stream, transport.unwrap())
}

#[test]
fn an_offer_that_nobody_has_answered_can_be_answered() {
    let (mut bench, b, stream, transport) = prepared();
    bench.room = restored(&mut bench);
    assert_eq!(bench.room.reconcile(&Held::default()), []);
    assert!(bench.room.transports().any(|known| known == transport));
    assert_eq!(reply(&bench.run(subscribe(&b, &stream, false))), Ok(Reply::Subscribed));
}

#[test]
fn an_offer_whose_answer_the_data_plane_has_seen_is_given_up() {
    let (mut bench, b, stream, transport) = prepared();
    // The data plane has carried this out, but nobody was there to hear it.
    let effects = bench.apply(subscribe(&b, &stream, false));
    let mut subscriptions = super::runs(&effects).flat_map(|run| &run.commands).filter_map(|command| match command {
        Command::Subscribe(s) => Some((s.subscription, s.track)),
        _ => None,
    });
    let (number, track) = subscriptions.next().unwrap();
    bench.room = restored(&mut bench);
    assert_eq!(bench.room.reconcile(&Held::new([(number, transport, track)])), []);
    assert!(bench.room.transports().all(|known| known != transport), "its keys have sealed with these SSRCs");
    assert_eq!(reply(&bench.apply(subscribe(&b, &stream, false))), Err(Error::NotPrepared(stream)));
}

#[test]
fn the_seats_are_kept_for_the_window() {
    let (mut bench, b, ..) = prepared();
    bench.room = restored(&mut bench);
    bench.apply(Input::SocketBack { participant: b.clone() });
    bench.now += RECONNECTION_WINDOW_MS;
    bench.apply(Input::Tick);
    let present: Vec<_> = bench.room.participants().iter().map(|p| p.id.clone()).collect();
    assert_eq!(present, [b], "who did not come back is gone");
}
