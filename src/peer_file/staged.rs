//! [`StagedFile`]: the next content of a file, beside it until it is whole.
//!
//! The temporary file is `<file name>.tmp` in the folder of the file that is replaced, created anew and locked for as
//! long as it is in use. Only who holds the lock of the file that this name stands for may remove or rename it, so two
//! dumps of one file never mix, and what a killed process left behind is told from what a living one is writing.
//!
//! Nothing here spawns; a file operation runs on the runtime's blocking pool, as `tokio::fs` does it.

use std::fs::{Metadata, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt;

use super::{CHUNK, PeerFileError};

/// As many symbolic links as Linux follows.
const MAX_LINKS: usize = 40;

/// Content that replaces a file once it is whole, or not at all.
///
/// Dropped before [`commit`](Self::commit) is done it removes its temporary file; the target is untouched. Dropped
/// while a call is under way, the operation that had begun is still carried out: it can leave the temporary file
/// behind, which the next `create` removes.
#[derive(Debug)]
pub(crate) struct StagedFile {
    temporary: Temporary,
    file: File,
    target: PathBuf,
}

impl StagedFile {
    /// Starts to replace the file at `path`, which need not exist; a symbolic link stands for what it points to. The
    /// new file has the permissions of the old one, and its owner if this process may give files away and the folder is
    /// not sticky.
    pub(crate) async fn create(path: &Path) -> Result<Self, PeerFileError> {
        let target = step("find", path, resolve(path)).await?;
        let old = step("inspect", &target, found(&target)).await?;
        let path = temporary_path(&target);
        remove_leftover(&path).await?;
        let file = step("create", &path, create_new(&path, old.as_ref())).await?;
        let (file, id) = step("lock", &path, lock(file, &path)).await?;
        let temporary = Temporary { path, id };
        let staged = Self {
            temporary,
            file,
            target,
        };
        if let Some(old) = old {
            let set = staged.file.set_permissions(old.permissions());
            step("set permissions of", &staged.temporary.path, set).await?;
            // Who gives a file away may have no say in it any more, and takes its set-id bits away.
            if keep_owner(&staged.file, &old, folder_of(&staged.target)) {
                staged.file.set_permissions(old.permissions()).await.ok();
            }
        }
        Ok(staged)
    }

    /// Appends `bytes`, best in whole chunks. Returns while the last of them is still being written: whether that went
    /// well, the next call tells. After an error the content is not whole: drop it.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), PeerFileError> {
        #[cfg(test)]
        let bytes = &bytes[..super::tests::note_write(bytes.len())];
        step("write", &self.temporary.path, self.file.write_all(bytes)).await
    }

    /// Puts the content in the place of the target, on the disk before it is so by name.
    ///
    /// # Errors
    ///
    /// The target is as it was, unless only `sync folder` failed: it is the new one then.
    pub(crate) async fn commit(mut self) -> Result<(), PeerFileError> {
        // Syncing alone would pass over the error of a write that is under way.
        step("write", &self.temporary.path, self.file.flush()).await?;
        step("sync", &self.temporary.path, self.file.sync_all()).await?;
        let rename = fs::rename(&self.temporary.path, &self.target);
        step("rename", &self.temporary.path, rename).await?;
        let folder = folder_of(&self.target);
        step("sync folder", folder, sync_folder(folder)).await
    }
}

/// The temporary file by its name, as long as that is its name.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    id: FileId,
}

impl Drop for Temporary {
    /// The rename may have been carried out, and the name may be another process's by now.
    fn drop(&mut self) {
        #[cfg(test)]
        if super::tests::is_stopped() {
            return;
        }
        if names(&self.path, self.id).unwrap_or(false) {
            // The next dump removes it if this one cannot.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Says which step failed, and on what.
async fn step<T>(
    step: &'static str,
    path: &Path,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, PeerFileError> {
    #[cfg(test)]
    let work = super::tests::observed(step, work);
    work.await.map_err(|error| PeerFileError::Write {
        step,
        path: path.to_owned(),
        error,
    })
}

/// Where the content goes: `path` with all symbolic links followed, even one to a file that does not exist.
async fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..MAX_LINKS {
        if let Some(known) = if_found(fs::canonicalize(&path).await)? {
            return Ok(known);
        }
        let Ok(link) = fs::read_link(&path).await else {
            return Ok(path);
        };
        path = folder_of(&path).join(link);
    }
    Err(io::Error::other("too many symbolic links"))
}

/// What is to be kept of the file, if there is one.
async fn found(target: &Path) -> io::Result<Option<Metadata>> {
    let metadata = if_found(fs::metadata(target).await)?;
    metadata.as_ref().map(regular).transpose()?;
    Ok(metadata)
}

/// A file that root's tools have saved can still be read by its node. Asks without waiting, so no thread is needed.
/// Answers whether it has another owner than before.
#[cfg(unix)]
fn keep_owner(file: &File, old: &Metadata, folder: &Path) -> bool {
    use std::os::unix::fs::{MetadataExt, fchown};
    // In a sticky folder only the owner of a file may rename it, and root if it has all its powers.
    if std::fs::metadata(folder).is_ok_and(|folder| folder.mode() & 0o1000 != 0) {
        return false;
    }
    // Who may not give a file away may still choose among its own groups.
    fchown(file, Some(old.uid()), Some(old.gid())).is_ok() || fchown(file, None, Some(old.gid())).is_ok()
}

#[cfg(not(unix))]
fn keep_owner(_file: &File, _old: &Metadata, _folder: &Path) -> bool {
    false
}

/// Neither a folder nor a device is ever opened, removed or replaced.
fn regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(io::Error::other("not a regular file"))
    }
}

fn temporary_path(target: &Path) -> PathBuf {
    let mut path = target.as_os_str().to_owned();
    path.push(".tmp");
    path.into()
}

/// Removes the temporary file of a process that was killed.
async fn remove_leftover(path: &Path) -> Result<(), PeerFileError> {
    let found = async {
        let metadata = if_found(fs::symlink_metadata(path).await)?;
        metadata.as_ref().map(regular).transpose()
    };
    if step("inspect", path, found).await?.is_none() {
        return Ok(());
    }
    let file = step("open", path, File::open(path)).await?;
    let _locked = step("lock", path, lock(file, path)).await?;
    step("remove", path, fs::remove_file(path)).await
}

/// At no moment may more users read the new file than the old one.
async fn create_new(path: &Path, old: Option<&Metadata>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if let Some(old) = old {
        options.mode(std::os::unix::fs::PermissionsExt::mode(&old.permissions()) & 0o777);
    }
    #[cfg(not(unix))]
    let _ = old;
    options.open(path).await
}

/// Makes `file` ours, provided that it still is what `path` names. Asks without waiting, so no thread is needed.
pub(super) async fn lock(file: File, path: &Path) -> io::Result<(File, FileId)> {
    let file = file.into_std().await;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::new(io::ErrorKind::WouldBlock, "another dump is writing it"),
        TryLockError::Error(error) => error,
    })?;
    let id = file_id(&file.metadata()?);
    if names(path, id)? {
        let mut file = File::from_std(file);
        // So much is copied for one write on the blocking pool.
        file.set_max_buf_size(CHUNK);
        Ok((file, id))
    } else {
        Err(io::Error::other("another dump has replaced it"))
    }
}

fn names(path: &Path, id: FileId) -> io::Result<bool> {
    Ok(file_id(&std::fs::symlink_metadata(path)?) == id)
}

/// Tells a file from another one that has taken its name.
#[cfg(unix)]
type FileId = (u64, u64);

#[cfg(unix)]
fn file_id(metadata: &Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
type FileId = ();

#[cfg(not(unix))]
fn file_id(_metadata: &Metadata) -> FileId {}

/// Makes the rename outlast a crash of the operating system.
#[cfg(unix)]
async fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder).await?.sync_all().await
}

#[cfg(not(unix))]
async fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// The folder of a file that is named by an absolute path.
fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn if_found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
