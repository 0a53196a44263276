//! Socket addresses and control messages between Rust's types and the kernel's.

use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for control messages of one message: CMSG_SPACE of `in6_pktinfo` (16 + 24) and of a `u16` (16 + 8)
/// come to 64 bytes.
pub(super) const CONTROL_LEN: usize = 96;

/// A control buffer aligned as `cmsghdr` needs.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control(pub(super) [u8; CONTROL_LEN]);

impl Control {
    pub(super) const EMPTY: Self = Self([0; CONTROL_LEN]);
}

/// An all-zero kernel structure.
///
/// Only for the plain C structures of this module, for which all bytes zero is a value.
pub(super) trait Zeroed: Sized + Copy {
    fn zeroed() -> Self {
        // SAFETY: implemented below only for C structures made of integers and raw pointers, for which the
        // all-zero pattern is valid.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }
}

impl Zeroed for libc::mmsghdr {}
impl Zeroed for libc::msghdr {}
impl Zeroed for libc::sockaddr_storage {}

/// Writes `remote` as the kernel wants it on a socket of the given family; returns its length.
pub(super) fn write_name(storage: &mut libc::sockaddr_storage, remote: SocketAddr, is_ipv6: bool) -> libc::socklen_t {
    let mapped = match remote {
        SocketAddr::V4(v4) if is_ipv6 => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
        other => other,
    };
    match mapped {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is at least as large and as aligned as every socket address.
            unsafe { (&raw mut *storage).cast::<libc::sockaddr_in>().write(name) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut *storage).cast::<libc::sockaddr_in6>().write(name) };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// Reads what recvmmsg wrote; IPv4-mapped addresses become IPv4.
pub(super) fn read_name(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in, and the storage is large enough.
            let name = unsafe { (&raw const *storage).cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in6, and the storage is large enough.
            let name = unsafe { (&raw const *storage).cast::<libc::sockaddr_in6>().read() };
            let (ip, port) = (Ipv6Addr::from(name.sin6_addr.s6_addr), u16::from_be(name.sin6_port));
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddrV4::new(v4, port).into(),
                None => SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into(),
            })
        }
        _ => None,
    }
}

/// The destination address of a received datagram, from its PKTINFO.
pub(super) fn read_local(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the header was filled by recvmmsg; its control pointer and length describe a live buffer.
    let mut cmsg = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !cmsg.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a header inside the control buffer.
        let (level, kind) = unsafe { ((*cmsg).cmsg_level, (*cmsg).cmsg_type) };
        if (level, kind) == (libc::IPPROTO_IP, libc::IP_PKTINFO) {
            // SAFETY: the kernel wrote an in_pktinfo behind a header of this kind; alignment is not assumed.
            let info = unsafe { libc::CMSG_DATA(cmsg).cast::<libc::in_pktinfo>().read_unaligned() };
            return Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
        }
        if (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) {
            // SAFETY: the kernel wrote an in6_pktinfo behind a header of this kind; alignment is not assumed.
            let info = unsafe { libc::CMSG_DATA(cmsg).cast::<libc::in6_pktinfo>().read_unaligned() };
            return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical());
        }
        // SAFETY: `cmsg` is a header inside the buffer that `header` describes.
        cmsg = unsafe { libc::CMSG_NXTHDR(header, cmsg) };
    }
    None
}

/// Writes the control messages of an outgoing message and sets the header's control pointer and length:
/// the source address always, the segment size when the message is a run.
pub(super) fn write_control(
    header: &mut libc::msghdr,
    control: &mut Control,
    local: IpAddr,
    is_ipv6: bool,
    segment: Option<u16>,
) {
    header.msg_control = control.0.as_mut_ptr().cast();
    let mut used = 0;
    if is_ipv6 {
        let ip = match local {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
        used += put(control, used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
    } else if let IpAddr::V4(v4) = local {
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(v4.octets()) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        used += put(control, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
    }
    if let Some(segment) = segment {
        used += put(control, used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    header.msg_controllen = used as _;
}

/// Writes one control message at `at` and returns the space it takes.
fn put<T: Copy>(control: &mut Control, at: usize, level: libc::c_int, kind: libc::c_int, value: T) -> usize {
    let len = size_of::<T>() as libc::c_uint;
    // SAFETY: pure arithmetic.
    let (space, cmsg_len) = unsafe { (libc::CMSG_SPACE(len) as usize, libc::CMSG_LEN(len)) };
    assert!(at + space <= CONTROL_LEN, "control buffer too small");
    // SAFETY: the assertion keeps `at..at + space` inside the buffer; the buffer is aligned to 8 and every
    // space is a multiple of 8 (of cmsghdr's alignment), so the header is aligned; the data is written
    // without assuming alignment.
    unsafe {
        let cmsg = control.0.as_mut_ptr().add(at).cast::<libc::cmsghdr>();
        (*cmsg).cmsg_level = level;
        (*cmsg).cmsg_type = kind;
        (*cmsg).cmsg_len = cmsg_len as _;
        libc::CMSG_DATA(cmsg).cast::<T>().write_unaligned(value);
    }
    space
}
