use proptest::prelude::*;
use stun::attributes::{ATTR_ICE_CONTROLLED, ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, RawAttribute};
use stun::error_code::{ErrorCode, ErrorCodeAttribute};
use stun::fingerprint::FINGERPRINT;
use stun::integrity::MessageIntegrity;
use stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Getter, Setter};
use stun::textattrs::{TextAttribute, Username};
use stun::uattrs::UnknownAttributes;
use stun::xoraddr::XorMappedAddress;

use super::super::test_bytes::hex;
use super::*;

/// RFC 5769 2.1 to 2.3.
const SAMPLE_PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
const SAMPLE_REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae
    802200105354554e207465737420636c69656e74 002400046e0001ff 80290008932ff9b151263b36
    000600096576746a3a68367659202020 000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2 80280004e57a3bcf";
const SAMPLE_RESPONSE_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220
    002000080001a147e112a643 000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004c07d4c96";
const SAMPLE_RESPONSE_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220
    002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9 00080014a382954e4be67bf11784c97c8292c275bfe3ed41
    80280004c8fb0b4c";

const ID: [u8; 12] = *b"transaction!";

fn written(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut out = vec![0xaa; 600];
    let len = write(&mut out).unwrap();
    out.truncate(len);
    out
}

fn request(use_candidate: bool, role: Role, key: &IntegrityKey) -> Vec<u8> {
    written(|out| write_binding_request(out, ID, "abcd:efgh", 0x6e00_01ff, role, use_candidate, key))
}

#[test]
fn the_sample_request_of_rfc_5769() {
    let bytes = hex(SAMPLE_REQUEST);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Request, BINDING));
    assert_eq!(message.transaction_id()[..], hex("b7e7a701bc34d686fa87dfae"));
    assert_eq!(message.username(), Some("evtj:h6vY"));
    assert_eq!(message.priority(), Some(0x6e00_01ff));
    assert_eq!(message.ice_controlled(), Some(0x932f_f9b1_5126_3b36));
    assert_eq!(message.ice_controlling(), None);
    assert!(!message.use_candidate());
    assert!(message.verify_fingerprint());
    assert!(message.verify_integrity(&IntegrityKey::new(SAMPLE_PASSWORD)));
    assert!(!message.verify_integrity(&IntegrityKey::new("another password")));
    assert_eq!(message.unknown_required().0, 0);
}

#[test]
fn the_sample_responses_of_rfc_5769() {
    for (sample, address) in
        [(SAMPLE_RESPONSE_V4, "192.0.2.1:32853"), (SAMPLE_RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let bytes = hex(sample);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.class(), Class::Success);
        assert_eq!(message.mapped_address(), Some(address.parse().unwrap()));
        assert!(message.verify_fingerprint());
        assert!(message.verify_integrity(&IntegrityKey::new(SAMPLE_PASSWORD)));
    }
}

#[test]
fn a_changed_byte_breaks_the_samples() {
    let key = IntegrityKey::new(SAMPLE_PASSWORD);
    let bytes = hex(SAMPLE_REQUEST);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x01;
        let good = Message::parse(&changed).is_ok_and(|m| m.verify_fingerprint() && m.verify_integrity(&key));
        assert!(!good, "byte {at}");
    }
}

#[test]
fn attributes_after_integrity_do_not_count_but_those_before_it_do() {
    let key = IntegrityKey::new("secret");
    let mut bytes = request(false, Role::Controlling(1), &key);
    // USE-CANDIDATE appended by somebody without the key, and the fingerprint made right again.
    bytes.truncate(bytes.len() - 8);
    bytes.extend_from_slice(&hex("00250000"));
    let length = (bytes.len() + 8 - HEADER_LEN) as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    let crc = crc32::of(&bytes) ^ FINGERPRINT_XOR;
    bytes.extend_from_slice(&hex("80280004"));
    bytes.extend_from_slice(&crc.to_be_bytes());
    let message = Message::parse(&bytes).unwrap();
    assert!(message.verify_fingerprint() && message.verify_integrity(&key));
    assert!(!message.use_candidate());
    assert_eq!(message.ice_controlling(), Some(1));
}

#[test]
fn the_first_of_repeated_attributes_counts() {
    let bytes = hex("000100102112a442000000000000000000000000 0024000400000001 0024000400000002");
    assert_eq!(Message::parse(&bytes).unwrap().priority(), Some(1));
}

#[test]
fn unknown_required_attributes_are_counted_and_the_first_eight_told() {
    let mut bytes = hex("000100002112a442000000000000000000000000");
    for kind in 0x7f00..0x7f0au16 {
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
    }
    bytes.extend_from_slice(&hex("80ff0000 00240004 00000001"));
    let length = (bytes.len() - HEADER_LEN) as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    let (count, first) = Message::parse(&bytes).unwrap().unknown_required();
    assert_eq!(count, 10);
    assert_eq!(first.to_vec(), (0x7f00..0x7f08).collect::<Vec<u16>>());
}

#[test]
fn malformed_messages_are_told_apart() {
    let good = request(false, Role::Controlled(9), &IntegrityKey::new("x"));
    assert_eq!(Message::parse(&good[..19]).unwrap_err(), StunError::BadLength);
    assert_eq!(Message::parse(&good[..good.len() - 4]).unwrap_err(), StunError::BadLength);
    let change = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        Message::parse(&bytes).map(|_| ()).unwrap_err()
    };
    assert_eq!(change(0, 0x40), StunError::BadHeader);
    assert_eq!(change(4, 0), StunError::BadHeader);
    assert_eq!(change(HEADER_LEN + 2, 0xff), StunError::BadAttribute);
}

#[test]
fn a_message_without_fingerprint_or_integrity_verifies_neither() {
    let bytes = hex("000100002112a442000000000000000000000000");
    let message = Message::parse(&bytes).unwrap();
    assert!(!message.verify_fingerprint());
    assert!(!message.has_integrity());
    assert!(!message.verify_integrity(&IntegrityKey::new("")));
}

#[test]
fn errors_are_read_back() {
    let key = IntegrityKey::new("k");
    let bytes = written(|out| write_error(out, ID, 487, "Role Conflict", Some(&key)));
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Error, BINDING));
    assert_eq!(message.error_code(), Some((487, "Role Conflict")));
    assert!(message.verify_integrity(&key) && message.verify_fingerprint());

    let bytes = written(|out| write_unknown_attributes(out, ID, &[0x7f01, 0x0003, 0x001d], None));
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.error_code(), Some((420, "Unknown Attribute")));
    assert_eq!(message.unknown_attributes().collect::<Vec<_>>(), [0x7f01, 0x0003, 0x001d]);
    assert!(!message.has_integrity() && message.verify_fingerprint());
}

#[test]
fn writers_say_when_it_does_not_fit() {
    let key = IntegrityKey::new("k");
    let full = written(|out| write_binding_success(out, ID, "[::1]:9".parse().unwrap(), &key)).len();
    for room in 0..full {
        assert_eq!(write_binding_success(&mut vec![0; room], ID, "[::1]:9".parse().unwrap(), &key), None);
    }
    assert_eq!(write_binding_success(&mut vec![0; full], ID, "[::1]:9".parse().unwrap(), &key), Some(full));
}

fn decoded_by_oracle(bytes: &[u8]) -> stun::message::Message {
    let mut message = stun::message::Message::new();
    message.unmarshal_binary(bytes).unwrap();
    message
}

proptest! {
    #[test]
    fn our_requests_are_read_by_the_oracle_and_by_us(
        username in "[!-~]{1,60}", password in "[ -~]{0,80}", priority: u32, tie: u64,
        controlling: bool, use_candidate: bool, id: [u8; 12],
    ) {
        let key = IntegrityKey::new(&password);
        let role = if controlling { Role::Controlling(tie) } else { Role::Controlled(tie) };
        let bytes = written(|out| write_binding_request(out, id, &username, priority, role, use_candidate, &key));

        let mut oracle = decoded_by_oracle(&bytes);
        prop_assert_eq!(oracle.typ, BINDING_REQUEST);
        prop_assert_eq!(oracle.transaction_id.0, id);
        prop_assert_eq!(TextAttribute::get_from_as(&oracle, stun::attributes::ATTR_USERNAME).unwrap().text, username.clone());
        prop_assert_eq!(oracle.get(ATTR_PRIORITY).unwrap(), priority.to_be_bytes());
        let (named, other) = (ATTR_ICE_CONTROLLING, ATTR_ICE_CONTROLLED);
        let (named, other) = if controlling { (named, other) } else { (other, named) };
        prop_assert_eq!(oracle.get(named).unwrap(), tie.to_be_bytes());
        prop_assert!(!oracle.contains(other));
        prop_assert_eq!(oracle.contains(ATTR_USE_CANDIDATE), use_candidate);
        prop_assert!(FINGERPRINT.check(&oracle).is_ok());
        prop_assert!(MessageIntegrity::new_short_term_integrity(password).check(&mut oracle).is_ok());

        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.class(), Class::Request);
        prop_assert_eq!(message.transaction_id(), id);
        prop_assert_eq!(message.username(), Some(username.as_str()));
        prop_assert_eq!(message.priority(), Some(priority));
        prop_assert_eq!(message.ice_controlling(), controlling.then_some(tie));
        prop_assert_eq!(message.ice_controlled(), (!controlling).then_some(tie));
        prop_assert_eq!(message.use_candidate(), use_candidate);
        prop_assert!(message.verify_fingerprint() && message.verify_integrity(&key));
    }

    #[test]
    fn the_oracles_messages_are_read_by_us(username in "[!-~]{1,60}", password in "[ -~]{1,80}", id: [u8; 12]) {
        let mut oracle = stun::message::Message::new();
        oracle.build(&[
            Box::new(stun::agent::TransactionId(id)) as Box<dyn Setter>,
            Box::new(BINDING_REQUEST),
            Box::new(Username::new(stun::attributes::ATTR_USERNAME, username.clone())),
            Box::new(RawAttribute { typ: ATTR_PRIORITY, length: 4, value: vec![1, 2, 3, 4] }),
            Box::new(MessageIntegrity::new_short_term_integrity(password.clone())),
            Box::new(FINGERPRINT),
        ]).unwrap();
        let message = Message::parse(&oracle.raw).unwrap();
        prop_assert_eq!(message.transaction_id(), id);
        prop_assert_eq!(message.username(), Some(username.as_str()));
        prop_assert_eq!(message.priority(), Some(0x0102_0304));
        prop_assert!(message.verify_fingerprint());
        prop_assert!(message.verify_integrity(&IntegrityKey::new(&password)));
    }

    #[test]
    fn our_success_responses_are_read_by_the_oracle(ip: IpAddr, port: u16, id: [u8; 12]) {
        let key = IntegrityKey::new("password");
        let bytes = written(|out| write_binding_success(out, id, SocketAddr::new(ip, port), &key));
        let mut oracle = decoded_by_oracle(&bytes);
        prop_assert_eq!(oracle.typ, BINDING_SUCCESS);
        let mut address = XorMappedAddress::default();
        address.get_from(&oracle).unwrap();
        prop_assert_eq!((address.ip, address.port), (ip, port));
        prop_assert!(FINGERPRINT.check(&oracle).is_ok());
        prop_assert!(MessageIntegrity::new_short_term_integrity("password".into()).check(&mut oracle).is_ok());
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.mapped_address(), Some(SocketAddr::new(ip, port)));
    }

    #[test]
    fn our_errors_are_read_by_the_oracle(
        code in 300u16..700, reason in "[ -~]{0,60}", unknown in proptest::collection::vec(0u16..0x8000, 0..9),
    ) {
        let bytes = written(|out| write_error(out, ID, code, &reason, None));
        let mut attribute = ErrorCodeAttribute::default();
        attribute.get_from(&decoded_by_oracle(&bytes)).unwrap();
        prop_assert!(attribute.code == ErrorCode(code));
        prop_assert_eq!(attribute.reason, reason.clone().into_bytes());
        prop_assert_eq!(Message::parse(&bytes).unwrap().error_code(), Some((code, reason.as_str())));

        let bytes = written(|out| write_unknown_attributes(out, ID, &unknown, None));
        let mut listed = UnknownAttributes(Vec::new());
        listed.get_from(&decoded_by_oracle(&bytes)).unwrap();
        prop_assert_eq!(listed.0.iter().map(|kind| kind.value()).collect::<Vec<_>>(), unknown);
    }

    #[test]
    fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), fix: bool) {
        if fix && bytes.len() >= HEADER_LEN {
            let length = (bytes.len() - HEADER_LEN) as u16 & !3;
            bytes.truncate(HEADER_LEN + usize::from(length));
            bytes[0] &= 0x3f;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        }
        if let Ok(message) = Message::parse(&bytes) {
            let _ = (message.username(), message.mapped_address(), message.error_code(), message.use_candidate());
            let _ = (message.unknown_required(), message.unknown_attributes().count(), message.verify_fingerprint());
            prop_assert!(!message.verify_integrity(&IntegrityKey::new("nobody knows")));
        }
    }
}
