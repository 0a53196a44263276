//! Frames that are too long to be read, and the end of sockets that serve nobody.

use std::collections::HashMap;
use std::ffi::OsString;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::*;
use crate::app::{App, Running};
use crate::config::Config;
use crate::dataplane::Client;
use crate::eventlog::EventLog;
use crate::metrics::Metrics;
use crate::openvidu::Settings;
use crate::store::Keeping;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn settings() -> Settings {
    let environment = HashMap::from([("OPENVIDU_SECRET".to_owned(), "S".to_owned())]);
    Settings::from_config(&Config::load([OsString::from("test")], &environment, "").unwrap().config)
}

fn no_dataplane() -> Client {
    Client::spawn(std::env::temp_dir().join("millrace-no-data-plane.sock"))
}

async fn server() -> (Running, Socket) {
    let app = App::new(settings(), false, no_dataplane()).unwrap();
    let running = app.serve(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), None).unwrap();
    let url = format!("ws://{}/openvidu?sessionId=any", running.address);
    (running, tokio_tungstenite::connect_async(url).await.unwrap().0)
}

/// The next frame as text, or the code that the socket is closed with.
async fn next(socket: &mut Socket) -> Result<String, u16> {
    match timeout(Duration::from_secs(10), socket.next()).await.expect("nothing came") {
        Some(Ok(tungstenite::Message::Text(text))) => Ok(text.to_string()),
        Some(Ok(tungstenite::Message::Close(Some(frame)))) => Err(frame.code.into()),
        other => panic!("{other:?}"),
    }
}

async fn send(socket: &mut Socket, text: impl Into<tungstenite::Utf8Bytes>) {
    socket.send(tungstenite::Message::Text(text.into())).await.unwrap();
}

#[tokio::test]
async fn long_frames_are_refused_whether_they_can_be_read_or_not() {
    for length in [MAX_FRAME + 1, MAX_READ, MAX_READ + 1] {
        let (running, mut socket) = server().await;
        send(&mut socket, "x".repeat(MAX_FRAME)).await;
        assert!(next(&mut socket).await.unwrap().contains("-32700"), "not too long, only nonsense");
        send(&mut socket, "x".repeat(length)).await;
        assert_eq!(next(&mut socket).await, Err(1009), "after {length} bytes");
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn closing_a_session_says_bye_and_closes_the_socket() {
    let (running, mut socket) = server().await;
    send(&mut socket, r#"{"jsonrpc":"2.0","method":"connect","id":0}"#).await;
    assert!(next(&mut socket).await.unwrap().starts_with(r#"{"id":0,"result":{"value":"OK","sessionId":""#));
    send(&mut socket, r#"{"jsonrpc":"2.0","method":"closeSession","id":1}"#).await;
    assert_eq!(next(&mut socket).await.unwrap(), r#"{"id":1,"result":{"value":"bye"},"jsonrpc":"2.0"}"#);
    assert_eq!(next(&mut socket).await, Err(1000));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_socket_whose_task_fails_gives_its_session_up() {
    let client = no_dataplane();
    let hub = Hub::start(
        settings(),
        client.clone(),
        Metrics::new(&client).unwrap(),
        EventLog::default(),
        Keeping::in_memory(),
    )
    .unwrap();
    let visitor = Visitor { user: "U".into(), address: "A".into() };
    let task = tokio::spawn({
        let hub = hub.clone();
        async move {
            let mut line = Line::new(hub, visitor);
            let (session, _) = line.session();
            std::panic::panic_any(session.id.clone());
        }
    });
    let failed = task.await.unwrap_err().into_panic();
    let id = failed.downcast::<String>().unwrap();
    let gone = async {
        while hub.session(&id).is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.expect("the session stays for ever");
}

#[tokio::test]
async fn joining_needs_a_data_plane() {
    let (running, mut socket) = server().await;
    let join = r#"{"jsonrpc":"2.0","method":"joinRoom","params":{"token":"","session":"r","platform":"","metadata":"",
        "secret":"S"},"id":"text"}"#;
    send(&mut socket, join).await;
    let refused: Value = serde_json::from_str(&next(&mut socket).await.unwrap()).unwrap();
    let text = "There is no available Media Node where to initialize session 'r'. Code: 204";
    assert_eq!((&refused["id"], &refused["error"]["message"]), (&"text".into(), &text.into()));
    running.stop().await.unwrap();
}
