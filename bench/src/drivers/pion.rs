//! pion, the library that several servers in Go are built on: forwarding alone, without what these servers add to it.
//! `bench/peers/pion.sh` builds it.

use crate::drivers::lines::{Library, start};
use crate::drivers::{Driver, Failure, Plan, Server};

/// A program on pion that forwards and does nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Pion;

impl Driver for Pion {
    fn name(&self) -> String {
        "pion, forwarding alone".to_owned()
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Server>, Failure> {
        let library = Library {
            name: "pion",
            program: "pion-under-test",
            script: "pion.sh",
            remark: "from Debian; it remembers nothing for retransmissions",
        };
        start(library, plan)
    }
}
