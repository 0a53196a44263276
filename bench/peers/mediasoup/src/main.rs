//! mediasoup as a server of Millrace's bench. It listens on the port given on the command line, on the loopback
//! interface, and for each line of JSON that comes on the one connection it answers with one: `publish` and `subscribe`
//! make a WebRtcTransport each and tell where it is. Publisher number n lives on worker n modulo the number of workers,
//! the second argument, with all its subscribers.
//!
//! No feedback about bandwidth is negotiated, and nothing is logged: as the bench has it with every server.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::num::{NonZeroU8, NonZeroU32};

use futures_lite::future::block_on;
use mediasoup::prelude::*;
use mediasoup::types::data_structures::{DtlsFingerprint, DtlsRole};
use mediasoup::worker::WorkerLogLevel;
use serde::{Deserialize, Serialize};

type Failure = Box<dyn std::error::Error>;

/// Of the crate, as Cargo.toml pins it.
const VERSION: &str = "0.33.1";
const AUDIO_PAYLOAD_TYPE: u8 = 111;
const VIDEO_PAYLOAD_TYPE: u8 = 96;
/// Bytes asked of the kernel for each direction of a worker's socket, of which it grants what it is set to.
const SOCKET_BUFFER: u32 = 4 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Request {
    Publish { fingerprint: Vec<u8>, audio: u32, video: Option<u32> },
    Subscribe { fingerprint: Vec<u8>, publisher: usize },
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ready { version: &'static str },
    End { address: String, ufrag: String, password: String },
    Refused(String),
}

/// What must live as long as the process.
struct Server {
    /// One for each worker, and its socket, which all its transports share: that is cheaper than a socket for each.
    workers: Vec<(Router, WebRtcServer)>,
    publishers: Vec<Vec<Producer>>,
    consumers: Vec<Consumer>,
    transports: Vec<WebRtcTransport>,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().ok_or("usage: mediasoup-under-test PORT WORKERS")?.parse()?;
    let workers: usize = arguments.next().unwrap_or_else(|| "1".to_owned()).parse()?;
    let mut server = block_on(Server::start(workers))?;
    let (stream, _) = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.accept()?;
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    say(&mut out, &Answer::Ready { version: VERSION })?;
    for line in BufReader::new(stream).lines() {
        let answer = serde_json::from_str(&line?)
            .map_err(Failure::from)
            .and_then(|request| block_on(server.answer(request)))
            .unwrap_or_else(|error| Answer::Refused(error.to_string()));
        say(&mut out, &answer)?;
    }
    Ok(())
}

fn say(out: &mut impl Write, answer: &Answer) -> Result<(), Failure> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    Ok(out.write_all(line.as_bytes())?)
}

impl Server {
    async fn start(workers: usize) -> Result<Self, Failure> {
        let manager = WorkerManager::new();
        let listen = ListenInfo {
            protocol: Protocol::Udp,
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            announced_address: None,
            expose_internal_ip: false,
            port: None,
            port_range: None,
            flags: None,
            send_buffer_size: Some(SOCKET_BUFFER),
            recv_buffer_size: Some(SOCKET_BUFFER),
        };
        let mut made = Vec::new();
        for _ in 0..workers.max(1) {
            let mut settings = WorkerSettings::default();
            settings.log_level = WorkerLogLevel::Error;
            settings.log_tags = Vec::new();
            let worker = manager.create_worker(settings).await?;
            let options = WebRtcServerOptions::new(WebRtcServerListenInfos::new(listen.clone()));
            let socket = worker.create_webrtc_server(options).await?;
            made.push((worker.create_router(RouterOptions::new(codecs())).await?, socket));
        }
        Ok(Self { workers: made, publishers: Vec::new(), consumers: Vec::new(), transports: Vec::new() })
    }

    async fn answer(&mut self, request: Request) -> Result<Answer, Failure> {
        match request {
            Request::Publish { fingerprint, audio, video } => {
                let transport = self.transport(self.publishers.len(), fingerprint).await?;
                let mut wanted = vec![(MediaKind::Audio, audio)];
                wanted.extend(video.map(|ssrc| (MediaKind::Video, ssrc)));
                let mut producers = Vec::new();
                for (kind, ssrc) in wanted {
                    producers.push(transport.produce(ProducerOptions::new(kind, sent(kind, ssrc))).await?);
                }
                self.publishers.push(producers);
                self.keep(transport)
            }
            Request::Subscribe { fingerprint, publisher } => {
                let transport = self.transport(publisher, fingerprint).await?;
                for producer in self.publishers.get(publisher).ok_or("no such publisher")? {
                    let capabilities = RtpCapabilities { codecs: codecs(), ..RtpCapabilities::default() };
                    let options = ConsumerOptions::new(producer.id(), capabilities);
                    self.consumers.push(transport.consume(options).await?);
                }
                self.keep(transport)
            }
        }
    }

    /// A transport for a client that is the DTLS client and nominates.
    async fn transport(&self, publisher: usize, fingerprint: Vec<u8>) -> Result<WebRtcTransport, Failure> {
        let (router, socket) = &self.workers[publisher % self.workers.len()];
        let mut options = WebRtcTransportOptions::new_with_server(socket.clone());
        options.enable_tcp = false;
        options.enable_bwe = false;
        let transport = router.create_webrtc_transport(options).await?;
        let value = fingerprint.try_into().map_err(|_| "a fingerprint of 32 bytes is wanted")?;
        let fingerprints = vec![DtlsFingerprint::Sha256 { value }];
        let dtls_parameters = DtlsParameters { role: DtlsRole::Client, fingerprints };
        transport.connect(WebRtcTransportRemoteParameters { dtls_parameters }).await?;
        Ok(transport)
    }

    fn keep(&mut self, transport: WebRtcTransport) -> Result<Answer, Failure> {
        let candidate = transport.ice_candidates().first().ok_or("no candidate")?;
        let end = Answer::End {
            address: format!("{}:{}", candidate.address, candidate.port),
            ufrag: transport.ice_parameters().username_fragment.clone(),
            password: transport.ice_parameters().password.clone(),
        };
        self.transports.push(transport);
        Ok(end)
    }
}

/// What all clients can do, and what they ask to be told.
fn codecs() -> Vec<RtpCodecCapability> {
    vec![
        RtpCodecCapability::Audio {
            mime_type: MimeTypeAudio::Opus,
            preferred_payload_type: Some(AUDIO_PAYLOAD_TYPE),
            clock_rate: NonZeroU32::new(48_000).unwrap_or(NonZeroU32::MIN),
            channels: NonZeroU8::new(2).unwrap_or(NonZeroU8::MIN),
            parameters: RtpCodecParametersParameters::default(),
            rtcp_feedback: Vec::new(),
        },
        RtpCodecCapability::Video {
            mime_type: MimeTypeVideo::Vp8,
            preferred_payload_type: Some(VIDEO_PAYLOAD_TYPE),
            clock_rate: NonZeroU32::new(90_000).unwrap_or(NonZeroU32::MIN),
            parameters: RtpCodecParametersParameters::default(),
            rtcp_feedback: vec![RtcpFeedback::Nack, RtcpFeedback::NackPli],
        },
    ]
}

/// One stream of a publisher, without header extensions.
fn sent(kind: MediaKind, ssrc: u32) -> RtpParameters {
    RtpParameters {
        codecs: codecs().into_iter().filter_map(|codec| as_sent(kind, codec)).collect(),
        encodings: vec![RtpEncodingParameters { ssrc: Some(ssrc), ..RtpEncodingParameters::default() }],
        ..RtpParameters::default()
    }
}

fn as_sent(wanted: MediaKind, codec: RtpCodecCapability) -> Option<RtpCodecParameters> {
    match (wanted, codec) {
        (
            MediaKind::Audio,
            RtpCodecCapability::Audio { mime_type, clock_rate, channels, parameters, rtcp_feedback, .. },
        ) => Some(RtpCodecParameters::Audio {
            mime_type,
            payload_type: AUDIO_PAYLOAD_TYPE,
            clock_rate,
            channels,
            parameters,
            rtcp_feedback,
        }),
        (MediaKind::Video, RtpCodecCapability::Video { mime_type, clock_rate, parameters, rtcp_feedback, .. }) => {
            Some(RtpCodecParameters::Video {
                mime_type,
                payload_type: VIDEO_PAYLOAD_TYPE,
                clock_rate,
                parameters,
                rtcp_feedback,
            })
        }
        _ => None,
    }
}
