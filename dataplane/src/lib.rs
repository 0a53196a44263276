//! Millrace's data plane as a process: workers with sockets around the packet core, a handshake thread, and
//! the control socket. [`run`] starts all of it and [`Running`] ends it; the binary adds flags and signals.

#![deny(unsafe_code)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use dataplane_core::{Limits, RegistryLimits, ShardConfig};
use dataplane_protocol::{Candidate, HelloReply};
use tokio::sync::{mpsc, oneshot};

mod config;
mod control;
mod handoff;
mod handshake;
pub mod net;
mod placement;
mod telemetry;
mod worker;

pub use config::{Announced, Config, Gso, LogFormat, SendBy, Steer};
pub use telemetry::init_logging;

use control::ControlSocket;
use handoff::{ClaimTable, Doorbell, Rings, WorkerPort, worker_port};
use net::{Card, KERNEL_BUFFER, Lookup, MediaSocket, Steering, bind_group, own_addresses};
use placement::Placement;
use telemetry::HandshakeCounters;
use worker::{Clock, poll_with_doorbell};

/// Flows that the kernel can be told of for each transport that there may be: one, and what rebinding NATs and second
/// addresses add.
const FLOWS_PER_TRANSPORT: u32 = 4;

/// Why the data plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The media sockets cannot be bound.
    #[error("cannot bind UDP port {port} for media: {source}")]
    Media {
        /// The port.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// The control socket cannot be bound.
    #[error("cannot listen at {}: {source}", path.display())]
    Control {
        /// The socket's path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no address to announce.
    #[error("this machine has no address to announce: configure one")]
    NoAddress,
    /// The DTLS certificate cannot be made.
    #[error("cannot make the DTLS certificate: {0}")]
    Certificate(#[from] webrtc_dtls::Error),
    /// The system refused a poll or a thread.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// A data plane that serves. Dropping it ends it in order.
#[derive(Debug)]
pub struct Running {
    media_port: u16,
    control_socket: PathBuf,
    candidates: Vec<SocketAddr>,
    workers: usize,
    stop: Arc<AtomicBool>,
    doorbells: Vec<Bell>,
    stop_senders: Vec<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
    failures: mpsc::UnboundedReceiver<String>,
}

struct Bell(Arc<Doorbell>);

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bell")
    }
}

impl Running {
    /// The UDP port that all workers share.
    pub fn media_port(&self) -> u16 {
        self.media_port
    }

    /// Where the control plane connects.
    pub fn control_socket(&self) -> &Path {
        &self.control_socket
    }

    /// The announced addresses, best first.
    pub fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Waits until a thread ends that should not have, and says which. Never completes while all is well.
    pub async fn failed(&mut self) -> String {
        match self.failures.recv().await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Ends everything and waits for it.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for bell in &self.doorbells {
            bell.0.ring();
        }
        for stop in self.stop_senders.drain(..) {
            // A thread that has failed has dropped its end.
            let _ = stop.send(());
        }
        for thread in self.threads.drain(..) {
            // Threads catch their own panics and have told of them.
            let _ = thread.join();
        }
    }
}

/// Says so when bursts of packets will not fit the kernel's buffers, and what to do about it.
fn warn_of_small_buffers(sockets: &[Vec<MediaSocket>]) {
    let smallest = sockets.iter().flatten().map(MediaSocket::kernel_buffer).min().unwrap_or(KERNEL_BUFFER);
    if smallest < KERNEL_BUFFER {
        tracing::warn!(
            given = smallest,
            wanted = KERNEL_BUFFER,
            "the kernel's buffers for media are small, and bursts may be lost: set net.core.rmem_max and \
             net.core.wmem_max to {KERNEL_BUFFER} by sysctl, or run with CAP_NET_ADMIN"
        );
    }
}

/// The kernel's table of flows, where it is wanted and there is a choice of workers. Without it everything works, by hash.
fn steering(config: &Config, sockets: &[Vec<MediaSocket>]) -> Option<Arc<Steering>> {
    if config.steer == Steer::Off || sockets.len() < 2 {
        return None;
    }
    match Steering::attach(sockets, config.max_transports.saturating_mul(FLOWS_PER_TRANSPORT)) {
        Ok(steering) => Some(Arc::new(steering)),
        Err(error) => {
            tracing::info!(
                %error,
                "the kernel's hash decides which worker a client reaches, and small rooms spread over all of them: run \
                 with CAP_BPF to keep each on one, or with --steer off to leave it so"
            );
            None
        }
    }
}

/// The workers' packet sockets, and what finds their ways, if that is how packets are to leave and may.
fn cards(config: &Config, workers: usize, port: u16) -> Option<(Vec<Card>, Lookup)> {
    if config.send_by == SendBy::Socket {
        return None;
    }
    let (ports, lookup) = Lookup::new(workers);
    let cards: io::Result<Vec<_>> = ports.into_iter().map(|way| Card::open(port, way, rand::random())).collect();
    match cards {
        Ok(cards) => Some((cards, lookup)),
        Err(error) => {
            tracing::warn!(
                %error,
                "packets leave by the socket, and not by the card: run with CAP_NET_RAW for that, or with --send-by socket"
            );
            None
        }
    }
}

/// Starts the data plane.
///
/// # Errors
/// [`Error`], with nothing left running.
pub fn run(config: &Config) -> Result<Running, Error> {
    // webrtc-dtls builds rustls verifiers; an earlier choice by the embedding program is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let workers = config.worker_count();
    let (sockets, media_port) = bind_group(&config.bind, config.media_port, workers)
        .map_err(|source| Error::Media { port: config.media_port, source })?;
    warn_of_small_buffers(&sockets);
    let candidates = candidates(config, sockets.first().map_or(&[][..], Vec::as_slice), media_port)?;
    let socket = ControlSocket::bind(&config.control_socket)
        .map_err(|source| Error::Control { path: config.control_socket.clone(), source })?;
    let identity = handshake::Identity::generate()?;
    let hello = hello(workers, &identity, &candidates);

    let (failure_tx, failures) = mpsc::unbounded_channel();
    let mut running = Running {
        media_port,
        control_socket: config.control_socket.clone(),
        candidates,
        workers,
        stop: Arc::new(AtomicBool::new(false)),
        doorbells: Vec::new(),
        stop_senders: Vec::new(),
        threads: Vec::new(),
        failures,
    };
    let clock = Clock::start();
    let claims = Arc::new(ClaimTable::new(config.max_transports));
    let (report_tx, reports) = mpsc::channel(control::REPORT_QUEUE);
    let (handshake_tx, handshake_inputs) = mpsc::channel(handshake::INPUT_QUEUE);
    let shared = WorkersShared {
        clock,
        claims: Arc::clone(&claims),
        steering: steering(config, &sockets),
        report_tx,
        handshake_tx: handshake_tx.clone(),
    };
    let is_steered = shared.steering.is_some();
    let mut cards = Vec::new();
    if let Some((opened, lookup)) = self::cards(config, workers, media_port) {
        cards = opened;
        let (stop_tx, stop) = oneshot::channel();
        running.stop_senders.push(stop_tx);
        running.threads.push(spawn("lookup".to_owned(), &failure_tx, move || {
            // Media has the sockets without it.
            if let Err(error) = lookup.run(stop) {
                tracing::warn!(%error, "the kernel cannot be asked for routes: media goes by the socket");
            }
            Ok(())
        })?);
    }
    let ports = start_workers(config, sockets, cards, shared, &mut running, &failure_tx)?;

    let counters = Arc::new(HandshakeCounters::default());
    let service = handshake::Shared {
        identity,
        settings: handshake::Settings::new(config.handshake_timeout(), config.max_handshakes as usize),
        workers: ports.clone(),
        counters: Arc::clone(&counters),
    };
    let (stop_tx, stop) = oneshot::channel();
    running.stop_senders.push(stop_tx);
    running
        .threads
        .push(spawn("handshake".to_owned(), &failure_tx, move || handshake::run(service, handshake_inputs, stop))?);

    let setup = control::Setup {
        hello,
        clock,
        limits: RegistryLimits::for_transports(config.max_transports),
        workers: ports,
        placement: is_steered.then(|| Placement::new(workers)),
        claims,
        handshakes: handshake_tx,
        handshake_counters: counters,
        reports,
    };
    let (stop_tx, stop) = oneshot::channel();
    running.stop_senders.push(stop_tx);
    running.threads.push(spawn("control".to_owned(), &failure_tx, move || control::run(setup, socket, stop))?);
    Ok(running)
}

/// What all workers get the same of.
struct WorkersShared {
    clock: Clock,
    claims: Arc<ClaimTable>,
    steering: Option<Arc<Steering>>,
    report_tx: mpsc::Sender<handoff::Report>,
    handshake_tx: mpsc::Sender<handshake::Input>,
}

fn start_workers(
    config: &Config,
    sockets: Vec<Vec<MediaSocket>>,
    cards: Vec<Card>,
    shared: WorkersShared,
    running: &mut Running,
    failures: &mpsc::UnboundedSender<String>,
) -> Result<Vec<WorkerPort>, Error> {
    let workers = sockets.len();
    let polls = (0..workers).map(|_| poll_with_doorbell()).collect::<Result<Vec<_>, _>>()?;
    let doorbells: Vec<_> = polls.iter().map(|(_, doorbell)| Arc::clone(doorbell)).collect();
    running.doorbells = doorbells.iter().cloned().map(Bell).collect();
    let cores = cores(config, workers);
    let rings = Arc::new(Rings::new(workers));
    let unix_micros_at_zero = unix_micros().saturating_sub(shared.clock.elapsed().as_micros() as u64);
    let mut ports = Vec::with_capacity(workers);
    let mut cards = cards.into_iter();
    for (index, (sockets, (poll, doorbell))) in sockets.into_iter().zip(polls).enumerate() {
        let (port, inbox) = worker_port(doorbell);
        ports.push(port);
        let knows_gso = sockets.iter().all(MediaSocket::knows_gso);
        let setup = worker::Setup {
            shard: ShardConfig {
                worker: index as u32,
                workers: workers as u32,
                seed: rand::random(),
                unix_micros_at_zero,
                limits: Limits { max_buffer_bytes: (config.buffer_mib as usize) << 20, ..Limits::default() },
            },
            core: cores.get(index).copied(),
            gso: config.gso == Gso::On || (config.gso == Gso::Auto && knows_gso),
            clock: shared.clock,
            poll,
            sockets,
            card: cards.next(),
            inbox,
            rings: Arc::clone(&rings),
            doorbells: doorbells.clone(),
            claims: Arc::clone(&shared.claims),
            steering: shared.steering.clone(),
            reports: shared.report_tx.clone(),
            handshakes: shared.handshake_tx.clone(),
            stop: Arc::clone(&running.stop),
        };
        running.threads.push(spawn(format!("worker-{index}"), failures, move || worker::run(setup))?);
    }
    Ok(ports)
}

/// One core per worker, or none at all when there are more workers than cores.
fn cores(config: &Config, workers: usize) -> Vec<core_affinity::CoreId> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if config.pin && workers <= cores.len() { cores } else { Vec::new() }
}

/// Starts a thread that tells `failures` if it ends by an error or a panic.
fn spawn(
    name: String,
    failures: &mpsc::UnboundedSender<String>,
    body: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let failures = failures.clone();
    std::thread::Builder::new().name(name.clone()).spawn(move || {
        let failure = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("thread {name} ended: {error}"),
            Err(_) => format!("thread {name} panicked"),
        };
        tracing::error!("{failure}");
        // Nobody listens any more while the process ends.
        let _ = failures.send(failure);
    })
}

fn hello(workers: usize, identity: &handshake::Identity, candidates: &[SocketAddr]) -> HelloReply {
    HelloReply {
        version: dataplane_protocol::VERSION,
        software: concat!("millrace-dataplane ", env!("CARGO_PKG_VERSION")).to_owned(),
        instance: rand::random(),
        workers: workers as u32,
        fingerprint: Some(identity.fingerprint().clone()),
        candidates: candidates
            .iter()
            .map(|address| Candidate { address: address.ip().to_string(), port: u32::from(address.port()) })
            .collect(),
        started_unix_ms: unix_micros() / 1000,
    }
}

/// Where clients are told to send: what is configured, else the bound addresses, else the machine's own.
fn candidates(config: &Config, sockets: &[MediaSocket], port: u16) -> Result<Vec<SocketAddr>, Error> {
    if !config.announce.is_empty() {
        let announced = config.announce.iter();
        return Ok(announced.map(|own| SocketAddr::new(own.ip, own.port.unwrap_or(port))).collect());
    }
    let bound: Vec<IpAddr> = sockets.iter().map(|socket| socket.bound().ip()).collect();
    let chosen: Vec<IpAddr> = if bound.iter().any(IpAddr::is_unspecified) {
        let is_served = |ip: &IpAddr| sockets.iter().any(|socket| socket.serves(*ip));
        own_addresses()?.into_iter().filter(is_served).collect()
    } else {
        bound
    };
    if chosen.is_empty() {
        return Err(Error::NoAddress);
    }
    Ok(chosen.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

fn unix_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
