//! The baseline: instructions per packet of each gate, and the tools that they were counted with. Another compiler,
//! valgrind or C library moves counts by some percent without anybody's doing, so that the limit is wider then; another
//! kind of processor runs other code, and only shows its counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::{Failure, Gate};

/// Growth that fails a gate, in percent.
pub(super) const LIMIT: f64 = 3.0;
/// The same where the tools are not the baseline's.
pub(super) const WIDE_LIMIT: f64 = 15.0;
/// Growth that is no growth: fractions of an instruction come from where things lie in memory.
const SLACK: f64 = 1.0;

/// What a count depends on besides the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tools {
    /// Processor architecture and, on x86-64, whether it has AVX2, which valgrind hands on.
    pub processor: String,
    /// The compiler's version.
    pub rustc: String,
    /// Valgrind's version.
    pub valgrind: String,
    /// The C library's version: it has `memcpy`.
    pub libc: String,
}

/// Counts to hold others against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// What they were counted with.
    pub tools: Tools,
    /// Instructions per packet, by gate.
    pub gates: BTreeMap<String, f64>,
}

/// What became of a gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The baseline does not have it.
    Unknown,
    /// The counts are of another kind of processor.
    NotCompared {
        /// The baseline's count.
        old: f64,
    },
    /// It was held against the baseline.
    Compared {
        /// The baseline's count.
        old: f64,
        /// Growth in percent, negative if it shrank.
        growth: f64,
        /// The growth that fails.
        limit: f64,
    },
}

impl Tools {
    /// Those of this machine; what cannot be found out is empty.
    pub fn detect() -> Self {
        let first_line = |program: &str, argument: &str| {
            let output = Command::new(program).arg(argument).output().ok();
            let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
            text.lines().next().unwrap_or_default().to_owned()
        };
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let has_avx2 = cpuinfo.split_whitespace().any(|word| word == "avx2");
        let libc = first_line("ldd", "--version").split_whitespace().last().unwrap_or_default().to_owned();
        Self {
            processor: format!("{}{}", std::env::consts::ARCH, if has_avx2 { " with AVX2" } else { "" }),
            rustc: first_line("rustc", "--version").split_whitespace().nth(1).unwrap_or_default().to_owned(),
            valgrind: first_line("valgrind", "--version"),
            libc,
        }
    }
}

impl Baseline {
    /// Counts of these tools, to a tenth of an instruction.
    pub fn new<'a>(tools: Tools, counts: impl Iterator<Item = (&'a str, f64)>) -> Self {
        Self { tools, gates: counts.map(|(name, count)| (name.to_owned(), (count * 10.0).round() / 10.0)).collect() }
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| failure(path, &error))?;
        serde_json::from_str(&text).map_err(|error| failure(path, &error))
    }

    /// Writes it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(|error| failure(path, &error))?;
        fs::write(path, text + "\n").map_err(|error| failure(path, &error))
    }

    /// The growth that fails with these tools, in percent; `None` if counts of them cannot be compared.
    pub fn limit(&self, tools: &Tools) -> Option<f64> {
        if self.tools == *tools {
            return Some(LIMIT);
        }
        (self.tools.processor == tools.processor).then_some(WIDE_LIMIT)
    }

    /// What to say first, if these are not the tools of the baseline.
    pub fn notice(&self, tools: &Tools) -> Option<String> {
        let limit = match self.limit(tools) {
            Some(LIMIT) => return None,
            Some(limit) => format!("a gate fails beyond {limit} % instead of {LIMIT} %"),
            None => "counts are shown and not compared".to_owned(),
        };
        let show = |t: &Tools| format!("{}, rustc {}, {}, libc {}", t.processor, t.rustc, t.valgrind, t.libc);
        Some(format!(
            "The baseline is of other tools, so that {limit}.\n  baseline: {}\n  here:     {}\n  \
             `make bench-baseline` makes one of these tools, from a revision that is known to be good.",
            show(&self.tools),
            show(tools)
        ))
    }

    /// What becomes of a gate with this count.
    pub fn verdict(&self, gate: &str, count: f64, limit: Option<f64>) -> Verdict {
        let Some(&old) = self.gates.get(gate) else { return Verdict::Unknown };
        let Some(limit) = limit else { return Verdict::NotCompared { old } };
        let growth = if (count - old).abs() <= SLACK { 0.0 } else { (count / old - 1.0) * 100.0 };
        Verdict::Compared { old, growth, limit }
    }
}

impl Verdict {
    /// Whether it is reason to fail. A gate without baseline is: it would guard nothing.
    pub fn fails(self) -> bool {
        match self {
            Self::Unknown => true,
            Self::NotCompared { .. } => false,
            // A count that is not a number compares as no growth, and must not pass for that.
            Self::Compared { growth, limit, .. } => growth.is_nan() || growth > limit,
        }
    }

    /// The line for people.
    pub fn line(self, gate: &Gate, count: f64) -> String {
        let head = format!("{:<14} {count:>10.1}", gate.name);
        match self {
            Self::Unknown => format!("{head}  FAILED: not in the baseline; `make bench-baseline` adds it"),
            Self::NotCompared { old } => format!("{head}  (another processor: {old:.1})"),
            Self::Compared { old, growth, limit } if self.fails() => format!(
                "{head}  FAILED: gate `{}` takes {count:.1} instructions per packet and took {old:.1}: {growth:+.1} %, \
                 more than {limit} %. Find what grew; if it has to be, `make bench-baseline` renews bench/baseline.json \
                 and the commit says why",
                gate.name
            ),
            Self::Compared { growth, .. } if growth < -LIMIT => {
                format!("{head}  {growth:+.1} %: `make bench-baseline` keeps the gain")
            }
            Self::Compared { growth, .. } => format!("{head}  {growth:+.1} %"),
        }
    }
}

fn failure(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Baseline(format!("{}: {error}", path.display()))
}
