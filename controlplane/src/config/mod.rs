//! The one typed configuration of the process, under OpenVidu's names where OpenVidu has one.
//!
//! A flag wins over the `.env` file, the file over the environment (as OpenVidu has it), the environment over the
//! default. Everything that is wrong is reported together. Names that look like OpenVidu's and are unknown, or known
//! and without effect here, are warnings, so that an existing `.env` can be taken over as it is.

mod check;
mod dotenv;
mod events;
mod keys;
mod parts;
mod sources;
mod unneeded;
mod values;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};

pub use check::Report;
use keys::OLD_DOMAIN;
pub use keys::{KEYS, Key};
use sources::Sources;
use values::Values;

use crate::sdp::VideoCodec;
use crate::webhook;

/// Where `.env` is looked for when this variable does not name a folder: the working directory.
const DOTENV_PATH: &str = "DOTENV_PATH";
/// The secret of [`Config::dev`].
const DEV_SECRET: &str = "MY_SECRET";
/// The command that explains a configuration.
const CHECK: &str = "check-config";
/// Its argument.
const FILE: &str = "FILE";

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

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "there is one per process")]
pub enum Wanted {
    /// A server with this configuration.
    Server(Loaded),
    /// What there is to say of a configuration.
    Report(Report),
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
    pub fn from_process() -> Result<Wanted, LoadError> {
        let environment: HashMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let matches = command().try_get_matches_from(std::env::args_os()).map_err(LoadError::Usage)?;
        let folder = environment.get(DOTENV_PATH).map_or_else(|| Path::new("."), Path::new);
        let usual = folder.join(".env");
        match matches.subcommand_matches(CHECK) {
            Some(matches) => {
                let named = check::named_file(matches).map(PathBuf::from);
                let path = named.as_ref().unwrap_or(&usual);
                let text = read(path, named.is_some())?;
                let missing = if path.exists() { "" } else { " (there is none)" };
                let file = format!("{}{missing}", path.display());
                Ok(Wanted::Report(Report::of(matches, &environment, &text, &file)))
            }
            None => Self::of(&matches, &environment, &read(&usual, false)?).map(Wanted::Server),
        }
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
        Self::of(&matches, environment, dotenv)
    }

    fn of(matches: &ArgMatches, environment: &HashMap<String, String>, dotenv: &str) -> Result<Loaded, LoadError> {
        let sources = Sources::collect(matches, environment, dotenv);
        let mut warnings = sources.complaints.clone();
        warnings.extend(sources.file.iter().filter_map(|(name, value)| unneeded::warning(name, value)));
        let own = environment.iter().filter(|(name, _)| unneeded::is_ours(name) && !sources.is_in_file(name));
        warnings.extend(own.filter_map(|(name, value)| unneeded::warning(name, value)));
        warnings.sort();
        let mut values = Values::new(sources.given.into_iter().map(|(env, (text, _))| (env, text)).collect());
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
        let compat = parts::generation(values);
        let force_plain_http = values.flag("FORCE_PLAIN_HTTP");
        let tls = values.flag("MILLRACE_TLS") && !force_plain_http;
        let domain_or_public_ip = values.parsed(
            "DOMAIN_OR_PUBLIC_IP",
            "a host name or IP address, without scheme, port or path",
            values::host,
        );
        let secret = parts::secret(values, dev);
        let https_port = values.port("HTTPS_PORT");
        let server_port = match values.given("SERVER_PORT") {
            Some(_) => values.parsed("SERVER_PORT", "a port, 0 to 65535 (0: any free one)", |text| text.parse().ok()),
            None => https_port,
        };
        let bind_address = values.parsed("MILLRACE_BIND_ADDRESS", "an IP address", |text| values::ip(text).map(Some));
        let demo = if values.given("MILLRACE_DEMO").is_some() { values.flag("MILLRACE_DEMO") } else { dev };
        Self {
            certificate: parts::certificate(values, tls),
            coturn_host: parts::coturn_host(values, &domain_or_public_ip),
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
            streams: parts::streams(values, compat),
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
            webhook: events::webhook(values, compat),
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
        Arg::new(key.env).long(key.flag).value_name("VALUE").help(help).global(true)
    });
    let file = Arg::new(FILE).help("The file to read [default: .env in the working directory, or in DOTENV_PATH]");
    let all = Arg::new("all").long("all").action(ArgAction::SetTrue).help("Explain every key, also those not given");
    let check = Command::new(CHECK)
        .about("Print the effective configuration, secrets masked, and all that is wrong with it; exit code 2 if anything is")
        .args([file, all]);
    Command::new("millrace-controlplane")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Millrace's control plane: OpenVidu 2 REST and signalling over Millrace's data plane")
        .after_help("A flag wins over the file .env (in the working directory, or in DOTENV_PATH), the file over the environment.")
        .max_term_width(110)
        .disable_help_subcommand(true)
        .args(args)
        .subcommand(check)
}

/// The text of a file; empty when there is none and nobody has named it.
fn read(path: &Path, must_exist: bool) -> Result<String, LoadError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound && !must_exist => Ok(String::new()),
        Err(error) => {
            let message = format!("cannot be read: {error}");
            Err(LoadError::Problems(vec![Problem { key: ".env", value: path.display().to_string(), message }]))
        }
    }
}

/// What only the disk tells, and the server will need.
fn problems_of_files(config: &Config) -> Vec<Problem> {
    let (Certificate::Files { certificate, key }, true) = (&config.certificate, config.tls) else { return Vec::new() };
    let files = [("MILLRACE_CERTIFICATE_FILE", certificate), ("MILLRACE_CERTIFICATE_KEY_FILE", key)];
    let unreadable = files.into_iter().filter_map(|(key, path)| {
        let message = format!("cannot be read: {}", std::fs::File::open(path).err()?);
        Some(Problem { key, value: path.display().to_string(), message })
    });
    unreadable.collect()
}

#[cfg(test)]
mod tests;
