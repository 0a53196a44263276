//! `/metrics` for Prometheus: what the data plane last counted, and what the control plane does itself.
//!
//! Nothing is copied into gauges along the way: a custom collector turns the last snapshot of counters into metric
//! families when it is asked. While the data plane is away its families are absent, which Prometheus shows as a gap
//! and not as a false constant, and `millrace_dataplane_up` is 0.

mod dataplane;
mod events;
mod store;

use std::time::Duration;

use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::dataplane::Client;
use dataplane::DataPlaneCollector;
pub use events::EventMetrics;
pub use store::StoreMetrics;

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that the control plane counts. Clones share the counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Sessions that exist.
    pub sessions: IntGauge,
    /// Connections that joined and did not leave.
    pub connections: IntGauge,
    /// Signalling WebSockets that are open.
    pub sockets: IntGauge,
    /// Streams that are published.
    pub streams: IntGauge,
    /// What becomes of events.
    pub events: EventMetrics,
    /// What the store does.
    pub store: StoreMetrics,
    rest: IntCounterVec,
    rest_time: HistogramVec,
    signalling: IntCounterVec,
}

impl Metrics {
    /// Registers everything. The data plane's counters are those of `client`.
    ///
    /// # Errors
    /// When two metrics have one name, which a test excludes.
    pub fn new(client: &Client) -> prometheus::Result<Self> {
        let registry = Registry::new();
        registry.register(Box::new(DataPlaneCollector::new(client.hello(), client.stats())?))?;
        let gauge = |name, help| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let sessions = gauge("millrace_sessions", "Sessions that exist.")?;
        let connections = gauge("millrace_connections", "Connections that joined and did not leave.")?;
        let sockets = gauge("millrace_signalling_sockets", "Signalling WebSockets that are open.")?;
        let streams = gauge("millrace_streams", "Streams that are published.")?;
        let rest = IntCounterVec::new(
            Opts::new("millrace_rest_requests_total", "REST requests answered, by route and status."),
            &["method", "route", "status"],
        )?;
        let rest_time = HistogramVec::new(
            HistogramOpts::new("millrace_rest_request_seconds", "Time to answer a REST request, by route.")
                .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0]),
            &["method", "route"],
        )?;
        let signalling = IntCounterVec::new(
            Opts::new("millrace_signalling_requests_total", "Signalling requests answered, by method and result."),
            &["method", "result"],
        )?;
        registry.register(Box::new(rest.clone()))?;
        registry.register(Box::new(rest_time.clone()))?;
        registry.register(Box::new(signalling.clone()))?;
        let events = EventMetrics::new(&registry)?;
        let store = StoreMetrics::new(&registry)?;
        Ok(Self { registry, sessions, connections, sockets, streams, events, store, rest, rest_time, signalling })
    }

    /// Counts a REST request. `route` is the route's pattern, never the path itself: each value is a time series.
    pub fn rest_request(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.rest.with_label_values(&[method, route, &status.to_string()]).inc();
        self.rest_time.with_label_values(&[method, route]).observe(took.as_secs_f64());
    }

    /// Counts a signalling request. `method` is one that the server knows, or a fixed word for all others; `result` is
    /// `ok` or the number of the error.
    pub fn signalling_request(&self, method: &str, result: &str) {
        self.signalling.with_label_values(&[method, result]).inc();
    }

    /// The text of `/metrics`, of [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::warn!(%error, "metrics");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

#[cfg(test)]
mod tests;
