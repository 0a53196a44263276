//! Frames on the stream: a 4-byte big-endian length, then that many bytes of one message.

use bytes::{Buf, BufMut, BytesMut};
use prost::Message;

/// Longest accepted message, in bytes: a snapshot of 10,000 transports with tracks and subscriptions stays
/// below 16 MiB (about 400 bytes each).
pub const MAX_FRAME_LEN: usize = 32 << 20;

/// Length of the prefix.
const PREFIX_LEN: usize = 4;

/// A stream that cannot be read further: close the connection.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The announced length exceeds [`MAX_FRAME_LEN`].
    #[error("frame of {0} bytes exceeds the limit of {MAX_FRAME_LEN}")]
    TooLong(usize),
    /// The message does not decode.
    #[error("frame does not decode: {0}")]
    Malformed(#[from] prost::DecodeError),
}

/// Appends one framed message to `out`.
pub fn encode<M: Message>(message: &M, out: &mut BytesMut) {
    let len = message.encoded_len();
    out.reserve(PREFIX_LEN + len);
    out.put_u32(len as u32);
    // BytesMut grows on demand, so that encoding into it cannot fail.
    let _ = message.encode(out);
}

/// Takes one message from the front of `input`, or `None` until a whole frame is there.
///
/// # Errors
/// [`FrameError`] when the length is out of range or the message does not decode.
pub fn decode<M: Message + Default>(input: &mut BytesMut) -> Result<Option<M>, FrameError> {
    let Some(prefix) = input.first_chunk::<PREFIX_LEN>() else { return Ok(None) };
    let len = u32::from_be_bytes(*prefix) as usize;
    if len > MAX_FRAME_LEN {
        return Err(FrameError::TooLong(len));
    }
    if input.len() < PREFIX_LEN + len {
        return Ok(None);
    }
    input.advance(PREFIX_LEN);
    Ok(Some(M::decode(input.split_to(len))?))
}
