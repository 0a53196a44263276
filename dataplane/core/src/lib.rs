//! Millrace's packet core: one shard of an SFU, without sockets, threads, clocks or ambient randomness.
//!
//! A [`Shard`] takes datagrams, commands, handshake results, messages of other shards and the time, and gives
//! datagrams to send ([`TxBatch`]) and [`Output`]s. It is single-threaded and owns everything it touches; the
//! one thing it shares with other shards is the claim table ([`Claims`]). The [`Registry`] checks commands
//! once for all shards of a process. That a shard is a plain value is what lets a whole call run in a seeded
//! simulator in milliseconds.

#![forbid(unsafe_code)]

pub mod buffer;
mod bwe;
mod egress;
mod ice;
mod ingress;
mod io;
mod registry;
mod shard;
pub mod srtp;
mod stats;
mod time;
mod timers;
mod transport;
mod tx;
pub mod wire;

pub use buffer::{BufferId, Pool};
pub use io::{
    Bytes1500, Claims, Datagram, HandshakeInput, MAX_DATAGRAM, Output, Path, PeerMessage, ShardCommand, ShardSnapshot,
    SrtpKeys,
};
pub use registry::{Applied, MAX_SUBSCRIPTIONS_PER_TRANSPORT, MAX_TRACKS_PER_TRANSPORT, Registry, RegistryLimits};
pub use shard::{Limits, Shard, ShardConfig};
pub use stats::DropReason;
pub use time::{Duration, Instant};
pub use tx::{MAX_RUN_BYTES, MAX_SEGMENTS, TxBatch, TxRun};
