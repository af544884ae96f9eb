//! [`FileLock`]: a peer file belongs to one controller at a time.
//!
//! The lock is on the file itself, so that nothing is left when a process dies. A process that replaces the file locks
//! the new one before that gets the name and lets the old one go after; one that has locked a file looks whether it still
//! has the name.

use std::fs::{File, Metadata, symlink_metadata};
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::PeerFileError;
use super::file_system::{FileSystem, blocking};

/// How long to wait for a lock: the last write of a controller that was dropped may still hold it.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Keeps all others from replacing a peer file, as long as it or a clone lives. It does nothing where locks are not
/// offered, or would keep readers out.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileLock(Option<Arc<File>>);

impl FileLock {
    /// Locks the file at `path`, which is no symbolic link, if it can be locked.
    ///
    /// # Errors
    ///
    /// It is locked already, and stays so for a while.
    pub(super) async fn take(files: &impl FileSystem, path: &Path) -> Result<Self, PeerFileError> {
        let end = Instant::now() + PATIENCE;
        loop {
            match Self::try_take(files, path).await {
                Some(lock) => return Ok(lock.if_readable(path).await),
                None if Instant::now() < end => sleep(PAUSE).await,
                None => return Err(PeerFileError::InUse),
            }
        }
    }

    /// The same at once; `None` if it is locked already.
    pub(super) async fn try_take(files: &impl FileSystem, path: &Path) -> Option<Self> {
        let (try_lock, path) = (files.try_lock(), path.to_owned());
        match blocking(move || open_locked(&path, try_lock)).await {
            Ok(file) => Some(Self(Some(Arc::new(file)))),
            Err(error) => (error.kind() != ErrorKind::WouldBlock).then(Self::default),
        }
    }

    /// Lets the lock of the file at `path` go if it keeps readers out.
    pub(super) async fn if_readable(self, path: &Path) -> Self {
        let path = path.to_owned();
        let is_readable = self.0.is_some() && blocking(move || File::open(path)?.read(&mut [0])).await.is_ok();
        Self(self.0.filter(|_| is_readable))
    }

    /// Whether it locks the file that `path` names now.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        let is_of = |file: &File| names(path, file_id(&file.metadata()?));
        self.0.as_deref().is_some_and(|file| is_of(file).unwrap_or(false))
    }
}

/// Not opened to write, as that would keep its file system from being mounted read-only; unless it is locked only so, as
/// over NFS.
fn open_locked(path: &Path, try_lock: impl Fn(&File) -> io::Result<()>) -> io::Result<File> {
    // Windows enforces locks: one would keep readers out, and the handle that writes the temporary file. And to open a
    // pipe would wait until something writes to it.
    if cfg!(windows) || !symlink_metadata(path)?.is_file() {
        return Err(ErrorKind::Unsupported.into());
    }
    let mut file = File::open(path)?;
    let mut locked = try_lock(&file);
    if locked
        .as_ref()
        .is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
    {
        file = File::options().read(true).write(true).open(path)?;
        locked = try_lock(&file);
    }
    locked?;
    // It may have been replaced since it was opened.
    if names(path, file_id(&file.metadata()?))? {
        Ok(file)
    } else {
        Err(ErrorKind::WouldBlock.into())
    }
}

/// Whether `path` names this file, and not another one or a link.
pub(super) fn names(path: &Path, id: FileId) -> io::Result<bool> {
    Ok(file_id(&symlink_metadata(path)?) == id)
}

/// Tells a file from another one that has taken its name.
#[cfg(unix)]
pub(super) type FileId = (u64, u64);

#[cfg(unix)]
pub(super) fn file_id(metadata: &Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// The standard library has no number of a file here: a name is taken to be of the same file.
#[cfg(not(unix))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId;

#[cfg(not(unix))]
pub(super) fn file_id(_metadata: &Metadata) -> FileId {
    FileId
}
