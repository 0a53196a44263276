//! A server with everybody connected, and measuring it.

use std::net::UdpSocket;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use dataplane_protocol::SrtpProfile;
use futures_util::stream::{self, StreamExt};
use millrace_bench::cable::{Cable, Card};
use millrace_bench::drivers::{
    Counters, Driver, Media, Plan, Server, ServerEnd, Usage, cpu_of_kernel_thread, steal_seconds,
};
use millrace_bench::fanout::{Identity, Intake, Keys, Load, Role, Seen, connect, plain_keys, session_address};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::{Failure, Wire};

/// The load client's core. Servers with one worker have core 0.
pub(crate) const CLIENT_CORE: usize = 1;
/// A run with a smaller part of its packets delivered is void.
pub(crate) const DELIVERED: f64 = 0.999;
/// A run in which the client used more of its core is void.
pub(crate) const CLIENT_BOUND: f64 = 0.8;
/// A run in which the hypervisor took more of the machine is void.
const STEAL_BOUND: f64 = 0.02;
/// A run in which the kernel's thread for packets used more than this part of what the server did is void: the server's
/// accounting then leaves out work of its own.
const SOFTIRQ_BOUND: f64 = 0.05;
/// Handshakes at a time, when it is not them that are measured.
const AT_A_TIME: usize = 24;
/// Between a change of the load and counting.
const SETTLE: Duration = Duration::from_millis(700);

/// Who talks to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) publishers: usize,
    /// To each publisher.
    pub(crate) subscribers: usize,
    pub(crate) profile: SrtpProfile,
    /// How subscribers take in what was sent as one run.
    pub(crate) intake: Intake,
}

/// A connected server and the load on it.
pub(crate) struct Call {
    pub(crate) server: Box<dyn Server>,
    pub(crate) load: Load,
    pub(crate) cable: Option<Rc<Cable>>,
    shape: Shape,
    /// Resident bytes of the server before anybody came, and with everybody connected and silent.
    pub(crate) resident: (u64, u64),
}

/// One window.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) publishers: usize,
    pub(crate) seen: Seen,
    pub(crate) usage: Usage,
    /// CPU seconds that the kernel's own threads spent on packets of the server's cores.
    pub(crate) softirq: f64,
    pub(crate) counters: Option<Counters>,
    /// Part of the machine that the hypervisor gave to others.
    pub(crate) steal: f64,
}

impl Measured {
    /// CPU nanoseconds of the server per packet that reached a subscriber.
    pub(crate) fn cost(&self) -> f64 {
        self.usage.cpu * 1e9 / self.seen.received.max(1) as f64
    }

    /// Packets per second that the server would send with the whole of one core, by its accounting.
    pub(crate) fn per_core(&self) -> f64 {
        1e9 / self.cost()
    }

    /// Why this window says nothing about the server.
    pub(crate) fn void(&self) -> Option<String> {
        let seen = &self.seen;
        if seen.client_share() > CLIENT_BOUND {
            return Some(format!("the client used {:.0} % of its core", seen.client_share() * 100.0));
        }
        if seen.kernel_drops > 0 {
            return Some(format!("the client left {} datagrams", seen.kernel_drops));
        }
        if self.softirq > SOFTIRQ_BOUND * self.usage.cpu {
            return Some(format!("the kernel did {:.2} CPU s of the server's work in its own name", self.softirq));
        }
        if seen.wrong > 0 {
            return Some(format!("{} packets did not open or were others", seen.wrong));
        }
        if self.steal > STEAL_BOUND {
            return Some(format!("{:.1} % of the machine was taken", self.steal * 100.0));
        }
        (1.0 - seen.loss() < DELIVERED).then(|| format!("{:.2} % lost", seen.loss() * 100.0))
    }
}

/// The way to the servers, which this thread is moved to: a cable, or the loopback as it is. It comes before any other
/// thread is started.
pub(crate) fn lay(wire: Option<Wire>) -> Result<Option<Rc<Cable>>, Failure> {
    wire.map(|wire| Cable::lay(wire.into(), CLIENT_CORE).map(Rc::new)).transpose()
}

/// What servers are charged with, for the headline of a report, after "over".
pub(crate) fn way(wire: Option<Wire>) -> &'static str {
    wire.map_or(
        "the loopback, where a server is charged with the receiver's half of the kernel's work as well",
        |wire| Card::from(wire).described(),
    )
}

/// A runtime for handshakes, on the client's core as everything of the client.
pub(crate) fn client_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut set = CpuSet::new();
    set.set(CLIENT_CORE)?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|error| {
        format!("core {CLIENT_CORE}: {error}; the bench needs two cores, one for the server and one for its client")
    })?;
    // Where sessions are scheduled as groups, niceness counts within a group only; without the privilege it stays as it is.
    let _ = std::fs::write("/proc/self/autogroup", "-19");
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

impl Call {
    /// Starts a fresh server and connects everybody, silent.
    pub(crate) fn connect(
        runtime: &tokio::runtime::Runtime,
        driver: &dyn Driver,
        plan: &Plan,
        cable: Option<&Rc<Cable>>,
        shape: Shape,
    ) -> Result<Self, Failure> {
        let identity = Identity::generate()?;
        let mut server = driver.start(plan)?;
        let load = Load::start(CLIENT_CORE, &identity.end().ufrag, shape.intake)?;
        let before = server.process().usage()?.resident;
        let mut ends = Vec::new();
        for n in 0..shape.publishers {
            let role = Role::Publisher(n as u32);
            ends.push((role, server.publish(identity.end(), media(n))?));
        }
        all(runtime, &identity, shape.profile, ends, |role, end, keys, socket| match role {
            Role::Publisher(n) => load.publisher(socket, keys, Some(end), media(n as usize), shape.subscribers as u32),
            Role::Subscriber(_) => Ok(()),
        })?;
        let total = shape.publishers * shape.subscribers;
        let mut ends = Vec::new();
        for n in 0..total {
            let end = server.subscribe(identity.end(), n / shape.subscribers)?;
            ends.push((Role::Subscriber(n as u32), end));
            // Some servers give up what nobody comes to within seconds.
            if ends.len() == 100 || n + 1 == total {
                let batch = std::mem::take(&mut ends);
                all(runtime, &identity, shape.profile, batch, |role, end, keys, _| match role {
                    Role::Subscriber(n) => load.subscriber(n, keys, Some(end)),
                    Role::Publisher(_) => Ok(()),
                })?;
                progress(&format!("{}: {} of {total} subscribers connected", driver.name(), n + 1));
            }
        }
        let after = server.process().usage()?.resident;
        Ok(Self { server, load, cable: cable.cloned(), shape, resident: (before, after) })
    }

    /// Lets so many publishers send, and counts for so long.
    pub(crate) fn measure(&mut self, publishers: usize, length: Duration) -> Result<Measured, Failure> {
        let server = self.server.as_mut();
        let mut look = || Ok((server.counters()?, server.process().usage()?));
        measure(&self.load, self.cable.as_deref(), &mut look, 0..publishers, length)
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }
}

/// What a server has counted and used so far.
type Look<'a> = &'a mut dyn FnMut() -> Result<(Option<Counters>, Usage), Failure>;

/// Lets these publishers send once nothing of a load before is under way, and counts for so long.
pub(crate) fn measure(
    load: &Load,
    cable: Option<&Cable>,
    look: Look<'_>,
    publishers: Range<usize>,
    length: Duration,
) -> Result<Measured, Failure> {
    let cable_seconds = || cable.map_or(Ok(0.0), Cable::cpu);
    load.quiet()?;
    load.active(publishers.clone())?;
    std::thread::sleep(SETTLE);
    let (started, steal, softirq) = (Instant::now(), steal_seconds(), softirq_seconds());
    let (counters, usage) = look()?;
    load.open()?;
    let cable_before = cable_seconds()?;
    std::thread::sleep(length);
    let (counters_after, after) = look()?;
    let softirq = softirq_seconds() - softirq;
    let elapsed = started.elapsed().as_secs_f64();
    let mut seen = load.close()?;
    // The kernel's threads of the cable share the client's core, and do what the loopback's client would be charged with
    // and its server.
    seen.client_cpu += cable_seconds()? - cable_before;
    let cores = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    Ok(Measured {
        publishers: publishers.len(),
        seen,
        usage: Usage {
            cpu: after.cpu - usage.cpu,
            resident: after.resident,
            busiest_thread: after.busiest_thread - usage.busiest_thread,
        },
        softirq,
        counters: counters_after.zip(counters).map(|(after, before)| after.since(&before)),
        steal: (steal_seconds() - steal) / elapsed / cores as f64,
    })
}

/// The loopback's own latency: the same traffic from the same client, straight to its subscribers.
pub(crate) fn loopback(profile: SrtpProfile, publishers: usize, length: Duration) -> Result<Seen, Failure> {
    let load = Load::start(CLIENT_CORE, "bench", Intake::Datagrams)?;
    let keys = plain_keys(profile);
    for n in 0..publishers as u32 {
        let socket = UdpSocket::bind(session_address(Role::Publisher(n)))?;
        socket.connect(session_address(Role::Subscriber(n)))?;
        socket.set_nonblocking(true)?;
        load.publisher(socket, keys.clone(), None, media(n as usize), 1)?;
        load.subscriber(n, keys.clone(), None)?;
    }
    load.active(0..publishers)?;
    std::thread::sleep(SETTLE);
    load.open()?;
    std::thread::sleep(length);
    load.close()
}

/// What publisher number `n` sends.
pub(crate) fn media(n: usize) -> Media {
    Media { audio_ssrc: 0x1000_0000 | n as u32, video_ssrc: Some(0x2000_0000 | n as u32) }
}

/// A line on standard error that the next one overwrites.
pub(crate) fn progress(text: &str) {
    eprint!("\r\x1b[2K{text}");
}

/// Ends such lines, and the pinning: the report tells what the machine is, not what is left of it here.
pub(crate) fn measuring_done() {
    eprint!("\r\x1b[2K");
    let mut every = CpuSet::new();
    for core in 0..CpuSet::count() {
        let _ = every.set(core);
    }
    let _ = sched_setaffinity(Pid::from_raw(0), &every);
}

/// Connects all, a few at a time.
fn all(
    runtime: &tokio::runtime::Runtime,
    identity: &Identity,
    profile: SrtpProfile,
    ends: Vec<(Role, ServerEnd)>,
    mut done: impl FnMut(Role, ServerEnd, Keys, UdpSocket) -> Result<(), Failure>,
) -> Result<(), Failure> {
    runtime.block_on(async {
        let mut under_way = stream::iter(ends)
            .map(|(role, end)| async move {
                let (keys, _, socket) = connect(role, identity, &end, profile).await?;
                Ok::<_, Failure>((role, end, keys, socket))
            })
            .buffer_unordered(AT_A_TIME);
        while let Some(connected) = under_way.next().await {
            let (role, end, keys, socket) = connected?;
            done(role, end, keys, socket)?;
        }
        Ok(())
    })
}

fn softirq_seconds() -> f64 {
    cpu_of_kernel_thread("ksoftirqd/0").unwrap_or(0.0)
}
