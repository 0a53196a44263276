use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use prost::Message;

use crate::{
    Codec, CodecParameters, Command, CreateTransport, Done, ErrorCode, Failure, FrameError, FromDataPlane,
    MAX_FRAME_LEN, MediaKind, Message as Body, Outcome, Publish, Reply, ToDataPlane, decode, encode,
};

fn publish(track: u64, mid: &str, ssrc: Option<u32>) -> ToDataPlane {
    ToDataPlane {
        request_id: track ^ 7,
        command: Some(Command::Publish(Publish {
            track,
            transport: 3,
            kind: MediaKind::Video as i32,
            mid: mid.to_owned(),
            codec: Some(CodecParameters {
                codec: Codec::Vp8 as i32,
                payload_type: 96,
                clock_rate: 90_000,
                rtx_payload_type: Some(97),
                ..Default::default()
            }),
            ssrc,
            ..Default::default()
        })),
    }
}

proptest! {
    #[test]
    fn frames_survive_any_split(track: u64, mid in "[a-z0-9]{0,16}", ssrc: Option<u32>, cut in 0usize..200) {
        let sent = [publish(track, &mid, ssrc), publish(track ^ 1, "", None)];
        let mut wire = BytesMut::new();
        for message in &sent {
            encode(message, &mut wire);
        }
        let tail = wire.split_off(cut.min(wire.len()));
        let mut got = Vec::new();
        let mut input = wire;
        while let Some(message) = decode::<ToDataPlane>(&mut input).unwrap() {
            got.push(message);
        }
        input.unsplit(tail);
        while let Some(message) = decode::<ToDataPlane>(&mut input).unwrap() {
            got.push(message);
        }
        prop_assert_eq!(got, sent);
        prop_assert!(input.is_empty());
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut input = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = decode::<ToDataPlane>(&mut input) {}
    }
}

#[test]
fn an_overlong_frame_is_refused_before_it_is_buffered() {
    let mut input = BytesMut::new();
    input.put_u32(MAX_FRAME_LEN as u32 + 1);
    assert!(matches!(decode::<ToDataPlane>(&mut input), Err(FrameError::TooLong(_))));
}

/// A command of a later version: tag 99 is unknown here and must be skipped, leaving the request id to answer.
#[derive(Clone, PartialEq, Message)]
struct FromTheFuture {
    #[prost(uint64, tag = "1")]
    request_id: u64,
    #[prost(message, optional, tag = "99")]
    command: Option<CreateTransport>,
}

#[test]
fn a_later_versions_command_keeps_its_request_id() {
    let mut wire = BytesMut::new();
    encode(&FromTheFuture { request_id: 41, command: Some(CreateTransport::default()) }, &mut wire);
    let got = decode::<ToDataPlane>(&mut wire).unwrap().unwrap();
    assert_eq!((got.request_id, got.command), (41, None));
}

#[test]
fn a_failure_reads_as_a_sentence() {
    let failure = Failure::new(ErrorCode::NotFound, "track 7");
    assert_eq!(failure.to_string(), "NotFound: track 7");
    let reply =
        FromDataPlane { message: Some(Body::Reply(Reply { request_id: 1, outcome: Some(Outcome::Done(Done {})) })) };
    let mut wire = BytesMut::new();
    encode(&reply, &mut wire);
    assert_eq!(decode::<FromDataPlane>(&mut wire).unwrap(), Some(reply));
}
