//! One participant: joins, publishes if it is one of the room's publishers, subscribes to all others, and does what the
//! run asks for: leaving and coming back, losing its socket, going.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::media::{MediaEnd, MediaError, Pending};
use super::rooms::Room;
use crate::openvidu::{Incoming, RestError, Rpc, RpcError};
use crate::peer::{Identity, PeerError};
use crate::recorder::Recorder;
use crate::stage::Stage;

/// Attempts to restore media or a seat before it is given up.
const ATTEMPTS: u32 = 3;
/// Between two attempts, as the clients have it.
const PAUSE: Duration = Duration::from_secs(3);

/// What a run asks of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Leaves, and comes back after so long.
    LeaveAndRejoin(Duration),
    /// Loses its socket without a word, and reconnects.
    DropSocket,
    /// Leaves for good.
    Leave,
}

/// Why a participant is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BotError {
    #[error("{0}")]
    Rest(#[from] RestError),
    #[error("{0}")]
    Rpc(#[from] RpcError),
    #[error("{0}")]
    Media(#[from] MediaError),
    #[error("no certificate: {0}")]
    Identity(#[from] PeerError),
    #[error("the token is no URL: {0}")]
    Token(String),
}

/// Who takes part.
pub(crate) struct Participant {
    pub(crate) stage: Arc<Stage>,
    pub(crate) room: Arc<Room>,
    /// Its place in the room; the first ones publish.
    pub(crate) place: usize,
    pub(crate) publishes: bool,
    pub(crate) seed: u64,
}

/// A joined participant.
struct Seat {
    rpc: Rpc,
    url: String,
    ids: Arc<AtomicU64>,
    rpc_session: String,
    connection: String,
    server_offers: bool,
    incoming: mpsc::UnboundedReceiver<Incoming>,
    incoming_tx: mpsc::UnboundedSender<Incoming>,
    ends: mpsc::UnboundedReceiver<MediaEnd>,
    ends_tx: mpsc::UnboundedSender<MediaEnd>,
    identity: Identity,
    /// The own stream and its media.
    publication: Option<(String, Task)>,
    /// By the publisher's connection.
    subscriptions: HashMap<String, Subscription>,
    attempts: HashMap<String, u32>,
    random: SmallRng,
    began: Instant,
}

struct Subscription {
    stream: Stream,
    _task: Task,
}

/// A stream as the server lists it.
#[derive(Clone, Debug)]
struct Stream {
    id: String,
    audio: bool,
    video: bool,
}

/// A task that ends when nobody wants it any more.
struct Task(JoinHandle<()>);

/// What became of a seat.
enum Ending {
    Left,
    Back(Duration),
    Lost,
}

impl Participant {
    /// Takes part until told to leave.
    pub(crate) async fn run(self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let recorder = Arc::clone(&self.stage.recorder);
        let mut failures = 0;
        loop {
            let pause = match self.join().await {
                Ok(mut seat) => {
                    failures = 0;
                    let ending = self.stay(&mut seat, &mut commands).await;
                    if matches!(ending, Ending::Lost) {
                        self.room.missing(self.place, self.publishes, Instant::now());
                    }
                    if let Some((stream, _)) = &seat.publication {
                        recorder.unpublishes(stream);
                    }
                    match ending {
                        Ending::Left => return,
                        Ending::Back(pause) => pause,
                        Ending::Lost => PAUSE,
                    }
                }
                Err(error) => {
                    self.room.missing(self.place, self.publishes, Instant::now());
                    self.failed("join", &error);
                    failures += 1;
                    if failures == ATTEMPTS {
                        recorder.error("participant gave up joining");
                        return;
                    }
                    PAUSE
                }
            };
            let back = tokio::time::sleep(pause);
            tokio::pin!(back);
            loop {
                tokio::select! {
                    () = &mut back => break,
                    command = commands.recv() => if matches!(command, None | Some(Command::Leave)) {
                        return;
                    },
                }
            }
        }
    }

    fn failed(&self, what: &str, error: &BotError) {
        let kind = match error {
            BotError::Rest(RestError::Refused { call, status, .. }) => format!("{call} refused with {status}"),
            BotError::Rest(RestError::Unreachable { .. }) => "REST unreachable".to_owned(),
            BotError::Rpc(error) => error.kind(),
            BotError::Media(error) => format!("{what}: {error}"),
            other => format!("{what}: {other}"),
        };
        self.stage.explain(&kind, error);
        self.stage.recorder.error(kind);
    }

    async fn join(&self) -> Result<Seat, BotError> {
        let Stage { rest, recorder, trust, .. } = &*self.stage;
        let began = Instant::now();
        let role = if self.publishes { "PUBLISHER" } else { "SUBSCRIBER" };
        let token = rest.token(&self.room.session, role, "").await?;
        let url = socket_url(&token).ok_or_else(|| BotError::Token(token.clone()))?;
        let (incoming_tx, incoming) = mpsc::unbounded_channel();
        let ids = Arc::new(AtomicU64::new(0));
        let mut rpc = Rpc::open(&url, *trust, Arc::clone(&ids), incoming_tx.clone()).await?;
        rpc.keep_pinging();
        // Applications show one or the other.
        let name = format!("bot {}", self.place + 1);
        let params = json!({
            "token": token, "session": self.room.session, "platform": "millrace-loadtest", "sdkVersion": "2.32.1",
            "metadata": json!({ "clientData": name, "name": name }).to_string(), "secret": "",
            "recorder": false, "stt": false,
        });
        let joined = rpc.call("joinRoom", params).await?;
        let text = |member: &'static str| {
            let text = joined[member].as_str().map(str::to_owned);
            text.ok_or(RpcError::Unexpected { method: "joinRoom", member })
        };
        let (ends_tx, ends) = mpsc::unbounded_channel();
        let mut random = SmallRng::seed_from_u64(self.seed ^ recorder.joins.fetch_add(1, Ordering::Relaxed) << 32);
        let mut seat = Seat {
            url,
            ids,
            rpc_session: text("sessionId")?,
            connection: text("id")?,
            server_offers: joined["mediaServer"] == "mediasoup",
            rpc,
            incoming,
            incoming_tx,
            ends,
            ends_tx,
            identity: Identity::generate("", "")?,
            publication: None,
            subscriptions: HashMap::new(),
            attempts: HashMap::new(),
            began,
            random: SmallRng::seed_from_u64(random.random()),
        };
        self.room.joined(self.place, Instant::now());
        // A stream that is there must be seen even before the own one is published; browsers do both at once.
        for (owner, stream) in joined["value"].as_array().into_iter().flatten().flat_map(streams_of) {
            let to_join = seat.subscriptions.is_empty().then_some(began);
            self.subscribe(&mut seat, owner, stream, to_join, false).await;
        }
        if self.publishes {
            self.publish(&mut seat, false).await?;
        }
        Ok(seat)
    }

    async fn stay(&self, seat: &mut Seat, commands: &mut mpsc::UnboundedReceiver<Command>) -> Ending {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::DropSocket) => if let Err(error) = self.reconnect(seat).await {
                        self.failed("reconnect", &error);
                        return Ending::Lost;
                    },
                    Some(Command::LeaveAndRejoin(pause)) => {
                        self.leave(seat).await;
                        return Ending::Back(pause);
                    }
                    Some(Command::Leave) | None => {
                        self.leave(seat).await;
                        return Ending::Left;
                    }
                },
                Some(incoming) = seat.incoming.recv() => match incoming {
                    Incoming::Notification { method, params } => {
                        if self.heard(seat, &method, params).await {
                            return Ending::Lost;
                        }
                    }
                    Incoming::Lost => {
                        self.stage.recorder.error("websocket lost");
                        if let Err(error) = self.reconnect(seat).await {
                            self.failed("reconnect", &error);
                            return Ending::Lost;
                        }
                    }
                },
                Some(end) = seat.ends.recv() => self.restore(seat, end).await,
            }
        }
    }

    /// True: it was expelled.
    async fn heard(&self, seat: &mut Seat, method: &str, params: Value) -> bool {
        let connection = params["connectionId"].as_str().unwrap_or_default();
        match method {
            "participantPublished" => {
                for (owner, stream) in streams_of(&params) {
                    self.subscribe(seat, owner, stream, None, false).await;
                }
            }
            "participantUnpublished" if connection == seat.connection => {
                if let Some((stream, _)) = seat.publication.take() {
                    let reason = params["reason"].as_str().unwrap_or("no reason").to_owned();
                    self.stage.recorder.unpublishes(&stream);
                    let kind = format!("publication ended by the server: {reason}");
                    let _ = seat.ends_tx.send(MediaEnd { stream, is_own: true, kind, reason });
                }
            }
            "participantUnpublished" | "participantLeft" => drop(seat.subscriptions.remove(connection)),
            "participantEvicted" if connection == seat.connection => {
                self.stage.recorder.error(format!("evicted: {}", params["reason"].as_str().unwrap_or("no reason")));
                seat.rpc.close();
                return true;
            }
            "forciblyReconnectSubscriber" => {
                if let Some(subscription) = seat.subscriptions.get(connection) {
                    let stream = subscription.stream.clone();
                    self.subscribe(seat, connection.to_owned(), stream, None, true).await;
                }
            }
            _ => {}
        }
        false
    }

    async fn leave(&self, seat: &Seat) {
        self.stage.recorder.leaves.fetch_add(1, Ordering::Relaxed);
        self.room.left(self.place);
        if let Err(error) = seat.rpc.call("leaveRoom", json!({})).await {
            self.failed("leave", &error.into());
        }
        seat.rpc.close();
        // The close must be on its way before the socket is dropped.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// A new socket for the same seat.
    async fn reconnect(&self, seat: &mut Seat) -> Result<(), BotError> {
        let url = format!("{}&reconnect=true", seat.url);
        let params = json!({ "sessionId": seat.rpc_session, "reconnect": true });
        let (incoming_tx, incoming) = mpsc::unbounded_channel();
        // What the old socket still says is of no interest.
        seat.incoming = incoming;
        seat.incoming_tx = incoming_tx;
        let mut attempt = 0;
        seat.rpc = loop {
            attempt += 1;
            let opened = Rpc::open(&url, self.stage.trust, Arc::clone(&seat.ids), seat.incoming_tx.clone()).await;
            match opened {
                Ok(rpc) => break rpc,
                Err(error) if attempt == ATTEMPTS => return Err(error.into()),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        seat.rpc.call("connect", params).await?;
        seat.rpc.keep_pinging();
        self.stage.recorder.reconnects.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Negotiates lost media anew, as the clients do when their connectivity checks fail.
    async fn restore(&self, seat: &mut Seat, end: MediaEnd) {
        let recorder = &self.stage.recorder;
        self.stage.explain(&end.kind, &end.reason);
        recorder.error(end.kind);
        let attempts = seat.attempts.entry(end.stream.clone()).or_insert(0);
        *attempts += 1;
        if *attempts > ATTEMPTS {
            recorder.error("media given up");
            return;
        }
        if end.is_own {
            self.publish_again(seat).await;
            return;
        }
        let lost = seat.subscriptions.iter().find(|(_, one)| one.stream.id == end.stream);
        if let Some((owner, stream)) = lost.map(|(owner, one)| (owner.clone(), one.stream.clone())) {
            self.subscribe(seat, owner, stream, None, true).await;
        }
    }

    /// Restores the own stream, or begins a new one if the server has ended it.
    async fn publish_again(&self, seat: &mut Seat) {
        for attempt in 1..=ATTEMPTS {
            let again = seat.publication.is_some();
            match self.publish(seat, again).await {
                Ok(()) => return,
                Err(error) => self.failed("publish again", &error),
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(PAUSE).await;
            }
        }
        self.stage.recorder.error("media given up");
    }

    async fn publish(&self, seat: &mut Seat, again: bool) -> Result<(), BotError> {
        let clips = &self.stage.clips;
        let pending = Pending::to_publish(&self.stage, &seat.identity, &mut seat.random);
        let offer = pending.sdp();
        let own = seat.publication.as_ref().map(|(stream, _)| stream.clone());
        let answer = match (own, again) {
            (Some(stream), true) => {
                seat.rpc.call("reconnectStream", json!({ "stream": stream, "sdpString": offer })).await?
            }
            _ => {
                let (audio, video) = (clips.audio.is_some(), clips.picture());
                let mut params = json!({
                    "sdpOffer": offer, "doLoopback": false, "hasAudio": audio, "hasVideo": video.is_some(),
                    "audioActive": audio, "videoActive": video.is_some(), "frameRate": video.map_or(-1, |v| i64::from(v.fps)),
                });
                if let Some(video) = video {
                    params["typeOfVideo"] = "CAMERA".into();
                    params["videoDimensions"] =
                        json!({ "width": video.width, "height": video.height }).to_string().into();
                }
                seat.rpc.call("publishVideo", params).await?
            }
        };
        let member = |member: &'static str| {
            answer[member].as_str().ok_or(RpcError::Unexpected { method: "publishVideo", member })
        };
        let stream = member("id")?.to_owned();
        self.room.published(self.place, Instant::now());
        let task = pending.publish(
            &self.stage,
            &stream,
            member("sdpAnswer")?,
            (!again).then_some(seat.began),
            seat.ends_tx.clone(),
        )?;
        seat.publication = Some((stream, Task(task)));
        Ok(())
    }

    /// Subscribes; with `to_join` the first packet ends the time that joining took. A failure is counted.
    async fn subscribe(&self, seat: &mut Seat, owner: String, stream: Stream, to_join: Option<Instant>, again: bool) {
        match self.negotiate(seat, &stream, to_join, again).await {
            Ok(task) => drop(seat.subscriptions.insert(owner, Subscription { stream, _task: task })),
            // The stream may have ended meanwhile, which is nobody's fault.
            Err(BotError::Rpc(RpcError::Refused { code: 102 | 105 | 303, .. })) => {}
            Err(error) => self.failed("subscribe", &error),
        }
    }

    async fn negotiate(
        &self,
        seat: &mut Seat,
        stream: &Stream,
        to_join: Option<Instant>,
        again: bool,
    ) -> Result<Task, BotError> {
        let began = Instant::now();
        let answered = if again { "reconnectStream" } else { "receiveVideoFrom" };
        let (answer_as, stream_as) = if again { ("sdpString", "stream") } else { ("sdpAnswer", "sender") };
        let text = |answer: &Value, method: &'static str, member: &'static str| {
            answer[member].as_str().map(str::to_owned).ok_or(RpcError::Unexpected { method, member })
        };
        let (pending, server) = if seat.server_offers {
            let params = json!({ "sender": stream.id, "reconnect": again });
            let offered = seat.rpc.call("prepareReceiveVideoFrom", params).await?;
            let offer = text(&offered, "prepareReceiveVideoFrom", "sdpOffer")?;
            let pending = Pending::to_answer(&self.stage, &seat.identity, &mut seat.random, &offer)?;
            let mut params = json!({ stream_as: stream.id, answer_as: pending.sdp() });
            if again {
                params["forciblyReconnect"] = false.into();
            }
            seat.rpc.call(answered, params).await?;
            (pending, offer)
        } else {
            let pending =
                Pending::to_receive(&self.stage, &seat.identity, &mut seat.random, (stream.audio, stream.video));
            let mut params = json!({ stream_as: stream.id, "sdpOffer": pending.sdp() });
            if again {
                params["forciblyReconnect"] = false.into();
            }
            let result = seat.rpc.call(answered, params).await?;
            let answer = text(&result, "receiveVideoFrom", "sdpAnswer")?;
            (pending, answer)
        };
        let recorder: Arc<Recorder> = Arc::clone(&self.stage.recorder);
        let first_packet = Box::new(move || {
            recorder.subscribed_within(began.elapsed());
            if let Some(began) = to_join {
                recorder.joined_within(began.elapsed());
            }
        });
        let expects = (stream.audio, stream.video, self.room.index);
        let task = pending.subscribe(&self.stage, &stream.id, &server, expects, first_packet, seat.ends_tx.clone())?;
        Ok(Task(task))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Streams of a participant as `joinRoom` and `participantPublished` list them, with its connection.
fn streams_of(participant: &Value) -> Vec<(String, Stream)> {
    let owner = participant["id"].as_str().unwrap_or_default();
    let streams = participant["streams"].as_array().into_iter().flatten();
    let stream = |stream: &Value| {
        Some((
            owner.to_owned(),
            Stream {
                id: stream["id"].as_str()?.to_owned(),
                audio: stream["hasAudio"].as_bool().unwrap_or(true),
                video: stream["hasVideo"].as_bool().unwrap_or(true),
            },
        ))
    };
    streams.filter_map(stream).collect()
}

/// The socket of a token, as the clients derive it.
fn socket_url(token: &str) -> Option<String> {
    let (scheme, rest) = token.split_once("://").filter(|(scheme, _)| matches!(*scheme, "ws" | "wss"))?;
    let (place, query) = rest.split_once('?')?;
    let host = place.split('/').next()?;
    let session = query.split('&').find_map(|part| part.strip_prefix("sessionId="))?;
    Some(format!("{scheme}://{host}/openvidu?sessionId={session}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_the_tokens() {
        let token = "wss://ov.example.com:4443?sessionId=ses_A&token=tok_B";
        assert_eq!(socket_url(token).as_deref(), Some("wss://ov.example.com:4443/openvidu?sessionId=ses_A"));
        assert_eq!(socket_url("tok_B"), None);
        assert_eq!(socket_url("https://ov.example.com?sessionId=ses_A"), None);
    }

    #[test]
    fn streams_are_read_from_both_shapes() {
        let listed = json!({ "id": "con_A", "streams": [{ "id": "str_A", "hasAudio": false, "hasVideo": true }] });
        let streams = streams_of(&listed);
        assert_eq!(streams.len(), 1);
        assert_eq!((streams[0].0.as_str(), streams[0].1.audio, streams[0].1.video), ("con_A", false, true));
        assert!(streams_of(&json!({ "id": "con_A" })).is_empty());
    }
}
