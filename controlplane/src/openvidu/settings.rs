//! What the adapter needs of the configuration, in its own words.

/// Settings of the adapter.
#[derive(Clone, Debug)]
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
    /// Old paths (`/api/…`) work too.
    pub deprecated_api: bool,
}

impl Settings {
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
