//! Names that the data plane gives back.

/// Longest label of the contract, in bytes.
const MAX_LABEL: usize = 256;
/// Longest CNAME of the contract, in bytes.
const MAX_CNAME: usize = 64;

/// The label of a transport, track or subscription: `room/participant/stream`.
pub fn label(room: &str, participant: &str, stream: &str) -> String {
    let mut label = format!("{room}/{participant}/{stream}");
    label.truncate(floor(&label, MAX_LABEL));
    label
}

/// The CNAME under which the tracks of a stream reach its subscribers.
pub fn cname(stream: &str) -> &str {
    &stream[..floor(stream, MAX_CNAME)]
}

/// The last character boundary at or before `limit`.
fn floor(text: &str, limit: usize) -> usize {
    (0..=limit.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}
