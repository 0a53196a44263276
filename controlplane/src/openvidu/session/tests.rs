//! What a client hears over its sockets.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::openvidu::missed::{MISSED_FRAMES, UNHEARD_FRAMES};

fn session() -> Arc<RpcSession> {
    RpcSession::new("R".into(), "U".into(), "A".into()).0
}

fn texts(frames: &[Frame]) -> Vec<String> {
    let text = |frame: &Frame| match frame {
        Frame::Notice(note) => note.text.to_string(),
        Frame::Answer(text) => text.to_string(),
        Frame::Close(code, _) => code.to_string(),
    };
    frames.iter().map(text).collect()
}

#[test]
fn what_was_missed_follows_the_answer_to_connect() {
    let (session, first) = (session(), Outbox::default());
    let generation = session.attach(&first, None).unwrap();
    for text in ["a", "b", "c"] {
        assert!(session.notify(text.into()));
    }
    assert_eq!(first.begin(), Some(Frame::Notice("a".into())));
    first.written();
    assert_eq!(session.detach(generation, Loss::Told), Detached::Lost);
    assert!(session.notify("d".into()));
    let second = Outbox::default();
    let again = session.attach(&second, Some("connected".into())).unwrap();
    assert!(session.notify("e".into()));
    assert_eq!(texts(&second.drain()), ["connected", "b", "c", "d", "e"]);
    assert_eq!(session.detach(generation, Loss::Told), Detached::Replaced, "a late end of the old socket");
    assert!(session.is_attached());
    assert_eq!(session.attach(&second, Some("once more".into())), Some(again), "the same socket stays");
    assert_eq!(texts(&second.drain()), ["once more"]);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_socket_gives_back_what_was_not_heard() {
    let (session, first) = (session(), Outbox::default());
    let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
    session.attach(&first, None).unwrap();
    assert!(session.notify("a".into()));
    first.drain();
    pass(1).await;
    first.heard();
    pass(1).await;
    assert!(session.notify("b".into()));
    first.drain();
    pass(10).await;
    // A ping that was on its way for long comes with the end of the silence.
    first.heard();
    let second = Outbox::default();
    session.attach(&second, Some("connected".into())).unwrap();
    assert_eq!(texts(&second.drain()), ["connected", "b"]);
}

#[test]
fn a_socket_that_is_handed_over_keeps_what_waits_in_it() {
    let (session, socket) = (session(), Outbox::default());
    let generation = session.attach(&socket, None).unwrap();
    assert!(session.notify("a".into()));
    assert_eq!(session.detach(generation, Loss::HandedOver), Detached::Lost);
    assert!(socket.push(Frame::Answer("for another".into())));
    assert_eq!(texts(&socket.drain()), ["a", "for another"]);
}

#[test]
fn answers_are_for_the_socket_that_asked() {
    let (session, first) = (session(), Outbox::default());
    let generation = session.attach(&first, None).unwrap();
    let ticket = Ticket::new(session.clone(), generation, json!(1));
    let late = Ticket::new(session.clone(), generation, json!(2));
    ticket.succeed(Map::new());
    ticket.refuse(-32603, "a second answer");
    assert_eq!(texts(&first.drain()), [r#"{"id":1,"result":{"sessionId":"R"},"jsonrpc":"2.0"}"#]);
    Ticket::new(session.clone(), generation, json!(3)).succeed(Map::new());
    let second = Outbox::default();
    session.attach(&second, None).unwrap();
    late.succeed(Map::new());
    assert!(texts(&second.drain()).is_empty());
}

#[test]
fn who_missed_too_much_has_no_way_back() {
    let (session, first) = (session(), Outbox::default());
    let generation = session.attach(&first, None).unwrap();
    session.detach(generation, Loss::Told);
    for _ in 0..MISSED_FRAMES {
        assert!(session.notify("x".into()));
    }
    assert!(!session.notify("x".into()), "the first that is too much tells");
    assert!(session.notify("x".into()), "once");
    assert_eq!(session.attach(&Outbox::default(), None), None);
}

#[test]
fn a_slow_reader_is_cut_off_and_lapses_when_too_much_waits() {
    let (session, first) = (session(), Outbox::default());
    let generation = session.attach(&first, None).unwrap();
    let mut sent = 0;
    while first.push(Frame::Answer("x".into())) {
        sent += 1;
    }
    assert!(session.notify("kept".into()), "the first that does not fit waits for the next socket");
    assert_eq!(session.detach(generation, Loss::Silent), Detached::Lost);
    let second = Outbox::default();
    let generation = session.attach(&second, None).unwrap();
    assert_eq!(texts(&second.drain()), ["kept"], "none of {sent} answers");

    while second.push(Frame::Notice("x".into())) {}
    assert!(session.notify("too much".into()));
    assert_eq!(session.detach(generation, Loss::Silent), Detached::Lapsed);
    assert_eq!(session.attach(&Outbox::default(), None), None);
}

/// Something that happens between a room and a client.
#[derive(Clone, Debug)]
enum Step {
    /// The room says something.
    Notify,
    /// The socket writes that many frames.
    Write(usize),
    /// The client, which has read what was written, says something.
    Speak,
    /// The socket ends: in an orderly way, or with silence in which the client reads only that many of the frames that
    /// were written after its last word.
    Lose(Option<usize>),
    /// The client comes back, with the old socket still there if it was not lost.
    Connect(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Notify),
        4 => (1usize..4).prop_map(Step::Write),
        2 => Just(Step::Speak),
        1 => proptest::option::of(0usize..4).prop_map(Step::Lose),
        2 => (0usize..4).prop_map(Step::Connect),
    ]
}

/// What a client has of one socket.
#[derive(Default)]
struct Client {
    /// Heard for sure.
    heard: Vec<usize>,
    /// On the way since its last word.
    on_the_way: Vec<usize>,
}

impl Client {
    fn take(&mut self, outbox: &Outbox, count: usize) {
        for _ in 0..count {
            if let Some(Frame::Notice(text)) = outbox.begin() {
                self.on_the_way.push(text.text.parse().unwrap());
            }
            outbox.written();
        }
    }

    fn read(&mut self, count: usize) {
        let count = count.min(self.on_the_way.len());
        self.heard.extend(self.on_the_way.drain(..count));
    }
}

proptest! {
    /// Whatever becomes of sockets: nothing is missed, nothing is out of order, and what comes twice is only what was
    /// written after the client's last word on a socket that fell silent.
    #[test]
    fn everything_is_heard_in_order(steps in proptest::collection::vec(step(), 0..UNHEARD_FRAMES)) {
        let session = session();
        let (mut outbox, mut client, mut said) = (Outbox::default(), Client::default(), 0);
        let mut generation = session.attach(&outbox, None).unwrap();
        let mut has_fallen_silent = false;
        for step in steps {
            match step {
                Step::Notify => {
                    prop_assert!(session.notify(said.to_string().into()));
                    said += 1;
                }
                Step::Write(count) if session.is_attached() => client.take(&outbox, count),
                Step::Speak if session.is_attached() => {
                    client.read(usize::MAX);
                    outbox.heard();
                }
                Step::Lose(silent) if session.is_attached() => {
                    client.read(silent.unwrap_or(usize::MAX));
                    has_fallen_silent |= silent.is_some();
                    client.on_the_way.clear();
                    let loss = if silent.is_some() { Loss::Silent } else { Loss::Told };
                    prop_assert_eq!(session.detach(generation, loss), Detached::Lost);
                }
                Step::Connect(read) => {
                    has_fallen_silent |= session.is_attached();
                    client.read(read);
                    client.on_the_way.clear();
                    outbox = Outbox::default();
                    generation = session.attach(&outbox, None).unwrap();
                }
                _ => {}
            }
        }
        client.read(usize::MAX);
        session.detach(generation, Loss::Told);
        let last = Outbox::default();
        session.attach(&last, None).unwrap();
        client.take(&last, usize::from(u16::MAX));
        client.read(usize::MAX);
        if !has_fallen_silent {
            prop_assert!(client.heard.iter().copied().eq(0..said), "{:?}", client.heard);
        }
        // Dropping what was heard before leaves everything, in order.
        let mut next = 0;
        for &number in &client.heard {
            prop_assert!(number <= next, "{number} before {next}");
            next = next.max(number + 1);
        }
        prop_assert_eq!(next, said);
    }
}
