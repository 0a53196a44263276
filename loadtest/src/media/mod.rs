//! What bots publish: real, decodable VP8, H264 and opus of a test pattern, made once by ffmpeg and kept, so that a
//! browser in the same room shows it.

mod clip;
mod container;
mod encode;
mod sent;
mod stream;

pub(crate) use clip::{Clip, Codec};
pub(crate) use encode::{AudioSpec, VideoSpec, default_dir, make};
pub(crate) use sent::{Sent, SentLog};
pub(crate) use stream::{PacketStream, StreamIds};
