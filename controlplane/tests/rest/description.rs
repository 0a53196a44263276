//! The OpenAPI description against the server: the same routes and methods, the same members.

use std::collections::BTreeSet;

use millrace_controlplane::config::Generation;
use millrace_controlplane::openvidu::Settings;
use serde_json::{Map, Value, json};

use crate::common::*;
use crate::keys;

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// What answers nothing, and what speaks WebSocket.
const NOT_HTTP: [&str; 4] = ["/openvidu/{*path}", "/dashboard", "/dashboard/{*path}", "/openvidu/info"];

/// The description as the server gives it. Of the two generations, the older tells apart what is not there.
async fn start() -> (Server, Value) {
    let server = Server::with(Settings { compat: Generation::V2_20, ..settings() }).await;
    let (status, description) = server.api("GET", "/openapi.json", Value::Null).await;
    assert_eq!(status, 200);
    (server, description)
}

fn operations(description: &Value) -> Vec<(&str, &Map<String, Value>)> {
    let paths = description["paths"].as_object().unwrap();
    paths.iter().map(|(path, item)| (path.as_str(), item.as_object().unwrap())).collect()
}

/// With something in the place of each parameter.
fn concrete(path: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { "x".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_described_operation_is_there_and_no_other() {
    let (server, description) = start().await;
    for (path, item) in operations(&description) {
        for method in METHODS {
            let answer = server.request(method, &concrete(path)).send().await.unwrap();
            let status = answer.status().as_u16();
            let error: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null);
            let Some(operation) = item.get(&method.to_lowercase()) else {
                assert_eq!(status, 405, "{method} {path} is not described");
                continue;
            };
            let is_unmapped = status == 405 || (status == 404 && error["timestamp"].is_string());
            assert!(!is_unmapped, "{method} {path} is described and not there");
            assert!(operation["responses"].get(status.to_string()).is_some(), "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn every_route_is_described() {
    let (_server, description) = start().await;
    let described: BTreeSet<String> = operations(&description).into_iter().map(|(path, _)| path.to_owned()).collect();
    let source = include_str!("../../src/openvidu/rest/mod.rs").replace("\n            \"", "\"");
    let routes = source.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let whole = |route: &str| match route.starts_with("/openvidu") || route.starts_with("/dashboard") {
        true => route.to_owned(),
        false => format!("/openvidu/api{route}"),
    };
    let routes: BTreeSet<String> = routes.map(whole).filter(|route| !NOT_HTTP.contains(&&**route)).collect();
    assert!(routes.len() > 20);
    assert_eq!(routes, described);
}

#[tokio::test]
async fn only_what_needs_no_password_is_described_as_open() {
    let (server, description) = start().await;
    for (path, item) in operations(&description) {
        for method in METHODS {
            let Some(operation) = item.get(&method.to_lowercase()) else { continue };
            let url = format!("http://{}{}", server.address, concrete(path));
            let status = server.http.request(method.parse().unwrap(), url).send().await.unwrap().status();
            let is_open = operation.get("security").is_some_and(|security| *security == json!([]));
            assert_eq!(status != 401, is_open, "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn objects_have_the_described_members() {
    let (server, description) = start().await;
    let members = |name: &str| keys(&description["components"]["schemas"][name]["properties"]);
    let required = |name: &str| {
        let required = description["components"]["schemas"][name]["required"].as_array().unwrap();
        required.iter().map(|name| name.as_str().unwrap()).collect::<Vec<_>>()
    };
    let config = server.api("GET", "/config", Value::Null).await.1;
    assert_eq!(description["info"]["version"], config["VERSION"]);
    assert_eq!(keys(&config), required("Config"));
    let session = server.api("POST", "/sessions", json!({"customSessionId": "X"})).await.1;
    assert_eq!(keys(&session), required("Session"));
    let token = server.api("POST", "/tokens", json!({"session": "X"})).await.1;
    assert_eq!(keys(&token), required("Token"));
    let error = server.api("POST", "/tokens", json!({"session": 1})).await.1;
    assert_eq!(keys(&error), members("Error"));
    let mut a = server.join("X", "PUBLISHER", Some("2.32.1")).await;
    a.publish().await;
    let active = server.api("GET", &format!("/sessions/X/connection/{}", a.id), Value::Null).await.1;
    assert_eq!(keys(&active), members("Connection"));
    let publisher = &active["publishers"][0];
    assert_eq!(keys(publisher), required("Publisher"));
    assert_eq!(keys(&publisher["mediaOptions"]), members("MediaOptions"));
    let list = server.api("GET", "/sessions?webRtcStats=true", Value::Null).await.1;
    assert_eq!(keys(&list), members("Sessions"));
    assert_eq!(keys(&list["content"][0]["connections"]["content"][0]["publishers"][0]), members("Publisher"));
}
