//! What tests across crates share.

#![forbid(unsafe_code)]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "what fails here is a failing test")]

pub mod sim;
