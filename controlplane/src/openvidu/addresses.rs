//! Where the clients of transports are. Only a snapshot of the whole data plane tells it, which must not be made at
//! will by whoever polls `webRtcStats=true`: one snapshot serves everybody who asks while it is made or shortly after.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dataplane_protocol::Snapshot;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a snapshot is good for.
pub(super) const LIFETIME: Duration = Duration::from_secs(1);

/// By transport.
pub(super) type Addresses = HashMap<u64, SocketAddr>;

/// The addresses of the last snapshot. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest(Arc<Mutex<Option<Taken>>>);

#[derive(Debug)]
struct Taken {
    at: Instant,
    addresses: Arc<Addresses>,
}

impl Latest {
    /// The addresses, at most [`LIFETIME`] old; none when there is no snapshot to be had.
    pub(super) async fn get<E, F>(&self, snapshot: impl FnOnce() -> F + Send + 'static) -> Arc<Addresses>
    where
        F: Future<Output = Result<Arc<Snapshot>, E>> + Send,
    {
        let mut latest = self.0.clone().lock_owned().await;
        if let Some(taken) = latest.as_ref().filter(|taken| taken.at.elapsed() < LIFETIME) {
            return taken.addresses.clone();
        }
        // In a task of its own: who hangs up and asks again finds the snapshot that was begun.
        let taken = tokio::spawn(async move {
            let snapshot = snapshot().await.ok();
            let transports = snapshot.iter().flat_map(|snapshot| &snapshot.transports);
            let addresses =
                transports.filter_map(|info| Some((info.transport, info.remote_address.parse().ok()?))).collect();
            let addresses = Arc::new(addresses);
            *latest = Some(Taken { at: Instant::now(), addresses: Arc::clone(&addresses) });
            addresses
        });
        taken.await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use dataplane_protocol::TransportInfo;
    use tokio::sync::Semaphore;

    use super::*;

    /// Snapshots that are made when the test lets them.
    #[derive(Clone)]
    struct Source {
        made: Arc<AtomicU64>,
        allowed: Arc<Semaphore>,
    }

    impl Source {
        fn new(allowed: usize) -> Self {
            Self { made: Arc::default(), allowed: Arc::new(Semaphore::new(allowed)) }
        }

        async fn snapshot(self) -> Result<Arc<Snapshot>, ()> {
            let number = self.made.fetch_add(1, Ordering::Relaxed);
            self.allowed.acquire().await.map_err(|_| ())?.forget();
            let info =
                TransportInfo { transport: number, remote_address: "192.0.2.1:9".into(), ..TransportInfo::default() };
            Ok(Arc::new(Snapshot { transports: vec![info], ..Snapshot::default() }))
        }

        async fn ask(&self, latest: &Latest) -> Vec<u64> {
            let source = self.clone();
            latest.get(move || source.snapshot()).await.keys().copied().collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_serves_everybody_for_a_while() {
        let (latest, source) = (Latest::default(), Source::new(9));
        let (a, b) = tokio::join!(source.ask(&latest), source.ask(&latest));
        assert_eq!((a, b), (vec![0], vec![0]));
        tokio::time::advance(LIFETIME - Duration::from_millis(1)).await;
        assert_eq!(source.ask(&latest).await, [0]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(source.ask(&latest).await, [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_does_not_cost_another_one() {
        let (latest, source) = (Latest::default(), Source::new(0));
        for _ in 0..5 {
            assert!(tokio::time::timeout(Duration::from_millis(10), source.ask(&latest)).await.is_err());
        }
        source.allowed.add_permits(1);
        assert_eq!(source.ask(&latest).await, [0]);
        assert_eq!(source.made.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_had_is_not_asked_for_again_at_once() {
        let (latest, source) = (Latest::default(), Source::new(0));
        source.allowed.close();
        assert!(source.ask(&latest).await.is_empty() && source.ask(&latest).await.is_empty());
        assert_eq!(source.made.load(Ordering::Relaxed), 1);
    }
}
