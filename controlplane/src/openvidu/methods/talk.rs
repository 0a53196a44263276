//! What participants tell each other and the server: signals, changes of their streams, candidates, statistics.

use controlplane_room::{Error, Input, Role, StreamProperty};
use serde_json::{Map, Value};

use super::Seated;
use crate::openvidu::compat::code;
use crate::openvidu::endpoints::ClientCandidate;
use crate::openvidu::params;
use crate::openvidu::rpc::Failure;

impl Seated<'_> {
    pub(super) async fn send_message(&self) -> Result<(), Failure> {
        let message = self.call.request.text("message")?;
        let Ok(Value::Object(signal)) = serde_json::from_str::<Value>(&message) else {
            let text = format!("Provided signal object '{message}' has not a valid JSON format");
            return Err(Failure::thrown(code::SIGNAL_FORMAT, text));
        };
        let text = |name: &str| match signal.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        };
        let (participant, to) = (Some(self.me.to_owned()), targets(signal.get("to"))?);
        let input = Input::Signal { participant, to, kind: text("type"), data: text("data") };
        self.perform(input, |error| match error {
            Error::UnknownParticipant(_) => Failure::thrown(
                code::SIGNAL_TO,
                "Signal \"to\" field invalid format: some connectionId does not exist in this session",
            ),
            other => Failure::thrown(code::GENERIC, other.to_string()),
        })
        .await
    }

    pub(super) async fn stream_property_changed(&self) -> Result<(), Failure> {
        let request = self.call.request;
        request.text("streamId")?;
        let (name, reason) = (request.text("property")?, request.text("reason")?);
        let value = request.params.get("newValue").ok_or_else(|| Failure::missing(&request.method, "newValue"))?;
        let is_active = || params::as_flag(value).ok_or_else(|| Failure::wrong_type(&request.method, "newValue"));
        let property = match (&*name, value) {
            ("audioActive", _) => StreamProperty::AudioActive(is_active()?),
            ("videoActive", _) => StreamProperty::VideoActive(is_active()?),
            ("videoDimensions", Value::String(text)) => StreamProperty::VideoDimensions(text.clone()),
            _ => StreamProperty::Other(name.into_owned()),
        };
        // The notification carries the JSON text of what was sent, as a string.
        let value = value.to_string();
        let participant = self.me.to_owned();
        let input = Input::ChangeStream { participant, property, value, reason: reason.into_owned() };
        let outcome = self.call.hub.perform(self.room, input, &mut |inner, _| self.answer(inner, Map::new())).await;
        match outcome {
            Ok(_) => Ok(()),
            // After an unpublish there is nothing to tell anybody, and nothing wrong either.
            Err(Error::NotPublishing(_)) if self.call.session.has_published.get().is_some() => self.acknowledge(),
            Err(Error::NotPublishing(_)) => Err(self.never_published()),
            Err(error) => Err(self.common(error, |e| Failure::thrown(code::GENERIC, e.to_string()))),
        }
    }

    /// It is only kept for who asks: all candidates of this server are in its SDP, and it learns the client's from their checks.
    pub(super) fn ice_candidate(&self) -> Result<(), Failure> {
        let request = self.call.request;
        let endpoint = request.text("endpointName")?;
        let candidate = ClientCandidate {
            candidate: request.text("candidate")?.into_owned(),
            mid: request.text("sdpMid")?.into_owned(),
            line: request.integer("sdpMLineIndex")?,
        };
        let can_publish = {
            let mut inner = self.room.lock();
            let me = inner.room.participant(self.me);
            if me.is_some() && inner.room.participant(&endpoint).is_some() {
                inner.endpoints.candidate(self.me, &endpoint, candidate);
            }
            self.may(&inner, Role::Publisher) && inner.room.participant(self.me).is_some_and(|me| me.hidden.is_none())
        };
        if endpoint == self.me && !can_publish {
            return Err(Failure::unexpected(format!("Participant '{}' has no publisher endpoint", self.me)));
        }
        self.acknowledge()
    }

    pub(super) fn video_data(&self) -> Result<(), Failure> {
        let request = self.call.request;
        request.integer("height")?;
        request.integer("width")?;
        request.flag("videoActive")?;
        request.flag("audioActive")?;
        self.acknowledge()
    }

    pub(super) fn never_published(&self) -> Failure {
        Failure::unexpected(format!("Participant '{}' has never published", self.me))
    }
}

/// Who a signal is for; empty: everybody.
fn targets(to: Option<&Value>) -> Result<Vec<String>, Failure> {
    let invalid =
        |what: &Value| Failure::thrown(code::SIGNAL_TO, format!("Signal \"to\" field invalid format: {what}"));
    let list = match to {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(invalid(other)),
    };
    list.iter().map(|target| target.as_str().map(str::to_owned).ok_or_else(|| invalid(target))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_signal_for_somebody_never_becomes_one_for_everybody() {
        assert_eq!(targets(None), Ok(vec![]));
        assert_eq!(targets(Some(&json!([]))), Ok(vec![]));
        assert_eq!(targets(Some(&json!(["a", "b", "a"]))), Ok(["a", "b", "a"].map(str::to_owned).to_vec()));
        for wrong in [json!("a"), json!(["a", null]), json!([7]), json!({"a": 1}), json!(false)] {
            assert_eq!(targets(Some(&wrong)).map_err(|failure| failure.code), Err(code::SIGNAL_TO), "{wrong}");
        }
        let Err(failure) = targets(Some(&json!([null]))) else { panic!("null is nobody") };
        assert_eq!(failure.message, "Signal \"to\" field invalid format: null");
    }
}
