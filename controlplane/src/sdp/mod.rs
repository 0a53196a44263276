//! SDP: pure functions between session descriptions and the data plane's types.
//!
//! Publishing: [`negotiate_publish`] reads the client's offer, [`answer_publish`] writes the answer. Subscribing has two
//! forms: the client offers ([`negotiate_subscribe`], [`answer_subscribe`]) or the server does ([`offer_subscribe`],
//! [`accept_answer`]). A negotiation gives a plan; what the control plane needs of it is public, the rest is kept for
//! writing the answer in the offer's order. Ids, credentials and randomness are arguments: the same input gives the
//! same text. Nothing here panics on any input, and every error names the m-line and attribute at fault.

mod codec;
mod error;
mod extension;
mod parse;
mod publish;
mod server_offer;
mod simulcast;
mod subscribe;
mod types;
mod write;

pub use error::SdpError;
pub use publish::{answer_publish, negotiate_publish};
pub use server_offer::{accept_answer, offer_subscribe};
pub use subscribe::{answer_subscribe, negotiate_subscribe};
pub use types::{
    Direction, LocalTransport, Policy, PublishPlan, PublishedMedia, SubscribePlan, SubscribedMedia, VideoCodec,
};

#[cfg(test)]
mod tests;
