//! The data plane as rooms use it: runs of commands, and the end of a transport that an SDP announces.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controlplane_room::{IceCredentials, MediaError};
use dataplane_protocol::{Command, HelloReply, Snapshot};
use rand::Rng;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::timeout;

use super::addresses::{Addresses, Latest};
use super::info::MAX_LISTENERS;
use crate::dataplane::{CallError, Client, Notice};
use crate::sdp::LocalTransport;

/// Longest wait for the end of [`Media::settle`].
const OPENING: Duration = Duration::from_secs(5);
/// Removals kept for a data plane that is away.
const MAX_ORPHANS: usize = 65_536;

/// The data plane.
#[derive(Debug)]
pub(super) struct Media {
    client: Client,
    /// Removals that could not be delivered.
    orphans: Mutex<Vec<Command>>,
    listeners: Arc<Semaphore>,
    /// Whether what an earlier control plane left has been dealt with.
    is_open: watch::Sender<bool>,
    addresses: Latest,
}

impl Media {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            orphans: Mutex::default(),
            listeners: Arc::new(Semaphore::new(MAX_LISTENERS)),
            is_open: watch::Sender::new(false),
            addresses: Latest::default(),
        }
    }

    /// Who is connected, over time.
    pub(super) fn watch(&self) -> watch::Receiver<Option<Arc<HelloReply>>> {
        self.client.hello()
    }

    /// Everything that happens to transports from now on.
    pub(super) fn notices(&self) -> broadcast::Receiver<Notice> {
        self.client.notices()
    }

    /// Seats for those who listen to them.
    pub(super) fn listeners(&self) -> Arc<Semaphore> {
        self.listeners.clone()
    }

    /// Our end of a new transport; `None` while no data plane is connected.
    pub(super) fn local(&self, ice: &IceCredentials) -> Option<LocalTransport> {
        let hello = self.client.hello().borrow().clone()?;
        Some(LocalTransport {
            ice_ufrag: ice.ufrag.clone(),
            ice_pwd: ice.pwd.clone(),
            fingerprint: hello.fingerprint.clone()?,
            candidates: hello.candidates.clone(),
            session_id: rand::rng().random_range(1..=i64::MAX as u64),
        })
    }

    /// What the data plane held when it was connected last.
    pub(super) fn last_snapshot(&self) -> Option<Arc<Snapshot>> {
        self.client.last_snapshot()
    }

    /// Lets commands through.
    pub(super) fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Sends commands before all others, each whatever became of those before.
    pub(super) async fn settle(&self, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            if let Err(error) = self.client.call(command).await {
                tracing::warn!(%error, "the data plane did not settle what an earlier run left");
            }
        }
    }

    /// Sends commands in order until one fails.
    pub(super) async fn run(&self, commands: Vec<Command>) -> Result<(), MediaError> {
        for command in commands {
            self.call(command).await?;
        }
        Ok(())
    }

    /// Sends removals, each whatever became of the others; keeps those that found nobody.
    pub(super) async fn clean_up(&self, commands: Vec<Command>) {
        for command in commands {
            match self.call(command.clone()).await {
                Ok(()) => {}
                Err(MediaError::Unavailable) => {
                    let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
                    if orphans.len() < MAX_ORPHANS {
                        orphans.push(command);
                    }
                }
                Err(error) => tracing::debug!(%error, "removal refused by the data plane"),
            }
        }
    }

    /// What waits for a data plane to be told.
    pub(super) fn take_orphans(&self) -> Vec<Command> {
        std::mem::take(&mut *self.orphans.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where the clients of transports are, a moment ago; none while no data plane is connected.
    pub(super) async fn remote_addresses(&self) -> Arc<Addresses> {
        let client = self.client.clone();
        self.addresses.get(|| async move { client.snapshot().await }).await
    }

    async fn call(&self, command: Command) -> Result<(), MediaError> {
        if !*self.is_open.borrow() && self.client.hello().borrow().is_some() {
            // It is a matter of milliseconds; should it fail, the call says so.
            let _ = timeout(OPENING, self.is_open.subscribe().wait_for(|open| *open)).await;
        }
        match self.client.call(command).await {
            Ok(_) => Ok(()),
            // An interrupted command may have been carried out; its removal is kept like one that was never sent.
            Err(CallError::NotConnected | CallError::Interrupted) => Err(MediaError::Unavailable),
            Err(CallError::TimedOut) => Err(MediaError::TimedOut),
            Err(error) => Err(MediaError::Refused(error.to_string())),
        }
    }
}
