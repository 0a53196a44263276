//! What is on the wire: borrowed views of received packets and writers into the caller's buffers.
//!
//! Nothing here allocates, keeps state or panics on any input. A view checks the structure it needs once, when it
//! is made; what it hands out afterwards borrows from the packet.

pub mod av1;
pub mod demux;
pub mod ext;
pub mod h264;
pub mod rtcp;
pub mod rtp;
pub mod stun;
pub mod twcc;
pub mod vp8;
pub mod vp9;

mod bytes;

#[cfg(test)]
pub(crate) mod test_bytes;
