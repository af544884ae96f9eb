//! [`Changes`]: a stream of what happens to peers.
//!
//! The table keeps what has happened in its log; at the end of each poll and call the controller moves that into the ring
//! of each stream. Neither waits for a reader: a ring that is full drops its oldest change and counts it.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use chrono::{DateTime, Utc};
use futures::stream::{FusedStream, Stream};

use crate::change::{Change, ChangeKind};
use crate::controller::clock::RunningClock;
#[cfg(feature = "tracing")]
use crate::controller::traces;
use crate::peer_table::PeerTable;

/// What happens to peers from the call of [`NetworkController::changes`] on, in its order. It ends with the controller,
/// after the last change.
///
/// Nothing waits for its reader. When a change comes and there is no room for it, the oldest one is dropped; the reader
/// learns by [`ChangeKind::Lagged`] how many are missing, and should look at
/// [`peers`](crate::NetworkController::peers) anew if it follows them.
///
/// [`NetworkController::changes`]: crate::NetworkController::changes
///
/// [`NetworkController::changes`] has an example.
#[must_use = "streams do nothing unless polled"]
pub struct Changes {
    ring: Arc<Ring>,
}

#[derive(Debug)]
struct Ring {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    changes: VecDeque<Change>,
    /// Changes that were dropped before the first of these.
    lagged: u64,
    is_ended: bool,
    reader: Option<Waker>,
}

/// The rings of the streams that may still be read.
#[derive(Debug)]
pub(crate) struct Watchers {
    rings: Vec<Arc<Ring>>,
}

impl Watchers {
    pub(super) fn new(table: &mut PeerTable) -> Self {
        let watchers = Self { rings: Vec::new() };
        table.watch(watchers.capacity());
        watchers
    }

    /// One more stream, which has room for so many changes.
    pub(super) fn subscribe(&mut self, capacity: usize, table: &mut PeerTable) -> Changes {
        let ring = Arc::new(Ring {
            capacity: capacity.max(1),
            state: Mutex::default(),
        });
        self.rings.push(Arc::clone(&ring));
        table.watch(self.capacity());
        Changes { ring }
    }

    /// Passes on what has happened since it was last asked.
    pub(super) fn tell(&mut self, table: &mut PeerTable, clock: &RunningClock) {
        if table.has_changes() {
            self.pass_on(table, clock.now().utc);
        }
        // Tracing may be switched on at any time.
        if cfg!(feature = "tracing") {
            table.watch(self.capacity());
        }
    }

    fn pass_on(&mut self, table: &mut PeerTable, at: DateTime<Utc>) {
        let dropped = table.dropped_changes();
        let changes: Vec<_> = std::iter::from_fn(|| table.next_change())
            .map(|(ip, kind)| Change { at, ip, kind })
            .collect();
        #[cfg(feature = "tracing")]
        {
            traces::on_dropped(dropped);
            changes.iter().for_each(traces::on_change);
        }
        // This is the only reference to the ring of a stream that was dropped.
        self.rings.retain(|ring| Arc::strong_count(ring) > 1);
        self.rings.iter().for_each(|ring| ring.extend(dropped, &changes));
        table.watch(self.capacity());
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rings.len()
    }

    /// Ends all streams.
    pub(super) fn end(&mut self) {
        self.rings.drain(..).for_each(|ring| ring.end());
    }

    /// What the log of the table must have room for, so that whatever it drops no ring would have kept.
    fn capacity(&self) -> usize {
        let rings = self.rings.iter().map(|ring| ring.capacity).max();
        #[cfg(feature = "tracing")]
        let rings = rings.max(Some(traces::capacity()));
        rings.unwrap_or(0)
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.end();
    }
}

impl Ring {
    fn extend(&self, dropped: u64, changes: &[Change]) {
        self.change(|state| {
            if dropped > 0 {
                state.lagged += dropped + count(state.changes.len());
                state.changes.clear();
            }
            state.changes.extend(changes);
            let surplus = state.changes.len().saturating_sub(self.capacity);
            state.changes.drain(..surplus);
            state.lagged += count(surplus);
        });
    }

    fn end(&self) {
        self.change(|state| state.is_ended = true);
    }

    /// The reader is woken without the lock, as its task may come back here.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> Option<Change> {
        let &Change { at, .. } = self.changes.front()?;
        match std::mem::take(&mut self.lagged) {
            0 => self.changes.pop_front(),
            missing => Some(Change {
                at,
                ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                kind: ChangeKind::Lagged(missing),
            }),
        }
    }
}

/// What a poll returns:
///
/// - `Ready(Some(change))`: poll again.
/// - `Ready(None)`: the controller is closed or dropped, and all that happened before was yielded.
/// - `Pending`: nothing has happened.
///
/// # Cancel safety
///
/// Dropping the future of `next()` loses nothing.
impl Stream for Changes {
    type Item = Change;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        let mut state = self.ring.state();
        if let Some(change) = state.next() {
            return Poll::Ready(Some(change));
        }
        if state.is_ended {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl FusedStream for Changes {
    fn is_terminated(&self) -> bool {
        let state = self.ring.state();
        state.is_ended && state.changes.is_empty()
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.ring.state();
        f.debug_struct("Changes")
            .field("capacity", &self.ring.capacity)
            .field("waiting", &state.changes.len())
            .field("is_ended", &state.is_ended)
            .finish_non_exhaustive()
    }
}

fn count(changes: usize) -> u64 {
    u64::try_from(changes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::start;

    fn change(last: u8) -> Change {
        Change {
            at: start(),
            ip: IpAddr::from([60, 1, 0, last]),
            kind: ChangeKind::Added,
        }
    }

    #[test]
    fn what_the_table_has_dropped_came_after_what_is_there() {
        let ring = Ring {
            capacity: 3,
            state: Mutex::default(),
        };
        ring.extend(0, &[change(1)]);
        ring.extend(5, &[2, 3, 4, 5].map(change));
        let told: Vec<_> = std::iter::from_fn(|| ring.state().next()).collect();
        assert_eq!(told[0].kind, ChangeKind::Lagged(1 + 5 + 1));
        assert_eq!(told[1..], [3, 4, 5].map(change));
        ring.extend(0, &[change(6)]);
        assert_eq!(ring.state().next(), Some(change(6)), "told once");
    }
}
