//! The peer's UDP socket, which can be replaced under way as a NAT would, and the part of its traffic that is
//! DTLS, as the handshake wants to see it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::{Mutex, mpsc, watch};
use webrtc_util::Conn;

/// The current socket, connected to the server.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    current: watch::Receiver<Arc<UdpSocket>>,
}

impl Wire {
    pub(crate) fn new(current: watch::Receiver<Arc<UdpSocket>>) -> Self {
        Self { current }
    }

    /// Sends one datagram. What the network refuses is lost, as on any network.
    pub(crate) async fn send(&self, datagram: &[u8]) {
        let socket = Arc::clone(&self.current.borrow());
        let _ = socket.send(datagram).await;
    }

    /// The next datagram, from the current socket or the one that replaces it.
    pub(crate) async fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            let socket = Arc::clone(&self.current.borrow_and_update());
            tokio::select! {
                received = socket.recv(buffer) => if let Ok(len) = received {
                    return Some(len);
                },
                changed = self.current.changed() => changed.ok()?,
            }
        }
    }
}

/// DTLS whose datagrams pass through queues both ways, for who owns the socket and takes its traffic apart.
pub(crate) struct QueuedConn {
    sent: mpsc::UnboundedSender<Vec<u8>>,
    received: Mutex<mpsc::UnboundedReceiver<Vec<u8>>>,
}

impl QueuedConn {
    /// The connection, where to put what was received, and where to take what is to be sent.
    pub(crate) fn new() -> (Self, mpsc::UnboundedSender<Vec<u8>>, mpsc::UnboundedReceiver<Vec<u8>>) {
        let (received_tx, received) = mpsc::unbounded_channel();
        let (sent, sent_rx) = mpsc::unbounded_channel();
        (Self { sent, received: Mutex::new(received) }, received_tx, sent_rx)
    }
}

#[async_trait::async_trait]
impl Conn for QueuedConn {
    async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
        Ok(())
    }

    async fn recv(&self, buffer: &mut [u8]) -> webrtc_util::Result<usize> {
        let Some(datagram) = self.received.lock().await.recv().await else {
            return Err(webrtc_util::Error::ErrClosedListener);
        };
        let len = datagram.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram[..len]);
        Ok(len)
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
        let len = self.recv(buffer).await?;
        Ok((len, self.local_addr()?))
    }

    async fn send(&self, datagram: &[u8]) -> webrtc_util::Result<usize> {
        let _ = self.sent.send(datagram.to_vec());
        Ok(datagram.len())
    }

    async fn send_to(&self, datagram: &[u8], _: SocketAddr) -> webrtc_util::Result<usize> {
        self.send(datagram).await
    }

    fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
        Ok(SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> webrtc_util::Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}
