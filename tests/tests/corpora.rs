//! Replays the committed corpora of the fuzz targets, so that what fuzzing found once stays found.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "what fails here is a failing test")]

#[path = "../fuzz/src/lib.rs"]
pub mod targets;

use std::path::{Path, PathBuf};

/// Fewest inputs that make a corpus worth its name.
const MIN_INPUTS: usize = 24;

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_of_every_target_keeps_the_invariants() {
    for (name, target) in targets::TARGETS {
        let files = corpus(name);
        assert!(files.len() >= MIN_INPUTS, "{name} has {} inputs", files.len());
        for file in files {
            let data = std::fs::read(&file).unwrap();
            if std::panic::catch_unwind(|| target(&data)).is_err() {
                panic!("{name} fails on {}", file.display());
            }
        }
    }
}

#[test]
fn every_corpus_has_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(targets::TARGETS.iter().any(|(target, _)| *target == name), "{name} is replayed by nothing");
    }
}
