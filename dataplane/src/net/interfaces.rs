//! The machine's own addresses, announced when none are configured.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::ptr;

use super::address::read_name;

/// Addresses of interfaces that are up, IPv4 first, without loopback and link-local ones. A machine that has
/// no other gives its loopback addresses, so that a call on one machine without a network still works.
///
/// # Errors
/// What getifaddrs reports.
pub(crate) fn own_addresses() -> io::Result<Vec<IpAddr>> {
    Ok(select(all_addresses()?))
}

fn select(all: Vec<IpAddr>) -> Vec<IpAddr> {
    let is_global = |ip: &IpAddr| !ip.is_loopback() && !ip.is_unspecified() && !is_link_local(ip);
    let mut chosen: Vec<IpAddr> = all.iter().copied().filter(is_global).collect();
    if chosen.is_empty() {
        chosen = all.into_iter().filter(IpAddr::is_loopback).collect();
    }
    chosen.sort_by_key(IpAddr::is_ipv6);
    let mut seen = std::collections::BTreeSet::new();
    chosen.retain(|ip| seen.insert(*ip));
    chosen
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => Ipv6Addr::is_unicast_link_local(v6),
    }
}

fn all_addresses() -> io::Result<Vec<IpAddr>> {
    let mut list: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: getifaddrs writes the head of a list to the pointer that it is given.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut at = list;
    while !at.is_null() {
        // SAFETY: `at` is a node of the list that getifaddrs gave and freeifaddrs has not yet taken.
        let entry = unsafe { &*at };
        if !entry.ifa_addr.is_null() && entry.ifa_flags & libc::IFF_UP as libc::c_uint != 0 {
            found.extend(read_sockaddr(entry.ifa_addr));
        }
        at = entry.ifa_next;
    }
    // SAFETY: `list` came from getifaddrs, and nothing refers to it any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

fn read_sockaddr(addr: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: the caller gives a non-null ifa_addr, which has a family.
    let len = match i32::from(unsafe { (*addr).sa_family }) {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    let mut storage = <libc::sockaddr_storage as super::address::Zeroed>::zeroed();
    // SAFETY: an address of this family has `len` bytes, which the storage has room for.
    unsafe { ptr::copy_nonoverlapping(addr.cast::<u8>(), (&raw mut storage).cast::<u8>(), len) };
    read_name(&storage).map(|name| name.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn loopback_and_link_local_are_left_out_and_ipv4_comes_first() {
        let all = ips(&["127.0.0.1", "::1", "fe80::1", "2001:db8::5", "169.254.3.4", "192.0.2.7", "192.0.2.7"]);
        assert_eq!(select(all), ips(&["192.0.2.7", "2001:db8::5"]));
    }

    #[test]
    fn loopback_is_the_last_resort() {
        assert_eq!(select(ips(&["::1", "127.0.0.1", "fe80::1"])), ips(&["127.0.0.1", "::1"]));
    }

    #[test]
    fn this_machine_has_an_address() {
        let own = own_addresses().unwrap();
        assert!(!own.is_empty());
        assert!(own.iter().all(|ip| !ip.is_unspecified() && !is_link_local(ip)));
    }
}
