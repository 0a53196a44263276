//! The parts as one HTTP server.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::RustlsConfig;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::config::Config;
use crate::dataplane::Client;
use crate::error::Error;
use crate::eventlog::{Destinations, EventLog};
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::openvidu::{Hub, Settings, compat, rest, ws};
use crate::store::Keeping;
use crate::{page, tls};

/// How long connections may take to end once the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// Serves with this configuration until SIGINT or SIGTERM.
///
/// # Errors
/// [`Error`] when it cannot start, or serving fails.
pub async fn run(config: &Config) -> Result<(), Error> {
    // A second provider would be another program's; ours is the one that the crate is built with.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    let tls = if config.tls { Some(RustlsConfig::from_config(tls::server_config(config)?)) } else { None };
    let listener = listen(config)?;
    let dataplane = Client::spawn(config.control_socket.clone());
    let destinations = Destinations::from_config(config);
    let keeping = Keeping::in_folder(&config.data_dir)?;
    let app = App::keeping(Settings::from_config(config), config.demo, dataplane, destinations, keeping)?;
    let running = app.serve(listener, tls)?;
    tracing::info!(address = %running.address, url = Settings::from_config(config).public_url(), "serving");
    let [interrupt, terminate] = &mut signals;
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
    };
    running.until(stop).await
}

fn listen(config: &Config) -> Result<TcpListener, Error> {
    let mut failed = None;
    for address in config.listen_addresses() {
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(source) => failed = failed.or(Some(Error::Listen { address, source })),
        }
    }
    Err(failed.unwrap_or_else(|| std::io::Error::from(std::io::ErrorKind::AddrNotAvailable).into()))
}

/// One control plane.
#[derive(Clone)]
pub struct App {
    hub: Arc<Hub>,
    dataplane: Client,
    metrics: Metrics,
    events: EventLog,
    demo: bool,
}

/// A control plane that serves.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    app: App,
    handle: Handle<SocketAddr>,
    task: JoinHandle<std::io::Result<()>>,
}

impl App {
    /// Puts the parts together, with events that go nowhere and nothing that outlives it. Call inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Metrics`] when two metrics have one name.
    pub fn new(settings: Settings, demo: bool, dataplane: Client) -> Result<Self, Error> {
        Self::keeping(settings, demo, dataplane, Destinations::default(), Keeping::in_memory())
    }

    /// Puts the parts together, and goes on with what was kept. Call inside a tokio runtime, with a rustls provider
    /// installed.
    ///
    /// # Errors
    /// [`Error::Metrics`] when two metrics have one name, [`Error::Events`] when events cannot be kept,
    /// [`Error::Store`] when what was kept cannot be read.
    pub fn keeping(
        settings: Settings,
        demo: bool,
        dataplane: Client,
        destinations: Destinations,
        keeping: Keeping,
    ) -> Result<Self, Error> {
        let metrics = Metrics::new(&dataplane)?;
        let events = EventLog::start(destinations, &metrics.events)?;
        let hub = Hub::start(settings, dataplane.clone(), metrics.clone(), events.clone(), keeping)?;
        Ok(Self { hub, dataplane, metrics, events, demo })
    }

    /// Everything that is served.
    pub fn router(&self) -> Router {
        let sockets = Router::new()
            .route("/openvidu", get(signalling))
            .route("/healthz", get(health))
            .route("/metrics", get(metrics))
            .with_state(self.clone());
        let inner = sockets
            .merge(rest::routes(self.hub.clone()))
            .merge(page::routes(self.hub.clone(), self.demo))
            .layer(DefaultBodyLimit::max(rest::MAX_BODY));
        // The layers of this outer router run before the inner one looks at the path, so that it can be rewritten.
        Router::new()
            .fallback_service(inner)
            .layer(from_fn_with_state(self.hub.clone(), rest::rewrite))
            .layer(from_fn(rest::envelope))
            .layer(from_fn(trace))
    }

    /// Serves on a listening socket, with TLS when there is a configuration for it.
    ///
    /// # Errors
    /// [`Error::Serve`] when the socket cannot be used.
    pub fn serve(self, listener: TcpListener, tls: Option<RustlsConfig>) -> Result<Running, Error> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let service = self.router().into_make_service_with_connect_info::<SocketAddr>();
        let handle = Handle::new();
        // Signalling is small frames, often two in a row: with Nagle's algorithm the second would wait for the client's
        // delayed acknowledgement, some 40 ms.
        let task = match tls {
            Some(tls) => {
                let server = axum_server::from_tcp_rustls(listener, tls)?.handle(handle.clone());
                let server = server.map(|acceptor| acceptor.acceptor(NoDelayAcceptor::new()));
                tokio::spawn(server.serve(service))
            }
            None => {
                let server = axum_server::from_tcp(listener)?.handle(handle.clone()).acceptor(NoDelayAcceptor::new());
                tokio::spawn(server.serve(service))
            }
        };
        Ok(Running { address, app: self, handle, task })
    }
}

impl Running {
    /// Ends all sessions, then the server, and lets their last events go out.
    ///
    /// # Errors
    /// [`Error::Serve`] when serving had failed before.
    pub async fn stop(self) -> Result<(), Error> {
        self.app.hub.stop().await;
        self.handle.graceful_shutdown(Some(GRACE));
        let (ended, ()) = tokio::join!(self.task, self.app.events.stop());
        self.app.hub.tidy();
        finished(ended)
    }

    /// Waits until the server ends by itself, or `signal` comes; then stops.
    ///
    /// # Errors
    /// [`Error::Serve`] when serving fails.
    pub async fn until(mut self, signal: impl Future<Output = ()>) -> Result<(), Error> {
        tokio::select! {
            ended = &mut self.task => return finished(ended),
            () = signal => {}
        }
        self.stop().await
    }
}

fn finished(ended: Result<std::io::Result<()>, tokio::task::JoinError>) -> Result<(), Error> {
    ended.map_err(std::io::Error::other)?.map_err(Error::Serve)
}

async fn health(State(app): State<App>) -> Response {
    let connected = app.dataplane.hello().borrow().is_some();
    let status = if connected { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ok": connected, "dataPlaneConnected": connected}))).into_response()
}

async fn metrics(State(app): State<App>) -> Response {
    app.hub.measure();
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], app.metrics.render()).into_response()
}

/// `GET /openvidu`: the signalling socket. The HTTP session cookie gives `finalUserId` its value.
async fn signalling(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if app.hub.metrics.sockets.get() >= ws::MAX_SOCKETS {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many signalling sockets are open").into_response();
    }
    let known = cookie(&headers).filter(|value| value.len() == 32 && value.bytes().all(|b| b.is_ascii_hexdigit()));
    let (value, fresh) = match known {
        Some(value) => (value.to_owned(), false),
        None => (compat::cookie_value(), true),
    };
    let visitor =
        ws::Visitor { user: value[..16].to_owned(), address: rest::client_address(&headers, peer).to_string() };
    let upgrade = upgrade.max_message_size(ws::MAX_READ).max_frame_size(ws::MAX_READ);
    let span = tracing::info_span!(parent: None, "socket", address = visitor.address);
    let mut response = upgrade.on_upgrade(move |socket| ws::serve(app.hub.clone(), visitor, socket).instrument(span));
    let cookie = format!("{}={value}; Path=/openvidu; HttpOnly; SameSite=Lax", compat::COOKIE);
    if let (true, Ok(cookie)) = (fresh, HeaderValue::try_from(cookie)) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == compat::COOKIE).map(|(_, value)| value)
}

/// One span per request, with a number to find it by.
async fn trace(request: Request<Body>, next: Next) -> Response {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // Queries are left out: some carry tokens.
    let span = tracing::info_span!("http", request = number, method = %request.method(), path = request.uri().path());
    async move {
        let response = next.run(request).await;
        tracing::debug!(status = response.status().as_u16(), "answered");
        response
    }
    .instrument(span)
    .await
}
