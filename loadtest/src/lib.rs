//! Bots against an SFU, on a WebRTC stack that shares no line with Millrace's own: stun, webrtc-dtls,
//! webrtc-srtp, rtp and rtcp. It imports nothing of the workspace, so that it measures any SFU alike and what
//! it agrees on with Millrace is agreed on by two implementations.
//!
//! A [`Peer`] is one end of one peer connection: it checks its path to an ICE-lite server, does the DTLS
//! handshake as client, and sends and receives RTP. Tests of single calls use it. The program (see [`cli`]) has peer
//! connections of its own, of which thousands run on a few threads, and speaks OpenVidu's REST and signalling.

#![forbid(unsafe_code)]

mod bot;
mod checks;
pub mod cli;
pub mod histogram;
pub mod impair;
mod keys;
mod live;
mod media;
mod openvidu;
pub mod options;
mod outcome;
mod peer;
mod recorder;
mod report;
mod run;
mod sampler;
mod sdp;
mod server;
mod socket;
mod stage;
pub mod threshold;
pub mod units;

pub use peer::{Identity, Offer, Packet, Peer, PeerError};
pub use webrtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
