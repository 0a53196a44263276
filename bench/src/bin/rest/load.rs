//! The load: a thread that says when each request is due, and connections that take them as they come.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millrace_bench::Failure;
use millrace_bench::server::Server;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::http::Connection;

/// Connections that an application keeps open.
const CONNECTIONS: usize = 64;
/// Load before that which is measured.
const WARM_UP: Duration = Duration::from_secs(3);

/// What was measured.
pub(crate) struct Figures {
    /// Open all the while; the sessions of the load come and go beside them.
    pub(crate) sessions: usize,
    pub(crate) created: Share,
    pub(crate) connected: Share,
    /// Of the control plane for one request, in µs.
    pub(crate) cpu_us: f64,
    /// Of the control plane, in bytes.
    pub(crate) memory: u64,
    /// One list of all sessions.
    pub(crate) list: Duration,
}

/// Median, 99th percentile and the worst.
#[derive(Clone, Copy, Default)]
pub(crate) struct Share {
    pub(crate) count: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl Share {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
        Self { count: times.len(), p50: at(50), p99: at(99), max: times.last().copied().unwrap_or_default() }
    }
}

/// A request, and when it is to be sent.
struct Job {
    due: Instant,
    what: What,
}

enum What {
    Session,
    /// For one of the sessions that stay.
    Connection(usize),
    /// Closes a session of the load, so that their number stays.
    Close(String),
}

/// What the connections have measured so far.
#[derive(Default)]
struct Times {
    created: Vec<Duration>,
    connected: Vec<Duration>,
    /// Sessions that nobody has closed yet.
    open: Vec<String>,
}

type Shared = Arc<Mutex<Times>>;

pub(crate) async fn drive(server: &Server, sessions: usize, rate: u32, lasting: Duration) -> Result<Figures, Failure> {
    let address = server.address();
    fill(address, sessions).await?;
    let memory = server.control_memory()?;
    let times = Shared::default();
    let (jobs, inbox) = mpsc::unbounded_channel();
    let inbox = Arc::new(tokio::sync::Mutex::new(inbox));
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        connections.spawn(serve(Connection::open(address).await?, inbox.clone(), times.clone()));
    }
    dispatch(&jobs, &times, sessions, rate, WARM_UP).await?;
    {
        let mut times = lock(&times);
        times.created.clear();
        times.connected.clear();
    }
    let before = server.cpu()?;
    dispatch(&jobs, &times, sessions, rate, lasting).await?;
    drop(jobs);
    while let Some(ended) = connections.join_next().await {
        ended??;
    }
    let used = server.cpu()?.since(before);
    let (created, connected) = {
        let mut times = lock(&times);
        (std::mem::take(&mut times.created), std::mem::take(&mut times.connected))
    };
    let requests = created.len() + connected.len();
    let asked = Instant::now();
    let (status, list) = Connection::open(address).await?.call("GET", "/sessions", "").await?;
    let listed = asked.elapsed();
    let found = serde_json::from_slice::<Value>(&list)?["numberOfElements"].as_u64().unwrap_or_default();
    if status != 200 || found < sessions as u64 {
        return Err(format!("{found} of {sessions} sessions are left").into());
    }
    Ok(Figures {
        sessions,
        created: Share::of(created),
        connected: Share::of(connected),
        cpu_us: used.control * 1e6 / requests as f64,
        memory,
        list: listed,
    })
}

/// Opens the sessions that stay.
async fn fill(address: SocketAddr, sessions: usize) -> Result<(), Failure> {
    let mut connection = Connection::open(address).await?;
    for number in 0..sessions {
        let body = format!("{{\"customSessionId\":\"stays-{number}\"}}");
        expect(200, connection.call("POST", "/sessions", &body).await?)?;
    }
    Ok(())
}

/// Sends jobs at their times, from a thread of its own: the runtime's timers are not fine enough.
async fn dispatch(
    jobs: &mpsc::UnboundedSender<Job>,
    times: &Shared,
    sessions: usize,
    rate: u32,
    lasting: Duration,
) -> Result<(), Failure> {
    let (jobs, times) = (jobs.clone(), times.clone());
    let all = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        let count = rate * lasting.as_secs() as u32;
        for number in 0..count {
            let due = began + Duration::from_secs(1) * number / rate;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let what = if number % 2 == 0 { What::Session } else { What::Connection(number as usize / 2 % sessions) };
            // The connections end only when the jobs do, or when one of them has failed.
            let _ = jobs.send(Job { due, what });
            let done = lock(&times).open.pop();
            if let Some(done) = done {
                let _ = jobs.send(Job { due, what: What::Close(done) });
            }
        }
    });
    Ok(all.await?)
}

/// Takes jobs until there will be no more.
async fn serve(
    mut connection: Connection,
    inbox: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Job>>>,
    times: Shared,
) -> Result<(), Failure> {
    loop {
        let job = inbox.lock().await.recv().await;
        let Some(Job { due, what }) = job else { return Ok(()) };
        match what {
            What::Session => {
                let body = expect(200, connection.call("POST", "/sessions", "{}").await?)?;
                let took = due.elapsed();
                let session: Value = serde_json::from_slice(&body)?;
                let mut times = lock(&times);
                times.created.push(took);
                times.open.push(session["id"].as_str().ok_or("a session without an id")?.to_owned());
            }
            What::Connection(number) => {
                let path = format!("/sessions/stays-{number}/connection");
                expect(200, connection.call("POST", &path, "{\"role\":\"PUBLISHER\"}").await?)?;
                lock(&times).connected.push(due.elapsed());
            }
            What::Close(id) => {
                expect(204, connection.call("DELETE", &format!("/sessions/{id}"), "").await?)?;
            }
        }
    }
}

fn expect(wanted: u16, (status, body): (u16, Vec<u8>)) -> Result<Vec<u8>, Failure> {
    match status == wanted {
        true => Ok(body),
        false => Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into()),
    }
}

fn lock(times: &Shared) -> std::sync::MutexGuard<'_, Times> {
    times.lock().unwrap_or_else(PoisonError::into_inner)
}
