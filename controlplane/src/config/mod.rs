//! The one typed configuration of the process, under OpenVidu's names where OpenVidu has one.
//!
//! A flag wins over the `.env` file, the file over the environment (as OpenVidu has it), the environment over the
//! default. Everything that is wrong is reported together. Names that look like OpenVidu's and are unknown, or known
//! and without effect here, are warnings, so that an existing `.env` can be taken over as it is.

mod dotenv;
mod events;
mod keys;
mod values;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Arg, Command};

use keys::{FOREIGN_PREFIXES, OLD_DOMAIN, PREFIXES, WITHOUT_EFFECT};
pub use keys::{KEYS, Key};
use values::Values;

use crate::sdp::VideoCodec;
use crate::webhook;

/// Where `.env` is looked for when this variable does not name a folder: the working directory.
const DOTENV_PATH: &str = "DOTENV_PATH";
/// The secret of [`Config::dev`].
const DEV_SECRET: &str = "MY_SECRET";

/// The configuration. `--help` says of each key what it means; here stand the types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `DOMAIN_OR_PUBLIC_IP`: a host that may stand in a URL (IPv6 in brackets).
    pub domain_or_public_ip: String,
    /// `OPENVIDU_SECRET`.
    pub secret: String,
    /// `HTTPS_PORT`: the public port.
    pub https_port: u16,
    /// `SERVER_PORT` (0: any free one), or the public port.
    pub server_port: u16,
    /// `MILLRACE_BIND_ADDRESS`.
    pub bind_address: IpAddr,
    /// Whether to listen with TLS: `MILLRACE_TLS`, and not `FORCE_PLAIN_HTTP`.
    pub tls: bool,
    /// `FORCE_PLAIN_HTTP`: whether public URLs are `http` and `ws`.
    pub force_plain_http: bool,
    /// `CERTIFICATE_TYPE` with its files.
    pub certificate: Certificate,
    /// `MILLRACE_CONTROL_SOCKET`.
    pub control_socket: PathBuf,
    /// `MILLRACE_DATA_DIR`.
    pub data_dir: PathBuf,
    /// `MILLRACE_MEDIA_SERVER`.
    pub media_server: MediaServer,
    /// `MILLRACE_DEMO`.
    pub demo: bool,
    /// `MILLRACE_DEV`.
    pub dev: bool,
    /// `MILLRACE_LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `MILLRACE_LOG`: a `tracing` filter.
    pub log: String,
    /// `OPENVIDU_STREAMS_*`.
    pub streams: Streams,
    /// `OPENVIDU_WEBRTC_SIMULCAST`.
    pub simulcast: bool,
    /// `OPENVIDU_SESSIONS_GARBAGE_INTERVAL`, in seconds; 0: never.
    pub garbage_interval_s: u32,
    /// `OPENVIDU_SESSIONS_GARBAGE_THRESHOLD`, in seconds.
    pub garbage_threshold_s: u32,
    /// `OPENVIDU_WEBRTC_ICE_SERVERS`.
    pub ice_servers: Vec<IceServer>,
    /// `COTURN_IP`, or the public host.
    pub coturn_host: String,
    /// `COTURN_PORT`.
    pub coturn_port: u16,
    /// `COTURN_SHARED_SECRET_KEY`, or the secret.
    pub coturn_secret: String,
    /// `SUPPORT_DEPRECATED_API`.
    pub support_deprecated_api: bool,
    /// `OPENVIDU_COMPAT`.
    pub compat: Generation,
    /// `OPENVIDU_DEV`.
    pub openvidu_dev: bool,
    /// `OPENVIDU_CDR_PATH`, when `OPENVIDU_CDR` is on.
    pub cdr: Option<PathBuf>,
    /// `OPENVIDU_WEBHOOK_*` and `MILLRACE_WEBHOOK_*`, when `OPENVIDU_WEBHOOK` is on.
    pub webhook: Option<webhook::Options>,
}

/// `OPENVIDU_STREAMS_*`, bandwidths in kbit/s, 0: no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streams {
    /// From a client, at most.
    pub max_receive_kbps: u32,
    /// From a client, at least.
    pub min_receive_kbps: u32,
    /// To a client, at most.
    pub max_send_kbps: u32,
    /// To a client, at least.
    pub min_send_kbps: u32,
    /// For sessions that do not say.
    pub forced_video_codec: ForcedVideoCodec,
    /// Only repeated.
    pub allow_transcoding: bool,
}

/// Where the TLS certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Made at first start, kept in the data folder.
    SelfSigned,
    /// PEM files.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
    },
}

/// What `joinRoom` announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaServer {
    /// The server offers to subscribers.
    #[default]
    Mediasoup,
    /// Subscribers offer.
    Kurento,
}

impl MediaServer {
    /// As announced.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mediasoup => "mediasoup",
            Self::Kurento => "kurento",
        }
    }
}

/// OpenVidu's `forcedVideoCodec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForcedVideoCodec {
    /// VP8 with Kurento, the publisher's first choice with mediasoup.
    #[default]
    MediaServerPreferred,
    /// The publisher's first choice.
    None,
    /// VP8 only.
    Vp8,
    /// VP9 only.
    Vp9,
    /// H264 only.
    H264,
    /// AV1 only; Millrace's own addition.
    Av1,
}

impl ForcedVideoCodec {
    const NAMES: [(&str, Self); 6] = [
        ("MEDIA_SERVER_PREFERRED", Self::MediaServerPreferred),
        ("NONE", Self::None),
        ("VP8", Self::Vp8),
        ("VP9", Self::Vp9),
        ("H264", Self::H264),
        ("AV1", Self::Av1),
    ];

    /// From OpenVidu's spelling.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, codec)| *codec)
    }

    /// In OpenVidu's spelling.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, codec)| *codec == self).map_or("NONE", |(name, _)| name)
    }

    /// The codec to force, given what is announced.
    pub fn resolve(self, media_server: MediaServer) -> Option<VideoCodec> {
        match self {
            Self::MediaServerPreferred if media_server == MediaServer::Kurento => Some(VideoCodec::Vp8),
            Self::MediaServerPreferred | Self::None => None,
            Self::Vp8 => Some(VideoCodec::Vp8),
            Self::Vp9 => Some(VideoCodec::Vp9),
            Self::H264 => Some(VideoCodec::H264),
            Self::Av1 => Some(VideoCodec::Av1),
        }
    }
}

/// The generation of OpenVidu whose answers are given where two of them differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generation {
    /// 2.20, as the public documentation of the REST API describes it.
    V2_20,
    /// 2.32.
    #[default]
    V2_32,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// One STUN or TURN server for clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:`, `stuns:`, `turn:` or `turns:` with host and port.
    pub url: String,
    /// Of a fixed user.
    pub username: Option<String>,
    /// Of a fixed user.
    pub credential: Option<String>,
    /// From which users with an end are derived.
    pub static_auth_secret: Option<String>,
}

/// Something wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its name.
    pub key: &'static str,
    /// The value given, `…` for a secret.
    pub value: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}: {}", self.key, self.value, self.message)
    }
}

/// A configuration with what is worth a warning in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// One sentence each.
    pub warnings: Vec<String>,
}

/// No configuration.
#[derive(Debug)]
pub enum LoadError {
    /// `--help`, `--version`, or a flag that does not exist: `exit` of it prints and ends the process.
    Usage(clap::Error),
    /// Every value that cannot be used.
    Problems(Vec<Problem>),
}

impl LoadError {
    /// Tells the person, and ends the process: with 0 after `--help` and `--version`, with 2 otherwise.
    pub fn exit(self) -> ! {
        match self {
            Self::Usage(error) => error.exit(),
            Self::Problems(problems) => {
                eprintln!("millrace-controlplane cannot start with this configuration:");
                for problem in problems {
                    eprintln!("  {problem}");
                }
                eprintln!("`millrace-controlplane --help` says what each key means.");
                std::process::exit(2)
            }
        }
    }
}

impl Config {
    /// Loads from the process's flags, environment and `.env` file.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn from_process() -> Result<Loaded, LoadError> {
        let environment: HashMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let folder = environment.get(DOTENV_PATH).map_or_else(|| Path::new("."), Path::new);
        let file = std::fs::read_to_string(folder.join(".env")).unwrap_or_default();
        Self::load(std::env::args_os(), &environment, &file)
    }

    /// Loads from the given flags (program name first), environment, and text of `.env`.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(
        args: impl IntoIterator<Item = OsString>,
        environment: &HashMap<String, String>,
        dotenv: &str,
    ) -> Result<Loaded, LoadError> {
        let matches = command().try_get_matches_from(args).map_err(LoadError::Usage)?;
        let (pairs, mut warnings) = dotenv::read(dotenv);
        let file: HashMap<String, String> = pairs.into_iter().collect();
        let mut given = HashMap::new();
        for key in KEYS {
            let flag = matches.get_one::<String>(key.env);
            let old = || {
                (key.env == "DOMAIN_OR_PUBLIC_IP").then(|| file.get(OLD_DOMAIN).or_else(|| environment.get(OLD_DOMAIN)))
            };
            // An empty line in the file, as OpenVidu ships them for keys to fill in, is no value.
            let in_file = file.get(key.env).filter(|text| !text.is_empty());
            let text = flag.or(in_file).or_else(|| environment.get(key.env)).or_else(|| old().flatten());
            if let Some(text) = text {
                given.insert(key.env, text.clone());
            }
        }
        warnings.extend(file.iter().filter_map(|(name, value)| warning(name, value)));
        let own = |name: &&String| name.starts_with("OPENVIDU_") || name.starts_with("COTURN_");
        let environment = environment.iter().filter(|(name, _)| own(name) && !file.contains_key(*name));
        warnings.extend(environment.filter_map(|(name, value)| warning(name, value)));
        warnings.sort();
        let mut values = Values::new(given);
        let config = Self::from_values(&mut values);
        if values.problems.is_empty() {
            Ok(Loaded { config, warnings })
        } else {
            Err(LoadError::Problems(values.problems))
        }
    }

    /// Addresses to listen on, to be tried in this order: `::` is also wanted where the machine has no IPv6.
    pub fn listen_addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = vec![SocketAddr::new(self.bind_address, self.server_port)];
        if self.bind_address == Ipv6Addr::UNSPECIFIED {
            addresses.push(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), self.server_port));
        }
        addresses
    }

    fn from_values(values: &mut Values) -> Self {
        let dev = values.flag("MILLRACE_DEV");
        let compat = generation(values);
        let force_plain_http = values.flag("FORCE_PLAIN_HTTP");
        let tls = values.flag("MILLRACE_TLS") && !force_plain_http;
        let domain_or_public_ip = values.parsed(
            "DOMAIN_OR_PUBLIC_IP",
            "a host name or IP address, without scheme, port or path",
            values::host,
        );
        let secret = secret(values, dev);
        let https_port = values.port("HTTPS_PORT");
        let server_port = match values.given("SERVER_PORT") {
            Some(_) => values.parsed("SERVER_PORT", "a port, 0 to 65535 (0: any free one)", |text| text.parse().ok()),
            None => https_port,
        };
        let bind_address = values.parsed("MILLRACE_BIND_ADDRESS", "an IP address", |text| values::ip(text).map(Some));
        let demo = if values.given("MILLRACE_DEMO").is_some() { values.flag("MILLRACE_DEMO") } else { dev };
        Self {
            certificate: certificate(values, tls),
            coturn_host: coturn_host(values, &domain_or_public_ip),
            coturn_secret: values.optional("COTURN_SHARED_SECRET_KEY").unwrap_or(&secret).to_owned(),
            domain_or_public_ip,
            secret,
            https_port,
            server_port,
            bind_address: bind_address.unwrap_or_else(|| Ipv6Addr::UNSPECIFIED.into()),
            tls,
            force_plain_http,
            control_socket: values.text("MILLRACE_CONTROL_SOCKET").into(),
            data_dir: values.text("MILLRACE_DATA_DIR").into(),
            media_server: values.parsed("MILLRACE_MEDIA_SERVER", "mediasoup or kurento", |text| match text {
                "mediasoup" => Some(MediaServer::Mediasoup),
                "kurento" => Some(MediaServer::Kurento),
                _ => None,
            }),
            demo,
            dev,
            log_format: values.parsed("MILLRACE_LOG_FORMAT", "auto, human or json", |text| match text {
                "auto" => Some(LogFormat::Auto),
                "human" => Some(LogFormat::Human),
                "json" => Some(LogFormat::Json),
                _ => None,
            }),
            log: values.parsed("MILLRACE_LOG", "a level or filter directives", |text| {
                text.parse::<tracing_subscriber::EnvFilter>().ok().map(|_| text.to_owned())
            }),
            streams: streams(values, compat),
            simulcast: values.flag("OPENVIDU_WEBRTC_SIMULCAST"),
            garbage_interval_s: values.number("OPENVIDU_SESSIONS_GARBAGE_INTERVAL"),
            garbage_threshold_s: values.number("OPENVIDU_SESSIONS_GARBAGE_THRESHOLD"),
            ice_servers: values.parsed(
                "OPENVIDU_WEBRTC_ICE_SERVERS",
                "a list of \"url=stun:host:port\", \"url=turn:host:port,username=…,credential=…\" or \
                 \"url=turn:host:port,staticAuthSecret=…\"",
                values::ice_servers,
            ),
            coturn_port: values.port("COTURN_PORT"),
            support_deprecated_api: values.flag("SUPPORT_DEPRECATED_API"),
            compat,
            openvidu_dev: values.flag("OPENVIDU_DEV"),
            cdr: events::cdr(values),
            webhook: events::webhook(values),
        }
    }
}

/// The command line: one flag per key. Values are read as texts, so that all problems can be told together.
fn command() -> Command {
    let args = KEYS.iter().map(|key| {
        let default = if key.default.is_empty() || key.help.contains("[default:") {
            String::new()
        } else {
            format!(" [default: {}]", key.default)
        };
        let help = format!("{}{default} [env: {}]", key.help, key.env);
        Arg::new(key.env).long(key.flag).value_name("VALUE").help(help)
    });
    Command::new("millrace-controlplane")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Millrace's control plane: OpenVidu 2 REST and signalling over Millrace's data plane")
        .after_help("A flag wins over the file .env (in the working directory, or in DOTENV_PATH), the file over the environment.")
        .max_term_width(110)
        .args(args)
}

fn secret(values: &mut Values, dev: bool) -> String {
    let secret = values.given("OPENVIDU_SECRET").or_else(|| dev.then_some(DEV_SECRET)).unwrap_or_default().to_owned();
    let safe = secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if secret.is_empty() {
        values.problem("OPENVIDU_SECRET", "is mandatory: clients of the REST API log in with it".to_owned());
    } else if !safe {
        values.problem("OPENVIDU_SECRET", "must consist of letters, digits, - and _".to_owned());
    }
    secret
}

fn certificate(values: &mut Values, tls: bool) -> Certificate {
    let files = ["MILLRACE_CERTIFICATE_FILE", "MILLRACE_CERTIFICATE_KEY_FILE"];
    let named = files.iter().any(|key| values.given(key).is_some());
    let kind = match values.given("CERTIFICATE_TYPE") {
        Some(kind) => kind.to_owned(),
        None => if named { "owncert" } else { "selfsigned" }.to_owned(),
    };
    match kind.as_str() {
        "selfsigned" => Certificate::SelfSigned,
        "owncert" => {
            Certificate::Files { certificate: values.text(files[0]).into(), key: values.text(files[1]).into() }
        }
        "letsencrypt" if !tls => Certificate::SelfSigned,
        "letsencrypt" => {
            let message = "is not available here: end TLS in a proxy (MILLRACE_TLS=false), or use owncert";
            values.problem("CERTIFICATE_TYPE", message.to_owned());
            Certificate::SelfSigned
        }
        _ => {
            values.problem("CERTIFICATE_TYPE", "must be selfsigned or owncert".to_owned());
            Certificate::SelfSigned
        }
    }
}

/// OpenVidu's compose files pass `auto-ipv4` and `auto-ipv6`, which mean the public address.
fn coturn_host(values: &mut Values, public: &str) -> String {
    match values.given("COTURN_IP") {
        None | Some("auto-ipv4" | "auto-ipv6") => public.to_owned(),
        Some(_) => values.parsed("COTURN_IP", "a host name, an IP address, auto-ipv4 or auto-ipv6", values::host),
    }
}

fn generation(values: &mut Values) -> Generation {
    values.parsed("OPENVIDU_COMPAT", "2.20 or 2.32", |text| match text {
        "2.20" => Some(Generation::V2_20),
        "2.32" => Some(Generation::V2_32),
        _ => None,
    })
}

fn streams(values: &mut Values, compat: Generation) -> Streams {
    let is_old_default = compat == Generation::V2_20 && values.given("OPENVIDU_STREAMS_FORCED_VIDEO_CODEC").is_none();
    let mut streams = given_streams(values);
    if is_old_default {
        streams.forced_video_codec = ForcedVideoCodec::Vp8;
    }
    streams
}

fn given_streams(values: &mut Values) -> Streams {
    Streams {
        max_receive_kbps: values.number("OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH"),
        min_receive_kbps: values.number("OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH"),
        max_send_kbps: values.number("OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH"),
        min_send_kbps: values.number("OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH"),
        forced_video_codec: values.parsed(
            "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC",
            "MEDIA_SERVER_PREFERRED, NONE, VP8, VP9, H264 or AV1",
            ForcedVideoCodec::from_name,
        ),
        allow_transcoding: values.flag("OPENVIDU_STREAMS_ALLOW_TRANSCODING"),
    }
}

/// What to say of a name that has no effect.
fn warning(name: &str, value: &str) -> Option<String> {
    if KEYS.iter().any(|key| key.env == name) || name == OLD_DOMAIN || name == DOTENV_PATH {
        return None;
    }
    if let Some((_, off)) = WITHOUT_EFFECT.iter().find(|(known, _)| *known == name) {
        let harmless = off.is_empty() || value.is_empty() || value.eq_ignore_ascii_case(off);
        return (!harmless).then(|| format!("{name} is known but has no effect in this version"));
    }
    let looks_like_openvidu = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let foreign = FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    (looks_like_openvidu && !foreign).then(|| format!("{name} is not a known key: misspelled?"))
}

#[cfg(test)]
mod tests;
