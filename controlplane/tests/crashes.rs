//! The control plane is killed, again and again, while rooms are in use: what was true before is true after.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a panic is the failure")]

mod common;
mod program;
mod scripted;

use std::time::{Duration, Instant};

use common::*;
use program::*;
use scripted::*;
use serde_json::{Value, json};

const ROOMS: usize = 10;
const PEOPLE: usize = 4;
const KILLS: usize = 20;
/// A seat is kept for 10 s; who was let in and never heard of it goes after that.
const GHOSTS: Duration = Duration::from_secs(25);

/// What the log says when the store, or taking over the data plane, does not work as it should.
const BAD_NEWS: [&str; 3] = ["cannot be read", "did not settle", "is damaged"];

fn room(number: usize) -> String {
    format!("room-{number}")
}

/// Tries tokens that somebody has joined with.
async fn try_used_tokens(server: &Program, tokens: &[(String, String)], chance: &mut Chance) {
    for _ in 0..5.min(tokens.len()) {
        let (session, token) = &tokens[chance.below(tokens.len())];
        let mut socket = server.socket().await;
        let error = socket.error("joinRoom", join_params(session, token, Some("2.32.1"))).await;
        assert_eq!(error, 401, "the token {token} let somebody in twice");
    }
}

/// What REST shows of a room: who is there with which stream.
async fn shown(server: &Program, session: &str) -> People {
    let (status, connections) = server.api("GET", &format!("/sessions/{session}/connection"), Value::Null).await;
    assert_eq!(status, 200);
    let active = connections["content"].as_array().unwrap().iter().filter(|c| c["status"] == "active");
    let stream = |c: &Value| c["publishers"][0]["streamId"].as_str().map(str::to_owned);
    active.map(|c| (c["id"].as_str().unwrap().to_owned(), stream(c))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_control_plane_is_killed_20_times() {
    let bench = Bench::new("crashes");
    let seed = std::env::var("MILLRACE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut chance = Chance::new(seed);
    let mut server = bench.start(&[]).await;
    for number in 0..ROOMS {
        let (status, _) = server.api("POST", "/sessions", json!({"customSessionId": room(number)})).await;
        assert_eq!(status, 200);
    }
    let script = Script::new(server.address);
    let mut people = Vec::new();
    for number in 0..ROOMS * PEOPLE {
        // The first of each room stays, and is there before the others come: no room ends for want of people.
        let stays = number < ROOMS;
        if number == ROOMS {
            script.until(|tally| tally.joins == ROOMS).await;
        }
        people.push(tokio::spawn(
            Person::new(script.clone(), room(number % ROOMS), stays, seed * 1_000 + number as u64).live(),
        ));
    }
    script.until(|tally| tally.joins >= ROOMS * PEOPLE).await;

    let mut longest = Duration::ZERO;
    for _ in 0..KILLS {
        let done = script.tally().done;
        script.until(|tally| tally.done > done + 20 + chance.below(200)).await;
        let killed = Instant::now();
        server.kill();
        server = bench.start(&[]).await;
        script.moved(server.address);
        longest = longest.max(killed.elapsed());
        let (_, sessions) = server.api("GET", "/sessions", Value::Null).await;
        assert_eq!(sessions["numberOfElements"], ROOMS, "no session is lost");
        try_used_tokens(&server, &script.used_tokens(), &mut chance).await;
        let log = server.log.lock().unwrap().clone();
        let is_bad = |entry: &&Value| {
            let message = entry["message"].as_str().unwrap_or_default();
            entry["level"] == "ERROR" || BAD_NEWS.iter().any(|bad| message.contains(bad))
        };
        assert_eq!(log.iter().find(is_bad), None);
    }

    script.finish();
    let mut pictures = Vec::new();
    for person in people {
        pictures.push(person.await.expect("somebody saw what cannot be"));
    }
    settle(&server, pictures).await;
    // Nobody receives any more, so that there is one transport for each stream.
    let streams = streams(&server).await;
    bench.dataplane.until("only what is in use", |books| books.transports.len() == streams).await;
    assert!(bench.dataplane.state.lock().unwrap().subscriptions.is_empty());
    let tally = script.tally();
    println!("{tally:?}, longest time without a control plane: {longest:?}");
    assert_eq!(tally.seats_lost, 0, "somebody could not come back");
    assert!(tally.returns > KILLS * PEOPLE && tally.streams > 50 && tally.subscriptions > 30 && tally.signals > 50);
}

/// Both processes have ended, the data plane comes back late, and holds what is nobody's by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_plane_that_comes_late_is_taken_over_at_once() {
    let mut bench = Bench::new("late");
    let server = bench.start(&[]).await;
    assert_eq!(server.api("POST", "/sessions", json!({"customSessionId": "late"})).await.0, 200);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = server.join("late", json!({}), "").await;
        client.publish().await;
        clients.push(client);
    }
    let [stays, ..] = &clients[..] else { panic!() };
    let (rpc, id) = (stays.rpc.clone(), stays.id.clone());
    server.kill();
    bench.pause().await;
    let server = bench.begin(&[]).await;
    let mut back = server.socket().await;
    (back.id, back.rpc) = (id, rpc);
    back.result("connect", json!({"sessionId": back.rpc})).await;
    let until_gone = async {
        // It may hear first what it had not heard before the end.
        while back.heard.iter().filter(|heard| heard["method"] == "participantEvicted").count() < 2 {
            back.call("ping", json!({"interval": 60_000})).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(GHOSTS, until_gone).await.expect("the others have left");
    assert_eq!(bench.books(|books| books.transports.len()), 3);
    bench.resume();
    bench.dataplane.until("one stream", |books| books.transports.len() == 1).await;
    let began = Instant::now();
    let mut other = server.join("late", json!({}), "").await;
    other.publish().await;
    assert!(began.elapsed() < Duration::from_secs(3), "nothing waits for removals: {:?}", began.elapsed());
    assert_eq!(bench.books(|books| books.transports.len()), 2);
}

/// Everybody's picture becomes what REST shows, once those are gone who never heard that they were let in. Then all
/// cease to receive.
async fn settle(server: &Program, mut pictures: Vec<Picture>) {
    let end = Instant::now() + GHOSTS;
    for number in 0..ROOMS {
        let session = room(number);
        let mut here: Vec<&mut Picture> = pictures.iter_mut().filter(|picture| picture.session == session).collect();
        loop {
            let shown = shown(server, &session).await;
            for picture in &mut here {
                picture.catch_up().await;
            }
            let differs = here.iter().find(|picture| picture.everybody() != shown);
            if differs.is_none() && shown.len() == here.len() {
                for picture in &mut here {
                    picture.unsubscribe().await;
                }
                break;
            }
            let picture = differs.map(|picture| (&picture.me, picture.everybody()));
            assert!(Instant::now() < end, "{session}: REST shows {shown:?}, {} are there, {picture:?}", here.len());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// How many streams REST shows.
async fn streams(server: &Program) -> usize {
    let mut streams = 0;
    for number in 0..ROOMS {
        streams += shown(server, &room(number)).await.values().flatten().count();
    }
    streams
}
