//! People who do what people do in a call, over a server that is killed under them, and believe only what they are told.

#![allow(unreachable_pub, reason = "a module of the test beside it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a panic is the failure")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::common::*;

/// Connections with their streams.
pub type People = BTreeMap<String, Option<String>>;

/// Longest wait for an answer of a server that may be gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(50);

/// A seeded source of numbers (SplitMix64).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub joins: usize,
    pub returns: usize,
    pub streams: usize,
    pub subscriptions: usize,
    pub signals: usize,
    pub departures: usize,
    /// Requests that were answered, coming back left out.
    pub done: usize,
    /// Requests that a crash left without an answer.
    pub cut: usize,
    pub seats_lost: usize,
    /// The last notification before a crash came again after it.
    pub repeated: usize,
}

/// What all of them share.
pub struct Script {
    address: watch::Sender<SocketAddr>,
    tally: watch::Sender<Tally>,
    tokens: Mutex<Vec<(String, String)>>,
    finished: watch::Sender<bool>,
    http: reqwest::Client,
}

impl Script {
    pub fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address: watch::Sender::new(address),
            tally: watch::Sender::new(Tally::default()),
            tokens: Mutex::default(),
            finished: watch::Sender::new(false),
            http: reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap(),
        })
    }

    /// The server is elsewhere now.
    pub fn moved(&self, address: SocketAddr) {
        self.address.send_replace(address);
    }

    pub fn tally(&self) -> Tally {
        self.tally.borrow().clone()
    }

    pub async fn until(&self, mut condition: impl FnMut(&Tally) -> bool) {
        let mut tally = self.tally.subscribe();
        let wait = tally.wait_for(|tally| condition(tally));
        assert!(
            tokio::time::timeout(Duration::from_secs(60), wait).await.is_ok(),
            "it goes no further: {:?}",
            self.tally()
        );
    }

    pub fn used_tokens(&self) -> Vec<(String, String)> {
        self.tokens.lock().unwrap().clone()
    }

    /// Everybody ends what they are doing.
    pub fn finish(&self) {
        self.finished.send_replace(true);
    }

    fn is_finished(&self) -> bool {
        *self.finished.borrow()
    }

    fn count(&self, change: impl FnOnce(&mut Tally)) {
        self.tally.send_modify(change);
    }

    /// A token for a session, once the server gives one.
    async fn token(&self, session: &str) -> String {
        loop {
            let url = format!("http://{}/openvidu/api/sessions/{session}/connection", *self.address.borrow());
            let request =
                self.http.post(url).basic_auth("OPENVIDUAPP", Some(SECRET)).json(&json!({"role": "PUBLISHER"}));
            if let Ok(response) = request.send().await
                && let Ok(made) = response.json::<Value>().await
            {
                return made["token"].as_str().unwrap_or_else(|| panic!("no token: {made}")).to_owned();
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The server has gone away.
#[derive(Debug)]
pub struct Gone;

/// What one of them believes, and the line that it hears of it by.
pub struct Picture {
    pub session: String,
    pub me: String,
    rpc: String,
    own: Option<String>,
    others: People,
    last: Value,
    /// It has just come back: the last thing heard may come again.
    is_back: bool,
    script: Arc<Script>,
    line: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    next: u64,
}

impl Picture {
    /// Who is in the room, itself too.
    pub fn everybody(&self) -> People {
        let mut everybody = self.others.clone();
        everybody.insert(self.me.clone(), self.own.clone());
        everybody
    }

    /// Hears everything that was said up to now.
    pub async fn catch_up(&mut self) {
        while self.call("ping", json!({"interval": 60_000})).await.is_err() {
            assert!(self.come_back().await, "the seat is lost at the end");
        }
    }

    /// Ceases to receive, and gives up every offer.
    pub async fn unsubscribe(&mut self) {
        for other in self.others.keys().cloned().collect::<Vec<_>>() {
            let answer =
                self.call("unsubscribeFromVideo", json!({"sender": other})).await.expect("nobody is killed now");
            assert!(answer.get("result").is_some(), "{answer}");
        }
    }

    async fn open(&mut self) {
        loop {
            let url = format!("ws://{}/openvidu?sessionId=any", *self.script.address.borrow());
            if let Ok(Ok((line, _))) = tokio::time::timeout(PATIENCE, tokio_tungstenite::connect_async(url)).await {
                self.line = Some(line);
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A request and the answer to it; what is told meanwhile is believed.
    async fn call(&mut self, method: &str, params: Value) -> Result<Value, Gone> {
        let id = self.next;
        self.next += 1;
        let frame = json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id}).to_string();
        self.line.as_mut().ok_or(Gone)?.send(Message::Text(frame.into())).await.map_err(|_| Gone)?;
        loop {
            let message = tokio::time::timeout(PATIENCE, self.line.as_mut().ok_or(Gone)?.next()).await;
            let Ok(Some(Ok(Message::Text(text)))) = message else { return Err(self.hung_up()) };
            let frame: Value = serde_json::from_str(text.as_str()).unwrap();
            if frame["id"] == json!(id) {
                self.script.count(|tally| tally.done += usize::from(method != "connect"));
                return Ok(frame);
            }
            self.hear(frame);
        }
    }

    fn hung_up(&mut self) -> Gone {
        self.line = None;
        self.script.count(|tally| tally.cut += 1);
        Gone
    }

    fn hear(&mut self, frame: Value) {
        if std::mem::take(&mut self.is_back) && frame == self.last {
            self.script.count(|tally| tally.repeated += 1);
            return;
        }
        let params = &frame["params"];
        let text = |name: &str| params[name].as_str().unwrap_or_else(|| panic!("{frame}")).to_owned();
        let message = format!("{} was told {frame}, and believed {:?}", self.me, self.others);
        match frame["method"].as_str().unwrap() {
            "participantJoined" => {
                assert!(self.others.insert(text("id"), None).is_none(), "{message}");
            }
            "participantLeft" => {
                assert!(self.others.remove(&text("connectionId")).is_some(), "{message}");
            }
            "participantPublished" => {
                let stream = params["streams"][0]["id"].as_str().unwrap().to_owned();
                let other = self.others.get_mut(&text("id")).unwrap_or_else(|| panic!("{message}"));
                assert!(other.replace(stream).is_none(), "{message}");
            }
            "participantUnpublished" => {
                let other = self.others.get_mut(&text("connectionId")).unwrap_or_else(|| panic!("{message}"));
                assert!(other.take().is_some(), "{message}");
            }
            "sendMessage" | "participantEvicted" => {}
            other => panic!("unexpected {other}: {frame}"),
        }
        self.last = frame;
    }

    /// Takes the seat again; `false` when it is gone.
    async fn come_back(&mut self) -> bool {
        loop {
            self.open().await;
            self.is_back = true;
            match self.call("connect", json!({"sessionId": self.rpc})).await {
                Ok(answer) if answer.get("result").is_some() => {
                    self.script.count(|tally| tally.returns += 1);
                    return true;
                }
                Ok(_) => return false,
                Err(Gone) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// One of the people.
pub struct Person {
    picture: Picture,
    stays: bool,
    chance: Chance,
}

impl Person {
    pub fn new(script: Arc<Script>, session: String, stays: bool, seed: u64) -> Self {
        let picture = Picture {
            session,
            me: String::new(),
            rpc: String::new(),
            own: None,
            others: People::new(),
            last: Value::Null,
            is_back: false,
            script,
            line: None,
            next: 0,
        };
        Self { picture, stays, chance: Chance::new(seed) }
    }

    /// Lives until the script ends; gives what it believes then.
    pub async fn live(mut self) -> Picture {
        self.join().await;
        while !self.picture.script.is_finished() {
            if self.act().await.is_err() && !self.picture.come_back().await {
                self.picture.script.count(|tally| tally.seats_lost += 1);
                self.join().await;
            }
            tokio::time::sleep(Duration::from_millis(self.chance.below(40) as u64)).await;
        }
        self.picture.catch_up().await;
        self.picture
    }

    async fn join(&mut self) {
        loop {
            let session = self.picture.session.clone();
            let token = self.picture.script.token(&session).await;
            self.picture.others.clear();
            self.picture.own = None;
            self.picture.is_back = false;
            self.picture.open().await;
            // Without the answer it is not known whether the token was used; there are others.
            let Ok(answer) = self.picture.call("joinRoom", join_params(&session, &token, Some("2.32.1"))).await else {
                continue;
            };
            let result = &answer["result"];
            self.picture.me = result["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
            self.picture.rpc = result["sessionId"].as_str().unwrap().to_owned();
            let others = result["value"].as_array().unwrap().iter();
            let stream = |other: &Value| other["streams"][0]["id"].as_str().map(str::to_owned);
            self.picture.others = others.map(|o| (o["id"].as_str().unwrap().to_owned(), stream(o))).collect();
            self.picture.script.tokens.lock().unwrap().push((session, token));
            self.picture.script.count(|tally| tally.joins += 1);
            return;
        }
    }

    async fn act(&mut self) -> Result<(), Gone> {
        match self.chance.below(100) {
            0..25 => self.publish().await,
            25..40 => self.unpublish().await,
            40..70 => self.subscribe().await,
            70..90 => {
                // No two are alike, so that one that comes twice is seen.
                let text = json!({"to": [], "data": self.picture.next.to_string(), "type": "signal:count"}).to_string();
                self.picture.call("sendMessage", json!({"message": text})).await?;
                self.picture.script.count(|tally| tally.signals += 1);
                Ok(())
            }
            90..96 => self.picture.call("ping", json!({"interval": 60_000})).await.map(|_| ()),
            _ if self.stays => Ok(()),
            _ => self.leave().await,
        }
    }

    async fn publish(&mut self) -> Result<(), Gone> {
        if self.picture.own.is_some() {
            return Ok(());
        }
        let answer = self.picture.call("publishVideo", publish_params(&publish_offer())).await;
        let Ok(answer) = answer else { return self.unknown_own().await };
        match answer["result"]["id"].as_str() {
            Some(stream) => {
                self.picture.own = Some(stream.to_owned());
                self.picture.script.count(|tally| tally.streams += 1);
            }
            // The data plane was not there, yet or any more.
            None => assert!([204, 203, 302].contains(&answer["error"]["code"].as_i64().unwrap()), "{answer}"),
        }
        Ok(())
    }

    async fn unpublish(&mut self) -> Result<(), Gone> {
        if self.picture.own.is_none() {
            return Ok(());
        }
        let Ok(answer) = self.picture.call("unpublishVideo", json!({})).await else { return self.unknown_own().await };
        assert!(answer.get("result").is_some(), "{answer}");
        self.picture.own = None;
        Ok(())
    }

    /// An answer about its own stream was lost: another one tells.
    async fn unknown_own(&mut self) -> Result<(), Gone> {
        if !self.picture.come_back().await {
            return Err(Gone);
        }
        loop {
            match self.picture.call("unpublishVideo", json!({})).await {
                Ok(_) => break,
                Err(Gone) if self.picture.come_back().await => {}
                Err(Gone) => return Err(Gone),
            }
        }
        self.picture.own = None;
        Ok(())
    }

    async fn subscribe(&mut self) -> Result<(), Gone> {
        let streams: Vec<String> = self.picture.others.values().flatten().cloned().collect();
        if streams.is_empty() {
            return Ok(());
        }
        let stream = &streams[self.chance.below(streams.len())];
        let offer = self.picture.call("prepareReceiveVideoFrom", json!({"sender": stream, "reconnect": false})).await?;
        let Some(offer) = offer["result"]["sdpOffer"].as_str() else { return Ok(()) };
        let answer = json!({"sender": stream, "sdpAnswer": subscribe_answer(offer)});
        let answer = match self.picture.call("receiveVideoFrom", answer.clone()).await {
            Ok(answer) => answer,
            // It may have been taken, or not: the offer is good for one answer at most.
            Err(Gone) if self.picture.come_back().await => self.picture.call("receiveVideoFrom", answer).await?,
            Err(Gone) => return Err(Gone),
        };
        if answer.get("result").is_some() {
            self.picture.script.count(|tally| tally.subscriptions += 1);
        }
        Ok(())
    }

    async fn leave(&mut self) -> Result<(), Gone> {
        // Whether it was heard or not: its socket is closed, and it comes again as somebody else.
        let _ = self.picture.call("leaveRoom", json!({})).await;
        self.picture.line = None;
        self.picture.script.count(|tally| tally.departures += 1);
        self.join().await;
        Ok(())
    }
}
