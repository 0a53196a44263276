//! mediasoup: one worker for each of the plan's, and a WebRtcTransport for each client, all of a worker on one
//! socket (its WebRtcServer). `bench/peers/mediasoup.sh` builds it.

use crate::drivers::lines::{Library, start};
use crate::drivers::{Driver, Failure, Plan, Server};

/// mediasoup's worker and its Rust API in one process, as its crate has it.
#[derive(Clone, Copy, Debug)]
pub struct Mediasoup;

impl Driver for Mediasoup {
    fn name(&self) -> String {
        "mediasoup".to_owned()
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Server>, Failure> {
        let library = Library {
            name: "mediasoup",
            program: "mediasoup-under-test",
            script: "mediasoup.sh",
            remark: "its worker on Debian's libsrtp2 (on OpenSSL) and libuv",
        };
        start(library, plan)
    }
}
