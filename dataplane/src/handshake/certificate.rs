//! This host's certificate, and the check of the client's against the fingerprints of its SDP.

use aws_lc_rs::{constant_time, digest};
use dataplane_protocol::Fingerprint;
use webrtc_dtls::crypto::Certificate;

/// The certificate that this process shows to every client: self-signed, ECDSA P-256, made at the start.
#[derive(Clone)]
pub(crate) struct Identity {
    certificate: Certificate,
    fingerprint: Fingerprint,
}

impl Identity {
    /// Makes a key and its certificate.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub(crate) fn generate() -> Result<Self, webrtc_dtls::Error> {
        let certificate = Certificate::generate_self_signed(["millrace".to_owned()])?;
        let der = certificate.certificate.first().map_or(&[][..], |der| der.as_ref());
        let digest = digest::digest(&digest::SHA256, der).as_ref().to_vec();
        Ok(Self { certificate, fingerprint: Fingerprint { hash: "sha-256".to_owned(), digest } })
    }

    /// For the handshake.
    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// For `a=fingerprint`.
    pub(crate) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

/// Whether the certificate has one of the fingerprints. Unknown hash functions match nothing (RFC 8122 5).
pub(crate) fn matches_any(certificate: &[u8], fingerprints: &[Fingerprint]) -> bool {
    // All are compared, so that the time tells nothing of which one matched.
    fingerprints.iter().filter(|fingerprint| matches(certificate, fingerprint)).count() > 0
}

fn matches(certificate: &[u8], fingerprint: &Fingerprint) -> bool {
    let algorithm = match fingerprint.hash.as_str() {
        "sha-1" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        "sha-256" => &digest::SHA256,
        "sha-384" => &digest::SHA384,
        "sha-512" => &digest::SHA512,
        _ => return false,
    };
    let actual = digest::digest(algorithm, certificate);
    constant_time::verify_slices_are_equal(actual.as_ref(), &fingerprint.digest).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(hash: &str, hex: &str) -> Fingerprint {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        Fingerprint { hash: hash.to_owned(), digest: (0..hex.len()).step_by(2).map(byte).collect() }
    }

    #[test]
    fn each_hash_function_of_the_contract_is_known() {
        // The FIPS 180 examples for "abc".
        let good = [
            of("sha-1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            of("sha-256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            of(
                "sha-384",
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
                 8086072ba1e7cc2358baeca134c825a7",
            ),
            of(
                "sha-512",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ];
        for fingerprint in &good {
            assert!(matches_any(b"abc", std::slice::from_ref(fingerprint)), "{}", fingerprint.hash);
            assert!(!matches_any(b"abd", std::slice::from_ref(fingerprint)));
        }
        assert!(matches_any(b"abc", &[of("sha-1", "00"), good[1].clone()]));
        assert!(!matches_any(b"abc", &[Fingerprint { hash: "md5".to_owned(), ..good[1].clone() }]));
        assert!(!matches_any(b"abc", &[]));
    }

    #[test]
    fn the_own_fingerprint_is_that_of_the_own_certificate() {
        let identity = Identity::generate().unwrap();
        let der = identity.certificate().certificate[0].as_ref();
        assert!(matches_any(der, std::slice::from_ref(identity.fingerprint())));
    }
}
