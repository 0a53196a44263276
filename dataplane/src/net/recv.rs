//! recvmmsg into the shard's own slots: up to [`BATCH`] datagrams per call, nothing allocated per call.

use std::io;
use std::ptr;

use dataplane_core::{MAX_DATAGRAM, Path};

use super::address::{Control, Zeroed, read_local, read_name};
use super::{BATCH, MediaSocket};

/// Where datagrams are received into. The shard implements it over its pool.
pub trait Slots {
    /// Names a slot.
    type Id: Copy;
    /// Takes a slot, or `None` when there are no more for now.
    fn take(&mut self) -> Option<Self::Id>;
    /// Its bytes, at least [`MAX_DATAGRAM`]. They stay where they are until the slot is given away.
    fn bytes(&mut self, id: Self::Id) -> &mut [u8];
    /// Gives back a slot that was not used.
    fn give_back(&mut self, id: Self::Id);
}

/// What was received and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecvCounters {
    /// recvmmsg calls that gave something.
    pub calls: u64,
    /// Datagrams.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Dropped: longer than [`MAX_DATAGRAM`].
    pub too_long: u64,
    /// Dropped: no slot was free.
    pub no_buffer: u64,
    /// Dropped: the kernel did not tell source or destination.
    pub no_address: u64,
    /// Errors of the call itself.
    pub errors: u64,
}

/// The arrays of one worker's recvmmsg calls, with a spare slot behind each entry.
pub struct Receiver<Id> {
    slots: Vec<Option<Id>>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// Receives what there is no slot for.
    scratch: Box<[u8]>,
    counters: RecvCounters,
}

/// One datagram as received.
#[derive(Clone, Copy, Debug)]
pub struct Received<Id> {
    /// The slot, now the taker's.
    pub id: Id,
    /// Bytes in use.
    pub len: usize,
    /// How it came.
    pub path: Path,
}

impl<Id: Copy> Default for Receiver<Id> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Id: Copy> Receiver<Id> {
    /// Arrays for [`BATCH`] datagrams; no slots are taken yet.
    pub fn new() -> Self {
        Self {
            slots: vec![None; BATCH],
            names: vec![Zeroed::zeroed(); BATCH].into_boxed_slice(),
            controls: vec![Control::EMPTY; BATCH].into_boxed_slice(),
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH].into_boxed_slice(),
            headers: vec![Zeroed::zeroed(); BATCH].into_boxed_slice(),
            scratch: vec![0; MAX_DATAGRAM].into_boxed_slice(),
            counters: RecvCounters::default(),
        }
    }

    /// The counters.
    pub fn counters(&self) -> RecvCounters {
        self.counters
    }

    /// Receives up to [`BATCH`] datagrams. Returns how many messages the kernel gave, to be asked for by
    /// [`Receiver::take`]; fewer than [`BATCH`] means that the socket is empty for now.
    pub fn receive<S: Slots<Id = Id>>(&mut self, socket: &MediaSocket, slots: &mut S) -> usize {
        let spare = self.prepare(slots);
        if spare == 0 {
            return self.discard(socket);
        }
        let got = loop {
            // SAFETY: the first `spare` headers point to live, exclusive buffers: names, controls and vectors
            // of this receiver, which do not move, and slots, which are ours and stay in place by the contract
            // of `Slots` until they are given away.
            let outcome = unsafe {
                libc::recvmmsg(
                    socket.fd(),
                    self.headers.as_mut_ptr(),
                    spare as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                    ptr::null_mut(),
                )
            };
            if let Ok(got) = usize::try_from(outcome) {
                break got;
            }
            match io::Error::last_os_error().kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return 0,
                // A pending error of the socket (an ICMP message) is taken by this call; there may be more behind.
                _ => {
                    self.counters.errors += 1;
                    return 0;
                }
            }
        };
        self.counters.calls += 1;
        // A short batch for lack of slots does not mean that the socket is empty.
        if got == spare { BATCH } else { got }
    }

    /// The `index`-th datagram of the last call, or `None` if it was dropped or there were fewer.
    pub fn take(&mut self, index: usize) -> Option<Received<Id>> {
        let id = *self.slots.get(index)?.as_ref()?;
        let header = &mut self.headers[index];
        let len = header.msg_len as usize;
        if header.msg_hdr.msg_namelen == 0 || std::mem::replace(&mut header.msg_len, 0) == 0 {
            return None;
        }
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            self.counters.too_long += 1;
            return None;
        }
        let (Some(remote), Some(local)) = (read_name(&self.names[index]), read_local(&header.msg_hdr)) else {
            self.counters.no_address += 1;
            return None;
        };
        self.counters.datagrams += 1;
        self.counters.bytes += len as u64;
        self.slots[index] = None;
        Some(Received { id, len, path: Path { remote, local } })
    }

    /// Gives all spare slots back.
    pub fn release<S: Slots<Id = Id>>(&mut self, slots: &mut S) {
        for slot in &mut self.slots {
            if let Some(id) = slot.take() {
                slots.give_back(id);
            }
        }
    }

    /// Puts a slot behind each entry, as far as there are slots, and resets the headers; returns how many
    /// entries are ready. They are the first ones.
    fn prepare<S: Slots<Id = Id>>(&mut self, slots: &mut S) -> usize {
        let mut ready = 0;
        for index in 0..BATCH {
            if let Some(id) = self.slots[index].take() {
                self.slots[ready] = Some(id);
                ready += 1;
            }
        }
        while ready < BATCH
            && let Some(id) = slots.take()
        {
            self.slots[ready] = Some(id);
            ready += 1;
        }
        for index in 0..ready {
            self.point(index, slots);
        }
        ready
    }

    fn point<S: Slots<Id = Id>>(&mut self, index: usize, slots: &mut S) {
        let Some(id) = self.slots[index] else { return };
        let bytes = slots.bytes(id);
        let len = bytes.len().min(MAX_DATAGRAM);
        self.vectors[index] = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: len };
        let header = &mut self.headers[index];
        header.msg_len = 0;
        header.msg_hdr.msg_name = (&raw mut self.names[index]).cast();
        header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_hdr.msg_iov = &raw mut self.vectors[index];
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = self.controls[index].0.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = self.controls[index].0.len() as _;
        header.msg_hdr.msg_flags = 0;
    }

    /// Empties the socket when no slot is free: late media is worth nothing, and a full socket buffer would
    /// only make everything behind it late too.
    fn discard(&mut self, socket: &MediaSocket) -> usize {
        for count in 0..BATCH {
            // SAFETY: pointer and length describe the scratch buffer, which is exclusive and outlives the call.
            let got = unsafe {
                libc::recv(socket.fd(), self.scratch.as_mut_ptr().cast(), self.scratch.len(), libc::MSG_DONTWAIT)
            };
            if got < 0 {
                return count;
            }
            self.counters.no_buffer += 1;
        }
        BATCH
    }
}
