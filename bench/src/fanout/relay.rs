//! The floor of the fan-out bench: a process that opens what publishers send, seals it for each of their subscribers
//! with a cached key, and sends it in the same runs by the same calls as the data plane. It knows everybody beforehand,
//! keeps nothing and decides nothing: what the data plane takes longer or costs more than this is what an SFU costs.
//! There is no handshake; all keys are the same.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::ops::Range;

use dataplane_core::srtp::{Inbound, Outbound};
use dataplane_core::wire::rtp::{self, RtpHeader};
use dataplane_core::{Path, TxBatch};
use dataplane_protocol::SrtpProfile;
use millrace_dataplane::net::{BATCH, MediaSocket, Receiver, Sender, Slots, bind_group};
use rustix::event::{PollFd, PollFlags, poll};

use crate::drivers::{Failure, Media};
use crate::fanout::load::Load;
use crate::fanout::path::{Keys, Role, session_address};
use crate::wire::FloorSlots;

/// As the data plane's worker sends.
const TX_BYTES: usize = 256 << 10;
const TX_RUNS: usize = 1_024;
/// Bytes of a payload for each byte of padding, as the data plane pads.
const BYTES_PER_BYTE: usize = 64;

/// Who talks to whom.
#[derive(Clone, Copy, Debug)]
pub struct RelayPlan {
    /// Number of the first publisher; those before it are another server's.
    pub first: usize,
    /// Publishers, by number from the first.
    pub publishers: usize,
    /// Subscribers of each, by number, those of publisher 0 first.
    pub subscribers: usize,
    /// How media is protected.
    pub profile: SrtpProfile,
}

impl RelayPlan {
    /// The publishers.
    fn numbers(&self) -> Range<usize> {
        self.first..self.first + self.publishers
    }
}

/// Keys that everybody has whom no handshake gave any.
pub fn plain_keys(profile: SrtpProfile) -> Keys {
    let (key, salt) = match profile {
        SrtpProfile::AeadAes256Gcm => (32, 12),
        SrtpProfile::AeadAes128Gcm => (16, 12),
        SrtpProfile::Aes128CmSha1_80 | SrtpProfile::None => (16, 14),
    };
    let (key, salt) = (vec![1; key], vec![2; salt]);
    Keys { profile, local_key: key.clone(), local_salt: salt.clone(), remote_key: key, remote_salt: salt }
}

/// Runs the floor on this thread until the process is ended. Its UDP port is the first line on standard output.
///
/// # Errors
/// What the system says to its sockets.
pub fn relay(plan: RelayPlan) -> Result<Infallible, Failure> {
    let (mut groups, port) = bind_group(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], 0, 1)?;
    let sockets = groups.pop().ok_or("no socket")?;
    let mut out = std::io::stdout();
    writeln!(out, "{port}")?;
    out.flush()?;
    let mut relay = Relay::new(plan)?;
    loop {
        poll(&mut [PollFd::new(&sockets[0], PollFlags::IN)], None)?;
        relay.turn(&sockets);
    }
}

/// Adds everybody of `plan` to `load`, the publishers' sockets connected to the floor at `port`.
///
/// # Errors
/// What the system says to the sockets, and when the load has ended.
pub fn join_relay(load: &Load, plan: RelayPlan, port: u16, media: impl Fn(usize) -> Media) -> Result<(), Failure> {
    let keys = plain_keys(plan.profile);
    for n in plan.numbers() {
        let socket = UdpSocket::bind(session_address(Role::Publisher(n as u32)))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_nonblocking(true)?;
        load.publisher(socket, keys.clone(), None, media(n), plan.subscribers as u32)?;
    }
    for n in plan.first * plan.subscribers..plan.numbers().end * plan.subscribers {
        load.subscriber(n as u32, keys.clone(), None)?;
    }
    Ok(())
}

struct Relay {
    rooms: Vec<Room>,
    by_address: HashMap<IpAddr, usize>,
    receiver: Receiver<usize>,
    slots: FloorSlots,
    sender: Sender,
    batch: TxBatch,
    /// Rooms that got something in this turn.
    touched: Vec<usize>,
}

/// A publisher and its subscribers.
struct Room {
    inbound: Inbound,
    subscribers: Vec<(Path, Outbound)>,
    pending: Vec<Packet>,
}

/// An opened packet.
#[derive(Clone, Copy)]
struct Packet {
    slot: usize,
    header_len: usize,
    len: usize,
    padding: u8,
    index: u64,
}

impl Relay {
    fn new(plan: RelayPlan) -> Result<Self, Failure> {
        let keys = plain_keys(plan.profile);
        let subscriber = |n: usize| -> Result<_, Failure> {
            let remote = session_address(Role::Subscriber(n as u32));
            let path = Path { remote, local: IpAddr::V4(Ipv4Addr::LOCALHOST) };
            Ok((path, Outbound::new(plan.profile, &keys.remote_key, &keys.remote_salt)?))
        };
        let room = |n: usize| -> Result<_, Failure> {
            let subscribers = (n * plan.subscribers..(n + 1) * plan.subscribers).map(subscriber);
            Ok(Room {
                inbound: Inbound::new(plan.profile, &keys.local_key, &keys.local_salt)?,
                subscribers: subscribers.collect::<Result<_, _>>()?,
                pending: Vec::with_capacity(BATCH),
            })
        };
        let address = |(at, n): (usize, usize)| (session_address(Role::Publisher(n as u32)).ip(), at);
        Ok(Self {
            rooms: plan.numbers().map(room).collect::<Result<_, _>>()?,
            by_address: plan.numbers().enumerate().map(address).collect(),
            receiver: Receiver::new(),
            slots: FloorSlots::new(),
            sender: Sender::new(true),
            batch: TxBatch::new(TX_BYTES, TX_RUNS),
            touched: Vec::new(),
        })
    }

    fn turn(&mut self, sockets: &[MediaSocket]) {
        loop {
            let got = self.receiver.receive(&sockets[0], &mut self.slots);
            for index in 0..got {
                let Some(received) = self.receiver.take(index) else { continue };
                let room = self.by_address.get(&received.path.remote.ip()).copied();
                let packet = room.and_then(|room| Some((room, self.open(room, received.id, received.len)?)));
                match packet {
                    Some((room, packet)) => {
                        if self.rooms[room].pending.is_empty() {
                            self.touched.push(room);
                        }
                        self.rooms[room].pending.push(packet);
                    }
                    None => self.slots.give_back(received.id),
                }
            }
            while let Some(room) = self.touched.pop() {
                self.fan_out(room, sockets);
            }
            self.flush(sockets);
            if got < BATCH {
                return;
            }
        }
    }

    fn open(&mut self, room: usize, slot: usize, len: usize) -> Option<Packet> {
        let bytes = &mut self.slots.bytes(slot)[..len];
        let header = RtpHeader::parse(bytes).ok()?;
        let room = &mut self.rooms[room];
        let opened = room.inbound.unprotect_rtp(bytes, header.header_len, header.ssrc, header.sequence).ok()?;
        Some(Packet { slot, header_len: header.header_len, len: opened.len, padding: 0, index: opened.index })
    }

    fn fan_out(&mut self, room: usize, sockets: &[MediaSocket]) {
        let mut pending = std::mem::take(&mut self.rooms[room].pending);
        let longest = pending.iter().map(|packet| packet.len).max().unwrap_or(0);
        for packet in &mut pending {
            let short = longest - packet.len;
            packet.padding = if short <= packet.len / BYTES_PER_BYTE { short as u8 } else { 0 };
        }
        for subscriber in 0..self.rooms[room].subscribers.len() {
            for packet in &pending {
                if !self.batch.has_room() {
                    self.flush(sockets);
                }
                let (path, srtp) = &self.rooms[room].subscribers[subscriber];
                let bytes = &self.slots.bytes(packet.slot)[..packet.len];
                self.batch.push_sealed(*path, |out, tags| {
                    out[..bytes.len()].copy_from_slice(bytes);
                    let padding = if packet.padding > 0 { rtp::pad(out, bytes.len(), packet.padding)? } else { 0 };
                    srtp.protect_rtp_for(tags, out, bytes.len() + padding, packet.header_len, packet.index).ok()
                });
            }
        }
        pending.drain(..).for_each(|packet| self.slots.give_back(packet.slot));
        self.rooms[room].pending = pending;
    }

    fn flush(&mut self, sockets: &[MediaSocket]) {
        self.batch.finish();
        self.sender.flush(sockets, &self.batch);
        self.batch.clear();
    }
}
