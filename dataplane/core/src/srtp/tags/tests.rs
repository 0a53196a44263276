use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;

use super::*;

/// The tag by RustCrypto's HMAC.
fn expected(key: &[u8], packet: &[u8], roc: [u8; 4]) -> Vec<u8> {
    let mut mac = Hmac::<::sha1::Sha1>::new_from_slice(key).unwrap();
    mac.update(packet);
    mac.update(&roc);
    mac.finalize().into_bytes()[..HMAC_TAG_LEN].to_vec()
}

/// Every kind of vectors that this processor has.
fn all_vectors() -> Vec<Vectors> {
    let mut all = vec![Vectors::One];
    #[cfg(target_arch = "x86_64")]
    {
        all.extend(pulp::x86::V3::try_new().map(Vectors::Eight));
        all.extend(pulp::x86::V4::try_new().map(Vectors::Sixteen));
    }
    all
}

/// Packets of these lengths, one after the other as in a batch, with the tags that `vectors` make.
fn tagged(vectors: Vectors, packets: &[(Vec<u8>, [u8; 20], [u8; 4])]) -> Vec<Vec<u8>> {
    let mut tags = Tags { vectors, ..Tags::new() };
    let mut bytes = Vec::new();
    let mut places = Vec::new();
    for (packet, key, roc) in packets {
        if tags.is_full() {
            tags.write(&mut bytes);
        }
        tags.begin(bytes.len());
        bytes.extend_from_slice(packet);
        places.push(bytes.len()..bytes.len() + HMAC_TAG_LEN);
        bytes.extend_from_slice(&[0xee; HMAC_TAG_LEN]);
        tags.later(packet.len(), *roc, MacKey::new(key));
    }
    tags.write(&mut bytes);
    assert!(tags.is_empty());
    places.into_iter().map(|place| bytes[place].to_vec()).collect()
}

#[test]
fn packets_of_every_length_have_the_tags_of_another_implementation() {
    for vectors in all_vectors() {
        let packets: Vec<_> =
            (0..260).map(|len| (vec![len as u8; len], [len as u8; 20], [1, 2, 3, len as u8])).collect();
        for (got, (packet, key, roc)) in tagged(vectors, &packets).iter().zip(&packets) {
            assert_eq!(*got, expected(key, packet, *roc), "{} bytes", packet.len());
        }
    }
}

#[test]
fn what_is_taken_back_gets_no_tag() {
    let mut tags = Tags::new();
    let mut bytes = [7; 40];
    tags.begin(0);
    tags.later(10, [0; 4], MacKey::new(&[1; 20]));
    tags.begin(20);
    tags.take_back();
    tags.later(10, [0; 4], MacKey::new(&[1; 20]));
    tags.take_back();
    tags.write(&mut bytes);
    assert_eq!(bytes[10..20], expected(&[1; 20], &[7; 10], [0; 4]));
    assert_eq!(bytes[20..], [7; 20]);
}

proptest! {
    #[test]
    fn any_mixture_has_the_tags_of_another_implementation(
        packets in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..1_500), any::<[u8; 20]>(), any::<[u8; 4]>()),
            0..40,
        ),
    ) {
        for vectors in all_vectors() {
            for (got, (packet, key, roc)) in tagged(vectors, &packets).iter().zip(&packets) {
                prop_assert_eq!(got, &expected(key, packet, *roc));
            }
        }
    }
}
