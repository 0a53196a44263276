//! The sockets of the wall-clock measurements. The shard and its floors receive from the same publisher by the same
//! socket, and send to the same sink; only what happens in between differs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use dataplane_core::{BufferId, Datagram, Path, Shard, TxBatch};
use millrace_dataplane::net::{MediaSocket, Receiver, Sender, Slots, bind_group};

use crate::clock::Stopwatch;
use crate::floor::Floor;
use crate::rig::Rig;

/// Bytes of a slot that a floor receives into.
const SLOT: usize = 1_536;

/// Sockets, and the state of the calls on them.
pub struct Wire {
    /// Where all subscribers receive; nobody reads it.
    sink: UdpSocket,
    publisher: UdpSocket,
    path: Path,
    sockets: Vec<MediaSocket>,
    plain: UdpSocket,
    sender: Sender,
    receiver: Receiver<BufferId>,
    floor_receiver: Receiver<usize>,
    slots: FloorSlots,
    batch: TxBatch,
    watch: Stopwatch,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Wire {
    /// Sockets on the loopback.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> io::Result<Self> {
        let (groups, port) = bind_group(&[IpAddr::V4(Ipv4Addr::UNSPECIFIED)], 0, 1)?;
        let sockets = groups.into_iter().next().ok_or(io::ErrorKind::NotFound)?;
        let publisher = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        publisher.connect((Ipv4Addr::LOCALHOST, port))?;
        let path = Path { remote: publisher.local_addr()?, local: IpAddr::V4(Ipv4Addr::LOCALHOST) };
        Ok(Self {
            sink: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
            publisher,
            path,
            sockets,
            plain: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
            sender: Sender::new(true),
            receiver: Receiver::new(),
            floor_receiver: Receiver::new(),
            slots: FloorSlots::new(),
            batch: TxBatch::new(1 << 20, 1_024),
            watch: Stopwatch::new(),
        })
    }

    /// The subscribers' port.
    ///
    /// # Errors
    /// What the system says.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.sink.local_addr()?.port())
    }

    /// Where the publisher sends from.
    pub fn path(&self) -> Path {
        self.path
    }

    /// CPU nanoseconds per forwarded packet of `frames` frames through the shard.
    ///
    /// # Errors
    /// What the system says to the publisher.
    pub fn forward(&mut self, rig: &mut Rig, frames: usize) -> io::Result<f64> {
        let mut packets = 0;
        for _ in 0..frames {
            publish(&self.publisher, rig)?;
            let Self { watch, receiver, sockets, sender, batch, .. } = self;
            packets += watch.time(|| {
                let got = receiver.receive(&sockets[0], &mut ShardSlots(rig.shard()));
                for index in 0..got {
                    if let Some(received) = receiver.take(index) {
                        rig.take_in(Datagram { buffer: received.id, len: received.len, path: received.path });
                    }
                }
                rig.drain(batch, |batch| sender.flush(sockets, batch))
            });
        }
        Ok(self.watch.take() / packets as f64)
    }

    /// The same of a floor that sends in runs; `rig` is the publisher only.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn floor(&mut self, floor: &mut Floor, rig: &mut Rig, frames: usize) -> io::Result<f64> {
        let mut packets = 0;
        for _ in 0..frames {
            publish(&self.publisher, rig)?;
            let Self { watch, floor_receiver, slots, sockets, sender, batch, .. } = self;
            packets += watch.time(|| {
                open(floor, floor_receiver, slots, &sockets[0]);
                floor.frame(batch, |batch| sender.flush(sockets, batch))
            });
        }
        Ok(self.watch.take() / packets as f64)
    }

    /// The same of a floor that sends each packet by a call of its own.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn plain(&mut self, floor: &mut Floor, rig: &mut Rig, frames: usize) -> io::Result<f64> {
        let mut packets = 0;
        for _ in 0..frames {
            publish(&self.publisher, rig)?;
            let Self { watch, floor_receiver, slots, sockets, plain, batch, .. } = self;
            packets += watch.time(|| {
                open(floor, floor_receiver, slots, &sockets[0]);
                floor.frame(batch, |batch| {
                    for (path, bytes) in batch.datagrams() {
                        // A full buffer on the loopback is the sink's, which drops: nothing to wait for.
                        let _ = plain.send_to(bytes, path.remote);
                    }
                })
            });
        }
        Ok(self.watch.take() / packets as f64)
    }

    /// The same through the shard, without system calls.
    pub fn alone(&mut self, rig: &mut Rig, frames: usize) -> f64 {
        /// Frames sealed at a time: few enough to stay in the cache, as what the kernel has just copied does.
        const AHEAD: usize = 16;
        let mut packets = 0;
        for _ in 0..frames.div_ceil(AHEAD) {
            rig.seal_ahead(AHEAD);
            let Self { watch, batch, .. } = self;
            packets += watch.time(|| {
                let frame = |_| {
                    rig.feed();
                    rig.drain(batch, |_| {})
                };
                (0..AHEAD).map(frame).sum::<u64>()
            });
        }
        self.watch.take() / packets as f64
    }

    /// Datagrams per run that the shard and its floor sent so far, which send the same.
    pub fn run_length(&self) -> f64 {
        let counters = self.sender.counters();
        counters.datagrams as f64 / counters.runs.max(1) as f64
    }
}

/// Sends a frame to the media socket.
fn publish(publisher: &UdpSocket, rig: &mut Rig) -> io::Result<()> {
    let mut outcome = Ok(());
    rig.send_frame(|packet| {
        if let Err(error) = publisher.send(packet) {
            outcome = Err(error);
        }
    });
    outcome
}

/// Receives and opens what the publisher sent.
fn open(floor: &mut Floor, receiver: &mut Receiver<usize>, slots: &mut FloorSlots, socket: &MediaSocket) {
    let got = receiver.receive(socket, slots);
    for index in 0..got {
        if let Some(received) = receiver.take(index) {
            floor.open(&mut slots.bytes(received.id)[..received.len]);
            slots.give_back(received.id);
        }
    }
}

/// The shard's buffers as the receiver sees them.
struct ShardSlots<'a>(&'a mut Shard);

impl Slots for ShardSlots<'_> {
    type Id = BufferId;

    fn take(&mut self) -> Option<BufferId> {
        self.0.receive_buffer()
    }

    fn bytes(&mut self, id: BufferId) -> &mut [u8] {
        self.0.buffer_mut(id)
    }

    fn give_back(&mut self, id: BufferId) {
        self.0.release_buffer(id);
    }
}

/// A floor's buffers.
pub(crate) struct FloorSlots {
    bytes: Vec<[u8; SLOT]>,
    free: Vec<usize>,
}

impl FloorSlots {
    /// Twice as many as one call receives.
    pub(crate) fn new() -> Self {
        Self { bytes: vec![[0; SLOT]; 128], free: (0..128).collect() }
    }
}

impl Slots for FloorSlots {
    type Id = usize;

    fn take(&mut self) -> Option<usize> {
        self.free.pop()
    }

    fn bytes(&mut self, id: usize) -> &mut [u8] {
        &mut self.bytes[id]
    }

    fn give_back(&mut self, id: usize) {
        self.free.push(id);
    }
}

/// A rig's publisher alone: it seals what floors receive.
pub fn only_publisher(profile: dataplane_protocol::SrtpProfile, path: Path) -> Rig {
    Rig::with(crate::rig::Plan {
        rooms: 1,
        subscribers: 0,
        profile,
        port: SocketAddr::port(&path.remote),
        publisher: Some(path),
    })
}
