//! The WebSocket: frames in and out of one socket, heartbeat and reconnection.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use controlplane_room::Input;
use prometheus::IntGauge;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::compat::code;
use super::hub::Hub;
use super::rpc::{self, Request, Unreadable};
use super::session::{Frame, Outbox, RpcSession, Seat};

/// Longest frame accepted from a client, in bytes.
pub const MAX_FRAME: usize = 1 << 20;
/// Sockets open at a time; each may hold some megabytes for a slow reader.
pub const MAX_SOCKETS: i64 = 50_000;
/// Ping interval assumed until the client tells its own.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(20);
/// Intervals that may pass without a ping.
const MISSED_PINGS: u32 = 3;
/// Bounds of the interval that a client may choose.
const INTERVALS_MS: std::ops::RangeInclusive<u64> = 1_000..=60_000;
/// How long one frame may take to leave.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
const WATCHDOG_REASON: &str = "Close for not receive ping from client";

/// Who opened a socket.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// `finalUserId`: the first 16 characters of the HTTP session.
    pub user: String,
    /// Network address.
    pub address: String,
}

/// Serves one socket until it closes.
pub async fn serve(hub: Arc<Hub>, visitor: Visitor, mut socket: WebSocket) {
    let (outbox, mut queue) = Outbox::new();
    let cut = outbox.cut.clone();
    let mut line = Line {
        hub: hub.clone(),
        visitor,
        outbox,
        session: None,
        interval: None,
        deadline: Instant::now() + DEFAULT_INTERVAL * MISSED_PINGS,
    };
    let _open = OpenSocket::count(hub.metrics.sockets.clone());
    loop {
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Text(text))) => line.read(text.as_bytes()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
            frame = queue.next() => match frame {
                Some(Frame::Text(text)) => {
                    let sent = tokio::time::timeout(SEND_TIMEOUT, socket.send(Message::Text(text.into()))).await;
                    if !matches!(sent, Ok(Ok(()))) {
                        break;
                    }
                }
                Some(Frame::Close(code, reason)) => {
                    close(&mut socket, code, reason).await;
                    break;
                }
                None => break,
            },
            () = tokio::time::sleep_until(line.deadline) => {
                close(&mut socket, 1000, WATCHDOG_REASON).await;
                break;
            }
            () = cut.cancelled() => break,
        }
    }
    if let Some((session, generation)) = line.session
        && session.detach(generation)
    {
        hub.socket_lost(&session).await;
    }
}

async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code, reason: reason.into() };
    // A client that is gone cannot be told so.
    let _ = tokio::time::timeout(SEND_TIMEOUT, socket.send(Message::Close(Some(frame)))).await;
}

/// Counts a socket for as long as it is served.
struct OpenSocket(IntGauge);

impl OpenSocket {
    fn count(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// One socket's state.
struct Line {
    hub: Arc<Hub>,
    visitor: Visitor,
    outbox: Outbox,
    session: Option<(Arc<RpcSession>, u64)>,
    /// Fixed by the first ping.
    interval: Option<Duration>,
    deadline: Instant,
}

impl Line {
    fn read(&mut self, data: &[u8]) {
        let request = match rpc::json_rpc(data) {
            Ok(request) => request,
            Err(Unreadable::Response) => return,
            Err(Unreadable::Parse(why)) => {
                return self.send(rpc::protocol_error(&Value::Null, -32700, &format!("Parse error: {why}")));
            }
            Err(Unreadable::Invalid(id, why)) => {
                return self.send(rpc::protocol_error(&id, -32600, &format!("Invalid request: {why}")));
            }
        };
        match request.method.as_str() {
            "ping" => self.ping(&request),
            "connect" => self.connect(&request),
            "closeSession" => {
                let mut bye = Map::new();
                bye.insert("value".into(), "bye".into());
                self.send(rpc::success(&request.id, bye, None));
                self.outbox.send(Frame::Close(1000, ""));
            }
            _ => {
                let session = self.session();
                if let Err(id) = session.enqueue(request) {
                    self.send(rpc::protocol_error(&id, -32000, "Too many requests are waiting"));
                }
            }
        }
    }

    fn ping(&mut self, request: &Request) {
        let asked = request.params.get("interval").and_then(Value::as_u64);
        let interval = *self.interval.get_or_insert_with(|| {
            asked.map_or(DEFAULT_INTERVAL, |ms| {
                Duration::from_millis(ms.clamp(*INTERVALS_MS.start(), *INTERVALS_MS.end()))
            })
        });
        self.deadline = Instant::now() + interval * MISSED_PINGS;
        let mut pong = Map::new();
        pong.insert("value".into(), "pong".into());
        self.send(rpc::success(&request.id, pong, None));
    }

    fn connect(&mut self, request: &Request) {
        self.deadline = Instant::now() + self.interval.unwrap_or(DEFAULT_INTERVAL) * MISSED_PINGS;
        let mut result = Map::new();
        let Some(id) = request.optional_text("sessionId") else {
            let session = self.session();
            result.insert("value".into(), "OK".into());
            return self.send(rpc::success(&request.id, result, Some(&session.id)));
        };
        // Only a participant can come back: before a join there is nothing to come back to.
        let found = self.hub.session(id).filter(|session| session.seat.get().is_some());
        let Some(session) = found else {
            return self.send(rpc::protocol_error(&request.id, code::RECONNECTION, "reconnection error"));
        };
        let generation = session.attach(self.outbox.clone());
        if let Some(Seat { room, participant }) = session.seat.get() {
            room.step(self.hub.now_ms(), Input::SocketBack { participant: participant.clone() }, &mut |_, _| {});
        }
        result.insert("value".into(), "reconnection successful".into());
        self.send(rpc::success(&request.id, result, Some(&session.id)));
        self.session = Some((session, generation));
    }

    /// The socket's RPC session, made at the first need.
    fn session(&mut self) -> Arc<RpcSession> {
        let (session, _) = self.session.get_or_insert_with(|| {
            let session = self.hub.new_session(self.visitor.user.clone(), self.visitor.address.clone());
            let generation = session.attach(self.outbox.clone());
            (session, generation)
        });
        session.clone()
    }

    fn send(&self, text: String) {
        self.outbox.send(Frame::Text(text));
    }
}
