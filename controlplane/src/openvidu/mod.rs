//! The OpenVidu 2 adapter: its REST API, its WebSocket signalling and its words, over the neutral room model.
//! Every quirk of 2.x lives in here and only here.

mod addresses;
pub mod compat;
mod dto;
mod endpoints;
mod events;
mod hearing;
mod hub;
mod info;
mod journal;
mod media;
mod methods;
mod missed;
mod outbox;
mod params;
pub mod rest;
mod room;
pub mod rpc;
mod session;
mod settings;
pub mod ws;

pub use hub::Hub;
pub use settings::Settings;
