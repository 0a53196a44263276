//! A client: checks its path, then publishes or receives. It knows RTP only through the core's codecs, which
//! are held against independent crates elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use dataplane_core::srtp::{Inbound, Outbound};
use dataplane_core::wire::demux::{self, Packet};
use dataplane_core::wire::ext::{self, ExtWriter};
use dataplane_core::wire::rtcp::{self, Rtcp, RtcpWriter};
use dataplane_core::wire::rtp::{RtpHeader, payload_len};
use dataplane_core::wire::stun::{self, IntegrityKey, Message};
use dataplane_core::{Duration, Instant, SrtpKeys};
use dataplane_protocol::{
    Codec, CodecParameters, Command, CreateTransport, DtlsRole, ExtensionKind, Fingerprint, HeaderExtension, MediaKind,
    Publish, RemoteParameters, SrtpProfile, Subscribe,
};

use super::layer::{Layer, Outgoing, RIDS};
use super::media::{AUDIO_SSRC, Part, VIDEO_RTX_SSRC, VIDEO_SSRC};
use super::received::{Received, Seen};

const FRAME: Duration = Duration::from_millis(33);
const AUDIO: Duration = Duration::from_millis(20);
const CHECK: Duration = Duration::from_millis(50);
const KEEP_ALIVE: Duration = Duration::from_millis(2_500);
const NACK: Duration = Duration::from_millis(40);
const REPORT: Duration = Duration::from_millis(1_000);
const TICK: Duration = Duration::from_millis(5);

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Sends video and audio.
    Publisher,
    /// The same with three layers of video, which only their rids tell apart.
    Simulcast,
    /// Receives both from the publisher with this number.
    Subscriber {
        /// Number of the publisher.
        publisher: usize,
        /// Whether it negotiated RTX.
        rtx: bool,
        /// How many layers of video the publisher has, of which it gets one.
        layers: u64,
    },
}

impl ClientKind {
    fn publishes(self) -> bool {
        matches!(self, Self::Publisher | Self::Simulcast)
    }
}

/// One simulated client.
pub struct Client {
    /// Worker that its packets reach.
    pub worker: u32,
    /// What it has received.
    pub received: Received,
    /// A publisher's encodings, in rising quality.
    pub layers: Vec<Layer>,
    /// Bounds that REMB told a publisher, in bit/s, with the number of SSRCs they are for.
    pub bounds: Vec<(u64, usize)>,
    /// Sequence numbers that a publisher was asked for again.
    pub nacks: u64,
    /// Transport-wide feedback packets that came to a publisher.
    pub feedback: u64,
    /// Receiver report blocks that came to a publisher, with their fraction lost.
    pub report_blocks: u64,
    /// Frames that a publisher has sent.
    pub frames_sent: u32,
    /// A publisher that is muted sends nothing.
    pub muted: bool,
    /// A subscriber that keeps its losses to itself.
    pub silent: bool,
    /// A client that has stopped answering and checking.
    pub dead: bool,
    number: usize,
    kind: ClientKind,
    address: SocketAddr,
    profile: SrtpProfile,
    keys: SrtpKeys,
    key: IntegrityKey,
    inbound: Inbound,
    outbound: Outbound,
    connected: bool,
    check_at: Instant,
    frame_at: Instant,
    audio_at: Instant,
    nack_at: Instant,
    report_at: Instant,
    transaction: u64,
    audio_sequence: u64,
    transport_sequence: u16,
    start: Instant,
    highest: Option<u64>,
    missing: BTreeMap<u64, (Instant, u32)>,
    out: VecDeque<Vec<u8>>,
}

impl Client {
    pub(super) fn new(
        number: usize,
        kind: ClientKind,
        worker: u32,
        now: Instant,
        profile: SrtpProfile,
        seed: u64,
    ) -> Self {
        let keys = super::keys(profile, seed);
        Self {
            worker,
            received: Received::default(),
            layers: match kind {
                ClientKind::Publisher => vec![Layer::new(0, false, now)],
                ClientKind::Simulcast => (0..3).map(|number| Layer::new(number, true, now)).collect(),
                ClientKind::Subscriber { .. } => Vec::new(),
            },
            bounds: Vec::new(),
            nacks: 0,
            feedback: 0,
            report_blocks: 0,
            frames_sent: 0,
            muted: false,
            silent: false,
            dead: false,
            number,
            kind,
            address: SocketAddr::from(([10, 1, (number >> 8) as u8, number as u8], 5_000)),
            profile,
            key: IntegrityKey::new(&password(number)),
            inbound: Inbound::new(profile, &keys.local_key, &keys.local_salt).expect("keys of the right length"),
            outbound: Outbound::new(profile, &keys.remote_key, &keys.remote_salt).expect("keys of the right length"),
            keys,
            connected: false,
            check_at: now,
            frame_at: now,
            audio_at: now,
            nack_at: now,
            report_at: now,
            transaction: 0,
            // Close to the end of 16 bits, so that every run rolls over.
            audio_sequence: 0xffc0,
            transport_sequence: 0xfff0,
            start: now,
            highest: None,
            missing: BTreeMap::new(),
            out: VecDeque::new(),
        }
    }

    /// Where its datagrams come from.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its transport's id.
    pub fn transport(&self) -> u64 {
        100 + self.number as u64
    }

    /// Id of its video track (a publisher's), the lowest of several: layer `n` has 2 n more.
    pub fn video_track(&self) -> u64 {
        self.transport() * 10
    }

    /// A NAT gave it another address, which the kernel hashes to another worker.
    pub fn rebind(&mut self, now: Instant, worker: u32) {
        self.address.set_port(self.address.port() + 1);
        self.worker = worker;
        self.check_at = now;
    }

    /// A publisher that starts over with another SSRC and other numbers, as after a reload.
    pub fn restart(&mut self, now: Instant) {
        self.start = now;
        for layer in &mut self.layers {
            layer.restart(now);
        }
    }

    /// A copy of the last media datagram it would send, sealed: for replays.
    pub fn seal_video(&mut self, part: Part) -> Vec<u8> {
        let packet = self.layers[0].next(part);
        self.seal(&packet, None)
    }

    pub(super) fn server_keys(&self) -> SrtpKeys {
        self.keys.clone()
    }

    pub(super) fn commands(&self) -> Vec<Command> {
        let create = Command::CreateTransport(CreateTransport {
            transport: self.transport(),
            ice_ufrag: ufrag(self.number),
            ice_pwd: password(self.number),
            remote: Some(RemoteParameters {
                ice_ufrag: "client".to_owned(),
                ice_pwd: "clientPassword0123456789".to_owned(),
                fingerprints: vec![Fingerprint { hash: "sha-256".to_owned(), digest: vec![1; 32] }],
                dtls_role: DtlsRole::Server as i32,
            }),
            label: format!("client {}", self.number),
            near: None,
        });
        let mut commands = vec![create];
        match self.kind {
            ClientKind::Publisher => {
                commands.push(Command::Publish(self.publish(true)));
                commands.push(Command::Publish(self.publish(false)));
            }
            ClientKind::Simulcast => {
                for (number, rid) in (0..).zip(RIDS) {
                    let one = self.publish(true);
                    let layer = Publish {
                        track: one.track + 2 * number,
                        ssrc: None,
                        rtx_ssrc: None,
                        rid: rid.to_owned(),
                        max_bitrate_bps: 1_500_000,
                        ..one
                    };
                    commands.push(Command::Publish(layer));
                }
                commands.push(Command::Publish(self.publish(false)));
            }
            ClientKind::Subscriber { publisher, rtx, layers } => {
                let video = self.subscribe(publisher, true, rtx);
                let higher = (1..layers).map(|layer| video.track + 2 * layer).collect();
                commands.push(Command::Subscribe(Subscribe { higher, ..video }));
                commands.push(Command::Subscribe(self.subscribe(publisher, false, rtx)));
            }
        }
        commands
    }

    fn publish(&self, video: bool) -> Publish {
        Publish {
            track: self.video_track() + u64::from(!video),
            transport: self.transport(),
            kind: if video { MediaKind::Video } else { MediaKind::Audio } as i32,
            mid: if video { "v" } else { "a" }.to_owned(),
            codec: Some(codec(video, 96, Some(97))),
            ssrc: Some(if video { VIDEO_SSRC } else { AUDIO_SSRC }),
            rtx_ssrc: video.then_some(VIDEO_RTX_SSRC),
            extensions: vec![
                extension(ExtensionKind::Mid, 1),
                extension(ExtensionKind::TransportCc, 3),
                extension(ExtensionKind::Rid, 4),
                extension(ExtensionKind::RepairedRid, 5),
            ],
            label: "track".to_owned(),
            ..Publish::default()
        }
    }

    fn subscribe(&self, publisher: usize, video: bool, rtx: bool) -> Subscribe {
        Subscribe {
            subscription: self.video_track() + u64::from(!video),
            transport: self.transport(),
            track: (100 + publisher as u64) * 10 + u64::from(!video),
            mid: if video { "1" } else { "0" }.to_owned(),
            codec: Some(codec(video, 120, rtx.then_some(121))),
            ssrc: 0xaaaa_0000 + u32::from(video),
            rtx_ssrc: (rtx && video).then_some(0xaaaa_0002),
            extensions: vec![extension(ExtensionKind::Mid, 9), extension(ExtensionKind::AbsSendTime, 2)],
            cname: "cname".to_owned(),
            label: "subscription".to_owned(),
            ..Subscribe::default()
        }
    }

    pub(super) fn next_timeout(&self) -> Instant {
        if self.dead {
            return Instant::FAR_FUTURE;
        }
        let mut next = self.check_at;
        if self.connected {
            next = next.min(self.report_at);
            if self.kind.publishes() {
                next = next.min(self.frame_at).min(self.audio_at);
            } else {
                next = next.min(self.nack_at);
            }
        }
        next
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.out.pop_front()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.check_at <= now {
            self.check(now);
        }
        if !self.connected {
            return;
        }
        if self.kind.publishes() {
            while self.frame_at <= now {
                self.frame_at += FRAME;
                self.send_frame(now);
            }
            while self.audio_at <= now {
                self.audio_at += AUDIO;
                self.send_audio(now);
            }
        } else if self.nack_at <= now {
            self.nack_at = now + TICK;
            self.send_nacks(now);
        }
        if self.report_at <= now {
            self.report_at = now + REPORT;
            self.report(now);
        }
    }

    pub(super) fn handle_datagram(&mut self, now: Instant, bytes: &[u8]) {
        if self.dead {
            return;
        }
        let mut bytes = bytes.to_vec();
        match demux::classify(&bytes) {
            Packet::Stun => {
                let message = Message::parse(&bytes).expect("well-formed STUN");
                assert!(message.verify_fingerprint() && message.verify_integrity(&self.key));
                if !self.connected {
                    self.connected = true;
                    (self.frame_at, self.audio_at, self.nack_at, self.report_at) = (now, now, now, now);
                    self.start = now;
                    self.layers.iter_mut().for_each(|layer| layer.begin(now));
                }
            }
            Packet::Rtp => self.on_rtp(now, &mut bytes),
            Packet::Rtcp => match self.inbound.unprotect_rtcp(&mut bytes) {
                Ok(len) => self.on_rtcp(now, &bytes[..len]),
                Err(_) => self.received.unopened += 1,
            },
            Packet::Dtls | Packet::Unknown => panic!("unexpected datagram"),
        }
    }

    fn check(&mut self, now: Instant) {
        self.check_at = now + if self.connected { KEEP_ALIVE } else { CHECK };
        self.transaction += 1;
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.transaction.to_be_bytes());
        let mut out = [0; 256];
        let user = format!("{}:client", ufrag(self.number));
        let role = stun::Role::Controlling(7);
        let len = stun::write_binding_request(&mut out, id, &user, 0x7eff_ffff, role, true, &self.key);
        self.out.push_back(out[..len.expect("room")].to_vec());
    }

    fn send_frame(&mut self, now: Instant) {
        if self.muted {
            return;
        }
        let frame = self.frames_sent;
        self.frames_sent += 1;
        for at in 0..self.layers.len() {
            let rid = self.layers[at].rid;
            for packet in self.layers[at].frame(now, frame) {
                let sealed = self.seal(&packet, rid);
                self.out.push_back(sealed);
            }
        }
    }

    fn send_audio(&mut self, now: Instant) {
        let timestamp = self.rtp_time(now, 48_000);
        let index = self.audio_sequence;
        let payload = vec![0x55; 80];
        let packet = Outgoing { ssrc: AUDIO_SSRC, payload_type: 96, index, timestamp, marker: false, payload };
        self.audio_sequence += 1;
        let sealed = self.seal(&packet, None);
        self.out.push_back(sealed);
    }

    fn rtp_time(&self, now: Instant, rate: u64) -> u32 {
        (now.since(self.start).as_micros() * rate / 1_000_000) as u32
    }

    fn seal(&mut self, packet: &Outgoing, rid: Option<&str>) -> Vec<u8> {
        let mut out = vec![0; 1_500];
        out[0] = 0x90;
        out[1] = packet.payload_type | (u8::from(packet.marker) << 7);
        out[2..4].copy_from_slice(&(packet.index as u16).to_be_bytes());
        out[4..8].copy_from_slice(&packet.timestamp.to_be_bytes());
        out[8..12].copy_from_slice(&packet.ssrc.to_be_bytes());
        let mut writer = ExtWriter::one_byte(&mut out[12..]);
        writer.push(1, if packet.ssrc == AUDIO_SSRC { b"a" } else { b"v" }).expect("room");
        writer.push(3, &self.transport_sequence.to_be_bytes()).expect("room");
        if let Some(rid) = rid {
            writer.push(if packet.payload_type == 97 { 5 } else { 4 }, rid.as_bytes()).expect("room");
        }
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let header = 12 + writer.finish();
        let payload = &packet.payload;
        out[header..header + payload.len()].copy_from_slice(payload);
        let len = self.outbound.protect_rtp(&mut out, header + payload.len(), header, packet.index).expect("room");
        out.truncate(len);
        out
    }

    fn on_rtp(&mut self, now: Instant, bytes: &mut [u8]) {
        let header = RtpHeader::parse(bytes).expect("well-formed RTP");
        let Ok(opened) = self.inbound.unprotect_rtp(bytes, header.header_len, header.ssrc, header.sequence) else {
            self.received.unopened += 1;
            return;
        };
        let bytes = &bytes[..opened.len];
        self.received.padded += u64::from(header.padding);
        let payload = &bytes[header.header_len..][..payload_len(bytes, &header).expect("padding")];
        let mid = ext::element(bytes, &header, 9).expect("mid").to_vec();
        match (header.payload_type, &*mid) {
            (120, b"0") => self.received.audio += 1,
            (120, b"1") => self.on_video(now, opened.index, header.timestamp, payload),
            (121, b"1") => {
                self.received.repaired += 1;
                let original = u16::from_be_bytes([payload[0], payload[1]]);
                // A repair may overtake the media.
                let highest = self.highest.unwrap_or_else(|| u64::from(original));
                let index = highest.wrapping_add_signed(i64::from(original.wrapping_sub(highest as u16) as i16));
                self.on_video(now, index, header.timestamp, &payload[2..]);
            }
            other => panic!("unexpected packet {other:?}"),
        }
    }

    fn on_video(&mut self, now: Instant, index: u64, timestamp: u32, payload: &[u8]) {
        let Some((part, picture, tl0)) = Part::read(payload) else {
            self.received.corrupt += 1;
            return;
        };
        if self.received.first_frame.is_none() {
            self.received.first_frame = Some(part.frame);
            self.received.began_with_keyframe = part.keyframe;
        }
        if self.received.sequences.insert(index, Seen { at: now, part, timestamp, picture, tl0 }).is_some() {
            self.received.duplicates += 1;
        }
        self.received.timestamps.insert(part.frame, timestamp);
        self.received.parts.insert(part.frame, part.parts);
        self.received.frames.entry(part.frame).or_default().insert(part.part);
        self.missing.remove(&index);
        if let Some(highest) = self.highest {
            for lost in highest + 1..index {
                self.missing.insert(lost, (now + TICK + TICK + TICK, 0));
            }
        }
        self.highest = Some(self.highest.map_or(index, |highest| highest.max(index)));
    }

    fn send_nacks(&mut self, now: Instant) {
        if self.silent {
            return;
        }
        let mut lost = Vec::new();
        for (index, (due, tries)) in &mut self.missing {
            if *due <= now && lost.len() < 200 {
                lost.push(*index as u16);
                *tries += 1;
                *due = now + NACK + NACK;
            }
        }
        self.missing.retain(|_, (_, tries)| *tries < 12);
        if !lost.is_empty() {
            self.send_rtcp(|writer| assert!(writer.nack(1, 0xaaaa_0001, &lost)));
        }
    }

    /// Asks for audio again, for which no NACK was negotiated.
    pub fn send_audio_nack(&mut self, sequences: &[u16]) {
        self.send_rtcp(|writer| assert!(writer.nack(1, 0xaaaa_0000, sequences)));
    }

    /// Asks for video again, whether it came or not.
    pub fn send_video_nack(&mut self, sequences: &[u16]) {
        self.send_rtcp(|writer| assert!(writer.nack(1, 0xaaaa_0001, sequences)));
    }

    /// Asks for a keyframe as a decoder that lost its way does.
    pub fn send_pli(&mut self) {
        self.send_rtcp(|writer| assert!(writer.pli(1, 0xaaaa_0001)));
    }

    fn report(&mut self, now: Instant) {
        if !self.kind.publishes() {
            return;
        }
        // Its wall clock is 5 s behind the server's.
        let unix = super::EPOCH + now.as_micros() - 5_000_000;
        let ntp = ((unix / 1_000_000 + 2_208_988_800) << 32) | (((unix % 1_000_000) << 32) / 1_000_000);
        let audio = self.rtp_time(now, 48_000);
        let layers = std::mem::take(&mut self.layers);
        self.send_rtcp(|writer| {
            layers.iter().filter(|layer| layer.active).for_each(|layer| layer.report(now, ntp, writer));
            assert!(writer.sender_report(AUDIO_SSRC, ntp, audio, 0, 0, &[]));
        });
        self.layers = layers;
    }

    fn send_rtcp(&mut self, write: impl FnOnce(&mut RtcpWriter<'_>)) {
        let mut out = vec![0; 1_500];
        let mut writer = RtcpWriter::new(&mut out[..1_200]);
        assert!(writer.receiver_report(1, &[]));
        write(&mut writer);
        let len = writer.len();
        let len = self.outbound.protect_rtcp(&mut out, len).expect("room");
        out.truncate(len);
        self.out.push_back(out);
    }

    fn on_rtcp(&mut self, now: Instant, bytes: &[u8]) {
        for packet in rtcp::packets(bytes) {
            match packet.expect("well-formed RTCP") {
                Rtcp::Pli { media, .. } => {
                    if let Some(layer) = self.layers.iter_mut().find(|layer| layer.ssrc == media) {
                        layer.on_pli(now);
                    }
                }
                Rtcp::Nack { media, lost, .. } => lost.for_each(|sequence| self.resend(media, sequence)),
                Rtcp::Remb { bitrate_bps, ssrcs, .. } => self.bounds.push((bitrate_bps, ssrcs.count())),
                Rtcp::TransportCc { .. } => self.feedback += 1,
                Rtcp::ReceiverReport { blocks, .. } => self.report_blocks += blocks.count() as u64,
                Rtcp::SenderReport { ssrc, ntp, rtp, .. } => self.received.reports.push((ssrc, ntp, rtp)),
                Rtcp::Bye { ssrcs } => self.received.byes.extend(ssrcs),
                _ => {}
            }
        }
    }

    fn resend(&mut self, ssrc: u32, sequence: u16) {
        let Some(layer) = self.layers.iter_mut().find(|layer| layer.ssrc == ssrc) else { return };
        self.nacks += 1;
        let rid = layer.rid;
        if let Some(packet) = layer.resend(sequence) {
            let sealed = self.seal(&packet, rid);
            self.out.push_back(sealed);
        }
    }

    /// Keyframe requests that came to a publisher, to all its layers.
    pub fn keyframe_requests(&self) -> usize {
        self.layers.iter().map(|layer| layer.keyframe_requests.len()).sum()
    }

    /// The SRTP profile it uses.
    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }
}

fn ufrag(number: usize) -> String {
    format!("srv{number}")
}

fn password(number: usize) -> String {
    format!("serverPassword0123456789x{number}")
}

fn codec(video: bool, payload_type: u32, rtx: Option<u32>) -> CodecParameters {
    CodecParameters {
        codec: if video { Codec::Vp8 } else { Codec::Opus } as i32,
        payload_type,
        clock_rate: if video { 90_000 } else { 48_000 },
        rtx_payload_type: rtx.filter(|_| video),
        nack: video,
        pli: video,
        transport_cc: true,
        remb: video,
        ..Default::default()
    }
}

fn extension(kind: ExtensionKind, id: u32) -> HeaderExtension {
    HeaderExtension { kind: kind as i32, id }
}
