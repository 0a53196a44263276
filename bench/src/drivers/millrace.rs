//! Millrace's own data plane, the release binary beside this program, driven over its control socket.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use dataplane_protocol::{
    Codec, CodecParameters, Command, CreateTransport, DtlsRole, Fingerprint, FromDataPlane, Hello, MediaKind, Message,
    Outcome, Publish, RemoteParameters, Stats, StatsRequest, Subscribe, ToDataPlane, decode, encode,
};

use crate::drivers::{
    AUDIO_PAYLOAD_TYPE, ClientEnd, Counters, Driver, Failure, Media, Plan, Process, Server, ServerEnd,
    VIDEO_PAYLOAD_TYPE,
};

/// Longest wait for the process to serve, and for each answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The data plane.
#[derive(Clone, Debug, Default)]
pub struct Millrace {
    /// Further flags of `millrace-dataplane`, to compare settings with.
    pub flags: Vec<String>,
    /// Another build of it, to compare with; `None`: the one beside this program.
    pub program: Option<PathBuf>,
}

struct Running {
    process: Process,
    control: Control,
    folder: PathBuf,
    address: SocketAddr,
    software: String,
    transports: u64,
    /// What each publisher sends, by its number.
    /// Each publisher's transport and what it sends.
    published: Vec<(u64, Media)>,
}

fn beside_this() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    // Tests live one folder below the binaries.
    let mut places = own.ancestors().skip(1).take(2).map(|folder| folder.join("millrace-dataplane"));
    Ok(places
        .find(|path| path.exists())
        .ok_or("millrace-dataplane is not beside this program; `make build` makes it")?)
}

impl Driver for Millrace {
    fn name(&self) -> String {
        let mut name = "Millrace".to_owned();
        if let Some(program) = &self.program {
            name = format!("{name} at {}", program.display());
        }
        if self.flags.is_empty() { name } else { format!("{name} {}", self.flags.join(" ")) }
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Server>, Failure> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let program = match &self.program {
            Some(program) => program.clone(),
            None => beside_this()?,
        };
        let name = format!("millrace-fanout-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        let (socket, log) = (folder.join("control.sock"), folder.join("log"));
        let mut arguments = ["--media-port", "0", "--bind", "127.0.0.1", "--announce", "127.0.0.1", "--log", "warn"]
            .map(str::to_owned)
            .to_vec();
        arguments.extend(["--workers".to_owned(), plan.workers.to_string()]);
        arguments.extend(["--max-transports".to_owned(), "50000".to_owned()]);
        arguments.extend(["--control-socket".to_owned(), socket.display().to_string()]);
        arguments.extend(self.flags.clone());
        let mut process = Process::start(&program, &arguments, &[], plan, &log)?;
        process.wait_for("the data plane's control socket", PATIENCE, &log, || UnixStream::connect(&socket).is_ok())?;
        let mut control = Control::connect(&socket)?;
        let hello = Hello { version: dataplane_protocol::VERSION, software: "millrace-bench".to_owned() };
        let Outcome::Hello(hello) = control.call(Command::Hello(hello))? else { return Err("no hello".into()) };
        let candidate = hello.candidates.first().ok_or("a data plane without addresses")?;
        let address = SocketAddr::new(candidate.address.parse()?, candidate.port.try_into()?);
        let software = hello.software;
        Ok(Box::new(Running { process, control, folder, address, software, transports: 0, published: Vec::new() }))
    }
}

impl Server for Running {
    fn version(&self) -> String {
        self.software.clone()
    }

    fn process(&self) -> &Process {
        &self.process
    }

    fn publish(&mut self, client: &ClientEnd, media: Media) -> Result<ServerEnd, Failure> {
        let (transport, end) = self.transport(client, None)?;
        for (kind, ssrc) in tracks(media) {
            self.control.done(Command::Publish(Publish {
                track: track(self.published.len(), kind),
                transport,
                kind: kind as i32,
                mid: mid(kind),
                codec: Some(codec(kind)),
                ssrc: Some(ssrc),
                ..Default::default()
            }))?;
        }
        self.published.push((transport, media));
        Ok(end)
    }

    fn subscribe(&mut self, client: &ClientEnd, publisher: usize) -> Result<ServerEnd, Failure> {
        let (source, media) = *self.published.get(publisher).ok_or("no such publisher")?;
        let (transport, end) = self.transport(client, Some(source))?;
        for (kind, _) in tracks(media) {
            self.control.done(Command::Subscribe(Subscribe {
                subscription: 2 * transport + kind as u64,
                transport,
                track: track(publisher, kind),
                mid: mid(kind),
                codec: Some(codec(kind)),
                ssrc: 0x4000_0000 | (2 * transport as u32 + kind as u32),
                cname: "bench".to_owned(),
                ..Default::default()
            }))?;
        }
        Ok(end)
    }

    fn counters(&mut self) -> Result<Option<Counters>, Failure> {
        let Outcome::Stats(stats) = self.control.call(Command::Stats(StatsRequest {}))? else {
            return Err("no statistics".into());
        };
        Ok(Some(sum(&stats)))
    }
}

impl Running {
    fn transport(&mut self, client: &ClientEnd, near: Option<u64>) -> Result<(u64, ServerEnd), Failure> {
        self.transports += 1;
        let transport = self.transports;
        let end = ServerEnd {
            address: self.address,
            ufrag: format!("u{transport:06}"),
            password: format!("passwordOfTransport{transport:06}"),
        };
        self.control.done(Command::CreateTransport(CreateTransport {
            transport,
            ice_ufrag: end.ufrag.clone(),
            ice_pwd: end.password.clone(),
            remote: Some(RemoteParameters {
                ice_ufrag: client.ufrag.clone(),
                ice_pwd: client.password.clone(),
                fingerprints: vec![Fingerprint { hash: "sha-256".to_owned(), digest: client.fingerprint.clone() }],
                dtls_role: DtlsRole::Server as i32,
            }),
            label: String::new(),
            near,
        }))?;
        Ok((transport, end))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One connection to the control socket. Events are read and passed over.
struct Control {
    stream: UnixStream,
    input: BytesMut,
    requests: u64,
}

impl Control {
    fn connect(socket: &std::path::Path) -> Result<Self, Failure> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, input: BytesMut::new(), requests: 0 })
    }

    fn call(&mut self, command: Command) -> Result<Outcome, Failure> {
        self.requests += 1;
        let mut frame = BytesMut::new();
        encode(&ToDataPlane { request_id: self.requests, command: Some(command) }, &mut frame);
        self.stream.write_all(&frame)?;
        let mut buffer = [0; 65_536];
        loop {
            while let Some(frame) = decode::<FromDataPlane>(&mut self.input)? {
                if let Some(Message::Reply(reply)) = frame.message {
                    return match reply.outcome {
                        Some(Outcome::Failure(failure)) => Err(format!("the data plane refuses: {failure:?}").into()),
                        Some(outcome) => Ok(outcome),
                        None => Err("an empty reply".into()),
                    };
                }
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err("the data plane closed its control socket".into()),
                got => self.input.extend_from_slice(&buffer[..got]),
            }
        }
    }

    fn done(&mut self, command: Command) -> Result<(), Failure> {
        self.call(command).map(drop)
    }
}

fn tracks(media: Media) -> impl Iterator<Item = (MediaKind, u32)> {
    let video = media.video_ssrc.map(|ssrc| (MediaKind::Video, ssrc));
    [(MediaKind::Audio, media.audio_ssrc)].into_iter().chain(video)
}

fn track(publisher: usize, kind: MediaKind) -> u64 {
    2 * publisher as u64 + 1 + kind as u64
}

fn mid(kind: MediaKind) -> String {
    (kind as i32).to_string()
}

fn codec(kind: MediaKind) -> CodecParameters {
    match kind {
        MediaKind::Audio => CodecParameters {
            codec: Codec::Opus as i32,
            payload_type: AUDIO_PAYLOAD_TYPE.into(),
            clock_rate: 48_000,
            ..Default::default()
        },
        MediaKind::Video => CodecParameters {
            codec: Codec::Vp8 as i32,
            payload_type: VIDEO_PAYLOAD_TYPE.into(),
            clock_rate: 90_000,
            nack: true,
            pli: true,
            ..Default::default()
        },
    }
}

fn sum(stats: &Stats) -> Counters {
    let mut sum = Counters { handshakes: stats.handshakes_completed, ..Default::default() };
    for worker in &stats.workers {
        sum.receive_calls += worker.receive_calls;
        sum.send_calls += worker.send_calls;
        sum.send_runs += worker.send_runs;
        sum.waits += worker.loops;
        sum.datagrams_sent += worker.datagrams_sent;
        sum.forwarded += worker.rtp_forwarded;
        sum.crossed += worker.cross_media_in;
        sum.dropped += worker.drops.iter().map(|drop| drop.count).sum::<u64>();
    }
    sum
}
