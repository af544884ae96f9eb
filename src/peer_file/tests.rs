//! The format both ways, and the replacement of the file step by step.

use std::cell::{Cell, RefCell};
use std::io;

mod format;
mod reading;
mod replacing;
mod times;

thread_local! {
    static STEPS: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    static FAULT: Cell<Fault> = const { Cell::new(Fault::None) };
}

/// What happens to the file operations of this thread; the first one is number 1.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    None,
    Fail(usize),
    Stall(usize),
}

/// Sets the fault and starts to count anew.
pub(crate) fn set_fault(fault: Fault) {
    FAULT.set(fault);
    take_steps();
}

/// The steps that were begun since the last call.
pub(crate) fn take_steps() -> Vec<&'static str> {
    STEPS.take()
}

/// Notes each step of [`StagedFile`](super::StagedFile) and lets it fail or hang as the [`Fault`] says.
pub(super) async fn observed<T>(step: &'static str, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let number = STEPS.with_borrow_mut(|steps| {
        steps.push(step);
        steps.len()
    });
    match FAULT.get() {
        Fault::Fail(at) if at == number => Err(io::Error::other("injected fault")),
        Fault::Stall(at) if at == number => std::future::pending().await,
        Fault::None | Fault::Fail(_) | Fault::Stall(_) => work.await,
    }
}
