//! Instruction gates: what each step of a forwarded packet costs in instructions, counted by callgrind and held against
//! a baseline that is kept in the tree. Unlike times they are the same in every run, so that a growth of a few percent
//! is a growth of the program.

mod baseline;
mod callgrind;
mod work;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use baseline::{Baseline, Tools, Verdict};
pub use callgrind::{Failure, count, is_installed};
pub use work::Work;

/// A step with a name, and how often callgrind is to see it.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Its name in the baseline.
    pub name: &'static str,
    /// What it covers.
    pub what: &'static str,
    work: Option<(Work, usize)>,
}

/// All gates, in the order in which a packet meets them.
pub const GATES: [Gate; 12] = [
    counted("demux", "telling RTP from what else comes", Work::Demux, 4_000),
    counted("parse", "the header and its extensions", Work::Parse, 4_000),
    counted("decrypt", "opening, AES-GCM", Work::Open { cm: false }, 1_000),
    counted("decrypt-cm", "opening, AES-CM with HMAC-SHA1", Work::Open { cm: true }, 400),
    counted("ingress", "all that a packet meets until it is kept", Work::Forward { subscribers: 0, cm: false }, 200),
    Gate { name: "rewrite", what: "each further subscriber, but for the sealing", work: None },
    counted("seal", "sealing, AES-GCM", Work::Seal { cm: false }, 1_000),
    counted("seal-cm", "sealing, AES-CM with HMAC-SHA1", Work::Seal { cm: true }, 400),
    counted("fan-out-1", "from one publisher to 1 subscriber", Work::Forward { subscribers: 1, cm: false }, 200),
    counted("fan-out-10", "to 10, each packet sent", Work::Forward { subscribers: 10, cm: false }, 40),
    counted("fan-out-100", "to 100, each packet sent", Work::Forward { subscribers: 100, cm: false }, 8),
    counted("fan-out-10-cm", "to 10, AES-CM with HMAC-SHA1", Work::Forward { subscribers: 10, cm: true }, 20),
];

const fn counted(name: &'static str, what: &'static str, work: Work, length: usize) -> Gate {
    Gate { name, what, work: Some((work, length)) }
}

/// Instructions per packet of every gate, in the order of [`GATES`]; `told` hears of each that is done.
///
/// # Errors
/// What keeps callgrind from counting.
pub fn count_all(told: impl Fn(usize) + Sync) -> Result<Vec<f64>, Failure> {
    let counts = Mutex::new(vec![f64::NAN; GATES.len()]);
    let failure = Mutex::new(None);
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let lane = || {
        while let Some((at, gate)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| Some((n, GATES.get(n)?))) {
            if let Some((work, length)) = gate.work {
                match count(work, length) {
                    Ok(instructions) => lock(&counts)[at] = instructions,
                    Err(error) => *lock(&failure) = Some(error),
                }
            }
            told(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    let lanes = std::thread::available_parallelism().map_or(1, Into::into).min(GATES.len());
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(lane);
        }
    });
    if let Some(error) = lock(&failure).take() {
        return Err(error);
    }
    let mut counts = std::mem::take(&mut *lock(&counts));
    derive(&mut counts);
    Ok(counts)
}

/// Counts all gates and compares them with the baseline at `path`, each as a line for people; true if all hold.
///
/// # Errors
/// What keeps callgrind from counting, or the baseline from being read.
pub fn check(path: &Path, told: impl Fn(usize) + Sync) -> Result<(Vec<String>, bool), Failure> {
    let baseline = Baseline::read(path)?;
    let tools = Tools::detect();
    let counts = count_all(told)?;
    let mut lines = Vec::new();
    let limit = baseline.limit(&tools);
    lines.extend(baseline.notice(&tools));
    let mut holds = true;
    for (gate, count) in GATES.iter().zip(counts) {
        let verdict = baseline.verdict(gate.name, count, limit);
        holds &= !verdict.fails();
        lines.push(verdict.line(gate, count));
    }
    Ok((lines, holds))
}

/// Counts all gates and writes them to `path` as the new baseline.
///
/// # Errors
/// What keeps callgrind from counting, or the baseline from being written.
pub fn renew(path: &Path, told: impl Fn(usize) + Sync) -> Result<(), Failure> {
    let counts = count_all(told)?;
    Baseline::new(Tools::detect(), GATES.iter().map(|gate| gate.name).zip(counts)).write(path)
}

/// The rewrite is what ninety more subscribers cost, without their sealing: it cannot be called from outside the core.
fn derive(counts: &mut [f64]) {
    let of = |name: &str| GATES.iter().position(|gate| gate.name == name).and_then(|at| counts.get(at).copied());
    let (Some(hundred), Some(ten), Some(seal)) = (of("fan-out-100"), of("fan-out-10"), of("seal")) else { return };
    let rewrite = (hundred * 100.0 - ten * 10.0) / 90.0 - seal;
    if let Some(at) = GATES.iter().position(|gate| gate.name == "rewrite") {
        counts[at] = rewrite;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
