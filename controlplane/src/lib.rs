//! Millrace's control plane: OpenVidu 2 REST and signalling over the room model, SDP, and the data plane's client.

#![forbid(unsafe_code)]

pub mod sdp;
