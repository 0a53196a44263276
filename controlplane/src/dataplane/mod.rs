//! The data plane as the control plane sees it: the only user of its Unix socket.
//!
//! [`Client`] keeps one connection alive in the background and pipelines commands over it; [`resync`](Holdings) tells,
//! after each connection, what the data plane holds already; [`Placement`] decides which data plane serves a room.

mod client;
mod connection;
mod error;
mod placement;
mod resync;

pub use client::{Client, Notice};
pub use error::CallError;
pub use placement::Placement;
pub use resync::Holdings;

#[cfg(test)]
mod tests;
