//! What the bench and its gates share: a shard with one publisher and many subscribers, driven with real SRTP
//! packets and no network in between, and the floor that it is held against; and a server of both processes for what
//! is measured over sockets.

#![forbid(unsafe_code)]

pub mod floor;
pub mod report;
pub mod rig;
pub mod server;

/// Why a measurement could not be made.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
