use dataplane_core::srtp::{Inbound, MAX_OVERHEAD, Outbound, Unprotected};
use dataplane_core::wire::rtp::{self, RtpHeader, payload_len};
use dataplane_core::wire::{av1, demux, ext, h264, vp8, vp9};
use dataplane_protocol::SrtpProfile;

/// All profiles with the lengths of key and salt.
pub(crate) const PROFILES: [(SrtpProfile, usize, usize); 3] = [
    (SrtpProfile::AeadAes128Gcm, 16, 12),
    (SrtpProfile::AeadAes256Gcm, 32, 12),
    (SrtpProfile::Aes128CmSha1_80, 16, 14),
];

/// RTP packets: everything that a view points to is within the packet, setters and the extension writer are read
/// back, a sealed packet opens once, and the input itself never does.
pub fn rtp(data: &[u8]) {
    let _ = demux::classify(data);
    payload(data);
    let Ok(header) = RtpHeader::parse(data) else { return };
    assert!((12..=data.len()).contains(&header.header_len));
    if let Ok(len) = payload_len(data, &header) {
        assert!(header.header_len + len <= data.len());
        payload(&data[header.header_len..header.header_len + len]);
    }
    extensions(data, &header);
    setters(data, &header);
    for profile in PROFILES {
        protection(data, &header, profile);
    }
}

fn payload(payload: &[u8]) {
    let _ = (h264::is_keyframe_start(payload), av1::is_keyframe_start(payload));
    assert!(!vp8::is_keyframe_start(payload) || vp8::is_frame_start(payload));
    assert!(!vp9::is_keyframe_start(payload) || vp9::is_frame_start(payload));
    if let Some(descriptor) = vp8::Descriptor::parse(payload) {
        assert!(descriptor.header_len <= payload.len());
        if let Some(id) = descriptor.picture_id {
            let mut changed = payload.to_vec();
            id.set(&mut changed, !id.value);
            let mask = if id.wide { 0x7fff } else { 0x7f };
            let expected = vp8::PictureId { value: !id.value & mask, ..id };
            let expected = vp8::Descriptor { picture_id: Some(expected), ..descriptor };
            assert_eq!(vp8::Descriptor::parse(&changed), Some(expected));
        }
    }
    if let Some(descriptor) = vp9::Descriptor::parse(payload) {
        assert!(descriptor.header_len <= payload.len());
        assert!(descriptor.tl0_pic_idx.is_none_or(|(value, at)| payload[at] == value));
    }
}

fn extensions(packet: &[u8], header: &RtpHeader) {
    let elements: Vec<_> = ext::elements(packet, header).collect();
    let Some(block) = header.ext else { return assert!(elements.is_empty()) };
    assert!(elements.iter().map(|(_, data)| data.len() + 1).sum::<usize>() <= block.len);

    let mut out = vec![0; block.len + 8];
    let one_byte = block.profile == ext::ONE_BYTE_PROFILE;
    let mut writer = if one_byte { ext::ExtWriter::one_byte(&mut out) } else { ext::ExtWriter::two_byte(&mut out) };
    for (id, data) in &elements {
        assert!(writer.push(*id, data).is_some(), "an element that was read does not fit its own block");
    }
    let len = writer.finish();
    assert_eq!(len == 0, elements.is_empty());
    if len != 0 {
        let again = [&[0x90, 0], &packet[2..12], &out[..len]].concat();
        let Ok(header) = RtpHeader::parse(&again) else { panic!("a written block is refused") };
        assert!(ext::elements(&again, &header).eq(elements));
    }
}

fn setters(packet: &[u8], header: &RtpHeader) {
    let mut changed = packet.to_vec();
    rtp::set_marker(&mut changed, !header.marker);
    rtp::set_payload_type(&mut changed, !header.payload_type & 0x7f);
    rtp::set_sequence(&mut changed, !header.sequence);
    rtp::set_timestamp(&mut changed, !header.timestamp);
    rtp::set_ssrc(&mut changed, !header.ssrc);
    let expected = RtpHeader {
        marker: !header.marker,
        payload_type: !header.payload_type & 0x7f,
        sequence: !header.sequence,
        timestamp: !header.timestamp,
        ssrc: !header.ssrc,
        ..*header
    };
    assert_eq!(RtpHeader::parse(&changed), Ok(expected));
    assert_eq!(changed[12..], packet[12..]);
}

fn protection(packet: &[u8], header: &RtpHeader, (profile, key, salt): (SrtpProfile, usize, usize)) {
    let (key, salt) = (vec![0x17; key], vec![0x71; salt]);
    let (Ok(outbound), Ok(mut inbound)) = (Outbound::new(profile, &key, &salt), Inbound::new(profile, &key, &salt))
    else {
        panic!("good keys are refused")
    };
    let (ssrc, sequence) = (header.ssrc, header.sequence);
    assert!(inbound.unprotect_rtp(&mut packet.to_vec(), header.header_len, ssrc, sequence).is_err());

    let mut sealed = [packet, &[0; MAX_OVERHEAD]].concat();
    let index = u64::from(sequence);
    let Ok(len) = outbound.protect_rtp(&mut sealed, packet.len(), header.header_len, index) else {
        panic!("a packet that parses cannot be sealed")
    };
    assert_eq!(sealed[..header.header_len], packet[..header.header_len]);
    sealed.truncate(len);
    let mut opened = sealed.clone();
    let expected = Unprotected { len: packet.len(), index };
    assert_eq!(inbound.unprotect_rtp(&mut opened, header.header_len, ssrc, sequence), Ok(expected));
    assert_eq!(opened[..packet.len()], *packet);
    assert!(inbound.unprotect_rtp(&mut sealed, header.header_len, ssrc, sequence).is_err(), "a replay");
}
