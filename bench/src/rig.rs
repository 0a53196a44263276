//! One shard, publishers of video, and any number of subscribers: frames of sealed packets in, sealed runs out.
//! Everything a packet meets on a worker is here but the system calls.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dataplane_core::srtp::Outbound;
use dataplane_core::wire::ext::ExtWriter;
use dataplane_core::wire::rtcp::RtcpWriter;
use dataplane_core::wire::stun::{self, IntegrityKey, Role};
use dataplane_core::{
    Claims, Datagram, Duration, HandshakeInput, Instant, Limits, Output, Path, Shard, ShardCommand, ShardConfig,
    SrtpKeys, TxBatch,
};
use dataplane_protocol::{
    Codec, CodecParameters, CreateTransport, ExtensionKind, HeaderExtension, MediaKind, Publish, SrtpProfile,
    Subscribe, TransportId, WorkerStats,
};

/// Packets of one frame: 1.5 Mbps at 30 frames per second and 1,200 B.
pub const FRAME: usize = 5;
/// Bytes of a received datagram, without IP and UDP.
pub const DATAGRAM: usize = 1_200;

/// SSRC of the first publisher; those of the others follow, two apart, with their RTX between.
const SSRC: u32 = 0x0bad_ca00;

/// A claim table for one worker.
#[derive(Debug, Default)]
struct Alone(Cell<u32>);

impl Claims for Alone {
    fn owner(&self, _slot: u32) -> Option<u32> {
        Some(0)
    }

    fn claim(&self, _slot: u32, worker: u32) -> u32 {
        self.0.set(self.0.get() + 1);
        worker
    }
}

/// What a rig is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rooms of one publisher each.
    pub rooms: usize,
    /// Subscribers in each room.
    pub subscribers: usize,
    /// How media is protected.
    pub profile: SrtpProfile,
    /// The subscribers' port.
    pub port: u16,
    /// Where publishers send from; `None` for addresses of their own. With more than one room they need those.
    pub publisher: Option<Path>,
}

/// The shard and its publishers.
#[derive(Debug)]
pub struct Rig {
    shard: Shard,
    claims: Alone,
    now: Instant,
    publishers: Vec<Publisher>,
    /// Whose frame comes next.
    turn: usize,
    clients: Clients,
}

/// A sending client: seals frames.
struct Publisher {
    /// Bytes that sealing adds.
    tag: usize,
    path: Path,
    ssrc: u32,
    index: u64,
    frames: u32,
    /// Packets that are sealed already, and where the next frame of them begins.
    ahead: Vec<Vec<u8>>,
    next: usize,
}

/// What all clients share: their keys are the same.
struct Clients {
    srtp: Outbound,
    /// Index of the repairs, on the RTX stream of the first publisher.
    repairs: u64,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("index", &self.index).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").field("repairs", &self.repairs).finish_non_exhaustive()
    }
}

/// Where subscriber number `n` is: its own loopback address, all on one port.
pub fn subscriber_path(n: usize, port: u16) -> Path {
    let [_, a, b, c] = (n as u32 + 2).to_be_bytes();
    let remote = SocketAddr::from((Ipv4Addr::new(127, 10 + a, b, c), port));
    Path { remote, local: IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

/// Master keys of a profile; the same everywhere, as only their length matters.
pub fn keys(profile: SrtpProfile) -> SrtpKeys {
    let (key, salt) = match profile {
        SrtpProfile::AeadAes256Gcm => (32, 12),
        SrtpProfile::AeadAes128Gcm => (16, 12),
        SrtpProfile::Aes128CmSha1_80 | SrtpProfile::None => (16, 14),
    };
    SrtpKeys {
        profile,
        local_key: vec![1; key],
        local_salt: vec![2; salt],
        remote_key: vec![3; key],
        remote_salt: vec![4; salt],
    }
}

/// Bytes of a profile's authentication tag.
pub fn tag_len(profile: SrtpProfile) -> usize {
    if profile == SrtpProfile::Aes128CmSha1_80 { 10 } else { 16 }
}

impl Rig {
    /// A connected call of one publisher and `subscribers` subscribers, the latter on `port`.
    ///
    /// # Panics
    /// If the profile is `None`: the bench has nothing to seal with then.
    pub fn new(subscribers: usize, profile: SrtpProfile, port: u16) -> Self {
        Self::with(Plan { rooms: 1, subscribers, profile, port, publisher: None })
    }

    /// Connected calls as planned.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn with(plan: Plan) -> Self {
        let limits =
            Limits { max_control_queue: 1 << 20, max_outputs: 1 << 20, max_buffer_bytes: 4 << 30, ..Limits::default() };
        let config = ShardConfig { worker: 0, workers: 1, seed: 7, unix_micros_at_zero: 1_790_000_000_000_000, limits };
        let mut rig = Self {
            shard: Shard::new(config),
            claims: Alone::default(),
            now: Instant::from_micros(1_000_000),
            publishers: Vec::new(),
            turn: 0,
            clients: Clients { srtp: client_srtp(plan.profile), repairs: 1 },
        };
        for room in 0..plan.rooms {
            let publisher = rig.publisher(room, &plan);
            for n in 0..plan.subscribers {
                let n = room * plan.subscribers + n;
                let transport = subscriber_id(n);
                rig.connect(transport, Some((subscriber_path(n, plan.port), plan.profile)));
                rig.subscribe(transport, publisher);
            }
        }
        rig
    }

    /// Connects publisher number `n` and gives it a track; returns the track's id.
    pub fn publisher(&mut self, n: usize, plan: &Plan) -> u64 {
        let (id, tag) = (publisher_id(n), tag_len(plan.profile));
        let path = plan.publisher.unwrap_or_else(|| subscriber_path((1 << 20) + n, plan.port));
        let ssrc = SSRC + 2 * n as u32;
        self.publishers.push(Publisher { tag, path, ssrc, index: 1, frames: 0, ahead: Vec::new(), next: 0 });
        self.connect(id, Some((path, plan.profile)));
        self.command(ShardCommand::Publish(publish(id, ssrc)));
        id
    }

    /// Lets a connected transport subscribe to a track.
    pub fn subscribe(&mut self, transport: u64, track: u64) {
        self.command(ShardCommand::Subscribe(subscribe(transport, track)));
    }

    /// Seals the next `frames` frames of every publisher, so that feeding them costs nothing but taking them in.
    pub fn seal_ahead(&mut self, frames: usize) {
        let Self { publishers, clients, .. } = self;
        publishers.iter_mut().for_each(|publisher| publisher.seal_ahead(&clients.srtp, frames));
    }

    /// Takes in the next frame of [`FRAME`] packets of the publisher whose turn it is; the first one is a keyframe.
    pub fn feed(&mut self) {
        self.feed_but(usize::MAX);
    }

    /// As [`Self::feed`], but the frame's packet number `lost` does not come.
    pub fn feed_but(&mut self, lost: usize) {
        let at = self.take_turn();
        let publisher = &self.publishers[at];
        for (n, bytes) in publisher.frame().iter().enumerate().filter(|(n, _)| *n != lost) {
            debug_assert!(n < FRAME);
            let Some(buffer) = self.shard.receive_buffer() else { return };
            self.shard.buffer_mut(buffer)[..bytes.len()].copy_from_slice(bytes);
            let datagram = Datagram { buffer, len: bytes.len(), path: publisher.path };
            self.shard.handle_datagram(self.now, &self.claims, datagram);
        }
        self.publishers[at].next += FRAME;
    }

    /// Gives the packets of the next frame to `send` instead of taking them in.
    pub fn send_frame(&mut self, mut send: impl FnMut(&[u8])) {
        let at = self.take_turn();
        self.publishers[at].frame().iter().for_each(|packet| send(packet));
        self.publishers[at].next += FRAME;
    }

    /// The shard, to receive into its buffers.
    pub fn shard(&mut self) -> &mut Shard {
        &mut self.shard
    }

    /// Takes in a datagram that was received into one of the shard's buffers.
    pub fn take_in(&mut self, datagram: Datagram) {
        self.shard.handle_datagram(self.now, &self.claims, datagram);
    }

    /// Runs what is due.
    pub fn run_timers(&mut self) {
        self.shard.handle_timeout(self.now, &self.claims);
    }

    /// Sends packet number `lost` of the first publisher's last frame again, as its RTX stream.
    pub fn repair(&mut self, lost: usize) {
        let publisher = &self.publishers[0];
        let sequence = publisher.index as u16 - (FRAME - lost) as u16;
        let (path, frame, ssrc) = (publisher.path, publisher.frames - 1, publisher.ssrc);
        let tag = publisher.tag;
        let mut packet = [0; 1_500];
        let header = write_header(&mut packet, (97, lost == FRAME - 1), self.clients.repairs as u16, frame, ssrc + 1);
        packet[header..header + 2].copy_from_slice(&sequence.to_be_bytes());
        packet[header + 2..header + 4].copy_from_slice(&payload_head(lost, frame));
        let sealed = self.clients.srtp.protect_rtp(&mut packet, DATAGRAM + 2 - tag, header, self.clients.repairs);
        self.clients.repairs += 1;
        self.receive(path, &packet[..sealed.unwrap_or(0)]);
    }

    /// Lets a client at `path` send an RTCP compound.
    pub fn report(&mut self, path: Path, write: impl FnOnce(&mut RtcpWriter<'_>)) {
        let mut compound = [0; 1_500];
        let mut writer = RtcpWriter::new(&mut compound[..1_200]);
        write(&mut writer);
        let len = writer.len();
        let sealed = self.clients.srtp.protect_rtcp(&mut compound, len);
        self.receive(path, &compound[..sealed.unwrap_or(0)]);
    }

    /// Renews the consent of the first publisher and of `subscribers` subscribers.
    pub fn consent(&mut self, subscribers: usize, port: u16) {
        self.check(publisher_id(0), self.publishers[0].path, self.now.as_micros() as u32);
        for n in 0..subscribers {
            self.check(subscriber_id(n), subscriber_path(n, port), self.now.as_micros() as u32);
        }
    }

    /// Where the first publisher sends from, and the SSRC of its media.
    pub fn first_publisher(&self) -> (Path, u32) {
        (self.publishers[0].path, self.publishers[0].ssrc)
    }

    /// The time of the rig, in microseconds since 1970 of its clock.
    pub fn unix_micros(&self) -> u64 {
        1_790_000_000_000_000 + self.now.as_micros()
    }

    /// Gives everything that is to be sent to `send`, batch by batch; returns the number of datagrams.
    pub fn drain(&mut self, batch: &mut TxBatch, mut send: impl FnMut(&TxBatch)) -> u64 {
        let mut datagrams = 0;
        loop {
            let more = self.shard.poll_transmit(self.now, batch);
            datagrams += batch.runs().iter().map(|run| run.count as u64).sum::<u64>();
            send(batch);
            batch.clear();
            if !more {
                break;
            }
        }
        while self.shard.poll_output().is_some() {}
        datagrams
    }

    /// RTP packets forwarded so far, and datagrams dropped for any reason.
    pub fn counts(&mut self) -> (u64, u64) {
        let stats = self.stats();
        (stats.rtp_forwarded, Self::dropped(&stats))
    }

    /// All counters of the shard.
    pub fn stats(&mut self) -> WorkerStats {
        self.command(ShardCommand::Snapshot { token: 0 });
        let mut stats = WorkerStats::default();
        while let Some(output) = self.shard.poll_output() {
            if let Output::Snapshot { part, .. } = output {
                stats = part.stats;
            }
        }
        stats
    }

    /// Datagrams dropped for any reason.
    pub fn dropped(stats: &WorkerStats) -> u64 {
        stats.drops.iter().map(|drop| drop.count).sum()
    }

    /// Lets so many milliseconds pass.
    pub fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    /// Creates a transport; with a path, checks it and gives the transport keys.
    pub fn connect(&mut self, transport: u64, live: Option<(Path, SrtpProfile)>) {
        let spec = CreateTransport {
            transport,
            ice_ufrag: ufrag(transport),
            ice_pwd: PASSWORD.to_owned(),
            ..Default::default()
        };
        self.command(ShardCommand::CreateTransport { slot: transport as u32, spec });
        let Some((path, profile)) = live else { return };
        self.check(transport, path, 1);
        let input = HandshakeInput::Keys { transport: TransportId(transport), keys: keys(profile) };
        self.shard.handle_handshake(self.now, &self.claims, input);
        while self.shard.poll_output().is_some() {}
    }

    fn check(&mut self, transport: u64, path: Path, transaction: u32) {
        let (user, key) = (format!("{}:peer", ufrag(transport)), IntegrityKey::new(PASSWORD));
        let mut id = [1; 12];
        id[..4].copy_from_slice(&transaction.to_be_bytes());
        let mut check = [0; 1_500];
        let len = stun::write_binding_request(&mut check, id, &user, 1, Role::Controlling(1), true, &key);
        self.receive(path, &check[..len.unwrap_or(0)]);
    }

    fn receive(&mut self, path: Path, bytes: &[u8]) {
        let Some(buffer) = self.shard.receive_buffer() else { return };
        self.shard.buffer_mut(buffer)[..bytes.len()].copy_from_slice(bytes);
        self.shard.handle_datagram(self.now, &self.claims, Datagram { buffer, len: bytes.len(), path });
    }

    fn command(&mut self, command: ShardCommand) {
        self.shard.handle_command(self.now, &self.claims, command);
    }

    /// The publisher whose frame is next; a 30th of a second goes by with each round of all.
    fn take_turn(&mut self) -> usize {
        let at = self.turn;
        self.turn = (at + 1) % self.publishers.len().max(1);
        if at == 0 {
            self.now += Duration::from_millis(33);
        }
        if self.publishers[at].next >= self.publishers[at].ahead.len() {
            self.publishers[at].seal_ahead(&self.clients.srtp, 1);
        }
        at
    }
}

impl Publisher {
    /// The next frame's packets.
    fn frame(&self) -> &[Vec<u8>] {
        self.ahead.get(self.next..self.next + FRAME).unwrap_or_default()
    }

    fn seal_ahead(&mut self, srtp: &Outbound, frames: usize) {
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.resize_with(frames * FRAME, || Vec::with_capacity(1_500));
        ahead.chunks_mut(FRAME).for_each(|frame| self.seal_frame(srtp, frame));
        (self.ahead, self.next) = (ahead, 0);
    }

    fn seal_frame(&mut self, srtp: &Outbound, frame: &mut [Vec<u8>]) {
        let last = frame.len() - 1;
        for (at, packet) in frame.iter_mut().enumerate() {
            packet.resize(1_500, 0);
            let header = write_header(packet, (96, at == last), self.index as u16, self.frames, self.ssrc);
            packet[header..header + 2].copy_from_slice(&payload_head(at, self.frames));
            let sealed = srtp.protect_rtp(packet, DATAGRAM - self.tag, header, self.index);
            packet.truncate(sealed.unwrap_or(0));
            self.index += 1;
        }
        self.frames += 1;
    }
}

/// The header of a publisher's packet: two extensions of what browsers send. Returns its length.
fn write_header(packet: &mut [u8], (payload_type, marker): (u8, bool), sequence: u16, frame: u32, ssrc: u32) -> usize {
    packet[0] = 0x90;
    packet[1] = payload_type | if marker { 0x80 } else { 0 };
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[4..8].copy_from_slice(&frame.wrapping_mul(3_000).to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    let mut writer = ExtWriter::one_byte(&mut packet[12..]);
    writer.push(3, &sequence.to_be_bytes());
    writer.push(4, b"1");
    12 + writer.finish()
}

/// RFC 7741: S=1 begins a frame, P=0 makes it a keyframe.
fn payload_head(packet: usize, frame: u32) -> [u8; 2] {
    [if packet == 0 { 0x10 } else { 0 }, u8::from(frame > 0)]
}

fn client_srtp(profile: SrtpProfile) -> Outbound {
    let keys = keys(profile);
    match Outbound::new(profile, &keys.remote_key, &keys.remote_salt) {
        Ok(srtp) => srtp,
        Err(error) => panic!("{profile:?}: {error}"),
    }
}

/// The transport of publisher number `n`, and its track.
pub fn publisher_id(n: usize) -> u64 {
    1 + n as u64
}

/// The transport of subscriber number `n`, and its subscription.
pub fn subscriber_id(n: usize) -> u64 {
    (1 << 20) + n as u64
}

const PASSWORD: &str = "aPasswordOf22Characters";

fn ufrag(transport: u64) -> String {
    format!("u{transport:08}")
}

fn codec(payload_type: u32) -> CodecParameters {
    CodecParameters {
        codec: Codec::Vp8 as i32,
        payload_type,
        clock_rate: 90_000,
        rtx_payload_type: Some(payload_type + 1),
        nack: true,
        pli: true,
        transport_cc: true,
        ..Default::default()
    }
}

fn extensions(base: u32) -> Vec<HeaderExtension> {
    [ExtensionKind::AbsSendTime, ExtensionKind::TransportCc, ExtensionKind::Mid]
        .iter()
        .zip(base..)
        .map(|(kind, id)| HeaderExtension { kind: *kind as i32, id })
        .collect()
}

fn publish(transport: u64, ssrc: u32) -> Publish {
    Publish {
        track: transport,
        transport,
        kind: MediaKind::Video as i32,
        mid: "1".to_owned(),
        codec: Some(codec(96)),
        ssrc: Some(ssrc),
        rtx_ssrc: Some(ssrc + 1),
        extensions: extensions(2),
        ..Default::default()
    }
}

fn subscribe(transport: u64, track: u64) -> Subscribe {
    Subscribe {
        subscription: transport,
        transport,
        track,
        mid: "1".to_owned(),
        codec: Some(codec(100)),
        ssrc: 0x5000_0000 | transport as u32,
        rtx_ssrc: Some(0x6000_0000 | transport as u32),
        extensions: extensions(5),
        cname: "bench".to_owned(),
        ..Default::default()
    }
}
