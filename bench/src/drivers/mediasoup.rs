//! mediasoup. It has no package: its crate builds a C++ worker whose build system fetches a dozen source archives, from
//! places that this bench does not reach for. Until somebody prepares a worker by hand this driver has none to start.

use crate::drivers::{Driver, Failure, Plan, Server};

/// mediasoup's worker.
#[derive(Clone, Copy, Debug)]
pub struct Mediasoup;

impl Driver for Mediasoup {
    fn name(&self) -> String {
        "mediasoup".to_owned()
    }

    fn start(&self, _: &Plan) -> Result<Box<dyn Server>, Failure> {
        Err("not installed: no Debian package, and the build of mediasoup-sys downloads its C++ dependencies one by one"
            .into())
    }
}
