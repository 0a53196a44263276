//! Why the server does not start or ends.

/// A failure of the whole process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listening socket could not be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// What was asked for.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// No certificate.
    #[error("TLS: {0}")]
    Tls(#[from] crate::tls::TlsError),
    /// Two metrics of one name.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Events cannot be kept.
    #[error("events: {0}")]
    Events(#[from] crate::eventlog::StartError),
    /// What an earlier run kept cannot be read, or nothing can be kept.
    #[error("store: {0}")]
    Store(#[from] crate::store::StoreError),
    /// The server ended by itself.
    #[error("serving failed: {0}")]
    Serve(#[from] std::io::Error),
}
