//! What the bench and its gates share: a shard with publishers and subscribers, driven with real SRTP packets and no
//! network in between, the floors that it is held against, a server of both processes for what is measured over sockets,
//! and the report that all benches write.

#![forbid(unsafe_code)]

pub mod cable;
pub mod clock;
pub mod cost;
pub mod curves;
pub mod drivers;
pub mod fanout;
pub mod floor;
pub mod gates;
pub mod memory;
pub mod report;
pub mod rig;
pub mod server;
pub mod wire;

/// Why a measurement could not be made.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
