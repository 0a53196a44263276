//! The socket's file: nobody but its owner may connect, a leftover of a dead process is replaced, a living
//! process's is not, and our own is removed at the end.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Mode of the socket.
const SOCKET_MODE: u32 = 0o600;
/// Mode of its directory, if it has to be made.
const DIRECTORY_MODE: u32 = 0o755;

/// A bound control socket.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our file, by which to tell it from a successor's.
    identity: (u64, u64),
}

impl ControlSocket {
    /// Listens at `path`.
    ///
    /// # Errors
    /// `AddrInUse` when another process answers there; otherwise what the system reports.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(parent)?;
        }
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers on this socket"));
        }
        refuse_other_files(path)?;
        // Bound beside and moved there with its mode set, so that nobody can connect before.
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        remove_if_there(&beside)?;
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(SOCKET_MODE))?;
        fs::rename(&beside, path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path: path.to_owned(), identity: identity(path)? })
    }

    /// A handle on the listener.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|current| current == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the control socket");
        }
    }
}

/// A file that is no socket was put there by someone for something.
fn refuse_other_files(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}
