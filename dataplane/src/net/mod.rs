//! Sockets and system calls: the only place with `unsafe`.
//!
//! Everything above sees datagrams in slots, runs of a [`dataplane_core::TxBatch`], and counters. Which system
//! calls move them (recvmmsg, sendmmsg with `UDP_SEGMENT` or of frames), and which worker's socket the kernel gives one to, is
//! decided here alone.

#![allow(unsafe_code, reason = "recvmmsg, sendmmsg, control messages, getifaddrs and bpf have no safe form")]

mod address;
mod card;
mod interfaces;
mod recv;
mod send;
mod socket;
mod steer;

pub(crate) use card::{Card, Lookup};
pub(crate) use interfaces::own_addresses;
pub use recv::{Received, Receiver, RecvCounters, Slots};
pub use send::{SendCounters, Sender};
pub(crate) use socket::KERNEL_BUFFER;
pub use socket::{MediaSocket, bind_group};
pub(crate) use steer::Steering;

/// Most messages of one recvmmsg or sendmmsg call.
pub const BATCH: usize = 64;

#[cfg(test)]
mod tests;
