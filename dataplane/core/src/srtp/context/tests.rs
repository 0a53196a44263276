use proptest::prelude::*;

use super::super::replay::WINDOW;
use super::*;

const PROFILES: [(SrtpProfile, usize, usize); 3] = [
    (SrtpProfile::AeadAes128Gcm, 16, 12),
    (SrtpProfile::AeadAes256Gcm, 32, 12),
    (SrtpProfile::Aes128CmSha1_80, 16, 14),
];

fn contexts((profile, key, salt): (SrtpProfile, usize, usize)) -> (Outbound, Inbound) {
    let (key, salt) = (vec![0x5a; key], vec![0xa5; salt]);
    (Outbound::new(profile, &key, &salt).unwrap(), Inbound::new(profile, &key, &salt).unwrap())
}

fn rtp(outbound: &Outbound, ssrc: u32, index: u64) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&(index as u16).to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(b"some payload that is longer than a block");
    let len = packet.len();
    packet.resize(len + MAX_OVERHEAD, 0);
    let sealed = outbound.protect_rtp(&mut packet, len, 12, index).unwrap();
    packet.truncate(sealed);
    packet
}

fn open(inbound: &mut Inbound, packet: &[u8]) -> Result<u64, SrtpError> {
    let ssrc = u32::from_be_bytes(packet[8..12].try_into().unwrap());
    let sequence = u16::from_be_bytes(packet[2..4].try_into().unwrap());
    inbound.unprotect_rtp(&mut packet.to_vec(), 12, ssrc, sequence).map(|opened| opened.index)
}

fn rtcp(outbound: &mut Outbound, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(b"and more");
    let len = packet.len();
    packet.resize(len + MAX_OVERHEAD, 0);
    let sealed = outbound.protect_rtcp(&mut packet, len).unwrap();
    packet.truncate(sealed);
    packet
}

/// All that packets can change in a context.
fn state(inbound: &Inbound) -> impl PartialEq + std::fmt::Debug + use<> {
    let of = |windows: &Windows| (windows.ssrcs.clone(), windows.windows.clone(), windows.last);
    (of(&inbound.rtp_windows), of(&inbound.rtcp_windows))
}

#[test]
fn a_changed_bit_anywhere_fails_and_changes_no_state() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = contexts(profile);
        open(&mut inbound, &rtp(&outbound, 1, 100)).unwrap();
        inbound.unprotect_rtcp(&mut rtcp(&mut outbound, 1)).unwrap();
        let before = state(&inbound);

        let packet = rtp(&outbound, 1, 101);
        for bit in 0..packet.len() * 8 {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&mut inbound, &changed).is_err(), "{profile:?} RTP bit {bit}");
            assert_eq!(state(&inbound), before);
        }
        assert_eq!(open(&mut inbound, &packet), Ok(101));

        let before = state(&inbound);
        let packet = rtcp(&mut outbound, 1);
        for bit in 0..packet.len() * 8 {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(inbound.unprotect_rtcp(&mut changed).is_err(), "{profile:?} RTCP bit {bit}");
            assert_eq!(state(&inbound), before);
        }
        assert!(inbound.unprotect_rtcp(&mut packet.clone()).is_ok());
    }
}

#[test]
fn truncated_packets_fail() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = contexts(profile);
        let packet = rtp(&outbound, 1, 1);
        for len in 12..packet.len() {
            let opened = inbound.unprotect_rtp(&mut packet[..len].to_vec(), 12, 1, 1);
            assert!(matches!(opened, Err(SrtpError::TooShort | SrtpError::AuthFailed)));
        }
        assert_eq!(inbound.unprotect_rtp(&mut packet.clone(), packet.len(), 1, 1), Err(SrtpError::TooShort));
        let packet = rtcp(&mut outbound, 1);
        for len in 0..packet.len() {
            let opened = inbound.unprotect_rtcp(&mut packet[..len].to_vec());
            assert!(matches!(opened, Err(SrtpError::TooShort | SrtpError::AuthFailed)));
        }
    }
}

#[test]
fn keys_of_another_path_do_not_open() {
    for profile in PROFILES {
        let (outbound, _) = contexts(profile);
        let mut other = Inbound::new(profile.0, &vec![1; profile.1], &vec![2; profile.2]).unwrap();
        assert_eq!(open(&mut other, &rtp(&outbound, 1, 1)), Err(SrtpError::AuthFailed));
    }
}

#[test]
fn sources_are_bounded_and_forged_ones_take_no_place() {
    let (mut outbound, mut inbound) = contexts(PROFILES[0]);
    for ssrc in 1000..2000 {
        let mut forged = rtp(&outbound, ssrc, 1);
        forged[20] ^= 1;
        assert_eq!(open(&mut inbound, &forged), Err(SrtpError::AuthFailed));
    }
    for ssrc in 0..MAX_SSRCS as u32 {
        assert_eq!(open(&mut inbound, &rtp(&outbound, ssrc, 1)), Ok(1));
        assert!(inbound.unprotect_rtcp(&mut rtcp(&mut outbound, ssrc)).is_ok());
    }
    let capacity = inbound.rtp_windows.windows.capacity();
    assert_eq!(open(&mut inbound, &rtp(&outbound, 99, 1)), Err(SrtpError::TooManySsrcs));
    assert_eq!(inbound.unprotect_rtcp(&mut rtcp(&mut outbound, 99)), Err(SrtpError::TooManySsrcs));
    assert_eq!(open(&mut inbound, &rtp(&outbound, 3, 2)), Ok(2));
    assert_eq!(open(&mut inbound, &rtp(&outbound, 3, 2)), Err(SrtpError::Replayed));
    assert_eq!(inbound.rtp_windows.windows.capacity(), capacity);
}

#[test]
fn sources_have_windows_of_their_own() {
    let (outbound, mut inbound) = contexts(PROFILES[2]);
    for ssrc in [1, 2, 1, 2] {
        let index = inbound.rtp_windows.ssrcs.len() as u64 + 10;
        let opened = open(&mut inbound, &rtp(&outbound, ssrc, index));
        assert_eq!(opened, Ok(index), "{ssrc}");
    }
    assert_eq!(open(&mut inbound, &rtp(&outbound, 1, 12 - WINDOW.min(12))), Ok(0));
}

#[test]
fn the_buffer_must_have_room_and_the_index_must_not_run_out() {
    for profile in PROFILES {
        let (mut outbound, _) = contexts(profile);
        let mut packet = [0x80; 40];
        let overhead = outbound.rtp.overhead();
        assert_eq!(outbound.protect_rtp(&mut packet, 41 - overhead, 12, 1), Err(SrtpError::NoRoom));
        assert_eq!(outbound.protect_rtp(&mut packet, 40 - overhead, 12, 1), Ok(40));
        assert_eq!(outbound.protect_rtp(&mut packet, 11, 11, 1), Err(SrtpError::TooShort));
        assert_eq!(outbound.protect_rtp(&mut packet, 12, 13, 1), Err(SrtpError::TooShort));
        assert_eq!(outbound.protect_rtp(&mut packet, 12, 12, 1 << 48), Err(SrtpError::KeyExhausted));
        assert_eq!(outbound.protect_rtp(&mut packet, 99, 12, 1), Err(SrtpError::NoRoom));
        assert_eq!(outbound.protect_rtcp(&mut packet, 7), Err(SrtpError::TooShort));
        assert_eq!(outbound.protect_rtcp(&mut packet, 39), Err(SrtpError::NoRoom));
        outbound.next_rtcp_index = MAX_RTCP_INDEX;
        assert!(outbound.protect_rtcp(&mut packet, 8).is_ok());
        assert_eq!(outbound.protect_rtcp(&mut packet, 8), Err(SrtpError::KeyExhausted));
        assert!(outbound.rtcp.overhead() <= MAX_OVERHEAD && overhead <= MAX_OVERHEAD);
    }
}

#[test]
fn the_estimate_follows_rfc_3711_appendix_a() {
    /// The RFC's pseudocode, with the roll-over counter kept apart; `None` is the cycle before the first.
    fn reference(highest: u64, sequence: u16) -> Option<u64> {
        let (roc, s_l, seq) = ((highest >> 16) as i64, (highest & 0xffff) as i64, i64::from(sequence));
        let v = if s_l < 32_768 {
            if seq - s_l > 32_768 { roc - 1 } else { roc }
        } else if s_l - 32_768 > seq {
            roc + 1
        } else {
            roc
        };
        u64::try_from(v).ok().map(|v| v << 16 | u64::from(sequence))
    }
    let edges = [0u16, 1, 100, 32_767, 32_768, 32_769, 40_000, 65_534, 65_535];
    for cycle in [0u64, 1, 5] {
        for low in edges {
            for sequence in edges {
                let highest = cycle << 16 | u64::from(low);
                let expected = reference(highest, sequence).unwrap_or_else(|| u64::from(sequence));
                assert_eq!(estimate_index(highest, sequence), Ok(expected), "{highest:#x} {sequence}");
            }
        }
    }
    assert_eq!(estimate_index(MAX_RTP_INDEX, 0), Err(SrtpError::KeyExhausted));
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100), header_len in 0usize..110) {
        for profile in PROFILES {
            let (_, mut inbound) = contexts(profile);
            prop_assert!(inbound.unprotect_rtp(&mut bytes.clone(), header_len, 1, 2).is_err());
            prop_assert!(inbound.unprotect_rtcp(&mut bytes.clone()).is_err());
            prop_assert!(inbound.rtp_windows.ssrcs.is_empty() && inbound.rtcp_windows.ssrcs.is_empty());
        }
    }
}
