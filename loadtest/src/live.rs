//! The terminal while a run is under way: a line that moves where there is a terminal, one line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::outcome::{Phase, Sample};

/// Without a terminal a line is written this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The view.
pub(crate) struct View {
    bar: ProgressBar,
    is_terminal: bool,
    last_line: Mutex<Option<Instant>>,
}

impl View {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, is_terminal: std::io::stderr().is_terminal(), last_line: Mutex::new(None) }
    }

    /// What happens now, and how many units it has.
    pub(crate) fn phase(&self, name: &str, length: Option<u64>) {
        let template = match length {
            Some(_) => "{spinner:.cyan} {prefix:<10} {bar:24.cyan/dim} {pos:>4}/{len}  {msg}",
            None => "{spinner:.cyan} {prefix:<10} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("━━─"));
        }
        self.bar.set_length(length.unwrap_or(0));
        self.bar.set_position(0);
        self.bar.set_prefix(name.to_owned());
        self.bar.set_message("");
        if !self.is_terminal {
            eprintln!("{name} ...");
        }
    }

    pub(crate) fn position(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// The last second.
    pub(crate) fn show(&self, sample: &Sample, errors: u64) {
        if sample.phase == Phase::Ramp {
            self.bar.set_position(sample.present as u64);
        }
        let line = line(sample, errors);
        if !self.is_terminal {
            let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
                *last = Some(Instant::now());
                eprintln!("{:>5.0} s  {line}", sample.at);
            }
        }
        self.bar.set_message(line);
    }

    /// A line that stays.
    pub(crate) fn tell(&self, text: &str) {
        if self.is_terminal {
            self.bar.println(text);
        } else {
            eprintln!("{text}");
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn line(sample: &Sample, errors: u64) -> String {
    let latency = sample.latency_p99.map_or_else(String::new, |p99| format!("  p99 {:.1} ms", p99 * 1e3));
    let server = sample.server_cores.map_or_else(String::new, |cores| format!("  server {:.0} %", cores * 100.0));
    let bots = sample.bots_cores.map_or_else(String::new, |cores| format!("  bots {:.0} %", cores * 100.0));
    let errors = if errors > 0 { format!("  {errors} errors") } else { String::new() };
    format!(
        "{} there  {}/{} streams  {:.0} pkt/s  {:.1} Mbit/s  lost {}{latency}{server}{bots}{errors}",
        sample.present,
        sample.flowing,
        sample.expected,
        sample.packets_per_second,
        sample.bits_per_second / 1e6,
        sample.lost,
    )
}
