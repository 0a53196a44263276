//! Random histories: whatever happens in whatever order, everybody's picture of the room is the room, every command
//! names what is there, every request is answered once, and nothing is left once all have gone.
//!
//! `MILLRACE_SEED` repeats the one history that a failure names.

mod books;
mod chance;
mod client;
mod kept;
mod ledger;
mod world;

use dataplane_protocol::{Codec, CodecParameters};

use self::chance::Chance;
pub(super) use self::kept::Kept;
use self::world::{Asked, Tally, World};
use super::{ice, join, publication, remote};
use crate::*;

const HISTORIES: u64 = 10_000;

#[test]
fn everybody_sees_the_room_and_nothing_stays_behind() {
    let wanted = std::env::var("MILLRACE_SEED").ok().map(|seed| seed.parse().expect("MILLRACE_SEED is a number"));
    let seeds = wanted.map_or(0..HISTORIES, |seed: u64| seed..seed + 1);
    let whole = wanted.is_none();
    let mut sum = Tally::default();
    for seed in seeds {
        let _name = Named(seed);
        sum.add(&history(seed));
    }
    println!("{sum:?}");
    // A crash between a republication and its retargets is a matter of luck.
    let lucky = std::mem::replace(&mut sum.retargets_after_crash, usize::MAX);
    assert!(!whole || (sum.least() > 1_000 && lucky > 20), "something hardly ever happens: {lucky}, {sum:?}");
}

/// Names the seed of a history that fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this history again: MILLRACE_SEED={}", self.0);
        }
    }
}

impl Tally {
    fn fields(&mut self) -> [&mut usize; 14] {
        [
            &mut self.joins,
            &mut self.streams,
            &mut self.subscriptions,
            &mut self.republications,
            &mut self.retargets,
            &mut self.retargets_on_arrival,
            &mut self.reoffers,
            &mut self.overtaken,
            &mut self.refused_subscribes,
            &mut self.lapses,
            &mut self.ends,
            &mut self.crashes,
            &mut self.retargets_after_crash,
            &mut self.orphans,
        ]
    }

    fn add(&mut self, other: &Self) {
        let mut other = *other;
        self.fields().into_iter().zip(other.fields()).for_each(|(sum, more)| *sum += *more);
    }

    fn least(mut self) -> usize {
        self.fields().into_iter().map(|count| *count).min().unwrap_or(0)
    }
}

fn history(seed: u64) -> Tally {
    let mut world = World::new(seed);
    for _ in 0..2 + world.chance.below(4) {
        invite(&mut world);
        join_by_token(&mut world);
    }
    for _ in 0..60 + world.chance.below(160) {
        step(&mut world);
    }
    world.finish();
    world.tally
}

/// One thing that happens.
fn step(world: &mut World) {
    match world.chance.below(100) {
        0..4 => invite(world),
        4..9 => join_by_token(world),
        9..11 => join_by_secret(world),
        11..13 => {
            let participant = somebody(world);
            world.ask(Input::Leave { participant }, Asked::Other);
        }
        13..15 => moderate(world),
        15..22 => publish(world),
        22..29 => republish(world),
        29..31 => {
            let by = somebody(world);
            world.ask(Input::Unpublish { participant: by.clone() }, Asked::Unpublish { by });
        }
        31..38 => prepare(world),
        38..50 => subscribe(world),
        50..52 => {
            let (participant, publisher) = (somebody(world), somebody(world));
            let stream = world.room.participant(&publisher).and_then(|p| p.stream.as_ref()).map(|s| s.id.clone());
            let asked = Asked::Unsubscribe { by: participant.clone(), stream };
            world.ask(Input::Unsubscribe { participant, publisher }, asked);
        }
        52..55 => change_stream(world),
        55..58 => signal(world),
        58..61 => lose_or_return(world),
        61 => {
            world.now += world.chance.below(12_000) as u64;
            world.happen(Input::Tick);
        }
        62 => {
            world.tally.lapses += 1;
            let participant = somebody(world);
            world.happen(Input::Lapse { participant });
        }
        63 if world.chance.once_in(2) => world.crash(),
        63 => rarely(world),
        64..88 => {
            let n = world.chance.below(8);
            world.advance(n);
        }
        88..97 => world.change(),
        _ => world.settle(),
    }
}

/// A participant, now and then one who is not there.
fn somebody(world: &mut World) -> String {
    if world.chance.once_in(30) {
        return "nobody".into();
    }
    let present: Vec<_> = world.room.participants().iter().map(|p| p.id.clone()).collect();
    world.chance.pick(&present).cloned().unwrap_or_default()
}

/// Somebody who can publish, or else somebody.
fn publisher_to_be(world: &mut World) -> String {
    let able = |p: &&Participant| p.stream.is_none() && p.publishing.is_none() && p.role >= Role::Publisher;
    let able: Vec<_> = world.room.participants().iter().filter(able).map(|p| p.id.clone()).collect();
    let able = if world.chance.once_in(4) { None } else { world.chance.pick(&able).cloned() };
    able.unwrap_or_else(|| somebody(world))
}

fn some_stream(world: &mut World) -> String {
    let streams = world.room.participants().iter().filter_map(|p| p.stream.as_ref());
    let streams: Vec<_> = streams.map(|s| s.id.clone()).collect();
    world.chance.pick(&streams).cloned().unwrap_or_default()
}

fn invite(world: &mut World) {
    let role = [Role::Subscriber, Role::Publisher, Role::Publisher, Role::Moderator][world.chance.below(4)];
    world.ask(Input::Invite(super::grant(role)), Asked::Other);
}

fn join_by_token(world: &mut World) {
    let from = if world.chance.once_in(5) { &world.used } else { &world.unused };
    let token = world.chance.pick(from).cloned().unwrap_or_default();
    world.ask(join(Admission::Token(token.clone())), Asked::Join { token: Some(token) });
}

fn join_by_secret(world: &mut World) {
    let (participant, hidden) = match world.chance.below(3) {
        0 => (Some("RECORDER".into()), Some(Hidden::Recorder)),
        1 => (Some("SPEECH_TO_TEXT".into()), Some(Hidden::Transcriber)),
        _ => (None, None),
    };
    world.ask(join(Admission::Secret { participant, hidden }), Asked::Join { token: None });
}

fn moderate(world: &mut World) {
    let by = somebody(world);
    match world.chance.below(3) {
        0 => {
            let target = somebody(world);
            world.ask(Input::Expel { participant: by.clone(), target }, Asked::Moderation { by });
        }
        1 => {
            let stream = some_stream(world);
            world.ask(Input::ForceUnpublish { participant: Some(by.clone()), stream }, Asked::Moderation { by });
        }
        _ => {
            let stream = some_stream(world);
            world.ask(Input::ForceUnpublish { participant: None, stream }, Asked::Other);
        }
    }
}

/// What the application and the machine do.
fn rarely(world: &mut World) {
    match world.chance.below(8) {
        0 => world.ask(Input::Close { reason: EndReason::RoomClosedByApplication }, Asked::Other),
        1 | 2 => world.restart(),
        3 | 4 => {
            let invited: Vec<_> =
                world.room.invites().iter().map(|i| (i.participant.clone(), i.token.clone())).collect();
            let Some((participant, token)) = world.chance.pick(&invited).cloned() else { return };
            world.unused.retain(|unused| *unused != token);
            world.used.push(token);
            world.ask(Input::Remove { participant }, Asked::Other);
        }
        _ => {
            let participant = somebody(world);
            world.ask(Input::Remove { participant }, Asked::Other);
        }
    }
}

fn publish(world: &mut World) {
    let by = publisher_to_be(world);
    let description = StreamDescription { audio_active: Some(true), ..StreamDescription::default() };
    let publication = any_publication(&mut world.chance);
    let input = Input::Publish { participant: by.clone(), description, publication };
    world.ask(input, Asked::Publish { by });
}

fn republish(world: &mut World) {
    let publishers: Vec<_> = world.room.participants().iter().filter(|p| p.stream.is_some()).collect();
    let by = match world.chance.pick(&publishers) {
        Some(publisher) => publisher.id.clone(),
        None => somebody(world),
    };
    let publication = any_publication(&mut world.chance);
    world.ask(Input::Republish { participant: by.clone(), publication }, Asked::Republish { by });
}

/// Audio, video or both, with or without layers, mostly VP8, now and then with an echo.
fn any_publication(chance: &mut Chance) -> Publication {
    let mut publication = publication();
    let video = &mut publication.tracks[1];
    video.codec = any_video(chance);
    let rids = ["q", "h", "f"].map(str::to_owned);
    video.rids = rids[..[0, 0, 2, 3][chance.below(4)]].to_vec();
    video.max_bitrate_bps = 1_000_000;
    if chance.once_in(8) {
        publication.tracks.remove(chance.below(2));
    }
    if chance.once_in(4) {
        publication.echo = wanted(&publication.tracks, 100);
    }
    publication
}

fn any_video(chance: &mut Chance) -> CodecParameters {
    let codec = if chance.once_in(4) { Codec::H264 } else { Codec::Vp8 };
    CodecParameters { codec: codec as i32, clock_rate: 90_000, ..CodecParameters::default() }
}

/// All of it, at the mids and in the codecs of the publisher.
fn wanted(tracks: &[PublishedTrack], first_ssrc: u32) -> Vec<SubscribedTrack> {
    let tracks = tracks.iter().enumerate();
    let wanted = tracks.map(|(source, track)| SubscribedTrack {
        source,
        mid: track.mid.clone(),
        codec: track.codec.clone(),
        ssrc: first_ssrc + source as u32,
        rtx_ssrc: None,
        extensions: Vec::new(),
    });
    wanted.collect()
}

fn prepare(world: &mut World) {
    let reoffers: Vec<_> = world.reoffers.iter().cloned().collect();
    let (by, stream) = match world.chance.pick(&reoffers) {
        Some(reoffer) => reoffer.clone(),
        None => (somebody(world), some_stream(world)),
    };
    let input = Input::PrepareSubscribe { participant: by.clone(), stream: stream.clone(), ice: ice() };
    world.ask(input, Asked::Prepare { by, stream });
}

/// Mostly of what is published now, sometimes of what was offered before the stream moved.
fn subscribe(world: &mut World) {
    let prepared =
        world.room.participants().iter().filter_map(|p| Some((p.id.clone(), p.prepared.keys().next()?.clone())));
    let prepared: Vec<_> = prepared.collect();
    let answer = if world.chance.once_in(2) { world.chance.pick(&prepared).cloned() } else { None };
    let offered = answer.is_none() && !world.chance.once_in(10);
    let (by, stream) = answer.unwrap_or_else(|| (somebody(world), some_stream(world)));
    let published = world.room.publisher_of(&stream).and_then(|p| p.stream.as_ref());
    let specs = published.map(|s| s.tracks.iter().map(|t| t.spec.clone()).collect()).unwrap_or_default();
    let specs: Vec<_> = if world.chance.once_in(6) { any_publication(&mut world.chance).tracks } else { specs };
    let tracks = wanted(&specs, 1);
    let asked = Asked::Subscribe { by: by.clone(), stream: stream.clone(), tracks: tracks.len() };
    let subscription = Subscription { ice: offered.then(ice), remote: remote(), tracks };
    world.ask(Input::Subscribe { participant: by, stream, subscription }, asked);
}

fn change_stream(world: &mut World) {
    let active = world.chance.once_in(2);
    let property = match world.chance.below(4) {
        0 => StreamProperty::AudioActive(active),
        1 => StreamProperty::VideoActive(active),
        2 => StreamProperty::VideoDimensions(format!("{}", world.chance.below(9))),
        _ => StreamProperty::Other("videoTrack".into()),
    };
    let participant = somebody(world);
    let (value, reason) = (active.to_string(), "by chance".into());
    world.ask(Input::ChangeStream { participant, property, value, reason }, Asked::Other);
}

fn signal(world: &mut World) {
    let participant = (!world.chance.once_in(4)).then(|| somebody(world));
    let to = (0..world.chance.below(4)).map(|_| somebody(world)).collect();
    world.ask(Input::Signal { participant, to, kind: None, data: None }, Asked::Other);
}

fn lose_or_return(world: &mut World) {
    let participant = somebody(world);
    let Some(client) = world.clients.get_mut(&participant) else { return };
    if client.is_online {
        client.is_online = false;
        world.happen(Input::SocketLost { participant });
    } else {
        client.catch_up();
        world.happen(Input::SocketBack { participant });
    }
}
