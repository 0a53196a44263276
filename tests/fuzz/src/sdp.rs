use dataplane_protocol::{Candidate, ExtensionKind, Fingerprint, MediaKind};
use millrace_controlplane::sdp::{
    Direction, LocalTransport, Policy, PublishPlan, accept_answer, answer_publish, answer_subscribe, negotiate_publish,
    negotiate_subscribe, offer_subscribe,
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
    layers(&plan);
    assert!(plan.echo.is_empty());
    looped(&text, &plan, &local, &mut ssrcs);
    let (offer, subscribed) = offer_subscribe(&plan.media, &local, "cname", "stream", &mut ssrcs);
    well_formed(&offer);
    assert!(!offer.contains("\r\na=rid:") && !offer.contains("rtp-stream-id"));
    assert_eq!(subscribed.media.len(), plan.media.len());
    if let Err(error) = negotiate_publish(&offer, &policy, &mut ssrcs) {
        panic!("our own offer is refused: {error}\n{offer}");
    }
    let _ = accept_answer(&subscribed, &text);
    if let Ok(answered) = negotiate_subscribe(&text, &plan.media, &mut ssrcs) {
        well_formed(&answer_subscribe(&answered, &local, "cname", "stream"));
    }
}

/// Layers are a few, each with a name of its own, told apart by mid and rid, and by nothing else.
fn layers(plan: &PublishPlan) {
    for media in &plan.media {
        let rids = &media.rids;
        assert!(rids.len() <= 4 && rids.iter().all(|rid| (1..=16).contains(&rid.len())));
        assert!(rids.iter().enumerate().all(|(i, rid)| !rids[..i].contains(rid)));
        let has = |kind| media.extensions.iter().any(|extension| extension.kind() == kind);
        assert_eq!(has(ExtensionKind::Rid), !rids.is_empty());
        if !rids.is_empty() {
            assert!(media.kind == MediaKind::Video && media.ssrc.is_none() && media.rtx_ssrc.is_none());
            assert!(!media.mid.is_empty() && has(ExtensionKind::Mid));
            assert!(media.codec.rtx_payload_type.is_none() || has(ExtensionKind::RepairedRid));
        }
    }
}

/// With loopback the same is published, and what is both ways comes back, in the same numbering and never in layers.
fn looped(text: &str, plan: &PublishPlan, local: &LocalTransport, ssrcs: &mut dyn FnMut() -> u32) {
    let policy = Policy { forced_video_codec: None, max_video_receive_kbps: 1_000, loopback: true };
    let looped = match negotiate_publish(text, &policy, ssrcs) {
        Ok(looped) => looped,
        Err(error) => panic!("loopback makes a difference: {error}"),
    };
    assert_eq!(looped.media, plan.media);
    let sources: Vec<_> = looped.echo.iter().map(|echo| echo.source).collect();
    let both_ways = |i: &usize| looped.media[*i].direction == Direction::SendRecv;
    assert_eq!(sources, (0..looped.media.len()).filter(both_ways).collect::<Vec<_>>());
    for echo in &looped.echo {
        let media = &looped.media[echo.source];
        assert_eq!((&echo.codec, &echo.mid), (&media.codec, &media.mid));
        assert_eq!(echo.rtx_ssrc.is_some(), echo.codec.rtx_payload_type.is_some());
        let rid = |kind| matches!(kind, ExtensionKind::Rid | ExtensionKind::RepairedRid);
        assert!(echo.extensions.iter().all(|e| media.extensions.contains(e) && !rid(e.kind())));
    }
    let answer = answer_publish(&looped, local);
    well_formed(&answer);
    assert_eq!(answer.matches("\r\na=sendrecv\r\n").count(), looped.echo.len());
}

/// RFC 8866 5: lines of `x=value` ended by CRLF, and no byte in them that ends a line elsewhere.
fn well_formed(text: &str) {
    assert!(text.starts_with("v=0\r\n") && text.ends_with("\r\n"));
    for line in text.trim_end_matches("\r\n").split("\r\n") {
        assert!(line.len() > 2 && line.as_bytes()[1] == b'=', "{line:?}");
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
    }
}
