//! The WebSocket: frames in and out of one socket, heartbeat and reconnection.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use controlplane_room::Input;
use prometheus::IntGauge;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::compat::code;
use super::hub::Hub;
use super::outbox::{Frame, Outbox};
use super::rpc::{self, Request, Unreadable};
use super::session::{Loss, RpcSession, Seat};

/// Longest frame accepted from a client, in bytes.
pub const MAX_FRAME: usize = 1 << 20;
/// Longest frame that is read, to be refused: after a longer one nothing can be read from the socket any more.
pub const MAX_READ: usize = 2 * MAX_FRAME;
/// Sockets open at a time; each may hold some megabytes for a slow reader.
pub const MAX_SOCKETS: i64 = 50_000;
/// Ping interval assumed until the client tells its own.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(20);
/// Intervals that may pass without a ping.
const MISSED_PINGS: u32 = 3;
/// How late a ping may be on a path that works.
const PING_DELAY: Duration = Duration::from_secs(2);
/// Bounds of the interval that a client may choose.
const INTERVALS_MS: std::ops::RangeInclusive<i64> = 1_000..=60_000;
/// How long one frame may take to leave.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to answer the end of the connection.
const FAREWELL: Duration = Duration::from_secs(1);
const WATCHDOG: (u16, &str) = (1000, "Close for not receive ping from client");
const TOO_LONG: (u16, &str) = (1009, "Frame of more than 1048576 bytes");

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
    let _open = OpenSocket::count(hub.metrics.sockets.clone());
    let mut line = Line::new(hub.clone(), visitor);
    let end = line.run(&mut socket).await;
    // The seat's time runs from here, however long the farewell takes.
    if let Some((session, generation)) = line.session.take() {
        hub.socket_lost(&session, generation, line.loss(end)).await;
    }
    match end {
        End::Farewell(code, reason) => farewell(&mut socket, Some((code, reason)), line.is_readable).await,
        End::Watchdog => farewell(&mut socket, Some(WATCHDOG), line.is_readable).await,
        End::Closed => farewell(&mut socket, None, line.is_readable).await,
        End::Broken | End::Cut => {}
    }
}

/// How serving a socket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client closed it.
    Closed,
    /// The connection failed.
    Broken,
    /// We close it.
    Farewell(u16, &'static str),
    /// We close it, since nothing came for too long.
    Watchdog,
    /// It was replaced, or its reader is too slow.
    Cut,
}

/// Closes the connection in order: says so unless the client did, and waits for the other side, since a connection that
/// is dropped with unread data is reset and takes what was written with it.
async fn farewell(socket: &mut WebSocket, close: Option<(u16, &'static str)>, is_readable: bool) {
    if let Some((code, reason)) = close {
        let frame = CloseFrame { code, reason: reason.into() };
        // A client that is gone cannot be told so.
        let _ = timeout(SEND_TIMEOUT, socket.send(Message::Close(Some(frame)))).await;
    }
    if is_readable {
        let _ = timeout(FAREWELL, async { while let Some(Ok(_)) = socket.recv().await {} }).await;
    } else {
        tokio::time::sleep(FAREWELL).await;
    }
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
    /// The WebSocket reads nothing after a frame that is longer than it takes.
    is_readable: bool,
}

impl Drop for Line {
    /// However serving it ends: nobody may stay in a room with a socket that is not served.
    fn drop(&mut self) {
        if let (Some((session, generation)), Ok(runtime)) = (self.session.take(), Handle::try_current()) {
            let hub = self.hub.clone();
            runtime.spawn(async move { hub.socket_lost(&session, generation, Loss::Silent).await });
        }
    }
}

impl Line {
    fn new(hub: Arc<Hub>, visitor: Visitor) -> Self {
        Self {
            hub,
            visitor,
            outbox: Outbox::default(),
            session: None,
            interval: None,
            deadline: Instant::now() + DEFAULT_INTERVAL * MISSED_PINGS,
            is_readable: true,
        }
    }

    async fn run(&mut self, socket: &mut WebSocket) -> End {
        let outbox = self.outbox.clone();
        loop {
            tokio::select! {
                received = socket.recv(), if self.is_readable => {
                    if matches!(&received, Some(Ok(message)) if !matches!(message, Message::Close(_))) {
                        outbox.heard();
                    }
                    match received {
                        Some(Ok(message)) => match self.receive(message).await {
                            Some(end) => return end,
                            None => continue,
                        },
                        Some(Err(error)) if is_too_long(&error) => {
                            self.is_readable = false;
                            self.refuse_long().await;
                        }
                        Some(Err(_)) | None => return End::Broken,
                    }
                }
                frame = outbox.next() => {
                    let text = match frame {
                        Frame::Notice(note) => note.text,
                        Frame::Answer(text) => text,
                        Frame::Close(code, reason) => return End::Farewell(code, reason),
                    };
                    tokio::select! {
                        sent = timeout(SEND_TIMEOUT, socket.send(Message::Text(text))) => match sent {
                            Ok(Ok(())) => outbox.written(),
                            Ok(Err(_)) => return End::Broken,
                            Err(_) => return End::Cut,
                        },
                        () = outbox.until_cut() => return End::Cut,
                    }
                }
                () = tokio::time::sleep_until(self.deadline) => return End::Watchdog,
                () = outbox.until_cut() => return End::Cut,
            }
        }
    }

    /// What a socket's end says of the time before it: on a path that works a ping would have come.
    fn loss(&self, end: End) -> Loss {
        let is_overdue = self.outbox.silence() > self.interval.unwrap_or(DEFAULT_INTERVAL) + PING_DELAY;
        match end {
            End::Closed | End::Broken | End::Farewell(..) if !is_overdue => Loss::Told,
            _ => Loss::Silent,
        }
    }

    async fn receive(&mut self, message: Message) -> Option<End> {
        match message {
            Message::Text(text) if text.len() <= MAX_FRAME => self.read(text.as_bytes()).await,
            Message::Text(_) => self.refuse_long().await,
            Message::Close(_) => return Some(End::Closed),
            // Binary frames mean nothing in this protocol.
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => {}
        }
        None
    }

    /// Who sends more than is accepted would do so again: its participant is told to stop, then the socket is closed.
    async fn refuse_long(&mut self) {
        if let Some(Seat { room, participant }) = self.session.as_ref().and_then(|(session, _)| session.seat.get()) {
            tracing::warn!(session = room.id, connection = participant, "frame too long, participant evicted");
            let input = Input::Lapse { participant: participant.clone() };
            let _ = self.hub.perform(room, input, &mut |_, _| {}).await;
        }
        self.outbox.push(Frame::Close(TOO_LONG.0, TOO_LONG.1));
    }

    async fn read(&mut self, data: &[u8]) {
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
            "connect" => self.connect(&request).await,
            "closeSession" => self.close_session(&request).await,
            _ => {
                let (session, generation) = self.session();
                if let Err(id) = session.enqueue(request, generation) {
                    self.send(rpc::protocol_error(&id, -32000, "Too many requests are waiting"));
                }
            }
        }
    }

    fn ping(&mut self, request: &Request) {
        // Any error on a ping starts a reconnection, so that a wrong interval is as good as none.
        let asked = request.optional_integer("interval").ok().flatten();
        let interval = *self.interval.get_or_insert_with(|| {
            asked.map_or(DEFAULT_INTERVAL, |ms| {
                Duration::from_millis(ms.clamp(*INTERVALS_MS.start(), *INTERVALS_MS.end()).unsigned_abs())
            })
        });
        self.deadline = Instant::now() + interval * MISSED_PINGS;
        let mut pong = Map::new();
        pong.insert("value".into(), "pong".into());
        self.send(rpc::success(&request.id, pong, None));
    }

    async fn connect(&mut self, request: &Request) {
        self.deadline = Instant::now() + self.interval.unwrap_or(DEFAULT_INTERVAL) * MISSED_PINGS;
        let mut result = Map::new();
        let Some(id) = request.optional_text("sessionId").unwrap_or_default() else {
            let (session, _) = self.session();
            result.insert("value".into(), "OK".into());
            return self.send(rpc::success(&request.id, result, Some(&session.id)));
        };
        // Only a participant can come back: before a join there is nothing to come back to.
        let found = self.hub.session(&id).filter(|session| session.seat.get().is_some());
        let Some(session) = found else { return self.refuse_connect(request) };
        result.insert("value".into(), "reconnection successful".into());
        let answer = rpc::success(&request.id, result, Some(&session.id));
        let attached = session.attach(&self.outbox, Some(answer.into()));
        if let Some(Seat { room, participant }) = session.seat.get() {
            let participant = participant.clone();
            let input = match attached {
                Some(_) => Input::SocketBack { participant },
                None => Input::Lapse { participant },
            };
            let _ = self.hub.perform(room, input, &mut |_, _| {}).await;
        }
        let Some(generation) = attached else { return self.refuse_connect(request) };
        // The socket now speaks for another participant than before.
        if let Some((before, generation)) = self.session.replace((session.clone(), generation))
            && before.id != session.id
        {
            self.hub.socket_lost(&before, generation, Loss::HandedOver).await;
        }
    }

    fn refuse_connect(&self, request: &Request) {
        self.send(rpc::protocol_error(&request.id, code::RECONNECTION, "reconnection error"));
    }

    async fn close_session(&mut self, request: &Request) {
        let mut bye = Map::new();
        bye.insert("value".into(), "bye".into());
        self.send(rpc::success(&request.id, bye, None));
        if let Some((session, generation)) = self.session.take() {
            self.hub.leave(&session).await;
            self.hub.socket_lost(&session, generation, Loss::HandedOver).await;
        }
        self.outbox.push(Frame::Close(1000, ""));
    }

    /// The socket's RPC session, made at the first need.
    fn session(&mut self) -> (Arc<RpcSession>, u64) {
        let (session, generation) = self.session.get_or_insert_with(|| {
            let session = self.hub.new_session(self.visitor.user.clone(), self.visitor.address.clone());
            let generation = session.attach(&self.outbox, None).unwrap_or_default();
            (session, generation)
        });
        (session.clone(), *generation)
    }

    fn send(&self, text: String) {
        self.outbox.push(Frame::Answer(text.into()));
    }
}

/// Whether a frame was longer than the WebSocket takes. The library's error type is not ours to name; a test sees to it
/// that its words stay as they are.
fn is_too_long(error: &axum::Error) -> bool {
    error.to_string().starts_with("Space limit exceeded")
}

#[cfg(test)]
mod tests;
