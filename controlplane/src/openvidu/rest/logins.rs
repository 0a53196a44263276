//! How many wrong passwords an address may send: a bucket per address, in a table that does not grow without bound.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;
use tokio::time::Instant;

/// Wrong passwords in a row before an address has to wait.
pub(super) const BURST: u32 = 30;
/// How long it takes until one more may be tried.
const REFILL: Duration = Duration::from_secs(2);
/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 4096;

/// The addresses that sent wrong passwords lately.
#[derive(Debug, Default)]
pub(in crate::openvidu) struct Logins(Mutex<HashMap<IpAddr, Instant>>);

impl Logins {
    /// How long this address has to wait until its password is looked at.
    pub(in crate::openvidu) fn wait(&self, address: IpAddr) -> Option<Duration> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = *table.get(&block(address))?;
        // The bucket is full again at `full_at`; it holds nothing while that is further off than all of it takes.
        let ahead = full_at.saturating_duration_since(Instant::now());
        let wait = (ahead + REFILL).saturating_sub(REFILL * BURST);
        (!wait.is_zero()).then_some(wait)
    }

    /// A wrong password came from this address.
    pub(in crate::openvidu) fn failed(&self, address: IpAddr) {
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

/// Where a request comes from.
pub(super) fn source(request: &Request) -> Option<IpAddr> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>()?.0;
    Some(client_address(request.headers(), peer))
}

/// Where a client is: at the peer, or, when that is a proxy on this machine or network, where the proxy saw it; and so
/// on, when that was another proxy nearby. What a client itself wrote into the header may be a lie and is never reached,
/// unless the client is nearby as well.
pub fn client_address(headers: &HeaderMap, peer: SocketAddr) -> IpAddr {
    let lists = headers.get_all("x-forwarded-for").iter().rev().filter_map(|value| value.to_str().ok());
    let mut told = lists.flat_map(|list| list.rsplit(',')).map(|text| text.trim().parse::<IpAddr>());
    let mut address = peer.ip().to_canonical();
    while is_near(address)
        && let Some(Ok(before)) = told.next()
    {
        address = before.to_canonical();
    }
    address
}

fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
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
            let mut headers = HeaderMap::new();
            headers.append("x-forwarded-for", "192.0.2.77".parse().unwrap());
            headers.append("x-forwarded-for", forwarded.parse().unwrap());
            client_address(&headers, SocketAddr::new(peer.parse().unwrap(), 1)).to_string()
        };
        assert_eq!(source("127.0.0.1", "10.9.9.9, 203.0.113.5"), "203.0.113.5");
        assert_eq!(source("::ffff:127.0.0.1", "203.0.113.5, 10.0.0.7"), "203.0.113.5", "two proxies");
        assert_eq!(source("127.0.0.1", "10.0.0.7"), "192.0.2.77", "two proxies that write a header each");
        assert_eq!(source("127.0.0.1", "203.0.113.5, 2001:db8::1"), "2001:db8::1");
        assert_eq!(source("172.17.0.1", "nonsense"), "172.17.0.1");
        assert_eq!(source("198.51.100.1", "203.0.113.5"), "198.51.100.1");
    }
}
