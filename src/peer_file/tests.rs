//! The format both ways, and the replacement of the file step by step.

use std::cell::{Cell, RefCell};
use std::fs::{File as StdFile, Permissions};
use std::io;
use std::path::Path;

use tokio::fs::File;

use super::file_system::Operation;
use super::{Disk, FileLock, FileSystem};

mod format;
// There are no locks on Windows.
#[cfg(unix)]
mod locking;
mod reading;
mod replacing;

thread_local! {
    static STEPS: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    static WRITES: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    static FAULT: Cell<Fault> = const { Cell::new(Fault::None) };
    static IS_STOPPED: Cell<bool> = const { Cell::new(false) };
    static IS_MOUNTED: Cell<bool> = const { Cell::new(false) };
}

/// What happens to the file operations of this thread; the first one is number 1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    None,
    Fail(usize),
    /// Each operation of this name fails with this error of the operating system.
    #[cfg_attr(
        not(unix),
        expect(dead_code, reason = "the errors that tests name are those of Unix")
    )]
    FailWith(&'static str, i32),
    /// A write fails when half of it is done, another operation when all of it is.
    FailTorn(usize),
    /// Never ends, and has not begun.
    Stall(usize),
    /// As [`Fault::FailTorn`], and never ends. Nothing is done after it, as if the process had been killed.
    StopTorn(usize),
    /// Nothing is done from here on, as if the process had been killed.
    Stop(usize),
}

/// Sets the fault and starts to count anew.
pub(crate) fn set_fault(fault: Fault) {
    FAULT.set(fault);
    IS_STOPPED.set(false);
    take_steps();
    take_writes();
}

/// Whether the target is a mount point by itself, so that it cannot be renamed over.
pub(crate) fn set_mounted(is_mounted: bool) {
    IS_MOUNTED.set(is_mounted);
}

/// Whether a fault has stopped everything: what is dropped then removes nothing, as in a killed process.
pub(crate) fn is_stopped() -> bool {
    IS_STOPPED.get()
}

/// The operations that were begun since the last call, named as the errors name them.
pub(crate) fn take_steps() -> Vec<&'static str> {
    STEPS.take()
}

/// How many bytes each write since the last call had.
pub(crate) fn take_writes() -> Vec<usize> {
    WRITES.take()
}

/// The disk, with the [`Fault`] of this thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaultyDisk;

impl FileSystem for FaultyDisk {
    fn create_new(&self, path: &Path, permissions: Option<Permissions>) -> impl Operation<File> {
        observed("create", Disk.create_new(path, permissions))
    }

    fn set_permissions(&self, file: &File, permissions: Permissions) -> impl Operation<()> {
        observed("set permissions of", Disk.set_permissions(file, permissions))
    }

    async fn write_all(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        WRITES.with_borrow_mut(|writes| writes.push(bytes.len()));
        let number = STEPS.with_borrow(Vec::len) + 1;
        let written = match FAULT.get() {
            Fault::FailTorn(at) | Fault::StopTorn(at) if at == number => &bytes[..bytes.len() / 2],
            _ => bytes,
        };
        observed("write", Disk.write_all(file, written)).await
    }

    fn sync(&self, file: &File) -> impl Operation<()> {
        observed("sync", Disk.sync(file))
    }

    fn try_lock(&self) -> impl Fn(&StdFile) -> io::Result<()> + Send + Sync + 'static {
        let fault = FAULT.get();
        move |file| match fault {
            Fault::FailWith("lock", code) => Err(io::Error::from_raw_os_error(code)),
            _ => Ok(file.try_lock()?),
        }
    }

    async fn rename(&self, from: &Path, to: &Path, held: [FileLock; 2]) -> io::Result<()> {
        if IS_MOUNTED.get() {
            return observed("rename", async { Err(io::ErrorKind::ResourceBusy.into()) }).await;
        }
        observed("rename", Disk.rename(from, to, held)).await
    }

    async fn overwrite(&self, from: &Path, to: &Path, held: FileLock) -> io::Result<()> {
        let number = STEPS.with_borrow(Vec::len) + 1;
        match FAULT.get() {
            Fault::FailTorn(at) | Fault::StopTorn(at) if at == number => {
                let half = async {
                    let whole = std::fs::read(from)?;
                    std::fs::write(to, &whole[..whole.len() / 2])
                };
                observed("overwrite", half).await
            }
            _ => observed("overwrite", Disk.overwrite(from, to, held)).await,
        }
    }

    fn sync_folder(&self, folder: &Path) -> impl Operation<()> {
        observed("sync folder", Disk.sync_folder(folder))
    }

    fn remove(&self, path: &Path) -> impl Operation<()> {
        observed("remove", Disk.remove(path))
    }

    fn remove_now(&self, path: &Path) -> io::Result<()> {
        if is_stopped() { Ok(()) } else { Disk.remove_now(path) }
    }
}

/// Notes an operation and lets it fail or hang as the [`Fault`] says.
async fn observed<T>(step: &'static str, work: impl Operation<T>) -> io::Result<T> {
    let number = STEPS.with_borrow_mut(|steps| {
        steps.push(step);
        steps.len()
    });
    let fault = || io::Error::other("injected fault");
    match FAULT.get() {
        Fault::Fail(at) if at == number => Err(fault()),
        Fault::FailWith(name, code) if name == step => Err(io::Error::from_raw_os_error(code)),
        Fault::FailTorn(at) if at == number => work.await.and(Err(fault())),
        Fault::Stall(at) if at == number => std::future::pending().await,
        Fault::Stop(at) if at == number => stop().await,
        Fault::StopTorn(at) if at == number => {
            let _half = work.await;
            stop().await
        }
        _ => work.await,
    }
}

async fn stop<T>() -> T {
    IS_STOPPED.set(true);
    std::future::pending().await
}
