//! What the data plane answers and tells.

use prost::{Enumeration, Message as ProstMessage, Oneof};

use crate::error::Failure;
use crate::types::{Candidate, Codec, Fingerprint, MediaKind, SrtpProfile};

/// One frame towards the control plane.
#[derive(Clone, PartialEq, ProstMessage)]
pub struct FromDataPlane {
    /// A reply or an event; absent when the sender is newer.
    #[prost(oneof = "Message", tags = "1, 2")]
    pub message: Option<Message>,
}

/// A reply to one command, or an event.
#[derive(Clone, PartialEq, Oneof)]
pub enum Message {
    /// To the requester only.
    #[prost(message, tag = "1")]
    Reply(Reply),
    /// To every connection that said hello.
    #[prost(message, tag = "2")]
    Event(Event),
}

/// The one reply that each command gets.
#[derive(Clone, PartialEq, ProstMessage)]
pub struct Reply {
    /// The command's.
    #[prost(uint64, tag = "1")]
    pub request_id: u64,
    /// Success or failure.
    #[prost(oneof = "Outcome", tags = "10, 11, 12, 13, 14")]
    pub outcome: Option<Outcome>,
}

/// How a command ended.
#[derive(Clone, PartialEq, Oneof)]
pub enum Outcome {
    /// Done; nothing to tell.
    #[prost(message, tag = "10")]
    Done(Done),
    /// Refused; nothing was changed.
    #[prost(message, tag = "11")]
    Failure(Failure),
    /// To `Hello`.
    #[prost(message, tag = "12")]
    Hello(HelloReply),
    /// To `Snapshot`.
    #[prost(message, tag = "13")]
    Snapshot(Snapshot),
    /// To `Stats`.
    #[prost(message, tag = "14")]
    Stats(Stats),
}

/// Plain success.
#[derive(Clone, Copy, PartialEq, Eq, ProstMessage)]
pub struct Done {}

/// Introduces the data plane.
#[derive(Clone, PartialEq, Eq, ProstMessage)]
pub struct HelloReply {
    /// [`crate::VERSION`] of the data plane.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Program and version, for the log.
    #[prost(string, tag = "2")]
    pub software: String,
    /// Random per process: another value means that the data plane restarted and holds nothing of before.
    #[prost(uint64, tag = "3")]
    pub instance: u64,
    /// Number of workers.
    #[prost(uint32, tag = "4")]
    pub workers: u32,
    /// Of the DTLS certificate, for `a=fingerprint`.
    #[prost(message, optional, tag = "5")]
    pub fingerprint: Option<Fingerprint>,
    /// Announced addresses, best first.
    #[prost(message, repeated, tag = "6")]
    pub candidates: Vec<Candidate>,
    /// Start of the process, milliseconds since 1970.
    #[prost(uint64, tag = "7")]
    pub started_unix_ms: u64,
}

/// Something that happened by itself.
#[derive(Clone, PartialEq, ProstMessage)]
pub struct Event {
    /// A transport changed its state.
    #[prost(message, optional, tag = "1")]
    pub transport: Option<TransportEvent>,
}

/// Where a transport stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enumeration)]
#[repr(i32)]
pub enum TransportState {
    /// No authenticated check yet.
    New = 0,
    /// A worker has claimed it; the DTLS handshake is due or under way.
    Connecting = 1,
    /// Keys are in place: media flows.
    Connected = 2,
    /// No authenticated check for the consent period (RFC 7675, 30 s); sending is paused until one comes.
    Disconnected = 3,
    /// The handshake failed: wrong fingerprint, no common SRTP profile, time-out. It stays until removed.
    Failed = 4,
    /// The client ended the DTLS association (close_notify). It stays until removed.
    Closed = 5,
}

/// A transport's state.
#[derive(Clone, PartialEq, Eq, ProstMessage)]
pub struct TransportEvent {
    /// [`crate::TransportId`].
    #[prost(uint64, tag = "1")]
    pub transport: u64,
    /// Its new state.
    #[prost(enumeration = "TransportState", tag = "2")]
    pub state: i32,
    /// The client's selected address, `ip:port`, when there is one.
    #[prost(string, tag = "3")]
    pub remote_address: String,
    /// The SRTP profile, once connected.
    #[prost(enumeration = "SrtpProfile", tag = "4")]
    pub srtp_profile: i32,
    /// For a person, when the state is `Failed`.
    #[prost(string, tag = "5")]
    pub detail: String,
}

/// Everything the data plane holds.
#[derive(Clone, PartialEq, ProstMessage)]
pub struct Snapshot {
    /// Every transport.
    #[prost(message, repeated, tag = "1")]
    pub transports: Vec<TransportInfo>,
    /// Every track.
    #[prost(message, repeated, tag = "2")]
    pub tracks: Vec<TrackInfo>,
    /// Every subscription.
    #[prost(message, repeated, tag = "3")]
    pub subscriptions: Vec<SubscriptionInfo>,
    /// The counters at the same moment.
    #[prost(message, optional, tag = "4")]
    pub stats: Option<Stats>,
}

/// One transport.
#[derive(Clone, PartialEq, Eq, ProstMessage)]
pub struct TransportInfo {
    /// [`crate::TransportId`].
    #[prost(uint64, tag = "1")]
    pub transport: u64,
    /// As given at creation.
    #[prost(string, tag = "2")]
    pub label: String,
    /// Where it stands.
    #[prost(enumeration = "TransportState", tag = "3")]
    pub state: i32,
    /// The worker that claimed it; absent before.
    #[prost(uint32, optional, tag = "4")]
    pub worker: Option<u32>,
    /// The client's selected address, `ip:port`.
    #[prost(string, tag = "5")]
    pub remote_address: String,
    /// Once connected.
    #[prost(enumeration = "SrtpProfile", tag = "6")]
    pub srtp_profile: i32,
    /// UDP payload bytes from the client.
    #[prost(uint64, tag = "7")]
    pub bytes_received: u64,
    /// UDP payload bytes to the client.
    #[prost(uint64, tag = "8")]
    pub bytes_sent: u64,
    /// Datagrams from the client.
    #[prost(uint64, tag = "9")]
    pub packets_received: u64,
    /// Datagrams to the client.
    #[prost(uint64, tag = "10")]
    pub packets_sent: u64,
    /// The data plane's own `a=ice-ufrag`, by which a restarted control plane avoids using it again.
    #[prost(string, tag = "11")]
    pub ice_ufrag: String,
}

/// One track.
#[derive(Clone, PartialEq, Eq, ProstMessage)]
pub struct TrackInfo {
    /// [`crate::TrackId`].
    #[prost(uint64, tag = "1")]
    pub track: u64,
    /// [`crate::TransportId`] it arrives on.
    #[prost(uint64, tag = "2")]
    pub transport: u64,
    /// As given when published.
    #[prost(string, tag = "3")]
    pub label: String,
    /// Audio or video.
    #[prost(enumeration = "MediaKind", tag = "4")]
    pub kind: i32,
    /// Its codec.
    #[prost(enumeration = "Codec", tag = "5")]
    pub codec: i32,
    /// RTP packets taken in, retransmissions that filled a gap included.
    #[prost(uint64, tag = "6")]
    pub packets: u64,
    /// RTP payload bytes taken in.
    #[prost(uint64, tag = "7")]
    pub bytes: u64,
    /// Packets that never came, as RFC 3550 A.3 counts them (negative: duplicates).
    #[prost(sint64, tag = "8")]
    pub lost: i64,
    /// Interarrival jitter, RFC 3550 6.4.1, in RTP clock units.
    #[prost(uint32, tag = "9")]
    pub jitter: u32,
    /// Keyframes taken in.
    #[prost(uint64, tag = "10")]
    pub keyframes: u64,
    /// PLI or FIR sent to the publisher.
    #[prost(uint64, tag = "11")]
    pub keyframe_requests: u64,
    /// Sequence numbers asked for again from the publisher.
    #[prost(uint64, tag = "12")]
    pub nacked: u64,
    /// Those that came.
    #[prost(uint64, tag = "13")]
    pub recovered: u64,
}

/// One subscription.
#[derive(Clone, PartialEq, Eq, ProstMessage)]
pub struct SubscriptionInfo {
    /// [`crate::SubscriptionId`].
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// [`crate::TransportId`] of the subscriber.
    #[prost(uint64, tag = "2")]
    pub transport: u64,
    /// [`crate::TrackId`] it carries.
    #[prost(uint64, tag = "3")]
    pub track: u64,
    /// As given when subscribed.
    #[prost(string, tag = "4")]
    pub label: String,
    /// RTP packets sent, retransmissions left out.
    #[prost(uint64, tag = "5")]
    pub packets: u64,
    /// RTP payload bytes sent, retransmissions left out.
    #[prost(uint64, tag = "6")]
    pub bytes: u64,
    /// Sequence numbers that the subscriber asked for again.
    #[prost(uint64, tag = "7")]
    pub nacks_received: u64,
    /// Those that were sent again.
    #[prost(uint64, tag = "8")]
    pub retransmitted: u64,
    /// PLI and FIR from the subscriber.
    #[prost(uint64, tag = "9")]
    pub keyframe_requests: u64,
    /// The subscriber's last reported fraction lost, in 1/256.
    #[prost(uint32, tag = "10")]
    pub fraction_lost: u32,
    /// Last round-trip time from its receiver reports, in microseconds; 0: unknown.
    #[prost(uint64, tag = "11")]
    pub rtt_us: u64,
}

/// The counters of the whole process, all cumulative since its start unless said otherwise.
#[derive(Clone, PartialEq, ProstMessage)]
pub struct Stats {
    /// One entry per worker, in worker order.
    #[prost(message, repeated, tag = "1")]
    pub workers: Vec<WorkerStats>,
    /// DTLS handshakes begun.
    #[prost(uint64, tag = "2")]
    pub handshakes_started: u64,
    /// DTLS handshakes that gave keys.
    #[prost(uint64, tag = "3")]
    pub handshakes_completed: u64,
    /// DTLS handshakes that failed or timed out.
    #[prost(uint64, tag = "4")]
    pub handshakes_failed: u64,
    /// Handshakes under way now (a gauge).
    #[prost(uint64, tag = "5")]
    pub handshakes_active: u64,
    /// Handshakes refused because the bound on their number was reached.
    #[prost(uint64, tag = "6")]
    pub handshakes_refused: u64,
    /// Transports known now (a gauge).
    #[prost(uint64, tag = "7")]
    pub transports: u64,
    /// Tracks known now (a gauge).
    #[prost(uint64, tag = "8")]
    pub tracks: u64,
    /// Subscriptions known now (a gauge).
    #[prost(uint64, tag = "9")]
    pub subscriptions: u64,
    /// Commands taken from control sockets.
    #[prost(uint64, tag = "10")]
    pub commands: u64,
    /// Commands refused with a failure.
    #[prost(uint64, tag = "11")]
    pub commands_failed: u64,
    /// Control connections open now (a gauge).
    #[prost(uint64, tag = "12")]
    pub control_connections: u64,
    /// Time since the process's start, in milliseconds.
    #[prost(uint64, tag = "13")]
    pub uptime_ms: u64,
}

/// A number of datagrams or packets dropped for one reason.
#[derive(Clone, PartialEq, Eq, ProstMessage)]
pub struct DropCount {
    /// In `snake_case`, stable: it is a metric label.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// How many.
    #[prost(uint64, tag = "2")]
    pub count: u64,
}

/// One worker's counters.
#[derive(Clone, PartialEq, ProstMessage)]
pub struct WorkerStats {
    /// Its number, from 0.
    #[prost(uint32, tag = "1")]
    pub worker: u32,
    /// Datagrams received on its socket.
    #[prost(uint64, tag = "2")]
    pub datagrams_received: u64,
    /// Their bytes.
    #[prost(uint64, tag = "3")]
    pub bytes_received: u64,
    /// Datagrams sent on its socket.
    #[prost(uint64, tag = "4")]
    pub datagrams_sent: u64,
    /// Their bytes.
    #[prost(uint64, tag = "5")]
    pub bytes_sent: u64,
    /// recvmmsg calls.
    #[prost(uint64, tag = "6")]
    pub receive_calls: u64,
    /// sendmmsg calls.
    #[prost(uint64, tag = "7")]
    pub send_calls: u64,
    /// Messages handed to sendmmsg; `datagrams_sent` over this is the mean GSO run length.
    #[prost(uint64, tag = "8")]
    pub send_runs: u64,
    /// RTP packets taken in from publishers.
    #[prost(uint64, tag = "9")]
    pub rtp_received: u64,
    /// RTP packets forwarded to subscribers, retransmissions left out.
    #[prost(uint64, tag = "10")]
    pub rtp_forwarded: u64,
    /// RTP packets sent again on a subscriber's NACK.
    #[prost(uint64, tag = "11")]
    pub rtp_retransmitted: u64,
    /// RTCP compound packets received.
    #[prost(uint64, tag = "12")]
    pub rtcp_received: u64,
    /// RTCP compound packets sent.
    #[prost(uint64, tag = "13")]
    pub rtcp_sent: u64,
    /// STUN binding requests answered with success.
    #[prost(uint64, tag = "14")]
    pub stun_answered: u64,
    /// Transports claimed.
    #[prost(uint64, tag = "15")]
    pub claims: u64,
    /// Media packets received from other workers by ring.
    #[prost(uint64, tag = "16")]
    pub cross_media_in: u64,
    /// Media packets given to other workers by ring.
    #[prost(uint64, tag = "17")]
    pub cross_media_out: u64,
    /// Datagrams received here for a transport of another worker, and handed over.
    #[prost(uint64, tag = "18")]
    pub cross_datagrams_out: u64,
    /// Datagrams of this worker's transports that another one received.
    #[prost(uint64, tag = "19")]
    pub cross_datagrams_in: u64,
    /// Everything dropped, by reason; reasons with count 0 may be left out.
    #[prost(message, repeated, tag = "20")]
    pub drops: Vec<DropCount>,
    /// Loop turns.
    #[prost(uint64, tag = "21")]
    pub loops: u64,
    /// Time spent working (not waiting), in nanoseconds.
    #[prost(uint64, tag = "22")]
    pub busy_ns: u64,
    /// Loop turns by their working time: counts for at most 1, 2, 4, … 2^k microseconds, the last entry
    /// for all longer ones. Not cumulative over buckets.
    #[prost(uint64, repeated, tag = "23")]
    pub loop_time_us_log2: Vec<u64>,
    /// Longest loop turn, in microseconds.
    #[prost(uint64, tag = "24")]
    pub loop_time_us_max: u64,
    /// Packet buffers in use now (a gauge).
    #[prost(uint64, tag = "25")]
    pub buffers_in_use: u64,
    /// Most packet buffers ever in use.
    #[prost(uint64, tag = "26")]
    pub buffers_high_water: u64,
    /// Whether the kernel takes UDP_SEGMENT here.
    #[prost(bool, tag = "27")]
    pub gso: bool,
    /// Panics caught and confined to the transport that caused them.
    #[prost(uint64, tag = "28")]
    pub panics: u64,
    /// Flows that the kernel was told to deliver to this worker.
    #[prost(uint64, tag = "29")]
    pub flows_steered: u64,
    /// Flows that it could not be told of (its table is full); they come by another worker.
    #[prost(uint64, tag = "30")]
    pub flows_unsteered: u64,
    /// Datagrams sent in fragments, because they were too long for their path.
    #[prost(uint64, tag = "31")]
    pub datagrams_fragmented: u64,
    /// Datagrams sent as Ethernet frames, past the kernel's IP stack.
    #[prost(uint64, tag = "32")]
    pub datagrams_by_card: u64,
    /// Runs that were refused as frames and went by the socket.
    #[prost(uint64, tag = "33")]
    pub card_refused: u64,
}
