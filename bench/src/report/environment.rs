//! The machine, the program and the moment of a measurement.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use serde::Serialize;

/// Where and when something was measured, as far as it could be found out; what could not is "unknown".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// Model of the processor.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// The system's name and release.
    pub kernel: String,
    /// Revision of the source tree, with "+" if it had changes that were not committed.
    pub revision: String,
    /// The compiler in the path.
    pub compiler: String,
    /// When, in UTC: `2026-11-22 18:30`.
    pub taken_at: String,
}

impl Environment {
    /// This machine, now.
    pub fn detect() -> Self {
        let kernel = read("/proc/sys/kernel/osrelease").map(|release| format!("Linux {}", release.trim()));
        Self {
            cpu: read("/proc/cpuinfo").and_then(|text| cpu_model(&text)).unwrap_or_else(unknown),
            cores: thread::available_parallelism().map_or(1, Into::into),
            kernel: kernel.unwrap_or_else(unknown),
            revision: revision().unwrap_or_else(unknown),
            compiler: output("rustc", &["--version"]).unwrap_or_else(unknown),
            taken_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or_else(|_| unknown(), |at| utc(at.as_secs())),
        }
    }

    /// Names and values, in the order in which they are shown.
    pub(super) fn lines(&self) -> [(&'static str, String); 5] {
        [
            ("Processor", format!("{}, {} cores", self.cpu, self.cores)),
            ("System", self.kernel.clone()),
            ("Revision", self.revision.clone()),
            ("Compiler", self.compiler.clone()),
            ("Measured", format!("{} UTC", self.taken_at)),
        ]
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The first line of what a program prints.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

fn revision() -> Option<String> {
    let here = env!("CARGO_MANIFEST_DIR");
    let revision = output("git", &["-C", here, "rev-parse", "--short=10", "HEAD"])?;
    let changed = output("git", &["-C", here, "status", "--porcelain", "--untracked-files=no"])?;
    Some(revision + if changed.is_empty() { "" } else { "+" })
}

pub(super) fn cpu_model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Seconds since 1970 as a date and time, by the civil calendar.
pub(super) fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that a leap day is a year's last; an era is 400 of them, 146,097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", rest / 3_600, rest / 60 % 60)
}
