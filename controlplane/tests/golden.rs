//! Transcripts of whole conversations, replayed against the server: what a client sends goes out as it is written, what
//! it gets is compared member by member, in the order of the members.
//!
//! A transcript (`golden/*.txt`) has a line for each step; `#` begins a comment.
//!
//! | Line | Meaning |
//! |---|---|
//! | `mode kurento` | how the server announces itself; must come first |
//! | `session {…}` | creates a session by REST with this body |
//! | `token NAME SESSION {…}` | makes a connection by REST; its token is `NAME` from then on |
//! | `rest METHOD PATH {…} => 204` | any other call of the API, with the status that it must have |
//! | `open a` | opens a socket |
//! | `a> {…}` | the client `a` sends a frame |
//! | `a> CLOSE 4102 text`, `a> CLOSE`, `a> LOST` | it closes its socket, with or without a code, or vanishes |
//! | `<a {…}` | the next frame that it gets |
//! | `<a CLOSE 1000 text` | the server closes its socket |
//! | `<a ENDS 1000` | the same, perhaps after a last frame |
//! | `quiet a` | it got nothing else up to here |
//! | `pass 9000` | milliseconds go by |
//! | `media transports=1 tracks=2 subscriptions=0` | what the data plane holds now |
//! | `sdp NAME has a=sendonly`, `sdp NAME lacks a=ssrc` | about an SDP that came |
//!
//! In strings, `{{NAME:kind}}` takes whatever value of that kind comes and calls it `NAME`; `{{NAME}}` is that value
//! again. `{{offer KIND}}` and `{{answer NAME}}` are SDPs of a client. At the end no client may have unread frames.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a panic is the failure")]

mod common;

use common::transcript::replay;

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                replay(stringify!($name)).await;
            }
        )*

        #[test]
        fn every_transcript_is_replayed() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
            let mut found: Vec<_> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            found.sort();
            let mut listed = vec![$(stringify!($name)),*];
            listed.sort_unstable();
            assert_eq!(found, listed);
        }
    };
}

/// The values of a member in all transcripts: of frames to the server, or to clients.
fn members(name: &str, to_server: bool) -> std::collections::BTreeSet<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let member = format!("\"{name}\":\"");
    let mut found = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines().filter(|line| if to_server { line.contains("> {") } else { line.starts_with('<') }) {
            if let Some((_, rest)) = line.split_once(&member) {
                found.insert(rest.split('"').next().unwrap().to_owned());
            }
        }
    }
    found
}

/// All that section 2 names, and two that it says are none.
#[test]
fn every_request_is_in_a_transcript() {
    let mut requests = [
        "addFilterEventListener",
        "applyFilter",
        "connect",
        "customRequest",
        "echo",
        "execFilterMethod",
        "forceDisconnect",
        "forceUnpublish",
        "joinRoom",
        "leaveRoom",
        "onIceCandidate",
        "ping",
        "prepareReceiveVideoFrom",
        "publishVideo",
        "receiveVideoFrom",
        "reconnectStream",
        "removeFilter",
        "removeFilterEventListener",
        "sendMessage",
        "sessionStatus",
        "streamPropertyChanged",
        "subscribeToSpeechToText",
        "unpublishVideo",
        "unsubscribeFromSpeechToText",
        "unsubscribeFromVideo",
        "videoData",
    ];
    requests.sort_unstable();
    assert_eq!(members("method", true).iter().map(String::as_str).collect::<Vec<_>>(), requests);
}

/// What this server tells clients of: everything else of section 3 is never sent. A transcript fails at a frame that it
/// does not have.
#[test]
fn every_notification_is_in_a_transcript() {
    let mut notifications = [
        "forciblyReconnectSubscriber",
        "participantEvicted",
        "participantJoined",
        "participantLeft",
        "participantPublished",
        "participantUnpublished",
        "sendMessage",
        "streamPropertyChanged",
    ];
    notifications.sort_unstable();
    assert_eq!(members("method", false).iter().map(String::as_str).collect::<Vec<_>>(), notifications);
}

transcripts! {
    audio_only_2_20
    audio_only_2_32
    dropped_kurento
    dropped_mediasoup
    dropped_too_late
    echo_and_video_data
    evicted_by_rest
    expelled_kurento
    expelled_mediasoup
    filters
    force_unpublished
    forced_renegotiation
    forced_codec
    loopback
    moderation_refused
    native_client
    reconnect_publisher_kurento
    reconnect_publisher_mediasoup
    reconnect_subscriber_kurento
    reconnect_subscriber_mediasoup
    recorder
    resubscribe_kurento
    resubscribe_mediasoup
    screen_share
    secret_join
    session_closed_by_rest
    signals
    simulcast
    speech_to_text
    stt_refused
    unpublished_by_rest
    worked_kurento
    worked_mediasoup
}
