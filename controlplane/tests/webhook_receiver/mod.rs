//! The application's own server, which can fail.

#![allow(unreachable_pub, reason = "a module of the test beside it")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::common::*;

/// What a receiver does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Ok,
    Fail,
    Hang,
    DieMidBody,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    head: String,
    pub body: String,
    answer: Answer,
}

impl Request {
    pub fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        let values: Vec<_> = self.head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect();
        let [value] = values[..] else { panic!("{name} in {}", self.head) };
        value
    }
}

/// The application's own server.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    answer: Mutex<Answer>,
    requests: Mutex<Vec<Request>>,
    came: Notify,
}

impl Receiver {
    pub async fn start(answer: Answer) -> Self {
        let receiver = Self::reserve().await;
        receiver.open(answer).await;
        receiver
    }

    /// Has an address, at which nobody listens.
    pub async fn reserve() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let shared = Shared { answer: Mutex::new(Answer::Ok), requests: Mutex::default(), came: Notify::new() };
        Self { address, shared: Arc::new(shared) }
    }

    /// Begins to listen.
    pub async fn open(&self, answer: Answer) {
        self.answer(answer);
        let listener = TcpListener::bind(self.address).await.unwrap();
        let shared = self.shared.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(socket, shared.clone()));
            }
        });
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    pub fn count(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }

    /// What was answered with 200, in order.
    pub fn taken(&self) -> Vec<Request> {
        let requests = self.shared.requests.lock().unwrap();
        requests.iter().filter(|request| request.answer == Answer::Ok).cloned().collect()
    }

    /// Waits until the requests so far satisfy a condition; gives them.
    pub async fn until(&self, what: &str, condition: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let wait = async {
            loop {
                let came = self.shared.came.notified();
                let requests = self.shared.requests.lock().unwrap().clone();
                if condition(&requests) {
                    return requests;
                }
                came.await;
            }
        };
        let waited = tokio::time::timeout(2 * SOON, wait).await;
        waited.unwrap_or_else(|_| panic!("never came: {what}; {:?}", self.shared.requests.lock().unwrap()))
    }
}

async fn serve(mut socket: TcpStream, shared: Arc<Shared>) {
    while let Some((head, body)) = read(&mut socket).await {
        let answer = *shared.answer.lock().unwrap();
        shared.requests.lock().unwrap().push(Request { head, body, answer });
        shared.came.notify_waiters();
        let text = match answer {
            Answer::Ok => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            Answer::Fail => "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n",
            Answer::Hang => return std::future::pending().await,
            Answer::DieMidBody => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of",
        };
        if socket.write_all(text.as_bytes()).await.is_err() || answer == Answer::DieMidBody {
            return;
        }
    }
}

async fn read(socket: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
