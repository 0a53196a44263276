//! Deliveries to receivers on real sockets that do what receivers should not.

use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::super::deliver::Deliverer;
use super::super::lanes::Outcome;
use super::super::{Options, Webhook};
use super::Folder;
use crate::eventlog::Held;
use crate::metrics::EventMetrics;

/// Longest wait for anything that should come at once.
const SOON: Duration = Duration::from_secs(10);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn options(endpoint: String) -> Options {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Options {
        endpoint,
        headers: vec![("Authorization".into(), "Basic abc".into())],
        events: vec!["wanted".into()],
        key: Some("Jefe".into()),
        tls_verify: true,
        timeout: Duration::from_millis(300),
        max_age: Duration::from_secs(60),
        max_bytes: 32 << 20,
    }
}

/// What a receiver does with a request.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Answer(&'static str),
    /// The same, and it closes the connection.
    AnswerAndDie(&'static str),
    Hang,
}

/// A receiver with its deeds in order, the last one for ever; gives its URL and the texts of the requests it read.
async fn receiver(deeds: Vec<Deed>) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut deeds = deeds.into_iter().peekable();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let deed = if deeds.len() > 1 { deeds.next() } else { deeds.peek().copied() }.unwrap();
            let sender = sender.clone();
            tokio::spawn(async move {
                while let Some(request) = read_request(&mut socket).await {
                    let _ = sender.send(request);
                    match deed {
                        Deed::Answer(answer) => socket.write_all(answer.as_bytes()).await.unwrap(),
                        Deed::AnswerAndDie(answer) => return socket.write_all(answer.as_bytes()).await.unwrap(),
                        Deed::Hang => std::future::pending().await,
                    }
                    if deed_is_single(deed) {
                        return;
                    }
                }
            });
        }
    });
    (url, requests)
}

/// Whether the connection serves one request only, so that each request gets the next deed.
fn deed_is_single(deed: Deed) -> bool {
    !matches!(deed, Deed::Answer(answer) if answer == OK)
}

async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                return Some(text);
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

#[tokio::test]
async fn a_request_is_openvidus_with_an_id_and_a_signature() {
    let (url, mut requests) = receiver(vec![Deed::Answer(OK)]).await;
    let deliverer = Deliverer::new(&options(url)).unwrap();
    let body = b"what do ya want for nothing?".to_vec();
    assert_eq!(deliverer.deliver("1f-2", body).await, Outcome::Delivered);
    let request = requests.recv().await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "what do ya want for nothing?");
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n"));
    for line in [
        "authorization: Basic abc",
        "content-type: application/json",
        "x-millrace-delivery: 1f-2",
        "x-millrace-signature: sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ] {
        assert_eq!(head.lines().filter(|l| *l == line).count(), 1, "{line} in {head}");
    }
}

#[tokio::test]
async fn a_configured_content_type_stays_and_without_a_key_nothing_is_signed() {
    let (url, mut requests) = receiver(vec![Deed::Answer(OK)]).await;
    let headers = vec![("content-type".to_owned(), "text/plain".to_owned())];
    let deliverer = Deliverer::new(&Options { headers, key: None, ..options(url) }).unwrap();
    assert_eq!(deliverer.deliver("1", b"{}".to_vec()).await, Outcome::Delivered);
    let request = requests.recv().await.unwrap();
    assert!(request.contains("content-type: text/plain\r\n") && !request.contains("application/json"));
    assert!(!request.contains("signature"));
}

#[tokio::test]
async fn what_a_receiver_does_decides_whether_it_has_the_event() {
    let cases = [
        (Deed::Answer("HTTP/1.1 204 No Content\r\n\r\n"), Outcome::Delivered),
        (Deed::AnswerAndDie("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), Outcome::Delivered),
        (Deed::Answer("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n"), Outcome::Refused),
        (Deed::Answer("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"), Outcome::Refused),
        (Deed::AnswerAndDie("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"), Outcome::Refused),
        (Deed::AnswerAndDie("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal"), Outcome::Refused),
        (Deed::AnswerAndDie("HTTP/1."), Outcome::Unreachable),
        (Deed::Hang, Outcome::Unreachable),
    ];
    for (deed, expected) in cases {
        let (url, _requests) = receiver(vec![deed]).await;
        let deliverer = Deliverer::new(&options(url)).unwrap();
        assert_eq!(deliverer.deliver("1", b"{}".to_vec()).await, expected, "{deed:?}");
    }
    // Nobody listens on a port that was just given back.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let deliverer = Deliverer::new(&options(format!("http://{closed}/"))).unwrap();
    assert_eq!(deliverer.deliver("1", b"{}".to_vec()).await, Outcome::Unreachable);
}

#[tokio::test]
async fn certificates_are_checked_unless_told_otherwise() {
    let verified = options(String::new());
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (own.cert.pem().into_bytes(), own.signing_key.serialize_pem().into_bytes());
    let tls = RustlsConfig::from_pem(certificate, key).await.unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("https://localhost:{}/hook", listener.local_addr().unwrap().port());
    let server = axum_server::from_tcp_rustls(listener, tls).unwrap();
    let router = axum::Router::new().route("/hook", axum::routing::post(|| async {}));
    tokio::spawn(server.serve(router.into_make_service()));
    let patient = Options { endpoint: url, timeout: SOON, ..verified };
    let deliverer = Deliverer::new(&patient).unwrap();
    assert_eq!(deliverer.deliver("1", b"{}".to_vec()).await, Outcome::Unreachable);
    let deliverer = Deliverer::new(&Options { tls_verify: false, ..patient }).unwrap();
    assert_eq!(deliverer.deliver("1", b"{}".to_vec()).await, Outcome::Delivered);
}

#[tokio::test]
async fn events_are_sent_again_until_they_are_taken_and_keep_their_order() {
    let refuse = Deed::Answer("HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n");
    let (url, mut requests) = receiver(vec![refuse, Deed::Hang, Deed::Answer(OK)]).await;
    let (folder, registry) = (Folder::new(), Registry::new());
    let metrics = EventMetrics::new(&registry).unwrap();
    let webhook = Webhook::start(options(url), &folder.0, metrics).unwrap();
    assert!(webhook.wants("wanted") && !webhook.wants("unwanted"));
    for n in 0..5 {
        webhook.send("s", u64::MAX / 2, format!("{{\"n\":{n}}}").into_bytes(), Held::default());
    }
    let mut seen = Vec::new();
    while seen.len() < 7 {
        let request = tokio::time::timeout(SOON, requests.recv()).await.expect("nothing came").unwrap();
        let delivery = request.lines().find_map(|line| line.strip_prefix("x-millrace-delivery: ")).unwrap();
        seen.push((delivery.to_owned(), request.rsplit_once("\r\n\r\n").unwrap().1.to_owned()));
    }
    let bodies: Vec<_> = seen.iter().map(|(_, body)| body.as_str()).collect();
    let expected = ["{\"n\":0}", "{\"n\":0}", "{\"n\":0}", "{\"n\":1}", "{\"n\":2}", "{\"n\":3}", "{\"n\":4}"];
    assert_eq!(bodies, expected);
    assert!(seen[0].0 == seen[1].0 && seen[1].0 == seen[2].0 && seen[2].0 != seen[3].0, "{seen:?}");
    webhook.stop().await;
    let count = |name: &str, label: &str| -> f64 {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let metric = family.get_metric().iter().find(|m| m.get_label().iter().any(|l| l.value() == label)).unwrap();
        metric.get_counter().get_value()
    };
    let attempts = ["delivered", "refused", "unreachable"].map(|r| count("millrace_webhook_deliveries_total", r));
    assert_eq!(attempts, [5.0, 1.0, 1.0]);
}

#[tokio::test]
async fn what_was_sent_before_a_stop_comes_after_the_next_start() {
    let folder = Folder::new();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let metrics = || EventMetrics::new(&Registry::new()).unwrap();
    let webhook = Webhook::start(options(format!("http://{closed}/")), &folder.0, metrics()).unwrap();
    for n in 0..3 {
        webhook.send("s", u64::MAX / 2, vec![b'0' + n], Held::default());
    }
    webhook.stop().await;
    webhook.send("s", 0, b"too late".to_vec(), Held::default());
    let (url, mut requests) = receiver(vec![Deed::Answer(OK)]).await;
    // The thread lets go of the queue just after it tells that it stopped.
    let again = loop {
        match Webhook::start(options(url.clone()), &folder.0, metrics()) {
            Ok(webhook) => break webhook,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    for n in 0..3u8 {
        let request = tokio::time::timeout(SOON, requests.recv()).await.expect("nothing came").unwrap();
        assert!(request.ends_with(&format!("\r\n\r\n{}", char::from(b'0' + n))), "{request}");
    }
    again.stop().await;
    assert!(requests.try_recv().is_err());
}
