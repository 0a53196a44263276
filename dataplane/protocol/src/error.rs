//! How a command fails.

use prost::{Enumeration, Message};

/// Why a command was refused. A refused command has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enumeration)]
#[repr(i32)]
pub enum ErrorCode {
    /// An error of a kind that this version does not know.
    Unspecified = 0,
    /// The command is unknown to this data plane.
    Unsupported = 1,
    /// A member is missing, out of range or contradicts another; the detail names it.
    Invalid = 2,
    /// The id is not known.
    NotFound = 3,
    /// The id (or ICE ufrag, or SSRC) is taken.
    Exists = 4,
    /// A bounded table is full; the detail names it.
    Full = 5,
    /// `Hello` must come first.
    HelloFirst = 6,
    /// The data plane failed inside; the detail is in its log.
    Internal = 7,
}

/// A refused command's reply.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Failure {
    /// Why.
    #[prost(enumeration = "ErrorCode", tag = "1")]
    pub code: i32,
    /// For a person: names the member or table at fault.
    #[prost(string, tag = "2")]
    pub detail: String,
}

impl Failure {
    /// A failure with its detail.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code: code as i32, detail: detail.into() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.code(), self.detail)
    }
}

impl std::error::Error for Failure {}
