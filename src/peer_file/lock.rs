//! [`FileLock`]: a peer file belongs to one controller at a time.
//!
//! The lock is on the file itself, so that nothing is left when a process dies. Whoever replaces the file locks the new
//! one before that gets the name and lets the old one go after; whoever has locked a file looks whether it still has the
//! name.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::fs;
use tokio::time::{Instant, sleep};

use super::PeerFileError;
use super::file_system::{FileSystem, blocking};
use super::staged::regular;

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
    /// Somebody else has it locked, and does not let it go for a while.
    pub(super) async fn take(files: &impl FileSystem, path: &Path) -> Result<Self, PeerFileError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let Ok(file) = open(path).await else {
                return Ok(Self::default());
            };
            match lock(files, file, path).await {
                Ok(opened) => return Ok(Self::new(opened.file, opened.is_locked, path).await),
                Err(_) if Instant::now() < end => sleep(PAUSE).await,
                Err(_) => return Err(PeerFileError::InUse),
            }
        }
    }

    /// Keeps a file and with it the lock that was taken; lets it go where readers of `path` are kept out.
    pub(super) async fn new(file: File, is_locked: bool, path: &Path) -> Self {
        let path = path.to_owned();
        let read = blocking(move || File::open(path)?.read(&mut [0]));
        Self((is_locked && read.await.is_ok()).then(|| Arc::new(file)))
    }

    /// Whether it locks the file that `path` names now.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        let is_of = |file: &File| names(path, file_id(&file.metadata()?));
        self.0.as_deref().is_some_and(|file| is_of(file).unwrap_or(false))
    }
}

/// A file that has the name by which it was asked for.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) id: FileId,
    /// Not every file system offers locks.
    pub(super) is_locked: bool,
}

/// Locks `file`, provided that `path` still names it. Does not wait for another one's lock.
pub(super) async fn lock(files: &impl FileSystem, file: File, path: &Path) -> io::Result<Opened> {
    let (try_lock, path) = (files.try_lock(), path.to_owned());
    blocking(move || {
        let is_locked = match try_lock(&file) {
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(ErrorKind::WouldBlock, "another dump is writing it"));
            }
            result => result.is_ok(),
        };
        let id = file_id(&file.metadata()?);
        if names(&path, id)? {
            Ok(Opened { file, id, is_locked })
        } else {
            Err(io::Error::other("another dump has replaced it"))
        }
    })
    .await
}

/// Opens a regular file for its lock: to write if that is allowed, as some network file systems want it.
pub(super) async fn open(path: &Path) -> io::Result<File> {
    regular(fs::metadata(path)).await?;
    let path = path.to_owned();
    blocking(move || {
        let to_write = OpenOptions::new().read(true).write(true).open(&path);
        to_write.or_else(|_| File::open(path))
    })
    .await
}

/// Whether `path` names this file, and not another one or a link.
pub(super) fn names(path: &Path, id: FileId) -> io::Result<bool> {
    Ok(file_id(&std::fs::symlink_metadata(path)?) == id)
}

/// Tells a file from another one that has taken its name.
#[cfg(unix)]
pub(super) type FileId = (u64, u64);

#[cfg(unix)]
fn file_id(metadata: &Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
pub(super) type FileId = ();

#[cfg(not(unix))]
fn file_id(_metadata: &Metadata) -> FileId {}
