//! Where events go: to the CDR file all of them, to the webhook those it is to get.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::cdr::Cdr;
use crate::config::Config;
use crate::metrics::EventMetrics;
use crate::webhook::{self, Webhook};

/// What is to be done with events.
#[derive(Clone, Debug, Default)]
pub struct Destinations {
    /// Folder of the CDR files.
    pub cdr: Option<PathBuf>,
    /// The webhook, with the folder of its queue.
    pub webhook: Option<(webhook::Options, PathBuf)>,
}

impl Destinations {
    /// From the process's configuration.
    pub fn from_config(config: &Config) -> Self {
        let webhook = config.webhook.clone().map(|options| (options, config.data_dir.join("webhook")));
        Self { cdr: config.cdr.clone(), webhook }
    }
}

/// Why events cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No file.
    #[error("CDR files cannot be written to {dir} (OPENVIDU_CDR_PATH): {source}")]
    Cdr {
        /// Where they were to be.
        dir: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No webhook.
    #[error("webhook: {0}")]
    Webhook(#[from] webhook::StartError),
}

/// An event as it is written and sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The session, which the event keeps its place in.
    pub session: String,
    /// Its name.
    pub name: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The members of its object, in order.
    pub members: Map<String, Value>,
}

/// An event on its way to the disk.
#[derive(Debug)]
pub struct Pending(Arc<()>);

impl Pending {
    /// Whether the end of this process cannot undo it any more: everybody who was to write it has let go of it.
    pub fn has_arrived(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// What an event's writers hold until they have written it, or have given it up.
#[derive(Clone, Debug, Default)]
pub struct Held {
    event: Option<Arc<()>>,
    arrivals: Arc<Notify>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Whoever is woken is to find it gone.
        drop(self.event.take());
        self.arrivals.notify_one();
    }
}

/// The one place that events are given to. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct EventLog {
    cdr: Option<Arc<Cdr>>,
    webhook: Option<Arc<Webhook>>,
    arrivals: Arc<Notify>,
}

impl EventLog {
    /// Opens what events go to.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(destinations: Destinations, metrics: &EventMetrics) -> Result<Self, StartError> {
        let cdr = destinations.cdr.map(|dir| {
            Cdr::start(&dir, metrics.clone()).map(Arc::new).map_err(|source| StartError::Cdr { dir, source })
        });
        let webhook =
            destinations.webhook.map(|(options, dir)| Webhook::start(options, &dir, metrics.clone()).map(Arc::new));
        Ok(Self { cdr: cdr.transpose()?, webhook: webhook.transpose()?, arrivals: Arc::default() })
    }

    /// Whether anybody reads events.
    pub fn is_on(&self) -> bool {
        self.cdr.is_some() || self.webhook.is_some()
    }

    /// The CDR files' writer, when there are any.
    pub fn cdr(&self) -> Option<&Cdr> {
        self.cdr.as_deref()
    }

    /// The webhook, when there is one.
    pub fn webhook(&self) -> Option<&Webhook> {
        self.webhook.as_deref()
    }

    /// Writes and sends an event, behind those before it. Never waits.
    pub fn record(&self, record: Record) -> Pending {
        self.give(record, Webhook::send)
    }

    /// The same for an event of which an earlier run does not know whether it recorded it. A CDR line may come twice.
    pub fn record_again(&self, record: Record) -> Pending {
        self.give(record, Webhook::send_again)
    }

    /// Every event of the earlier run has been recorded again.
    pub fn has_caught_up(&self) {
        if let Some(webhook) = &self.webhook {
            webhook.forget_seen();
        }
    }

    /// Waits until some event has perhaps arrived.
    pub async fn arrival(&self) {
        self.arrivals.notified().await;
    }

    fn give(&self, record: Record, send: fn(&Webhook, &str, u64, Vec<u8>, Held)) -> Pending {
        let held = Held { event: Some(Arc::default()), arrivals: self.arrivals.clone() };
        let pending = Pending(held.event.clone().unwrap_or_default());
        let Record { session, name, at_ms, mut members } = record;
        if let Some(cdr) = &self.cdr {
            let mut line = Map::new();
            line.insert(name.clone(), Value::Object(members.clone()));
            let mut line = Value::Object(line).to_string().into_bytes();
            line.push(b'\n');
            cdr.write(line, held.clone());
        }
        if let Some(webhook) = self.webhook.as_ref().filter(|webhook| webhook.wants(&name)) {
            members.insert("event".to_owned(), name.into());
            send(webhook, &session, at_ms, Value::Object(members).to_string().into_bytes(), held);
        }
        pending
    }

    /// Writes what was recorded, delivers what can be delivered soon, and stops.
    pub async fn stop(&self) {
        let cdr = async {
            if let Some(cdr) = &self.cdr {
                cdr.stop().await;
            }
        };
        let webhook = async {
            if let Some(webhook) = &self.webhook {
                webhook.stop().await;
            }
        };
        tokio::join!(cdr, webhook);
    }
}
