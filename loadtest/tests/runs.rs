//! Whole runs of the program against the real server: what must be true is in the report, and what is not well is told.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a panic is the failure")]

mod server;

use server::*;

/// Streams of two rooms of four with two publishers each, which reach three others each.
const STREAMS: u64 = 2 * 2 * 3;
const ROOMS: &str = "--secret secret --rooms 2 --participants 4 --publishers 2 --ramp 8/s --video 360p --fps 15 \
                     --video-bitrate 300k --audio";

fn arguments(server: &Server, more: &str) -> String {
    let [data, control] = server.processes();
    format!("{ROOMS} --process {data} --process {control} {more}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_on_a_bad_network_reports_what_is_true() {
    let server = Server::start().await;
    let more = "--simulcast --leave-and-rejoin 25% --loss 2% --rtt 40ms --duration 12s --verify all \
                --fail-if errors>0 --fail-if flow_avg<90% --fail-if loss>4.5%";
    let ended = Bots::start(&server.url, &arguments(&server, more)).end();
    let (log, report) = (&ended.log, &ended.report);
    assert_eq!(ended.code, Some(0), "{log}");
    assert_eq!(report["errors"], serde_json::json!({}), "{log}");
    assert_eq!(report["failures"], serde_json::json!([]), "{log}");

    // Everybody who should gets everything, at the end too, when those who had left are back.
    assert_eq!(ended.figure("streams"), STREAMS as f64);
    assert_eq!(ended.streams("ramp").last(), Some(&(STREAMS, STREAMS)), "{log}");
    assert_eq!(ended.streams("measured").last(), Some(&(STREAMS, STREAMS)), "{log}");
    assert_eq!(ended.figure("joins"), 10.0, "two of eight came back");
    assert!(ended.figure("frames") > 12.0 * 15.0 * STREAMS as f64 * 0.7, "{log}");

    // A packet of sound meets the loss of both directions and is lost; one of a picture is asked for again.
    let packets = ended.figure("packets");
    assert!(packets > 8_000.0, "{log}");
    let (lost, recovered) = (ended.figure("lost") / packets, ended.figure("recovered") / packets);
    assert!((0.005..0.045).contains(&lost), "lost {lost}\n{log}");
    assert!((0.005..0.045).contains(&recovered), "recovered {recovered}\n{log}");
    assert!((0.015..0.06).contains(&(lost + recovered)), "{lost} + {recovered}\n{log}");
    assert!((ended.figure("loss") - lost / (1.0 + lost)).abs() < 1e-9);

    // Each way is 20 ms long; joining takes a REST call, a socket, checks, a handshake and a packet.
    assert!(ended.figure("latency_p50") > 0.040 && ended.figure("latency_p50") < 0.4, "{log}");
    assert!(ended.figure("join_p50") > 0.1 && ended.figure("join_max") < 10.0, "{log}");
    let count = |name: &str| report["distributions"][name]["count"].as_u64().unwrap();
    assert!(count("join") >= 2 && count("publish") >= 4 && count("subscribe") >= STREAMS, "{log}");

    // All was decrypted, and none of it was strange.
    for nothing in ["unopened", "unknown_payloads", "errors", "reconnects"] {
        assert_eq!(ended.figure(nothing), 0.0, "{nothing}\n{log}");
    }

    // Subscribers told what came, and the server told publishers.
    for feedback in ["feedback_sent", "feedback_received"] {
        assert!(ended.figure(feedback) > 4.0 * 10.0, "{feedback}\n{log}");
    }

    // The server's own account agrees.
    assert!(ended.figure("server_cpu") > 0.0 && ended.figure("server_memory") > 1e6, "{log}");
    let (_, sent) = ended.counter("millrace_rtp_forwarded_total");
    let (_, again) = ended.counter("millrace_rtp_retransmitted_total");
    assert!(
        (0.9..1.2).contains(&((sent + again) * 0.98 / packets)),
        "the server sent {sent} and {again} for {packets}\n{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_is_no_success() {
    let mut server = Server::start().await;
    let scenario = std::env::temp_dir().join(format!("millrace-loadtest-{}.toml", std::process::id()));
    std::fs::write(&scenario, "duration = '12s'\n[[step]]\nat = '3s'\ndown = 'delay=5ms'\n").unwrap();
    let more = arguments(&server, &format!("--scenario {}", scenario.display()));
    let mut bots = Bots::start(&server.url, &more);
    bots.until("at 3 s: the network changes");
    server.kill();
    let ended = bots.end();
    std::fs::remove_file(scenario).unwrap();
    let log = &ended.log;
    assert_eq!(ended.code, Some(1), "no condition was given, and it failed all the same\n{log}");
    assert!(log.contains("FAILED"), "{log}");

    // All flowed until then, and nothing after it.
    let measured = ended.streams("measured");
    assert_eq!(measured.first(), Some(&(STREAMS, STREAMS)), "{log}");
    assert_eq!(measured.last(), Some(&(STREAMS, 0)), "{log}");
    assert_eq!(ended.figure("flow_min"), 0.0);
    assert!(ended.figure("server_cpu") > 0.0, "{log}");

    // Everybody lost the socket, tried again, and is counted by what went wrong, with an example of each.
    let errors = ended.report["errors"].as_object().unwrap();
    assert_eq!(errors["websocket lost"], 8, "{log}");
    assert!(errors.keys().any(|kind| kind.contains("websocket cannot be opened")), "{log}");
    assert_eq!(ended.figure("errors"), errors.values().map(|count| count.as_f64().unwrap()).sum::<f64>());
    let example = ended.report["examples"]["websocket cannot be opened"].as_str().unwrap();
    assert!(example.contains("refused"), "{example}");
    assert!(ended.report["metrics_error"].as_str().unwrap().contains("refused"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_and_mistakes_decide_the_code() {
    let server = Server::start().await;
    let run = |more: &str| Bots::start(&server.url, more).end();
    let short = "--secret secret --participants 2 --publishers 1 --video none --audio --ramp 20/s --duration 1s";
    let met = run(&format!("{short} --fail-if packets>10 --fail-if streams>1 --fail-if lost_packets>1"));
    assert_eq!(met.code, Some(1), "{}", met.log);
    let failures: Vec<_> = met.report["failures"].as_array().unwrap().iter().filter_map(|it| it.as_str()).collect();
    let [packets, unknown] = failures[..] else { panic!("{failures:?}") };
    assert!(packets.starts_with("packets>10: packets is") && met.figure("packets") > 10.0, "{failures:?}");
    assert!(unknown.starts_with("lost_packets>1: this run has no lost_packets; it has"), "{failures:?}");
    assert!(met.log.contains("FAILED") && met.log.contains(packets), "{}", met.log);
    let unmet = run(&format!("{short} --fail-if packets<10 --fail-if errors>0"));
    assert_eq!((unmet.code, &unmet.report["failures"]), (Some(0), &serde_json::json!([])), "{}", unmet.log);

    // No run, no report, and the way out.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unreachable = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let wrong = [
        (server.url.as_str(), "--secret wrong", "is --secret the server's OPENVIDU_SECRET?"),
        (unreachable.as_str(), "--secret secret", "does the server run?"),
        (server.url.as_str(), "", "--secret is missing"),
        (server.url.as_str(), "--secret secret --fail-if join_p99", "join_p99>1s"),
    ];
    for (url, arguments, hint) in wrong {
        let ended = Bots::start(url, arguments).end();
        assert_eq!(ended.code, Some(2), "{arguments}\n{}", ended.log);
        assert!(ended.log.contains(hint), "{arguments}\n{}", ended.log);
        assert!(ended.report.is_null(), "{arguments}\n{}", ended.log);
    }
}
