//! The default store: one SQLite file with a write-ahead log.
//!
//! A commit appends to the log and does not wait for the disk, but for the first one after the log has begun anew. The
//! log goes into the database from a thread of its own, when it has become long.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::{Key, Store, StoreError, Write};

/// `PRAGMA user_version` of the files that this version reads and writes.
const FORMAT: i64 = 1;
/// How long the log becomes.
const LIMITS: Limits = Limits { look: Duration::from_secs(1), taken: 8 << 20, begun_anew: 64 << 20 };
/// How long one connection waits for the other: each needs its locks for well under a millisecond.
const PATIENCE: Duration = Duration::from_secs(5);

const PUT: &str = "INSERT INTO records (scope, kind, name, value) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (scope, kind, name) DO UPDATE SET value = excluded.value";
const DELETE: &str = "DELETE FROM records WHERE scope = ?1 AND kind = ?2 AND name = ?3";
const CLEAR: &str = "DELETE FROM records WHERE scope = ?1";

/// How the log is kept short. Each taking waits for the disk; so does the first commit after the log has begun anew, and
/// all that come while it is made to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Between two looks at it.
    pub(super) look: Duration,
    /// From so many bytes on it is taken into the database, which lets it begin anew if nobody commits meanwhile.
    pub(super) taken: u64,
    /// From so many bytes on commits wait until it does.
    pub(super) begun_anew: u64,
}

/// Records in a file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    connection: Arc<Mutex<Connection>>,
    /// Ends the thread when it is dropped.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SqliteStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`StoreError::Newer`], or what SQLite says.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::with_limits(path, LIMITS)
    }

    pub(super) fn with_limits(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Database { path: path.to_owned(), source };
        make_private(path);
        let connection = connect(path).map_err(failed)?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        if found > FORMAT {
            return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT });
        }
        prepare(&connection).map_err(failed)?;
        let (stop, stopped) = channel::<()>();
        let connection = Arc::new(Mutex::new(connection));
        let first = connection.clone();
        let (second, log) = (connect(path).map_err(failed)?, with_suffix(path, "-wal"));
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            while stopped.recv_timeout(limits.look) == Err(RecvTimeoutError::Timeout) {
                shorten(&first, &second, &log, limits);
            }
        });
        let thread = thread.map_err(|error| StoreError::Folder { dir: path.to_owned(), source: error })?;
        let (stop, thread) = (Some(stop), Some(thread));
        Ok(Self { path: path.to_owned(), connection, stop, thread })
    }

    /// The same; a file that is no sound database is set aside, under another name, and begun anew.
    ///
    /// # Errors
    /// As [`Self::open`], but for unsound files.
    pub fn open_or_replace(path: &Path) -> Result<Self, StoreError> {
        let opened = Self::open(path).and_then(|store| store.check().map(|()| store));
        match opened {
            Err(StoreError::Database { source, .. }) if is_unsound(&source) => {
                let aside =
                    set_aside(path).map_err(|error| StoreError::Folder { dir: path.to_owned(), source: error })?;
                tracing::error!(
                    error = %source, path = %path.display(), aside = %aside.display(),
                    "the database is damaged: it is set aside, and sessions of before are lost"
                );
                Self::open(path)
            }
            outcome => outcome,
        }
    }

    /// Reads the whole file, as far as its structure goes.
    fn check(&self) -> Result<(), StoreError> {
        let verdict = self.connection().pragma_query_value(None, "quick_check", |row| row.get::<_, String>(0));
        match verdict.map_err(|source| self.failed(source))?.as_str() {
            "ok" => Ok(()),
            found => {
                let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
                Err(self.failed(rusqlite::Error::SqliteFailure(code, Some(found.to_owned()))))
            }
        }
    }

    fn failed(&self, source: rusqlite::Error) -> StoreError {
        StoreError::Database { path: self.path.clone(), source }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic left open is rolled back when it is dropped.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for SqliteStore {
    fn load(&self) -> Result<Vec<(Key, Vec<u8>)>, StoreError> {
        let connection = self.connection();
        let read = || -> rusqlite::Result<Vec<(Key, Vec<u8>)>> {
            let mut all =
                connection.prepare("SELECT scope, kind, name, value FROM records ORDER BY scope, kind, name")?;
            let rows = all.query_map([], |row| {
                Ok((Key { scope: row.get(0)?, kind: row.get(1)?, name: row.get(2)? }, row.get(3)?))
            })?;
            rows.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let mut write_all = || {
            let transaction = connection.transaction()?;
            for write in writes {
                match write {
                    Write::Put(key, value) => {
                        transaction.prepare_cached(PUT)?.execute(params![key.scope, key.kind, key.name, value])?
                    }
                    Write::Delete(key) => {
                        transaction.prepare_cached(DELETE)?.execute(params![key.scope, key.kind, key.name])?
                    }
                    Write::Clear(scope) => transaction.prepare_cached(CLEAR)?.execute(params![scope])?,
                };
            }
            transaction.commit()
        };
        write_all().map_err(|source| self.failed(source))
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It cannot have failed but by a panic, which has been reported.
            let _ = thread.join();
        }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // The log is synchronised when it is taken into the database: the file is sound whatever happens.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS records (
            scope TEXT NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,
            PRIMARY KEY (scope, kind, name)
        ) WITHOUT ROWID",
    )?;
    connection.pragma_update(None, "user_version", FORMAT)
}

/// Takes the log into the database when it is long.
fn shorten(first: &Mutex<Connection>, second: &Connection, log: &Path, limits: Limits) {
    // It is there as long as the connections are.
    let bytes = std::fs::metadata(log).map_or(0, |file| file.len());
    if bytes < limits.taken {
        return;
    }
    let take = |connection: &Connection, how: &str| {
        let taken = connection.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(()));
        if let Err(error) = taken {
            tracing::warn!(%error, "the store's log cannot be taken into its database");
        }
    };
    // First what can be taken while others commit, so that they wait for the rest only.
    take(second, "PASSIVE");
    if bytes >= limits.begun_anew {
        take(&first.lock().unwrap_or_else(PoisonError::into_inner), "TRUNCATE");
    }
}

/// Tokens are in it. A file that cannot be made will be SQLite's to complain about.
fn make_private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    let _ = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
}

fn is_unsound(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let aside = with_suffix(path, &format!(".damaged-{now}"));
    std::fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        // They need not be there.
        let _ = std::fs::rename(with_suffix(path, suffix), with_suffix(&aside, suffix));
    }
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
