//! What a room wants done.

use dataplane_protocol::Command;

use crate::error::Error;
use crate::event::Event;
use crate::input::Role;

/// Why something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The participant left.
    Left,
    /// Its socket was lost and did not come back in time.
    NetworkLost,
    /// A moderator removed it.
    ExpelledByModerator,
    /// The application removed it.
    RemovedByApplication,
    /// The application closed the room.
    RoomClosedByApplication,
    /// The server stops.
    ServerStopping,
    /// The publisher ended its stream.
    Unpublished,
    /// A moderator ended the stream.
    UnpublishedByModerator,
    /// The application ended the stream.
    UnpublishedByApplication,
    /// The data plane restarted.
    MediaRestarted,
    /// It was not used. A room with somebody in it does not end for this.
    Unused,
    /// The participant does not want it any more.
    Unsubscribed,
    /// Nobody is left.
    LastParticipantLeft,
}

/// A property of a running stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamProperty {
    /// Muted or not.
    AudioActive(bool),
    /// Muted or not.
    VideoActive(bool),
    /// In the client's own text form.
    VideoDimensions(String),
    /// Anything else, by name; not stored.
    Other(String),
}

/// The answer to the input that is being applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing to tell.
    Done,
    /// To `Invite`.
    Invited {
        /// Who will join with it.
        participant: String,
        /// The secret to join with.
        token: String,
    },
    /// To `Join`; the room's view tells the rest.
    Joined {
        /// Who.
        participant: String,
    },
    /// To `Publish` and `Republish`.
    Published {
        /// The stream.
        stream: String,
        /// Its start, milliseconds since 1970.
        created_at: u64,
    },
    /// To `PrepareSubscribe`.
    Prepared,
    /// To `Subscribe`.
    Subscribed,
}

/// What participants hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Somebody came in; the room's view describes it.
    Joined {
        /// Who.
        participant: String,
    },
    /// Somebody went.
    Left {
        /// Who.
        participant: String,
        /// Why.
        reason: EndReason,
    },
    /// Somebody was removed; also told to who it was.
    Evicted {
        /// Who.
        participant: String,
        /// Why.
        reason: EndReason,
    },
    /// A stream started; the room's view describes it.
    Published {
        /// Whose.
        participant: String,
    },
    /// A stream ended.
    Unpublished {
        /// Whose.
        participant: String,
        /// Why.
        reason: EndReason,
    },
    /// A stream changed.
    StreamChanged {
        /// Whose.
        participant: String,
        /// Which.
        stream: String,
        /// What.
        property: StreamProperty,
        /// The new value.
        value: String,
        /// Why, in the client's own word.
        reason: String,
    },
    /// The participant's own role is another one.
    RoleChanged {
        /// The new one.
        role: Role,
    },
    /// Whether the participant's own streams are recorded has changed.
    RecordChanged {
        /// Whether they are now.
        record: bool,
    },
    /// A text message.
    Signal {
        /// The sender; absent: the application.
        from: Option<String>,
        /// Its kind.
        kind: Option<String>,
        /// Its text.
        data: Option<String>,
    },
}

/// Commands for the data plane, to be sent in order.
///
/// With a number they make something: the first refusal stops the rest, and other runs may overtake them. Without
/// one they change or remove what was made, each whatever becomes of the others; all such runs of a room must reach
/// the data plane in the order in which the room gave them out.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// To be told back with [`crate::Input::Ran`].
    pub op: Option<u64>,
    /// What to send.
    pub commands: Vec<Command>,
}

/// Something to do, in list order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Answer whoever gave the input.
    Reply(Result<Reply, Error>),
    /// Tell participants, who may have just gone.
    Notify {
        /// Who hears it, in order of joining; never empty.
        to: Vec<String>,
        /// What.
        notice: Notice,
    },
    /// Drive the data plane.
    Run(Run),
    /// Keep for the books.
    Event(Event),
    /// The subscription cannot follow its stream: offer it to the participant anew, by
    /// [`crate::Input::PrepareSubscribe`].
    Reoffer {
        /// The subscriber.
        participant: String,
        /// Who publishes.
        publisher: String,
        /// What it publishes.
        stream: String,
    },
    /// The participant has gone: close its socket unless it does so itself in time.
    CloseSocket {
        /// Whose.
        participant: String,
        /// How long to wait for the client, in milliseconds.
        after_ms: u64,
    },
    /// Apply [`crate::Input::Tick`] at this time, or later.
    WakeAt(u64),
    /// The room is over: forget it. No event follows.
    Ended {
        /// Why.
        reason: EndReason,
    },
}
