//! The load client: publishers and subscribers in one process on one core, the same for every server. Handshakes are
//! those of an independent implementation (webrtc-dtls). Every packet received is counted and timed by its header;
//! what is in it is checked with an independent SRTP (webrtc-srtp) on a sample, because opening all of them would
//! cost more than what is measured.

mod inbound;
mod load;
mod path;
mod publisher;
mod relay;
mod session;
mod traffic;
mod wire;

pub use load::{Load, Seen};
pub use path::{CLIENT_PORT, Keys, Role, Timing, connect, session_address};
pub use relay::{RelayPlan, join_relay, plain_keys, relay};
pub use session::Identity;
pub use traffic::{AUDIO_PER_SECOND, VIDEO_BITS_PER_SECOND, VIDEO_FRAMES_PER_SECOND};
pub use wire::Intake;
