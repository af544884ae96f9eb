//! [`FileSystem`]: the operations that replace a file, and [`Disk`], which carries them out. Tests have one that fails.
//!
//! Nothing here spawns; an operation runs on the runtime's blocking pool, as `tokio::fs` does it.

use std::fmt::Debug;
use std::fs::{File as StdFile, Permissions};
use std::io;
use std::path::Path;

use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt;

use super::lock::FileLock;

/// What a [`StagedFile`](super::StagedFile) does to the file system.
pub(crate) trait FileSystem: Clone + Debug + Send + Sync + Unpin + 'static {
    /// Creates a file where there is none; it never has more than these permissions.
    fn create_new(&self, path: &Path, permissions: Option<Permissions>) -> impl Operation<File>;

    fn set_permissions(&self, file: &File, permissions: Permissions) -> impl Operation<()>;

    /// Returns while the last bytes are still being written: the next operation on the file reports their error.
    fn write_all(&self, file: &mut File, bytes: &[u8]) -> impl Operation<()>;

    fn sync(&self, file: &File) -> impl Operation<()>;

    /// What locks a file unless it is locked already; does not wait.
    fn try_lock(&self) -> impl Fn(&StdFile) -> io::Result<()> + Send + Sync + 'static;

    /// Holds the locks until it is done, even if it is dropped.
    fn rename(&self, from: &Path, to: &Path, held: [FileLock; 2]) -> impl Operation<()>;

    /// Cuts `to` off, writes the content of `from` into it and syncs it. Holds the lock until it is done, even if it is
    /// dropped.
    fn overwrite(&self, from: &Path, to: &Path, held: FileLock) -> impl Operation<()>;

    /// Makes a rename in `folder` outlast a crash of the operating system.
    fn sync_folder(&self, folder: &Path) -> impl Operation<()>;

    fn remove(&self, path: &Path) -> impl Operation<()>;

    /// As [`remove`](Self::remove), for `Drop`, which cannot wait.
    fn remove_now(&self, path: &Path) -> io::Result<()>;
}

/// One operation on the file system.
pub(crate) trait Operation<T>: Future<Output = io::Result<T>> + Send + Sync {}

impl<T, F: Future<Output = io::Result<T>> + Send + Sync> Operation<T> for F {}

/// Does this on the runtime's blocking pool, to its end even if it is dropped.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// The file system of the operating system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk;

impl FileSystem for Disk {
    async fn create_new(&self, path: &Path, permissions: Option<Permissions>) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if let Some(permissions) = permissions {
            options.mode(std::os::unix::fs::PermissionsExt::mode(&permissions) & 0o777);
        }
        #[cfg(not(unix))]
        let _ = permissions;
        options.open(path).await
    }

    async fn set_permissions(&self, file: &File, permissions: Permissions) -> io::Result<()> {
        file.set_permissions(permissions).await
    }

    async fn write_all(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes).await
    }

    async fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all().await
    }

    fn try_lock(&self) -> impl Fn(&StdFile) -> io::Result<()> + Send + Sync + 'static {
        |file| Ok(file.try_lock()?)
    }

    async fn rename(&self, from: &Path, to: &Path, held: [FileLock; 2]) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        blocking(move || {
            let renamed = std::fs::rename(from, to);
            drop(held);
            renamed
        })
        .await
    }

    async fn overwrite(&self, from: &Path, to: &Path, held: FileLock) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        blocking(move || {
            let mut from = StdFile::open(from)?;
            let mut to = StdFile::options().write(true).truncate(true).open(to)?;
            io::copy(&mut from, &mut to)?;
            to.sync_all()?;
            drop(held);
            Ok(())
        })
        .await
    }

    #[cfg(unix)]
    async fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder).await?.sync_all().await
    }

    #[cfg(not(unix))]
    async fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).await
    }

    fn remove_now(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
}
