//! Bots against an SFU, on a WebRTC stack that shares no line with Millrace's own: stun, webrtc-dtls,
//! webrtc-srtp, rtp and rtcp. It imports nothing of the workspace, so that it measures any SFU alike and what
//! it agrees on with Millrace is agreed on by two implementations.
//!
//! A [`Peer`] is one end of one peer connection: it checks its path to an ICE-lite server, does the DTLS
//! handshake as client, and sends and receives RTP.

#![forbid(unsafe_code)]

mod checks;
mod peer;
mod socket;

pub use peer::{Identity, Offer, Packet, Peer, PeerError};
pub use webrtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
