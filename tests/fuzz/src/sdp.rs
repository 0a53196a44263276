use dataplane_protocol::{Candidate, Fingerprint};
use millrace_controlplane::sdp::{
    LocalTransport, Policy, accept_answer, answer_publish, answer_subscribe, negotiate_publish, negotiate_subscribe,
    offer_subscribe,
};

/// SDP from clients: an offer that is accepted gives a plan within the protocol's bounds and an answer that is
/// well-formed; what it publishes can be offered to a subscriber, and our own offer is one that we accept.
pub fn sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let local = LocalTransport {
        ice_ufrag: "abcd".to_owned(),
        ice_pwd: "0123456789012345678901".to_owned(),
        fingerprint: Fingerprint { hash: "sha-256".to_owned(), digest: vec![7; 32] },
        candidates: vec![Candidate { address: "192.0.2.1".to_owned(), port: 40_000 }],
        session_id: 1,
    };
    let policy = Policy { forced_video_codec: None, max_video_receive_kbps: 1_000, loopback: false };
    let mut next = 1_000;
    let mut ssrcs = move || {
        next += 1;
        next
    };
    let Ok(plan) = negotiate_publish(&text, &policy, &mut ssrcs) else { return };
    well_formed(&answer_publish(&plan, &local));
    for media in &plan.media {
        assert!(media.mid.len() <= 16 && media.codec.payload_type <= 127);
        assert!(media.extensions.iter().all(|extension| (1..=255).contains(&extension.id)));
    }
    let (offer, subscribed) = offer_subscribe(&plan.media, &local, "cname", "stream", &mut ssrcs);
    well_formed(&offer);
    assert_eq!(subscribed.media.len(), plan.media.len());
    if let Err(error) = negotiate_publish(&offer, &policy, &mut ssrcs) {
        panic!("our own offer is refused: {error}\n{offer}");
    }
    let _ = accept_answer(&subscribed, &text);
    if let Ok(answered) = negotiate_subscribe(&text, &plan.media, &mut ssrcs) {
        well_formed(&answer_subscribe(&answered, &local, "cname", "stream"));
    }
}

/// RFC 8866 5: lines of `x=value` ended by CRLF, and no byte in them that ends a line elsewhere.
fn well_formed(text: &str) {
    assert!(text.starts_with("v=0\r\n") && text.ends_with("\r\n"));
    for line in text.trim_end_matches("\r\n").split("\r\n") {
        assert!(line.len() > 2 && line.as_bytes()[1] == b'=', "{line:?}");
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
    }
}
