//! A look into the ClientHello before the handshake: which SRTP profiles does the client offer?
//!
//! `webrtc-dtls` takes the client's first acceptable profile, and browsers do not put the fastest first; so the
//! best mutual one is chosen here and is then the only one configured. The ClientHello may come in fragments
//! (RFC 6347 4.2.3), as that of a Chromium with post-quantum key shares does.

use dataplane_protocol::SrtpProfile;

/// Longest ClientHello taken, in bytes: Chromium's has 1,413, and a hybrid key share twice that size still fits.
const MAX_HELLO: usize = 8192;
/// Record header, RFC 6347 4.1.
const RECORD_HEADER: usize = 13;
/// Handshake header, RFC 6347 4.2.2.
const HANDSHAKE_HEADER: usize = 12;
const CONTENT_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// `use_srtp`, RFC 5764 9.
const EXTENSION_USE_SRTP: u16 = 14;
/// Profiles of RFC 5764 4.1.2 and RFC 7714 14.2, best first.
const PREFERENCE: [(u16, SrtpProfile); 3] = [
    (0x0007, SrtpProfile::AeadAes128Gcm),
    (0x0008, SrtpProfile::AeadAes256Gcm),
    (0x0001, SrtpProfile::Aes128CmSha1_80),
];

/// The best profile among those offered.
pub(crate) fn best_profile(offered: &[u16]) -> Option<SrtpProfile> {
    PREFERENCE.iter().find(|(code, _)| offered.contains(code)).map(|(_, profile)| *profile)
}

/// Collects a ClientHello from datagrams.
#[derive(Debug, Default)]
pub(crate) struct HelloPeek {
    sequence: u16,
    body: Vec<u8>,
    is_known: Vec<bool>,
}

impl HelloPeek {
    /// Takes a datagram. Once the ClientHello is whole, gives the offered SRTP profiles, none if the extension
    /// is missing. What is malformed is passed over.
    pub(crate) fn push(&mut self, datagram: &[u8]) -> Option<Vec<u16>> {
        let mut rest = datagram;
        while let Some((header, behind)) = rest.split_at_checked(RECORD_HEADER) {
            let len = usize::from(u16::from_be_bytes([header[11], header[12]]));
            let (content, behind) = behind.split_at_checked(len)?;
            rest = behind;
            let epoch = u16::from_be_bytes([header[3], header[4]]);
            if header[0] == CONTENT_HANDSHAKE
                && epoch == 0
                && let Some(profiles) = self.push_record(content)
            {
                return Some(profiles);
            }
        }
        None
    }

    /// Takes the handshake messages, or fragments of such, of one record.
    fn push_record(&mut self, content: &[u8]) -> Option<Vec<u16>> {
        let mut rest = content;
        while let Some((header, behind)) = rest.split_at_checked(HANDSHAKE_HEADER) {
            let (fragment, behind) = behind.split_at_checked(u24(&header[9..12]))?;
            rest = behind;
            if header[0] == CLIENT_HELLO {
                let sequence = u16::from_be_bytes([header[4], header[5]]);
                self.put(sequence, u24(&header[1..4]), u24(&header[6..9]), fragment);
                if !self.body.is_empty() && self.is_known.iter().all(|known| *known) {
                    let profiles = offered_profiles(&self.body);
                    self.restart(0, 0);
                    return profiles;
                }
            }
        }
        None
    }

    fn put(&mut self, sequence: u16, len: usize, offset: usize, fragment: &[u8]) {
        let end = offset + fragment.len();
        if len > MAX_HELLO || end > len {
            return;
        }
        if sequence != self.sequence || len != self.body.len() {
            self.restart(sequence, len);
        }
        self.body[offset..end].copy_from_slice(fragment);
        self.is_known[offset..end].fill(true);
    }

    fn restart(&mut self, sequence: u16, len: usize) {
        self.sequence = sequence;
        self.body.clear();
        self.body.resize(len, 0);
        self.is_known.clear();
        self.is_known.resize(len, false);
    }
}

fn u24(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// The profiles in a whole ClientHello; none if there is no `use_srtp`, `None` if it is malformed.
fn offered_profiles(body: &[u8]) -> Option<Vec<u16>> {
    // client_version, random
    let mut rest = body.get(2 + 32..)?;
    // session_id, cookie
    for _ in 0..2 {
        rest = skip(rest, 1)?;
    }
    // cipher_suites, compression_methods
    rest = skip(rest, 2)?;
    rest = skip(rest, 1)?;
    if rest.is_empty() {
        return Some(Vec::new());
    }
    let (mut extensions, _) = vector(rest, 2)?;
    while let Some((kind, behind)) = extensions.split_at_checked(2) {
        let (value, behind) = vector(behind, 2)?;
        extensions = behind;
        if u16::from_be_bytes([kind[0], kind[1]]) == EXTENSION_USE_SRTP {
            let (profiles, _) = vector(value, 2)?;
            return Some(profiles.chunks_exact(2).map(|code| u16::from_be_bytes([code[0], code[1]])).collect());
        }
    }
    Some(Vec::new())
}

fn skip(bytes: &[u8], prefix: usize) -> Option<&[u8]> {
    vector(bytes, prefix).map(|(_, rest)| rest)
}

/// Splits off a vector whose length is given by the first `prefix` bytes.
fn vector(bytes: &[u8], prefix: usize) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_at_checked(prefix)?;
    rest.split_at_checked(u24(len))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ClientHello with some other extensions around `use_srtp`.
    pub(crate) fn body(profiles: Option<&[u16]>) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([7; 32]);
        body.extend([0, 0]);
        body.extend([0, 2, 0xc0, 0x2b]);
        body.extend([1, 0]);
        let mut extensions = vec![0, 23, 0, 0];
        extensions.extend([0, 51, 0x04, 0xb0]);
        extensions.extend([9; 1200]);
        if let Some(profiles) = profiles {
            let len = profiles.len() as u8 * 2;
            extensions.extend([0, 14, 0, len + 3, 0, len]);
            extensions.extend(profiles.iter().flat_map(|code| code.to_be_bytes()));
            extensions.push(0);
        }
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        body
    }

    fn record(body: &[u8], from: usize, to: usize) -> Vec<u8> {
        let u24 = |value: usize| (value as u32).to_be_bytes()[1..].to_vec();
        let mut content = vec![CLIENT_HELLO];
        content.extend(u24(body.len()));
        content.extend([0, 0]);
        content.extend(u24(from));
        content.extend(u24(to - from));
        content.extend(&body[from..to]);
        let mut record = vec![CONTENT_HANDSHAKE, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
        record.extend((content.len() as u16).to_be_bytes());
        record.extend(content);
        record
    }

    #[test]
    fn chromiums_two_fragments_in_either_order() {
        let body = body(Some(&[0x0001, 0x0008, 0x0007]));
        let (first, second) = (record(&body, 0, 1100), record(&body, 1100, body.len()));
        for order in [[&first, &second], [&second, &first]] {
            let mut peek = HelloPeek::default();
            assert_eq!(peek.push(order[0]), None);
            assert_eq!(peek.push(order[0]), None, "a repeated fragment completes nothing");
            assert_eq!(peek.push(order[1]), Some(vec![1, 8, 7]));
        }
        let mut both = first.clone();
        both.extend(&second);
        assert_eq!(HelloPeek::default().push(&both), Some(vec![1, 8, 7]));
    }

    #[test]
    fn a_hello_without_use_srtp_offers_nothing() {
        let body = body(None);
        assert_eq!(HelloPeek::default().push(&record(&body, 0, body.len())), Some(Vec::new()));
    }

    #[test]
    fn a_hello_of_another_length_starts_anew() {
        let (old, new) = (body(None), body(Some(&[7])));
        let mut peek = HelloPeek::default();
        assert_eq!(peek.push(&record(&old, 0, 600)), None);
        assert_eq!(peek.push(&record(&new, 600, new.len())), None);
        assert_eq!(peek.push(&record(&new, 0, 600)), Some(vec![7]));
    }

    #[test]
    fn the_order_is_ours_not_the_clients() {
        assert_eq!(best_profile(&[1, 8, 7]), Some(SrtpProfile::AeadAes128Gcm));
        assert_eq!(best_profile(&[1, 8]), Some(SrtpProfile::AeadAes256Gcm));
        assert_eq!(best_profile(&[2, 1]), Some(SrtpProfile::Aes128CmSha1_80));
        assert_eq!(best_profile(&[2, 5]), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8)) {
            let mut peek = HelloPeek::default();
            for datagram in &datagrams {
                peek.push(datagram);
            }
        }

        #[test]
        fn a_damaged_hello_never_panics(at in 0usize..1300, value: u8, cut in 0usize..1400) {
            let mut body = body(Some(&[1, 7]));
            let len = body.len();
            body[at % len] = value;
            let mut whole = record(&body, 0, len);
            let len = whole.len();
            whole[(at * 7) % len] ^= value;
            HelloPeek::default().push(&whole[..cut.min(len)]);
            HelloPeek::default().push(&whole);
        }

        #[test]
        fn any_split_gives_the_same(cut in 1usize..1200, codes in proptest::collection::vec(any::<u16>(), 0..20)) {
            let body = body(Some(&codes));
            let mut peek = HelloPeek::default();
            prop_assert_eq!(peek.push(&record(&body, 0, cut)), None);
            prop_assert_eq!(peek.push(&record(&body, cut, body.len())), Some(codes));
        }
    }
}
