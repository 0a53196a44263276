//! The published vectors of the transforms; those of the key derivation are beside it, and what a context adds
//! is tested there and against webrtc-srtp.

mod against_webrtc;

use dataplane_protocol::SrtpProfile;

use super::cipher::{RtcpCipher, RtpCipher};
use super::kdf::KeySet;
use crate::wire::test_bytes::hex;

/// RFC 7714 16 and 17 give session keys, not master keys.
const KEY_128: &str = "000102030405060708090a0b0c0d0e0f";
const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SALT: &str = "517569642070726f2071756f";

const RTP: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120
    696e2070 61727465 73207472 6573";
const RTP_INDEX: u64 = 0xf17b;
const RTP_SSRC: u32 = 0x5501_a0b2;
/// RFC 7714 16.1.1 and 16.2.1.
const SRTP_128: &str = "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f
    42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce";
const SRTP_256: &str = "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3
    b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13";

const RTCP: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef
    deadbeef deadbeef deadbeef";
const RTCP_INDEX: u32 = 0x05d4;
/// RFC 7714 17.1 and 17.3.
const SRTCP_128: &str = "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1
    730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4";
const SRTCP_256: &str = "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1
    110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4";
/// RFC 7714 17.2: authenticated only.
const SRTCP_128_CLEAR: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef
    deadbeef deadbeef deadbeef deadbeef 841dd968 3dd78ec9 2ae58790 125f62b3 000005d4";

fn key_set(key: &str) -> KeySet {
    KeySet::from_session_keys(&hex(key), &[0; 20], &hex(SALT))
}

#[test]
fn rtp_of_rfc_7714() {
    for (profile, key, sealed) in
        [(SrtpProfile::AeadAes128Gcm, KEY_128, SRTP_128), (SrtpProfile::AeadAes256Gcm, KEY_256, SRTP_256)]
    {
        let cipher = RtpCipher::new(profile, &key_set(key)).unwrap();
        let (plain, sealed) = (hex(RTP), hex(sealed));
        let mut packet = [plain.clone(), vec![0; 16]].concat();
        assert_eq!(cipher.seal(&mut packet, plain.len(), 12, RTP_SSRC, RTP_INDEX), Ok(sealed.len()));
        assert_eq!(packet, sealed);
        assert_eq!(cipher.open(&mut packet, 12, RTP_SSRC, RTP_INDEX), Ok(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }
}

#[test]
fn rtcp_of_rfc_7714() {
    for (profile, key, sealed) in
        [(SrtpProfile::AeadAes128Gcm, KEY_128, SRTCP_128), (SrtpProfile::AeadAes256Gcm, KEY_256, SRTCP_256)]
    {
        let cipher = RtcpCipher::new(profile, &key_set(key)).unwrap();
        let (plain, sealed) = (hex(RTCP), hex(sealed));
        let mut packet = [plain.clone(), vec![0; 20]].concat();
        assert_eq!(cipher.seal(&mut packet, plain.len(), RTCP_INDEX), Ok(sealed.len()));
        assert_eq!(packet, sealed);
        assert_eq!(cipher.claimed_index(&packet), Ok(RTCP_INDEX));
        assert_eq!(cipher.open(&mut packet), Ok(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }
}

#[test]
fn rtcp_of_rfc_7714_that_is_only_authenticated() {
    let cipher = RtcpCipher::new(SrtpProfile::AeadAes128Gcm, &key_set(KEY_128)).unwrap();
    let sealed = hex(SRTCP_128_CLEAR);
    let mut packet = sealed.clone();
    assert_eq!(cipher.open(&mut packet), Ok(52));
    assert_eq!(packet, sealed, "nothing is encrypted, and the borrowed bytes are put back");
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 0x10;
        assert!(cipher.open(&mut changed).is_err(), "byte {at}");
    }
}
