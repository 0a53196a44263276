//! SRTP and SRTCP in place: RFC 3711 with AES-CM and HMAC-SHA1, RFC 7714 with AES-GCM.
//!
//! [`Inbound`] opens what one client sends, [`Outbound`] seals what is sent to it. Keys are expanded once, when a
//! context is made; a packet costs no allocation and no key schedule.

mod cipher;
mod context;
mod kdf;
mod replay;
mod tags;

pub use cipher::{RtcpCipher, RtpCipher};
pub use context::{Inbound, MAX_OVERHEAD, MAX_SSRCS, Outbound, Unprotected};
pub use kdf::SessionKeys;
pub use replay::ReplayWindow;
pub use tags::Tags;

/// Why a packet cannot be opened or sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SrtpError {
    /// The packet has no room for what its protection adds, or ends within its header.
    #[error("SRTP packet is too short")]
    TooShort,
    /// The tag is wrong: the packet was tampered with or sealed with other keys.
    #[error("SRTP authentication failed")]
    AuthFailed,
    /// The packet was accepted before, or is older than the replay window.
    #[error("SRTP packet is a replay")]
    Replayed,
    /// The client uses more than [`MAX_SSRCS`] sources.
    #[error("more than {MAX_SSRCS} SSRCs in one SRTP context")]
    TooManySsrcs,
    /// The buffer has no room for the tag.
    #[error("no room for the SRTP tag")]
    NoRoom,
    /// The key or salt has a length that the profile does not allow, or there is no profile.
    #[error("SRTP key or salt does not fit the profile")]
    BadKey,
    /// The packet index has run out; the keys must not be used any more.
    #[error("SRTP key is exhausted")]
    KeyExhausted,
}

#[cfg(test)]
mod tests;
