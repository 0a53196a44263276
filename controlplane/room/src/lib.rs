//! The room model: sessions as a pure function from inputs to effects.
//!
//! A [`Room`] applies one [`Input`] at a time and returns its [`Effect`]s as a list, so that the order in which
//! participants hear of things is a property of this code and not of the tasks that carry it out. Time arrives as
//! an argument, ids come from an [`Ids`] source, and the data plane is reached only through [`Effect::Run`]:
//! whoever runs the commands tells the room how they ended with [`Input::Ran`]. The words are neutral (room,
//! participant, stream, track); what OpenVidu calls them is the adapter's business.

#![forbid(unsafe_code)]

mod command;
mod effect;
mod error;
mod event;
mod input;
mod media;
mod participant;
mod publish;
mod room;
mod roster;
mod saved;
mod subscribe;
mod subscriptions;
mod view;

pub use effect::{Effect, EndReason, Notice, Reply, Run, StreamProperty};
pub use error::{Error, MediaError};
pub use event::{Event, Media, Person};
pub use input::{
    Admission, Grant, Hidden, IceCredentials, Ids, Input, Join, Origin, Publication, PublishedTrack, Role,
    StreamDescription, SubscribedTrack, Subscription,
};
pub use participant::{Invite, Participant, Stream, StreamTrack};
pub use room::{RECONNECTION_WINDOW_MS, Room, SOCKET_CLOSE_DELAY_MS};
pub use saved::{Held, Part, Receipt, Saved};
pub use subscriptions::{SubscriptionState, Subscriptions};
pub use view::{cname, label};

#[cfg(test)]
mod tests;
