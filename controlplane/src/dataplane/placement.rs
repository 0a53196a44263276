//! Which data plane serves a room. Today there is one, on the same machine; whoever asks goes through here, so that a
//! second one changes this file and not its callers.

use super::Client;

/// The data planes of this control plane.
#[derive(Clone, Debug)]
pub struct Placement {
    only: Client,
}

impl Placement {
    /// All rooms on one data plane.
    pub fn single(client: Client) -> Self {
        Self { only: client }
    }

    /// The data plane of a room. The answer for one room never changes while the room lives.
    pub fn of_room(&self, _room: &str) -> &Client {
        &self.only
    }

    /// Every data plane, for what concerns all of them.
    pub fn all(&self) -> impl Iterator<Item = &Client> {
        std::iter::once(&self.only)
    }
}
