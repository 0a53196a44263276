//! Millrace's control plane: OpenVidu's REST API and signalling, SDP, and the data plane's client.
//!
//! [`app::App`] puts the parts together; everything it needs is an argument, so that tests run whole servers in
//! one process.

#![forbid(unsafe_code)]

pub mod app;
pub mod cdr;
pub mod config;
pub mod dataplane;
pub mod error;
pub mod eventlog;
pub mod metrics;
pub mod openvidu;
mod page;
pub mod sdp;
pub mod store;
pub mod tls;
pub mod webhook;
