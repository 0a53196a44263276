use std::collections::{HashMap, HashSet};

use super::*;

mod check;

fn load(args: &[&str], env: &[(&str, &str)], dotenv: &str) -> Result<Loaded, LoadError> {
    let args = std::iter::once("millrace-controlplane").chain(args.iter().copied()).map(OsString::from);
    let env: HashMap<_, _> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Config::load(args, &env, dotenv)
}

fn config(dotenv: &str) -> Config {
    load(&[], &[("OPENVIDU_SECRET", "s")], dotenv).unwrap().config
}

fn problems(dotenv: &str) -> Vec<String> {
    match load(&[], &[], dotenv) {
        Err(LoadError::Problems(problems)) => problems.iter().map(Problem::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_key_has_its_own_flag_and_appears_in_the_help() {
    command().debug_assert();
    let flags: HashSet<_> = KEYS.iter().map(|key| key.flag).collect();
    assert_eq!(flags.len(), KEYS.len());
    let Err(LoadError::Usage(help)) = load(&["--help"], &[], "") else { panic!() };
    assert_eq!(help.exit_code(), 0);
    let help = help.to_string();
    for key in KEYS {
        let name = key.env.strip_prefix("MILLRACE_").unwrap_or(key.env);
        assert_eq!(key.flag, name.to_ascii_lowercase().replace('_', "-"));
        assert!(help.contains(&format!("--{}", key.flag)) && help.contains(key.env), "{}", key.env);
    }
    assert!(help.contains(CHECK));
}

#[test]
fn a_secret_is_all_that_must_be_given() {
    let config = config("");
    assert_eq!((config.domain_or_public_ip.as_str(), config.https_port, config.server_port), ("localhost", 443, 443));
    assert!(config.tls && !config.force_plain_http && !config.demo && config.support_deprecated_api);
    assert_eq!(config.certificate, Certificate::SelfSigned);
    assert_eq!(config.media_server, MediaServer::Mediasoup);
    assert_eq!((config.streams.max_receive_kbps, config.garbage_interval_s), (1000, 900));
    assert_eq!(
        (config.coturn_host.as_str(), config.coturn_port, config.coturn_secret.as_str()),
        ("localhost", 3478, "s")
    );
    assert_eq!(config.listen_addresses().len(), 2);
    assert_eq!(
        problems(""),
        [
            "OPENVIDU_SECRET=: is mandatory: set the password that clients of the REST API log in with, of letters, digits, \
             - and _"
        ]
    );
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_environment() {
    let env = [("OPENVIDU_SECRET", "env"), ("HTTPS_PORT", "1"), ("COTURN_PORT", "10")];
    let file = "HTTPS_PORT=2\nCOTURN_PORT=20\nSERVER_PORT=\n";
    let config = load(&["--https-port", "3"], &env, file).unwrap().config;
    assert_eq!((config.https_port, config.coturn_port, config.secret.as_str()), (3, 20, "env"));
    assert_eq!(config.server_port, 3);
    let config = load(&["--control-socket=/x/y", "--dev=true"], &[], "").unwrap().config;
    assert_eq!(
        (config.control_socket.to_str(), config.secret.as_str(), config.demo),
        (Some("/x/y"), "MY_SECRET", true)
    );
    assert_eq!(
        load(&[], &[("OPENVIDU_SECRET", "s"), (OLD_DOMAIN, "old.example")], "").unwrap().config.coturn_host,
        "old.example"
    );
}

#[test]
fn all_problems_are_told_together_and_secrets_are_not() {
    let file = "OPENVIDU_SECRET=p@ss word\nHTTPS_PORT=0\nDOMAIN_OR_PUBLIC_IP=https://x\nSUPPORT_DEPRECATED_API=yes\n\
                CERTIFICATE_TYPE=letsencrypt\nOPENVIDU_WEBRTC_ICE_SERVERS=[\"url=turn:x:1\"]\nMILLRACE_LOG_FORMAT=xml\n\
                OPENVIDU_STREAMS_FORCED_VIDEO_CODEC=H265\nOPENVIDU_SESSIONS_GARBAGE_INTERVAL=-1\nMILLRACE_MEDIA_SERVER=janus";
    let problems = problems(file);
    assert_eq!(problems.len(), 10, "{problems:#?}");
    assert!(problems.iter().any(|p| p == "HTTPS_PORT=0: must be a port, 1 to 65535"));
    assert!(!problems.iter().any(|p| p.contains("p@ss") || p.contains("turn:x")));
}

#[test]
fn names_without_effect_warn() {
    let file = "OPENVIDU_SECRET=s\nOPENVIDU_RECORDIN=true\nOPENVIDU_RECORDING=true\nOPENVIDU_CDR=false\n\
                OPENVIDU_PRO_LICENSE=x\nCALL_RECORDING=false\nKMS_DOCKER_ENV_GST_DEBUG=3\nWHATEVER=1\nnot a line";
    let warnings =
        load(&[], &[("OPENVIDU_SECRT", "s"), ("PATH", "/bin"), ("HTTPS_PROXY", "p")], file).unwrap().warnings;
    assert_eq!(
        warnings,
        [
            ".env line 9 is not NAME=value and is ignored",
            "OPENVIDU_RECORDIN is not a known key: is OPENVIDU_RECORDING meant?",
            "OPENVIDU_RECORDING has no effect: for the recorder, which Millrace has not yet: recordings answer 501",
            "OPENVIDU_SECRT is not a known key: is OPENVIDU_SECRET meant?",
        ]
    );
}

#[test]
fn openvidus_own_file_is_taken_as_it_is() {
    let file = "# OpenVidu configuration\nDOMAIN_OR_PUBLIC_IP=meet.example.org\n\nOPENVIDU_SECRET=MY_SECRET\n\
                CERTIFICATE_TYPE=selfsigned\nLETSENCRYPT_EMAIL=user@example.com\nOPENVIDU_RECORDING=false\n\
                OPENVIDU_RECORDING_PATH=/opt/openvidu/recordings\nOPENVIDU_WEBHOOK=false\n\
                OPENVIDU_WEBHOOK_HEADERS=[\"Authorization: Basic YWJj\"]\nOPENVIDU_SESSIONS_GARBAGE_INTERVAL=900\n\
                OPENVIDU_CDR=false\nOPENVIDU_CDR_PATH=/opt/openvidu/cdr\nOPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH=600\n\
                KMS_IMAGE=kurento/kurento-media-server:7.0\nHTTP_PORT=80\nHTTPS_PORT=4443\n";
    let loaded = load(&[], &[], file).unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
    assert_eq!((loaded.config.https_port, loaded.config.streams.max_receive_kbps), (4443, 600));
}

#[test]
fn the_older_generation_forces_vp8_unless_told_otherwise() {
    let codec = |file: &str| (config(file).compat, config(file).streams.forced_video_codec);
    assert_eq!(codec(""), (Generation::V2_32, ForcedVideoCodec::MediaServerPreferred));
    assert_eq!(codec("OPENVIDU_COMPAT=2.32"), (Generation::V2_32, ForcedVideoCodec::MediaServerPreferred));
    assert_eq!(codec("OPENVIDU_COMPAT=2.20"), (Generation::V2_20, ForcedVideoCodec::Vp8));
    let both = "OPENVIDU_COMPAT=2.20\nOPENVIDU_STREAMS_FORCED_VIDEO_CODEC=H264";
    assert_eq!(codec(both), (Generation::V2_20, ForcedVideoCodec::H264));
}

#[test]
fn lines_keep_quotes_and_signs_that_belong_to_the_value() {
    let text = "A=\"b # c\"\nB='d' # e\nC=a#b # c\nD=[\"x: y\", \"z\"]\nexport E=1=2\nF=\"half\nG=\n=x\n\u{feff}";
    let (pairs, complaints) = dotenv::read(text);
    let values: Vec<_> = pairs.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["b # c", "d", "a#b", "[\"x: y\", \"z\"]", "1=2", "\"half", ""]);
    assert_eq!(complaints.len(), 2);
}

#[test]
fn certificates_come_from_files_when_they_are_named() {
    let own = config("CERTIFICATE_TYPE=owncert").certificate;
    assert_eq!(
        own,
        Certificate::Files { certificate: "owncert/certificate.cert".into(), key: "owncert/certificate.key".into() }
    );
    let named = config("MILLRACE_CERTIFICATE_FILE=/a.pem\nMILLRACE_CERTIFICATE_KEY_FILE=/b.pem").certificate;
    assert_eq!(named, Certificate::Files { certificate: "/a.pem".into(), key: "/b.pem".into() });
    assert_eq!(config("MILLRACE_TLS=false\nCERTIFICATE_TYPE=letsencrypt").certificate, Certificate::SelfSigned);
    assert!(!config("FORCE_PLAIN_HTTP=true").tls);
    assert_eq!(config("SERVER_PORT=0").server_port, 0);
}

#[test]
fn hosts_are_names_or_addresses() {
    for (given, want) in [
        ("meet.example.org", Some("meet.example.org")),
        ("203.0.113.7", Some("203.0.113.7")),
        ("2001:db8::1", Some("[2001:db8::1]")),
        ("[2001:db8::1]", Some("[2001:db8::1]")),
        ("a:4443", None),
        ("https://a", None),
        ("a/b", None),
        ("a..b", None),
        ("", None),
    ] {
        assert_eq!(values::host(given).as_deref(), want, "{given}");
    }
}

#[test]
fn lists_may_be_lenient() {
    assert_eq!(values::list("[a, b ,\"c\"]").unwrap(), ["a", "b", "c"]);
    assert_eq!(values::list("[\"a,b\"]").unwrap(), ["a,b"]);
    assert!(values::list("[]").unwrap().is_empty() && values::list("[\"\"]").unwrap().is_empty());
    assert!(values::list("a,b").is_none());
}

#[test]
fn ice_servers_need_what_their_scheme_needs() {
    let both = "[\"url=stun:a.example:3478\", \"url=turn:[2001:db8::1]:3478?transport=tcp,username=u,credential=c=\"]";
    let servers = values::ice_servers(both).unwrap();
    assert_eq!(servers[1].credential.as_deref(), Some("c="));
    let lenient = values::ice_servers("[url=turns:h,staticAuthSecret=x,url=stuns:1.2.3.4]").unwrap();
    assert_eq!((lenient.len(), lenient[0].static_auth_secret.as_deref()), (2, Some("x")));
    for bad in [
        "[\"url=stun:a,username=u,credential=c\"]",
        "[\"url=turn:a\"]",
        "[\"url=turn:a,username=u\"]",
        "[\"url=turn:a,username=u,credential=c,staticAuthSecret=s\"]",
        "[\"url=http:a\"]",
        "[\"url=stun:a:0\"]",
        "[\"url=stun:2001:db8::1:3478\"]",
        "[\"url=stun:\"]",
        "[\"username=u\"]",
    ] {
        assert!(values::ice_servers(bad).is_none(), "{bad}");
    }
}

#[test]
fn the_forced_codec_depends_on_what_is_announced() {
    let preferred = ForcedVideoCodec::from_name("MEDIA_SERVER_PREFERRED").unwrap();
    assert_eq!(preferred.resolve(MediaServer::Kurento), Some(VideoCodec::Vp8));
    assert_eq!(preferred.resolve(MediaServer::Mediasoup), None);
    for (name, codec) in ForcedVideoCodec::NAMES {
        assert_eq!((codec.name(), ForcedVideoCodec::from_name(name)), (name, Some(codec)));
    }
    assert_eq!(ForcedVideoCodec::from_name("vp8"), None);
}

#[test]
fn events_go_nowhere_unless_asked_for() {
    let off = config("");
    assert_eq!((off.cdr, off.webhook), (None, None));
    let text = "OPENVIDU_SECRET=s\nOPENVIDU_CDR=true\nOPENVIDU_WEBHOOK=true\n\
                OPENVIDU_WEBHOOK_ENDPOINT=https://app.example.com:7777/hook?x=1\n";
    let on = config(text);
    assert_eq!(on.cdr, Some("/opt/openvidu/cdr".into()));
    let webhook = on.webhook.unwrap();
    assert_eq!(webhook.endpoint, "https://app.example.com:7777/hook?x=1");
    assert_eq!((webhook.events.len(), webhook.headers.len(), webhook.key), (15, 0, None));
    assert!(webhook.events.contains(&"signalSent".to_owned()) && webhook.tls_verify);
    assert_eq!((webhook.max_age.as_secs(), webhook.max_bytes), (86_400, 256 << 20));
}

#[test]
fn a_webhook_is_described_as_openvidus_files_do() {
    let text = "OPENVIDU_SECRET=s\nOPENVIDU_WEBHOOK=true\nOPENVIDU_WEBHOOK_ENDPOINT=http://127.0.0.1:7777/webhook/\n\
                OPENVIDU_WEBHOOK_HEADERS=[\"Authorization: Basic T1BFTlZJRFVBUFA6\", \"X-List: a,b\"]\n\
                OPENVIDU_WEBHOOK_EVENTS=[sessionCreated,sessionDestroyed]\nMILLRACE_WEBHOOK_KEY=k\n\
                MILLRACE_WEBHOOK_TLS_VERIFY=false\nMILLRACE_WEBHOOK_MAX_AGE=60\nMILLRACE_WEBHOOK_MAX_DISK=32\n";
    let webhook = config(text).webhook.unwrap();
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(webhook.headers, [header("Authorization", "Basic T1BFTlZJRFVBUFA6"), header("X-List", "a,b")]);
    assert_eq!(webhook.events, ["sessionCreated", "sessionDestroyed"]);
    assert_eq!((webhook.key.as_deref(), webhook.tls_verify), (Some("k"), false));
    assert_eq!((webhook.max_age.as_secs(), webhook.max_bytes), (60, 32 << 20));
    let older = config("OPENVIDU_COMPAT=2.20\nOPENVIDU_WEBHOOK=true\nOPENVIDU_WEBHOOK_ENDPOINT=http://h/");
    let events = older.webhook.unwrap().events;
    assert!(events.len() == 12 && !events.contains(&"nodeRecovered".to_owned()));
    let none = text.replace("[sessionCreated,sessionDestroyed]", "[]");
    assert!(config(&none).webhook.unwrap().events.is_empty());
}

#[test]
fn everything_wrong_with_a_webhook_is_told_at_once() {
    let text = "OPENVIDU_SECRET=s\nOPENVIDU_WEBHOOK=true\nOPENVIDU_WEBHOOK_HEADERS=[\"Authorization\"]\n\
                OPENVIDU_WEBHOOK_EVENTS=[\"sessionCreated\",\"sessionBegun\"]\nMILLRACE_WEBHOOK_MAX_AGE=soon\n\
                MILLRACE_WEBHOOK_MAX_DISK=1\nMILLRACE_WEBHOOK_TLS_VERIFY=no\nOPENVIDU_CDR=yes\n";
    let all = problems(text);
    let keys: Vec<_> = all.iter().map(|problem| problem.split('=').next().unwrap()).collect();
    let expected = [
        "OPENVIDU_CDR",
        "OPENVIDU_WEBHOOK_ENDPOINT",
        "OPENVIDU_WEBHOOK_HEADERS",
        "OPENVIDU_WEBHOOK_EVENTS",
        "MILLRACE_WEBHOOK_MAX_AGE",
        "MILLRACE_WEBHOOK_MAX_DISK",
        "MILLRACE_WEBHOOK_TLS_VERIFY",
    ];
    assert_eq!(keys, expected);
    assert!(all[2].starts_with("OPENVIDU_WEBHOOK_HEADERS=…: "), "headers hold passwords");
    assert!(all[3].contains(": sessionBegun is no event"));
    for endpoint in ["app.example.com", "ftp://app.example.com", "http://"] {
        let text = format!("OPENVIDU_SECRET=s\nOPENVIDU_WEBHOOK_ENDPOINT={endpoint}\n");
        assert_eq!(problems(&text).len(), 1, "{endpoint}");
    }
}
