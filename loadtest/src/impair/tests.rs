use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Sends `count` packets a millisecond apart, and says what came out: number and time.
fn send(conditions: Conditions, seed: u64, count: u32, bytes: usize) -> Vec<(u32, Duration)> {
    let mut path = Impairer::new(conditions, seed);
    let mut out = Vec::new();
    for number in 0..count {
        let now = MS * number;
        while let Some(at) = path.next_release().filter(|at| *at <= now) {
            out.push((path.release(at).unwrap(), at));
        }
        path.offer(now, bytes, number);
    }
    while let Some(at) = path.next_release() {
        assert!(path.release(at.saturating_sub(Duration::from_nanos(1))).is_none(), "nothing comes early");
        out.push((path.release(at).unwrap(), at));
    }
    out
}

#[test]
fn a_perfect_path_passes_all_at_once() {
    let out = send(Conditions::default(), 1, 100, 1_200);
    assert_eq!(out, (0..100).map(|n| (n, MS * n)).collect::<Vec<_>>());
    assert!(Impairer::<()>::new(Conditions::default(), 1).is_transparent());
}

#[test]
fn loss_is_as_frequent_as_asked_and_repeatable() {
    let conditions = Conditions { loss: 0.1, ..Conditions::default() };
    let out = send(conditions, 7, 20_000, 100);
    let lost = 20_000 - out.len();
    assert!((1_800..2_200).contains(&lost), "{lost} of 20000 lost");
    assert_eq!(out, send(conditions, 7, 20_000, 100));
    assert_ne!(out, send(conditions, 8, 20_000, 100));
}

#[test]
fn delay_and_jitter_stay_within_bounds() {
    let conditions = Conditions { delay: 40 * MS, jitter: 10 * MS, ..Conditions::default() };
    let out = send(conditions, 3, 1_000, 100);
    let delays: Vec<_> = out.iter().map(|(number, at)| *at - MS * *number).collect();
    assert!(delays.iter().all(|d| (40 * MS..=50 * MS).contains(d)), "{delays:?}");
    assert!(delays.iter().any(|d| *d > 47 * MS));
}

#[test]
fn a_narrow_link_passes_its_rate_and_no_more() {
    // 1,000 packets of 1,000 bytes within a second through 1 Mbit/s.
    let conditions = Conditions { rate: Some(1_000_000), ..Conditions::default() };
    let out = send(conditions, 3, 1_000, 1_000);
    let last = out.last().unwrap().1;
    let bits = out.len() as f64 * 8_000.0;
    let rate = bits / last.as_secs_f64();
    assert!((0.98e6..=1.0e6).contains(&rate), "{rate} bit/s");
    assert!(last <= Duration::from_secs(1) + LONGEST_WAIT + 8 * MS, "{last:?}");
    assert!(out.len() < 200, "the rest overflows");
}

#[test]
fn reordered_packets_arrive_late_and_only_they() {
    let conditions = Conditions { delay: 20 * MS, reorder: 0.05, ..Conditions::default() };
    let out = send(conditions, 5, 2_000, 100);
    assert_eq!(out.len(), 2_000, "nothing is lost");
    let overtaken = out.windows(2).filter(|pair| pair[1].0 < pair[0].0).count();
    assert!((60..140).contains(&overtaken), "{overtaken}");
}

#[test]
fn changed_conditions_hold_from_then_on() {
    let mut path = Impairer::new(Conditions { delay: 50 * MS, ..Conditions::default() }, 1);
    assert_eq!(path.offer(Duration::ZERO, 10, 'a'), Fate::Queued);
    path.change(Conditions { loss: 1.0, ..Conditions::default() });
    assert_eq!(path.offer(MS, 10, 'b'), Fate::Lost);
    assert!(!path.is_transparent());
    assert_eq!(path.release(50 * MS), Some('a'));
    assert_eq!(path.next_release(), None);
}

#[test]
fn conditions_are_read_from_text() {
    let all: Conditions = "loss=2%, delay=40ms,jitter=5ms,rate=2M,reorder=1%".parse().unwrap();
    let expected = Conditions { loss: 0.02, delay: 40 * MS, jitter: 5 * MS, rate: Some(2_000_000), reorder: 0.01 };
    assert_eq!(all, expected);
    assert!("speed=3".parse::<Conditions>().unwrap_err().contains("reorder"));
    assert!("loss".parse::<Conditions>().unwrap_err().contains("key=value"));
}

proptest! {
    /// Whatever the conditions are: nothing is doubled or invented, nothing is early, and without reordering the order
    /// is kept.
    #[test]
    fn packets_come_out_once_in_order_and_not_early(
        loss in 0.0..0.9f64, delay in 0u64..200, jitter in 0u64..50, rate in proptest::option::of(50_000u64..5_000_000),
        reorder in prop_oneof![Just(0.0), 0.0..0.5f64], seed: u64,
    ) {
        let delay = Duration::from_millis(delay);
        let jitter = Duration::from_millis(jitter);
        let out = send(Conditions { loss, delay, jitter, rate, reorder }, seed, 300, 500);
        let mut numbers: Vec<_> = out.iter().map(|(number, _)| *number).collect();
        prop_assert!(out.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        prop_assert!(out.iter().all(|(number, at)| *at >= MS * *number + delay));
        if reorder == 0.0 {
            prop_assert!(numbers.is_sorted());
        }
        numbers.sort_unstable();
        let came = numbers.len();
        numbers.dedup();
        prop_assert_eq!(came, numbers.len());
    }
}
