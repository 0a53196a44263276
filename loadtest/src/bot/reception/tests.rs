use super::*;

const MS: Duration = Duration::from_millis(1);

struct Stream {
    start: Instant,
    reception: Reception,
}

impl Stream {
    fn new() -> Self {
        let start = Instant::now();
        Self { start, reception: Reception::new(true, 90_000, start) }
    }

    /// One packet that is a whole picture.
    fn picture(&mut self, ms: u32, sequence: u16, key: bool) {
        let packet = Received { sequence, timestamp: ms * 90, marker: true, key };
        self.reception.packet(self.start + MS * ms, packet);
    }

    fn requests(&mut self, ms: u32) -> Requests {
        self.reception.requests(self.start + MS * ms)
    }
}

#[test]
fn pictures_count_from_the_first_keyframe_on() {
    let mut stream = Stream::new();
    stream.picture(0, 10, false);
    stream.picture(40, 11, true);
    stream.picture(80, 12, false);
    assert_eq!(stream.reception.counts().frames, 2);
    assert_eq!(stream.reception.take_key_waits(), [40 * MS]);
    assert!(stream.reception.jitter() < MS);
    assert_eq!(stream.reception.next_deadline(), None, "nothing to ask for");
}

#[test]
fn the_sequence_may_wrap() {
    let mut stream = Stream::new();
    for (i, sequence) in [65_534u16, 65_535, 0, 1].into_iter().enumerate() {
        stream.picture(i as u32 * 40, sequence, i == 0);
    }
    let counts = stream.reception.counts();
    assert_eq!((counts.received, counts.lost, counts.frames), (4, 0, 4));
    assert_eq!(stream.reception.report().0, 0);
}

#[test]
fn what_is_missing_is_asked_for_until_it_comes() {
    let mut stream = Stream::new();
    stream.picture(0, 1, true);
    stream.picture(40, 4, false);
    assert_eq!(stream.requests(40), Requests::default(), "it may be reordering");
    assert_eq!(stream.requests(51).again, [2, 3]);
    assert_eq!(stream.requests(60), Requests::default());
    assert_eq!(stream.requests(152).again, [2, 3]);
    let packet = |sequence| Received { sequence, timestamp: 0, marker: false, key: false };
    assert!(stream.reception.recovered(stream.start + 160 * MS, packet(2)));
    assert_eq!(stream.reception.counts().frames, 1, "the picture is not whole yet");
    assert!(stream.reception.recovered(stream.start + 170 * MS, packet(3)));
    assert!(!stream.reception.recovered(stream.start + 180 * MS, packet(3)), "once is enough");
    let counts = stream.reception.counts();
    assert_eq!((counts.frames, counts.lost, counts.recovered), (2, 0, 2));
}

#[test]
fn what_does_not_come_is_lost_and_needs_a_keyframe() {
    let mut stream = Stream::new();
    stream.picture(0, 1, true);
    stream.picture(40, 3, false);
    assert!(!stream.reception.needs_key());
    stream.requests(845);
    assert!(stream.reception.needs_key());
    stream.picture(900, 4, false);
    assert_eq!(stream.reception.counts().frames, 1, "undecodable");
    assert!(stream.requests(1_346).keyframe);
    assert!(!stream.requests(1_400).keyframe, "not so soon again");
    stream.picture(1_445, 5, true);
    let counts = stream.reception.counts();
    assert_eq!((counts.frames, counts.lost, counts.keyframe_requests), (2, 1, 1));
    assert_eq!(stream.reception.take_key_waits(), [Duration::ZERO, 600 * MS]);
    assert_eq!(counts.freezes, 0, "no mean to compare with yet");
}

#[test]
fn a_long_pause_is_a_freeze() {
    let mut stream = Stream::new();
    for i in 0..20u16 {
        stream.picture(u32::from(i) * 40, i, i == 0);
    }
    stream.picture(760 + 180, 20, false);
    assert_eq!(stream.reception.counts().freezes, 0, "long, but not yet a freeze");
    stream.picture(940 + 600, 21, false);
    let counts = stream.reception.counts();
    assert_eq!((counts.freezes, counts.frozen), (1, 600 * MS));
}

#[test]
fn duplicates_and_reordering_are_told_apart() {
    let mut stream = Stream::new();
    stream.picture(0, 1, true);
    stream.picture(80, 3, false);
    stream.picture(81, 2, false);
    stream.picture(82, 2, false);
    let counts = stream.reception.counts();
    assert_eq!((counts.received, counts.duplicates, counts.recovered, counts.frames), (3, 1, 1, 3));
    assert_eq!(stream.requests(120), Requests::default());
}

#[test]
fn reports_tell_the_loss_since_the_last_one() {
    let mut stream = Stream::new();
    for sequence in [0, 1, 2, 3, 5, 7, 8, 9] {
        stream.picture(u32::from(sequence) * 40, sequence, sequence == 0);
    }
    let (fraction, total, highest, _) = stream.reception.report();
    assert_eq!((fraction, total, highest), (51, 2, (1 << 16) + 9));
    stream.picture(400, 10, false);
    assert_eq!(stream.reception.report().0, 0);
}

#[test]
fn a_leap_is_a_loss_and_not_a_request() {
    let mut stream = Stream::new();
    stream.picture(0, 1, true);
    stream.picture(40, 5_000, false);
    assert_eq!(stream.reception.counts().lost, 4_998);
    assert!(stream.reception.needs_key());
    assert!(stream.requests(60).again.is_empty());
}
