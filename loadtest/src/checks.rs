//! Connectivity checks of a controlling full agent towards an ICE-lite one, RFC 8445 7.2.

use stun::attributes::{ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME};
use stun::fingerprint::FINGERPRINT;
use stun::integrity::MessageIntegrity;
use stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message};

use crate::peer::PeerError;

/// Priority of a host candidate of ours, as a peer-reflexive one would have it.
const PRIORITY: u32 = 110 << 24 | 0xff_ffff;

/// Credentials of both ends.
#[derive(Clone)]
pub(crate) struct Checks {
    username: String,
    integrity: MessageIntegrity,
}

impl Checks {
    pub(crate) fn new(local_ufrag: &str, remote_ufrag: &str, remote_password: &str) -> Self {
        Self {
            username: format!("{remote_ufrag}:{local_ufrag}"),
            integrity: MessageIntegrity::new_short_term_integrity(remote_password.to_owned()),
        }
    }

    /// A binding request that nominates its path.
    pub(crate) fn request(&self) -> Result<Vec<u8>, PeerError> {
        let mut message = Message::new();
        message.new_transaction_id()?;
        message.set_type(BINDING_REQUEST);
        message.write_header();
        message.add(ATTR_USERNAME, self.username.as_bytes());
        message.add(ATTR_PRIORITY, &PRIORITY.to_be_bytes());
        message.add(ATTR_ICE_CONTROLLING, &7u64.to_be_bytes());
        message.add(ATTR_USE_CANDIDATE, &[]);
        stun::message::Setter::add_to(&self.integrity, &mut message)?;
        stun::message::Setter::add_to(&FINGERPRINT, &mut message)?;
        Ok(message.raw)
    }

    /// Whether this is a success response that the server has signed.
    pub(crate) fn is_success(&self, datagram: &[u8]) -> bool {
        let mut message = Message::new();
        message.unmarshal_binary(datagram).is_ok()
            && message.typ == BINDING_SUCCESS
            && FINGERPRINT.check(&message).is_ok()
            && self.integrity.check(&mut message).is_ok()
    }
}
