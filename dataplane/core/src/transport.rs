//! One client path that this shard has claimed: where it is, what protects it, and what is due on it.

use dataplane_protocol::{SrtpProfile, SubscriptionId, TransportEvent, TransportId, TransportInfo, TransportState};

use crate::bwe::Downlink;
use crate::ice::Paths;
use crate::ingress::feedback::TransportFeedback;
use crate::io::SrtpKeys;
use crate::srtp::{Inbound, Outbound, SrtpError};
use crate::time::{Duration, Instant};

/// Receiver and sender reports: RFC 3550 6.2's five seconds are for multicast; browsers send every second.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// SSRCs that may be bound to tracks on one transport: audio, video, their repairs, and one restart of each.
pub(crate) const MAX_BINDINGS: usize = 16;

/// A claimed transport.
pub(crate) struct Transport {
    pub(crate) paths: Paths,
    pub(crate) state: TransportState,
    pub(crate) profile: SrtpProfile,
    pub(crate) inbound: Option<Inbound>,
    pub(crate) outbound: Option<Outbound>,
    /// Which incoming SSRC is which track.
    pub(crate) bindings: Vec<Binding>,
    /// Which outgoing SSRC is which subscription.
    pub(crate) sending: Vec<Sending>,
    pub(crate) feedback: TransportFeedback,
    pub(crate) downlink: Downlink,
    /// Transport-wide sequence number of the next datagram with media.
    pub(crate) transport_sequence: u16,
    /// Our SSRC as a receiver of the client's media.
    pub(crate) receiver_ssrc: u32,
    pub(crate) report_due: Instant,
    /// Publisher's wall clock to ours, in microseconds: what to add to its NTP time.
    pub(crate) clock_offset: Option<i64>,
    pub(crate) detail: String,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) packets_sent: u64,
}

/// An incoming SSRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) ssrc: u32,
    /// Key of the track.
    pub(crate) track: usize,
    /// Whether it is the track's RFC 4588 stream.
    pub(crate) repair: bool,
}

/// An outgoing SSRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sending {
    pub(crate) ssrc: u32,
    /// Key of the track.
    pub(crate) track: usize,
    pub(crate) subscription: SubscriptionId,
}

/// Without its keys.
impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("state", &self.state).field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Transport {
    pub(crate) fn new(now: Instant, receiver_ssrc: u32) -> Self {
        Self {
            paths: Paths::default(),
            state: TransportState::Connecting,
            profile: SrtpProfile::None,
            inbound: None,
            outbound: None,
            bindings: Vec::with_capacity(MAX_BINDINGS),
            sending: Vec::new(),
            feedback: TransportFeedback::default(),
            downlink: Downlink::default(),
            transport_sequence: 0,
            receiver_ssrc,
            report_due: now + REPORT_INTERVAL,
            clock_offset: None,
            detail: String::new(),
            bytes_received: 0,
            bytes_sent: 0,
            packets_received: 0,
            packets_sent: 0,
        }
    }

    /// Installs the keys of a finished handshake.
    ///
    /// # Errors
    /// [`SrtpError::BadKey`] if they do not fit the profile.
    pub(crate) fn set_keys(&mut self, keys: &SrtpKeys) -> Result<(), SrtpError> {
        self.inbound = Some(Inbound::new(keys.profile, &keys.remote_key, &keys.remote_salt)?);
        self.outbound = Some(Outbound::new(keys.profile, &keys.local_key, &keys.local_salt)?);
        self.profile = keys.profile;
        self.state = TransportState::Connected;
        Ok(())
    }

    /// Whether media may be sent: keys are there, and the client consents.
    pub(crate) fn is_connected(&self) -> bool {
        self.state == TransportState::Connected
    }

    /// Which track an incoming SSRC belongs to.
    pub(crate) fn binding(&self, ssrc: u32) -> Option<Binding> {
        self.bindings.iter().find(|binding| binding.ssrc == ssrc).copied()
    }

    /// Takes in the publisher's wall clock: its NTP time (as microseconds since 1970) came in a report that
    /// arrived at `unix_micros` of ours. Gives the moment in our clock at which the report was made.
    ///
    /// The smallest difference is the one with the least delay in it. It is followed down at once and up
    /// slowly, so that a drifting clock is followed and a late report is not.
    pub(crate) fn align_clock(&mut self, sender_unix_micros: u64, unix_micros: u64) -> u64 {
        let offset = unix_micros as i64 - sender_unix_micros as i64;
        let aligned = match self.clock_offset {
            Some(known) if offset > known && offset - known < 10_000_000 => known + (offset - known) / 64,
            _ => offset,
        };
        self.clock_offset = Some(aligned);
        sender_unix_micros.saturating_add_signed(aligned)
    }

    /// The event that tells of its state.
    pub(crate) fn event(&self, id: TransportId) -> TransportEvent {
        TransportEvent {
            transport: id.0,
            state: self.state as i32,
            remote_address: self.remote_address(),
            srtp_profile: self.profile as i32,
            detail: self.detail.clone(),
        }
    }

    /// For a snapshot.
    pub(crate) fn info(&self, id: TransportId, worker: u32) -> TransportInfo {
        TransportInfo {
            transport: id.0,
            label: String::new(),
            state: self.state as i32,
            worker: Some(worker),
            remote_address: self.remote_address(),
            srtp_profile: self.profile as i32,
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            packets_received: self.packets_received,
            packets_sent: self.packets_sent,
            ice_ufrag: String::new(),
        }
    }

    fn remote_address(&self) -> String {
        self.paths.selected().map_or_else(String::new, |path| path.remote.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_delayed_report_sets_the_clock_and_drift_is_followed() {
        let mut transport = Transport::new(Instant::default(), 1);
        // The sender's clock is 5 s behind; delays of 30, 10 and 50 ms.
        let sent = |n: u64| 1_700_000_000_000_000 + n * 1_000_000;
        let arrive = |n, delay| sent(n) + 5_000_000 + delay;
        assert_eq!(transport.align_clock(sent(0), arrive(0, 30_000)), arrive(0, 30_000));
        assert_eq!(transport.align_clock(sent(1), arrive(1, 10_000)), arrive(1, 10_000));
        let third = transport.align_clock(sent(2), arrive(2, 50_000));
        assert!(third < arrive(2, 11_000), "a late report moves it by a 64th only");
        // A stepped clock is taken as it is.
        assert_eq!(transport.align_clock(sent(3) - 60_000_000, arrive(3, 0)), arrive(3, 0));
    }
}
