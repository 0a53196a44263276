//! The data plane's counters as metric families.

use std::collections::HashMap;
use std::sync::Arc;

use dataplane_protocol::{HelloReply, Stats, WorkerStats};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use tokio::sync::watch;

/// Reads the last hello and counters of the client when asked.
pub(super) struct DataPlaneCollector {
    hello: watch::Receiver<Option<Arc<HelloReply>>>,
    stats: watch::Receiver<Option<Arc<Stats>>>,
    descriptions: Vec<Desc>,
}

/// One family with one sample.
struct OfProcess {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    value: fn(&Stats) -> u64,
}

/// One family with a sample of each worker.
struct OfWorker {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    value: fn(&WorkerStats) -> u64,
}

const COUNTER: MetricType = MetricType::COUNTER;
const GAUGE: MetricType = MetricType::GAUGE;

macro_rules! families {
    ($of:ident: $(($name:literal, $kind:ident, $field:ident, $help:literal)),+ $(,)?) => {
        &[$($of { name: concat!("millrace_", $name), help: $help, kind: $kind, value: |s| s.$field }),+]
    };
}

const PROCESS: &[OfProcess] = families![OfProcess:
    ("dtls_handshakes_started_total", COUNTER, handshakes_started, "DTLS handshakes begun."),
    ("dtls_handshakes_completed_total", COUNTER, handshakes_completed, "DTLS handshakes that gave keys."),
    ("dtls_handshakes_failed_total", COUNTER, handshakes_failed, "DTLS handshakes that failed or timed out."),
    ("dtls_handshakes_refused_total", COUNTER, handshakes_refused, "DTLS handshakes refused at their bound."),
    ("dtls_handshakes_active", GAUGE, handshakes_active, "DTLS handshakes under way."),
    ("transports", GAUGE, transports, "Transports known."),
    ("tracks", GAUGE, tracks, "Tracks known."),
    ("subscriptions", GAUGE, subscriptions, "Subscriptions known."),
    ("commands_total", COUNTER, commands, "Commands taken from control sockets."),
    ("commands_failed_total", COUNTER, commands_failed, "Commands refused."),
    ("control_connections", GAUGE, control_connections, "Control connections open."),
];

const WORKER: &[OfWorker] = families![OfWorker:
    ("datagrams_received_total", COUNTER, datagrams_received, "Datagrams received."),
    ("datagrams_sent_total", COUNTER, datagrams_sent, "Datagrams sent."),
    ("bytes_received_total", COUNTER, bytes_received, "UDP payload bytes received."),
    ("bytes_sent_total", COUNTER, bytes_sent, "UDP payload bytes sent."),
    ("receive_calls_total", COUNTER, receive_calls, "System calls to receive."),
    ("send_calls_total", COUNTER, send_calls, "System calls to send."),
    ("send_runs_total", COUNTER, send_runs, "Messages handed to send calls; datagrams over this is the mean run."),
    ("datagrams_fragmented_total", COUNTER, datagrams_fragmented, "Datagrams sent in fragments: too long for their path."),
    ("datagrams_by_card_total", COUNTER, datagrams_by_card, "Datagrams sent as Ethernet frames, past the kernel's IP stack."),
    ("card_refused_total", COUNTER, card_refused, "Runs refused as frames, which went by the socket."),
    ("rtp_received_total", COUNTER, rtp_received, "RTP packets taken in from publishers."),
    ("rtp_forwarded_total", COUNTER, rtp_forwarded, "RTP packets forwarded, retransmissions left out."),
    ("rtp_retransmitted_total", COUNTER, rtp_retransmitted, "RTP packets sent again on a NACK."),
    ("rtcp_received_total", COUNTER, rtcp_received, "RTCP compound packets received."),
    ("rtcp_sent_total", COUNTER, rtcp_sent, "RTCP compound packets sent."),
    ("stun_answered_total", COUNTER, stun_answered, "STUN binding requests answered with success."),
    ("claims_total", COUNTER, claims, "Transports claimed."),
    ("cross_media_in_total", COUNTER, cross_media_in, "Media packets received from other workers."),
    ("cross_media_out_total", COUNTER, cross_media_out, "Media packets given to other workers."),
    ("cross_datagrams_in_total", COUNTER, cross_datagrams_in, "Datagrams that another worker received for this one."),
    ("cross_datagrams_out_total", COUNTER, cross_datagrams_out, "Datagrams handed to their own worker."),
    ("flows_steered_total", COUNTER, flows_steered, "Flows that the kernel was told to deliver to this worker."),
    ("flows_unsteered_total", COUNTER, flows_unsteered, "Flows that it could not be told of."),
    ("panics_total", COUNTER, panics, "Panics confined to one transport."),
    ("buffers_in_use", GAUGE, buffers_in_use, "Packet buffers in use."),
    ("buffers_high_water", GAUGE, buffers_high_water, "Most packet buffers ever in use."),
    ("loop_microseconds_max", GAUGE, loop_time_us_max, "Longest loop turn, in microseconds."),
];

const UP: (&str, &str) = ("millrace_dataplane_up", "Whether the data plane is connected.");
const UPTIME: (&str, &str) = ("millrace_dataplane_uptime_seconds", "Time since the data plane's start.");
const DROPS: (&str, &str) = ("millrace_drops_total", "Datagrams and packets dropped, by reason.");
const LOOPS: (&str, &str) = ("millrace_loop_seconds", "Working time of loop turns.");
const GSO: (&str, &str) = ("millrace_gso", "Whether the kernel takes segmentation offload.");

impl DataPlaneCollector {
    pub(super) fn new(
        hello: watch::Receiver<Option<Arc<HelloReply>>>,
        stats: watch::Receiver<Option<Arc<Stats>>>,
    ) -> prometheus::Result<Self> {
        let worker = || vec!["worker".to_owned()];
        let describe =
            |name: &str, help: &str, labels| Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new());
        let mut descriptions = Vec::new();
        for (name, help) in [UP, UPTIME] {
            descriptions.push(describe(name, help, Vec::new())?);
        }
        for (name, help) in [LOOPS, GSO] {
            descriptions.push(describe(name, help, worker())?);
        }
        descriptions.push(describe(DROPS.0, DROPS.1, vec!["worker".to_owned(), "reason".to_owned()])?);
        for family in PROCESS {
            descriptions.push(describe(family.name, family.help, Vec::new())?);
        }
        for family in WORKER {
            descriptions.push(describe(family.name, family.help, worker())?);
        }
        Ok(Self { hello, stats, descriptions })
    }
}

impl Collector for DataPlaneCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let up = self.hello.borrow().is_some();
        let mut families = vec![family(UP, GAUGE, vec![sample(GAUGE, f64::from(u8::from(up)), Vec::new())])];
        let stats = self.stats.borrow().clone();
        let Some(stats) = stats else { return families };
        let uptime = sample(GAUGE, stats.uptime_ms as f64 / 1000.0, Vec::new());
        families.push(family(UPTIME, GAUGE, vec![uptime]));
        for OfProcess { name, help, kind, value } in PROCESS {
            families.push(family((name, help), *kind, vec![sample(*kind, value(&stats) as f64, Vec::new())]));
        }
        for OfWorker { name, help, kind, value } in WORKER {
            let samples = stats.workers.iter().map(|w| sample(*kind, value(w) as f64, vec![worker_label(w)]));
            families.push(family((name, help), *kind, samples.collect()));
        }
        let gso = stats.workers.iter().map(|w| sample(GAUGE, f64::from(u8::from(w.gso)), vec![worker_label(w)]));
        families.push(family(GSO, GAUGE, gso.collect()));
        let drops = stats.workers.iter().flat_map(|w| {
            w.drops
                .iter()
                .map(|drop| sample(COUNTER, drop.count as f64, vec![worker_label(w), label("reason", &drop.reason)]))
        });
        families.push(family(DROPS, COUNTER, drops.collect()));
        families.push(family(LOOPS, MetricType::HISTOGRAM, stats.workers.iter().map(loop_times).collect()));
        // A family without samples is not allowed in the text format.
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}

/// Bucket k counts turns of at most 2^k µs; the last bucket has no bound.
fn loop_times(worker: &WorkerStats) -> Metric {
    let counts = &worker.loop_time_us_log2;
    let mut cumulative = 0;
    let mut buckets = Vec::with_capacity(counts.len());
    for (k, count) in counts.iter().take(counts.len().saturating_sub(1)).enumerate() {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound((k as f64).exp2() / 1e6);
        bucket.set_cumulative_count(cumulative);
        buckets.push(bucket);
    }
    let mut histogram = Histogram::default();
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(worker.busy_ns as f64 / 1e9);
    histogram.set_bucket(buckets);
    let mut metric = Metric::from_label(vec![worker_label(worker)]);
    metric.set_histogram(histogram);
    metric
}

fn family((name, help): (&str, &str), kind: MetricType, samples: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(samples);
    family
}

fn sample(kind: MetricType, value: f64, labels: Vec<LabelPair>) -> Metric {
    let mut metric = Metric::from_label(labels);
    if kind == COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn worker_label(worker: &WorkerStats) -> LabelPair {
    label("worker", &worker.worker.to_string())
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

#[cfg(test)]
pub(super) fn names() -> Vec<&'static str> {
    let fixed = [UP.0, UPTIME.0, DROPS.0, LOOPS.0, GSO.0];
    fixed.into_iter().chain(PROCESS.iter().map(|f| f.name)).chain(WORKER.iter().map(|f| f.name)).collect()
}
