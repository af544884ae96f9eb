//! [`FileSystem`]: the operations that replace a file, and [`Disk`], which carries them out. Tests have one that fails.
//!
//! Nothing here spawns; an operation runs on the runtime's blocking pool, as `tokio::fs` does it.

use std::fmt::Debug;
use std::fs::Permissions;
use std::io;
use std::path::Path;

use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt;

/// What a [`StagedFile`](super::StagedFile) does to the file system.
pub(crate) trait FileSystem: Clone + Debug + Send + Sync + Unpin + 'static {
    /// Creates a file where there is none; it never has more than these permissions.
    fn create_new(&self, path: &Path, permissions: Option<Permissions>) -> impl Operation<File>;

    fn set_permissions(&self, file: &File, permissions: Permissions) -> impl Operation<()>;

    /// Returns while the last bytes are still being written: the next operation on the file reports their error.
    fn write_all(&self, file: &mut File, bytes: &[u8]) -> impl Operation<()>;

    fn sync(&self, file: &File) -> impl Operation<()>;

    fn rename(&self, from: &Path, to: &Path) -> impl Operation<()>;

    /// Makes a rename in `folder` outlast a crash of the operating system.
    fn sync_folder(&self, folder: &Path) -> impl Operation<()>;

    fn remove(&self, path: &Path) -> impl Operation<()>;

    /// As [`remove`](Self::remove), for `Drop`, which cannot wait.
    fn remove_now(&self, path: &Path) -> io::Result<()>;
}

/// One operation on the file system.
pub(crate) trait Operation<T>: Future<Output = io::Result<T>> + Send + Sync {}

impl<T, F: Future<Output = io::Result<T>> + Send + Sync> Operation<T> for F {}

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

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).await
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
