//! Steering: the kernel gives each datagram of a known flow to the worker that owns its transport.
//!
//! By itself an SO_REUSEPORT group spreads flows by a hash that knows nothing of rooms. Here a program of the type
//! `BPF_PROG_TYPE_SK_REUSEPORT` (Linux 4.19, CAP_BPF) looks the remote address up in a table that the workers keep,
//! and picks that worker's socket; flows that are not there are spread by the hash, and reach their transport's worker
//! by ring. So the table is never needed for correctness, and whatever fails with it costs a copy and no packet.
//!
//! The program is some 40 instructions, written in `program` as such: a compiler for it would be the larger dependency.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::MediaSocket;

mod program;

/// Commands of bpf(2), `enum bpf_cmd`.
mod command {
    pub(super) const MAP_CREATE: libc::c_int = 0;
    pub(super) const MAP_LOOKUP_ELEM: libc::c_int = 1;
    pub(super) const MAP_UPDATE_ELEM: libc::c_int = 2;
    pub(super) const MAP_DELETE_ELEM: libc::c_int = 3;
    pub(super) const PROG_LOAD: libc::c_int = 5;
}

const MAP_TYPE_HASH: u32 = 1;
const MAP_TYPE_REUSEPORT_SOCKARRAY: u32 = 20;
/// Memory of the table is taken entry by entry, as flows come.
const MAP_NO_PREALLOC: u32 = 1;
const PROG_TYPE_SK_REUSEPORT: u32 = 21;
const LICENSE: &CStr = c"Apache-2.0";

/// A remote address as the table has it: IPv6, or IPv4 in mapped form, and the port, both in network order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flow {
    ip: [u8; 16],
    port: [u8; 2],
    unused: [u8; 2],
}

impl From<SocketAddr> for Flow {
    fn from(remote: SocketAddr) -> Self {
        let ip = match remote.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { ip: ip.octets(), port: remote.port().to_be_bytes(), unused: [0; 2] }
    }
}

/// The table of flows, shared by all workers and all SO_REUSEPORT groups.
#[derive(Debug)]
pub(crate) struct Steering {
    flows: OwnedFd,
}

impl Steering {
    /// Gives every SO_REUSEPORT group among `sockets` (by worker, then by address) the program, with one table of at most
    /// `capacity` flows.
    ///
    /// # Errors
    /// What the kernel says: permission is denied without CAP_BPF or CAP_SYS_ADMIN. Groups then spread by hash.
    pub(crate) fn attach(sockets: &[Vec<MediaSocket>], capacity: u32) -> io::Result<Self> {
        let flows = create_map(MAP_TYPE_HASH, size_of::<Flow>(), size_of::<u32>(), capacity, MAP_NO_PREALLOC)?;
        let groups = sockets.first().map_or(0, Vec::len);
        for group in 0..groups {
            let kind = MAP_TYPE_REUSEPORT_SOCKARRAY;
            let members = create_map(kind, size_of::<u32>(), size_of::<u64>(), sockets.len() as u32, 0)?;
            for (worker, sockets) in sockets.iter().enumerate() {
                update(&members, &(worker as u32), &(sockets[group].fd() as u64))?;
            }
            let program = load(&program::pick_owner(flows.as_raw_fd(), members.as_raw_fd()))?;
            // The socket keeps the program, and the program both maps.
            sockets[0][group].pick_member_by(program.as_raw_fd())?;
        }
        Ok(Self { flows })
    }

    /// What comes from `remote` goes to `worker` from here on.
    ///
    /// # Errors
    /// When the table is full or the kernel out of memory.
    pub(crate) fn steer(&self, remote: SocketAddr, worker: u32) -> io::Result<()> {
        update(&self.flows, &Flow::from(remote), &worker)
    }

    /// Forgets `remote` if it is `worker`'s: another one may have taken the address over in the meantime.
    pub(crate) fn release(&self, remote: SocketAddr, worker: u32) {
        let flow = Flow::from(remote);
        if self.worker_of(&flow) == Some(worker) {
            let attr = Element::new(&self.flows, address(&flow), 0);
            // SAFETY: `attr` names a key of the map's key size that outlives the call.
            let _gone_already = unsafe { bpf(command::MAP_DELETE_ELEM, &attr) };
        }
    }

    fn worker_of(&self, flow: &Flow) -> Option<u32> {
        let mut worker = u32::MAX;
        let attr = Element::new(&self.flows, address(flow), (&raw mut worker).expose_provenance() as u64);
        // SAFETY: `attr` names a key and a place for a value, of the sizes that the map was made with, and both outlive
        // the call.
        unsafe { bpf(command::MAP_LOOKUP_ELEM, &attr) }.ok()?;
        Some(worker)
    }
}

/// `union bpf_attr` for making a map.
#[repr(C)]
struct NewMap {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

/// `union bpf_attr` for a map's elements.
#[repr(C)]
struct Element {
    map: u32,
    unused: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Element {
    fn new(map: &OwnedFd, key: u64, value: u64) -> Self {
        Self { map: map.as_raw_fd() as u32, unused: 0, key, value, flags: 0 }
    }
}

/// `union bpf_attr` for loading a program.
#[repr(C)]
struct NewProgram {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

fn create_map(kind: u32, key_size: usize, value_size: usize, max_entries: u32, flags: u32) -> io::Result<OwnedFd> {
    let attr = NewMap { kind, key_size: key_size as u32, value_size: value_size as u32, max_entries, flags };
    // SAFETY: `attr` names no memory.
    let fd = unsafe { bpf(command::MAP_CREATE, &attr) }?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets an element; `K` and `V` are of the sizes that the map was made with.
fn update<K, V>(map: &OwnedFd, key: &K, value: &V) -> io::Result<()> {
    let attr = Element::new(map, address(key), address(value));
    // SAFETY: `attr` names a key and a value of the map's sizes (the callers' duty), and both outlive the call.
    unsafe { bpf(command::MAP_UPDATE_ELEM, &attr) }.map(|_| ())
}

fn load(instructions: &[program::Instruction]) -> io::Result<OwnedFd> {
    let attr = NewProgram {
        kind: PROG_TYPE_SK_REUSEPORT,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr().expose_provenance() as u64,
        license: LICENSE.as_ptr().expose_provenance() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: `attr` names the instructions with their number and a string that ends by zero; both outlive the call.
    let fd = unsafe { bpf(command::PROG_LOAD, &attr) }?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn address<T>(of: &T) -> u64 {
    (&raw const *of).expose_provenance() as u64
}

/// The system call bpf(2).
///
/// # Safety
/// `attr` is of the layout that `command` reads, and the addresses in it are of memory that the command may read or
/// write as it does.
unsafe fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<RawFd> {
    // SAFETY: the pointer and length describe `attr`; what it names is the caller's promise.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attr, size_of::<T>()) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome as RawFd) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::super::bind_group;
    use super::*;

    /// Two workers' sockets with the program; `None` where the kernel does not permit it, which is said.
    fn steered(ip: &str) -> Option<(Vec<Vec<MediaSocket>>, SocketAddr, Steering)> {
        let (sockets, port) = bind_group(&[ip.parse().unwrap()], 0, 2).unwrap();
        match Steering::attach(&sockets, 64) {
            Ok(steering) => Some((sockets, SocketAddr::new(ip.parse().unwrap(), port), steering)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                eprintln!("not tested: the kernel does not permit BPF programs here");
                None
            }
            Err(error) => panic!("cannot attach: {error}"),
        }
    }

    /// The worker whose socket holds a datagram; the datagram is taken.
    fn taken_by(sockets: &[Vec<MediaSocket>]) -> u32 {
        loop {
            for (worker, sockets) in sockets.iter().enumerate() {
                if sockets[0].take_one() {
                    return worker as u32;
                }
            }
        }
    }

    fn every_flow_reaches_the_worker_that_it_is_steered_to(bound: &str, from: &str, to: &str) {
        let Some((sockets, address, steering)) = steered(bound) else { return };
        let to = SocketAddr::new(to.parse().unwrap(), address.port());
        let mut by_hash = [0; 2];
        for _ in 0..24 {
            let client = UdpSocket::bind((from, 0)).unwrap();
            let remote = client.local_addr().unwrap();
            let send = || {
                client.send_to(b"x", to).unwrap();
                taken_by(&sockets)
            };
            let hashed = send();
            by_hash[hashed as usize] += 1;
            for worker in [0, 1, 1, 0] {
                steering.steer(remote, worker).unwrap();
                assert_eq!(send(), worker);
            }
            steering.release(remote, 1);
            assert_eq!(steering.worker_of(&remote.into()), Some(0), "released by another worker than its own");
            steering.release(remote, 0);
            assert_eq!(steering.worker_of(&remote.into()), None);
            assert_eq!(send(), hashed);
        }
        assert!(by_hash.iter().all(|flows| *flows > 0), "the hash gave all flows to one worker: {by_hash:?}");
    }

    #[test]
    fn ipv4_flows_reach_their_worker() {
        every_flow_reaches_the_worker_that_it_is_steered_to("127.0.0.1", "127.0.0.1", "127.0.0.1");
    }

    #[test]
    fn ipv6_flows_reach_their_worker() {
        every_flow_reaches_the_worker_that_it_is_steered_to("::1", "::1", "::1");
    }

    #[test]
    fn both_families_reach_their_worker_on_one_socket() {
        every_flow_reaches_the_worker_that_it_is_steered_to("::", "::1", "::1");
        every_flow_reaches_the_worker_that_it_is_steered_to("::", "127.0.0.1", "127.0.0.1");
    }

    #[test]
    fn a_full_table_says_so_and_keeps_what_it_has() {
        let Some((_sockets, _, steering)) = steered("127.0.0.1") else { return };
        let remote = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        for port in 1..=64 {
            steering.steer(remote(port), 1).unwrap();
        }
        assert!(steering.steer(remote(65), 1).is_err());
        assert_eq!(steering.worker_of(&remote(64).into()), Some(1));
        steering.release(remote(1), 1);
        steering.steer(remote(65), 1).unwrap();
    }
}
