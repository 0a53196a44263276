//! How far each client has been told: one number per client, written at every notification that leaves.
//!
//! That is too often for transactions, so that the numbers have a file of their own, eight bytes each at a fixed place:
//! one positioned write, which the end of the process cannot undo. Numbers only rise while a place is in use.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const WIDTH: u64 = 8;

/// All places. Clones share them.
#[derive(Clone, Debug)]
pub struct Cursors(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Places,
    free: Mutex<Free>,
}

#[derive(Debug)]
enum Places {
    File(File),
    Memory(Mutex<Vec<u64>>),
}

#[derive(Debug, Default)]
struct Free {
    /// Given back.
    places: BTreeSet<u32>,
    /// First that was never used.
    next: u32,
}

/// One client's place. It is given back when the last user has dropped it.
#[derive(Debug)]
pub struct Cursor {
    shared: Arc<Shared>,
    place: u32,
    last: AtomicU64,
}

impl Cursors {
    /// In a file, which is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn in_file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Ok(Self::new(Places::File(file)))
    }

    /// In memory.
    pub fn in_memory() -> Self {
        Self::new(Places::Memory(Mutex::default()))
    }

    fn new(places: Places) -> Self {
        Self(Arc::new(Shared { places, free: Mutex::default() }))
    }

    /// A free place, which begins at `number`.
    pub fn allot(&self, number: u64) -> Arc<Cursor> {
        let place = {
            let mut free = self.0.free();
            free.places.pop_first().unwrap_or_else(|| {
                free.next += 1;
                free.next - 1
            })
        };
        self.0.write(place, number);
        Arc::new(Cursor { shared: self.0.clone(), place, last: AtomicU64::new(number) })
    }

    /// Takes up the places of an earlier process, with what each was at; no place may be named twice. Others are free.
    pub fn resume(&self, places: &[u32]) -> Vec<Arc<Cursor>> {
        let mut free = self.0.free();
        free.next = places.iter().max().map_or(0, |last| last + 1);
        free.places = (0..free.next).collect();
        for place in places {
            free.places.remove(place);
        }
        let cursor = |place: &u32| {
            let last = AtomicU64::new(self.0.read(*place));
            Arc::new(Cursor { shared: self.0.clone(), place: *place, last })
        };
        places.iter().map(cursor).collect()
    }
}

impl Cursor {
    /// Which place it is.
    pub fn place(&self) -> u32 {
        self.place
    }

    /// Where it is.
    pub fn number(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Moves on; never back.
    pub fn advance(&self, number: u64) {
        if self.last.fetch_max(number, Ordering::Relaxed) < number {
            self.shared.write(self.place, number);
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.shared.free().places.insert(self.place);
    }
}

impl Shared {
    fn write(&self, place: u32, number: u64) {
        let written = match &self.places {
            Places::File(file) => file.write_all_at(&number.to_le_bytes(), u64::from(place) * WIDTH),
            Places::Memory(places) => {
                let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
                let at = place as usize;
                if places.len() <= at {
                    places.resize(at + 1, 0);
                }
                places[at] = number;
                Ok(())
            }
        };
        if let Err(error) = written {
            // After a crash this client hears some things twice.
            tracing::debug!(%error, "a cursor was not written");
        }
    }

    fn read(&self, place: u32) -> u64 {
        match &self.places {
            Places::File(file) => {
                let mut number = [0; WIDTH as usize];
                let read = file.read_exact_at(&mut number, u64::from(place) * WIDTH);
                read.map_or(0, |()| u64::from_le_bytes(number))
            }
            Places::Memory(places) => {
                places.lock().unwrap_or_else(PoisonError::into_inner).get(place as usize).copied().unwrap_or_default()
            }
        }
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
