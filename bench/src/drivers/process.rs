//! A server's process: pinned to cores, ended when dropped, and what /proc says of its use of CPU and memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::time::ClockId;
use nix::unistd::Pid;

use crate::drivers::{Failure, Plan};

/// How long a process may take to end by itself.
const FAREWELL: Duration = Duration::from_secs(3);
/// Niceness of every server, so that what else runs on the machine weighs less. It needs a privilege; without it,
/// nice(1) goes on with 0.
const NICENESS: &str = "-10";

/// A child process.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU seconds, in user space and in the kernel, of all its threads.
    pub cpu: f64,
    /// Resident memory in bytes, now.
    pub resident: u64,
    /// CPU seconds of its busiest thread.
    pub busiest_thread: f64,
}

impl Process {
    /// Starts `program` where `plan` has it, its output in the file `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        program: &Path,
        arguments: &[String],
        environment: &[(String, String)],
        plan: &Plan,
        log: &Path,
    ) -> Result<Self, Failure> {
        let cores: Vec<_> = plan.cores.iter().map(ToString::to_string).collect();
        let out = fs::File::create(log)?;
        let mut command = Command::new(if plan.namespace.is_some() { "nsenter" } else { "taskset" });
        if let Some(namespace) = &plan.namespace {
            command.arg(format!("--net={}", namespace.display())).arg("taskset");
        }
        let child = command
            .args(["-c", &cores.join(","), "nice", "-n", NICENESS])
            // A bench that is killed takes its servers with it.
            .args(["setpriv", "--pdeathsig", "TERM"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .map_err(|error| {
                format!(
                    "{}: {error} (it is started by taskset, setpriv and, with --wire, nsenter of util-linux)",
                    program.display()
                )
            })?;
        Ok(Self { child })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has used so far, its CPU time by its own clock (clock_getcpuclockid(3)): the sum of `utime` and `stime` of
    /// proc_pid_stat(5), but in nanoseconds and not in hundredths of a second.
    ///
    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> Result<Usage, Failure> {
        let folder = PathBuf::from(format!("/proc/{}", self.id()));
        let cpu = cpu_of(self.id())?;
        let pages = fs::read_to_string(folder.join("statm"))?;
        let pages: u64 = pages.split(' ').nth(1).ok_or("an unknown format of /proc/PID/statm")?.parse()?;
        let mut busiest_thread: f64 = 0.0;
        for thread in fs::read_dir(folder.join("task"))? {
            // A thread may end between the two looks.
            if let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) {
                let ns: f64 = text.split(' ').next().unwrap_or_default().parse()?;
                busiest_thread = busiest_thread.max(ns / 1e9);
            }
        }
        Ok(Usage { cpu, resident: pages * rustix::param::page_size() as u64, busiest_thread })
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// Waits until `ready`, in vain if the process ends or `patience` does.
    ///
    /// # Errors
    /// What it waited for, and the end of `log`.
    pub fn wait_for(
        &mut self,
        what: &str,
        patience: Duration,
        log: &Path,
        mut ready: impl FnMut() -> bool,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        while !ready() {
            let ended = self.ended();
            if ended.is_some() || started.elapsed() > patience {
                let text = fs::read_to_string(log).unwrap_or_default();
                let last = text.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>();
                let how = ended.unwrap_or_else(|| format!("nothing after {patience:?}"));
                return Err(format!("{what}: {how}; its last words:\n{}", last.join("\n")).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // kill(1) is there wherever taskset is; std only knows how to kill outright.
        let _ = Command::new("kill").arg(self.id().to_string()).stderr(Stdio::null()).status();
        let started = Instant::now();
        while self.ended().is_none() {
            if started.elapsed() > FAREWELL {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// CPU seconds of the kernel's thread `name`, for example `ksoftirqd/0`, which takes over packets when a core has
/// too many of them: work of the server that its own accounting does not show. `None` if it cannot be seen.
pub fn cpu_of_kernel_thread(name: &str) -> Option<f64> {
    let entries = fs::read_dir("/proc").ok()?;
    for entry in entries.flatten() {
        let path = entry.path();
        if fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
            return cpu_of(path.file_name()?.to_str()?.parse().ok()?).ok();
        }
    }
    None
}

/// CPU seconds of a process so far, by its own clock.
fn cpu_of(process: u32) -> Result<f64, Failure> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(process)?))?;
    Ok(Duration::from(clock.now()?).as_secs_f64())
}

/// Seconds that this machine's processors were given to others by the hypervisor, summed over all of them.
pub fn steal_seconds() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let ticks: f64 = first.split_whitespace().nth(8).and_then(|value| value.parse().ok()).unwrap_or(0.0);
    ticks / rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_accounted_for_and_ends_when_dropped() {
        let log = std::env::temp_dir().join(format!("millrace-bench-process-{}", std::process::id()));
        let arguments = ["-c".to_owned(), "while :; do :; done".to_owned()];
        let plan = Plan { workers: 1, cores: vec![0], namespace: None };
        let mut process = Process::start(Path::new("/bin/sh"), &arguments, &[], &plan, &log).unwrap();
        let id = process.id();
        let busy = |process: &mut Process| process.usage().is_ok_and(|usage| usage.cpu > 0.02);
        let started = Instant::now();
        while !busy(&mut process) {
            assert!(started.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        }
        let usage = process.usage().unwrap();
        assert!(usage.busiest_thread > 0.0 && usage.resident > 0);
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        let _ = fs::remove_file(log);
    }
}
