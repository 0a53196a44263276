//! The queue on disk: what is not delivered yet, in order, over restarts and crashes of the process.
//!
//! Records are appended to segment files. The oldest segment goes once all its events are dealt with, so that a mark
//! of what was done is never gone before the event it belongs to. An event is in the system's hands when `append`
//! returns, which the end of the process cannot undo; the end of the machine costs what was not synchronised yet.

use std::collections::{BTreeMap, HashMap};

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::record::{Damaged, Record, decode, encode};

/// Bodies that the disk did not take, in bytes at most.
const MAX_MEMORY: usize = 16 << 20;
const PREFIX: &str = "queue-";
const SUFFIX: &str = ".seg";

/// How large the files may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A segment is followed by another one from this size on, in bytes.
    pub(super) segment_bytes: u64,
    /// All segments together, in bytes; beyond it the oldest events are given up.
    pub(super) total_bytes: u64,
}

/// An event that waits, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) id: u64,
    pub(super) at_ms: u64,
    pub(super) session: String,
}

#[derive(Debug)]
pub(super) struct Queue {
    dir: PathBuf,
    limits: Limits,
    /// Held for as long as the queue: two processes would mix up its files.
    _lock: File,
    segments: BTreeMap<u64, Segment>,
    /// The one that is written to.
    active: Option<u64>,
    entries: HashMap<u64, Place>,
    /// Bodies in memory, in bytes.
    memory: usize,
    next_id: u64,
    next_segment: u64,
    is_dirty: bool,
}

#[derive(Debug)]
struct Segment {
    file: File,
    bytes: u64,
    /// Its events that are not dealt with.
    pending: Vec<u64>,
}

/// Where a body is.
#[derive(Debug)]
enum Place {
    Disk {
        segment: u64,
        offset: u64,
        len: usize,
    },
    /// The disk did not take it.
    Memory(Vec<u8>),
}

/// An event that was added.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) id: u64,
    /// The oldest ones, which had to go for it.
    pub(super) evicted: Vec<u64>,
    /// Why it is in memory only, and lost with the process.
    pub(super) unwritten: Option<String>,
}

/// What was found on disk.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// In order.
    pub(super) waiting: Vec<Waiting>,
    /// How often which events are in the files, delivered or not.
    pub(super) seen: HashMap<u64, usize>,
    /// Files whose end could not be read.
    pub(super) damaged: usize,
}

/// What an event is recognised by when it comes again.
pub(super) fn trace(session: &str, at_ms: u64, body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (session, at_ms, body).hash(&mut hasher);
    hasher.finish()
}

impl Queue {
    /// Opens the queue in a folder, which is made when it is not there.
    ///
    /// # Errors
    /// When the folder cannot be used, or another process uses it.
    pub(super) fn open(dir: &Path, limits: Limits) -> io::Result<(Self, Recovered)> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(dir.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::other("another process uses this queue"),
        })?;
        let mut queue = Self {
            dir: dir.to_owned(),
            limits,
            _lock: lock,
            segments: BTreeMap::new(),
            active: None,
            entries: HashMap::new(),
            memory: 0,
            next_id: 1,
            next_segment: 1,
            is_dirty: false,
        };
        let recovered = queue.recover()?;
        Ok((queue, recovered))
    }

    /// Adds an event. One that the disk does not take is kept in memory, in its place.
    ///
    /// # Errors
    /// When it is too long, or neither disk nor memory has room for it; nothing of it is kept.
    pub(super) fn append(&mut self, session: &str, at_ms: u64, body: &[u8]) -> io::Result<Appended> {
        let id = self.next_id;
        let mut bytes = Vec::with_capacity(body.len() + session.len() + 64);
        if !encode(&Record::Event { id, at_ms, session, body }, &mut bytes) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the event is too long"));
        }
        let evicted = self.make_room(bytes.len() as u64);
        let mut unwritten = None;
        match self.write(&bytes) {
            Ok((segment, start)) => {
                let offset = start + (bytes.len() - body.len()) as u64;
                self.entries.insert(id, Place::Disk { segment, offset, len: body.len() });
                if let Some(segment) = self.segments.get_mut(&segment) {
                    segment.pending.push(id);
                }
            }
            Err(error) if self.memory + body.len() > MAX_MEMORY => return Err(error),
            Err(error) => {
                self.memory += body.len();
                self.entries.insert(id, Place::Memory(body.to_owned()));
                unwritten = Some(error.to_string());
            }
        }
        self.next_id += 1;
        Ok(Appended { id, evicted, unwritten })
    }

    /// The body of an event; `None` when it is not in the queue any more.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn body(&self, id: u64) -> io::Result<Option<Vec<u8>>> {
        match self.entries.get(&id) {
            None => Ok(None),
            Some(Place::Memory(body)) => Ok(Some(body.clone())),
            Some(Place::Disk { segment, offset, len }) => {
                let Some(segment) = self.segments.get(segment) else { return Ok(None) };
                let mut body = vec![0; *len];
                segment.file.read_exact_at(&mut body, *offset)?;
                Ok(Some(body))
            }
        }
    }

    /// An event was delivered or given up.
    ///
    /// # Errors
    /// When that cannot be written: after a restart the event comes again.
    pub(super) fn finish(&mut self, id: u64) -> io::Result<()> {
        let segment = match self.entries.remove(&id) {
            None => return Ok(()),
            Some(Place::Memory(body)) => {
                self.memory -= body.len();
                return Ok(());
            }
            Some(Place::Disk { segment, .. }) => segment,
        };
        if let Some(segment) = self.segments.get_mut(&segment)
            && let Ok(at) = segment.pending.binary_search(&id)
        {
            segment.pending.remove(at);
        }
        let mut bytes = Vec::new();
        encode(&Record::Done { id }, &mut bytes);
        let written = self.write(&bytes);
        self.prune();
        written.map(|_| ())
    }

    /// Has the disk take what was written, so that it outlasts the machine.
    ///
    /// # Errors
    /// When the disk does not.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(active) = self.active_segment()
            && std::mem::take(&mut self.is_dirty)
        {
            self.segments[&active].file.sync_data()?;
        }
        Ok(())
    }

    /// All segments together, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    fn recover(&mut self) -> io::Result<Recovered> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
            numbers.extend(digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()));
        }
        numbers.sort_unstable();
        let (mut damaged, mut seen) = (0, HashMap::new());
        let mut waiting: BTreeMap<u64, Waiting> = BTreeMap::new();
        for number in numbers {
            self.next_segment = number + 1;
            let bytes = std::fs::read(self.path(number))?;
            let file = File::open(self.path(number))?;
            self.segments.insert(number, Segment { file, bytes: bytes.len() as u64, pending: Vec::new() });
            let mut at = 0;
            loop {
                match decode(&bytes[at..]) {
                    Ok(Some((record, len))) => {
                        if let Record::Event { at_ms, session, body, .. } = record {
                            *seen.entry(trace(session, at_ms, body)).or_default() += 1;
                        }
                        self.replay(number, at + len, &record, &mut waiting);
                        at += len;
                    }
                    Ok(None) => break,
                    Err(Damaged) => {
                        damaged += 1;
                        break;
                    }
                }
            }
        }
        for id in waiting.keys() {
            if let Some(Place::Disk { segment, .. }) = self.entries.get(id)
                && let Some(segment) = self.segments.get_mut(segment)
            {
                segment.pending.push(*id);
            }
        }
        self.prune();
        Ok(Recovered { waiting: waiting.into_values().collect(), seen, damaged })
    }

    fn replay(&mut self, segment: u64, end: usize, record: &Record<'_>, waiting: &mut BTreeMap<u64, Waiting>) {
        let (Record::Event { id, .. } | Record::Done { id }) = *record;
        self.next_id = self.next_id.max(id.saturating_add(1));
        match *record {
            Record::Event { id, at_ms, session, body } => {
                let offset = (end - body.len()) as u64;
                self.entries.insert(id, Place::Disk { segment, offset, len: body.len() });
                waiting.insert(id, Waiting { id, at_ms, session: session.to_owned() });
            }
            Record::Done { id } => {
                self.entries.remove(&id);
                waiting.remove(&id);
            }
        }
    }

    /// Writes a record behind the last one; gives its segment and where it begins there.
    fn write(&mut self, bytes: &[u8]) -> io::Result<(u64, u64)> {
        let number = match self.active_segment() {
            Some(number) => number,
            None => self.add_segment()?,
        };
        let Some(segment) = self.segments.get_mut(&number) else { return Err(io::ErrorKind::NotFound.into()) };
        let start = segment.bytes;
        if let Err(error) = segment.file.write_all_at(bytes, start) {
            // What follows half a record cannot be found again, so nothing may.
            self.active = None;
            return Err(error);
        }
        segment.bytes += bytes.len() as u64;
        self.is_dirty = true;
        Ok((number, start))
    }

    fn active_segment(&self) -> Option<u64> {
        let is_open = |number: &u64| self.segments.get(number).is_some_and(|s| s.bytes < self.limits.segment_bytes);
        self.active.filter(is_open)
    }

    fn add_segment(&mut self) -> io::Result<u64> {
        if let Some(full) = self.active.and_then(|number| self.segments.get(&number)) {
            full.file.sync_data()?;
        }
        let number = self.next_segment;
        let path = self.path(number);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        File::open(&self.dir)?.sync_all()?;
        self.segments.insert(number, Segment { file, bytes: 0, pending: Vec::new() });
        self.next_segment += 1;
        self.active = Some(number);
        Ok(number)
    }

    /// Gives up the oldest events until there is room.
    fn make_room(&mut self, wanted: u64) -> Vec<u64> {
        let mut evicted = Vec::new();
        while self.bytes() + wanted > self.limits.total_bytes {
            let Some(oldest) = self.segments.first_key_value().map(|(number, _)| *number) else { break };
            if let Some(segment) = self.remove_segment(oldest) {
                for id in segment.pending {
                    self.entries.remove(&id);
                    evicted.push(id);
                }
            }
        }
        evicted
    }

    /// Removes the oldest segments as long as nothing in them is wanted.
    fn prune(&mut self) {
        while let Some((&oldest, segment)) = self.segments.first_key_value() {
            let in_use = self.active_segment() == Some(oldest) && segment.bytes < self.limits.segment_bytes / 8;
            if !segment.pending.is_empty() || in_use {
                return;
            }
            self.remove_segment(oldest);
        }
    }

    fn remove_segment(&mut self, number: u64) -> Option<Segment> {
        if self.active == Some(number) {
            self.active = None;
        }
        // One that stays is dealt with after the next start: its events are old ones then, and come again.
        if let Err(error) = std::fs::remove_file(self.path(number)) {
            tracing::warn!(%error, "a file of the webhook queue cannot be removed");
        }
        self.segments.remove(&number)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{PREFIX}{number:016x}{SUFFIX}"))
    }
}
