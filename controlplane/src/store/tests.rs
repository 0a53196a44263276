use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::sqlite::Limits;
use super::*;

/// A folder that goes with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("millrace-store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key(scope: &str, kind: u8, name: &str) -> Key {
    Key { scope: scope.into(), kind, name: name.into() }
}

fn put(scope: &str, kind: u8, name: &str, value: &[u8]) -> Write {
    Write::Put(key(scope, kind, name), value.to_vec())
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let scope = prop::sample::select(vec!["", "a", "a\0b", "ab", "ü"]).prop_map(str::to_owned);
    let name = prop::sample::select(vec!["", "x", "x/y", "z"]).prop_map(str::to_owned);
    let key = (scope.clone(), 0..3u8, name).prop_map(|(scope, kind, name)| Key { scope, kind, name });
    let write = prop_oneof![
        6 => (key.clone(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(key, value)| Write::Put(key, value)),
        2 => key.prop_map(Write::Delete),
        1 => scope.prop_map(Write::Clear),
    ];
    prop::collection::vec(write, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Both stores hold the same after the same, also when the file is closed and opened again in between.
    #[test]
    fn stores_are_alike(batches in prop::collection::vec((writes(), prop::bool::weighted(0.2)), 1..8)) {
        let folder = Folder::new();
        let path = folder.0.join(DATABASE);
        let (memory, mut file) = (MemoryStore::default(), SqliteStore::open(&path).unwrap());
        for (batch, reopen) in batches {
            memory.commit(&batch).unwrap();
            file.commit(&batch).unwrap();
            if reopen {
                drop(file);
                file = SqliteStore::open_or_replace(&path).unwrap();
            }
            prop_assert_eq!(memory.load().unwrap(), file.load().unwrap());
        }
    }
}

#[test]
fn a_failing_batch_changes_nothing() {
    let folder = Folder::new();
    let path = folder.0.join(DATABASE);
    let store = SqliteStore::open(&path).unwrap();
    store.commit(&[put("s", 1, "kept", b"1")]).unwrap();
    // A trigger stands for a disk that fills up in the midst of a batch.
    let other = rusqlite::Connection::open(&path).unwrap();
    let trigger =
        "CREATE TRIGGER full BEFORE INSERT ON records WHEN NEW.name = 'last' BEGIN SELECT RAISE(ABORT, 'full'); END";
    other.execute_batch(trigger).unwrap();
    let batch = [Write::Clear("s".into()), put("s", 1, "first", b"2"), put("s", 1, "last", b"3")];
    assert!(matches!(store.commit(&batch), Err(StoreError::Database { .. })));
    assert_eq!(store.load().unwrap(), [(key("s", 1, "kept"), b"1".to_vec())]);
    other.execute_batch("DROP TRIGGER full").unwrap();
    store.commit(&batch).unwrap();
    assert_eq!(store.load().unwrap().len(), 2);
}

#[test]
fn the_log_stays_short_however_many_commit() {
    let folder = Folder::new();
    let path = folder.0.join(DATABASE);
    let limits = Limits { look: Duration::from_millis(5), taken: 64 << 10, begun_anew: 256 << 10 };
    let store = SqliteStore::with_limits(&path, limits).unwrap();
    let log = folder.0.join(format!("{DATABASE}-wal"));
    // A log that never begins anew is longer than what was written, always. How soon another one does is up to the system.
    let mut written = 0;
    for number in 0.. {
        store.commit(&[put("s", 1, &(number % 100).to_string(), &[number as u8; 1000])]).unwrap();
        written += 1000;
        let len = std::fs::metadata(&log).unwrap().len();
        if written >= 4 << 20 && len < written / 10 {
            break;
        }
        assert!(written < 100 << 20, "the log has {len} bytes");
    }
    assert_eq!(store.load().unwrap().len(), 100);
}

#[test]
fn a_damaged_file_is_set_aside() {
    let folder = Folder::new();
    let path = folder.0.join(DATABASE);
    let store = SqliteStore::open(&path).unwrap();
    store.commit(&[put("s", 1, "x", &[7; 40_000])]).unwrap();
    drop(store);
    for damage in [&b"this is no database, and never was one"[..], &[0xff; 8192][..]] {
        std::fs::write(&path, damage).unwrap();
        let store = SqliteStore::open_or_replace(&path).unwrap();
        assert_eq!(store.load().unwrap(), []);
        store.commit(&[put("s", 1, "x", b"new")]).unwrap();
    }
    let names = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let aside = names.filter(|name| name.contains(".damaged-") && !name.ends_with("-wal") && !name.ends_with("-shm"));
    assert_eq!(aside.count(), 2);
}

#[test]
fn a_newer_file_is_left_alone() {
    let folder = Folder::new();
    let path = folder.0.join(DATABASE);
    drop(SqliteStore::open(&path).unwrap());
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let refused = SqliteStore::open_or_replace(&path).unwrap_err();
    assert!(refused.to_string().contains("is of format 2, this version reads 1"), "{refused}");
}

#[test]
fn a_folder_is_used_by_one_at_a_time() {
    let folder = Folder::new();
    let first = Keeping::in_folder(&folder.0).unwrap();
    let refused = Keeping::in_folder(&folder.0).unwrap_err();
    assert!(refused.to_string().contains("give each its own MILLRACE_DATA_DIR"), "{refused}");
    drop(first);
    Keeping::in_folder(&folder.0).unwrap();
}

#[test]
fn files_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let keeping = Keeping::in_folder(&folder.0).unwrap();
    keeping.store.commit(&[put("s", 1, "token", b"secret")]).unwrap();
    let modes: BTreeMap<String, u32> = std::fs::read_dir(&folder.0)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().permissions().mode() & 0o777))
        .collect();
    assert!(modes.len() >= 4, "{modes:?}");
    assert!(modes.values().all(|mode| *mode == 0o600), "{modes:?}");
}

#[test]
fn cursors_are_where_they_were() {
    let folder = Folder::new();
    let path = folder.0.join(CURSORS);
    let places: Vec<u32> = {
        let cursors = Cursors::in_file(&path).unwrap();
        let [a, b, c] = [5, 6, 7].map(|number| cursors.allot(number));
        a.advance(100);
        a.advance(50);
        c.advance(300);
        let kept = vec![c.place(), a.place()];
        drop(b);
        // The process ends here: nobody gives a place back.
        std::mem::forget((a, c));
        kept
    };
    let cursors = Cursors::in_file(&path).unwrap();
    let resumed = cursors.resume(&places);
    assert_eq!(resumed.iter().map(|cursor| cursor.number()).collect::<Vec<_>>(), [300, 100]);
    let fresh = [cursors.allot(1), cursors.allot(2)];
    let mut used: Vec<u32> = resumed.iter().chain(&fresh).map(|cursor| cursor.place()).collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), 4, "no place is given out twice");
    assert_eq!(fresh[0].number(), 1, "whatever was there before");
}
