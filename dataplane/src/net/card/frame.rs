//! What stands before a run's bytes when it is handed to a network card: the kernel's note on how to finish it
//! (`virtio_net_hdr`), and the Ethernet, IP and UDP headers of the first datagram.

use std::net::{IpAddr, SocketAddr};

use dataplane_core::Path;

/// Of the note.
const NOTE: usize = 10;
/// Of an Ethernet header without VLAN tags.
pub(super) const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;
/// Hops that a packet may take, as the kernel sends them.
const TTL: u8 = 64;
/// IANA's number of UDP.
const PROTOCOL_UDP: u8 = 17;
/// The note's flag that the UDP checksum is of the pseudo header only, and its name for a run of UDP datagrams (virtio 1.3,
/// 5.1.6).
const NEEDS_CSUM: u8 = 1;
const GSO_UDP_L4: u8 = 5;

/// Room for the longest of it.
pub(super) const MAX: usize = NOTE + ETHERNET + IPV6 + UDP;

/// Of IP and UDP headers together, as counted by an interface's MTU.
pub(super) fn overhead(remote: IpAddr) -> usize {
    UDP + if remote.is_ipv4() { IPV4 } else { IPV6 }
}

/// Writes it for `len` bytes of datagrams of `segment` bytes each but the last, from `port`; returns its length. `None` when
/// the two addresses are of different families or the run is too long for one IP packet.
pub(super) fn write(
    out: &mut [u8; MAX],
    ethernet: &[u8; ETHERNET],
    path: &Path,
    port: u16,
    len: usize,
    segment: Option<u16>,
) -> Option<usize> {
    let udp = u16::try_from(UDP + len).ok()?;
    let (ip, sum) = match (path.local, path.remote) {
        (IpAddr::V4(from), SocketAddr::V4(to)) => {
            let (from, to) = (from.octets(), to.ip().octets());
            let header = &mut out[NOTE + ETHERNET..][..IPV4];
            header[..2].copy_from_slice(&[0x45, 0]);
            header[2..4].copy_from_slice(&udp.checked_add(IPV4 as u16)?.to_be_bytes());
            // No number, as it is never a fragment (RFC 6864 4.1): DF.
            header[4..12].copy_from_slice(&[0, 0, 0x40, 0, TTL, PROTOCOL_UDP, 0, 0]);
            header[12..16].copy_from_slice(&from);
            header[16..20].copy_from_slice(&to);
            let checksum = !fold(sum(header));
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            (IPV4, sum(&from) + sum(&to))
        }
        (IpAddr::V6(from), SocketAddr::V6(to)) => {
            let (from, to) = (from.octets(), to.ip().octets());
            let header = &mut out[NOTE + ETHERNET..][..IPV6];
            header[..4].copy_from_slice(&[0x60, 0, 0, 0]);
            header[4..6].copy_from_slice(&udp.to_be_bytes());
            header[6..8].copy_from_slice(&[PROTOCOL_UDP, TTL]);
            header[8..24].copy_from_slice(&from);
            header[24..40].copy_from_slice(&to);
            (IPV6, sum(&from) + sum(&to))
        }
        _ => return None,
    };
    let (note, rest) = out.split_at_mut(NOTE);
    note.fill(0);
    note[0] = NEEDS_CSUM;
    if let Some(segment) = segment {
        note[1] = GSO_UDP_L4;
        note[4..6].copy_from_slice(&segment.to_ne_bytes());
    }
    let headers = ETHERNET + ip + UDP;
    note[2..4].copy_from_slice(&(headers as u16).to_ne_bytes());
    note[6..8].copy_from_slice(&((ETHERNET + ip) as u16).to_ne_bytes());
    // The checksum's place in a UDP header.
    note[8..10].copy_from_slice(&6_u16.to_ne_bytes());
    rest[..ETHERNET].copy_from_slice(ethernet);
    let header = &mut rest[ETHERNET + ip..][..UDP];
    header[..2].copy_from_slice(&port.to_be_bytes());
    header[2..4].copy_from_slice(&path.remote.port().to_be_bytes());
    header[4..6].copy_from_slice(&udp.to_be_bytes());
    header[6..8].copy_from_slice(&fold(sum + u32::from(PROTOCOL_UDP) + u32::from(udp)).to_be_bytes());
    Some(NOTE + headers)
}

/// Of 16-bit words (RFC 1071); at most some thousand of them.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_the_rfcs() {
        let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        let path = Path { remote: "192.0.2.7:5000".parse().unwrap(), local: "198.51.100.9".parse().unwrap() };
        let mut out = [0xee; MAX];
        let len = write(&mut out, &ethernet, &path, 40_000, 2_500, Some(1_200)).unwrap();
        assert_eq!(len, 10 + 14 + 20 + 8);
        assert_eq!(
            out[..10],
            [
                [1, 5].as_slice(),
                &42_u16.to_ne_bytes(),
                &1_200_u16.to_ne_bytes(),
                &34_u16.to_ne_bytes(),
                &6_u16.to_ne_bytes()
            ]
            .concat()
        );
        assert_eq!(out[10..24], ethernet);
        let ip = &out[24..44];
        assert_eq!((ip[0], u16::from_be_bytes([ip[2], ip[3]]), ip[6], ip[8], ip[9]), (0x45, 2_528, 0x40, 64, 17));
        assert_eq!(fold(sum(ip)), 0xffff, "an IPv4 header with its checksum sums to ones");
        let udp = &out[44..52];
        assert_eq!(udp[..6], [0x9c, 0x40, 0x13, 0x88, 0x09, 0xcc]);
        // By hand: c000+0207+c633+6409 = 1ec43, + 11 + 9cc = 1f620, folded f621.
        assert_eq!(udp[6..], [0xf6, 0x21]);

        let path = Path { remote: "[2001:db8::2]:5000".parse().unwrap(), local: "2001:db8::1".parse().unwrap() };
        let len = write(&mut out, &ethernet, &path, 40_000, 100, None).unwrap();
        assert_eq!((len, out[0], out[1], u16::from_ne_bytes([out[6], out[7]])), (72, 1, 0, 54));
        assert_eq!((out[24], u16::from_be_bytes([out[28], out[29]]), out[30], out[31]), (0x60, 108, 17, 64));
        // 2*(2001+0db8) + 1 + 2 + 11 + 6c = 5bf2.
        assert_eq!(out[70..72], [0x5b, 0xf2]);
    }

    #[test]
    fn what_no_packet_can_be_is_refused() {
        let mut out = [0; MAX];
        let mixed = Path { remote: "192.0.2.7:5000".parse().unwrap(), local: "2001:db8::1".parse().unwrap() };
        assert_eq!(write(&mut out, &[0; ETHERNET], &mixed, 1, 100, None), None);
        let path = Path { remote: "192.0.2.7:5000".parse().unwrap(), local: "192.0.2.1".parse().unwrap() };
        assert_eq!(write(&mut out, &[0; ETHERNET], &path, 1, 65_508, None), None);
        assert!(write(&mut out, &[0; ETHERNET], &path, 1, 65_507, None).is_some());
    }
}
