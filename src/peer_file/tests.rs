//! The format both ways, and the replacement of the file step by step.

use std::cell::{Cell, RefCell};
use std::io;

use super::CHUNK;

mod format;
mod reading;
mod replacing;

thread_local! {
    static STEPS: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    static FAULT: Cell<Fault> = const { Cell::new(Fault::None) };
    static IS_STOPPED: Cell<bool> = const { Cell::new(false) };
    static WORK: Cell<Work> = const { Cell::new(Work { records: 0, bytes_written: 0, odd_writes: 0 }) };
}

/// What happens to the file operations of this thread; the first one is number 1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    None,
    Fail(usize),
    /// A write fails when half of it is done, another operation when all of it is.
    FailTorn(usize),
    /// Never ends, and has not begun.
    Stall(usize),
    /// As [`Fault::FailTorn`], and never ends. Nothing is done after it, as if the process had been killed.
    StopTorn(usize),
    /// Nothing is done from here on, as if the process had been killed.
    Stop(usize),
}

/// What was done for dumps by this thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) records: usize,
    pub(crate) bytes_written: usize,
    /// Writes that were not of whole chunks.
    pub(crate) odd_writes: usize,
}

/// Sets the fault and starts to count anew.
pub(crate) fn set_fault(fault: Fault) {
    FAULT.set(fault);
    IS_STOPPED.set(false);
    take_steps();
}

/// Whether a fault has stopped everything: what is dropped then cleans nothing up, as nothing does that is killed.
pub(crate) fn is_stopped() -> bool {
    IS_STOPPED.get()
}

/// The steps that were begun since the last call.
pub(crate) fn take_steps() -> Vec<&'static str> {
    STEPS.take()
}

/// What was done since the last call.
pub(crate) fn take_work() -> Work {
    WORK.take()
}

pub(super) fn note_record() {
    let work = WORK.get();
    WORK.set(Work {
        records: work.records + 1,
        ..work
    });
}

/// Notes a write; answers how much of it is carried out.
pub(super) fn note_write(len: usize) -> usize {
    let work = WORK.get();
    WORK.set(Work {
        bytes_written: work.bytes_written + len,
        odd_writes: work.odd_writes + usize::from(!len.is_multiple_of(CHUNK)),
        ..work
    });
    let number = STEPS.with_borrow(Vec::len) + 1;
    match FAULT.get() {
        Fault::FailTorn(at) | Fault::StopTorn(at) if at == number => len / 2,
        _ => len,
    }
}

/// Notes each step of [`StagedFile`](super::StagedFile) and lets it fail or hang as the [`Fault`] says.
pub(super) async fn observed<T>(step: &'static str, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let number = STEPS.with_borrow_mut(|steps| {
        steps.push(step);
        steps.len()
    });
    let fault = || io::Error::other("injected fault");
    match FAULT.get() {
        Fault::Fail(at) if at == number => Err(fault()),
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
