//! Media servers under test, each behind the same two traits: Millrace's data plane and its rivals. A driver starts a
//! server of its own on given cores and makes its endpoints; what is sent and received, and how it is measured, is the
//! same for all of them and elsewhere (`crate::fanout`).
//!
//! One small file per rival. A rival that is not there says so with the reason, and how to get it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use dataplane_protocol::SrtpProfile;

mod http;
mod janus;
mod lines;
mod mediasoup;
mod millrace;
mod pion;
mod process;

pub use janus::Janus;
pub use mediasoup::Mediasoup;
pub use millrace::Millrace;
pub use pion::Pion;
pub use process::{Process, Usage, cpu_of_kernel_thread, steal_seconds};

/// Why a driver, a server or a client did not do what was asked, for a person.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// RTP payload type of VP8, the same with every server.
pub const VIDEO_PAYLOAD_TYPE: u8 = 96;
/// RTP payload type of opus, the same with every server.
pub const AUDIO_PAYLOAD_TYPE: u8 = 111;

/// How a server is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Threads that forward media, 1 to 64.
    pub workers: u16,
    /// Cores that the whole process may use.
    pub cores: Vec<usize>,
    /// The network namespace that it runs in, as a file; `None`: ours.
    pub namespace: Option<PathBuf>,
}

/// What the load client is to a server: the part of an SDP that concerns its transport.
#[derive(Clone, Debug)]
pub struct ClientEnd {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub password: String,
    /// SHA-256 of its certificate. It is always the DTLS client.
    pub fingerprint: Vec<u8>,
}

/// What a publisher sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// SSRC of the opus stream.
    pub audio_ssrc: u32,
    /// SSRC of the VP8 stream; `None`: audio alone.
    pub video_ssrc: Option<u32>,
}

/// Where the load client has to go: the server's end of one transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEnd {
    /// UDP address for checks, handshake and media.
    pub address: SocketAddr,
    /// Its `a=ice-ufrag`.
    pub ufrag: String,
    /// Its `a=ice-pwd`.
    pub password: String,
}

/// What a server counts by itself, cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// recvmmsg or like calls.
    pub receive_calls: u64,
    /// sendmmsg or like calls.
    pub send_calls: u64,
    /// Messages handed to these calls: each a run of datagrams with `UDP_SEGMENT`.
    pub send_runs: u64,
    /// Waits for events.
    pub waits: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// RTP packets forwarded.
    pub forwarded: u64,
    /// Media packets that went from one worker to another.
    pub crossed: u64,
    /// Datagrams and packets dropped, for any reason.
    pub dropped: u64,
    /// DTLS handshakes completed.
    pub handshakes: u64,
}

impl Counters {
    /// What has been counted since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            receive_calls: self.receive_calls - before.receive_calls,
            send_calls: self.send_calls - before.send_calls,
            send_runs: self.send_runs - before.send_runs,
            waits: self.waits - before.waits,
            datagrams_sent: self.datagrams_sent - before.datagrams_sent,
            forwarded: self.forwarded - before.forwarded,
            crossed: self.crossed - before.crossed,
            dropped: self.dropped - before.dropped,
            handshakes: self.handshakes - before.handshakes,
        }
    }
}

/// One media server that can be started.
pub trait Driver {
    /// For tables, with how it is set up where there are several ways.
    fn name(&self) -> String;

    /// Starts a fresh server.
    ///
    /// # Errors
    /// Why it is not installed or does not start, and what to do about it.
    fn start(&self, plan: &Plan) -> Result<Box<dyn Server>, Failure>;
}

/// A running server; dropping it ends it.
pub trait Server {
    /// Program and version.
    fn version(&self) -> String;

    /// Its process, for accounting.
    fn process(&self) -> &Process;

    /// Makes the server's end of a publisher. Publishers are numbered from 0 in the order of these calls.
    ///
    /// # Errors
    /// What the server said.
    fn publish(&mut self, client: &ClientEnd, media: Media) -> Result<ServerEnd, Failure>;

    /// Makes the server's end of a subscriber to everything that publisher number `publisher` sends. The publisher is
    /// connected already.
    ///
    /// # Errors
    /// What the server said.
    fn subscribe(&mut self, client: &ClientEnd, publisher: usize) -> Result<ServerEnd, Failure>;

    /// Its own counters; `None` where it has none that compare.
    ///
    /// # Errors
    /// When it no longer answers.
    fn counters(&mut self) -> Result<Option<Counters>, Failure>;
}

/// Every server that this bench knows, our own first.
pub fn all() -> Vec<Box<dyn Driver>> {
    vec![
        Box::new(Millrace::default()),
        Box::new(Janus::tuned()),
        Box::new(Janus::as_packaged()),
        Box::new(Mediasoup),
        Box::new(Pion),
    ]
}

/// `target/bench/peers`, where the scripts in `bench/peers` put what rivals need.
pub(crate) fn peers_folder() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    Ok(own.parent().and_then(Path::parent).ok_or("no folder")?.join("bench/peers"))
}

/// A profile's name in RFC 5764 and RFC 7714.
pub fn profile_name(profile: SrtpProfile) -> &'static str {
    match profile {
        SrtpProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
        SrtpProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
        SrtpProfile::Aes128CmSha1_80 => "AES128_CM_SHA1_80",
        SrtpProfile::None => "none",
    }
}
