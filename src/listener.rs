//! Inbound connections before the decision, from a stream that may also bring accept errors.
//!
//! Owns the inner stream and outlives its errors: an error of one connection is skipped, any other pauses this stream
//! and nothing else, for longer each time until a connection comes in again. Every error is counted by its reason.
//! Ends only when the inner stream does, or panics. Spawns nothing; a pause is one timer, made once and set anew.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::stream::FusedStream;
use pin_project::pin_project;
use tokio::time::{Instant, Sleep};

use crate::fault::AcceptFault;
use crate::stats::Counters;

/// How long the first pause lasts. Long enough not to spin, too short to be noticed.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// How long a pause lasts at most. A connection that waits meanwhile is kept by the kernel.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many dead connections are skipped in a row before a pause: an inner stream that only ever has such errors must
/// not keep the task busy.
const SKIPS_IN_A_ROW: usize = 32;

/// The connections of an inner stream `L` of `io::Result`s.
#[pin_project]
#[must_use = "streams do nothing unless polled"]
pub(crate) struct Listener<L> {
    /// `None` once it has ended.
    #[pin]
    inner: Option<L>,
    #[pin]
    pause: Pause,
    errors: AcceptErrors,
}

/// How many accept errors there were, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AcceptErrors {
    /// The connection was dead before it could be accepted.
    pub(crate) aborted: u64,
    /// The process or the host had as many files open as it may have.
    pub(crate) out_of_files: u64,
    /// The host had no memory for another socket.
    pub(crate) out_of_memory: u64,
    /// Anything else.
    pub(crate) other: u64,
}

impl<L> Listener<L> {
    /// Listens by way of `inner`.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with its timer enabled.
    pub(crate) fn new(inner: L) -> Self {
        Self {
            inner: Some(inner),
            pause: Pause::new(),
            errors: AcceptErrors::default(),
        }
    }

    /// The accept errors so far.
    pub(crate) fn errors(&self) -> AcceptErrors {
        self.errors
    }

    /// Takes note that a connection of this stream could not be admitted: an accept error like those of the inner
    /// stream, and it pauses as they do.
    pub(crate) fn on_admit_error(self: Pin<&mut Self>, error: &io::Error) {
        let mut this = self.project();
        if this.errors.count(error) != AcceptFault::Aborted {
            this.pause.as_mut().forget_last_accept();
            this.pause.begin_longer();
            trace_error(error);
        }
    }
}

/// What a poll returns:
///
/// - `Ready(Some(connection))`: it was accepted, poll again.
/// - `Ready(None)`: the inner stream has ended; so it stays, and the inner stream is dropped.
/// - `Pending`: no connection yet, or a pause.
///
/// A panic of the inner stream goes on; the inner stream counts as ended and is not polled again.
impl<L, I> Stream for Listener<L>
where
    L: Stream<Item = io::Result<I>>,
{
    type Item = I;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<I>> {
        let mut this = self.project();
        let mut skipped = 0;
        loop {
            ready!(this.pause.as_mut().poll_over(cx));
            let Some(inner) = this.inner.as_mut().as_pin_mut() else {
                return Poll::Ready(None);
            };
            let polled = match catch_unwind(AssertUnwindSafe(|| inner.poll_next(cx))) {
                Ok(polled) => polled,
                Err(panic) => {
                    this.inner.set(None);
                    resume_unwind(panic)
                }
            };
            match ready!(polled) {
                Some(Ok(connection)) => {
                    this.pause.on_accept();
                    return Poll::Ready(Some(connection));
                }
                Some(Err(error)) if this.errors.count(&error) == AcceptFault::Aborted => {
                    skipped += 1;
                    if skipped == SKIPS_IN_A_ROW {
                        this.pause.as_mut().begin(FIRST_PAUSE);
                    }
                }
                Some(Err(error)) => {
                    this.pause.as_mut().begin_longer();
                    trace_error(&error);
                }
                None => this.inner.set(None),
            }
        }
    }
}

impl<L, I> FusedStream for Listener<L>
where
    L: Stream<Item = io::Result<I>>,
{
    fn is_terminated(&self) -> bool {
        self.inner.is_none()
    }
}

/// The listener pauses because of it.
fn trace_error(error: &io::Error) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "network", %error, "connections cannot be accepted");
    #[cfg(not(feature = "tracing"))]
    let _ = error;
}

impl AcceptErrors {
    /// Has these numbers among the others of a controller.
    pub(crate) fn describe(&self, counters: &mut Counters) {
        counters.accepts_aborted = self.aborted;
        counters.accepts_out_of_files = self.out_of_files;
        counters.accepts_out_of_memory = self.out_of_memory;
        counters.accepts_failed = self.other;
    }

    fn count(&mut self, error: &io::Error) -> AcceptFault {
        let fault = AcceptFault::of(error);
        let counter = match fault {
            AcceptFault::Aborted => &mut self.aborted,
            AcceptFault::OutOfFiles => &mut self.out_of_files,
            AcceptFault::OutOfMemory => &mut self.out_of_memory,
            AcceptFault::Other => &mut self.other,
        };
        *counter = counter.saturating_add(1);
        fault
    }
}

/// A time in which nothing is accepted, and how long the next one will be.
#[pin_project]
struct Pause {
    #[pin]
    sleep: Sleep,
    is_on: bool,
    next: Duration,
    /// What `next` was before the last accept.
    next_before_accept: Duration,
}

impl Pause {
    fn new() -> Self {
        let sleep = tokio::time::sleep(Duration::ZERO);
        Self {
            sleep,
            is_on: false,
            next: FIRST_PAUSE,
            next_before_accept: FIRST_PAUSE,
        }
    }

    /// Ready when no pause is on.
    fn poll_over(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if *this.is_on {
            ready!(this.sleep.poll(cx));
            *this.is_on = false;
        }
        Poll::Ready(())
    }

    /// Begins a pause, twice as long as the one before. One that is on already is left as it is.
    fn begin_longer(mut self: Pin<&mut Self>) {
        if !self.is_on {
            let length = self.next;
            self.as_mut().begin(length);
            *self.project().next = length.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    fn begin(self: Pin<&mut Self>, length: Duration) {
        let this = self.project();
        this.sleep.reset(Instant::now() + length);
        *this.is_on = true;
    }

    fn on_accept(self: Pin<&mut Self>) {
        let this = self.project();
        *this.next_before_accept = std::mem::replace(this.next, FIRST_PAUSE);
    }

    /// Goes on as if the last accept had not been: the connection could not be taken after all.
    fn forget_last_accept(self: Pin<&mut Self>) {
        let this = self.project();
        *this.next = (*this.next).max(*this.next_before_accept);
    }
}

#[cfg(test)]
mod tests;
