//! Simulcast by restriction identifiers: which layers an m-line offers (`a=rid`, RFC 8851; `a=simulcast`, RFC 8853), and
//! which of them are accepted.

use sdp_types::Attribute;
use serde::{Deserialize, Serialize};

use super::error::SdpError;
use super::parse::{MAX_KEPT, values, words};

/// Layers accepted of an m-line; the data plane forwards one of at most four.
pub(super) const MAX_LAYERS: usize = 4;
/// A rid must fit a one-byte header extension (RFC 8285).
const MAX_RID: usize = 16;

/// What an m-line offers to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Simulcast {
    /// `a=rid:… send`, in order.
    rids: Vec<Rid>,
    /// The send list of `a=simulcast`: streams, each with its alternatives.
    streams: Vec<Vec<Layer>>,
}

/// One stream, by its rid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layer {
    pub(super) rid: String,
    /// Announced, but not sent for now (RFC 8853 5.1, `~`).
    pub(super) paused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rid {
    id: String,
    /// Payload types that it may use; empty: all.
    payload_types: Vec<u8>,
}

impl Simulcast {
    /// Reads the attributes of an m-line. What it offers to receive is checked and then left alone.
    pub(super) fn parse(attributes: &[Attribute], place: &str) -> Result<Self, SdpError> {
        let mut all: Vec<(Rid, bool)> = Vec::new();
        for text in values(attributes, "rid") {
            if all.len() >= MAX_KEPT {
                return Err(SdpError::attribute(place, "rid", text, "stands on too many lines of one m-line"));
            }
            let rid = rid(text).map_err(|reason| SdpError::attribute(place, "rid", text, reason))?;
            if all.iter().any(|(known, _)| known.id == rid.0.id) {
                return Err(SdpError::attribute(place, "rid", text, "its name is taken by another line"));
            }
            all.push(rid);
        }
        let rids: Vec<Rid> = all.into_iter().filter_map(|(rid, sends)| sends.then_some(rid)).collect();
        let mut lines = values(attributes, "simulcast");
        let Some(text) = lines.next() else { return Ok(Self { rids, streams: Vec::new() }) };
        let bad = |reason| SdpError::attribute(place, "simulcast", text, reason);
        // RFC 8853 5.1: at most one line.
        if lines.next().is_some() {
            return Err(bad("stands twice on one m-line"));
        }
        let streams = send_list(text).map_err(bad)?;
        if streams.iter().flatten().any(|layer| !rids.iter().any(|rid| rid.id == layer.rid)) {
            return Err(bad("names a layer that no a=rid line sends"));
        }
        Ok(Self { rids, streams })
    }

    /// The layers to take when they are sent with this payload type, in the offer's order: of each stream the first
    /// alternative that may use it, and at most four. A lone rid is a layer too, with or without `a=simulcast`; of
    /// several rids without it only one would be sent, nobody knows which, so that they are no layers.
    pub(super) fn accept(&self, payload_type: u8) -> Vec<Layer> {
        let lone = [self.rids.iter().map(|rid| Layer { rid: rid.id.clone(), paused: false }).collect()];
        let streams: &[Vec<Layer>] =
            if self.streams.is_empty() && self.rids.len() == 1 { &lone } else { &self.streams };
        let fits = |layer: &&Layer| {
            self.rids.iter().any(|rid| {
                rid.id == layer.rid && (rid.payload_types.is_empty() || rid.payload_types.contains(&payload_type))
            })
        };
        streams.iter().filter_map(|alternatives| alternatives.iter().find(fits).cloned()).take(MAX_LAYERS).collect()
    }
}

/// `<id> send|recv [pt=…;restriction=…]`, and whether it sends. Restrictions other than payload types are the sender's
/// own affair: what is forwarded is what arrives.
fn rid(text: &str) -> Result<(Rid, bool), &'static str> {
    let (id, rest) = words(text);
    if !is_rid(id) {
        return Err("must begin with 1 to 16 letters, digits, - or _");
    }
    let (direction, restrictions) = words(rest);
    let sends = match direction {
        "send" => true,
        "recv" => false,
        _ => return Err("its direction must be send or recv"),
    };
    let mut payload_types = Vec::new();
    for list in restrictions.split(';').filter_map(|part| part.trim().strip_prefix("pt=")) {
        for format in list.split(',') {
            let payload_type = format.trim().parse::<u8>().ok().filter(|pt| *pt < 128);
            payload_types.push(payload_type.ok_or("its payload types are not numbers from 0 to 127")?);
        }
    }
    Ok((Rid { id: id.to_owned(), payload_types }, sends))
}

/// The send list of `send <list> [recv <list>]`, in either order.
fn send_list(text: &str) -> Result<Vec<Vec<Layer>>, &'static str> {
    let mut words = text.split_whitespace();
    let mut found: [Option<Vec<Vec<Layer>>>; 2] = [None, None];
    while let Some(direction) = words.next() {
        let index = match direction {
            "send" => 0,
            "recv" => 1,
            _ => return Err("must be lists after send or recv"),
        };
        let list = layers(words.next().ok_or("has a direction without a list")?)?;
        if found[index].replace(list).is_some() {
            return Err("has two lists of one direction");
        }
    }
    let [send, recv] = found;
    if send.is_none() && recv.is_none() {
        return Err("must be lists after send or recv");
    }
    Ok(send.unwrap_or_default())
}

/// `a,b;~c`: streams between semicolons, alternatives between commas.
fn layers(list: &str) -> Result<Vec<Vec<Layer>>, &'static str> {
    let mut seen: Vec<&str> = Vec::new();
    let mut streams = Vec::new();
    for stream in list.split(';') {
        let mut alternatives = Vec::new();
        for name in stream.split(',') {
            let (rid, paused) = name.strip_prefix('~').map_or((name, false), |rid| (rid, true));
            if !is_rid(rid) {
                return Err("names a layer by other than 1 to 16 letters, digits, - or _");
            }
            if seen.len() >= MAX_KEPT {
                return Err("names too many layers");
            }
            if seen.contains(&rid) {
                return Err("names a layer twice");
            }
            seen.push(rid);
            alternatives.push(Layer { rid: rid.to_owned(), paused });
        }
        streams.push(alternatives);
    }
    Ok(streams)
}

/// RFC 8851 10; RFC 8852 has neither `-` nor `_`, but does no harm to who sends them.
fn is_rid(text: &str) -> bool {
    (1..=MAX_RID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
