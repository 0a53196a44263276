use super::super::unneeded::{UNNEEDED, is_known};
use super::*;

fn report(args: &[&str], env: &[(&str, &str)], dotenv: &str) -> Report {
    let args = ["millrace-controlplane", CHECK].into_iter().chain(args.iter().copied()).map(OsString::from);
    let env: HashMap<_, _> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Report::new(args, &env, dotenv, "/opt/openvidu/.env").unwrap()
}

/// The line of a key, its columns one space apart.
fn line(report: &Report, key: &str) -> String {
    let line = report.text.lines().find(|line| line.split_whitespace().next() == Some(key));
    line.unwrap_or_else(|| panic!("{key} is not in\n{}", report.text)).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every variable that OpenVidu's servers, proxies and compose files of 2.20 to 2.32 read.
const OPENVIDUS: &[&str] = &[
    "DOMAIN_OR_PUBLIC_IP",
    "OPENVIDU_DOMAIN_OR_PUBLIC_IP",
    "OPENVIDU_SECRET",
    "CERTIFICATE_TYPE",
    "HTTPS_PORT",
    "SERVER_PORT",
    "OPENVIDU_CDR",
    "OPENVIDU_CDR_PATH",
    "OPENVIDU_WEBHOOK",
    "OPENVIDU_WEBHOOK_ENDPOINT",
    "OPENVIDU_WEBHOOK_HEADERS",
    "OPENVIDU_WEBHOOK_EVENTS",
    "OPENVIDU_RECORDING",
    "OPENVIDU_RECORDING_PATH",
    "OPENVIDU_RECORDING_PUBLIC_ACCESS",
    "OPENVIDU_RECORDING_NOTIFICATION",
    "OPENVIDU_RECORDING_CUSTOM_LAYOUT",
    "OPENVIDU_RECORDING_AUTOSTOP_TIMEOUT",
    "OPENVIDU_RECORDING_COMPOSED_URL",
    "OPENVIDU_RECORDING_COMPOSED_BASICAUTH",
    "OPENVIDU_RECORDING_VERSION",
    "OPENVIDU_RECORDING_IMAGE",
    "OPENVIDU_RECORDING_DEBUG",
    "OPENVIDU_RECORDING_ENABLE_GPU",
    "OPENVIDU_DEV",
    "OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH",
    "OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH",
    "OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH",
    "OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH",
    "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC",
    "OPENVIDU_STREAMS_ALLOW_TRANSCODING",
    "OPENVIDU_WEBRTC_SIMULCAST",
    "OPENVIDU_WEBRTC_ICE_SERVERS",
    "OPENVIDU_SESSIONS_GARBAGE_INTERVAL",
    "OPENVIDU_SESSIONS_GARBAGE_THRESHOLD",
    "KMS_URIS",
    "MEDIA_NODES_PUBLIC_IPS",
    "COTURN_IP",
    "COTURN_PORT",
    "COTURN_SHARED_SECRET_KEY",
    "COTURN_INTERNAL_RELAY",
    "COTURN_REDIS_IP",
    "COTURN_REDIS_DBNAME",
    "COTURN_REDIS_PASSWORD",
    "COTURN_REDIS_CONNECT_TIMEOUT",
    "SUPPORT_DEPRECATED_API",
    "FORCE_PLAIN_HTTP",
    "JAVA_OPTIONS",
    "OV_CE_DEBUG_LEVEL",
    "DOTENV_PATH",
    "LETSENCRYPT_EMAIL",
    "HTTP_PORT",
    "HTTPS_PROTOCOLS",
    "HTTPS_CIPHERS",
    "HTTPS_HSTS",
    "ALLOWED_ACCESS_TO_DASHBOARD",
    "ALLOWED_ACCESS_TO_RESTAPI",
    "PROXY_PUBLIC_IP",
    "XFRAME_SAMEORIGIN",
    "REDIRECT_WWW",
    "WORKER_CONNECTIONS",
    "CLIENT_MAX_BODY_SIZE",
    "KMS_IMAGE",
    "KMS_DOCKER_ENV_GST_DEBUG",
    "KMS_MIN_PORT",
    "KMS_MAX_PORT",
    "COTURN_MIN_PORT",
    "COTURN_MAX_PORT",
    "DOCKER_LOGS_MAX_SIZE",
    "CALL_OPENVIDU_CERTTYPE",
    "FOLLOW_OPENVIDU_LOGS",
    "OPENVIDU_EDITION",
    "OPENVIDU_PRO_LICENSE",
    "OPENVIDU_PRO_CLUSTER_ID",
    "OPENVIDU_PRO_STATS_SESSION_INTERVAL",
    "OPENVIDU_PRO_ELASTICSEARCH_HOST",
    "OPENVIDU_PRO_SPEECH_TO_TEXT",
    "OPENVIDU_BROWSER_LOGS",
    "OPENVIDU_ENTERPRISE_MEDIA_SERVER",
    "OPENVIDU_ENTERPRISE_HA_MASTER_NODES",
];

#[test]
fn every_key_of_openvidu_is_known_and_explained() {
    for name in OPENVIDUS {
        assert!(is_known(name), "{name}");
    }
    let file: String = OPENVIDUS.iter().map(|name| format!("{name}=\n")).collect();
    let report = report(&["--all"], &[("OPENVIDU_SECRET", "s")], &file);
    assert!(!report.text.contains("Warnings"), "{}", report.text);
    for name in OPENVIDUS.iter().filter(|name| ![OLD_DOMAIN, DOTENV_PATH].contains(*name)) {
        assert!(line(&report, name).len() > name.len() + 1, "{name} has neither a value nor a word");
    }
    for known in UNNEEDED {
        assert!(!KEYS.iter().any(|key| key.env == known.name), "{} is needed", known.name);
        assert!(line(&report, known.name).ends_with(known.why));
    }
}

#[test]
fn values_in_effect_are_shown_with_their_origin_and_secrets_are_not() {
    let file = "OPENVIDU_SECRET=hidden1\nHTTPS_PORT=4443\nFORCE_PLAIN_HTTP=true\nOPENVIDU_COMPAT=2.20\n\
                COTURN_IP=auto-ipv4\nMILLRACE_WEBHOOK_KEY=hidden2\nOPENVIDU_WEBHOOK=true\n\
                OPENVIDU_WEBHOOK_ENDPOINT=https://user:hidden3@app.example.com/hook\n\
                OPENVIDU_WEBHOOK_HEADERS=[\"Authorization: Basic hidden4\"]\nKMS_IMAGE=kurento\n\
                OPENVIDU_WEBRTC_ICE_SERVERS=[\"url=turn:h,staticAuthSecret=hidden5\"]\n";
    let env = [("DOMAIN_OR_PUBLIC_IP", "meet.example.org"), ("COTURN_SHARED_SECRET_KEY", "hidden6"), ("PATH", "/bin")];
    let report = report(&["--data-dir", "/data"], &env, file);
    assert_eq!(report.problems, []);
    assert!(!report.text.contains("hidden"), "{}", report.text);
    assert!(report.text.ends_with("\nThe server can start with it.\n"));
    for expected in [
        "OPENVIDU_SECRET … (.env)",
        "HTTPS_PORT 4443 (.env)",
        "SERVER_PORT 4443 (as HTTPS_PORT)",
        "DOMAIN_OR_PUBLIC_IP meet.example.org (environment)",
        "MILLRACE_DATA_DIR /data (flag)",
        "MILLRACE_TLS false (because of FORCE_PLAIN_HTTP)",
        "MILLRACE_DEMO false (as MILLRACE_DEV)",
        "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC VP8 (of OPENVIDU_COMPAT=2.20)",
        "COTURN_IP meet.example.org (.env; as DOMAIN_OR_PUBLIC_IP)",
        "COTURN_SHARED_SECRET_KEY … (environment)",
        "OPENVIDU_WEBHOOK_ENDPOINT https://user:…@app.example.com/hook (.env)",
        "MILLRACE_LOG info",
        "KMS_IMAGE Millrace's data plane takes the place of Kurento",
    ] {
        assert_eq!(line(&report, expected.split(' ').next().unwrap()), expected);
    }
    assert!(line(&report, "OPENVIDU_WEBHOOK_EVENTS").ends_with("nodeCrashed] (of OPENVIDU_COMPAT=2.20)"));
    assert!(!report.text.contains("KMS_URIS"), "what is not given is left out");
}

#[test]
fn whatever_nobody_knows_is_told_with_the_name_that_is_near() {
    let file = "OPENVIDU_SECRET=s\nOPENVIDU_WEBHOK=true\nOTHER_PROGRAM=1\nno line\n";
    let text = report(&[], &[("COTURN_PROT", "1"), ("HOME", "/root")], file).text;
    let (_, warnings) = text.split_once("\nWarnings\n").unwrap();
    let warnings: Vec<_> = warnings.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let expected = [
        ".env line 4 is not NAME=value and is ignored",
        "OPENVIDU_WEBHOK is not a known key: is OPENVIDU_WEBHOOK meant?",
        "OTHER_PROGRAM is not a known key",
        "COTURN_PROT is not a known key: is COTURN_PORT meant? (environment)",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn all_problems_stand_together_at_the_end() {
    let file = "HTTPS_PORT=0\nDOMAIN_OR_PUBLIC_IP=https://x\nMILLRACE_CERTIFICATE_FILE=/nowhere/certificate.pem\n";
    let report = report(&[], &[], file);
    let keys: Vec<_> = report.problems.iter().map(|problem| problem.key).collect();
    assert_eq!(line(&report, "SERVER_PORT"), "SERVER_PORT (none)");
    let certificate = ["MILLRACE_CERTIFICATE_FILE", "MILLRACE_CERTIFICATE_KEY_FILE"];
    assert_eq!(keys, [["DOMAIN_OR_PUBLIC_IP", "OPENVIDU_SECRET", "HTTPS_PORT"].as_slice(), &certificate].concat());
    let (_, end) = report.text.split_once("\nThe server cannot start until these are put right:\n").unwrap();
    let told: Vec<_> = end.lines().map(str::trim).collect();
    assert_eq!(told, report.problems.iter().map(Problem::to_string).collect::<Vec<_>>());
}
