//! OpenVidu 2 as its clients speak it: REST for the application, JSON-RPC over a WebSocket for participants.

mod rest;
mod rpc;
mod tls;

pub(crate) use rest::{Rest, RestError};
pub(crate) use rpc::{Incoming, Rpc, RpcError};
pub(crate) use tls::Trust;
