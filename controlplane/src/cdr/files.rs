//! The files of call detail records: a new one each day, old ones removed. Time is an argument.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::openvidu::compat::iso_time;

/// Days for which a file is kept after the day in its name.
pub(super) const KEPT_DAYS: u64 = 30;
/// All files together, in bytes; beyond it the oldest are removed.
pub(super) const KEPT_BYTES: u64 = 20 << 30;
/// So many bytes are written between two looks at the size of all files.
const CHECK_BYTES: u64 = 64 << 20;
const DAY_MS: u64 = 86_400_000;

#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    kept_bytes: u64,
    current: Option<Current>,
    unchecked: u64,
}

#[derive(Debug)]
struct Current {
    file: File,
    path: PathBuf,
    day: u64,
}

impl Files {
    /// Makes the folder and its first file.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub(super) fn open(dir: &Path, now_ms: u64, kept_bytes: u64) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut files = Self { dir: dir.to_owned(), kept_bytes, current: None, unchecked: 0 };
        files.roll(now_ms)?;
        Ok(files)
    }

    /// Appends whole lines to the file of the day. They are in the system's hands afterwards.
    ///
    /// # Errors
    /// When they cannot be written; the next ones go to a new file.
    pub(super) fn write(&mut self, now_ms: u64, lines: &[u8]) -> io::Result<()> {
        if self.current.as_ref().is_none_or(|current| current.day != now_ms / DAY_MS) {
            self.roll(now_ms)?;
        }
        if let Some(current) = &mut self.current
            && let Err(error) = current.file.write_all(lines)
        {
            self.current = None;
            return Err(error);
        }
        self.unchecked += lines.len() as u64;
        if self.unchecked > CHECK_BYTES {
            self.clean(now_ms);
        }
        Ok(())
    }

    fn roll(&mut self, now_ms: u64) -> io::Result<()> {
        let path = self.dir.join(name(now_ms));
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        self.current = Some(Current { file, path, day: now_ms / DAY_MS });
        self.clean(now_ms);
        Ok(())
    }

    /// Removes files that are too old, then the oldest while all together are too large. Others' files are left alone.
    fn clean(&mut self, now_ms: u64) {
        self.unchecked = 0;
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return };
        let mut files: Vec<(String, u64)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let name = entry.file_name().into_string().ok().filter(|name| is_ours(name))?;
                Some((name, entry.metadata().ok().filter(std::fs::Metadata::is_file)?.len()))
            })
            .collect();
        // Their names sort by time.
        files.sort();
        let oldest = name(now_ms.saturating_sub(KEPT_DAYS * DAY_MS) / DAY_MS * DAY_MS);
        let mut bytes: u64 = files.iter().map(|(_, len)| len).sum();
        for (name, len) in files {
            let path = self.dir.join(&name);
            let in_use = self.current.as_ref().is_some_and(|current| current.path == path);
            if in_use || (name >= oldest && bytes <= self.kept_bytes) {
                continue;
            }
            match std::fs::remove_file(&path) {
                Ok(()) => bytes -= len,
                Err(error) => tracing::warn!(%error, path = %path.display(), "an old CDR file cannot be removed"),
            }
        }
    }
}

/// `CDR.<yyyy-MM-dd>_<HH-mm-ss>.log`, in UTC.
fn name(now_ms: u64) -> String {
    let time = iso_time(now_ms);
    format!("CDR.{}_{}.log", &time[..10], time[11..19].replace(':', "-"))
}

fn is_ours(name: &str) -> bool {
    let middle = name.strip_prefix("CDR.").and_then(|rest| rest.strip_suffix(".log"));
    middle.is_some_and(|middle| {
        middle.len() == 19
            && middle.bytes().enumerate().all(|(i, b)| match i {
                4 | 7 | 13 | 16 => b == b'-',
                10 => b == b'_',
                _ => b.is_ascii_digit(),
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-01T23:59:59Z.
    const EVENING: u64 = 1_772_409_599_000;

    fn folder(test: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("millrace-cdr-{}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn each_day_has_its_file() {
        let dir = folder("roll");
        let mut files = Files::open(&dir, EVENING, KEPT_BYTES).unwrap();
        files.write(EVENING, b"one\n").unwrap();
        files.write(EVENING + 999, b"two\n").unwrap();
        files.write(EVENING + 1_000, b"three\n").unwrap();
        assert_eq!(names(&dir), ["CDR.2026-03-01_23-59-59.log", "CDR.2026-03-02_00-00-00.log"]);
        assert_eq!(std::fs::read(dir.join("CDR.2026-03-01_23-59-59.log")).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::read(dir.join("CDR.2026-03-02_00-00-00.log")).unwrap(), b"three\n");
        drop(files);
        let mut again = Files::open(&dir, EVENING, KEPT_BYTES).unwrap();
        again.write(EVENING, b"four\n").unwrap();
        assert_eq!(std::fs::read(dir.join("CDR.2026-03-01_23-59-59.log")).unwrap(), b"one\ntwo\nfour\n");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn files_go_after_thirty_days_and_others_stay() {
        let dir = folder("age");
        std::fs::create_dir_all(&dir).unwrap();
        for name in ["CDR.2026-01-29_23-59-59.log", "CDR.2026-01-30_00-00-00.log", "CDR.old.log", "notes.txt"] {
            std::fs::write(dir.join(name), "x").unwrap();
        }
        Files::open(&dir, EVENING, KEPT_BYTES).unwrap();
        let kept = ["CDR.2026-01-30_00-00-00.log", "CDR.2026-03-01_23-59-59.log", "CDR.old.log", "notes.txt"];
        assert_eq!(names(&dir), kept);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_oldest_go_when_all_are_too_large() {
        let dir = folder("size");
        std::fs::create_dir_all(&dir).unwrap();
        for day in ["2026-02-26", "2026-02-27", "2026-02-28"] {
            std::fs::write(dir.join(format!("CDR.{day}_00-00-00.log")), [b'x'; 40]).unwrap();
        }
        let mut files = Files::open(&dir, EVENING, 100).unwrap();
        let (second, third) = ("CDR.2026-02-27_00-00-00.log", "CDR.2026-02-28_00-00-00.log");
        assert_eq!(names(&dir), [second, third, "CDR.2026-03-01_23-59-59.log"]);
        files.write(EVENING, &[b'y'; 200]).unwrap();
        files.write(EVENING + DAY_MS, b"z").unwrap();
        assert_eq!(names(&dir), ["CDR.2026-03-02_23-59-59.log"]);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let file = folder("file");
        std::fs::write(&file, "x").unwrap();
        assert!(Files::open(&file.join("cdr"), EVENING, KEPT_BYTES).is_err());
        std::fs::remove_file(file).unwrap();
    }
}
