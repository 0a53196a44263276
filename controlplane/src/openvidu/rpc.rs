//! JSON-RPC frames as OpenVidu's Kurento layer writes and reads them: pure functions over text.

use serde_json::{Map, Value, json};

/// A request of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Echoed in the response; clients send integers. Null when absent.
    pub id: Value,
    /// What is asked.
    pub method: String,
    /// Named arguments; empty when absent.
    pub params: Map<String, Value>,
}

/// Something else than a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Unreadable {
    /// Not JSON at all.
    Parse(String),
    /// JSON, but no request; the id when there is one.
    Invalid(Value, &'static str),
    /// A response, which this server never asks for.
    Response,
}

/// Methods whose errors of shape R carry a `data` of their own.
const WITH_ERROR_DATA: &[&str] = &["reconnectStream", "addFilterEventListener", "removeFilterEventListener"];

/// How an error is written; the letters are those of the protocol reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Thrown by the handler.
    T,
    /// Answered by the handler: carries the RPC session id and an empty `data`.
    R,
    /// Unexpected, such as a missing parameter.
    X,
}

/// A refused request.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// How it is written.
    pub shape: Shape,
    /// OpenVidu's error code; -1 for shape X.
    pub code: i64,
    /// For a person, without the trailing `Code: n`.
    pub message: String,
}

impl Failure {
    /// An error of shape T.
    pub fn thrown(code: i64, message: impl Into<String>) -> Self {
        Self { shape: Shape::T, code, message: message.into() }
    }

    /// An error of shape R.
    pub fn answered(code: i64, message: impl Into<String>) -> Self {
        Self { shape: Shape::R, code, message: message.into() }
    }

    /// An error of shape X.
    pub fn unexpected(message: impl Into<String>) -> Self {
        Self { shape: Shape::X, code: -1, message: format!("java.lang.RuntimeException:{}", message.into()) }
    }

    /// The error for a parameter that is missing.
    pub fn missing(method: &str, name: &str) -> Self {
        Self::unexpected(format!(
            "Request element '{name}' is missing in RPC method '{method}'. Check that 'openvidu-server' and \
             'openvidu-browser' versions are compatible with each other"
        ))
    }

    /// The error for a parameter that cannot be read.
    pub fn wrong_type(method: &str, name: &str) -> Self {
        Self::unexpected(format!("Request element '{name}' has a wrong type in RPC method '{method}'"))
    }
}

/// Reads one frame.
///
/// # Errors
/// [`Unreadable`] for anything that is not a request with a method name and, if any, an object of parameters.
pub fn json_rpc(data: &[u8]) -> Result<Request, Unreadable> {
    let value: Value = serde_json::from_slice(data).map_err(|e| Unreadable::Parse(e.to_string()))?;
    let Value::Object(mut frame) = value else { return Err(Unreadable::Invalid(Value::Null, "not an object")) };
    let id = frame.remove("id").unwrap_or(Value::Null);
    if !(id.is_number() || id.is_string() || id.is_null()) {
        return Err(Unreadable::Invalid(Value::Null, "'id' is neither a number nor a string"));
    }
    let method = match frame.remove("method") {
        Some(Value::String(method)) => method,
        Some(_) => return Err(Unreadable::Invalid(id, "'method' is not a string")),
        None if frame.contains_key("result") || frame.contains_key("error") => return Err(Unreadable::Response),
        None => return Err(Unreadable::Invalid(id, "'method' is missing")),
    };
    let params = match frame.remove("params") {
        Some(Value::Object(mut params)) => {
            // Kurento's RPC layer takes this member for itself; only `connect` is about it.
            if method != "connect" {
                params.remove("sessionId");
            }
            params
        }
        None | Some(Value::Null) => Map::new(),
        Some(_) => return Err(Unreadable::Invalid(id, "'params' is not an object")),
    };
    Ok(Request { id, method, params })
}

/// A successful response; `session` is injected as the last member of the result.
pub fn success(id: &Value, mut result: Map<String, Value>, session: Option<&str>) -> String {
    if let Some(session) = session {
        result.insert("sessionId".into(), session.into());
    }
    json!({"id": id, "result": result, "jsonrpc": "2.0"}).to_string()
}

/// A refusal of a request for `method`.
pub fn failure(id: &Value, method: &str, failure: &Failure, session: &str) -> String {
    let Failure { shape, code, message } = failure;
    let text = format!("{message}. Code: {code}");
    match shape {
        Shape::T => json!({"id": id, "error": {"code": code, "message": text}, "jsonrpc": "2.0"}),
        Shape::R => {
            let mut error = Map::new();
            error.insert("code".into(), (*code).into());
            error.insert("message".into(), text.into());
            if WITH_ERROR_DATA.contains(&method) {
                error.insert("data".into(), "{}".into());
            }
            error.insert("sessionId".into(), session.into());
            json!({"id": id, "error": error, "jsonrpc": "2.0", "data": {}})
        }
        Shape::X => json!({"id": id, "error": {"code": code, "message": message, "data": ""}, "jsonrpc": "2.0"}),
    }
    .to_string()
}

/// An error of the RPC layer itself, outside OpenVidu's codes.
pub fn protocol_error(id: &Value, code: i64, message: &str) -> String {
    json!({"id": id, "error": {"code": code, "message": message}, "jsonrpc": "2.0"}).to_string()
}

/// A notification.
pub fn notification(method: &str, params: Value) -> String {
    json!({"method": method, "params": params, "jsonrpc": "2.0"}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_read() {
        let request = json_rpc(br#"{"jsonrpc":"2.0","method":"ping","params":{"interval":5000},"id":0}"#).unwrap();
        assert_eq!(request.id, json!(0));
        assert_eq!(request.method, "ping");
        assert_eq!(request.params["interval"], json!(5000));
        assert!(json_rpc(br#"{"method":"ping","id":13}"#).unwrap().params.is_empty());
        assert_eq!(json_rpc(br#"{"id":1,"result":"push"}"#), Err(Unreadable::Response));
        assert!(matches!(json_rpc(b"{"), Err(Unreadable::Parse(_))));
        assert!(matches!(json_rpc(b"[]"), Err(Unreadable::Invalid(Value::Null, _))));
        assert!(matches!(json_rpc(br#"{"id":3,"method":7}"#), Err(Unreadable::Invalid(id, _)) if id == json!(3)));
        assert!(matches!(json_rpc(br#"{"id":3,"method":"m","params":[]}"#), Err(Unreadable::Invalid(..))));
    }

    #[test]
    fn responses_have_the_reference_shapes() {
        let id = json!(7);
        assert_eq!(success(&id, Map::new(), Some("R")), r#"{"id":7,"result":{"sessionId":"R"},"jsonrpc":"2.0"}"#);
        assert_eq!(
            failure(&id, "m", &Failure::thrown(401, "No"), "R"),
            r#"{"id":7,"error":{"code":401,"message":"No. Code: 401"},"jsonrpc":"2.0"}"#
        );
        assert_eq!(
            failure(&id, "m", &Failure::answered(105, "No"), "R"),
            r#"{"id":7,"error":{"code":105,"message":"No. Code: 105","sessionId":"R"},"jsonrpc":"2.0","data":{}}"#
        );
        let text = failure(&id, "reconnectStream", &Failure::answered(105, "No"), "R");
        assert!(text.contains(r#""data":"{}","sessionId":"R"}"#), "{text}");
        assert!(
            failure(&id, "m", &Failure::missing("m", "p"), "R")
                .contains("Request element 'p' is missing in RPC method 'm'")
        );
        assert_eq!(notification("n", json!({"a": 1})), r#"{"method":"n","params":{"a":1},"jsonrpc":"2.0"}"#);
    }

    #[test]
    fn the_rpc_layers_own_member_is_stripped() {
        let read = |method: &str| {
            let frame = json!({"method": method, "params": {"sessionId": "x", "a": 1}, "id": "text"}).to_string();
            json_rpc(frame.as_bytes()).unwrap()
        };
        assert_eq!(read("echo").params, json!({"a": 1}).as_object().cloned().unwrap());
        assert_eq!(read("connect").params["sessionId"], "x");
        assert_eq!(read("echo").id, json!("text"), "ids may be texts");
    }

    #[test]
    fn nesting_is_bounded() {
        let bomb = format!("{{\"id\":1,\"method\":\"m\",\"params\":{}", "[".repeat(500_000));
        assert!(matches!(json_rpc(bomb.as_bytes()), Err(Unreadable::Parse(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = json_rpc(&data);
        }

        #[test]
        fn written_requests_are_read_back(id in 0u32.., method in "[a-zA-Z]{1,20}", key in "[a-z]{1,8}", text in ".*") {
            let frame = json!({"jsonrpc": "2.0", "method": method, "params": {&key: &text}, "id": id}).to_string();
            let request = json_rpc(frame.as_bytes()).unwrap();
            prop_assert_eq!(request.id.as_u64(), Some(u64::from(id)));
            prop_assert_eq!(request.text(&key).unwrap(), text.as_str());
            prop_assert_eq!(request.method, method);
        }
    }
}
