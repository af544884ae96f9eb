//! Dials under way: bounded in number, each of them cancellable, yielding how they came out.
//!
//! Owns the dials, and nothing else does: whatever is called off, ended or cleared is dropped on the spot, so that its
//! socket is reset at once. A dial is polled when it has been woken and at no other time, in the order of waking;
//! Tokio's cooperative budget does not hold it back, since the caller bounds how many outcomes it takes in a poll. How
//! long a dial may take is the caller's to say. Spawns nothing.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::task::coop::{Unconstrained, unconstrained};

use self::woken::{DialWaker, Woken};
use crate::fault::DialFault;
use crate::peer::ConnectionId;
use crate::transport::Dialed;

mod woken;

/// A bounded set of dials, each with a [`ConnectionId`], a stream of their outcomes.
#[must_use = "streams do nothing unless polled"]
pub(crate) struct ConnectorPool<D> {
    limit: usize,
    attempts: BTreeMap<ConnectionId, Attempt<D>>,
    /// Have had their time.
    overdue: VecDeque<ConnectionId>,
    woken: Arc<Woken>,
}

/// Why a dial brought no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// It took too long.
    #[error("the connection attempt timed out")]
    TimedOut,
    /// The transport gave up.
    #[error("the connection attempt failed")]
    Failed(#[from] io::Error),
}

impl DialError {
    /// Whose fault it is.
    pub(crate) fn fault(&self) -> DialFault {
        match self {
            Self::TimedOut => DialFault::Peer,
            Self::Failed(error) => DialFault::of(error),
        }
    }
}

struct Attempt<D> {
    dial: Pin<Box<Unconstrained<D>>>,
    waker: Arc<DialWaker>,
}

impl<D> ConnectorPool<D> {
    /// An empty pool for at most `limit` dials at a time.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            attempts: BTreeMap::new(),
            overdue: VecDeque::new(),
            woken: Arc::default(),
        }
    }

    /// Takes on a dial. It is first polled by the pool's next poll, which is for the caller to see to.
    ///
    /// The caller keeps the number of dials below the limit and uses every id once.
    pub(crate) fn start(&mut self, id: ConnectionId, dial: D)
    where
        D: Future,
    {
        debug_assert!(self.attempts.len() < self.limit, "a dial beyond the limit");
        let attempt = Attempt {
            dial: Box::pin(unconstrained(dial)),
            waker: DialWaker::new(id, Arc::clone(&self.woken)),
        };
        attempt.waker.wake_dial();
        let replaced = self.attempts.insert(id, attempt);
        debug_assert!(replaced.is_none(), "a connection id was used twice");
    }

    /// A dial has had its time: the pool's next poll, which is for the caller to see to, ends it. It has timed out,
    /// unless it is ready then.
    pub(crate) fn end(&mut self, id: ConnectionId) {
        self.overdue.push_back(id);
    }

    /// Drops a dial on the spot. It has no outcome then. False if it is not under way.
    pub(crate) fn call_off(&mut self, id: ConnectionId) -> bool {
        self.attempts.remove(&id).is_some()
    }

    /// Drops all dials on the spot.
    pub(crate) fn clear(&mut self) {
        self.attempts.clear();
        self.overdue.clear();
    }

    /// How many dials are under way.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.attempts.len()
    }

    /// Whether no dial is under way.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }
}

impl<D, S> ConnectorPool<D>
where
    D: Future<Output = io::Result<Dialed<S>>>,
{
    /// Ends the first of the dials that have had their time.
    fn poll_overdue(&mut self) -> Poll<Outcome<S>> {
        while let Some(id) = self.overdue.pop_front() {
            if let Some(mut attempt) = self.attempts.remove(&id) {
                return Poll::Ready((id, attempt.end()));
            }
        }
        Poll::Pending
    }

    /// Polls the dials that were woken before, until one is ready. Each wake that comes meanwhile wakes the task too.
    fn poll_woken(&mut self, cx: &Context<'_>) -> Poll<Outcome<S>> {
        for _ in 0..self.woken.register(cx.waker()) {
            let Some(id) = self.woken.pop() else { break };
            let Some(attempt) = self.attempts.get_mut(&id) else {
                continue;
            };
            if let Poll::Ready(result) = attempt.poll() {
                self.attempts.remove(&id);
                return Poll::Ready((id, result.map_err(DialError::from)));
            }
        }
        Poll::Pending
    }
}

/// How a dial came out.
type Outcome<S> = (ConnectionId, Result<Dialed<S>, DialError>);

/// What a poll returns:
///
/// - `Ready(Some((id, outcome)))`: that dial is over, poll again.
/// - `Ready(None)`: never; an empty pool is pending.
/// - `Pending`: no dial has come to its end.
///
/// Those that have had their time go first: otherwise dials that fail as fast as they are started would keep the others
/// from ever timing out.
impl<D, S> Stream for ConnectorPool<D>
where
    D: Future<Output = io::Result<Dialed<S>>>,
{
    type Item = Outcome<S>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.attempts.is_empty() {
            return Poll::Pending;
        }
        if let Poll::Ready(outcome) = self.poll_overdue() {
            return Poll::Ready(Some(outcome));
        }
        self.poll_woken(cx).map(Some)
    }
}

impl<D, S> Attempt<D>
where
    D: Future<Output = io::Result<Dialed<S>>>,
{
    fn poll(&mut self) -> Poll<D::Output> {
        let waker = self.waker.begin_poll();
        self.dial.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn end(&mut self) -> Result<Dialed<S>, DialError> {
        match self.poll() {
            Poll::Ready(result) => Ok(result?),
            Poll::Pending => Err(DialError::TimedOut),
        }
    }
}

#[cfg(any())]
mod tests;
