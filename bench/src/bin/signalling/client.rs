//! A scripted participant: what `openvidu-browser` sends, with SDPs of a template and nobody behind them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use millrace_bench::Failure;

/// As clients do.
const PING: Duration = Duration::from_secs(5);

/// What all participants share.
pub(crate) struct Plan {
    size: usize,
    subscriptions: usize,
    /// Where everybody waits for everybody: with a socket, knowing all, before leaving, having left.
    barrier: Barrier,
    /// Everybody's stream.
    streams: Mutex<Vec<String>>,
}

impl Plan {
    pub(crate) fn new(size: usize, subscriptions: usize, barrier: Barrier) -> Self {
        Self { size, subscriptions, barrier, streams: Mutex::new(vec![String::new(); size]) }
    }

    /// Waits for everybody.
    pub(crate) async fn meet(&self) {
        self.barrier.wait().await;
    }
}

/// What one participant has measured.
pub(crate) struct Told {
    pub(crate) joined: Duration,
    pub(crate) published: Duration,
    pub(crate) subscribed: Vec<Duration>,
    /// Frames that it got until all knew all.
    pub(crate) frames: usize,
}

/// Median and 99th percentile.
#[derive(Clone, Copy, Default)]
pub(crate) struct Share {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Share {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |part: usize| times.get((times.len() * part / 100).min(times.len().saturating_sub(1))).copied();
        Self { p50: at(50).unwrap_or_default(), p99: at(99).unwrap_or_default() }
    }
}

/// Plays a participant from its socket to its departure.
pub(crate) async fn run(
    address: SocketAddr,
    token: String,
    index: usize,
    delay: Duration,
    plan: Arc<Plan>,
) -> Result<Told, Failure> {
    let mut client = Client::open(address).await?;
    client.call("ping", json!({"interval": 5000})).await?;
    client.wait_for(plan.meet()).await?;

    client.wait_for(tokio::time::sleep(delay)).await?;
    client.frames = 0;
    let (result, joined) = client.call("joinRoom", join_params("big", &token)).await?;
    for participant in result["value"].as_array().into_iter().flatten() {
        client.participants += 1;
        client.streams += participant["streams"].as_array().map_or(0, Vec::len);
    }
    let (result, published) = client.call("publishVideo", publish_params(index)).await?;
    let stream = result["id"].as_str().ok_or("a publication without an id")?.to_owned();
    plan.streams.lock().unwrap_or_else(PoisonError::into_inner)[index] = stream;
    while client.participants + 1 < plan.size || client.streams + 1 < plan.size {
        client.next().await?;
    }
    let frames = client.frames;
    client.wait_for(plan.meet()).await?;

    let mut subscribed = Vec::with_capacity(plan.subscriptions);
    for n in 1..=plan.subscriptions.min(plan.size - 1) {
        let sender = plan.streams.lock().unwrap_or_else(PoisonError::into_inner)[(index + n) % plan.size].clone();
        let (result, first) =
            client.call("prepareReceiveVideoFrom", json!({"sender": sender, "reconnect": false})).await?;
        let answer = answer(result["sdpOffer"].as_str().ok_or("no offer")?, index);
        let (_, second) = client.call("receiveVideoFrom", json!({"sender": sender, "sdpAnswer": answer})).await?;
        subscribed.push(first + second);
    }
    client.wait_for(plan.meet()).await?;

    client.call("leaveRoom", json!({})).await?;
    plan.meet().await;
    Ok(Told { joined, published, subscribed, frames })
}

/// One socket.
pub(crate) struct Client {
    stream: WebSocketStream<TcpStream>,
    next: u64,
    ping: tokio::time::Interval,
    frames: usize,
    /// Others that it has heard of, and their streams.
    participants: usize,
    streams: usize,
}

/// A frame, as far as it matters.
pub(crate) enum Heard {
    Response(Value),
    Signal,
    Other,
}

impl Client {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (stream, _) =
            tokio_tungstenite::client_async(format!("ws://{address}/openvidu?sessionId=big"), socket).await?;
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { stream, next: 0, ping, frames: 0, participants: 0, streams: 0 })
    }

    /// A request; its result, and how long that took.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Result<(Value, Duration), Failure> {
        let started = Instant::now();
        let id = self.send(method, params).await?;
        loop {
            if let Heard::Response(mut response) = self.next().await?
                && response["id"] == id
            {
                let took = started.elapsed();
                return match response.get_mut("result") {
                    Some(result) => Ok((result.take(), took)),
                    None => Err(format!("{method}: {response}").into()),
                };
            }
        }
    }

    pub(crate) async fn send(&mut self, method: &str, params: Value) -> Result<u64, Failure> {
        let id = self.next;
        self.next += 1;
        let frame = json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id});
        self.stream.send(Message::Text(frame.to_string().into())).await?;
        Ok(id)
    }

    /// The next frame. Only responses are parsed, so that what is measured is the server and not this client.
    pub(crate) async fn next(&mut self) -> Result<Heard, Failure> {
        loop {
            let message = tokio::select! {
                message = self.stream.next() => message,
                _ = self.ping.tick() => {
                    self.send("ping", json!({"interval": 5000})).await?;
                    continue;
                }
            };
            let text = match message {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                other => return Err(format!("closed: {other:?}").into()),
            };
            self.frames += 1;
            let method = text.strip_prefix("{\"method\":\"").and_then(|rest| rest.split('"').next());
            return Ok(match method {
                Some("participantJoined") => {
                    self.participants += 1;
                    Heard::Other
                }
                Some("participantPublished") => {
                    self.streams += 1;
                    Heard::Other
                }
                Some("sendMessage") => Heard::Signal,
                Some(_) => Heard::Other,
                None => Heard::Response(serde_json::from_str(&text)?),
            });
        }
    }

    /// Keeps reading until something else has happened.
    pub(crate) async fn wait_for(&mut self, event: impl Future<Output = ()>) -> Result<(), Failure> {
        let mut event = std::pin::pin!(event);
        loop {
            tokio::select! {
                () = &mut event => return Ok(()),
                heard = self.next() => drop(heard?),
            }
        }
    }
}

/// What 2.32.1 sends.
pub(crate) fn join_params(session: &str, token: &str) -> Value {
    json!({
        "token": token, "session": session, "platform": "Chrome 126.0.0.0 on Linux 64-bit", "sdkVersion": "2.32.1",
        "metadata": "{\"clientData\":\"Somebody\"}", "secret": "", "recorder": false, "stt": false,
    })
}

fn publish_params(index: usize) -> Value {
    json!({
        "doLoopback": false, "hasAudio": true, "hasVideo": true, "audioActive": true, "videoActive": true,
        "typeOfVideo": "CAMERA", "frameRate": 30, "videoDimensions": "{\"width\":640,\"height\":480}",
        "sdpOffer": offer(index),
    })
}

/// Credentials of its own, as far as the server looks at them.
fn transport(index: usize, setup: &str) -> String {
    let fingerprint: Vec<_> = (0..32).map(|n| format!("{:02X}", (index + n) % 256)).collect();
    format!(
        "a=ice-ufrag:u{index:05}\r\na=ice-pwd:password{index:016}\r\na=ice-options:trickle\r\n\
         a=fingerprint:sha-256 {}\r\na=setup:{setup}\r\n",
        fingerprint.join(":")
    )
}

/// A browser's offer, with the codecs that matter.
fn offer(index: usize) -> String {
    let transport = format!("c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n{}", transport(index, "actpass"));
    let audio = 1_000_000 + index as u32;
    let (video, rtx) = (2_000_000 + index as u32, 3_000_000 + index as u32);
    let feedback = |pt: u8| {
        ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"]
            .map(|fb| format!("a=rtcp-fb:{pt} {fb}\r\n"))
            .concat()
    };
    format!(
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         a=extmap-allow-mixed\r\na=msid-semantic: WMS s\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 9 0 8\r\n{transport}a=mid:0\r\n\
         a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
         a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
         a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendonly\r\na=msid:s a\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
         a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
         a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=ssrc:{audio} cname:c\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99\r\n{transport}a=mid:1\r\n\
         a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
         a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendonly\r\na=msid:s v\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
         a=rtpmap:96 VP8/90000\r\n{}a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:98 VP9/90000\r\n{}\
         a=fmtp:98 profile-id=0\r\na=rtpmap:99 rtx/90000\r\na=fmtp:99 apt=98\r\na=ssrc-group:FID {video} {rtx}\r\n\
         a=ssrc:{video} cname:c\r\na=ssrc:{rtx} cname:c\r\n",
        feedback(96),
        feedback(98),
    )
}

/// A browser's answer: the same codecs and numbers, the other direction, its own transport.
fn answer(offer: &str, index: usize) -> String {
    let dropped = ["a=candidate", "a=end-of", "a=ice-", "a=ssrc", "a=msid:", "a=fingerprint", "a=setup"];
    let mut text = String::with_capacity(offer.len());
    for line in offer.split("\r\n").filter(|line| !line.is_empty()) {
        if line == "a=sendonly" {
            text.push_str("a=recvonly\r\n");
        } else if line.starts_with("a=mid:") {
            text.push_str(line);
            text.push_str("\r\n");
            text.push_str(&transport(index, "active"));
        } else if !dropped.iter().any(|prefix| line.starts_with(prefix)) {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    text
}
