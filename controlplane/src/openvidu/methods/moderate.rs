//! What moderators do to others.

use controlplane_room::{Error, Input, Role};

use super::Seated;
use crate::openvidu::compat::code;
use crate::openvidu::rpc::Failure;

impl Seated<'_> {
    pub(super) async fn force_disconnect(&self) -> Result<(), Failure> {
        let target = self.call.request.text("connectionId")?.into_owned();
        self.require(Role::Moderator, "force disconnect")?;
        let no_target =
            || Failure::answered(code::USER_NOT_FOUND, "Connection not found when calling 'forceDisconnect'");
        let input = Input::Expel { participant: self.me.to_owned(), target };
        self.perform(input, |error| match error {
            Error::UnknownParticipant(_) => no_target(),
            other => Failure::thrown(code::GENERIC, other.to_string()),
        })
        .await
    }

    pub(super) async fn force_unpublish(&self) -> Result<(), Failure> {
        let stream = self.call.request.text("streamId")?.into_owned();
        self.require(Role::Moderator, "force unpublish")?;
        let input = Input::ForceUnpublish { participant: Some(self.me.to_owned()), stream };
        self.perform(input, |error| match error {
            Error::UnknownStream(stream) => {
                Failure::answered(code::NOT_STREAMING, format!("Stream '{stream}' is not published"))
            }
            other => Failure::thrown(code::GENERIC, other.to_string()),
        })
        .await
    }
}
