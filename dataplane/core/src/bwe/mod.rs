//! What subscribers tell about their downlink. Nothing is estimated from it yet: a track has one layer, and
//! it is sent whatever the downlink carries. The seam is here so that an estimator gets its input in one
//! place: every transport-wide feedback packet and REMB of a subscriber's transport.

/// What a subscriber's transport has reported.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Downlink {
    /// Transport-wide feedback packets received.
    pub(crate) feedback: u64,
    /// The last receiver estimate, in bits per second; 0 before the first.
    pub(crate) remb_bps: u64,
}
