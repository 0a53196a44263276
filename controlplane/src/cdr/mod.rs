//! Call detail records: one line of JSON per event, in files that roll daily.
//!
//! A thread of its own writes them: whoever records an event never waits for a disk.

mod files;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use crate::eventlog::Held;
use crate::metrics::EventMetrics;
use files::{Files, KEPT_BYTES};

/// Lines on their way to the thread, in bytes: more means that the disk has stopped taking any.
const MAX_BACKLOG: usize = 64 << 20;
/// Lines that are written at once, in bytes, about.
const BATCH: usize = 1 << 20;

#[derive(Debug)]
enum Message {
    Line(Vec<u8>, Held),
    Stop(oneshot::Sender<()>),
}

/// The records' writer.
#[derive(Debug)]
pub struct Cdr {
    dir: PathBuf,
    messages: Sender<Message>,
    backlog: Arc<AtomicUsize>,
    metrics: EventMetrics,
}

impl Cdr {
    /// Begins a file in `dir`, which is made when it is not there.
    ///
    /// # Errors
    /// When the folder or the file cannot be made.
    pub fn start(dir: &Path, metrics: EventMetrics) -> std::io::Result<Self> {
        let files = Files::open(dir, now_ms(), KEPT_BYTES)?;
        let (sender, messages) = channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        let (shared, counts) = (backlog.clone(), metrics.clone());
        let thread = std::thread::Builder::new().name("cdr".into());
        thread.spawn(move || write_all(files, &messages, &shared, &counts))?;
        Ok(Self { dir: dir.to_owned(), messages: sender, backlog, metrics })
    }

    /// Where the files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a line, which ends with a line feed. Never waits. `held` is let go of once it is written.
    pub fn write(&self, line: Vec<u8>, held: Held) {
        let len = line.len();
        let before = self.backlog.fetch_add(len, Ordering::Relaxed);
        if before > MAX_BACKLOG || self.messages.send(Message::Line(line, held)).is_err() {
            self.backlog.fetch_sub(len, Ordering::Relaxed);
            self.metrics.cdr_lost(1);
            tracing::error!("the CDR file takes no lines: one is lost");
        }
    }

    /// Writes what was given and stops.
    pub async fn stop(&self) {
        let (told, stopped) = oneshot::channel();
        if self.messages.send(Message::Stop(told)).is_ok() {
            let _ = stopped.await;
        }
    }
}

fn write_all(mut files: Files, messages: &Receiver<Message>, backlog: &AtomicUsize, metrics: &EventMetrics) {
    let mut next = messages.recv().ok();
    while let Some(message) = next.take() {
        let mut held = Vec::new();
        let mut batch = match message {
            Message::Line(line, first) => {
                held.push(first);
                line
            }
            Message::Stop(told) => {
                let _ = told.send(());
                return;
            }
        };
        let mut lines = 1;
        while batch.len() < BATCH {
            match messages.try_recv() {
                Ok(Message::Line(line, more)) => {
                    held.push(more);
                    batch.extend_from_slice(&line);
                    lines += 1;
                }
                Ok(stop) => {
                    next = Some(stop);
                    break;
                }
                Err(_) => break,
            }
        }
        backlog.fetch_sub(batch.len(), Ordering::Relaxed);
        match files.write(now_ms(), &batch) {
            Ok(()) => metrics.cdr_written(lines),
            Err(error) => {
                tracing::error!(%error, lines, "CDR lines cannot be written and are lost");
                metrics.cdr_lost(lines);
            }
        }
        drop(held);
        if next.is_none() {
            next = messages.recv().ok();
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
