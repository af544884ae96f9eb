//! Dials under way: bounded in number and in time, each of them cancellable, yielding how they came out.
//!
//! Owns the dials, and nothing else does: whatever is called off, timed out or cleared is dropped on the spot, so that
//! its socket is reset at once. A dial is polled when it has been woken and at no other time, in the order of waking;
//! Tokio's cooperative budget does not hold it back, since the caller bounds how many outcomes it takes in a poll. One
//! timer serves all dials. Spawns nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use pin_project::pin_project;
use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::{Instant, Sleep, sleep_until};

use self::woken::{DialWaker, Woken};
use crate::fault::DialFault;
use crate::peer::ConnectionId;
use crate::transport::Dialed;

mod woken;

/// The longest limit that is kept: ten years. A longer one might be beyond any date that a timer can hold.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A bounded set of dials, each with a [`ConnectionId`], a stream of their outcomes.
#[pin_project]
#[must_use = "streams do nothing unless polled"]
pub(crate) struct ConnectorPool<D> {
    limit: usize,
    connect_timeout: Duration,
    attempts: BTreeMap<ConnectionId, Attempt<D>>,
    /// When each attempt has had its time.
    deadlines: BTreeSet<(Instant, ConnectionId)>,
    /// Set to the first of the deadlines in every poll that finds another one there; none where there is none.
    #[pin]
    sleep: Option<Sleep>,
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
    deadline: Instant,
    waker: Arc<DialWaker>,
}

impl<D> ConnectorPool<D> {
    /// An empty pool for at most `limit` dials at a time, each of which may take `connect_timeout`.
    pub(crate) fn new(limit: usize, connect_timeout: Duration) -> Self {
        Self {
            limit,
            connect_timeout: connect_timeout.min(LONGEST_TIMEOUT),
            attempts: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            sleep: None,
            woken: Arc::default(),
        }
    }

    /// Takes on a dial, whose time begins now. It is first polled by the pool's next poll, for which the task is woken.
    ///
    /// The caller keeps the number of dials below the limit and uses every id once.
    pub(crate) fn start(self: Pin<&mut Self>, id: ConnectionId, dial: D)
    where
        D: Future,
    {
        debug_assert!(self.attempts.len() < self.limit, "a dial beyond the limit");
        let this = self.project();
        let deadline = Instant::now() + *this.connect_timeout;
        this.deadlines.insert((deadline, id));
        let attempt = Attempt {
            dial: Box::pin(unconstrained(dial)),
            deadline,
            waker: DialWaker::new(id, Arc::clone(this.woken)),
        };
        attempt.waker.wake_dial();
        let replaced = this.attempts.insert(id, attempt);
        debug_assert!(replaced.is_none(), "a connection id was used twice");
    }

    /// Drops a dial on the spot. It has no outcome then. False if it is not under way.
    pub(crate) fn call_off(self: Pin<&mut Self>, id: ConnectionId) -> bool {
        self.remove(id).is_some()
    }

    /// Drops all dials on the spot.
    pub(crate) fn clear(self: Pin<&mut Self>) {
        let this = self.project();
        this.attempts.clear();
        this.deadlines.clear();
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

    fn remove(self: Pin<&mut Self>, id: ConnectionId) -> Option<Attempt<D>> {
        let this = self.project();
        let attempt = this.attempts.remove(&id)?;
        this.deadlines.remove(&(attempt.deadline, id));
        Some(attempt)
    }
}

impl<D, S> ConnectorPool<D>
where
    D: Future<Output = io::Result<Dialed<S>>>,
{
    /// Ends the first of the attempts that have had their time.
    ///
    /// That the timer has fired means that the runtime has looked at its sockets since. So one more poll of the dial
    /// shows whether it made it, however late this task is to see it.
    fn poll_deadlines(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<S>> {
        let this = self.as_mut().project();
        let mut sleep = this.sleep;
        let Some((deadline, id)) = this.deadlines.first().copied() else {
            sleep.set(None);
            return Poll::Pending;
        };
        match sleep.as_mut().as_pin_mut() {
            Some(set) if set.deadline() == deadline => {}
            Some(set) => set.reset(deadline),
            None => sleep.set(Some(sleep_until(deadline))),
        }
        if let Some(sleep) = sleep.as_pin_mut() {
            ready!(pin!(unconstrained(sleep)).poll(cx));
        }
        let attempt = self.remove(id).expect("each deadline is that of an attempt");
        Poll::Ready((id, attempt.end(cx)))
    }

    /// Polls the dials that were woken before, until one is ready. Each wake that comes meanwhile wakes the task too.
    fn poll_woken(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<S>> {
        self.woken.register(cx.waker());
        for _ in 0..self.woken.len() {
            let Some(id) = self.woken.pop() else { break };
            let Some(attempt) = self.as_mut().project().attempts.get_mut(&id) else {
                continue;
            };
            if let Poll::Ready(result) = attempt.poll() {
                self.remove(id);
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
/// - `Ready(None)`: never; an empty pool is pending, and a dial that is started then wakes the task.
/// - `Pending`: no dial has come to its end or its limit.
///
/// # Panics
///
/// With dials under way, outside of a Tokio runtime with its timer enabled.
///
/// Limits go first: otherwise dials that fail as fast as they are started would keep the others from ever timing out.
impl<D, S> Stream for ConnectorPool<D>
where
    D: Future<Output = io::Result<Dialed<S>>>,
{
    type Item = Outcome<S>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(outcome) = self.as_mut().poll_deadlines(cx) {
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

    fn end(mut self, cx: &mut Context<'_>) -> Result<Dialed<S>, DialError> {
        match self.dial.as_mut().poll(cx) {
            Poll::Ready(result) => Ok(result?),
            Poll::Pending => Err(DialError::TimedOut),
        }
    }
}

#[cfg(test)]
mod tests;
