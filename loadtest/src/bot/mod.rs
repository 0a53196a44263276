//! Participants: each joins a room as an unmodified client would, publishes or only watches, and measures what it gets.

mod arrivals;
mod limit;
mod link;
mod media;
mod participant;
mod publisher;
mod reception;
mod rooms;
mod subscriber;

pub(crate) use link::Network;
pub(crate) use participant::{Command, Participant};
pub(crate) use publisher::SendCounts;
pub(crate) use rooms::{Room, Rooms};
pub(crate) use subscriber::Live;
