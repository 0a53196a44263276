use super::baseline::{LIMIT, WIDE_LIMIT};
use super::*;

fn tools() -> Tools {
    let [processor, rustc, valgrind, libc] = ["x", "1.90.0", "valgrind-3.24.0", "2.41"].map(str::to_owned);
    Tools { processor, rustc, valgrind, libc }
}

fn verdict(count: f64, here: &Tools) -> Verdict {
    let baseline = Baseline::new(tools(), [("seal", 1_000.0), ("demux", 10.0)].into_iter());
    baseline.verdict("seal", count, baseline.limit(here))
}

#[test]
fn growth_beyond_the_limit_fails_and_says_how_to_go_on() {
    assert!(!verdict(1_029.9, &tools()).fails());
    let grown = verdict(1_031.0, &tools());
    assert!(grown.fails());
    let line = grown.line(&GATES[6], 1_031.0);
    for part in ["`seal`", "1031.0", "1000.0", "+3.1 %", "make bench-baseline"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(verdict(f64::NAN, &tools()).fails(), "what was not counted does not pass");
}

#[test]
fn a_gain_is_to_be_kept() {
    let shrunk = verdict(900.0, &tools());
    assert!(!shrunk.fails());
    assert!(shrunk.line(&GATES[6], 900.0).contains("keeps the gain"));
}

#[test]
fn other_tools_widen_the_limit_and_another_processor_lifts_it() {
    let newer = Tools { rustc: "1.91.0".to_owned(), ..tools() };
    assert!(!verdict(1_140.0, &newer).fails());
    assert!(verdict(1_160.0, &newer).fails());
    let other = Tools { processor: "y".to_owned(), ..tools() };
    assert!(!verdict(9_000.0, &other).fails());
    let baseline = Baseline::new(tools(), std::iter::empty());
    assert_eq!(
        (baseline.limit(&tools()), baseline.limit(&newer), baseline.limit(&other)),
        (Some(LIMIT), Some(WIDE_LIMIT), None)
    );
    assert!(baseline.notice(&tools()).is_none());
    assert!(baseline.notice(&newer).unwrap().contains("1.91.0"));
}

#[test]
fn a_gate_that_the_baseline_lacks_fails_and_an_instruction_is_no_growth() {
    let baseline = Baseline::new(tools(), [("demux", 10.0)].into_iter());
    assert!(baseline.verdict("seal", 1.0, Some(LIMIT)).fails());
    assert!(!baseline.verdict("demux", 10.9, Some(LIMIT)).fails());
}

#[test]
fn the_baseline_in_the_tree_has_every_gate() {
    let baseline = Baseline::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.json"))).unwrap();
    assert!(GATES.iter().all(|gate| baseline.gates.contains_key(gate.name)));
    assert_eq!(baseline.gates.len(), GATES.len());
}

#[test]
fn work_is_found_by_its_argument() {
    for work in GATES.iter().filter_map(|gate| Some(gate.work?.0)).chain([Work::Rooms { rooms: 7 }]) {
        assert_eq!(Work::named(&work.argument()), Some(work));
        work.run(1, 1);
    }
    assert_eq!(Work::named("forward:gcm:x"), None);
}

#[test]
fn the_rewrite_is_what_further_subscribers_cost_without_their_sealing() {
    let mut counts: Vec<_> = GATES
        .iter()
        .map(|gate| gate.name)
        .map(|name| match name {
            "fan-out-10" => 190.0,
            "fan-out-100" => 109.0,
            "seal" => 70.0,
            _ => 0.0,
        })
        .collect();
    derive(&mut counts);
    assert_eq!(counts[5], 30.0);
}
