use std::sync::Arc;

use dataplane_protocol::{DropCount, HelloReply, Stats, WorkerStats};
use prometheus::core::Collector;
use tokio::sync::watch;

use super::*;

fn worker(number: u32) -> WorkerStats {
    WorkerStats {
        worker: number,
        rtp_forwarded: 1000 + u64::from(number),
        drops: vec![DropCount { reason: "replayed".to_owned(), count: 3 }],
        loop_time_us_log2: vec![5, 0, 2, 1],
        busy_ns: 2_500_000_000,
        gso: true,
        ..Default::default()
    }
}

/// The text of the data plane's families alone.
fn text(hello: Option<HelloReply>, stats: Option<Stats>) -> String {
    let hello = watch::Sender::new(hello.map(Arc::new));
    let stats = watch::Sender::new(stats.map(Arc::new));
    let registry = Registry::new();
    let collector = DataPlaneCollector::new(hello.subscribe(), stats.subscribe()).unwrap();
    assert_eq!(collector.desc().len(), dataplane::names().len());
    registry.register(Box::new(collector)).unwrap();
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn every_family_of_the_data_plane_is_shown() {
    let stats = Stats { workers: vec![worker(0), worker(1)], tracks: 7, uptime_ms: 1500, ..Default::default() };
    let text = text(Some(HelloReply::default()), Some(stats));
    for name in dataplane::names() {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
    }
    for line in [
        "millrace_dataplane_up 1",
        "millrace_dataplane_uptime_seconds 1.5",
        "millrace_tracks 7",
        "# TYPE millrace_rtp_forwarded_total counter",
        "millrace_rtp_forwarded_total{worker=\"1\"} 1001",
        "millrace_drops_total{worker=\"0\",reason=\"replayed\"} 3",
        "millrace_loop_seconds_bucket{worker=\"0\",le=\"0.000001\"} 5",
        "millrace_loop_seconds_bucket{worker=\"0\",le=\"0.000004\"} 7",
        "millrace_loop_seconds_bucket{worker=\"0\",le=\"+Inf\"} 8",
        "millrace_loop_seconds_sum{worker=\"0\"} 2.5",
        "millrace_gso{worker=\"1\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn without_a_data_plane_its_counters_are_absent() {
    let text = text(None, None);
    assert!(text.lines().any(|l| l == "millrace_dataplane_up 0"), "{text}");
    assert!(!text.contains("millrace_tracks"));
}

#[tokio::test]
async fn the_control_planes_own_counts_appear() {
    let metrics = Metrics::new(&Client::spawn("/nonexistent/millrace.sock".into())).unwrap();
    metrics.sessions.inc();
    metrics.rest_request("POST", "/openvidu/api/sessions", 200, Duration::from_millis(3));
    metrics.rest_request("POST", "/openvidu/api/sessions", 409, Duration::from_millis(30));
    metrics.signalling_request("joinRoom", "ok");
    let text = metrics.render();
    for line in [
        "millrace_sessions 1",
        "millrace_dataplane_up 0",
        "millrace_rest_requests_total{method=\"POST\",route=\"/openvidu/api/sessions\",status=\"409\"} 1",
        "millrace_rest_request_seconds_count{method=\"POST\",route=\"/openvidu/api/sessions\"} 2",
        "millrace_signalling_requests_total{method=\"joinRoom\",result=\"ok\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}
