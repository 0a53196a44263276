use millrace_controlplane::openvidu::rpc::{self, Unreadable};
use serde_json::Value;

/// Frames on the signalling socket: what is read keeps its id, and what is written back under that id is JSON with
/// the id and either a result or an error, never both.
pub fn json_rpc(data: &[u8]) {
    let id = match rpc::json_rpc(data) {
        Ok(request) => {
            assert!(request.id.is_number() || request.id.is_string() || request.id.is_null());
            for name in ["token", "sender", "recorder", ""] {
                // Native clients send every value as a string, so that each scalar is read as any other.
                let is_scalar = |value: &Value| value.is_string() || value.is_boolean() || value.is_number();
                let is_scalar = request.params.get(name).is_some_and(is_scalar);
                assert_eq!(request.text(name).is_ok(), is_scalar);
                assert_eq!(request.flag(name).is_ok(), is_scalar);
                assert!(request.integer(name).is_err() || is_scalar);
            }
            request.id
        }
        Err(Unreadable::Invalid(id, _)) => id,
        Err(Unreadable::Parse(_) | Unreadable::Response) => return,
    };
    let text = rpc::success(&id, serde_json::Map::new(), Some("session"));
    let written: Value = serde_json::from_str(&text).expect("a response is JSON");
    // A fraction or a number beyond 64 bits may lose its last digit on the way, as in any client that has doubles.
    assert!(written["id"] == id || id.is_f64() && written["id"].is_f64(), "{written}");
    assert!(written.get("result").is_some() && written.get("error").is_none());
}
