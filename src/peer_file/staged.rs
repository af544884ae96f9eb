//! [`StagedFile`]: the next content of a file, beside it until it is whole.
//!
//! The temporary file is `<file name>.tmp` in the folder of the file that is replaced, created anew and locked for as
//! long as it is in use. Only the holder of the lock of the file that has this name may remove or rename it: two dumps of
//! one file never mix, and the leftover of a killed process is told from the file of a running one.
//!
//! The file that is replaced is locked from the beginning, and its successor before it gets the name.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::mem::take;
use std::path::{Path, PathBuf};

use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

use super::file_system::{Disk, FileSystem, Operation};
use super::lock::{FileId, FileLock, file_id, names};
use super::{CHUNK, OVERSHOOT, PeerFileError, PeerRecord, parse, read};

/// As many symbolic links as Linux follows.
const MAX_LINKS: usize = 40;

/// Content that replaces a file once it is whole, or not at all.
///
/// Dropped before [`commit`](Self::commit) is done it removes its temporary file; the target is untouched. Dropped
/// while a call is under way, the operation that had begun is still carried out: it can leave the temporary file
/// behind, which the next `create` removes.
#[derive(Debug)]
pub(crate) struct StagedFile<F: FileSystem = Disk> {
    temporary: Temporary<F>,
    file: File,
    target: PathBuf,
    /// The lock of the target, and that of the temporary file.
    lock: FileLock,
    next: FileLock,
}

impl<F: FileSystem> StagedFile<F> {
    /// Starts to replace the file at `path`, which need not exist; a symbolic link is followed. The
    /// new file has the permissions of the old one, and its owner if this process may give files away and the folder is
    /// not sticky. `held` may be a lock of the old one, which is taken otherwise.
    pub(crate) async fn create(files: F, path: &Path, held: FileLock) -> Result<Self, PeerFileError> {
        let target = step("find", path, resolve(path)).await?;
        let old = step("inspect", &target, regular(fs::metadata(&target))).await?;
        let lock = if held.is_of(&target) {
            held
        } else {
            FileLock::take(&files, &target).await?
        };
        let path = temporary_path(&target);
        remove_leftover(&files, &path, &target, lock.clone()).await?;
        let permissions = old.as_ref().map(Metadata::permissions);
        let mut file = step("create", &path, files.create_new(&path, permissions)).await?;
        // This much is copied for one write on the blocking pool.
        file.set_max_buf_size(CHUNK);
        let (id, next) = step("lock", &path, lock_new(&files, &path, &file)).await?;
        let staged = Self {
            temporary: Temporary {
                files,
                path,
                id,
                is_needed: false,
            },
            file,
            target,
            lock,
            next,
        };
        if let Some(old) = old {
            staged.take_over(&old).await?;
        }
        Ok(staged)
    }

    /// What will keep the file at `path` from being replaced, as far as can be seen without doing it.
    pub(super) async fn obstacle(files: F, path: &Path, held: FileLock) -> Result<(), PeerFileError> {
        let staged = Self::create(files, path, held).await?;
        match fs::OpenOptions::new().write(true).open(&staged.target).await {
            // It is mounted by itself: that of its folder would have been found already.
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
                step("overwrite", &staged.target, async { Err(error) }).await
            }
            _ => Ok(()),
        }
    }

    async fn take_over(&self, old: &Metadata) -> Result<(), PeerFileError> {
        let Temporary { files, path, .. } = &self.temporary;
        let set = if_offered(
            files.set_permissions(&self.file, old.permissions()),
            ErrorKind::PermissionDenied,
        );
        step("set permissions of", path, set).await?;
        if keep_owner(&self.file, old, folder_of(&self.target)) {
            // The change of owner has taken the set-id bits away; the former owner may not be allowed to set them.
            self.file.set_permissions(old.permissions()).await.ok();
        }
        Ok(())
    }

    /// Appends the whole chunks that `buffer` holds and leaves the rest in it; if it `is_last`, appends all of it.
    /// Returns while the last bytes are still being written: the next call reports their error. After an error the
    /// content is not whole: drop it.
    pub(crate) async fn write(&mut self, buffer: &mut Vec<u8>, is_last: bool) -> Result<(), PeerFileError> {
        let Temporary { files, path, .. } = &self.temporary;
        let rest = if is_last { 0 } else { buffer.len() % CHUNK };
        let ready = buffer.len() - rest;
        step("write", path, files.write_all(&mut self.file, &buffer[..ready])).await?;
        buffer.drain(..ready);
        buffer.shrink_to(CHUNK + OVERSHOOT);
        Ok(())
    }

    /// Replaces the target. The content is on the disk before it gets the target's name. Answers with the lock of the file
    /// that has the target's name now, whether that went well or not.
    ///
    /// # Errors
    ///
    /// The target is as it was, unless only `sync folder` failed: it is the new one then. Where it is written in place, it
    /// may be cut off by a failing `overwrite`; the temporary file stays then, see [`rescued`].
    pub(crate) async fn commit(mut self) -> (FileLock, Result<(), PeerFileError>) {
        let result = self.replace().await;
        (self.lock, result)
    }

    async fn replace(&mut self) -> Result<(), PeerFileError> {
        let Temporary { files, path, .. } = &self.temporary;
        // Syncing alone would lose the error of a write that is under way.
        step("write", path, self.file.flush()).await?;
        step("sync", path, files.sync(&self.file)).await?;
        let next = take(&mut self.next).if_readable(path).await;
        let held = [self.lock.clone(), next.clone()];
        match files.rename(path, &self.target, held).await {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => return self.write_in_place().await,
            renamed => step("rename", path, async { renamed }).await?,
        }
        self.lock = next;
        self.sync_folder().await
    }

    /// Writes the content into the target where that is mounted by itself, and so cannot be renamed over. The temporary
    /// file stays until that is done: meanwhile only it is whole.
    async fn write_in_place(&mut self) -> Result<(), PeerFileError> {
        self.sync_folder().await?;
        self.temporary.is_needed = true;
        let Temporary { files, path, .. } = &self.temporary;
        let overwritten = files.overwrite(path, &self.target, self.lock.clone());
        step("overwrite", &self.target, overwritten).await?;
        self.temporary.is_needed = false;
        Ok(())
    }

    async fn sync_folder(&self) -> Result<(), PeerFileError> {
        let folder = folder_of(&self.target);
        let files = &self.temporary.files;
        let synced = if_offered(files.sync_folder(folder), ErrorKind::InvalidInput);
        step("sync folder", folder, synced).await
    }
}

/// The temporary file, removed when dropped, unless it is needed or has lost its name.
#[derive(Debug)]
struct Temporary<F: FileSystem> {
    files: F,
    path: PathBuf,
    id: FileId,
    is_needed: bool,
}

impl<F: FileSystem> Drop for Temporary<F> {
    /// The file may have been renamed, and the name may belong to another process's file by now.
    fn drop(&mut self) {
        if !self.is_needed && names(&self.path, self.id).unwrap_or(false) {
            // The next dump removes it if this one cannot.
            let _ = self.files.remove_now(&self.path);
        }
    }
}

/// Adds to an error which step failed, and on what.
async fn step<T>(
    step: &'static str,
    path: &Path,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, PeerFileError> {
    work.await.map_err(|error| PeerFileError::Write {
        step,
        path: path.to_owned(),
        error,
    })
}

/// Where the content goes: `path` with all symbolic links followed, even one to a file that does not exist.
pub(super) async fn resolve(path: &Path) -> io::Result<PathBuf> {
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

/// The metadata of a file, if there is one. Neither a folder nor a device is ever opened, removed or replaced.
pub(super) async fn regular(metadata: impl Future<Output = io::Result<Metadata>>) -> io::Result<Option<Metadata>> {
    match if_found(metadata.await)? {
        Some(metadata) if !metadata.is_file() => {
            Err(io::Error::other("a directory, pipe or device, not a regular file"))
        }
        metadata => Ok(metadata),
    }
}

/// Gives the file to the owner of the old one: what root's tools have saved can still be read by its node. Answers
/// whether it has another owner than before.
#[cfg(unix)]
fn keep_owner(file: &File, old: &Metadata, folder: &Path) -> bool {
    use std::os::unix::fs::{MetadataExt, fchown};
    // In a sticky folder only the owner of a file may rename it, and root if it has all its powers.
    if std::fs::metadata(folder).is_ok_and(|folder| folder.mode() & 0o1000 != 0) {
        return false;
    }
    // A process that may not give files away may still choose among its own groups.
    fchown(file, Some(old.uid()), Some(old.gid())).is_ok() || fchown(file, None, Some(old.gid())).is_ok()
}

#[cfg(not(unix))]
fn keep_owner(_file: &File, _old: &Metadata, _folder: &Path) -> bool {
    false
}

fn temporary_path(target: &Path) -> PathBuf {
    let mut path = target.as_os_str().to_owned();
    path.push(".tmp");
    path.into()
}

/// Removes the temporary file of a process that was killed, whatever its owner, once `target` is whole. `held` is the lock of
/// `target`.
async fn remove_leftover(
    files: &impl FileSystem,
    path: &Path,
    target: &Path,
    held: FileLock,
) -> Result<(), PeerFileError> {
    let found = async { if_found(fs::symlink_metadata(path).await) };
    if step("inspect", path, found).await?.is_none() {
        return Ok(());
    }
    // A running dump can be told by the lock. What cannot be locked may still be removed.
    let locked = step("lock", path, lock_temporary(files, path)).await?;
    if rescued(target).await.is_some() {
        step("overwrite", target, files.overwrite(path, target, held)).await?;
    }
    let removed = step("remove", path, files.remove(path)).await;
    drop(locked);
    removed
}

async fn lock_temporary(files: &impl FileSystem, path: &Path) -> io::Result<FileLock> {
    let locked = FileLock::try_take(files, path).await;
    locked.ok_or_else(|| io::Error::new(ErrorKind::WouldBlock, "another dump is writing it"))
}

/// Locks a file that was just made, provided that `path` still names it.
pub(super) async fn lock_new(files: &impl FileSystem, path: &Path, file: &File) -> io::Result<(FileId, FileLock)> {
    let id = file_id(&file.metadata().await?);
    let lock = lock_temporary(files, path).await?;
    if names(path, id)? {
        Ok((id, lock))
    } else {
        Err(io::Error::other("another dump has replaced it"))
    }
}

/// The peers of the temporary file beside `target`, if it is whole and `target` holds only the beginning of it: the process
/// that wrote in place was killed.
pub(super) async fn rescued(target: &Path) -> Option<Vec<PeerRecord>> {
    let target = resolve(target).await.ok()?;
    let whole = read(&temporary_path(&target)).await.ok()?;
    let part = read(&target).await.ok()?;
    let is_cut_off = part.len() < whole.len() && whole.starts_with(&part);
    if is_cut_off { parse(&whole).ok() } else { None }
}

/// The folder of a file that is named by an absolute path.
fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Does without what a file system does not offer, which it says by `Unsupported` or by this `refusal`.
async fn if_offered(work: impl Operation<()>, refusal: ErrorKind) -> io::Result<()> {
    match work.await {
        Err(error) if error.kind() == ErrorKind::Unsupported || error.kind() == refusal => Ok(()),
        result => result,
    }
}

fn if_found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
