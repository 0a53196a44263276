//! Whole calls in virtual time: checks, SRTP with injected keys, NACK, RTX, PLI, reports, over a network that
//! loses and reorders. Every run is a function of its seed, which a failure names.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "what fails here is a failing test")]

use std::time::Instant as Wall;

use dataplane_core::{Duration, HandshakeInput};
use dataplane_protocol::{
    Codec, CodecParameters, Command, ExtensionKind, HeaderExtension, RemoveTransport, SrtpProfile, Subscribe,
    TransportState, Unpublish, Unsubscribe,
};
use millrace_tests::sim::{AUDIO_SSRC, ClientKind, EPOCH, Link, Part, Random, VIDEO_SSRC, World};

const SECOND: Duration = Duration::from_secs(1);
const GCM: SrtpProfile = SrtpProfile::AeadAes128Gcm;

fn subscriber(publisher: usize) -> ClientKind {
    ClientKind::Subscriber { publisher, rtx: true, layers: 1 }
}

/// A publisher on worker 0 and subscribers on these workers, connected and under way.
fn call(seed: u64, workers: u32, link: Link, profile: SrtpProfile, at: &[u32]) -> World {
    let mut world = World::new(seed, workers, link, profile);
    let publisher = world.add(ClientKind::Publisher, 0);
    for worker in at {
        world.add(subscriber(publisher), *worker);
    }
    world
}

#[test]
fn a_call_at_five_percent_loss_and_reordering_loses_no_frame() {
    let wall = Wall::now();
    for (seed, profile) in [(1, GCM), (2, SrtpProfile::AeadAes256Gcm), (3, SrtpProfile::Aes128CmSha1_80)] {
        // One subscriber on the publisher's worker, one on another.
        let mut world = call(seed, 2, Link::ROUGH, profile, &[0, 1]);
        world.run(Duration::from_secs(10));
        let sent = world.clients[0].frames_sent;
        assert!(sent > 250, "seed {seed}: {sent} frames sent");
        assert!(world.clients[0].nacks > 20, "seed {seed}: the server asked for what it missed");
        assert!(world.clients[0].feedback > 100 && world.clients[0].report_blocks > 10, "seed {seed}");
        for client in &world.clients[1..] {
            let seen = &client.received;
            let first = seen.first_frame.expect("video");
            // Everything but the last second, part of which is still being repaired.
            let (complete, expected) = (seen.complete(first), (sent - 30 - first) as usize);
            assert!(complete >= expected, "seed {seed}: {complete} of {expected} frames from {first}");
            assert!(first < 30, "seed {seed}: began with frame {first}");
            assert!(seen.began_with_keyframe && seen.corrupt == 0 && seen.unopened == 0, "seed {seed}: {seen:?}");
            assert!(seen.repaired > 20, "seed {seed}: repaired {}", seen.repaired);
            assert!(seen.audio > 400, "seed {seed}: audio {}", seen.audio);
        }
    }
    assert!(wall.elapsed().as_secs_f64() < 20.0, "virtual time costs too much: {:?}", wall.elapsed());
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let run = |seed| {
        let mut world = call(seed, 2, Link::ROUGH, GCM, &[0, 1]);
        world.run(Duration::from_secs(2));
        let seen = &world.clients[2].received;
        (seen.repaired, seen.audio, seen.frames.clone(), world.clients[0].keyframe_requests())
    };
    assert_eq!(run(42), run(42));
    assert_ne!(run(42), run(43));
}

#[test]
fn without_nacks_the_same_loss_is_visible() {
    // Proves that the first test's oracle can fail.
    let mut world = call(1, 1, Link::ROUGH, GCM, &[0]);
    world.clients[1].silent = true;
    world.run(Duration::from_secs(10));
    let seen = &world.clients[1].received;
    let sent = world.clients[0].frames_sent - seen.first_frame.expect("video");
    // Three packets to a frame: 0.95^3 of them arrive whole.
    assert!(seen.complete(0) < sent as usize * 93 / 100, "{} of {sent}", seen.complete(0));
}

#[test]
fn outgoing_sequence_numbers_have_no_holes_and_timestamps_follow_the_publisher() {
    let mut world = call(5, 1, Link::CLEAN, GCM, &[0]);
    world.run(Duration::from_secs(3));
    let seen = &world.clients[1].received;
    let ((first, _), (last, _)) =
        (seen.sequences.first_key_value().expect("video"), seen.sequences.last_key_value().expect("video"));
    assert_eq!(seen.sequences.len() as u64, last - first + 1);
    let times: Vec<_> = seen.timestamps.values().collect();
    assert!(times.windows(2).all(|pair| (2_900..=3_050).contains(&(pair[1] - pair[0]))), "{times:?}");
    assert_eq!(seen.duplicates, 0);
}

#[test]
fn wishes_for_keyframes_are_gathered() {
    let mut world = call(6, 2, Link::CLEAN, GCM, &[]);
    world.run(SECOND);
    let before = world.clients[0].keyframe_requests();
    let crowd: Vec<_> = (0..50).map(|n| world.add(subscriber(0), n % 2)).collect();
    world.run(SECOND);
    let asked = world.clients[0].keyframe_requests() - before;
    assert!((1..=3).contains(&asked), "50 newcomers made {asked} requests");
    for client in &crowd {
        assert!(world.clients[*client].received.first_frame.is_some());
    }
    let before = world.clients[0].keyframe_requests();
    for _ in 0..30 {
        for client in &crowd {
            world.clients[*client].send_pli();
        }
        world.run(Duration::from_millis(100));
    }
    let asked = world.clients[0].keyframe_requests() - before;
    assert!((5..=7).contains(&asked), "1,500 PLIs in 3 s made {asked} requests");
}

#[test]
fn a_newcomer_gets_a_keyframe_at_once() {
    let mut world = call(7, 1, Link::CLEAN, GCM, &[0]);
    world.run(Duration::from_secs(2));
    let newcomer = world.add(subscriber(0), 0);
    // Check, answer; PLI, next frame (33 ms): four times 10 ms of network.
    let came =
        world.run_until(Duration::from_millis(100), |world| world.clients[newcomer].received.first_frame.is_some());
    assert!(came && world.clients[newcomer].received.began_with_keyframe);
}

#[test]
fn a_lost_request_for_the_first_keyframe_is_repeated() {
    for seed in 0..20 {
        let mut world = call(seed, 2, Link { loss: 0.3, ..Link::ROUGH }, GCM, &[1]);
        let came = world.run_until(Duration::from_secs(5), |world| world.clients[1].received.first_frame.is_some());
        assert!(came, "seed {seed}");
    }
}

#[test]
fn clients_that_move_to_another_worker_keep_their_call() {
    for moving in [0, 1] {
        let mut world = call(8, 2, Link::CLEAN, GCM, &[0]);
        world.run(Duration::from_secs(2));
        let now = world.now;
        world.clients[moving].rebind(now, 1);
        world.run(Duration::from_secs(5));
        let sent = world.clients[0].frames_sent;
        let seen = &world.clients[1].received;
        let last = *seen.frames.last_key_value().expect("video").0;
        assert!(sent - last <= 3, "client {moving} moved: {last} of {sent}");
        // Only what was under way at the moment of the move is missing.
        let complete = seen.complete(seen.first_frame.expect("video")) as u32;
        assert!(sent - complete < 12, "client {moving} moved: {complete} of {sent}");
        let stats = world.stats();
        assert!(stats[1].cross_datagrams_out > 2, "what came to worker 1 was handed over");
        assert_eq!(stats[0].claims, 2, "the owner stays");
        assert_eq!(stats[1].claims, 0);
    }
}

/// A publisher and two subscribers that all reach worker 1, and are assigned to worker 0.
fn assigned_call(seed: u64, link: Link) -> World {
    let mut world = World::new(seed, 2, link, GCM);
    world.assign_to = Some(0);
    let publisher = world.add(ClientKind::Publisher, 1);
    for _ in 0..2 {
        world.add(subscriber(publisher), 1);
    }
    world
}

#[test]
fn clients_that_reach_another_worker_than_theirs_are_steered_to_it() {
    let mut world = assigned_call(21, Link::CLEAN);
    world.run(Duration::from_secs(3));
    let sent = world.clients[0].frames_sent;
    for client in &world.clients[1..] {
        let seen = &client.received;
        let complete = seen.complete(seen.first_frame.expect("video")) as u32;
        assert!(sent - complete < 12, "{complete} of {sent}");
    }
    let stats = world.stats();
    assert_eq!((stats[0].claims, stats[1].claims), (3, 0));
    // First checks, and what was under way before the first of each was answered.
    assert!((3..12).contains(&stats[1].cross_datagrams_out), "{}", stats[1].cross_datagrams_out);
    assert_eq!(stats[1].cross_media_in + stats[0].cross_media_in, 0, "all are on one worker");
    assert_eq!(world.flows(), 3);

    for client in 0..3 {
        let now = world.now;
        world.clients[client].rebind(now, 1);
    }
    world.run(Duration::from_secs(3));
    let moved = world.stats();
    let crossed = moved[1].cross_datagrams_out - stats[1].cross_datagrams_out;
    assert!((3..30).contains(&crossed), "{crossed}: media crosses for good");
    assert!(world.clients[0].frames_sent - world.clients[1].received.frames.len() as u32 <= 24);
    for client in 0..3 {
        let transport = world.clients[client].transport();
        world.command(Command::RemoveTransport(RemoveTransport { transport })).expect("known");
    }
    assert_eq!(world.flows(), 0, "no flow is left behind");
}

#[test]
fn whoever_is_assigned_connects_over_a_bad_network_too() {
    for seed in 0..20 {
        let mut world = assigned_call(seed, Link { loss: 0.3, ..Link::ROUGH });
        let came = world.run_until(Duration::from_secs(8), |world| {
            world.clients[1..].iter().all(|client| client.received.first_frame.is_some())
        });
        assert!(came, "seed {seed}");
        assert_eq!(world.stats()[1].claims, 0, "seed {seed}");
    }
}

#[test]
fn two_workers_do_not_claim_the_same_transport() {
    let mut world = call(9, 2, Link::CLEAN, GCM, &[1]);
    world.run(Duration::from_millis(5));
    // The same first check reaches both workers.
    world.clients[0].worker = 1;
    world.run(SECOND);
    let claims: u64 = world.stats().iter().map(|stats| stats.claims).sum();
    assert_eq!(claims, 2);
    assert!(world.clients[1].received.first_frame.is_some());
}

#[test]
fn consent_ends_after_thirty_seconds_and_comes_back() {
    let mut world = call(10, 1, Link::CLEAN, GCM, &[0]);
    world.run(Duration::from_secs(2));
    world.clients[1].dead = true;
    // Its last check was up to 2.5 s ago.
    world.run(Duration::from_secs(27));
    let state =
        |world: &World| world.events.iter().rev().find(|event| event.transport == 101).map(|event| event.state());
    assert_eq!(state(&world), Some(TransportState::Connected));
    world.run(Duration::from_secs(5));
    assert_eq!(state(&world), Some(TransportState::Disconnected));
    let stopped = world.stats()[0].rtp_forwarded;
    world.run(SECOND);
    assert_eq!(world.stats()[0].rtp_forwarded, stopped, "nothing is sent without consent");
    let before = world.clients[1].received.frames.len();
    let reports = world.clients[1].received.reports.len();
    world.clients[1].dead = false;
    world.run(Duration::from_secs(5));
    assert_eq!(state(&world), Some(TransportState::Connected));
    assert!(world.clients[1].received.frames.len() > before + 30);
    assert!(world.clients[1].received.reports.len() > reports + 3, "reports go on too");
}

#[test]
fn a_transport_that_ends_before_it_is_removed_holds_nothing_up() {
    for ending in [0, 1] {
        let mut world = call(18, 2, Link::CLEAN, GCM, &[0, 1]);
        world.add(ClientKind::Publisher, 0);
        world.run(SECOND);
        // In the middle of a frame, with feedback, NACKs and reports due on it.
        world.run(Duration::from_millis(17));
        world.handshake(ending, |transport| HandshakeInput::Closed { transport });
        world.run(Duration::from_secs(3));
        let told = world.events.iter().rev().find(|event| event.transport == 100 + ending as u64);
        assert_eq!(told.map(|event| event.state()), Some(TransportState::Closed));
        let frames = world.clients[2].received.frames.len();
        assert_eq!(frames > 100, ending == 1, "client {ending} ended, the other one saw {frames} frames");
    }
}

#[test]
fn the_end_of_a_track_is_told_by_bye_and_leaves_nothing() {
    let mut world = call(11, 2, Link::CLEAN, GCM, &[0, 1]);
    world.run(Duration::from_secs(2));
    let track = world.clients[0].video_track();
    world.command(Command::Unpublish(Unpublish { track })).expect("known");
    world.run(SECOND);
    for client in &world.clients[1..] {
        assert_eq!(client.received.byes, [0xaaaa_0001]);
    }
    for client in 0..3 {
        let transport = world.clients[client].transport();
        world.command(Command::RemoveTransport(RemoveTransport { transport })).expect("known");
    }
    for part in world.snapshots() {
        assert!(part.transports.is_empty() && part.tracks.is_empty() && part.subscriptions.is_empty());
        assert_eq!(part.stats.buffers_in_use, 0, "every buffer went back");
    }
}

#[test]
fn the_last_subscriber_of_a_worker_stops_the_crossing() {
    let mut world = call(12, 2, Link::CLEAN, GCM, &[1, 1]);
    world.run(Duration::from_secs(1));
    let crossed = |world: &mut World| world.stats()[0].cross_media_out;
    for client in [1, 2] {
        assert!(crossed(&mut world) > 0);
        for subscription in [0, 1] {
            let subscription = world.clients[client].video_track() + subscription;
            world.command(Command::Unsubscribe(Unsubscribe { subscription })).expect("known");
        }
        let before = crossed(&mut world);
        world.run(SECOND);
        assert_eq!(crossed(&mut world) > before, client == 1, "after client {client} left");
    }
}

#[test]
fn a_publisher_that_starts_over_goes_on_for_its_subscribers() {
    let mut world = call(13, 2, Link::CLEAN, GCM, &[0, 1]);
    world.run(Duration::from_secs(2));
    let now = world.now;
    world.clients[0].restart(now);
    world.run(Duration::from_secs(2));
    for client in &world.clients[1..] {
        let seen = &client.received;
        let ((first, _), (last, _)) =
            (seen.sequences.first_key_value().expect("video"), seen.sequences.last_key_value().expect("video"));
        assert_eq!(seen.sequences.len() as u64, last - first + 1, "one unbroken sequence");
        let times: Vec<_> = seen.timestamps.values().collect();
        assert!(times.windows(2).all(|pair| (1_000..9_000).contains(&pair[1].wrapping_sub(*pair[0]))), "{times:?}");
        assert!(seen.complete(0) as u32 + 3 >= world.clients[0].frames_sent - seen.first_frame.expect("video"));
    }
}

#[test]
fn reports_keep_audio_and_video_in_step() {
    let mut world = call(14, 2, Link { jitter: Duration::from_millis(30), ..Link::CLEAN }, GCM, &[0, 1]);
    world.run(Duration::from_secs(10));
    for client in &world.clients[1..] {
        // Where the publisher's capture clock stood at the NTP time of the report, by each of its two tracks.
        let capture = |ssrc, rate: f64| {
            let (_, ntp, rtp) = client.received.reports.iter().rev().find(|report| report.0 == ssrc).expect("a report");
            let seconds = (ntp >> 32) as f64 - 2_208_988_800.0 + (ntp & 0xffff_ffff) as f64 / (1u64 << 32) as f64;
            seconds - f64::from(*rtp) / rate
        };
        let (video, audio) = (capture(0xaaaa_0001, 90_000.0), capture(0xaaaa_0000, 48_000.0));
        assert!((video - audio).abs() < 0.002, "lips are {} s off", video - audio);
        // On the server's clock, although the publisher's is 5 s behind: off by the least network delay at most.
        let begun = EPOCH as f64 / 1e6 + 1.0;
        assert!((0.0..0.1).contains(&(video - begun)), "{}", video - begun);
    }
}

#[test]
fn without_rtx_a_repetition_is_the_same_packet() {
    let mut world = World::new(15, 1, Link::ROUGH, GCM);
    world.add(ClientKind::Publisher, 0);
    world.add(ClientKind::Subscriber { publisher: 0, rtx: false, layers: 1 }, 0);
    world.run(Duration::from_secs(5));
    let seen = &world.clients[1].received;
    let first = seen.first_frame.expect("video");
    assert_eq!((seen.repaired, seen.unopened.min(1_000), seen.corrupt), (0, seen.unopened.min(1_000), 0));
    assert!(seen.complete(first) as u32 + 30 >= world.clients[0].frames_sent - first);
}

#[test]
fn video_can_be_repaired_for_a_second_and_a_half_and_is_not_kept_for_longer() {
    // At home, and from a mirror.
    let mut world = call(20, 2, Link::CLEAN, GCM, &[0, 1]);
    world.run(Duration::from_secs(8));
    let now = world.now;
    let newer = |world: &World, client: usize, ms| {
        let came = world.clients[client].received.sequences.values();
        came.filter(|seen| now.since(seen.at) <= Duration::from_millis(ms)).count() as u64
    };
    for (worker, client) in [(0, 1), (1, 2)] {
        let (kept, most) = (newer(&world, client, 1_450), newer(&world, client, 1_750));
        let all: Vec<_> = world.clients[client].received.sequences.keys().map(|index| *index as u16).collect();
        assert!(kept > 100 && all.len() as u64 > 2 * most, "{} packets, {most} of them new", all.len());
        // Audio has a bound of its own, 64 packets.
        let buffers = world.stats()[worker].buffers_in_use;
        assert!(buffers <= most + 64, "worker {worker} keeps {buffers} for {most} packets");
        all.chunks(200).for_each(|sequences| world.clients[client].send_video_nack(sequences));
        world.run(Duration::from_millis(100));
        let seen = &world.clients[client].received;
        assert!((kept..=most).contains(&seen.repaired), "{} repaired, {kept} to {most} kept", seen.repaired);
        assert_eq!((seen.duplicates, seen.corrupt), (seen.repaired, 0), "client {client}");
    }
}

#[test]
fn no_index_ever_seals_two_different_packets() {
    // Little jitter, so that frames arrive as batches and are padded; losses, so that packets are repeated.
    let link = Link { loss: 0.05, jitter: Duration::from_micros(1), ..Link::CLEAN };
    for seed in 40..48 {
        let mut world = World::new(seed, 2, link, GCM);
        world.add(ClientKind::Publisher, 0);
        for (rtx, worker) in [(false, 0), (false, 1), (true, 0)] {
            world.add(ClientKind::Subscriber { publisher: 0, rtx, layers: 1 }, worker);
        }
        world.run(Duration::from_secs(5));
        assert_eq!(world.resealed, 0, "seed {seed}");
        let snapshots = world.snapshots();
        let repeated =
            snapshots.iter().flat_map(|part| &part.subscriptions).map(|info| info.retransmitted).sum::<u64>();
        assert!(repeated > 50, "seed {seed}: {repeated}");
        for client in &world.clients[1..] {
            let seen = &client.received;
            assert!(seen.padded > 50 && seen.corrupt == 0, "seed {seed}: {} padded", seen.padded);
        }
    }
}

#[test]
fn a_nack_that_was_not_negotiated_repeats_nothing() {
    let mut world = call(19, 1, Link::CLEAN, GCM, &[0]);
    world.run(Duration::from_secs(2));
    let all: Vec<u16> = (0..0x8000).collect();
    for sequences in all.chunks(200) {
        world.clients[1].send_audio_nack(sequences);
    }
    world.run(SECOND);
    let audio = world.snapshots()[0].subscriptions.iter().find(|info| info.subscription % 10 == 1).cloned();
    let audio = audio.expect("the audio subscription");
    assert!(audio.nacks_received >= 0x8000, "it was asked: {}", audio.nacks_received);
    assert_eq!(audio.retransmitted, 0);
}

#[test]
fn garbage_and_replays_change_nothing() {
    let mut world = call(16, 2, Link::CLEAN, GCM, &[0, 1]);
    world.run(SECOND);
    let mut random = Random::new(99);
    let publisher = world.clients[0].address();
    let replay = world.clients[0].seal_video(Part { frame: 999_999, part: 1, parts: 2, keyframe: false, layer: 0 });
    let used = world.stats().iter().map(|stats| stats.buffers_in_use).collect::<Vec<_>>();
    for n in 0..20_000u32 {
        let mut bytes: Vec<u8> = match n % 3 {
            0 => (0..random.below(1_400)).map(|_| random.next() as u8).collect(),
            1 => replay.clone(),
            _ => {
                let mut bytes = replay.clone();
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.below(8);
                bytes
            }
        };
        bytes.truncate(1_500);
        // From the publisher's own address and from strangers.
        let from = if n % 2 == 0 { publisher } else { ([10, 9, (n >> 8) as u8, n as u8], 4_000).into() };
        world.inject(n % 2, from, &bytes);
    }
    let sent = world.clients[0].frames_sent;
    world.run(Duration::from_secs(3));
    for client in &world.clients[1..] {
        let seen = &client.received;
        assert_eq!(seen.corrupt, 0);
        assert!(seen.frames.range(sent..999_998).count() >= 85);
    }
    // The replay window is asked before the tag, so that a tampered copy counts as either.
    assert!(world.drops("srtp_authentication") > 100);
    assert!(world.drops("srtp_authentication") + world.drops("srtp_replay") > 6_000);
    assert!(world.drops("unknown_path") > 3_000);
    let now = world.stats().iter().map(|stats| stats.buffers_in_use).collect::<Vec<_>>();
    assert!(now.iter().zip(used).all(|(now, used)| *now < used + 600), "{now:?}");
}

#[test]
fn ssrcs_are_what_the_sdp_said() {
    // The two SSRCs of the publisher reach the subscribers under the subscribers' own.
    let mut world = call(17, 1, Link::CLEAN, GCM, &[0]);
    world.run(Duration::from_secs(3));
    let reported: Vec<_> = world.clients[1].received.reports.iter().map(|report| report.0).collect();
    assert!(reported.contains(&0xaaaa_0000) && reported.contains(&0xaaaa_0001));
    assert!(!reported.contains(&VIDEO_SSRC) && !reported.contains(&AUDIO_SSRC));
}

#[test]
fn a_publisher_gets_its_own_stream_back_on_its_own_transport() {
    let mut world = call(30, 2, Link::CLEAN, GCM, &[1]);
    let publisher = &world.clients[0];
    let echo = Subscribe {
        subscription: 77,
        transport: publisher.transport(),
        track: publisher.video_track(),
        mid: "1".to_owned(),
        codec: Some(CodecParameters {
            codec: Codec::Vp8 as i32,
            payload_type: 120,
            clock_rate: 90_000,
            ..Default::default()
        }),
        ssrc: 0x7777_0001,
        extensions: vec![HeaderExtension { kind: ExtensionKind::Mid as i32, id: 9 }],
        cname: "echo".to_owned(),
        ..Default::default()
    };
    world.command(Command::Subscribe(echo)).expect("a transport may send and receive");
    world.run(Duration::from_secs(3));
    for client in [0, 1] {
        let seen = &world.clients[client].received;
        let first = seen.first_frame.expect("video");
        assert!(seen.complete(first) > 60 && seen.corrupt == 0 && seen.began_with_keyframe, "client {client}");
    }
    // Its own reports and feedback go on beside the echo's.
    assert!(world.clients[0].feedback > 20 && world.clients[0].report_blocks > 2);
    assert!(world.clients[0].received.reports.iter().any(|(ssrc, ..)| *ssrc == 0x7777_0001));
}
