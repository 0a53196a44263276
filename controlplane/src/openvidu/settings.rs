//! What the adapter needs of the configuration, in its own words.

use crate::config::{Config, Generation, IceServer};

/// Settings of the adapter.
#[derive(Clone)]
pub struct Settings {
    /// Password of the REST user.
    pub secret: String,
    /// Host that clients reach.
    pub domain: String,
    /// Port that clients reach.
    pub https_port: u16,
    /// Clients reach it without TLS.
    pub plain_http: bool,
    /// Announced in `joinRoom`: `mediasoup` (the server offers to subscribers) or `kurento` (clients offer).
    pub media_server: String,
    /// Default of a session's `forcedVideoCodec`.
    pub forced_video_codec: String,
    /// Default of a session's `allowTranscoding`; echoed only.
    pub allow_transcoding: bool,
    /// Whether clients are asked for simulcast; they only do it when `media_server` is `mediasoup`.
    pub simulcast: bool,
    /// From a client, in kbps; 0: unlimited.
    pub max_receive_kbps: u32,
    /// From a client, in kbps; echoed only.
    pub min_receive_kbps: u32,
    /// To a client, in kbps; echoed only.
    pub max_send_kbps: u32,
    /// To a client, in kbps; echoed only.
    pub min_send_kbps: u32,
    /// Seconds between collections of unused sessions; 0: never.
    pub garbage_interval_s: u64,
    /// Age in seconds from which an unused session is collected.
    pub garbage_threshold_s: u64,
    /// TURN host given to clients.
    pub coturn_ip: String,
    /// TURN port given to clients.
    pub coturn_port: u16,
    /// Secret that TURN credentials are derived from.
    pub turn_secret: String,
    /// Servers given to clients whose connection names none.
    pub ice_servers: Vec<IceServer>,
    /// Old paths (`/api/…`) work too.
    pub deprecated_api: bool,
    /// Whose answers are given where OpenVidu's generations differ.
    pub compat: Generation,
    /// There is a recorder, which also broadcasts: without it, recording and broadcasting answer 501.
    pub recorder: bool,
    /// Test conveniences, such as connection ids chosen by the application.
    pub dev: bool,
}

impl Settings {
    /// From the process's configuration.
    pub fn from_config(config: &Config) -> Self {
        let streams = &config.streams;
        Self {
            secret: config.secret.clone(),
            domain: config.domain_or_public_ip.clone(),
            https_port: config.https_port,
            plain_http: config.force_plain_http,
            media_server: config.media_server.name().to_owned(),
            forced_video_codec: streams.forced_video_codec.name().to_owned(),
            allow_transcoding: streams.allow_transcoding,
            simulcast: config.simulcast,
            max_receive_kbps: streams.max_receive_kbps,
            min_receive_kbps: streams.min_receive_kbps,
            max_send_kbps: streams.max_send_kbps,
            min_send_kbps: streams.min_send_kbps,
            garbage_interval_s: u64::from(config.garbage_interval_s),
            garbage_threshold_s: u64::from(config.garbage_threshold_s),
            coturn_ip: config.coturn_host.clone(),
            coturn_port: config.coturn_port,
            turn_secret: config.coturn_secret.clone(),
            ice_servers: config.ice_servers.clone(),
            deprecated_api: config.support_deprecated_api,
            compat: config.compat,
            recorder: false,
            dev: config.openvidu_dev,
        }
    }

    /// The public URL, without a trailing slash.
    pub fn public_url(&self) -> String {
        format!("{}://{}", if self.plain_http { "http" } else { "https" }, self.authority())
    }

    /// The URL that tokens begin with.
    pub fn socket_url(&self) -> String {
        format!("{}://{}", if self.plain_http { "ws" } else { "wss" }, self.authority())
    }

    fn authority(&self) -> String {
        match self.https_port {
            443 => self.domain.clone(),
            port => format!("{}:{port}", self.domain),
        }
    }
}
