//! What the bench and its gates share: a shard with one publisher and many subscribers, driven with real SRTP
//! packets and no network in between, and the floor that it is held against.

#![forbid(unsafe_code)]

pub mod floor;
pub mod rig;
