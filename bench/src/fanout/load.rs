//! The load: one thread that sends what is due and receives what has come, and counts what should have come against
//! what did.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::ops::Range;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use dataplane_core::wire::stun::IntegrityKey;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::drivers::{Failure, Media, ServerEnd};
use crate::fanout::inbound::{Arrival, Subscriber, is_media};
use crate::fanout::path::{CLIENT_PORT, Keys, Role, request, session_address, subscriber_number};
use crate::fanout::publisher::{Publisher, Track};
use crate::fanout::traffic::{AUDIO_PER_SECOND, GOLDEN_RATIO, VIDEO_FRAMES_PER_SECOND};
use crate::fanout::wire::{BATCH, Burst, Intake, Receiver, kernel_drops, now, own_cpu};
use crate::report::Histogram;

/// Between two checks of an endpoint's path (RFC 7675 wants one at least every 30 s).
const CHECKS: u64 = 5_000_000_000;
/// Between two looks for keyframe requests.
const LISTENING: u64 = 20_000_000;
const VIDEO: u64 = 1_000_000_000 / VIDEO_FRAMES_PER_SECOND;
const AUDIO: u64 = 1_000_000_000 / AUDIO_PER_SECOND;
/// Longest pause between two looks at what has come. The kernel stamps arrivals, so that nothing is lost by letting some
/// gather; nobody waits on the socket, so that no server pays for waking this client.
const PAUSE: u64 = 300_000;
/// What is on its way when a window closes arrives within this time, or is lost.
const DRAIN: Duration = Duration::from_millis(400);
/// A server that has forwarded nothing for so long has nothing left to forward.
const SILENCE: u64 = 150_000_000;
/// Longest wait for that: a full buffer of a server's socket takes it less than a second.
const PATIENCE: u64 = 10_000_000_000;
/// Packets opened a second, about: a few per cent of a core.
const SAMPLES: u64 = 3_000;
/// Niceness of the load's thread, as of the servers.
const NICENESS: i32 = -10;

/// What was seen between opening and closing a window.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Seconds that it was open.
    pub seconds: f64,
    /// RTP packets sent.
    pub sent: u64,
    /// RTP packets that subscribers should have got of these.
    pub expected: u64,
    /// Those that they got.
    pub received: u64,
    /// Bytes of these, as UDP payload.
    pub bytes: u64,
    /// From before the publisher's system call to the kernel's stamp of the arrival at the subscriber, in
    /// nanoseconds and shown in microseconds.
    pub latency: Histogram,
    /// Packets opened and found to be what they should.
    pub verified: u64,
    /// Packets that were not, or did not open.
    pub wrong: u64,
    /// Packets not newer than the newest of their stream: repeated or overtaken.
    pub repeated: u64,
    /// CPU seconds of this client.
    pub client_cpu: f64,
    /// Longest time by which a frame left late, in nanoseconds.
    pub late: u64,
    /// Datagrams that the kernel dropped because this client was too slow.
    pub kernel_drops: u64,
    /// Keyframes that the server asked for.
    pub keyframes_asked: u64,
}

impl Seen {
    fn nothing() -> Self {
        Self {
            seconds: 0.0,
            sent: 0,
            expected: 0,
            received: 0,
            bytes: 0,
            latency: Histogram::new(1_000.0),
            verified: 0,
            wrong: 0,
            repeated: 0,
            client_cpu: 0.0,
            late: 0,
            kernel_drops: 0,
            keyframes_asked: 0,
        }
    }

    /// Part of the expected packets that did not come.
    pub fn loss(&self) -> f64 {
        1.0 - self.received as f64 / self.expected.max(1) as f64
    }

    /// Packets received per second.
    pub fn rate(&self) -> f64 {
        self.received as f64 / self.seconds
    }

    /// Gigabits received per second, as UDP payload.
    pub fn gigabits(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.seconds / 1e9
    }

    /// Part of its core that this client used.
    pub fn client_share(&self) -> f64 {
        self.client_cpu / self.seconds
    }
}

enum Order {
    Publisher { socket: UdpSocket, keys: Keys, server: Option<ServerEnd>, media: Media, subscribers: u32 },
    Subscriber { number: u32, keys: Keys, server: Option<ServerEnd> },
    Active(Range<usize>),
    Quiet(mpsc::Sender<bool>),
    Open(mpsc::Sender<()>),
    Close(mpsc::Sender<Seen>),
    FirstMedia(mpsc::Sender<Vec<Option<u64>>>),
}

/// The running load; dropping it ends it.
pub struct Load {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts its thread on a core. `ufrag` is the client's, for its checks.
    ///
    /// # Errors
    /// When the port of the subscribers is taken.
    pub fn start(core: usize, ufrag: &str, intake: Intake) -> Result<Self, Failure> {
        let socket = Receiver::bind(CLIENT_PORT, intake)?;
        let (orders, inbox) = mpsc::channel();
        let ufrag = ufrag.to_owned();
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            let mut set = CpuSet::new();
            // Without the core or the privilege it runs all the same, and the table shows what it used.
            let _ = set.set(core);
            let _ = sched_setaffinity(Pid::from_raw(0), &set);
            let _ = rustix::process::setpriority_process(None, NICENESS);
            let mut client = Client::new(Receiver::new(socket, intake), ufrag);
            if let Err(error) = client.run(&inbox) {
                eprintln!("load: {error}");
            }
        })?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Adds a publisher, at first silent. Without a server it sends to whom its socket is connected to.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn publisher(
        &self,
        socket: UdpSocket,
        keys: Keys,
        server: Option<ServerEnd>,
        media: Media,
        subscribers: u32,
    ) -> Result<(), Failure> {
        self.order(Order::Publisher { socket, keys, server, media, subscribers })
    }

    /// Adds a subscriber.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn subscriber(&self, number: u32, keys: Keys, server: Option<ServerEnd>) -> Result<(), Failure> {
        self.order(Order::Subscriber { number, keys, server })
    }

    /// Lets these publishers send, counted in the order in which they were added, and no other.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn active(&self, publishers: Range<usize>) -> Result<(), Failure> {
        self.order(Order::Active(publishers))
    }

    /// Lets nobody send, and waits until all that was on its way has come: a server that had too much to do goes on
    /// with what its socket holds, and what is measured next would wait behind that.
    ///
    /// # Errors
    /// When media goes on coming for 10 s, or the thread has ended.
    pub fn quiet(&self) -> Result<(), Failure> {
        if self.ask(Order::Quiet)? { Ok(()) } else { Err("the server goes on sending what nobody publishes".into()) }
    }

    /// Begins to count.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn open(&self) -> Result<(), Failure> {
        self.ask(Order::Open)
    }

    /// Ends counting: what was sent since [`Load::open`], and what of it has come. Takes a little longer than what is
    /// still on its way.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn close(&self) -> Result<Seen, Failure> {
        self.ask(Order::Close)
    }

    /// When each subscriber's first media packet arrived, in nanoseconds since 1970.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn first_media(&self) -> Result<Vec<Option<u64>>, Failure> {
        self.ask(Order::FirstMedia)
    }

    fn order(&self, order: Order) -> Result<(), Failure> {
        let ended = "the load's thread has ended";
        Ok(self.orders.as_ref().ok_or(ended)?.send(order).map_err(|_| ended)?)
    }

    fn ask<T>(&self, order: impl FnOnce(mpsc::Sender<T>) -> Order) -> Result<T, Failure> {
        let (tx, rx) = mpsc::channel();
        self.order(order(tx))?;
        Ok(rx.recv().map_err(|_| "the load's thread has ended")?)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Audio(usize),
    Video(usize),
    CheckPublisher(usize),
    CheckSubscriber(usize),
    Listen,
}

/// Whose checks go where.
struct Consent {
    server: ServerEnd,
    key: IntegrityKey,
}

/// An open window: per track, the first index that counts and the first that no longer does.
struct Window {
    opened: u64,
    cpu: f64,
    drops: u64,
    keyframes: u64,
    bounds: Vec<(u64, u64)>,
    seen: Seen,
}

struct Client {
    receiver: Receiver,
    burst: Burst,
    sizes: Vec<usize>,
    ufrag: String,
    tracks: Vec<Track>,
    publishers: Vec<(Publisher, Option<Consent>)>,
    subscribers: Vec<Option<(Subscriber, Option<Consent>)>>,
    /// When each subscriber's first media packet arrived, also before it was added here.
    first_media: Vec<Option<u64>>,
    /// When media last arrived.
    last_media: u64,
    active: Range<usize>,
    due: BinaryHeap<Reverse<(u64, Task)>>,
    window: Option<Window>,
    /// One of so many packets is opened.
    sampled: u64,
    chance: u64,
    second: (u64, u64),
    late: u64,
}

impl Client {
    fn new(receiver: Receiver, ufrag: String) -> Self {
        Self {
            receiver,
            burst: Burst::new(),
            sizes: Vec::new(),
            ufrag,
            tracks: Vec::new(),
            publishers: Vec::new(),
            subscribers: Vec::new(),
            first_media: Vec::new(),
            last_media: 0,
            active: 0..0,
            due: BinaryHeap::from([Reverse((now(), Task::Listen))]),
            window: None,
            sampled: 1,
            chance: 0x2545_f491_4f6c_dd1d,
            second: (now(), 0),
            late: 0,
        }
    }

    fn run(&mut self, inbox: &mpsc::Receiver<Order>) -> Result<(), Failure> {
        loop {
            match inbox.try_recv() {
                Ok(order) => self.obey(order)?,
                Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
                Err(mpsc::TryRecvError::Empty) => {}
            }
            self.turn()?;
        }
    }

    /// Sends what is due and receives one batch; pauses when that was not a full one.
    fn turn(&mut self) -> Result<(), Failure> {
        let time = now();
        while let Some(Reverse((due, task))) = self.due.peek().copied()
            && due <= time
        {
            self.due.pop();
            self.carry_out(due, task);
        }
        if self.receive()? < BATCH {
            let next = self.due.peek().map_or(PAUSE, |Reverse((due, _))| due.saturating_sub(now()));
            std::thread::sleep(Duration::from_nanos(next.min(PAUSE)));
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) -> Result<(), Failure> {
        match order {
            Order::Publisher { socket, keys, server, media, subscribers } => {
                let audio = self.add_track(media.audio_ssrc, subscribers);
                let video = media.video_ssrc.map(|ssrc| self.add_track(ssrc, subscribers));
                let publisher = Publisher::new(socket, &keys, media, audio, video)?;
                self.due.push(Reverse((now(), Task::CheckPublisher(self.publishers.len()))));
                self.publishers.push((publisher, server.map(Consent::new)));
            }
            Order::Subscriber { number, keys, server } => {
                let at = number as usize;
                if self.subscribers.len() <= at {
                    self.subscribers.resize_with(at + 1, || None);
                }
                self.subscribers[at] = Some((Subscriber::new(&keys)?, server.map(Consent::new)));
                self.due.push(Reverse((now() + CHECKS / 2, Task::CheckSubscriber(at))));
            }
            Order::Active(publishers) => self.activate(publishers),
            Order::Quiet(done) => {
                let is_quiet = self.quiet()?;
                let _ = done.send(is_quiet);
            }
            Order::Open(done) => {
                self.open();
                let _ = done.send(());
            }
            Order::Close(done) => {
                let seen = self.close()?;
                let _ = done.send(seen);
            }
            Order::FirstMedia(done) => {
                let _ = done.send(self.first_media.clone());
            }
        }
        Ok(())
    }

    fn add_track(&mut self, ssrc: u32, subscribers: u32) -> u32 {
        let number = self.tracks.len() as u32;
        self.tracks.push(Track::new(number, ssrc, subscribers));
        number
    }

    /// Publishers begin at instants spread over a period by the golden ratio, as people's cameras do.
    fn activate(&mut self, publishers: Range<usize>) {
        let time = now();
        let publishers = publishers.start..publishers.end.min(self.publishers.len());
        for at in publishers.clone().filter(|at| !self.active.contains(at)) {
            let part = (at as f64 * GOLDEN_RATIO).fract();
            let begin = |period: u64| time + (period as f64 * part) as u64;
            self.due.push(Reverse((begin(AUDIO), Task::Audio(at))));
            if self.publishers[at].0.media().video_ssrc.is_some() {
                self.due.push(Reverse((begin(VIDEO), Task::Video(at))));
            }
        }
        // Those that are to fall silent do so when their next packet is due.
        self.due.retain(|Reverse((_, task))| match task {
            Task::Audio(at) | Task::Video(at) => publishers.contains(at),
            _ => true,
        });
        self.active = publishers;
    }

    /// Falls silent, and tells whether the server did as well.
    fn quiet(&mut self) -> Result<bool, Failure> {
        self.activate(0..0);
        let begun = now();
        loop {
            let time = now();
            if time.saturating_sub(self.last_media.max(begun)) > SILENCE {
                return Ok(true);
            }
            if time > begun + PATIENCE {
                return Ok(false);
            }
            self.turn()?;
        }
    }

    fn carry_out(&mut self, due: u64, task: Task) {
        let time = now();
        match task {
            Task::Audio(at) => {
                self.late = self.late.max(time - due);
                let (publisher, _) = &mut self.publishers[at];
                let track = &mut self.tracks[publisher.audio as usize];
                publisher.send_audio(&mut self.burst, track, time);
                self.due.push(Reverse((due + AUDIO, task)));
            }
            Task::Video(at) => {
                self.late = self.late.max(time - due);
                let (publisher, _) = &mut self.publishers[at];
                if let Some(video) = publisher.video {
                    let track = &mut self.tracks[video as usize];
                    publisher.send_video(&mut self.burst, track, time, due / VIDEO, &mut self.sizes);
                }
                self.due.push(Reverse((due + VIDEO, task)));
            }
            Task::CheckPublisher(at) => {
                let (publisher, consent) = &self.publishers[at];
                if let Some(consent) = consent {
                    let mut out = [0; 256];
                    let len = request(&mut out, &self.ufrag, &consent.server, &consent.key);
                    let _ = publisher.socket.send(&out[..len]);
                }
                self.due.push(Reverse((due + CHECKS, task)));
            }
            Task::CheckSubscriber(at) => {
                if let Some((_, Some(consent))) = &self.subscribers[at]
                    && let SocketAddr::V4(to) = consent.server.address
                    && let SocketAddr::V4(from) = session_address(Role::Subscriber(at as u32))
                {
                    let mut out = [0; 256];
                    let len = request(&mut out, &self.ufrag, &consent.server, &consent.key);
                    self.receiver.send_from(*from.ip(), SocketAddrV4::new(*to.ip(), to.port()), &out[..len]);
                }
                self.due.push(Reverse((due + CHECKS, task)));
            }
            Task::Listen => {
                for (publisher, _) in &mut self.publishers {
                    publisher.listen();
                }
                self.due.push(Reverse((time + LISTENING, task)));
            }
        }
    }

    fn receive(&mut self) -> Result<usize, Failure> {
        let Self { receiver, subscribers, first_media, last_media, tracks, window, sampled, chance, .. } = self;
        let got = receiver.receive(|to, stamp, datagram| {
            let Some(number) = subscriber_number(to).map(|number| number as usize) else { return };
            if is_media(datagram) {
                *last_media = stamp;
                if first_media.len() <= number {
                    first_media.resize(number + 1, None);
                }
                first_media[number].get_or_insert(stamp);
            }
            let Some((subscriber, _)) = subscribers.get_mut(number).and_then(Option::as_mut) else { return };
            // Xorshift: a fixed step would meet the same packet of each frame again and again.
            *chance ^= *chance << 13;
            *chance ^= *chance >> 7;
            *chance ^= *chance << 17;
            let is_sampled = chance.is_multiple_of(*sampled);
            let next = |track: u32| Some(tracks.get(track as usize)?.next());
            let arrival = subscriber.take(datagram, is_sampled, next);
            if let Some(window) = window {
                window.count(arrival, datagram.len(), stamp, tracks);
            }
        })?;
        self.second.1 += got as u64;
        let elapsed = now().saturating_sub(self.second.0);
        if elapsed > 1_000_000_000 {
            self.sampled = (self.second.1 / SAMPLES).max(1);
            self.second = (now(), 0);
        }
        Ok(got)
    }

    fn open(&mut self) {
        self.late = 0;
        self.window = Some(Window {
            opened: now(),
            cpu: own_cpu(),
            drops: kernel_drops(CLIENT_PORT),
            keyframes: self.keyframes(),
            bounds: self.tracks.iter().map(|track| (track.next(), u64::MAX)).collect(),
            seen: Seen::nothing(),
        });
    }

    fn close(&mut self) -> Result<Seen, Failure> {
        let Some(window) = &mut self.window else { return Err("no window is open".into()) };
        let closed = now();
        let (cpu, opened) = (own_cpu() - window.cpu, window.opened);
        for (bounds, track) in window.bounds.iter_mut().zip(&self.tracks) {
            bounds.1 = track.next();
        }
        let late = self.late;
        while now() < closed + DRAIN.as_nanos() as u64 {
            self.turn()?;
        }
        let keyframes = self.keyframes();
        let Some(mut window) = self.window.take() else { return Err("no window is open".into()) };
        for ((first, end), track) in window.bounds.iter().zip(&self.tracks) {
            window.seen.sent += end - first;
            window.seen.expected += (end - first) * u64::from(track.subscribers);
        }
        Ok(Seen {
            seconds: (closed - opened) as f64 / 1e9,
            client_cpu: cpu,
            late,
            kernel_drops: kernel_drops(CLIENT_PORT) - window.drops,
            keyframes_asked: keyframes - window.keyframes,
            ..window.seen
        })
    }

    fn keyframes(&self) -> u64 {
        self.publishers.iter().map(|(publisher, _)| publisher.keyframes_asked).sum()
    }
}

impl Window {
    fn count(&mut self, arrival: Arrival, len: usize, stamp: u64, tracks: &[Track]) {
        match arrival {
            Arrival::Control => {}
            Arrival::Wrong => self.seen.wrong += 1,
            Arrival::Media { track, index, is_repeated, is_verified } => {
                let Some((first, end)) = self.bounds.get(track as usize) else { return };
                if index < *first || index >= *end {
                    return;
                }
                self.seen.verified += u64::from(is_verified);
                self.seen.received += 1;
                self.seen.repeated += u64::from(is_repeated);
                self.seen.bytes += len as u64;
                if let Some(sent) = tracks.get(track as usize).and_then(|track| track.sent_at(index)) {
                    self.seen.latency.record(stamp.saturating_sub(sent));
                }
            }
        }
    }
}

impl Consent {
    fn new(server: ServerEnd) -> Self {
        Self { key: IntegrityKey::new(&server.password), server }
    }
}
