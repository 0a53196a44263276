//! The values that cross the shard's edge: what the shell hands in and takes out.

use std::net::{IpAddr, SocketAddr};

use dataplane_protocol::{
    CreateTransport, Publish, RemoteParameters, Retarget, SrtpProfile, Subscribe, SubscriptionId, SubscriptionInfo,
    TrackId, TrackInfo, TransportEvent, TransportId, TransportInfo, WorkerStats,
};

use crate::buffer::BufferId;

/// Longest datagram taken from or sent to a client, in bytes: an Ethernet MTU and nothing more.
pub const MAX_DATAGRAM: usize = 1500;

/// One way between a client and this host: who to answer and from which of the host's addresses.
/// IPv4-mapped IPv6 addresses never occur; the shell maps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The client's address and port.
    pub remote: SocketAddr,
    /// The host's address that the datagram arrived on.
    pub local: IpAddr,
}

/// One received datagram, in a buffer of the shard's own pool.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// From [`crate::Shard::receive_buffer`]; the shard owns it from here on.
    pub buffer: BufferId,
    /// Bytes in use, at most [`MAX_DATAGRAM`].
    pub len: usize,
    /// Where it came from.
    pub path: Path,
}

/// Who owns a transport, shared by all workers of one process. The shell backs it by one atomic per slot, the
/// simulator by a plain table. This is the only thing that two shards ever contend for, once per transport.
pub trait Claims {
    /// The worker that owns the transport in `slot`, if one does.
    fn owner(&self, slot: u32) -> Option<u32>;
    /// Claims `slot` for `worker` unless it is taken or assigned to another one; returns who owns or is to own it after
    /// the call.
    fn claim(&self, slot: u32, worker: u32) -> u32;
    /// Whether `slot` is to be claimed by `worker` and no other, and has not been yet. A table that assigns nothing says
    /// no.
    fn is_assigned(&self, _slot: u32, _worker: u32) -> bool {
        false
    }
}

/// A command as every worker gets it: checked by the [`crate::Registry`], so that it cannot fail here.
#[derive(Clone, Debug, PartialEq)]
pub enum ShardCommand {
    /// A new client path; `slot` indexes [`Claims`] and is reused only after the transport was removed.
    CreateTransport {
        /// Index into the claim table.
        slot: u32,
        /// As the control plane gave it.
        spec: CreateTransport,
    },
    /// The client's end of a path.
    SetRemote {
        /// Which path.
        transport: TransportId,
        /// As the control plane gave it.
        remote: RemoteParameters,
    },
    /// Ends a path with all its tracks and subscriptions.
    RemoveTransport(TransportId),
    /// A new track.
    Publish(Publish),
    /// Ends a track and the subscriptions that have no other.
    Unpublish(TrackId),
    /// A new subscription.
    Subscribe(Subscribe),
    /// Ends a subscription.
    Unsubscribe(SubscriptionId),
    /// Other tracks for a subscription.
    Retarget(Retarget),
    /// Asks for [`Output::Snapshot`] with the same token.
    Snapshot {
        /// Given back.
        token: u64,
    },
}

/// What the handshake service tells the shard that owns a transport.
#[derive(Clone, PartialEq)]
pub enum HandshakeInput {
    /// A DTLS datagram to send on the transport's selected path.
    Send {
        /// Which path.
        transport: TransportId,
        /// One datagram.
        data: Vec<u8>,
    },
    /// The handshake succeeded and the client's certificate matched.
    Keys {
        /// Which path.
        transport: TransportId,
        /// The exported keying material.
        keys: SrtpKeys,
    },
    /// The handshake failed.
    Failed {
        /// Which path.
        transport: TransportId,
        /// For a person.
        detail: String,
    },
    /// The client ended the association.
    Closed {
        /// Which path.
        transport: TransportId,
    },
}

/// SRTP master keys of both directions, RFC 5764 4.2. Zeroing them is up to the owner; they are never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// The negotiated profile, never `None`.
    pub profile: SrtpProfile,
    /// Key for what this host sends: 16 or 32 bytes.
    pub local_key: Vec<u8>,
    /// Salt for what this host sends: 12 (GCM) or 14 (CM) bytes.
    pub local_salt: Vec<u8>,
    /// Key for what the client sends.
    pub remote_key: Vec<u8>,
    /// Salt for what the client sends.
    pub remote_salt: Vec<u8>,
}

impl std::fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SrtpKeys").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// What the shard has to tell the shell, apart from datagrams to send.
#[allow(clippy::large_enum_variant, reason = "messages to peers carry media inline, see `PeerMessage`")]
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// For the control plane.
    Event(TransportEvent),
    /// A DTLS datagram from a client whose check was authenticated; for the handshake service.
    Dtls {
        /// Which path.
        transport: TransportId,
        /// One datagram.
        data: Vec<u8>,
    },
    /// This shard has just claimed a transport; the handshake service sends to it from here on.
    Claimed {
        /// Which path.
        transport: TransportId,
    },
    /// Datagrams from this address are this shard's from here on; the kernel may be told to deliver them here. Only of
    /// one shard among several.
    FlowHere {
        /// Where they come from.
        remote: SocketAddr,
    },
    /// Datagrams from this address are this shard's no more.
    FlowGone {
        /// Where they came from.
        remote: SocketAddr,
    },
    /// For another worker, by ring. If the ring is full the shell drops it and says so by
    /// [`crate::Shard::count_peer_ring_full`].
    Peer {
        /// Its number.
        worker: u32,
        /// What to tell it.
        message: PeerMessage,
    },
    /// The answer to [`ShardCommand::Snapshot`].
    Snapshot {
        /// As asked.
        token: u64,
        /// This shard's part.
        part: Box<ShardSnapshot>,
    },
}

/// One shard's part of a snapshot: only what it owns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardSnapshot {
    /// Transports claimed here, labels left out.
    pub transports: Vec<TransportInfo>,
    /// Tracks that arrive here, labels left out.
    pub tracks: Vec<TrackInfo>,
    /// Subscriptions that leave from here, labels left out.
    pub subscriptions: Vec<SubscriptionInfo>,
    /// Counters; the shell adds those of its sockets and loop.
    pub stats: WorkerStats,
}

/// What one worker's shard tells another's. Owned values only; the bytes are inline so that nothing is
/// allocated on one core and freed on another.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "media is the common case, and boxing it would allocate per packet")]
pub enum PeerMessage {
    /// A datagram that arrived on a worker that does not own its transport.
    Datagram {
        /// Whose it is.
        transport: TransportId,
        /// How it came.
        path: Path,
        /// Its bytes.
        bytes: Bytes1500,
    },
    /// A packet of a track, decrypted and in canonical form.
    Media {
        /// Of which track.
        track: TrackId,
        /// The unwrapped sequence number.
        sequence: u64,
        /// Header and payload.
        bytes: Bytes1500,
    },
    /// A transport has been claimed by the sender.
    Claimed {
        /// Which path.
        transport: TransportId,
    },
    /// The sender has subscriptions to a track of this worker (or, with `wanted` false, no more).
    Interest {
        /// Which track.
        track: TrackId,
        /// Whether to send it.
        wanted: bool,
    },
    /// A subscriber of the sender needs a keyframe.
    KeyframeRequest {
        /// Of which track.
        track: TrackId,
        /// Whether it is for a new subscriber.
        immediate: bool,
    },
    /// The publisher's clock, from its sender report.
    Clock {
        /// Of which track.
        track: TrackId,
        /// A moment of this host's wall clock, microseconds since 1970.
        unix_micros: u64,
        /// The RTP timestamp at that moment.
        rtp_timestamp: u32,
    },
}

/// Up to [`MAX_DATAGRAM`] bytes, inline.
#[derive(Clone)]
pub struct Bytes1500 {
    len: u16,
    data: [u8; MAX_DATAGRAM],
}

impl Bytes1500 {
    /// A copy of `bytes`, or `None` if it is too long.
    pub fn copy_from(bytes: &[u8]) -> Option<Self> {
        let mut copy = Self { len: u16::try_from(bytes.len()).ok()?, data: [0; MAX_DATAGRAM] };
        copy.data.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(copy)
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.data[..usize::from(self.len)]
    }
}

impl PartialEq for Bytes1500 {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl std::fmt::Debug for Bytes1500 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len)
    }
}
