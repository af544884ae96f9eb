//! Dials under way: each of them limited in time and cancellable. A stream of their outcomes.
//!
//! Owns the dials, and nothing else does: one that is called off is dropped at once, so that its socket is reset at
//! once. Tokio's cooperative budget does not hold dials back, since the caller bounds how many outcomes it takes in a
//! poll. Spawns nothing.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::thread;
use std::time::Duration;

use futures::stream::{FuturesUnordered, Stream, StreamExt};
use pin_project::pin_project;
use tokio::task::coop::unconstrained;
use tokio::time::{Timeout, timeout};

use crate::fault::{DialError, DialFault};
use crate::peer::ConnectionId;
use crate::transport::Dialed;

/// A set of dials, each with a [`ConnectionId`].
#[must_use = "streams do nothing unless polled"]
pub(crate) struct ConnectorPool<D> {
    dials: FuturesUnordered<Attempt<D>>,
}

/// How a dial came out. That it panicked is an outcome, too, so that the caller can free its slot before the panic goes
/// on.
pub(crate) type Outcome<S> = thread::Result<Result<Dialed<S>, DialError>>;

/// An entry of the set. Only a poll takes it out.
#[pin_project]
struct Attempt<D> {
    id: ConnectionId,
    /// `None` once called off.
    #[pin]
    dial: Option<Timeout<D>>,
    /// Has the set poll this entry. There since its first poll, which comes by itself.
    waker: Option<Waker>,
}

impl<D> ConnectorPool<D> {
    pub(crate) fn new() -> Self {
        Self {
            dials: FuturesUnordered::new(),
        }
    }

    /// Takes on a dial that may take until `limit` from now; one that is ready when that is seen has succeeded. It is
    /// first polled by the pool's next poll, which is for the caller to see to.
    ///
    /// The caller bounds the number of dials and uses every id once.
    pub(crate) fn start(&mut self, id: ConnectionId, dial: D, limit: Duration)
    where
        D: Future,
    {
        self.dials.push(Attempt {
            id,
            dial: Some(timeout(limit, dial)),
            waker: None,
        });
    }

    /// Drops a dial at once, if it is under way. It has no outcome then. Looks at each dial under way.
    pub(crate) fn call_off(&mut self, id: ConnectionId) {
        let mut attempts = Pin::new(&mut self.dials).iter_pin_mut();
        if let Some(attempt) = attempts.find(|attempt| attempt.id == id) {
            attempt.call_off();
        }
    }

    /// Drops all dials at once.
    pub(crate) fn clear(&mut self) {
        self.dials.clear();
    }

    /// How many dials are under way.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let attempts = Pin::new(&self.dials).iter_pin_ref();
        attempts.filter(|attempt| attempt.dial.is_some()).count()
    }
}

/// What a poll returns:
///
/// - `Ready(Some((id, outcome)))`: that dial is over, poll again.
/// - `Ready(None)`: never; an empty pool is pending.
/// - `Pending`: no dial has come to its end.
impl<D, S> Stream for ConnectorPool<D>
where
    D: Future<Output = io::Result<Dialed<S>>>,
{
    type Item = (ConnectionId, Outcome<S>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.dials.is_empty() {
            // Otherwise this entry was called off.
            if let Some(Some(outcome)) = ready!(pin!(unconstrained(self.dials.next())).poll(cx)) {
                return Poll::Ready(Some(outcome));
            }
        }
        Poll::Pending
    }
}

impl<D> Attempt<D> {
    fn call_off(self: Pin<&mut Self>) {
        let mut this = self.project();
        // First, as dropping a dial may panic.
        this.waker.take().into_iter().for_each(Waker::wake);
        this.dial.set(None);
    }
}

impl<D, S> Future for Attempt<D>
where
    D: Future<Output = io::Result<Dialed<S>>>,
{
    type Output = Option<(ConnectionId, Outcome<S>)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(dial) = this.dial.as_pin_mut() else {
            return Poll::Ready(None);
        };
        let is_first_poll = this.waker.is_none();
        // A future that has panicked is never polled again, so its state is never seen.
        let outcome = match catch_unwind(AssertUnwindSafe(|| dial.poll(cx))) {
            Ok(Poll::Pending) => {
                this.waker.get_or_insert_with(|| cx.waker().clone());
                return Poll::Pending;
            }
            Ok(Poll::Ready(Ok(Ok(dialed)))) => Ok(Ok(dialed)),
            Ok(Poll::Ready(Ok(Err(error)))) => Ok(Err(DialError::of(&error, is_first_poll))),
            Ok(Poll::Ready(Err(_elapsed))) => Ok(Err(DialFault::TimedOut.into())),
            Err(panic) => Err(panic),
        };
        Poll::Ready(Some((*this.id, outcome)))
    }
}

#[cfg(test)]
mod tests;
