//! Filters, which a forwarding server has none of: every check of OpenVidu's, then its clear refusal.

use controlplane_room::Role;
use serde_json::Value;

use super::{Seated, unauthorized};
use crate::openvidu::compat::{self, code};
use crate::openvidu::rpc::Failure;

/// The stream that a filter is about.
enum Target {
    /// Nobody publishes it; whether the connection that it is named after is here.
    Unknown { is_owner_here: bool },
    /// It is published.
    Published,
}

impl Seated<'_> {
    pub(super) fn apply_filter(&self) -> Result<(), Failure> {
        let request = self.call.request;
        let (stream, kind, options) = (request.text("streamId")?, request.text("type")?, request.text("options")?);
        let action = "apply filter";
        let target = self.target(&stream, action)?;
        if !self.may(&self.room.lock(), Role::Moderator) && !self.is_allowed(&kind) {
            return Err(unauthorized(action));
        }
        check_object("options", &options)?;
        self.check_streaming(&stream, &target)?;
        let text = format!("Error applying filter {kind} to stream {stream}: this server has no filters");
        Err(Failure::thrown(code::FILTER_NOT_APPLIED, text))
    }

    pub(super) fn remove_filter(&self) -> Result<(), Failure> {
        let stream = self.call.request.text("streamId")?;
        let target = self.target(&stream, "remove filter")?;
        self.check_streaming(&stream, &target)?;
        Err(Failure::thrown(code::FILTER_NOT_APPLIED, none_applied(&stream)))
    }

    pub(super) fn exec_filter_method(&self) -> Result<(), Failure> {
        let request = self.call.request;
        let (stream, _, params) = (request.text("streamId")?, request.text("method")?, request.text("params")?);
        let target = self.target(&stream, "execute filter method")?;
        check_object("params", &params)?;
        self.check_streaming(&stream, &target)?;
        Err(Failure::thrown(code::FILTER_NOT_APPLIED, none_applied(&stream)))
    }

    pub(super) fn filter_listener(&self, verb: &str) -> Result<(), Failure> {
        let request = self.call.request;
        let stream = request.text("streamId")?;
        request.text("eventType")?;
        let target = self.target(&stream, &format!("{verb} filter event listener"))?;
        match target {
            Target::Unknown { is_owner_here: false } if verb == "remove" => self.acknowledge(),
            target => {
                // The listener methods answer with errors where the others throw them.
                let answered = |failure: Failure| Failure::answered(failure.code, failure.message);
                self.check_streaming(&stream, &target).map_err(answered)?;
                Err(Failure::answered(code::FILTER_NOT_APPLIED, none_applied(&stream)))
            }
        }
    }

    /// Only moderators touch filters of streams that are not their own.
    fn target(&self, stream: &str, action: &str) -> Result<Target, Failure> {
        let inner = self.room.lock();
        let owner = compat::stream_owner(stream).unwrap_or(stream);
        if owner != self.me && !self.may(&inner, Role::Moderator) {
            return Err(unauthorized(action));
        }
        Ok(match inner.room.publisher_of(stream) {
            Some(_) => Target::Published,
            None => Target::Unknown { is_owner_here: inner.room.participant(owner).is_some() },
        })
    }

    /// A stream's owner may apply the filters that its connection lists. One that lists none learns that there are none.
    fn is_allowed(&self, kind: &str) -> bool {
        let own = self.room.lock().properties_of(self.me);
        let listed = own.kurento_options.get("allowedFilters").and_then(Value::as_array);
        listed.is_none_or(|listed| listed.iter().any(|filter| filter == kind))
    }

    fn check_streaming(&self, stream: &str, target: &Target) -> Result<(), Failure> {
        match target {
            Target::Published => Ok(()),
            Target::Unknown { is_owner_here: false } => {
                Err(Failure::thrown(code::USER_NOT_FOUND, format!("Owner of stream {stream} not found")))
            }
            Target::Unknown { is_owner_here: true } => {
                let owner = compat::stream_owner(stream).unwrap_or(stream);
                let text = format!("Participant '{owner}' is not streaming media");
                Err(Failure::thrown(code::NOT_STREAMING, text))
            }
        }
    }
}

fn check_object(name: &str, text: &str) -> Result<(), Failure> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err(format!("it is {text}")),
        Err(error) => Err(error.to_string()),
    }
    .map_err(|why| Failure::thrown(code::FILTER_NOT_APPLIED, format!("'{name}' parameter is not a JSON object: {why}")))
}

fn none_applied(stream: &str) -> String {
    format!("Stream {stream} has no filter applied")
}
