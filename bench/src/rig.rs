//! One shard, one publisher of video, and any number of subscribers: frames of sealed packets in, sealed runs
//! out. Everything a packet meets on a worker is here but the system calls.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dataplane_core::srtp::Outbound;
use dataplane_core::wire::ext::ExtWriter;
use dataplane_core::wire::stun::{self, IntegrityKey, Role};
use dataplane_core::{
    Claims, Datagram, Duration, HandshakeInput, Instant, Limits, Output, Path, Shard, ShardCommand, ShardConfig,
    SrtpKeys, TxBatch,
};
use dataplane_protocol::{
    Codec, CodecParameters, CreateTransport, ExtensionKind, HeaderExtension, MediaKind, Publish, SrtpProfile,
    Subscribe, TransportId,
};

/// Packets of one frame: 1.5 Mbps at 30 frames per second and 1,200 B.
pub const FRAME: usize = 5;
/// Bytes of a received datagram, without IP and UDP.
pub const DATAGRAM: usize = 1_200;

const PUBLISHER: u64 = 1;
const SSRC: u32 = 0x0bad_cafe;

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

/// The shard and its publisher.
#[derive(Debug)]
pub struct Rig {
    shard: Shard,
    claims: Alone,
    now: Instant,
    publisher: Publisher,
    frame: Vec<Vec<u8>>,
}

/// The sending client: seals frames.
struct Publisher {
    srtp: Outbound,
    /// Bytes that sealing adds.
    tag: usize,
    path: Path,
    index: u64,
    frames: u32,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("index", &self.index).finish_non_exhaustive()
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
    /// A connected call of one publisher and `subscribers` subscribers, the latter on `port`, that has already
    /// forwarded its first keyframe.
    ///
    /// # Panics
    /// If the profile is `None`: the bench has nothing to seal with then.
    pub fn new(subscribers: usize, profile: SrtpProfile, port: u16) -> Self {
        let limits = Limits { max_control_queue: 1 << 20, max_outputs: 1 << 20, ..Limits::default() };
        let config = ShardConfig { worker: 0, workers: 1, seed: 7, unix_micros_at_zero: 1_790_000_000_000_000, limits };
        let keys = keys(profile);
        let srtp = match Outbound::new(profile, &keys.remote_key, &keys.remote_salt) {
            Ok(srtp) => srtp,
            Err(error) => panic!("{profile:?}: {error}"),
        };
        let path = subscriber_path(1 << 16, port);
        let publisher = Publisher { srtp, tag: tag_len(profile), path, index: 1, frames: 0 };
        let mut rig = Self {
            shard: Shard::new(config),
            claims: Alone::default(),
            now: Instant::from_micros(1_000_000),
            publisher,
            frame: vec![vec![0; 1_500]; FRAME],
        };
        rig.connect(PUBLISHER, path, &keys);
        rig.command(ShardCommand::Publish(publish()));
        for n in 0..subscribers {
            let transport = PUBLISHER + 1 + n as u64;
            rig.connect(transport, subscriber_path(n, port), &keys);
            rig.command(ShardCommand::Subscribe(subscribe(transport)));
        }
        rig
    }

    /// Takes in the next frame of [`FRAME`] packets; the first one is a keyframe.
    pub fn feed(&mut self) {
        self.publisher.seal_frame(&mut self.frame);
        self.now += Duration::from_millis(33);
        for at in 0..FRAME {
            let bytes = &self.frame[at];
            let Some(buffer) = self.shard.receive_buffer() else { return };
            self.shard.buffer_mut(buffer)[..bytes.len()].copy_from_slice(bytes);
            let datagram = Datagram { buffer, len: bytes.len(), path: self.publisher.path };
            self.shard.handle_datagram(self.now, &self.claims, datagram);
        }
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
        self.command(ShardCommand::Snapshot { token: 0 });
        let mut counts = (0, 0);
        while let Some(output) = self.shard.poll_output() {
            if let Output::Snapshot { part, .. } = output {
                counts = (part.stats.rtp_forwarded, part.stats.drops.iter().map(|drop| drop.count).sum());
            }
        }
        counts
    }

    fn command(&mut self, command: ShardCommand) {
        self.shard.handle_command(self.now, &self.claims, command);
    }

    /// Creates a transport, checks its path and gives it keys.
    fn connect(&mut self, transport: u64, path: Path, keys: &SrtpKeys) {
        let spec = CreateTransport {
            transport,
            ice_ufrag: format!("u{transport:05}"),
            ice_pwd: "aPasswordOf22Characters".to_owned(),
            ..Default::default()
        };
        let (user, key) = (format!("{}:peer", spec.ice_ufrag), IntegrityKey::new(&spec.ice_pwd));
        self.command(ShardCommand::CreateTransport { slot: transport as u32, spec });
        let Some(buffer) = self.shard.receive_buffer() else { return };
        let out = self.shard.buffer_mut(buffer);
        let len = stun::write_binding_request(out, [1; 12], &user, 1, Role::Controlling(1), true, &key).unwrap_or(0);
        self.shard.handle_datagram(self.now, &self.claims, Datagram { buffer, len, path });
        let input = HandshakeInput::Keys { transport: TransportId(transport), keys: keys.clone() };
        self.shard.handle_handshake(self.now, &self.claims, input);
    }
}

impl Publisher {
    fn seal_frame(&mut self, frame: &mut [Vec<u8>]) {
        let last = frame.len() - 1;
        for (at, packet) in frame.iter_mut().enumerate() {
            packet.resize(1_500, 0);
            packet[0] = 0x90;
            packet[1] = 96 | if at == last { 0x80 } else { 0 };
            packet[2..4].copy_from_slice(&(self.index as u16).to_be_bytes());
            packet[4..8].copy_from_slice(&(self.frames * 3_000).to_be_bytes());
            packet[8..12].copy_from_slice(&SSRC.to_be_bytes());
            let mut writer = ExtWriter::one_byte(&mut packet[12..]);
            writer.push(3, &(self.index as u16).to_be_bytes());
            writer.push(4, b"1");
            let header = 12 + writer.finish();
            // RFC 7741: S=1 begins a frame, P=0 makes it a keyframe.
            packet[header..header + 2].copy_from_slice(&[if at == 0 { 0x10 } else { 0 }, u8::from(self.frames > 0)]);
            let sealed = self.srtp.protect_rtp(packet, DATAGRAM - self.tag, header, self.index);
            packet.truncate(sealed.unwrap_or(0));
            self.index += 1;
        }
        self.frames += 1;
    }
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

fn publish() -> Publish {
    Publish {
        track: 1,
        transport: PUBLISHER,
        kind: MediaKind::Video as i32,
        mid: "1".to_owned(),
        codec: Some(codec(96)),
        ssrc: Some(SSRC),
        extensions: extensions(2),
        ..Default::default()
    }
}

fn subscribe(transport: u64) -> Subscribe {
    Subscribe {
        subscription: transport,
        transport,
        track: 1,
        mid: "1".to_owned(),
        codec: Some(codec(100)),
        ssrc: 0x5000_0000 | transport as u32,
        rtx_ssrc: Some(0x6000_0000 | transport as u32),
        extensions: extensions(5),
        cname: "bench".to_owned(),
        ..Default::default()
    }
}
