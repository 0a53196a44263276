//! `/openvidu/info`: a line of text for everything that happens to a media path, for whoever watches the server.
//!
//! As in OpenVidu it asks for no password, so that it names streams and tells states, but no addresses.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dataplane_protocol::{TransportEvent, TransportState};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use super::compat::iso_time;
use super::hub::Hub;
use crate::dataplane::Notice;

/// Listeners at a time: each event is looked up for every one of them.
pub(super) const MAX_LISTENERS: usize = 16;
/// Longest message that is read, and forgotten, in bytes.
const MAX_READ: usize = 1024;

pub(super) async fn listen(State(hub): State<Arc<Hub>>, upgrade: WebSocketUpgrade) -> Response {
    let Ok(permit) = hub.media.listeners().try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    // From here on nothing is missed: the client takes itself for connected once it has the answer.
    let notices = hub.media.notices();
    let upgrade = upgrade.max_message_size(MAX_READ).max_frame_size(MAX_READ);
    upgrade.on_upgrade(move |socket| feed(hub, notices, socket, permit))
}

async fn feed(hub: Arc<Hub>, mut notices: broadcast::Receiver<Notice>, mut socket: WebSocket, _: OwnedSemaphorePermit) {
    loop {
        let notice = tokio::select! {
            notice = notices.recv() => notice,
            said = socket.recv() => match said {
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return,
            },
        };
        let line = match notice {
            Ok(Notice::Transport(event)) => line(&hub, &event),
            Ok(_) | Err(RecvError::Lagged(_)) => None,
            Err(RecvError::Closed) => return,
        };
        if let Some(line) = line
            && socket.send(Message::Text(line.into())).await.is_err()
        {
            return;
        }
    }
}

/// One event in words; `None` when nobody has the path any more.
fn line(hub: &Hub, event: &TransportEvent) -> Option<String> {
    let endpoint = hub.all_rooms().iter().find_map(|room| {
        let inner = room.lock();
        inner.room.participants().iter().find_map(|participant| {
            let own = participant.stream.as_ref().filter(|stream| stream.transport == event.transport);
            let received = || participant.subscriptions.iter().find(|s| s.transport == event.transport);
            own.map(|stream| format!("{} (publisher)", stream.id))
                .or_else(|| received().map(|s| format!("{}_{} (subscriber)", participant.id, s.stream)))
        })
    })?;
    let (kind, state) = match event.state() {
        TransportState::New => ("IceComponentStateChanged", "NEW"),
        TransportState::Connecting => ("IceComponentStateChanged", "CONNECTING"),
        TransportState::Connected => ("ConnectionStateChanged", "CONNECTED"),
        TransportState::Disconnected => ("IceComponentStateChanged", "DISCONNECTED"),
        TransportState::Failed => ("IceComponentStateChanged", "FAILED"),
        TransportState::Closed => ("ConnectionStateChanged", "DISCONNECTED"),
    };
    Some(format!("KMS event [{kind}] -> {endpoint} | state: {state} | {}", iso_time(hub.now_ms())))
}
