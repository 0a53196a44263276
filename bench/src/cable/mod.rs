//! A cable instead of the loopback. On the loopback the sender is charged for the receiver's half of the kernel's work as
//! well, up to the queue of the receiving socket; on a server of one's own that half is done by another machine. Here
//! servers have a network namespace of their own, joined to the client's by a veth pair, and threads of the kernel on
//! the client's core take in what comes at either end: what a server is charged with ends where a network card would
//! take over.
//!
//! Both namespaces have no name. They and the cable end with the last process in them, whatever ends that, and several
//! cables do not see each other. Addresses are the loopback's, so that no server or client is set up differently.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::errno::Errno;
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::unistd::Pid;

use crate::Failure;

/// What lays it, by ip(8), ethtool(8), tc(8) and others.
const LAY: &str = include_str!("lay.sh");
/// Nanoseconds between two looks of a receiving end at what has come: the moderation of a card's interrupts. Its ring has
/// 256 places, which nobody fills in this time.
const PAUSE: u32 = 50_000;
/// Programs that it is laid by, and Debian's packages of them.
const PROGRAMS: [(&str, &str); 4] =
    [("ip", "iproute2"), ("tc", "iproute2"), ("ethtool", "ethtool"), ("nsenter", "util-linux")];

/// What the servers' network card does with a run of UDP datagrams (`UDP_SEGMENT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card {
    /// Nothing: the kernel cuts it apart, and charges the server.
    Plain,
    /// Cuts it apart by itself, which nobody is charged with but the client.
    Offload,
}

impl Card {
    /// For the headline of a report, after "over".
    pub fn described(self) -> &'static str {
        match self {
            Self::Plain => {
                "a cable (veth) to a plain card: a server is charged with its own half of the kernel's work, cutting its \
                 runs into datagrams included, and not with the receiver's half"
            }
            Self::Offload => {
                "a cable (veth) to a card that cuts runs apart by itself: a server is charged with its own half of the \
                 kernel's work up to handing over a run or a single datagram, neither with cutting runs nor with the \
                 receiver's half"
            }
        }
    }
}

/// A laid cable. It ends with this and the last process at its servers' end.
#[derive(Debug)]
pub struct Cable {
    servers: File,
    threads: Vec<KernelThread>,
}

#[derive(Debug)]
struct KernelThread(PathBuf);

impl Cable {
    /// Lays a cable and moves this thread, and those that it starts from now on, to its client's end. The kernel's
    /// threads of both ends run on `core`.
    ///
    /// # Errors
    /// Why it cannot be laid, and what to do about it.
    pub fn lay(card: Card, core: usize) -> Result<Self, Failure> {
        if let Some(missing) = missing(&std::env::var("PATH").unwrap_or_default()) {
            return Err(missing.into());
        }
        move_to_new_namespace()?;
        let servers = File::open("/proc/thread-self/ns/net")?;
        move_to_new_namespace()?;
        let name = unique();
        let mut cable = Self { servers, threads: Vec::new() };
        let cuts = if card == Card::Offload { "on" } else { "off" };
        let arguments = [&cable.servers().display().to_string(), &name, cuts, &PAUSE.to_string()].map(str::to_owned);
        let output = Command::new("sh").args(["-c", LAY, "lay.sh"]).args(arguments).output()?;
        done("the cable cannot be laid", &output)?;
        for end in ["c", "s"] {
            cable.threads.push(pinned(&format!("napi/{end}{name}-"), core)?);
        }
        Ok(cable)
    }

    /// The servers' network namespace, as a file for nsenter(1) or setns(2).
    pub fn servers(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.servers.as_raw_fd()))
    }

    /// CPU seconds that the kernel's threads of both ends have used so far: they share the client's core.
    ///
    /// # Errors
    /// When there is one no more.
    pub fn cpu(&self) -> Result<f64, Failure> {
        self.threads.iter().map(KernelThread::cpu).sum()
    }
}

impl KernelThread {
    /// CPU seconds, by the first value of its schedstat.
    fn cpu(&self) -> Result<f64, Failure> {
        let text = fs::read_to_string(self.0.join("schedstat"))
            .map_err(|error| format!("a thread of the cable's, {}: {error}", self.0.display()))?;
        let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
        Ok(nanoseconds / 1e9)
    }
}

fn move_to_new_namespace() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| match error {
        Errno::EPERM => "a cable is laid by root alone: run the bench as root (sudo), or without --wire".into(),
        error => format!("a network namespace: {error}").into(),
    })
}

/// A part of device names that no other cable on this machine has: there may be several to a process.
fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// What is not there of what a cable needs, and how to get it.
fn missing(path: &str) -> Option<String> {
    let there = |program: &str| std::env::split_paths(path).any(|folder| folder.join(program).exists());
    let (program, _) = PROGRAMS.iter().find(|(program, _)| !there(program))?;
    let mut packages: Vec<_> = PROGRAMS.iter().filter(|(program, _)| !there(program)).map(|(_, from)| *from).collect();
    packages.dedup();
    let packages = packages.join(" ");
    Some(format!("{program} is missing, which lays the cable; apt-get update; apt-get install -y {packages}"))
}

fn done(what: &str, output: &Output) -> Result<(), Failure> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{what} ({}): {}; Linux must have veth, and this must be root", output.status, said.trim()).into())
}

/// The kernel's thread whose name begins so, moved to `core`, where it goes before everything as an interrupt would.
fn pinned(name: &str, core: usize) -> Result<KernelThread, Failure> {
    let folders = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    let is_it = |folder: &Path| fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm.starts_with(name));
    let folder = folders.into_iter().find(|folder| is_it(folder));
    let folder =
        folder.ok_or_else(|| format!("no thread {name}: this kernel does not poll veth by threads (5.12 does)"))?;
    let id = folder.file_name().and_then(|id| id.to_str()).unwrap_or_default().to_owned();
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(id.parse()?), &set)?;
    done("priority", &Command::new("chrt").args(["--fifo", "--pid", "1", &id]).output()?)?;
    Ok(KernelThread(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_the_packages_that_have_it() {
        let folder = std::env::temp_dir().join(format!("millrace-cable-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("nsenter"), "").unwrap();
        let path = folder.display().to_string();
        let said = missing(&path).unwrap();
        assert!(said.starts_with("ip is missing") && said.ends_with("apt-get install -y iproute2 ethtool"), "{said}");
        for (program, _) in PROGRAMS {
            fs::write(folder.join(program), "").unwrap();
        }
        assert_eq!(missing(&path), None);
        let _ = fs::remove_dir_all(folder);
    }

    #[test]
    fn device_names_are_short_enough_for_the_kernel_and_differ() {
        let (one, other) = (unique(), unique());
        assert_ne!(one, other);
        // IFNAMSIZ, less the end's letter and the closing zero.
        assert!(one.len() <= 14, "{one}");
    }
}
