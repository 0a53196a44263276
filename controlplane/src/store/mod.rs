//! What outlives the process: records by scope, kind and name, written all or nothing.
//!
//! The trait is as narrow as the use: everything is loaded once at the start, and from then on only written. A record is
//! in the system's hands when [`Store::commit`] returns, which the end of this process cannot undo; the end of the
//! machine may cost the last few. What records mean is the adapter's business.

mod cursors;
mod memory;
mod sqlite;
#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use cursors::{Cursor, Cursors};
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

/// Name of the database in the data directory.
pub const DATABASE: &str = "millrace.db";
/// Name of the cursors' file in the data directory.
const CURSORS: &str = "delivered";
/// Name of the file that says that a process uses the data directory.
const LOCK: &str = "lock";

/// Where a record is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What is dropped together: a session's id; empty for what belongs to none.
    pub scope: String,
    /// What kind of record it is.
    pub kind: u8,
    /// Its name within scope and kind.
    pub name: String,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a record.
    Put(Key, Vec<u8>),
    /// Removes a record, if it is there.
    Delete(Key),
    /// Removes all records of a scope.
    Clear(String),
}

/// Keeps records.
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Every record, in order of its key.
    ///
    /// # Errors
    /// [`StoreError`].
    fn load(&self) -> Result<Vec<(Key, Vec<u8>)>, StoreError>;

    /// Makes all changes in their order, or none. It takes some ten microseconds, and now and then as
    /// long as the disk does: callers may hold the lock of one session meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed.
    fn commit(&self, writes: &[Write]) -> Result<(), StoreError>;
}

/// Why records are not kept, or not found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder.
    #[error("the folder {dir} cannot be used (MILLRACE_DATA_DIR): {source}")]
    Folder {
        /// Which.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Two processes would undo each other's work.
    #[error("another control plane uses {dir}: give each its own MILLRACE_DATA_DIR")]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The database.
    #[error("{path}: {source}")]
    Database {
        /// Its file.
        path: PathBuf,
        /// What it says.
        source: rusqlite::Error,
    },
    /// A newer Millrace wrote it.
    #[error("{path} is of format {found}, this version reads {known}: run the newer version, or move the file away")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// Ours.
        known: i64,
    },
}

/// What a control plane keeps its state with.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// The records.
    pub store: Arc<dyn Store>,
    /// How far each client has been told.
    pub cursors: Cursors,
    /// Held for as long as the folder is used.
    _lock: Option<Arc<File>>,
}

impl Keeping {
    /// In files of a folder, which is made when it is not there. A database that cannot be read is set aside.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn in_folder(dir: &Path) -> Result<Self, StoreError> {
        let refused = |source| StoreError::Folder { dir: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(refused)?;
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(dir.join(LOCK)).map_err(refused)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::Error(source) => refused(source),
            TryLockError::WouldBlock => StoreError::InUse { dir: dir.to_owned() },
        })?;
        let store = SqliteStore::open_or_replace(&dir.join(DATABASE))?;
        let cursors = Cursors::in_file(&dir.join(CURSORS)).map_err(refused)?;
        Ok(Self { store: Arc::new(store), cursors, _lock: Some(Arc::new(lock)) })
    }

    /// In memory, for as long as a clone of it is there.
    pub fn in_memory() -> Self {
        Self::with(Arc::new(MemoryStore::default()))
    }

    /// With this store, and cursors in memory.
    pub fn with(store: Arc<dyn Store>) -> Self {
        Self { store, cursors: Cursors::in_memory(), _lock: None }
    }
}
