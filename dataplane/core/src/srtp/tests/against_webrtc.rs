//! Our contexts against webrtc-srtp's, bit for bit, for all profiles and both directions.

use proptest::prelude::*;
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::super::{Inbound, MAX_OVERHEAD, Outbound, SrtpError};
use crate::wire::rtp::{FIXED_HEADER_LEN, RtpHeader};
use dataplane_protocol::SrtpProfile;

const PROFILES: [(SrtpProfile, ProtectionProfile, usize, usize); 3] = [
    (SrtpProfile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm, 16, 12),
    (SrtpProfile::AeadAes256Gcm, ProtectionProfile::AeadAes256Gcm, 32, 12),
    (SrtpProfile::Aes128CmSha1_80, ProtectionProfile::Aes128CmHmacSha1_80, 16, 14),
];

struct Pair {
    outbound: Outbound,
    inbound: Inbound,
    their_outbound: Context,
    their_inbound: Context,
}

fn pair(profile: usize, seed: u8) -> Pair {
    let (ours, theirs, key_len, salt_len) = PROFILES[profile];
    let key: Vec<u8> = (0..key_len).map(|n| (n as u8).wrapping_mul(37).wrapping_add(seed)).collect();
    let salt: Vec<u8> = (0..salt_len).map(|n| (n as u8).wrapping_mul(91) ^ seed).collect();
    Pair {
        outbound: Outbound::new(ours, &key, &salt).unwrap(),
        inbound: Inbound::new(ours, &key, &salt).unwrap(),
        their_outbound: Context::new(&key, &salt, theirs, None, None).unwrap(),
        their_inbound: Context::new(&key, &salt, theirs, None, None).unwrap(),
    }
}

/// A packet with an extension block, so that the header is longer than its fixed part.
fn rtp_packet(sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x90, 0x60];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 9]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[0xbe, 0xde, 0, 1, 0x10, 0xaa, 0x20, 0xbb]);
    packet.extend_from_slice(payload);
    packet
}

const HEADER_LEN: usize = FIXED_HEADER_LEN + 8;

fn rtcp_packet(ssrc: u32, words: &[u32]) -> Vec<u8> {
    let mut packet = vec![0x80, 200];
    packet.extend_from_slice(&(words.len() as u16 + 1).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    packet
}

fn sealed(plain: &[u8], seal: impl FnOnce(&mut [u8], usize) -> Result<usize, SrtpError>) -> Vec<u8> {
    let mut buffer = [plain, &[0; MAX_OVERHEAD]].concat();
    let len = seal(&mut buffer, plain.len()).unwrap();
    buffer.truncate(len);
    buffer
}

fn open(inbound: &mut Inbound, packet: &[u8]) -> Result<(Vec<u8>, u64), SrtpError> {
    let mut packet = packet.to_vec();
    let header = RtpHeader::parse(&packet).unwrap();
    let opened = inbound.unprotect_rtp(&mut packet, header.header_len, header.ssrc, header.sequence)?;
    packet.truncate(opened.len);
    Ok((packet, opened.index))
}

/// What the network does with a stream of packets: which arrive, in which order, how often.
fn network() -> impl Strategy<Value = Vec<(bool, u8, bool)>> {
    let packet = (proptest::bool::weighted(0.9), 0u8..12, proptest::bool::weighted(0.1));
    proptest::collection::vec(packet, 20..120)
}

/// The order of arrival: `(position of sending, whether it is a duplicate)`.
fn arrivals(network: &[(bool, u8, bool)]) -> Vec<(usize, bool)> {
    let mut order = Vec::new();
    for (n, (arrives, delay, twice)) in network.iter().enumerate() {
        if *arrives {
            order.push((n + usize::from(*delay), n, false));
            if *twice {
                order.push((n + usize::from(*delay) + 3, n, true));
            }
        }
    }
    order.sort();
    order.into_iter().map(|(_, n, twice)| (n, twice)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rtp_is_sealed_to_the_same_bytes_and_opened_by_both(
        profile in 0usize..3, seed: u8, ssrc: u32, start in prop_oneof![0u16..0x8000, 0x7f00u16..0x8000],
        steps in proptest::collection::vec(1u16..0x4000, 1..40),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut pair = pair(profile, seed);
        let mut index = u64::from(start);
        for step in steps {
            let plain = rtp_packet(index as u16, ssrc, &payload);
            let ours = sealed(&plain, |buffer, len| pair.outbound.protect_rtp(buffer, len, HEADER_LEN, index));
            let theirs = pair.their_outbound.encrypt_rtp(&plain).unwrap();
            prop_assert_eq!(&ours[..], &theirs[..], "index {}", index);
            prop_assert_eq!(open(&mut pair.inbound, &theirs), Ok((plain.clone(), index)));
            prop_assert_eq!(&pair.their_inbound.decrypt_rtp(&ours).unwrap()[..], &plain[..]);
            index += u64::from(step);
        }
    }

    #[test]
    fn rtp_survives_loss_reordering_duplicates_and_roll_over(
        profile in 0usize..3, seed: u8, start in 0u64..0x8000, jump in 0u64..3, network in network(),
    ) {
        let mut pair = pair(profile, seed);
        // Both receivers are walked to just before a roll-over, which the network then scrambles.
        let last_walked = (jump << 16) + 0xffff - 20;
        let mut walked = start;
        loop {
            let packet = sealed(&rtp_packet(walked as u16, 7, b"walk"), |buffer, len| {
                pair.outbound.protect_rtp(buffer, len, HEADER_LEN, walked)
            });
            prop_assert_eq!(open(&mut pair.inbound, &packet).map(|(_, index)| index), Ok(walked));
            pair.their_inbound.decrypt_rtp(&packet).unwrap();
            if walked == last_walked {
                break;
            }
            walked = last_walked.min(walked + 0x4000);
        }
        for (n, twice) in arrivals(&network) {
            let index = last_walked + 1 + n as u64;
            let plain = rtp_packet(index as u16, 7, &[n as u8; 30]);
            let packet = sealed(&plain, |buffer, len| pair.outbound.protect_rtp(buffer, len, HEADER_LEN, index));
            let opened = open(&mut pair.inbound, &packet);
            if twice {
                prop_assert_eq!(opened, Err(SrtpError::Replayed));
            } else {
                prop_assert_eq!(opened, Ok((plain.clone(), index)));
                prop_assert_eq!(&pair.their_inbound.decrypt_rtp(&packet).unwrap()[..], &plain[..]);
            }
        }
    }

    #[test]
    fn rtcp_is_sealed_to_the_same_bytes_and_opened_by_both(
        profile in 0usize..3, seed: u8, ssrc: u32,
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 1..30), 2..20),
    ) {
        let mut pair = pair(profile, seed);
        // The oracle starts to count at 1, we at 0 as RFC 3711 3.2.1 says.
        let first = sealed(&rtcp_packet(ssrc, &bodies[0]), |buffer, len| pair.outbound.protect_rtcp(buffer, len));
        prop_assert_eq!(&pair.their_inbound.decrypt_rtcp(&first).unwrap()[..], &rtcp_packet(ssrc, &bodies[0])[..]);
        for body in &bodies {
            let plain = rtcp_packet(ssrc, body);
            let ours = sealed(&plain, |buffer, len| pair.outbound.protect_rtcp(buffer, len));
            let theirs = pair.their_outbound.encrypt_rtcp(&plain).unwrap();
            prop_assert_eq!(&ours[..], &theirs[..]);
            prop_assert_eq!(&pair.their_inbound.decrypt_rtcp(&ours).unwrap()[..], &plain[..]);
            let mut packet = theirs.to_vec();
            let len = pair.inbound.unprotect_rtcp(&mut packet).unwrap();
            prop_assert_eq!(&packet[..len], &plain[..]);
        }
    }

    #[test]
    fn rtcp_survives_loss_reordering_and_duplicates(profile in 0usize..3, seed: u8, network in network()) {
        let mut pair = pair(profile, seed);
        let plain: Vec<_> = (0..network.len()).map(|n| rtcp_packet(5, &[n as u32; 6])).collect();
        let packets: Vec<_> = plain.iter().map(|plain| pair.their_outbound.encrypt_rtcp(plain).unwrap()).collect();
        for (n, twice) in arrivals(&network) {
            let mut packet = packets[n].to_vec();
            let opened = pair.inbound.unprotect_rtcp(&mut packet);
            if twice {
                prop_assert_eq!(opened, Err(SrtpError::Replayed));
            } else {
                prop_assert_eq!(&packet[..opened.unwrap()], &plain[n][..]);
            }
        }
    }
}
