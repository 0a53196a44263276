//! The one contract between Millrace's two processes.
//!
//! The control plane sends [`ToDataPlane`] frames and reads [`FromDataPlane`] frames over a Unix stream
//! socket. Every command carries a `request_id` of the sender's choice and is answered by exactly one
//! [`Reply`] with that id, on the same connection; events go to every connection that said hello.
//!
//! Messages only ever grow: fields are optional and numbered, numbers are never reused, an unknown field
//! is skipped, an unknown command is answered by [`ErrorCode::Unsupported`]. The crate does no I/O.

#![forbid(unsafe_code)]

mod command;
mod error;
mod event;
mod frame;
mod ids;
mod types;

pub use command::{
    Command, CreateTransport, Hello, Publish, RemoveTransport, Retarget, SetRemote, SnapshotRequest, StatsRequest,
    Subscribe, ToDataPlane, Unpublish, Unsubscribe,
};
pub use error::{ErrorCode, Failure};
pub use event::{
    Done, DropCount, Event, FromDataPlane, HelloReply, Message, Outcome, Reply, Snapshot, Stats, SubscriptionInfo,
    TrackInfo, TransportEvent, TransportInfo, TransportState, WorkerStats,
};
pub use frame::{FrameError, MAX_FRAME_LEN, decode, encode};
pub use ids::{SubscriptionId, TrackId, TransportId};
pub use types::{
    Candidate, Codec, CodecParameters, DtlsRole, ExtensionKind, Fingerprint, HeaderExtension, MediaKind,
    RemoteParameters, SrtpProfile,
};

/// The contract's version, exchanged in [`Hello`] and [`HelloReply`]. It grows when a command is added, so
/// that a peer can tell what the other understands; it never gates decoding.
pub const VERSION: u32 = 2;

#[cfg(test)]
mod tests;
