use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use dataplane_protocol::{
    Command, CreateTransport, Done, ErrorCode, Event, Failure, FromDataPlane, HelloReply, Message, Outcome, Reply,
    Snapshot, Stats, SubscriptionId, ToDataPlane, TrackId, TransportEvent, TransportId, TransportInfo, TransportState,
    decode, encode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;
use tokio::time::timeout;

use super::{CallError, Client, Holdings, Notice, Placement};

/// Nothing in these tests waits for time; this only ends a test that hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// A socket path that no other test uses, removed at the end.
struct Socket(PathBuf);

impl Socket {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("millrace-client-test-{}-{n}.sock", std::process::id())))
    }

    fn listen(&self) -> UnixListener {
        let _ = std::fs::remove_file(&self.0);
        UnixListener::bind(&self.0).unwrap()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The data plane's end of one connection, driven by hand.
struct Fake {
    stream: UnixStream,
    input: BytesMut,
}

impl Fake {
    /// Accepts a connection and answers its introduction.
    async fn accept(listener: &UnixListener, instance: u64, held: &[(u64, &str)]) -> Self {
        let (stream, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
        let mut fake = Self { stream, input: BytesMut::new() };
        let (id, command) = fake.next().await;
        let Command::Hello(hello) = command else { panic!("hello must come first, got {command:?}") };
        assert_eq!(hello.version, dataplane_protocol::VERSION);
        let hello = HelloReply { instance, workers: 2, ..Default::default() };
        fake.reply(id, Some(Outcome::Hello(hello))).await;
        let (id, command) = fake.next().await;
        assert!(matches!(command, Command::Snapshot(_)), "the snapshot must follow, got {command:?}");
        let transports = held
            .iter()
            .map(|(transport, label)| TransportInfo {
                transport: *transport,
                label: (*label).to_owned(),
                state: TransportState::Connected as i32,
                ..Default::default()
            })
            .collect();
        fake.reply(id, Some(Outcome::Snapshot(Snapshot { transports, ..Default::default() }))).await;
        fake
    }

    async fn next(&mut self) -> (u64, Command) {
        loop {
            if let Some(frame) = decode::<ToDataPlane>(&mut self.input).unwrap() {
                return (frame.request_id, frame.command.unwrap());
            }
            let read = timeout(LIMIT, self.stream.read_buf(&mut self.input)).await.unwrap().unwrap();
            assert_ne!(read, 0, "the client closed the connection");
        }
    }

    /// The next command that is not a request for counters; those are answered.
    async fn next_call(&mut self) -> (u64, Command) {
        loop {
            let (id, command) = self.next().await;
            if !matches!(command, Command::Stats(_)) {
                return (id, command);
            }
            self.reply(id, Some(Outcome::Stats(Stats { uptime_ms: 7, ..Default::default() }))).await;
        }
    }

    async fn send(&mut self, message: Message) {
        let mut out = BytesMut::new();
        encode(&FromDataPlane { message: Some(message) }, &mut out);
        self.stream.write_all(&out).await.unwrap();
    }

    async fn reply(&mut self, request_id: u64, outcome: Option<Outcome>) {
        self.send(Message::Reply(Reply { request_id, outcome })).await;
    }
}

async fn notice(notices: &mut broadcast::Receiver<Notice>) -> Notice {
    timeout(LIMIT, notices.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn replies_find_their_callers_in_any_order() {
    let socket = Socket::new();
    let listener = socket.listen();
    let client = Client::spawn(socket.0.clone());
    let mut fake = Fake::accept(&listener, 1, &[]).await;
    assert_eq!(client.connected().await.unwrap().workers, 2);

    let (first, second) = (client.clone(), client.clone());
    let first = tokio::spawn(async move { first.unpublish(TrackId(1)).await });
    let second = tokio::spawn(async move { second.unsubscribe(SubscriptionId(2)).await });
    let mut calls = [fake.next_call().await, fake.next_call().await];
    calls.sort_by_key(|(_, command)| matches!(command, Command::Unpublish(_)));
    let [(unsubscribe, _), (unpublish, _)] = calls;
    // The one that began last is answered first.
    fake.reply(unsubscribe, Some(Outcome::Done(Done {}))).await;
    assert_eq!(timeout(LIMIT, second).await.unwrap().unwrap(), Ok(()));
    assert!(!first.is_finished());
    let failure = Failure::new(ErrorCode::NotFound, "track 1");
    fake.reply(unpublish, Some(Outcome::Failure(failure.clone()))).await;
    assert_eq!(timeout(LIMIT, first).await.unwrap().unwrap(), Err(CallError::Refused(failure)));
}

#[tokio::test]
async fn without_a_data_plane_calls_fail_at_once() {
    let socket = Socket::new();
    let client = Client::spawn(socket.0.clone());
    assert_eq!(client.unpublish(TrackId(1)).await, Err(CallError::NotConnected));
    assert!(client.last_snapshot().is_none());
    assert!(client.stats().borrow().is_none());
}

#[tokio::test]
async fn a_lost_connection_fails_its_calls_and_is_made_again() {
    let socket = Socket::new();
    let listener = socket.listen();
    let client = Client::spawn(socket.0.clone());
    let mut notices = client.notices();
    let mut fake = Fake::accept(&listener, 1, &[]).await;
    assert!(matches!(notice(&mut notices).await, Notice::Connected { restarted: false, .. }));

    let caller = client.clone();
    let call = tokio::spawn(async move {
        let create = CreateTransport { transport: 5, ..Default::default() };
        (caller.create_transport(create).await, caller.unpublish(TrackId(1)).await)
    });
    let (id, _) = fake.next_call().await;
    fake.reply(id, Some(Outcome::Done(Done {}))).await;
    let (_, command) = fake.next_call().await;
    assert!(matches!(command, Command::Unpublish(_)));
    drop(fake);
    assert_eq!(timeout(LIMIT, call).await.unwrap().unwrap(), (Ok(()), Err(CallError::Interrupted)));
    assert!(matches!(notice(&mut notices).await, Notice::Disconnected));

    // The same process is still there, with our transport and one of an earlier control plane.
    let fake = Fake::accept(&listener, 1, &[(5, "ours"), (3, "theirs")]).await;
    let Notice::Connected { restarted, holdings, .. } = notice(&mut notices).await else { panic!() };
    assert!(!restarted);
    assert_eq!((holdings.transports, holdings.connected), (2, 2));
    assert_eq!((holdings.unknown.as_slice(), holdings.lost.as_slice()), (&[TransportId(3)][..], &[][..]));
    assert_eq!(holdings.unknown_labels, ["theirs"]);
    assert_eq!(client.last_snapshot().unwrap().transports.len(), 2);
    drop(fake);
    assert!(matches!(notice(&mut notices).await, Notice::Disconnected));

    // Another process: everything of before is lost.
    let _fake = Fake::accept(&listener, 2, &[]).await;
    let Notice::Connected { restarted, holdings, .. } = notice(&mut notices).await else { panic!() };
    assert!(restarted);
    assert_eq!(holdings.lost, [TransportId(5)]);
}

#[tokio::test]
async fn a_reply_of_an_unknown_kind_is_an_error_to_its_caller_only() {
    let socket = Socket::new();
    let listener = socket.listen();
    let client = Client::spawn(socket.0.clone());
    let mut fake = Fake::accept(&listener, 1, &[]).await;
    client.connected().await.unwrap();
    let caller = client.clone();
    let call = tokio::spawn(async move {
        (caller.unpublish(TrackId(1)).await, caller.unpublish(TrackId(2)).await, caller.unpublish(TrackId(3)).await)
    });
    let (id, _) = fake.next_call().await;
    fake.reply(id, None).await;
    let (id, _) = fake.next_call().await;
    fake.reply(id, Some(Outcome::Stats(Stats::default()))).await;
    let (id, _) = fake.next_call().await;
    // A reply to nobody is skipped.
    fake.reply(id + 1000, Some(Outcome::Done(Done {}))).await;
    fake.reply(id, Some(Outcome::Done(Done {}))).await;
    let unexpected = Err(CallError::UnexpectedReply);
    assert_eq!(timeout(LIMIT, call).await.unwrap().unwrap(), (unexpected.clone(), unexpected, Ok(())));
}

#[tokio::test]
async fn events_and_counters_arrive() {
    let socket = Socket::new();
    let listener = socket.listen();
    let client = Client::spawn(socket.0.clone());
    let mut notices = client.notices();
    let mut stats = client.stats();
    let mut fake = Fake::accept(&listener, 1, &[]).await;
    assert!(matches!(notice(&mut notices).await, Notice::Connected { .. }));
    let event = TransportEvent { transport: 9, state: TransportState::Connected as i32, ..Default::default() };
    fake.send(Message::Event(Event { transport: Some(event.clone()) })).await;
    // An event of a later version carries nothing known.
    fake.send(Message::Event(Event { transport: None })).await;
    let Notice::Transport(got) = notice(&mut notices).await else { panic!() };
    assert_eq!(got, event);
    let (id, command) = fake.next().await;
    assert!(matches!(command, Command::Stats(_)));
    fake.reply(id, Some(Outcome::Stats(Stats { tracks: 4, ..Default::default() }))).await;
    let got = timeout(LIMIT, stats.wait_for(Option::is_some)).await.unwrap().unwrap().clone().unwrap();
    assert_eq!(got.tracks, 4);
    drop(fake);
    timeout(LIMIT, stats.wait_for(Option::is_none)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_is_not_frames_is_dropped_and_made_again() {
    let socket = Socket::new();
    let listener = socket.listen();
    let client = Client::spawn(socket.0.clone());
    let (mut stream, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    stream.write_all(&[0xff; 64]).await.unwrap();
    let _fake = Fake::accept(&listener, 1, &[]).await;
    assert_eq!(timeout(LIMIT, client.connected()).await.unwrap().unwrap().instance, 1);
}

#[tokio::test]
async fn the_connection_ends_with_the_last_handle() {
    let socket = Socket::new();
    let listener = socket.listen();
    let placement = Placement::single(Client::spawn(socket.0.clone()));
    let mut fake = Fake::accept(&listener, 1, &[]).await;
    placement.of_room("a").connected().await.unwrap();
    assert_eq!(placement.all().count(), 1);
    drop(placement);
    let closed = async { while fake.stream.read_buf(&mut fake.input).await.unwrap() > 0 {} };
    timeout(LIMIT, closed).await.unwrap();
}

#[test]
fn a_comparison_sorts_its_ids() {
    let transports = (0..20u64).rev().map(|transport| TransportInfo { transport, ..Default::default() }).collect();
    let snapshot = Snapshot { transports, ..Default::default() };
    let created = HashSet::from([TransportId(30), TransportId(2), TransportId(25)]);
    let holdings = Holdings::compare(&snapshot, &created);
    assert_eq!(holdings.lost, [TransportId(25), TransportId(30)]);
    assert_eq!(holdings.unknown.len(), 19);
    assert!(holdings.unknown.is_sorted());
    assert_eq!(holdings.unknown_labels.len(), 8);
}
