//! What the fuzz targets run: plain functions of bytes that panic when an invariant does not hold.
//!
//! Each function has a thin target in `fuzz_targets/`, a folder of inputs in `corpus/` with the same name, and a line
//! in [`TARGETS`], by which `make test` replays the inputs. A new target is those four things; its seeds are
//! written by `cargo run --example seeds`.
//!
//! To fuzz, in this folder: `cargo +nightly fuzz run stun -- -max_len=1500`. Of what it finds, keep the small inputs
//! that `-set_cover_merge=1` selects.

mod control_frames;
mod json_rpc;
mod rtcp;
mod rtp;
mod sdp;
mod stun;
mod webhook_record;

pub use control_frames::control_frames;
pub use json_rpc::json_rpc;
pub use rtcp::rtcp;
pub use rtp::rtp;
pub use sdp::sdp;
pub use stun::stun;
pub use webhook_record::webhook_record;

/// A function that panics on bytes that break an invariant.
pub type Target = fn(&[u8]);

/// All targets by the name of their corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("stun", stun),
    ("rtp", rtp),
    ("rtcp", rtcp),
    ("control_frames", control_frames),
    ("sdp", sdp),
    ("json_rpc", json_rpc),
    ("webhook_record", webhook_record),
];
