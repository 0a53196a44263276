use bytes::BytesMut;
use dataplane_protocol::{FromDataPlane, MAX_FRAME_LEN, ToDataPlane, decode, encode};

/// Frames of the control socket, both ways: what decodes is encoded and decoded again without a change, and it does
/// not matter in which pieces a stream arrives.
pub fn control_frames(data: &[u8]) {
    let commands = |input: &mut BytesMut| decode::<ToDataPlane>(input);
    let answers = |input: &mut BytesMut| decode::<FromDataPlane>(input);
    for message in stream(data, commands) {
        let mut bytes = BytesMut::new();
        encode(&message, &mut bytes);
        assert_eq!(commands(&mut bytes).ok().flatten().as_ref(), Some(&message));
        assert!(bytes.is_empty());
    }
    for message in stream(data, answers) {
        let mut bytes = BytesMut::new();
        encode(&message, &mut bytes);
        assert_eq!(answers(&mut bytes).ok().flatten().as_ref(), Some(&message));
        assert!(bytes.is_empty());
    }
    // The input as one whole frame reaches the messages more often than as a stream.
    if let Ok(len) = u32::try_from(data.len())
        && data.len() < MAX_FRAME_LEN
    {
        let framed = [&len.to_be_bytes(), data].concat();
        assert!(stream(&framed, commands).len() <= 1);
        assert!(stream(&framed, answers).len() <= 1);
    }
}

/// All messages of a stream up to its end or first error, which are the same when it arrives byte by byte.
fn stream<M: PartialEq + std::fmt::Debug, E>(
    data: &[u8],
    decode: impl Fn(&mut BytesMut) -> Result<Option<M>, E>,
) -> Vec<M> {
    let mut input = BytesMut::from(data);
    let mut whole = Vec::new();
    while let Ok(Some(message)) = decode(&mut input) {
        whole.push(message);
    }
    let mut input = BytesMut::new();
    let mut pieces = Vec::new();
    'bytes: for byte in data {
        input.extend_from_slice(&[*byte]);
        loop {
            match decode(&mut input) {
                Ok(Some(message)) => pieces.push(message),
                Ok(None) => break,
                Err(_) => break 'bytes,
            }
        }
    }
    assert_eq!(whole, pieces);
    whole
}
