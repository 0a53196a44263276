//! Every key: its name in the environment and in `.env`, its flag, its default, and what it means.

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Name in the environment and in `.env`.
    pub env: &'static str,
    /// Long flag, without the dashes: the name in lower case, without Millrace's own prefix.
    pub flag: &'static str,
    /// Value when it is not given; empty: none.
    pub default: &'static str,
    /// For `--help`.
    pub help: &'static str,
}

/// Every event of OpenVidu 2.32. Those of clusters never happen here.
const WEBHOOK_EVENTS: &str = "[sessionCreated,sessionDestroyed,participantJoined,participantLeft,\
    webrtcConnectionCreated,webrtcConnectionDestroyed,recordingStatusChanged,filterEventDispatched,signalSent,\
    mediaNodeStatusChanged,autoscaling,nodeCrashed,nodeRecovered,broadcastStarted,broadcastStopped]";

const fn key(env: &'static str, flag: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { env, flag, default, help }
}

/// The keys that have an effect, in the order of `--help`.
pub const KEYS: &[Key] = &[
    key(
        "DOMAIN_OR_PUBLIC_IP",
        "domain-or-public-ip",
        "localhost",
        "Host name or IP address that clients reach, without scheme or port",
    ),
    key(
        "OPENVIDU_SECRET",
        "openvidu-secret",
        "",
        "Password of the REST user OPENVIDUAPP; letters, digits, - and _. Mandatory",
    ),
    key("HTTPS_PORT", "https-port", "443", "Port that clients reach, as it stands in tokens and URLs"),
    key(
        "SERVER_PORT",
        "server-port",
        "",
        "Port to listen on, when a proxy or NAT makes it another one [default: HTTPS_PORT]",
    ),
    key("MILLRACE_BIND_ADDRESS", "bind-address", "::", "Address to listen on; `::` is every address, IPv6 and IPv4"),
    key("MILLRACE_TLS", "tls", "true", "Listen with TLS; false behind a proxy that ends TLS"),
    key(
        "FORCE_PLAIN_HTTP",
        "force-plain-http",
        "false",
        "Neither TLS nor https:// in URLs: for tests, since browsers then refuse cameras",
    ),
    key(
        "CERTIFICATE_TYPE",
        "certificate-type",
        "selfsigned",
        "selfsigned, or owncert (PEM files below); for letsencrypt use a proxy",
    ),
    key(
        "MILLRACE_CERTIFICATE_FILE",
        "certificate-file",
        "owncert/certificate.cert",
        "Certificate chain in PEM, for owncert",
    ),
    key(
        "MILLRACE_CERTIFICATE_KEY_FILE",
        "certificate-key-file",
        "owncert/certificate.key",
        "Its private key in PEM, for owncert",
    ),
    key("MILLRACE_CONTROL_SOCKET", "control-socket", "/run/millrace/dataplane.sock", "Unix socket of the data plane"),
    key(
        "MILLRACE_DATA_DIR",
        "data-dir",
        "/var/lib/millrace",
        "Folder for what must survive a restart: the self-signed certificate, undelivered events",
    ),
    key(
        "MILLRACE_MEDIA_SERVER",
        "media-server",
        "mediasoup",
        "Announced to clients: mediasoup (the server offers to subscribers), kurento (they do)",
    ),
    key("MILLRACE_DEMO", "demo", "", "Serve the demo call's tokens to anybody [default: as MILLRACE_DEV]"),
    key("MILLRACE_DEV", "dev", "false", "For trying out: the secret defaults to MY_SECRET"),
    key(
        "MILLRACE_LOG_FORMAT",
        "log-format",
        "auto",
        "How to log: human, json, or auto (human on a terminal, JSON elsewhere)",
    ),
    key("MILLRACE_LOG", "log", "info", "What to log: a level, or directives such as info,millrace_controlplane=debug"),
    key(
        "OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH",
        "openvidu-streams-video-max-recv-bandwidth",
        "1000",
        "Most video from a client, in kbit/s; 0: no limit",
    ),
    key(
        "OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH",
        "openvidu-streams-video-min-recv-bandwidth",
        "300",
        "Least video from a client, in kbit/s; only repeated by GET /config",
    ),
    key(
        "OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH",
        "openvidu-streams-video-max-send-bandwidth",
        "1000",
        "Most video to a client, in kbit/s; only repeated by GET /config",
    ),
    key(
        "OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH",
        "openvidu-streams-video-min-send-bandwidth",
        "300",
        "Least video to a client, in kbit/s; only repeated by GET /config",
    ),
    key(
        "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC",
        "openvidu-streams-forced-video-codec",
        "MEDIA_SERVER_PREFERRED",
        "MEDIA_SERVER_PREFERRED, NONE, VP8, VP9, H264 or AV1, for sessions that do not say; with OPENVIDU_COMPAT=2.20 it is VP8",
    ),
    key(
        "OPENVIDU_STREAMS_ALLOW_TRANSCODING",
        "openvidu-streams-allow-transcoding",
        "false",
        "Only repeated: Millrace never transcodes",
    ),
    key(
        "OPENVIDU_WEBRTC_SIMULCAST",
        "openvidu-webrtc-simulcast",
        "false",
        "Ask clients for simulcast, where the media server is mediasoup",
    ),
    key(
        "OPENVIDU_SESSIONS_GARBAGE_INTERVAL",
        "openvidu-sessions-garbage-interval",
        "900",
        "Seconds between looks for unused sessions; 0: never",
    ),
    key(
        "OPENVIDU_SESSIONS_GARBAGE_THRESHOLD",
        "openvidu-sessions-garbage-threshold",
        "3600",
        "Age in seconds from which an unused session is closed",
    ),
    key(
        "OPENVIDU_WEBRTC_ICE_SERVERS",
        "openvidu-webrtc-ice-servers",
        "[]",
        "STUN and TURN servers for clients: [\"url=turn:host:port,username=…,credential=…\"] or …,staticAuthSecret=…",
    ),
    key(
        "COTURN_IP",
        "coturn-ip",
        "",
        "Host of the TURN server that clients are told of [default: DOMAIN_OR_PUBLIC_IP]",
    ),
    key("COTURN_PORT", "coturn-port", "3478", "Its port"),
    key(
        "COTURN_SHARED_SECRET_KEY",
        "coturn-shared-secret-key",
        "",
        "Secret that its credentials are derived from [default: OPENVIDU_SECRET]",
    ),
    key("SUPPORT_DEPRECATED_API", "support-deprecated-api", "true", "Serve the paths of OpenVidu before 2.16 too"),
    key(
        "OPENVIDU_COMPAT",
        "openvidu-compat",
        "2.32",
        "Answer REST where they differ as OpenVidu 2.20 or 2.32: 2.20 says 404 and 405 for unknown paths and wrong methods, and forces VP8 by default",
    ),
    key("OPENVIDU_CDR", "openvidu-cdr", "false", "Write call detail records, a line of JSON per event, to files"),
    key(
        "OPENVIDU_CDR_PATH",
        "openvidu-cdr-path",
        "/opt/openvidu/cdr",
        "Folder of these files: one a day, kept 30 days",
    ),
    key("OPENVIDU_WEBHOOK", "openvidu-webhook", "false", "Send events to an HTTP server of the application"),
    key("OPENVIDU_WEBHOOK_ENDPOINT", "openvidu-webhook-endpoint", "", "Its URL"),
    key(
        "OPENVIDU_WEBHOOK_HEADERS",
        "openvidu-webhook-headers",
        "[]",
        "Headers of each request to it: [\"Name: value\", …]",
    ),
    key(
        "OPENVIDU_WEBHOOK_EVENTS",
        "openvidu-webhook-events",
        WEBHOOK_EVENTS,
        "Names of the events to send: [\"sessionCreated\", …] [default: all events of the generation in OPENVIDU_COMPAT]",
    ),
    key(
        "MILLRACE_WEBHOOK_KEY",
        "webhook-key",
        "",
        "Sign each request: X-Millrace-Signature is sha256= and the body's HMAC-SHA256 with this key",
    ),
    key("MILLRACE_WEBHOOK_TLS_VERIFY", "webhook-tls-verify", "true", "Check the certificate of the webhook's server"),
    key(
        "MILLRACE_WEBHOOK_MAX_AGE",
        "webhook-max-age",
        "86400",
        "Seconds after which an event that could not be delivered is given up",
    ),
    key(
        "MILLRACE_WEBHOOK_MAX_DISK",
        "webhook-max-disk",
        "256",
        "Megabytes that waiting events may take; beyond it the oldest are given up",
    ),
    key("OPENVIDU_DEV", "openvidu-dev", "false", "Test conveniences of OpenVidu 2.32, such as custom connection ids"),
];

/// The former name of `DOMAIN_OR_PUBLIC_IP`.
pub(super) const OLD_DOMAIN: &str = "OPENVIDU_DOMAIN_OR_PUBLIC_IP";

/// Keys whose values are never shown.
pub(super) fn is_secret(env: &str) -> bool {
    ["SECRET", "PASSWORD", "ICE_SERVERS", "LICENSE", "HEADERS", "WEBHOOK_KEY"].iter().any(|part| env.contains(part))
}
