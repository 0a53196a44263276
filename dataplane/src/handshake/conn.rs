//! The network that `webrtc-dtls` sees: datagrams from a queue, datagrams to the owning worker.
//!
//! It also does what the crate does not: once the handshake is complete, a client that repeats its last flight
//! has missed ours and gets it again (RFC 6347 4.2.4), and nothing but alerts of the new epoch is let through,
//! so that forged plaintext can neither end the association nor fill its buffers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::mpsc;
use webrtc_util::{Conn, Error, Result};

use super::Wire;

/// Most datagrams remembered of our last flight.
const MAX_FLIGHT: usize = 16;
const RECORD_HEADER: usize = 13;
const CONTENT_ALERT: u8 = 21;
const CONTENT_HANDSHAKE: u8 = 22;

/// See the module.
pub(crate) struct QueueConn {
    incoming: tokio::sync::Mutex<Incoming>,
    wire: Wire,
    flight: Mutex<Flight>,
    is_complete: AtomicBool,
}

struct Incoming {
    /// What was taken from the queue before the handshake began.
    first: VecDeque<Vec<u8>>,
    queue: mpsc::Receiver<Vec<u8>>,
}

/// What was sent since something was last received.
#[derive(Default)]
struct Flight {
    datagrams: Vec<Vec<u8>>,
    is_over: bool,
}

impl QueueConn {
    /// A connection that receives `first` and then what comes by `queue`.
    pub(crate) fn new(wire: Wire, first: VecDeque<Vec<u8>>, queue: mpsc::Receiver<Vec<u8>>) -> Self {
        Self {
            incoming: tokio::sync::Mutex::new(Incoming { first, queue }),
            wire,
            flight: Mutex::new(Flight::default()),
            is_complete: AtomicBool::new(false),
        }
    }

    /// To be called when the handshake is complete.
    pub(crate) fn complete(&self) {
        self.is_complete.store(true, Ordering::Release);
    }

    async fn next(&self) -> Vec<u8> {
        let mut incoming = self.incoming.lock().await;
        if let Some(data) = incoming.first.pop_front() {
            return data;
        }
        match incoming.queue.recv().await {
            Some(data) => data,
            // The crate's reader asks again after an error, forever; it is ended by dropping the association.
            None => std::future::pending().await,
        }
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn repeat_flight(&self) {
        for data in &self.flight().datagrams {
            self.wire.send(data.clone());
        }
    }
}

#[async_trait]
impl Conn for QueueConn {
    async fn connect(&self, _: SocketAddr) -> Result<()> {
        Err(Error::Other("not applicable".to_owned()))
    }

    async fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        loop {
            let mut data = self.next().await;
            if self.is_complete.load(Ordering::Acquire) {
                let seen = alerts_of_new_epoch(&data);
                if seen.repeats_finished {
                    self.repeat_flight();
                }
                data = seen.alerts;
                if data.is_empty() {
                    continue;
                }
            } else {
                self.flight().is_over = true;
            }
            let len = data.len().min(buf.len());
            buf[..len].copy_from_slice(&data[..len]);
            return Ok(len);
        }
    }

    async fn recv_from(&self, _: &mut [u8]) -> Result<(usize, SocketAddr)> {
        Err(Error::Other("not applicable".to_owned()))
    }

    async fn send(&self, buf: &[u8]) -> Result<usize> {
        if !self.is_complete.load(Ordering::Acquire) {
            let mut flight = self.flight();
            if std::mem::take(&mut flight.is_over) {
                flight.datagrams.clear();
            }
            if flight.datagrams.len() < MAX_FLIGHT {
                flight.datagrams.push(buf.to_vec());
            }
        }
        self.wire.send(buf.to_vec());
        Ok(buf.len())
    }

    async fn send_to(&self, _: &[u8], _: SocketAddr) -> Result<usize> {
        Err(Error::Other("not applicable".to_owned()))
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        Err(Error::Other("not applicable".to_owned()))
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

/// What a datagram holds after the handshake.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// Records with alerts under the negotiated keys, one after the other.
    alerts: Vec<u8>,
    /// Whether there is a handshake record under the negotiated keys: only a repeated Finished can be one.
    repeats_finished: bool,
}

fn alerts_of_new_epoch(datagram: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let mut rest = datagram;
    while let Some(header) = rest.get(..RECORD_HEADER) {
        let end = RECORD_HEADER + usize::from(u16::from_be_bytes([header[11], header[12]]));
        let Some((record, behind)) = rest.split_at_checked(end) else { break };
        let is_new_epoch = header[3..5] != [0, 0];
        match header[0] {
            CONTENT_ALERT if is_new_epoch => seen.alerts.extend_from_slice(record),
            CONTENT_HANDSHAKE if is_new_epoch => seen.repeats_finished = true,
            _ => {}
        }
        rest = behind;
    }
    seen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(content: u8, epoch: u8, len: u8) -> Vec<u8> {
        let mut record = vec![content, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, 0, len];
        record.extend(vec![epoch; usize::from(len)]);
        record
    }

    #[test]
    fn only_alerts_under_the_keys_pass() {
        let datagram =
            [record(21, 0, 2), record(22, 0, 9), record(21, 1, 26), record(23, 1, 4), record(22, 1, 40)].concat();
        let seen = alerts_of_new_epoch(&datagram);
        assert_eq!(seen, Seen { alerts: record(21, 1, 26), repeats_finished: true });
        assert_eq!(alerts_of_new_epoch(&[record(22, 0, 40), record(20, 0, 1)].concat()), Seen::default());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(alerts_of_new_epoch(&datagram).alerts.len() <= datagram.len());
        }
    }
}
