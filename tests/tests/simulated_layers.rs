//! Simulcast, and streams that move to another transport, in virtual time: whatever a publisher's encodings do, a
//! subscriber has one stream, without a hole in its numbers and with a keyframe wherever it changes.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "what fails here is a failing test")]

use dataplane_core::{Duration, Instant};
use dataplane_protocol::{Command, RemoveTransport, Retarget, SrtpProfile, Unpublish};
use millrace_tests::sim::{ClientKind, Link, Random, Received, Seen, World};

const SECOND: Duration = Duration::from_secs(1);
const GCM: SrtpProfile = SrtpProfile::AeadAes128Gcm;

/// Longest time without a packet that a stopped layer may cost: its silence is noticed after 700 ms, looked for every
/// 100 ms, and a keyframe takes a round trip (twice, if the request was lost).
const FREEZE: Duration = Duration::from_millis(1_600);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// How long before a change what is lost may stay so.
const REPAIR: Duration = Duration::from_millis(400);

/// A simulcast publisher on worker 0 and subscribers on these workers.
fn simulcast(seed: u64, workers: u32, link: Link, at: &[u32]) -> World {
    let mut world = World::new(seed, workers, link, GCM);
    let publisher = world.add(ClientKind::Simulcast, 0);
    for worker in at {
        world.add(ClientKind::Subscriber { publisher, rtx: true, layers: 3 }, *worker);
    }
    world
}

fn packets_begin(seen: &Received) -> Instant {
    seen.sequences.values().map(|packet| packet.at).min().expect("packets")
}

/// Checks that it is one stream to a decoder, up to what came by `upto`: later losses may not have been repaired yet.
fn one_stream(name: &str, seen: &Received, upto: Instant) {
    assert!(seen.corrupt == 0 && seen.unopened == 0 && seen.began_with_keyframe, "{name}");
    let cut = seen.sequences.iter().filter(|(_, packet)| packet.at < upto).map(|(index, _)| *index).max();
    // Neither a receiver nor the server asks for what came before the first that it has seen.
    let first = seen.sequences.iter().min_by_key(|(_, packet)| packet.at).map(|(index, _)| *index);
    let begun = packets_begin(seen);
    let packets: Vec<_> = seen.sequences.range(first.expect("packets")..=cut.expect("packets")).collect();
    assert!(packets.len() > 100, "{name}: {} packets", packets.len());
    let is_change = |a: &Seen, b: &Seen| a.part.layer != b.part.layer || b.part.frame > a.part.frame + 5_000;
    let changes: Vec<_> =
        packets.windows(2).filter(|pair| is_change(pair[0].1, pair[1].1)).map(|p| p[1].1.at).collect();
    for pair in packets.windows(2) {
        let [(before, a), (index, b)] = pair else { continue };
        let here = format!("{name}: {a:?} then {b:?}");
        let changed = is_change(a, b);
        assert!(b.part.keyframe || !changed, "a change without a keyframe, {here}");
        if **index != *before + 1 {
            // What was lost of the old track just before a change is not repaired: the keyframe makes it needless.
            let soon = |at: &Instant| *at + REPAIR >= a.at && *at <= b.at.max(a.at) + REPAIR;
            assert!(changed || changes.iter().chain([&begun]).any(soon), "a hole, {here}, changes {changes:?}");
            continue;
        }
        if a.part.frame == b.part.frame && !changed {
            assert_eq!((a.timestamp, a.picture, a.tl0), (b.timestamp, b.picture, b.tl0), "{here}");
            assert_eq!(a.part.part + 1, b.part.part, "{here}");
            continue;
        }
        let ahead = b.timestamp.wrapping_sub(a.timestamp);
        assert!((1..10 * 90_000).contains(&ahead), "time goes forwards by {ahead}, {here}");
        assert_eq!(b.picture, (a.picture + 1) & 0x7fff, "{here}");
        assert_eq!(b.tl0, a.tl0.wrapping_add(1), "{here}");
        assert_eq!(b.part.part, 0, "{here}");
    }
}

/// Longest time between two new packets.
fn longest_gap(seen: &Received, from: Instant, to: Instant) -> Duration {
    let mut times: Vec<_> = seen.sequences.values().map(|packet| packet.at).collect();
    times.sort();
    let times: Vec<_> = times.into_iter().filter(|at| (from..to).contains(at)).collect();
    times.windows(2).map(|pair| pair[1].since(pair[0])).max().expect("packets")
}

fn layer_at(seen: &Received, from: Instant) -> Vec<u8> {
    let mut layers: Vec<_> = seen.sequences.values().filter(|p| p.at >= from).map(|p| p.part.layer).collect();
    layers.dedup();
    layers
}

fn subscribers(world: &World) -> impl Iterator<Item = &Received> {
    world.clients.iter().filter(|client| client.layers.is_empty()).map(|client| &client.received)
}

#[test]
fn the_highest_layer_that_flows_is_sent_on_every_worker() {
    for (seed, link) in [(1, Link::CLEAN), (2, Link::ROUGH), (3, Link::ROUGH)] {
        let mut world = simulcast(seed, 2, link, &[0, 1, 1]);
        world.run(seconds(4));
        let settled = world.now;
        world.run(seconds(4));
        for seen in subscribers(&world) {
            let name = format!("seed {seed}");
            one_stream(&name, seen, settled + Duration::from_secs(3));
            assert_eq!(layer_at(seen, settled), [2], "{name}");
            assert!(seen.audio > 300);
        }
    }
}

#[test]
fn a_layer_that_stops_is_left_and_one_that_comes_back_is_taken() {
    for (seed, link) in [(4, Link::CLEAN), (5, Link::ROUGH)] {
        let mut world = simulcast(seed, 2, link, &[0, 1]);
        world.run(seconds(4));
        for (top, expected) in [(2, 1), (1, 0)] {
            world.clients[0].layers[top].active = false;
            let stopped = world.now;
            world.run(seconds(2));
            let settled = world.now;
            world.run(seconds(2));
            for seen in subscribers(&world) {
                assert_eq!(layer_at(seen, settled), [expected], "seed {seed}");
                let gap = longest_gap(seen, stopped, settled);
                assert!(gap < FREEZE, "seed {seed}: {gap:?}");
            }
        }
        for top in [1, 2] {
            world.clients[0].layers[top].active = true;
            let back = world.now;
            world.run(seconds(2));
            for seen in subscribers(&world) {
                assert_eq!(layer_at(seen, world.now - SECOND), [top as u8], "seed {seed}");
                let gap = longest_gap(seen, back, world.now);
                assert!(gap < Duration::from_millis(300), "seed {seed}: going up costs nothing, {gap:?}");
            }
        }
        let end = world.now - SECOND;
        subscribers(&world).for_each(|seen| one_stream(&format!("seed {seed}"), seen, end));
    }
}

#[test]
fn a_publisher_that_is_silent_changes_nothing() {
    let mut world = simulcast(6, 1, Link::CLEAN, &[0]);
    world.run(seconds(4));
    world.clients[0].muted = true;
    let asked = world.clients[0].keyframe_requests();
    world.run(seconds(5));
    assert_eq!(world.clients[0].keyframe_requests(), asked, "nothing else flows: nothing to change to");
    world.clients[0].muted = false;
    let again = world.now;
    world.run(seconds(2));
    let seen = &world.clients[1].received;
    assert_eq!(layer_at(seen, again), [2]);
    assert_eq!(world.clients[0].keyframe_requests(), asked, "and no keyframe was needed");
}

#[test]
fn a_layer_that_is_unpublished_is_left_for_another() {
    for worker in [0, 1] {
        let mut world = simulcast(7, 2, Link::CLEAN, &[worker]);
        world.run(seconds(4));
        let top = world.clients[0].video_track() + 4;
        world.command(Command::Unpublish(Unpublish { track: top })).expect("known");
        world.run(seconds(2));
        assert_eq!(layer_at(&world.clients[1].received, world.now - SECOND), [1]);
        one_stream("unpublished", &world.clients[1].received, world.now);
        assert!(world.clients[1].received.byes.is_empty());
        for track in [0, 2] {
            let track = world.clients[0].video_track() + track;
            world.command(Command::Unpublish(Unpublish { track })).expect("known");
        }
        world.run(SECOND);
        assert_eq!(world.clients[1].received.byes, [0xaaaa_0001], "the last one ends it");
    }
}

/// A publisher that comes back on another transport: the subscriptions go over, the old transport goes.
fn reconnect(world: &mut World, old: usize, worker: u32, keep_old: bool) -> usize {
    let new = world.add(ClientKind::Publisher, worker);
    world.clients[new].frames_sent = 10_000 * new as u32;
    world.clients[new].layers[0].restart(world.now);
    let subscriptions: Vec<_> =
        world.clients.iter().filter(|client| client.layers.is_empty()).map(|client| client.video_track()).collect();
    for subscription in subscriptions {
        for kind in [0, 1] {
            let retarget = Retarget {
                subscription: subscription + kind,
                track: world.clients[new].video_track() + kind,
                higher: vec![],
            };
            world.command(Command::Retarget(retarget)).expect("known");
        }
    }
    if !keep_old {
        world.clients[old].dead = true;
        let transport = world.clients[old].transport();
        world.command(Command::RemoveTransport(RemoveTransport { transport })).expect("known");
    }
    new
}

fn plain(seed: u64, link: Link, at: &[u32]) -> World {
    let mut world = World::new(seed, 2, link, GCM);
    let publisher = world.add(ClientKind::Publisher, 0);
    for worker in at {
        world.add(ClientKind::Subscriber { publisher, rtx: true, layers: 1 }, *worker);
    }
    world
}

#[test]
fn a_stream_goes_on_over_another_transport() {
    for (seed, link) in [(8, Link::CLEAN), (9, Link::ROUGH)] {
        for (worker, name) in [(0, "the same worker"), (1, "another worker")] {
            let mut world = plain(seed, link, &[0, 1]);
            world.run(seconds(3));
            let audio: Vec<_> = subscribers(&world).map(|seen| seen.audio).collect();
            let new = reconnect(&mut world, 0, worker, false);
            world.run(seconds(3));
            // And once more, so that shifts add up.
            let last = reconnect(&mut world, new, 1 - worker, false);
            world.run(seconds(3));
            for (seen, audio) in subscribers(&world).zip(audio) {
                one_stream(&format!("{name}, seed {seed}"), seen, world.now - SECOND);
                let frames = |base: u32| seen.frames.range(base..base + 9_999).count();
                assert!(frames(0) > 60 && frames(10_000 * new as u32) > 60 && frames(10_000 * last as u32) > 60);
                assert!(seen.byes.is_empty(), "{name}: nobody was told that it ended");
                assert!(seen.audio > audio + 200, "{name}: audio goes on, {} of {audio}", seen.audio);
                assert!(seen.duplicates <= seen.repaired, "{name}");
            }
        }
    }
}

#[test]
fn the_old_transport_is_heard_until_the_new_one_has_a_keyframe() {
    let mut world = plain(10, Link::CLEAN, &[0, 1]);
    world.run(seconds(3));
    let moved = world.now;
    let new = reconnect(&mut world, 0, 1, true);
    // Its path is up, but it has nothing to show yet.
    world.clients[new].layers[0].active = false;
    world.run(seconds(2));
    for seen in subscribers(&world) {
        assert!(longest_gap(seen, moved, world.now) < Duration::from_millis(100));
        assert!(seen.frames.range(10_000..).next().is_none());
    }
    world.clients[new].layers[0].active = true;
    world.run(seconds(2));
    for seen in subscribers(&world) {
        assert!(longest_gap(seen, moved, world.now) < Duration::from_millis(200));
        one_stream("overlap", seen, world.now);
        let last = seen.frames.last_key_value().expect("frames").0;
        assert!(*last >= 10_000 * new as u32, "the new one is heard: frame {last}");
    }
    let transport = world.clients[0].transport();
    world.command(Command::RemoveTransport(RemoveTransport { transport })).expect("known");
    world.run(SECOND);
    assert!(subscribers(&world).all(|seen| seen.byes.is_empty()));
}

#[test]
fn a_bound_is_told_to_the_publisher_for_all_its_layers() {
    let mut world = simulcast(11, 1, Link::CLEAN, &[0]);
    world.run(seconds(5));
    let bounds = &world.clients[0].bounds;
    assert!((4..=6).contains(&bounds.len()), "once a second: {bounds:?}");
    // REMB keeps 18 significant bits.
    let near = |bps: u64| (1_620_000..=1_628_000).contains(&bps);
    assert!(bounds.iter().skip(1).all(|(bps, ssrcs)| near(*bps) && *ssrcs == 3), "{bounds:?}");
    let mut world = plain(11, Link::CLEAN, &[0]);
    world.run(seconds(3));
    assert!(world.clients[0].bounds.is_empty(), "none was asked for");
}

#[test]
fn whatever_the_layers_do_it_is_one_stream() {
    for seed in 100..140 {
        let mut random = Random::new(seed);
        let link = if seed % 2 == 0 { Link::CLEAN } else { Link::ROUGH };
        let mut world = simulcast(seed, 2, link, &[0, 1]);
        for _ in 0..12 {
            let layer = random.below(3) as usize;
            world.clients[0].layers[layer].active ^= true;
            if random.below(4) == 0 {
                world.clients[1 + random.below(2) as usize].send_pli();
            }
            world.run(Duration::from_millis(100 + random.below(1_500)));
        }
        for layer in &mut world.clients[0].layers {
            layer.active = true;
        }
        world.run(seconds(4));
        for seen in subscribers(&world) {
            let name = format!("seed {seed}");
            one_stream(&name, seen, world.now - SECOND);
            assert_eq!(layer_at(seen, world.now - SECOND), [2], "{name}");
        }
    }
}
