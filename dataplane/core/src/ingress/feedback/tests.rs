use proptest::prelude::*;

use super::*;
use crate::wire::rtcp::{self, Rtcp};
use crate::wire::twcc::parse_feedback;

fn at(ms: u64) -> Instant {
    Instant::default() + Duration::from_millis(1_000_000 + ms)
}

/// What the publisher learns: every (sequence, arrived) told since the last call.
fn told(feedback: &mut TransportFeedback, now: Instant) -> Vec<(u16, bool)> {
    let mut told = Vec::new();
    while feedback.due().is_some_and(|due| due <= now) {
        let mut bytes = [0; 1_200];
        let mut writer = RtcpWriter::new(&mut bytes);
        if !feedback.write(now, &mut writer, 1, 2) {
            continue;
        }
        let len = writer.len();
        for packet in rtcp::packets(&bytes[..len]) {
            let Ok(Rtcp::TransportCc { fci, .. }) = packet else { panic!("no feedback: {packet:?}") };
            let view = parse_feedback(fci).unwrap();
            told.extend(view.packets().map(|(sequence, delta)| (sequence, delta.is_some())));
        }
    }
    told
}

#[test]
fn arrivals_and_gaps_are_told_once() {
    let mut feedback = TransportFeedback::default();
    for sequence in [0xfffe, 0xffff, 1] {
        feedback.on_packet(at(0), sequence);
    }
    assert_eq!(told(&mut feedback, at(49)), []);
    assert_eq!(told(&mut feedback, at(50)), [(0xfffe, true), (0xffff, true), (0, false), (1, true)]);
    assert_eq!(feedback.due(), None);
    feedback.on_packet(at(60), 2);
    assert_eq!(told(&mut feedback, at(110)), [(2, true)]);
}

#[test]
fn a_late_packet_is_told_again() {
    let mut feedback = TransportFeedback::default();
    feedback.on_packet(at(0), 10);
    feedback.on_packet(at(0), 12);
    told(&mut feedback, at(50));
    feedback.on_packet(at(60), 11);
    assert_eq!(told(&mut feedback, at(110)), [(11, true), (12, true)]);
}

#[test]
fn a_burst_needs_more_than_one_packet() {
    let mut feedback = TransportFeedback::default();
    for sequence in 0..1_000 {
        feedback.on_packet(at(u64::from(sequence) / 50), sequence);
    }
    let told = told(&mut feedback, at(100));
    assert_eq!(told.len(), 1_000);
    assert!(told.iter().all(|(_, arrived)| *arrived));
}

proptest! {
    /// Under any loss the publisher learns of every arrival, and of no packet that did not come.
    #[test]
    fn every_arrival_is_told(
        start in any::<u16>(), lost in proptest::collection::hash_set(0u16..600, 0..400)
    ) {
        let mut feedback = TransportFeedback::default();
        let mut learned = std::collections::BTreeMap::new();
        for n in 0..600u16 {
            let now = at(u64::from(n) * 3);
            if !lost.contains(&n) {
                feedback.on_packet(now, start.wrapping_add(n));
            }
            learned.extend(told(&mut feedback, now));
        }
        learned.extend(told(&mut feedback, at(10_000)));
        for n in 0..600u16 {
            let arrived = learned.get(&start.wrapping_add(n)).copied().unwrap_or(false);
            prop_assert_eq!(arrived, !lost.contains(&n), "{}", n);
        }
    }
}
