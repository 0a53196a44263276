//! `webRtcStats=true`: what is known of each path that media takes, besides whose it is.

use std::net::SocketAddr;

use controlplane_room::Participant;
use serde_json::{Map, Value, json};

use crate::openvidu::addresses::Addresses;
use crate::openvidu::endpoints::Endpoint;
use crate::openvidu::room::Inner;

/// Priority of a peer-reflexive candidate that nobody told us of, as RFC 8445, section 5.1.2, recommends it.
const PEER_REFLEXIVE_PRIORITY: u32 = (110 << 24) + (65_535 << 8) + 255;

/// Adds to the active ones of these Connections what is known of their media paths.
pub(super) fn add(connections: &mut [Value], inner: &Inner, addresses: &Addresses) {
    for connection in connections {
        let participant = connection["id"].as_str().and_then(|id| inner.room.participant(id));
        if let Some(participant) = participant {
            add_publisher(connection, participant, inner, addresses);
            add_subscribers(connection, participant, inner, addresses);
        }
    }
}

fn add_publisher(connection: &mut Value, participant: &Participant, inner: &Inner, addresses: &Addresses) {
    let Some(stream) = &participant.stream else { return };
    let endpoint = inner.endpoints.get(&participant.id, &participant.id);
    if let Some(Value::Object(publisher)) = connection.pointer_mut("/publishers/0") {
        extend(publisher, &stream.id, endpoint, addresses.get(&stream.transport));
    }
}

fn add_subscribers(connection: &mut Value, participant: &Participant, inner: &Inner, addresses: &Addresses) {
    let Some(subscribers) = connection.get_mut("subscribers").and_then(Value::as_array_mut) else { return };
    for (subscriber, subscription) in subscribers.iter_mut().zip(participant.subscriptions.iter()) {
        let name = format!("{}_{}", participant.id, subscription.stream);
        let publisher = inner.room.publisher_of(&subscription.stream);
        let endpoint = publisher.and_then(|publisher| inner.endpoints.get(&participant.id, &publisher.id));
        if let Value::Object(subscriber) = subscriber {
            extend(subscriber, &name, endpoint, addresses.get(&subscription.transport));
        }
    }
}

/// The members stand between the time of creation and the rest.
fn extend(object: &mut Map<String, Value>, name: &str, endpoint: Option<&Endpoint>, remote: Option<&SocketAddr>) {
    let unknown = Endpoint::default();
    let endpoint = endpoint.unwrap_or(&unknown);
    let local_sdp = endpoint.local_sdp.as_deref();
    let theirs: Vec<Value> = endpoint
        .candidates
        .iter()
        .map(|told| json!({"candidate": told.candidate, "sdpMid": told.mid, "sdpMLineIndex": told.line}))
        .collect();
    let told = endpoint.candidates.iter().map(|told| told.candidate.as_str());
    let written = candidate_lines(endpoint.remote_sdp.as_deref());
    let remote_candidate =
        remote.map(|remote| remote_candidate(*remote, told.chain(written.iter().map(|line| line.candidate))));
    let own = candidate_lines(local_sdp);
    let local_candidate = remote.and_then(|remote| {
        let fits = |line: &&Line<'_>| address(line.candidate).is_some_and(|own| own.is_ipv4() == remote.is_ipv4());
        own.iter().find(fits).map(|line| line.candidate)
    });
    let ours: Vec<Value> = own
        .iter()
        .map(|line| json!({"candidate": line.candidate, "sdpMid": line.mid, "sdpMLineIndex": line.index}))
        .collect();
    let rest = std::mem::take(object);
    let added = json!({
        "createdAt": rest.get("createdAt"),
        "webrtcEndpointName": name,
        "remoteSdp": endpoint.remote_sdp.as_deref(),
        "localSdp": local_sdp,
        "clientIceCandidates": theirs,
        "serverIceCandidates": ours,
        "localCandidate": local_candidate,
        "remoteCandidate": remote_candidate,
        "events": [],
    });
    if let Value::Object(added) = added {
        object.extend(added);
    }
    object.extend(rest.into_iter().filter(|(member, _)| member != "createdAt"));
}

/// The client's candidate with this address, or, when it told of none, what can be said of it.
fn remote_candidate<'a>(remote: SocketAddr, mut told: impl Iterator<Item = &'a str>) -> String {
    let is_it = |line: &&str| address(line) == Some(remote);
    told.find(is_it).map_or_else(
        || {
            let (ip, port) = (remote.ip(), remote.port());
            format!("candidate:0 1 udp {PEER_REFLEXIVE_PRIORITY} {ip} {port} typ prflx")
        },
        str::to_owned,
    )
}

/// Where a candidate line points to.
fn address(candidate: &str) -> Option<SocketAddr> {
    let mut words = candidate.split_ascii_whitespace().skip(4);
    Some(SocketAddr::new(words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// A candidate line of a session description.
struct Line<'a> {
    candidate: &'a str,
    mid: &'a str,
    index: usize,
}

fn candidate_lines(sdp: Option<&str>) -> Vec<Line<'_>> {
    let sections = sdp.unwrap_or_default().split("\nm=").skip(1);
    let lines = sections.enumerate().flat_map(|(index, section)| {
        let mid = section.lines().find_map(|line| line.strip_prefix("a=mid:")).unwrap_or_default().trim();
        let candidates = section.lines().filter_map(|line| line.strip_prefix("a=").map(str::trim_end));
        let candidates = candidates.filter(|line| line.starts_with("candidate:"));
        candidates.map(move |candidate| Line { candidate, mid, index })
    });
    lines.collect()
}
