use dataplane_core::srtp::{Inbound, MAX_OVERHEAD, Outbound};
use dataplane_core::wire::rtcp::{Rtcp, RtcpError, RtcpWriter, packets};
use dataplane_core::wire::twcc::{self, Feedback};

use super::rtp::PROFILES;

/// RTCP compounds: what is read is written and read again without a change, feedback about arbitrary arrivals says
/// what it was given, a sealed compound opens once, and the input itself never does.
pub fn rtcp(data: &[u8]) {
    let data = &data[..data.len().min(dataplane_core::MAX_DATAGRAM)];
    let mut failed = false;
    for packet in packets(data) {
        assert!(!failed, "wrong framing ends the compound");
        match packet {
            Ok(packet) => rewrite(&packet),
            Err(error) => failed = !matches!(error, RtcpError::Truncated(_)),
        }
    }
    feedback(data);
    for profile in PROFILES {
        protection(data, profile);
    }
}

/// Writes `packet` by what was read of it and compares what is then read.
fn rewrite(packet: &Rtcp<'_>) {
    // A NACK of 4 bytes tells up to 17 numbers, of which each may take 4 bytes when they are in no order.
    let mut out = [0; 17 * dataplane_core::MAX_DATAGRAM];
    let mut writer = RtcpWriter::new(&mut out);
    let (wrote, expected) = match packet.clone() {
        Rtcp::SenderReport { ssrc, ntp, rtp, packets, octets, blocks } => {
            let blocks: Vec<_> = blocks.collect();
            (
                writer.sender_report(ssrc, ntp, rtp, packets, octets, &blocks),
                format!("{ssrc} {ntp} {rtp} {packets} {octets} {blocks:?}"),
            )
        }
        Rtcp::ReceiverReport { ssrc, blocks } => {
            let blocks: Vec<_> = blocks.collect();
            (writer.receiver_report(ssrc, &blocks), format!("{ssrc} {blocks:?}"))
        }
        Rtcp::Pli { sender, media } => (writer.pli(sender, media), format!("{sender} {media}")),
        Rtcp::Nack { sender, media, lost } => {
            let lost: Vec<_> = lost.collect();
            if lost.is_empty() {
                return;
            }
            (writer.nack(sender, media, &lost), format!("{sender} {media} {:?}", set(lost)))
        }
        Rtcp::Remb { sender, bitrate_bps, ssrcs } => {
            let ssrcs: Vec<_> = ssrcs.collect();
            // Beyond 64 bits the value that was read is not the one that was sent.
            let expected = format!("{sender} {} {ssrcs:?}", eighteen_bits(bitrate_bps));
            (writer.remb(sender, bitrate_bps, &ssrcs), expected)
        }
        Rtcp::Fir { sender, entries } => {
            let Some((media, sequence)) = entries.last() else { return };
            (writer.fir(sender, media, sequence), format!("{sender} [({media}, {sequence})]"))
        }
        Rtcp::Bye { ssrcs } => {
            let Some(ssrc) = ssrcs.last() else { return };
            (writer.bye(ssrc), format!("[{ssrc}]"))
        }
        Rtcp::TransportCc { fci, .. } => {
            if let Some(view) = twcc::parse_feedback(fci) {
                assert_eq!(view.packets().count(), usize::from(view.status_count));
            }
            return;
        }
        Rtcp::Sdes | Rtcp::Other { .. } => return,
    };
    assert!(wrote, "{packet:?} does not fit");
    let len = writer.len();
    let mut again = packets(&out[..len]);
    let Some(Ok(first)) = again.next() else { panic!("our own packet is refused") };
    assert!(again.next().is_none());
    assert_eq!(describe(&first), expected);
}

fn describe(packet: &Rtcp<'_>) -> String {
    match packet.clone() {
        Rtcp::SenderReport { ssrc, ntp, rtp, packets, octets, blocks } => {
            format!("{ssrc} {ntp} {rtp} {packets} {octets} {:?}", blocks.collect::<Vec<_>>())
        }
        Rtcp::ReceiverReport { ssrc, blocks } => format!("{ssrc} {:?}", blocks.collect::<Vec<_>>()),
        Rtcp::Pli { sender, media } => format!("{sender} {media}"),
        Rtcp::Nack { sender, media, lost } => format!("{sender} {media} {:?}", set(lost.collect())),
        Rtcp::Remb { sender, bitrate_bps, ssrcs } => {
            format!("{sender} {bitrate_bps} {:?}", ssrcs.collect::<Vec<_>>())
        }
        Rtcp::Fir { sender, entries } => format!("{sender} {:?}", entries.collect::<Vec<_>>()),
        Rtcp::Bye { ssrcs } => format!("{:?}", ssrcs.collect::<Vec<_>>()),
        other => format!("{other:?}"),
    }
}

/// The numbers without order and repetition, which the writer does not keep of unordered ones.
fn set(mut numbers: Vec<u16>) -> Vec<u16> {
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// What REMB keeps of a rate.
fn eighteen_bits(rate: u64) -> u64 {
    let shift = (u64::BITS - rate.leading_zeros()).saturating_sub(18);
    rate >> shift << shift
}

/// Takes the input for a list of pauses between arrivals; an odd first byte of three is a loss.
fn feedback(data: &[u8]) {
    let mut now = 0i64;
    let arrivals: Vec<_> = data
        .chunks_exact(3)
        .map(|pause| {
            now += i64::from(i16::from_be_bytes([pause[1], pause[2]])) * i64::from(pause[0]);
            (pause[0] & 1 == 0).then_some(now)
        })
        .collect();
    let mut out = [0; 1200];
    let feedback = Feedback { sender: 1, media: 2, count: 3, base_sequence: 65_500 };
    let Some(written) = twcc::write_feedback(&mut out, feedback, &arrivals) else { return };
    let mut compound = packets(&out[..written.len]);
    let Some(Ok(Rtcp::TransportCc { sender: 1, media: 2, fci })) = compound.next() else {
        panic!("our own feedback is refused")
    };
    assert!(compound.next().is_none());
    let Some(view) = twcc::parse_feedback(fci) else { panic!("our own feedback is malformed") };
    assert_eq!((view.base_sequence, view.count), (65_500, 3));
    assert_eq!(view.packets().count(), written.covered);
    let mut ticks = i64::from(view.reference_time) * (64_000 / twcc::TICK_MICROS);
    for ((_, delta), arrival) in view.packets().zip(&arrivals) {
        assert_eq!(delta.is_some(), arrival.is_some());
        if let (Some(delta), Some(arrival)) = (delta, arrival) {
            ticks += i64::from(delta);
            assert!((ticks * twcc::TICK_MICROS - arrival).abs() <= twcc::TICK_MICROS / 2);
        }
    }
}

fn protection(data: &[u8], (profile, key, salt): (dataplane_protocol::SrtpProfile, usize, usize)) {
    let (key, salt) = (vec![0x17; key], vec![0x71; salt]);
    let (Ok(mut outbound), Ok(mut inbound)) = (Outbound::new(profile, &key, &salt), Inbound::new(profile, &key, &salt))
    else {
        panic!("good keys are refused")
    };
    assert!(inbound.unprotect_rtcp(&mut data.to_vec()).is_err());
    let mut sealed = [data, &[0; MAX_OVERHEAD]].concat();
    let Ok(len) = outbound.protect_rtcp(&mut sealed, data.len()) else { return assert!(data.len() < 8) };
    sealed.truncate(len);
    let mut opened = sealed.clone();
    assert_eq!(inbound.unprotect_rtcp(&mut opened), Ok(data.len()));
    assert_eq!(opened[..data.len()], *data);
    assert!(inbound.unprotect_rtcp(&mut sealed).is_err(), "a replay");
}
