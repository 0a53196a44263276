//! How a call to the data plane fails.

use dataplane_protocol::Failure;

/// Why a command has no success to show.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// There is no connection now. Nothing was sent.
    #[error("the data plane is not connected")]
    NotConnected,
    /// The connection ended before the reply came: the command may or may not have been carried out.
    #[error("the connection to the data plane ended before its reply")]
    Interrupted,
    /// No reply in time: the command may or may not have been carried out.
    #[error("the data plane did not reply in time")]
    TimedOut,
    /// The data plane refused the command, and changed nothing.
    #[error("the data plane refused: {0}")]
    Refused(Failure),
    /// The reply is of a kind that does not fit the command, or that this version does not know.
    #[error("the data plane's reply does not fit the command")]
    UnexpectedReply,
}
