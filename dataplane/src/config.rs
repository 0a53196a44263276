//! The one typed configuration of the process: each key with its flag, environment name, default and help.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};

/// A shard keeps the workers that mirror a track as the bits of one word.
const MAX_WORKERS: usize = 64;

/// Millrace's data plane: forwards media between WebRTC clients, driven over a Unix socket.
#[derive(Clone, Debug, Parser)]
#[command(name = "millrace-dataplane", version, max_term_width = 110)]
pub struct Config {
    /// Number of workers, each a thread with its own socket and core [default: one per core]
    #[arg(long, env = "MILLRACE_WORKERS", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: Option<u16>,

    /// UDP port of all media, the same for every client; 0 lets the system pick one
    #[arg(long, env = "MILLRACE_MEDIA_PORT", default_value_t = 40_000)]
    pub media_port: u16,

    /// Addresses to receive on, comma-separated [default: all, IPv6 and IPv4]
    #[arg(long, env = "MILLRACE_BIND", value_delimiter = ',')]
    pub bind: Vec<IpAddr>,

    /// Addresses that clients are told to send to, best first, comma-separated, each `ip` or `ip:port`: the
    /// public ones of a machine behind NAT [default: the machine's own, without loopback]
    #[arg(long, env = "MILLRACE_ANNOUNCE", value_delimiter = ',')]
    pub announce: Vec<Announced>,

    /// Unix socket for the control plane; made with mode 0600
    #[arg(long, env = "MILLRACE_CONTROL_SOCKET", default_value = "/run/millrace/dataplane.sock")]
    pub control_socket: PathBuf,

    /// How to log: human lines, JSON lines, or human on a terminal and JSON elsewhere
    #[arg(long, env = "MILLRACE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto)]
    pub log_format: LogFormat,

    /// What to log: a level, or directives such as `info,millrace_dataplane=debug`
    #[arg(long, env = "MILLRACE_LOG", default_value = "info")]
    pub log: String,

    /// Most packet buffers of one worker, in MiB; memory is taken as it is needed
    #[arg(long, env = "MILLRACE_BUFFER_MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(4..=65_536))]
    pub buffer_mib: u32,

    /// Most transports (client paths) at a time
    #[arg(long, env = "MILLRACE_MAX_TRANSPORTS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_transports: u32,

    /// Most DTLS handshakes under way at a time, of up to 55 kB each with the transport that it leads to; more wait
    /// for the clients' retransmissions, a second or longer
    #[arg(long, env = "MILLRACE_MAX_HANDSHAKES", default_value_t = 2_048, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_handshakes: u32,

    /// Longest DTLS handshake, in milliseconds
    #[arg(long, env = "MILLRACE_HANDSHAKE_TIMEOUT_MS", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    pub handshake_timeout_ms: u32,

    /// Where clients' packets are received: `auto` gives a publisher and its subscribers to one worker, and the kernel a
    /// BPF program that delivers their packets there, where it permits that (CAP_BPF); `off` lets the kernel's hash
    /// decide
    #[arg(long, env = "MILLRACE_STEER", value_enum, default_value_t = Steer::Auto)]
    pub steer: Steer,

    /// How packets leave: by the `socket`; or, to take a fifth or a quarter off the cost of one behind a network card, by
    /// the `card`, as Ethernet frames past the kernel's IP stack (CAP_NET_RAW, Linux 6.2). No firewall rule for outgoing
    /// packets, no IPsec and no NAT of this host applies to them then; where there is no plain Ethernet it is the socket
    #[arg(long, env = "MILLRACE_SEND_BY", value_enum, default_value_t = SendBy::Socket)]
    pub send_by: SendBy,

    /// Whether to pin each worker to a core
    #[arg(long, env = "MILLRACE_PIN", default_value_t = true, action = ArgAction::Set)]
    pub pin: bool,

    /// Generic segmentation offload, many datagrams in one system call: `auto` asks the kernel; `auto` and `on`
    /// both fall back where a device refuses
    #[arg(long, env = "MILLRACE_GSO", value_enum, default_value_t = Gso::Auto)]
    pub gso: Gso,
}

impl Config {
    /// The defaults, as with no flags; the environment is not looked at.
    pub fn defaults() -> Self {
        Self {
            workers: None,
            media_port: 40_000,
            bind: Vec::new(),
            announce: Vec::new(),
            control_socket: PathBuf::from("/run/millrace/dataplane.sock"),
            log_format: LogFormat::Auto,
            log: "info".to_owned(),
            buffer_mib: 512,
            max_transports: 10_000,
            max_handshakes: 2_048,
            handshake_timeout_ms: 20_000,
            steer: Steer::Auto,
            send_by: SendBy::Socket,
            pin: true,
            gso: Gso::Auto,
        }
    }

    /// Number of workers: as configured, or one per core that this process may use.
    pub fn worker_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.map_or_else(cores, usize::from).min(MAX_WORKERS)
    }

    /// Longest DTLS handshake.
    pub fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.handshake_timeout_ms))
    }
}

/// One announced address; the port is the media port when not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The address.
    pub ip: IpAddr,
    /// The port, when another one is forwarded to the media port.
    pub port: Option<u16>,
}

impl FromStr for Announced {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self { ip, port: None });
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Ok(Self { ip: address.ip(), port: Some(address.port()) }),
            _ => Err(format!("`{text}` is neither an IP address nor ip:port")),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// Whether to decide which worker a client's packets reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Steer {
    /// If there are several workers and the kernel permits it.
    Auto,
    /// Never.
    Off,
}

/// How packets leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SendBy {
    /// By the UDP socket.
    Socket,
    /// As frames where there is plain Ethernet, past the kernel's IP stack.
    Card,
}

/// Whether to use `UDP_SEGMENT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Gso {
    /// If the kernel knows it.
    Auto,
    /// Without asking.
    On,
    /// Never.
    Off,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound_and_every_key_has_help_and_an_environment_name() {
        let command = Config::command();
        command.clone().debug_assert();
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{} has no help", arg.get_id());
            let env = arg.get_env().unwrap_or_else(|| panic!("{} has no environment name", arg.get_id()));
            assert!(env.to_string_lossy().starts_with("MILLRACE_"));
        }
    }

    #[test]
    fn no_flags_give_the_documented_defaults() {
        let parsed = Config::try_parse_from(["millrace-dataplane"]).unwrap();
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Config::defaults()));
    }

    #[test]
    fn addresses_may_have_a_port() {
        let flags = ["x", "--announce", "192.0.2.1,192.0.2.2:4000,[2001:db8::1]:5000,2001:db8::2", "--gso", "off"];
        let config = Config::try_parse_from(flags).unwrap();
        let ports: Vec<_> = config.announce.iter().map(|announced| announced.port).collect();
        assert_eq!(ports, [None, Some(4000), Some(5000), None]);
        assert_eq!(config.gso, Gso::Off);
        assert!(Config::try_parse_from(["x", "--announce", "example.org"]).is_err());
        assert!(Config::try_parse_from(["x", "--workers", "0"]).is_err());
    }
}
