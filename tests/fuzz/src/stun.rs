use dataplane_core::wire::stun::{
    BINDING, Class, IntegrityKey, Message, Role, write_binding_request, write_binding_success,
};

/// STUN messages: what parses has consistent parts, and a message written from the input's parts is read back, but not
/// when a bit of it is flipped.
pub fn stun(data: &[u8]) {
    if let Ok(message) = Message::parse(data) {
        parsed(&message);
    }
    written(data);
}

fn parsed(message: &Message<'_>) {
    assert!(!message.verify_integrity(&IntegrityKey::new("a key that no input was made with")));
    assert!(message.method() < 1 << 12);
    assert!(message.error_code().is_none_or(|(code, _)| (300..700).contains(&code)));
    let (count, first) = message.unknown_required();
    assert!(first.iter().all(|kind| *kind < 0x8000));
    assert!(first.iter().skip(count).all(|kind| *kind == 0), "no more than were counted");

    let key = IntegrityKey::new("answer");
    let mut out = [0; 2048];
    if let Some(address) = message.mapped_address()
        && let Some(len) = write_binding_success(&mut out, message.transaction_id(), address, &key)
    {
        let again = read_back(&out[..len], &key);
        assert_eq!(again.class(), Class::Success);
        assert_eq!(again.mapped_address(), Some(address));
    }
    if let (Some(username), Some(priority)) = (message.username(), message.priority()) {
        let role = Role::Controlling(message.ice_controlling().unwrap_or(1));
        let (id, nominate) = (message.transaction_id(), message.use_candidate());
        if let Some(len) = write_binding_request(&mut out, id, username, priority, role, nominate, &key) {
            let again = read_back(&out[..len], &key);
            assert_eq!((again.class(), again.method()), (Class::Request, BINDING));
            assert_eq!((again.username(), again.priority()), (Some(username), Some(priority)));
            assert_eq!((again.transaction_id(), again.use_candidate()), (id, nominate));
        }
    }
}

fn written(data: &[u8]) {
    let Some((&[a, b, flip_low, flip_high, ref id @ ..], text)) = data.split_first_chunk::<16>() else { return };
    let username = String::from_utf8_lossy(text);
    let key = IntegrityKey::new(&username);
    let (tie, controlling, nominate) = (u64::from(a) << 32 | u64::from(b), a & 1 != 0, b & 1 != 0);
    let role = if controlling { Role::Controlling(tie) } else { Role::Controlled(tie) };
    let priority = u32::from(a) << 16 | u32::from(b);
    let mut out = [0; 1500];
    let Some(len) = write_binding_request(&mut out, *id, &username, priority, role, nominate, &key) else { return };

    let message = read_back(&out[..len], &key);
    assert_eq!((message.transaction_id(), message.username()), (*id, Some(username.as_ref())));
    assert_eq!((message.priority(), message.use_candidate()), (Some(priority), nominate));
    assert_eq!(message.ice_controlling(), controlling.then_some(tie));
    assert_eq!(message.ice_controlled(), (!controlling).then_some(tie));

    let bit = usize::from(u16::from_be_bytes([flip_high, flip_low])) % (len * 8);
    out[bit / 8] ^= 1 << (bit % 8);
    let accepted = Message::parse(&out[..len]).is_ok_and(|m| m.verify_fingerprint() && m.verify_integrity(&key));
    assert!(!accepted, "bit {bit} does not count");
}

fn read_back<'a>(bytes: &'a [u8], key: &IntegrityKey) -> Message<'a> {
    match Message::parse(bytes) {
        Ok(message) => {
            assert!(message.verify_fingerprint() && message.verify_integrity(key));
            assert_eq!(message.unknown_required().0, 0);
            message
        }
        Err(error) => panic!("our own message is refused: {error}"),
    }
}
