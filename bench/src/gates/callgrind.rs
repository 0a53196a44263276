//! Counting by callgrind: this program runs itself under valgrind twice, the second time with twice the work, and the
//! difference is the work alone.

use std::io;
use std::process::Command;

use super::Work;

/// Why nothing was counted or compared.
#[derive(Debug)]
pub enum Failure {
    /// Valgrind cannot be started.
    Valgrind(io::Error),
    /// Valgrind ran and gave no count; what it said.
    NoCount(String),
    /// The baseline cannot be read or written.
    Baseline(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Valgrind(error) => {
                write!(f, "cannot start valgrind ({error}): deploy/install.sh valgrind installs it")
            }
            Self::NoCount(said) => write!(f, "valgrind gave no count: {said}"),
            Self::Baseline(what) => write!(f, "{what}; `make bench-baseline` makes a new baseline"),
        }
    }
}

impl std::error::Error for Failure {}

/// Whether valgrind is there.
pub fn is_installed() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Instructions per packet of some work, of which `length` repetitions are counted.
///
/// # Errors
/// What keeps valgrind from counting.
pub fn count(work: Work, length: usize) -> Result<f64, Failure> {
    let (short, long) = (total(work, length, 2 * length)?, total(work, 2 * length, 2 * length)?);
    Ok(long.saturating_sub(short) as f64 / (work.packets() * length) as f64)
}

fn total(work: Work, length: usize, longest: usize) -> Result<u64, Failure> {
    let program = std::env::current_exe().map_err(Failure::Valgrind)?;
    // A fixed environment: what lies on the stack before `main` moves what comes after.
    let output = Command::new("valgrind")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["count", &work.argument(), &length.to_string(), &longest.to_string()])
        .output()
        .map_err(Failure::Valgrind)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")).filter(|_| output.status.success());
    let count = collected.and_then(|(_, count)| count.split_whitespace().next()?.parse().ok());
    count.ok_or_else(|| Failure::NoCount(said.lines().last().unwrap_or_default().to_owned()))
}
