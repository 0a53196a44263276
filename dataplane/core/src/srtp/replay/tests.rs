use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[test]
fn an_index_is_good_once() {
    let mut window = ReplayWindow::new();
    assert_eq!(window.highest(), None);
    for index in [0, 5, 3, 4, 1023, 1] {
        assert!(window.check(index));
        window.accept(index);
        assert!(!window.check(index));
    }
    assert_eq!(window.highest(), Some(1023));
}

#[test]
fn the_oldest_index_slides_out() {
    let mut window = ReplayWindow::new();
    window.accept(WINDOW);
    assert!(!window.check(0), "one too old");
    assert!(window.check(1), "the oldest of the window");
    window.accept(WINDOW + 1);
    assert!(!window.check(1));
    window.accept(u64::MAX - 1);
    assert!(!window.check(WINDOW));
    assert!(window.check(u64::MAX - WINDOW));
}

#[test]
fn accepting_what_is_too_old_changes_nothing() {
    let mut window = ReplayWindow::new();
    window.accept(5000);
    let before = window.clone();
    window.accept(10);
    assert_eq!(window, before);
}

proptest! {
    #[test]
    fn it_is_a_set_with_a_lower_bound(
        start in 0u64..1 << 48,
        steps in proptest::collection::vec(prop_oneof![6 => -20i64..40, 2 => -1200i64..1200, 1 => 0i64..5000], 1..300),
    ) {
        let mut window = ReplayWindow::new();
        let mut seen = BTreeSet::new();
        let mut at = start;
        for step in steps {
            at = at.saturating_add_signed(step);
            let highest = seen.last().copied();
            let fresh = !seen.contains(&at) && highest.is_none_or(|highest| at + WINDOW > highest);
            prop_assert_eq!(window.check(at), fresh, "{} after {:?}", at, highest);
            if fresh {
                window.accept(at);
                seen.insert(at);
                prop_assert_eq!(window.highest(), seen.last().copied());
            }
        }
    }
}
