//! `PATCH …/connection/{connection}`: roles and recording that change, before and while a connection is in use.

use serde_json::{Value, json};

use crate::CONNECTION_KEYS;
use crate::common::*;
use crate::keys;

#[tokio::test]
async fn pending_connections_take_a_new_role() {
    let server = Server::start().await;
    server.session("X").await;
    let (_, pending) = server.api("POST", "/sessions/X/connection", json!({"data": "srv"})).await;
    let path = format!("/sessions/X/connection/{}", pending["id"].as_str().unwrap());
    let (status, changed) = server.api("PATCH", &path, json!({"role": "MODERATOR", "record": false, "data": 7})).await;
    assert_eq!((status, keys(&changed)), (200, CONNECTION_KEYS.to_vec()));
    let mut expected = pending.clone();
    expected["role"] = json!("MODERATOR");
    expected["record"] = json!(false);
    assert_eq!(changed, expected);
    assert_eq!(server.api("GET", &path, Value::Null).await, (200, expected.clone()));
    let mut socket = server.socket().await;
    let token = pending["token"].as_str().unwrap();
    let joined = socket.call("joinRoom", join_params("X", token, Some("2.32.1"))).await;
    assert_eq!(joined["result"]["role"], "MODERATOR");
    assert_eq!(joined["result"]["record"], false);
}

#[tokio::test]
async fn who_is_connected_hears_of_its_own_changes() {
    let server = Server::start().await;
    server.session("X").await;
    let mut a = server.join("X", "PUBLISHER", Some("2.32.1")).await;
    let mut b = server.join("X", "PUBLISHER", Some("2.32.1")).await;
    a.expect("participantJoined").await;
    let path = format!("/sessions/X/connection/{}", a.id);
    let (status, changed) = server.api("PATCH", &path, json!({"role": "SUBSCRIBER", "record": false})).await;
    assert_eq!((status, &changed["role"], &changed["record"]), (200, &json!("SUBSCRIBER"), &json!(false)));
    let property = json!({"property": "role", "newValue": "SUBSCRIBER"});
    assert_eq!(a.expect("connectionPropertyChanged").await, property);
    assert_eq!(a.expect("connectionPropertyChanged").await, json!({"property": "record", "newValue": "false"}));
    // The same again is no change; nothing at all is none either.
    for body in [json!({"role": "SUBSCRIBER", "record": false}), json!({}), json!({"role": null})] {
        assert_eq!(server.api("PATCH", &path, body).await, (200, changed.clone()));
    }
    a.silent().await;
    b.silent().await;
}

#[tokio::test]
async fn nonsense_changes_nothing() {
    let server = Server::start().await;
    server.session("X").await;
    let mut a = server.join("X", "PUBLISHER", Some("2.32.1")).await;
    let path = format!("/sessions/X/connection/{}", a.id);
    for body in [json!({"role": 123}), json!({"role": "OWNER"}), json!({"role": "MODERATOR", "record": "false"})] {
        let (status, error) = server.api("PATCH", &path, body.clone()).await;
        assert_eq!((status, &error["status"]), (400, &json!(400)), "{body}");
    }
    for path in ["/sessions/NOT_EXISTS/connection/Y", "/sessions/X/connection/NOT_EXISTS"] {
        assert_eq!(server.api("PATCH", path, json!({"role": 123})).await, (404, Value::Null), "{path}");
    }
    assert_eq!(server.api("GET", &path, Value::Null).await.1["role"], "PUBLISHER");
    a.silent().await;
}
