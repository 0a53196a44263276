//! JSON-RPC over a WebSocket: requests with their answers, notifications, the heartbeat, and coming back on a new socket.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::tls::Trust;

/// As the clients have them.
const TIMEOUT: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_millis(5_000);
/// `Connection closed by client`.
const CLOSED_BY_CLIENT: u16 = 4102;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<Result<Value, RpcError>>>>>;

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RpcError {
    #[error("WebSocket: {0}")]
    Socket(String),
    #[error("{method}: error {code}, {message}")]
    Refused { method: String, code: i64, message: String },
    #[error("{0}: no answer within 10 s")]
    Timeout(String),
    #[error("{0}: the socket was lost before the answer")]
    Lost(String),
    #[error("{method}: the answer has no {member}")]
    Unexpected { method: &'static str, member: &'static str },
}

/// What the server sends by itself.
#[derive(Debug)]
pub(crate) enum Incoming {
    Notification {
        method: String,
        params: Value,
    },
    /// The socket is gone; nothing more comes of it.
    Lost,
}

/// One socket. Dropping it cuts it, as a network would.
pub(crate) struct Rpc {
    outgoing: mpsc::UnboundedSender<Message>,
    pending: Pending,
    ids: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Rpc {
    /// Opens the socket of a token's server, and begins to ping. `ids` go on from an earlier socket's. What comes in by
    /// itself goes to `incoming`.
    pub(crate) async fn open(
        url: &str,
        trust: Trust,
        ids: Arc<AtomicU64>,
        incoming: mpsc::UnboundedSender<Incoming>,
    ) -> Result<Self, RpcError> {
        let opening = tokio_tungstenite::connect_async_tls_with_config(url, None, true, trust.connector());
        let opened = tokio::time::timeout(TIMEOUT, opening).await;
        let (socket, _) = opened
            .map_err(|_| RpcError::Socket(format!("{url} does not answer within 10 s")))?
            .map_err(|error| RpcError::Socket(format!("{url}: {error}")))?;
        let (outgoing, queue) = mpsc::unbounded_channel();
        let pending = Pending::default();
        let carrier = tokio::spawn(carry(socket, queue, Arc::clone(&pending), incoming));
        Ok(Self { outgoing, pending, ids, tasks: vec![carrier] })
    }

    /// Begins the heartbeat.
    pub(crate) fn keep_pinging(&mut self) {
        let (outgoing, ids) = (self.outgoing.clone(), Arc::clone(&self.ids));
        self.tasks.push(tokio::spawn(async move {
            let mut params = Some(json!({ "interval": PING_EVERY.as_millis() as u64 }));
            loop {
                let id = ids.fetch_add(1, Ordering::Relaxed);
                if outgoing.send(request(id, "ping", params.take())).is_err() {
                    return;
                }
                tokio::time::sleep(PING_EVERY).await;
            }
        }));
    }

    /// Sends a request and waits for its result.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (answered, answer) = oneshot::channel();
        lock(&self.pending).insert(id, answered);
        let lost = || RpcError::Lost(method.to_owned());
        self.outgoing.send(request(id, method, Some(params))).map_err(|_| lost())?;
        let answer = tokio::time::timeout(TIMEOUT, answer).await;
        lock(&self.pending).remove(&id);
        match answer {
            Err(_) => Err(RpcError::Timeout(method.to_owned())),
            Ok(Err(_)) => Err(lost()),
            Ok(Ok(Err(RpcError::Refused { code, message, .. }))) => {
                Err(RpcError::Refused { method: method.to_owned(), code, message })
            }
            Ok(Ok(result)) => result,
        }
    }

    /// Closes the socket as a client that has left does.
    pub(crate) fn close(&self) {
        let frame = CloseFrame { code: CLOSED_BY_CLIENT.into(), reason: "Connection closed by client".into() };
        let _ = self.outgoing.send(Message::Close(Some(frame)));
    }
}

impl Drop for Rpc {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl RpcError {
    /// A name for counting errors by kind.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Socket(_) => "websocket cannot be opened".to_owned(),
            Self::Refused { method, code, .. } => format!("{method} refused with {code}"),
            Self::Timeout(method) => format!("{method} not answered in time"),
            Self::Lost(method) => format!("websocket lost during {method}"),
            Self::Unexpected { method, .. } => format!("{method} answered in an unknown form"),
        }
    }
}

fn request(id: u64, method: &str, params: Option<Value>) -> Message {
    let mut request = json!({ "jsonrpc": "2.0", "method": method, "id": id });
    if let Some(params) = params {
        request["params"] = params;
    }
    Message::text(request.to_string())
}

async fn carry(
    socket: Socket,
    mut queue: mpsc::UnboundedReceiver<Message>,
    pending: Pending,
    incoming: mpsc::UnboundedSender<Incoming>,
) {
    let (mut sink, mut stream) = socket.split();
    loop {
        tokio::select! {
            message = queue.recv() => {
                let Some(message) = message else { break };
                let closes = message.is_close();
                if sink.send(message).await.is_err() {
                    break;
                }
                if closes {
                    // The server's own close ends the stream.
                    let _ = tokio::time::timeout(TIMEOUT, async { while let Some(Ok(_)) = stream.next().await {} }).await;
                    break;
                }
            }
            message = stream.next() => match message {
                Some(Ok(Message::Text(text))) => dispatch(&text, &pending, &incoming),
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
        }
    }
    lock(&pending).clear();
    let _ = incoming.send(Incoming::Lost);
}

fn dispatch(text: &str, pending: &Pending, incoming: &mpsc::UnboundedSender<Incoming>) {
    let Ok(mut message) = serde_json::from_str::<Value>(text) else { return };
    if let Some(method) = message["method"].as_str().map(str::to_owned) {
        let _ = incoming.send(Incoming::Notification { method, params: message["params"].take() });
        return;
    }
    let Some(answered) = message["id"].as_u64().and_then(|id| lock(pending).remove(&id)) else { return };
    let error = message["error"].take();
    let answer = if error.is_null() {
        Ok(message["result"].take())
    } else {
        let message = error["message"].as_str().unwrap_or("no reason given").to_owned();
        Err(RpcError::Refused { method: String::new(), code: error["code"].as_i64().unwrap_or(0), message })
    };
    let _ = answered.send(answer);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
