//! How an input is refused.

/// Why the data plane did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// Nobody answers on the control socket.
    #[error("the data plane is not connected")]
    Unavailable,
    /// It did not answer in time.
    #[error("the data plane did not answer in time")]
    TimedOut,
    /// It refused, with its own words.
    #[error("the data plane refused: {0}")]
    Refused(String),
    /// It restarted meanwhile and holds nothing of before.
    #[error("the data plane restarted")]
    Restarted,
}

/// Why an input changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The room has ended.
    #[error("the room is closed")]
    Closed,
    /// No unused invitation has this token.
    #[error("the token is not valid")]
    UnknownToken,
    /// The wanted participant id is in use.
    #[error("participant id {0} is taken")]
    IdTaken(String),
    /// Nobody here has this id.
    #[error("participant {0} is not in the room")]
    UnknownParticipant(String),
    /// No published stream has this id.
    #[error("stream {0} is not published")]
    UnknownStream(String),
    /// The participant has no stream.
    #[error("participant {0} is not publishing")]
    NotPublishing(String),
    /// One stream per participant.
    #[error("participant {0} is already publishing")]
    AlreadyPublishing(String),
    /// The role does not allow it.
    #[error("the role does not allow it")]
    Forbidden,
    /// A participant cannot subscribe to its own stream.
    #[error("a participant cannot subscribe to itself")]
    OwnStream,
    /// An answer came without an offer.
    #[error("no subscription to stream {0} was prepared")]
    NotPrepared(String),
    /// The same participant asked for something else meanwhile that takes its place.
    #[error("a later request took its place")]
    Overtaken,
    /// The data plane failed.
    #[error(transparent)]
    Media(#[from] MediaError),
}
