//! The queue's files.

use std::fs::OpenOptions;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::queue::{Appended, Limits, Queue, Waiting};
use super::Folder;

const SMALL: Limits = Limits { segment_bytes: 400, total_bytes: 1 << 20 };

fn open(folder: &Folder, limits: Limits) -> (Queue, Vec<Waiting>) {
    let (queue, recovered) = Queue::open(&folder.0, limits).unwrap();
    assert_eq!(recovered.damaged, 0);
    (queue, recovered.waiting)
}

/// The segment files, oldest first.
fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    files.sort();
    files
}

/// An event as a test remembers it.
type Known = (u64, u64, String, Vec<u8>);

fn assert_holds(queue: &Queue, waiting: &[Waiting], known: &[Known]) {
    let expected: Vec<_> = known.iter().map(|(id, at, session, _)| (*id, *at, session.as_str())).collect();
    let found: Vec<_> = waiting.iter().map(|w| (w.id, w.at_ms, w.session.as_str())).collect();
    assert_eq!(found, expected);
    for (id, _, _, body) in known {
        assert_eq!(queue.body(*id).unwrap().as_ref(), Some(body));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8, usize),
    Finish(prop::sample::Index),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4u8, 0..150usize).prop_map(|(session, len)| Step::Append(session, len)),
        3 => any::<prop::sample::Index>().prop_map(Step::Finish),
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..40)
}

/// Does the steps; gives what the queue held after each write.
fn work(folder: &Folder, steps: &[Step]) -> Vec<Vec<Known>> {
    let (mut queue, _) = open(folder, SMALL);
    let mut known: Vec<Known> = Vec::new();
    let mut history = vec![known.clone()];
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Append(session, len) => {
                let (session, body) = (format!("session{session}"), vec![at as u8; *len]);
                let added = queue.append(&session, at as u64, &body).unwrap();
                assert_eq!(added, Appended { id: added.id, ..Appended::default() });
                let id = added.id;
                known.push((id, at as u64, session, body));
            }
            Step::Finish(which) if !known.is_empty() => {
                let gone = known.remove(which.index(known.len()));
                queue.finish(gone.0).unwrap();
                assert_eq!(queue.body(gone.0).unwrap(), None);
            }
            Step::Finish(_) => continue,
            Step::Reopen => {
                drop(queue);
                let (reopened, waiting) = open(folder, SMALL);
                assert_holds(&reopened, &waiting, &known);
                queue = reopened;
                continue;
            }
        }
        history.push(known.clone());
    }
    history
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_not_finished_is_there_after_each_start(steps in steps()) {
        let folder = Folder::new();
        let history = work(&folder, &steps);
        let (queue, waiting) = open(&folder, SMALL);
        assert_holds(&queue, &waiting, history.last().unwrap());
    }

    /// As after a crash of the machine: the end of the newest file is missing or was never written.
    #[test]
    fn a_cut_file_costs_what_was_written_last(
        steps in steps(), cut in any::<prop::sample::Index>(), garbage in any::<bool>(),
    ) {
        let folder = Folder::new();
        let history = work(&folder, &steps);
        if let Some(last) = segments(&folder.0).last() {
            let len = std::fs::metadata(last).unwrap().len();
            let file = OpenOptions::new().write(true).open(last).unwrap();
            file.set_len(cut.index(len as usize + 1) as u64).unwrap();
            if garbage {
                // Space that the file system had set aside reads as zeros.
                file.set_len(len + 100).unwrap();
            }
        }
        let (mut queue, recovered) = Queue::open(&folder.0, SMALL).unwrap();
        // Events that were done by the end may be gone with a file that nothing in was wanted of.
        let last = history.last().unwrap();
        let found: Vec<_> = recovered.waiting.iter().map(|w| w.id).collect();
        let without_done = |known: &Vec<Known>| -> Vec<Known> {
            known.iter().filter(|known| found.contains(&known.0) || last.contains(known)).cloned().collect()
        };
        let is_found = |known: &Vec<Known>| known.iter().map(|known| known.0).eq(found.iter().copied());
        let state = history.iter().rev().map(without_done).find(is_found);
        let state = state.expect("it is what it was after some write");
        assert_holds(&queue, &recovered.waiting, &state);
        // It can be used as before.
        let id = queue.append("after", 7, b"body").unwrap().id;
        drop(queue);
        let (queue, waiting) = {
            let (queue, recovered) = Queue::open(&folder.0, SMALL).unwrap();
            (queue, recovered.waiting)
        };
        let mut known = state.clone();
        known.push((id, 7, "after".to_owned(), b"body".to_vec()));
        assert_holds(&queue, &waiting, &known);
    }
}

#[test]
fn a_full_queue_gives_up_its_oldest_events() {
    let folder = Folder::new();
    let limits = Limits { segment_bytes: 400, total_bytes: 2_000 };
    let (mut queue, _) = open(&folder, limits);
    let mut gone = Vec::new();
    for at in 0..100 {
        gone.extend(queue.append("s", at, &[7; 100]).unwrap().evicted);
        assert!(queue.bytes() <= limits.total_bytes);
    }
    assert!(gone.len() > 80 && gone.len() < 95, "{}", gone.len());
    assert_eq!(gone, (1..=gone.len() as u64).collect::<Vec<_>>());
    assert_eq!(queue.body(gone[0]).unwrap(), None);
    assert_eq!(queue.body(100).unwrap(), Some(vec![7; 100]));
    drop(queue);
    let (_, waiting) = open(&folder, limits);
    assert_eq!(waiting.len() + gone.len(), 100);
}

#[test]
fn what_is_done_leaves_the_disk() {
    let folder = Folder::new();
    let (mut queue, _) = open(&folder, SMALL);
    for at in 0..200 {
        let id = queue.append("s", at, &[7; 100]).unwrap().id;
        queue.finish(id).unwrap();
        queue.sync().unwrap();
        assert!(queue.bytes() < 2 * SMALL.segment_bytes);
    }
    assert!(segments(&folder.0).len() <= 2);
}

#[test]
fn one_process_at_a_time_has_a_queue() {
    let folder = Folder::new();
    let (queue, _) = open(&folder, SMALL);
    assert!(Queue::open(&folder.0, SMALL).is_err());
    drop(queue);
    open(&folder, SMALL);
}

#[test]
fn what_is_too_long_costs_itself_alone() {
    let folder = Folder::new();
    let (mut queue, _) = open(&folder, SMALL);
    assert!(queue.append("s", 1, &vec![0; 5 << 20]).is_err());
    let id = queue.append("s", 1, b"short").unwrap().id;
    drop(queue);
    let (queue, waiting) = open(&folder, SMALL);
    assert_eq!(waiting.len(), 1);
    assert_eq!(queue.body(id).unwrap(), Some(b"short".to_vec()));
}

#[test]
fn what_the_disk_does_not_take_waits_in_memory() {
    let folder = Folder::new();
    let (mut queue, _) = open(&folder, SMALL);
    let first = queue.append("s", 1, &[1; 500]).unwrap();
    std::fs::remove_dir_all(&folder.0).unwrap();
    let second = queue.append("s", 2, &[2; 500]).unwrap();
    assert!(first.unwritten.is_none() && second.unwritten.is_some());
    assert_eq!(queue.body(first.id).unwrap(), Some(vec![1; 500]));
    assert_eq!(queue.body(second.id).unwrap(), Some(vec![2; 500]));
    queue.finish(second.id).unwrap();
    assert_eq!(queue.body(second.id).unwrap(), None);
    let body = vec![3; 1 << 20];
    let kept = (0..20).filter(|_| queue.append("s", 3, &body).is_ok()).count();
    assert_eq!(kept, 16, "memory has its bound");
}
