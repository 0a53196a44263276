//! DTLS handshakes, off the packet path: a thread of its own, with the associations as tasks on it.
//!
//! Workers hand over the DTLS datagrams of authenticated clients; an association is driven by `webrtc-dtls` and
//! ends in SRTP keys for the worker that owns the transport, or in a failure. Handshakes are bounded in number
//! and in time: beyond the bound a ClientHello is dropped, which its client sends again. An association is kept
//! after its handshake to answer a client that missed our last flight and to notice when the client ends it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dataplane_core::HandshakeInput;
use dataplane_protocol::{DtlsRole, RemoteParameters, TransportId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::handoff::WorkerPort;
use crate::telemetry::HandshakeCounters;

mod association;
mod certificate;
mod conn;
mod hello;

pub(crate) use certificate::Identity;

/// Inputs that wait for this thread at most.
pub(crate) const INPUT_QUEUE: usize = 4096;
/// DTLS datagrams kept of a transport whose client's fingerprint is not known yet: two flights.
const MAX_HELD: usize = 8;
/// Datagrams that wait for one association at most: a flight of a client with a long certificate chain.
const MAX_QUEUED: usize = 64;
/// Wait before a full worker queue is tried again with what must not be lost.
const RETRY: Duration = Duration::from_millis(1);
/// No worker has claimed the transport.
const NO_WORKER: u32 = u32::MAX;

/// What the service is told.
#[derive(Debug)]
pub(crate) enum Input {
    /// A transport is about to be made known to the workers.
    Create {
        /// Which.
        transport: TransportId,
        /// The client's end, if known.
        remote: Option<RemoteParameters>,
    },
    /// The client's end became known.
    SetRemote {
        /// Of which transport.
        transport: TransportId,
        /// The client's end.
        remote: RemoteParameters,
    },
    /// A transport is gone.
    Remove {
        /// Which.
        transport: TransportId,
    },
    /// A worker owns the transport from here on.
    Claimed {
        /// Which transport.
        transport: TransportId,
        /// Which worker.
        worker: u32,
    },
    /// A DTLS datagram of a client.
    Datagram {
        /// On which transport.
        transport: TransportId,
        /// The worker that owns it.
        worker: u32,
        /// The datagram.
        data: Vec<u8>,
    },
}

/// How the service behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Longest handshake.
    pub(crate) timeout: Duration,
    /// Most handshakes at a time.
    pub(crate) max_active: usize,
    /// Longest wait before a flight is sent again.
    pub(crate) flight_interval: Duration,
}

impl Settings {
    /// The settings of the process. A lost flight is sent again sooner than the second of RFC 6347 4.2.4.1,
    /// because the ICE path has just been tried and a call waits.
    pub(crate) fn new(timeout: Duration, max_active: usize) -> Self {
        Self { timeout, max_active, flight_interval: Duration::from_millis(300) }
    }
}

/// What all associations share.
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) settings: Settings,
    pub(crate) workers: Vec<WorkerPort>,
    pub(crate) counters: Arc<HandshakeCounters>,
}

/// Runs the service on the calling thread until `stop` completes.
///
/// # Errors
/// When the runtime cannot be made.
pub(crate) fn run(shared: Shared, inputs: mpsc::Receiver<Input>, stop: oneshot::Receiver<()>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut service = Service {
        permits: Arc::new(Semaphore::new(shared.settings.max_active)),
        shared: Arc::new(shared),
        transports: BTreeMap::new(),
    };
    runtime.block_on(async {
        tokio::select! {
            () = service.serve(inputs) => {}
            _ = stop => {}
        }
    });
    Ok(())
}

struct Service {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    transports: BTreeMap<TransportId, Transport>,
}

/// One transport; at most as many as the registry has.
struct Transport {
    remote: Option<RemoteParameters>,
    owner: Arc<AtomicU32>,
    /// What came before `remote`.
    held: Vec<Vec<u8>>,
    association: Option<Running>,
}

/// An association's task, ended when this is dropped. It stays here after its end, so that a failed
/// transport is not tried again.
struct Running {
    datagrams: mpsc::Sender<Vec<u8>>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    async fn serve(&mut self, mut inputs: mpsc::Receiver<Input>) {
        while let Some(input) = inputs.recv().await {
            self.take(input);
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Create { transport, remote } => {
                if let MapEntry::Vacant(vacant) = self.transports.entry(transport) {
                    let owner = Arc::new(AtomicU32::new(NO_WORKER));
                    vacant.insert(Transport { remote, owner, held: Vec::new(), association: None });
                }
            }
            Input::SetRemote { transport, remote } => {
                let Some(entry) = self.transports.get_mut(&transport) else { return };
                entry.remote = Some(remote);
                for data in std::mem::take(&mut entry.held) {
                    self.datagram(transport, data);
                }
                self.start_as_client(transport);
            }
            Input::Remove { transport } => {
                self.transports.remove(&transport);
            }
            Input::Claimed { transport, worker } => {
                let Some(entry) = self.transports.get(&transport) else { return };
                entry.owner.store(worker, Ordering::Release);
                self.start_as_client(transport);
            }
            Input::Datagram { transport, worker, data } => {
                let Some(entry) = self.transports.get(&transport) else { return };
                entry.owner.store(worker, Ordering::Release);
                self.datagram(transport, data);
            }
        }
    }

    fn datagram(&mut self, transport: TransportId, data: Vec<u8>) {
        let Some(entry) = self.transports.get_mut(&transport) else { return };
        let Some(remote) = &entry.remote else {
            if entry.held.len() < MAX_HELD {
                entry.held.push(data);
            }
            return;
        };
        if entry.association.is_none() && remote.dtls_role() == DtlsRole::Server {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
                HandshakeCounters::count(&self.shared.counters.refused);
                return;
            };
            self.start(transport, Some(permit));
        }
        let Some(entry) = self.transports.get(&transport) else { return };
        if let Some(running) = &entry.association {
            // What does not fit, or comes after the end, is lost as on any network; the client sends it again.
            let _ = running.datagrams.try_send(data);
        }
    }

    /// As client we speak first: once there is a way to the client and its fingerprint is known.
    fn start_as_client(&mut self, transport: TransportId) {
        let Some(entry) = self.transports.get(&transport) else { return };
        let is_client = entry.remote.as_ref().is_some_and(|remote| remote.dtls_role() == DtlsRole::Client);
        let is_claimed = entry.owner.load(Ordering::Acquire) != NO_WORKER;
        if is_client && is_claimed && entry.association.is_none() {
            self.start(transport, None);
        }
    }

    /// Starts the association's task. Without a permit it waits for one: as client there is nobody who would
    /// ask again.
    fn start(&mut self, transport: TransportId, permit: Option<OwnedSemaphorePermit>) {
        let Some(entry) = self.transports.get_mut(&transport) else { return };
        let Some(remote) = entry.remote.clone() else { return };
        let (datagrams, queue) = mpsc::channel(MAX_QUEUED);
        let wire = Wire { transport, owner: Arc::clone(&entry.owner), shared: Arc::clone(&self.shared) };
        let permits = Arc::clone(&self.permits);
        let task = tokio::spawn(async move {
            let permit = match permit {
                Some(permit) => permit,
                None => match permits.acquire_owned().await {
                    Ok(permit) => permit,
                    Err(_) => return,
                },
            };
            association::run(wire, remote, queue, permit).await;
        });
        entry.association = Some(Running { datagrams, task: task.abort_handle() });
    }
}

/// The way from an association to the worker that owns its transport.
#[derive(Clone)]
pub(crate) struct Wire {
    transport: TransportId,
    owner: Arc<AtomicU32>,
    shared: Arc<Shared>,
}

impl Wire {
    /// Sends one DTLS datagram; lost if the worker's queue is full, as on any network.
    fn send(&self, data: Vec<u8>) {
        if let Some(worker) = self.worker() {
            let _ = worker.handshake(HandshakeInput::Send { transport: self.transport, data });
        }
    }

    /// Tells the owner something that must not be lost.
    async fn tell(&self, input: HandshakeInput) {
        let mut input = input;
        loop {
            let Some(worker) = self.worker() else { return };
            match worker.handshake(input) {
                Ok(()) => return,
                Err(back) => input = back,
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn worker(&self) -> Option<&WorkerPort> {
        self.shared.workers.get(self.owner.load(Ordering::Acquire) as usize)
    }
}

#[cfg(test)]
mod tests;
