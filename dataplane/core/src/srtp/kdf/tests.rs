use super::*;
use crate::wire::test_bytes::hex;

#[test]
fn the_keys_of_rfc_3711_b_3() {
    let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
    let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
    let keys = SessionKeys::derive(SrtpProfile::Aes128CmSha1_80, &key, &salt).unwrap();
    assert_eq!(keys.rtp.encryption(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(keys.rtp.salt()[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
    assert_eq!(keys.rtp.authentication()[..], hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
}

#[test]
fn the_256_bit_keys_of_rfc_6188_7_4() {
    let key = hex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6");
    let salt = hex("3b04803de51ee7c96423ab5b78d2").try_into().unwrap();
    let keys = Prf::new(&key, salt).unwrap().key_set(32, 0, 1, 2).unwrap();
    assert_eq!(keys.encryption(), hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"));
    assert_eq!(keys.salt()[..], hex("fa31791685ca444a9e07c6c64e93"));
    assert_eq!(keys.authentication()[..], hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"));
}

#[test]
fn the_key_stream_of_rfc_3711_b_2() {
    let key = counter_mode_key(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    let iv = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap();
    let mut stream = [0; 48];
    apply_counter_mode(&key, iv, &mut stream).unwrap();
    let expected = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0";
    assert_eq!(stream[..], hex(expected));
}

#[test]
fn rtcp_has_keys_of_its_own() {
    let keys = SessionKeys::derive(SrtpProfile::AeadAes128Gcm, &[7; 16], &[8; 12]).unwrap();
    assert_ne!(keys.rtp.encryption(), keys.rtcp.encryption());
    assert_ne!(keys.rtp.authentication(), keys.rtcp.authentication());
    assert_ne!(keys.rtp.salt(), keys.rtcp.salt());
}

#[test]
fn lengths_that_do_not_fit_the_profile_are_refused() {
    for (profile, key, salt) in [
        (SrtpProfile::None, 16, 14),
        (SrtpProfile::Aes128CmSha1_80, 16, 12),
        (SrtpProfile::Aes128CmSha1_80, 32, 14),
        (SrtpProfile::AeadAes128Gcm, 32, 12),
        (SrtpProfile::AeadAes256Gcm, 16, 12),
        (SrtpProfile::AeadAes256Gcm, 32, 14),
        (SrtpProfile::AeadAes128Gcm, 0, 0),
    ] {
        let derived = SessionKeys::derive(profile, &vec![0; key], &vec![0; salt]);
        assert_eq!(derived.err(), Some(SrtpError::BadKey), "{profile:?}");
    }
}
