//! How many wrong passwords an address may send: a bucket per address, in a table that does not grow without bound.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use tokio::time::Instant;

/// Wrong passwords in a row before an address has to wait.
pub(super) const BURST: u32 = 30;
/// How long it takes until one more may be tried.
const REFILL: Duration = Duration::from_secs(2);
/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 4096;

/// The addresses that sent wrong passwords lately.
#[derive(Debug, Default)]
pub(super) struct Logins(Mutex<HashMap<IpAddr, Instant>>);

impl Logins {
    /// How long this address has to wait until its password is looked at.
    pub(super) fn wait(&self, address: IpAddr) -> Option<Duration> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = *table.get(&block(address))?;
        // The bucket is full again at `full_at`; it holds nothing while that is further off than all of it takes.
        let ahead = full_at.saturating_duration_since(Instant::now());
        let wait = (ahead + REFILL).saturating_sub(REFILL * BURST);
        (!wait.is_zero()).then_some(wait)
    }

    /// A wrong password came from this address.
    pub(super) fn failed(&self, address: IpAddr) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let address = block(address);
        if table.len() >= MAX_ADDRESSES && !table.contains_key(&address) {
            table.retain(|_, full_at| *full_at > now);
            let mildest = table.iter().min_by_key(|(_, full_at)| **full_at).map(|(address, _)| *address);
            if let (true, Some(mildest)) = (table.len() >= MAX_ADDRESSES, mildest) {
                table.remove(&mildest);
            }
        }
        let full_at = table.entry(address).or_insert(now);
        *full_at = (*full_at).max(now) + REFILL;
    }
}

/// Who counts as one: an IPv4 address, or a network of IPv6, of which everybody has 2^64 addresses.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// Where a request comes from: the peer, or, when that is a proxy on this machine or network, what the proxy saw.
/// What the client itself wrote before that may be a lie.
pub(super) fn source(request: &Request) -> Option<IpAddr> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>()?.0.ip().to_canonical();
    let is_near = match peer {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    };
    let last = request.headers().get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    let seen = last.and_then(|list| list.rsplit(',').next()).and_then(|text| text.trim().parse().ok());
    Some(seen.filter(|_| is_near).unwrap_or(peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_waits_after_many_failures_and_no_other_does() {
        let logins = Logins::default();
        for _ in 0..BURST {
            assert_eq!(logins.wait(address(1)), None);
            logins.failed(address(1));
        }
        assert_eq!(logins.wait(address(1)), Some(REFILL));
        assert_eq!(logins.wait(address(2)), None);
        tokio::time::advance(REFILL).await;
        assert_eq!(logins.wait(address(1)), None);
        logins.failed(address(1));
        assert_eq!(logins.wait(address(1)), Some(REFILL));
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_keeps_the_worst() {
        let logins = Logins::default();
        (0..BURST).for_each(|_| logins.failed(address(0)));
        (1..=2 * MAX_ADDRESSES as u32).for_each(|number| logins.failed(address(number)));
        assert!(logins.0.lock().unwrap().len() <= MAX_ADDRESSES);
        assert!(logins.wait(address(0)).is_some());
    }

    #[test]
    fn networks_of_ipv6_are_one() {
        let block = |text: &str| block(text.parse().unwrap());
        assert_eq!(block("2001:db8::1"), block("2001:db8::ffff:1"));
        assert_ne!(block("2001:db8::1"), block("2001:db8:0:1::1"));
        assert_eq!(block("::ffff:192.0.2.1"), block("192.0.2.1"));
    }

    #[test]
    fn only_a_proxy_nearby_is_believed() {
        let source = |peer: &str, forwarded: &str| {
            let mut request = Request::new(axum::body::Body::empty());
            request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
            request.headers_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
            source(&request).unwrap().to_string()
        };
        assert_eq!(source("127.0.0.1", "10.9.9.9, 203.0.113.5"), "203.0.113.5");
        assert_eq!(source("172.17.0.1", "nonsense"), "172.17.0.1");
        assert_eq!(source("198.51.100.1", "203.0.113.5"), "198.51.100.1");
    }
}
