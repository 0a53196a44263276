//! What was said when media paths were agreed on, kept for whoever looks into them by `webRtcStats=true`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use controlplane_room::Room;

/// Longest session description that is kept, in bytes.
const MAX_SDP: usize = 16 << 10;
/// Candidates kept per endpoint: the last ones.
const MAX_CANDIDATES: usize = 32;
/// Longest candidate that is kept, in bytes.
const MAX_CANDIDATE: usize = 512;

/// One path of a participant: its own stream, or somebody's that it receives.
#[derive(Clone, Debug, Default)]
pub(super) struct Endpoint {
    /// What the client said.
    pub(super) remote_sdp: Option<Arc<str>>,
    /// What we said.
    pub(super) local_sdp: Option<Arc<str>>,
    /// What the client trickled.
    pub(super) candidates: VecDeque<ClientCandidate>,
}

/// A candidate of a client, as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientCandidate {
    pub(super) candidate: String,
    pub(super) mid: String,
    pub(super) line: i64,
}

/// The endpoints of a room: by participant, then by the participant whose stream it is.
#[derive(Debug, Default)]
pub(super) struct Endpoints(HashMap<String, HashMap<String, Endpoint>>);

impl Endpoints {
    pub(super) fn get(&self, participant: &str, publisher: &str) -> Option<&Endpoint> {
        self.0.get(participant)?.get(publisher)
    }

    /// Keeps what the client said.
    pub(super) fn remote(&mut self, participant: &str, publisher: &str, sdp: &str) {
        self.entry(participant, publisher).remote_sdp = kept(sdp);
    }

    /// Keeps what we said.
    pub(super) fn local(&mut self, participant: &str, publisher: &str, sdp: &str) {
        self.entry(participant, publisher).local_sdp = kept(sdp);
    }

    /// Keeps a candidate of the client. `publisher` must be in the room: that is what bounds them.
    pub(super) fn candidate(&mut self, participant: &str, publisher: &str, candidate: ClientCandidate) {
        if candidate.candidate.len() + candidate.mid.len() > MAX_CANDIDATE {
            return;
        }
        let candidates = &mut self.entry(participant, publisher).candidates;
        if candidates.len() == MAX_CANDIDATES {
            candidates.pop_front();
        }
        candidates.push_back(candidate);
    }

    /// Forgets what belonged to participants and streams that are gone.
    pub(super) fn sweep(&mut self, room: &Room) {
        self.0.retain(|participant, endpoints| {
            endpoints.retain(|publisher, _| room.participant(publisher).is_some_and(|p| p.stream.is_some()));
            room.participant(participant).is_some() && !endpoints.is_empty()
        });
    }

    fn entry(&mut self, participant: &str, publisher: &str) -> &mut Endpoint {
        self.0.entry(participant.to_owned()).or_default().entry(publisher.to_owned()).or_default()
    }
}

fn kept(sdp: &str) -> Option<Arc<str>> {
    (sdp.len() <= MAX_SDP).then(|| sdp.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let mut endpoints = Endpoints::default();
        endpoints.remote("a", "b", &"x".repeat(MAX_SDP));
        endpoints.local("a", "b", &"x".repeat(MAX_SDP + 1));
        for line in 0..100 {
            let candidate = ClientCandidate { candidate: "c".into(), mid: "0".into(), line };
            endpoints.candidate("a", "b", candidate);
        }
        endpoints.candidate("a", "b", ClientCandidate { candidate: "c".repeat(1000), mid: String::new(), line: 0 });
        let endpoint = endpoints.get("a", "b").unwrap();
        assert!(endpoint.remote_sdp.is_some() && endpoint.local_sdp.is_none());
        assert_eq!(endpoint.candidates.len(), MAX_CANDIDATES);
        assert_eq!(endpoint.candidates.back().unwrap().line, 99);
        endpoints.sweep(&Room::new("r"));
        assert!(endpoints.get("a", "b").is_none());
    }
}
