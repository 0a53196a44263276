//! `millrace-loadtest`: see the crate's documentation.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_loadtest::cli::main()
}
