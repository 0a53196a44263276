//! A room of two that talk to each other all the time, on a thread of their own, so that this program's own load is not
//! taken for the server's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Client, Heard, Share, join_params};
use millrace_bench::Failure;
use millrace_bench::server::Server;

/// Between two signals.
const PAUSE: Duration = Duration::from_millis(4);

/// The small room.
pub(crate) struct Neighbours {
    times: Arc<Mutex<Vec<Duration>>>,
    done: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Neighbours {
    /// Lets them join, and begin.
    pub(crate) fn start(server: &Server) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let address = server.address();
        let mut pair = runtime.block_on(async {
            server.session("small").await?;
            let mut pair = Vec::new();
            for _ in 0..2 {
                let token = server.token("small").await?;
                let mut client = Client::open(address).await?;
                client.call("joinRoom", join_params("small", &token)).await?;
                pair.push(client);
            }
            Ok::<_, Failure>(pair)
        })?;
        let times = Arc::<Mutex<Vec<Duration>>>::default();
        let done = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (times.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            let [a, b] = pair.as_mut_slice() else { return Err("not two".into()) };
            runtime.block_on(async {
                while !stop.load(Ordering::Relaxed) {
                    let took = signal(a, b).await?;
                    shared.lock().unwrap_or_else(PoisonError::into_inner).push(took);
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(())
            })
        });
        Ok(Self { times, done, thread })
    }

    /// The times since the last look.
    pub(crate) fn take(&self) -> Share {
        Share::of(std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(crate) fn stop(self) -> Result<(), Failure> {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the neighbours panicked")?
    }
}

/// From one's request to the other's ear.
async fn signal(a: &mut Client, b: &mut Client) -> Result<Duration, Failure> {
    let started = Instant::now();
    let message = json!({"message": "{\"to\":[],\"data\":\"hello\",\"type\":\"signal:chat\"}"});
    let id = a.send("sendMessage", message).await?;
    while !matches!(b.next().await?, Heard::Signal) {}
    let took = started.elapsed();
    loop {
        if let Heard::Response(response) = a.next().await?
            && response["id"] == id
        {
            return Ok(took);
        }
    }
}
