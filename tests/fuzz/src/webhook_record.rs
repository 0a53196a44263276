use millrace_controlplane::webhook::record::{Damaged, HEADER, Record, decode, encode, seal};

/// Files of the webhook's queue: whatever a crash or a broken disk has left in them, reading ends, and what is read as a
/// record is one, byte by byte.
pub fn webhook_record(data: &[u8]) {
    read(data);
    // Random bytes hardly ever have the right sum: with it, they are looked into.
    let mut sealed = [&[0; HEADER], data].concat();
    seal(&mut sealed);
    read(&sealed);
    sealed.truncate(sealed.len() - 1);
    assert_eq!(decode(&sealed), Err(Damaged), "a record without its last byte is none");
}

fn read(mut bytes: &[u8]) {
    while let Ok(Some((record, len))) = decode(bytes) {
        assert!((HEADER..=bytes.len()).contains(&len));
        if let Record::Event { session, body, .. } = record {
            assert!(session.len() + body.len() < len);
        }
        let mut written = Vec::new();
        assert!(encode(&record, &mut written), "what was read can be written");
        assert_eq!(written, &bytes[..len]);
        bytes = &bytes[len..];
    }
}
