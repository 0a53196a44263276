//! Plain counters of one shard, read as a copy.

use dataplane_protocol::{DropCount, WorkerStats};

/// Why a datagram or packet was dropped. The names are metric labels and stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum DropReason {
    /// First byte of no protocol we speak (RFC 7983).
    UnknownProtocol,
    /// From an address that no authenticated check came from.
    UnknownPath,
    /// STUN that does not parse, or is no binding request.
    StunMalformed,
    /// STUN without a right FINGERPRINT.
    StunFingerprint,
    /// A binding request for an ICE ufrag that does not exist.
    StunUnknownUser,
    /// A binding request with a wrong MESSAGE-INTEGRITY.
    StunUnauthenticated,
    /// A refused binding request left unanswered because too many were refused this second.
    StunFlood,
    /// A copy of an earlier binding request, from another address.
    StunReplay,
    /// Media before the handshake gave keys.
    NoKeys,
    /// RTP that does not parse.
    RtpMalformed,
    /// RTP for no track of its transport.
    RtpUnknownSsrc,
    /// RTP with a payload type that was not negotiated.
    RtpUnknownPayloadType,
    /// SRTP whose tag does not verify.
    SrtpAuthentication,
    /// SRTP or SRTCP seen before.
    SrtpReplay,
    /// Any other SRTP or SRTCP failure.
    SrtpFailed,
    /// More SSRCs than a transport may have.
    TooManySsrcs,
    /// RTCP that does not parse.
    RtcpMalformed,
    /// A packet that was already there (a retransmission that was not needed).
    Duplicate,
    /// A packet older than the retransmission history.
    TooOld,
    /// A retransmission (RFC 4588) without payload: a probe.
    Padding,
    /// No buffer was free.
    NoBuffer,
    /// Too much was queued for sending.
    QueueFull,
    /// A packet too long to be forwarded with its new header.
    TooLong,
    /// A packet for another worker whose ring was full.
    PeerRingFull,
    /// A message of another worker about something that has just been removed.
    PeerStale,
    /// DTLS for a transport that has ended.
    DtlsUnexpected,
    /// Sending to a client that has not given consent for 30 s.
    NoConsent,
    /// Handling it panicked; its transport has been failed.
    Panic,
}

impl DropReason {
    /// Every reason, in declaration order.
    pub const ALL: [Self; 28] = [
        Self::UnknownProtocol,
        Self::UnknownPath,
        Self::StunMalformed,
        Self::StunFingerprint,
        Self::StunUnknownUser,
        Self::StunUnauthenticated,
        Self::StunFlood,
        Self::StunReplay,
        Self::NoKeys,
        Self::RtpMalformed,
        Self::RtpUnknownSsrc,
        Self::RtpUnknownPayloadType,
        Self::SrtpAuthentication,
        Self::SrtpReplay,
        Self::SrtpFailed,
        Self::TooManySsrcs,
        Self::RtcpMalformed,
        Self::Duplicate,
        Self::TooOld,
        Self::Padding,
        Self::NoBuffer,
        Self::QueueFull,
        Self::TooLong,
        Self::PeerRingFull,
        Self::PeerStale,
        Self::DtlsUnexpected,
        Self::NoConsent,
        Self::Panic,
    ];

    /// Its metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownProtocol => "unknown_protocol",
            Self::UnknownPath => "unknown_path",
            Self::StunMalformed => "stun_malformed",
            Self::StunFingerprint => "stun_fingerprint",
            Self::StunUnknownUser => "stun_unknown_user",
            Self::StunUnauthenticated => "stun_unauthenticated",
            Self::StunFlood => "stun_flood",
            Self::StunReplay => "stun_replay",
            Self::NoKeys => "no_keys",
            Self::RtpMalformed => "rtp_malformed",
            Self::RtpUnknownSsrc => "rtp_unknown_ssrc",
            Self::RtpUnknownPayloadType => "rtp_unknown_payload_type",
            Self::SrtpAuthentication => "srtp_authentication",
            Self::SrtpReplay => "srtp_replay",
            Self::SrtpFailed => "srtp_failed",
            Self::TooManySsrcs => "too_many_ssrcs",
            Self::RtcpMalformed => "rtcp_malformed",
            Self::Duplicate => "duplicate",
            Self::TooOld => "too_old",
            Self::Padding => "padding",
            Self::NoBuffer => "no_buffer",
            Self::QueueFull => "queue_full",
            Self::TooLong => "too_long",
            Self::PeerRingFull => "peer_ring_full",
            Self::PeerStale => "peer_stale",
            Self::DtlsUnexpected => "dtls_unexpected",
            Self::NoConsent => "no_consent",
            Self::Panic => "panic",
        }
    }
}

/// A shard's counters. What its sockets and loop count, the shell adds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) datagrams_received: u64,
    pub(crate) bytes_received: u64,
    pub(crate) rtp_received: u64,
    pub(crate) rtp_forwarded: u64,
    pub(crate) rtp_retransmitted: u64,
    pub(crate) rtcp_received: u64,
    pub(crate) rtcp_sent: u64,
    pub(crate) stun_answered: u64,
    pub(crate) claims: u64,
    pub(crate) cross_media_in: u64,
    pub(crate) cross_media_out: u64,
    pub(crate) cross_datagrams_in: u64,
    pub(crate) cross_datagrams_out: u64,
    pub(crate) panics: u64,
    drops: [u64; DropReason::ALL.len()],
}

impl Counters {
    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    pub(crate) fn to_worker_stats(self, worker: u32, buffers_in_use: usize, high_water: usize) -> WorkerStats {
        let drops = DropReason::ALL
            .iter()
            .zip(self.drops)
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| DropCount { reason: reason.as_str().to_owned(), count })
            .collect();
        WorkerStats {
            worker,
            datagrams_received: self.datagrams_received,
            bytes_received: self.bytes_received,
            rtp_received: self.rtp_received,
            rtp_forwarded: self.rtp_forwarded,
            rtp_retransmitted: self.rtp_retransmitted,
            rtcp_received: self.rtcp_received,
            rtcp_sent: self.rtcp_sent,
            stun_answered: self.stun_answered,
            claims: self.claims,
            cross_media_in: self.cross_media_in,
            cross_media_out: self.cross_media_out,
            cross_datagrams_out: self.cross_datagrams_out,
            cross_datagrams_in: self.cross_datagrams_in,
            drops,
            buffers_in_use: buffers_in_use as u64,
            buffers_high_water: high_water as u64,
            panics: self.panics,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_counts_in_its_own_place_under_its_own_name() {
        for (at, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
        }
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }

    #[test]
    fn only_what_happened_is_reported() {
        let mut counters = Counters::default();
        counters.drop(DropReason::Panic);
        counters.drop(DropReason::Panic);
        let drops = counters.to_worker_stats(0, 0, 0).drops;
        assert_eq!(drops, [DropCount { reason: "panic".to_owned(), count: 2 }]);
    }
}
