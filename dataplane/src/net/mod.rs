//! Sockets and system calls: the only place with `unsafe`.
//!
//! Everything above sees datagrams in slots, runs of a [`dataplane_core::TxBatch`], and counters. Which system
//! calls move them (recvmmsg, sendmmsg with `UDP_SEGMENT`) is decided here alone.

#![allow(unsafe_code, reason = "recvmmsg, sendmmsg, control messages and getifaddrs have no safe form")]

mod address;
mod interfaces;
mod recv;
mod send;
mod socket;

pub(crate) use interfaces::own_addresses;
pub use recv::{Received, Receiver, RecvCounters, Slots};
pub use send::{SendCounters, Sender};
pub(crate) use socket::KERNEL_BUFFER;
pub use socket::{MediaSocket, bind_group};

/// Most messages of one recvmmsg or sendmmsg call.
pub const BATCH: usize = 64;

#[cfg(test)]
mod tests;
