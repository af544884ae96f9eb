//! When each dial has had its time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::peer::ConnectionId;

/// So many dials that are over are kept, beside as many as are under way.
const SLACK: usize = 32;

/// All dials may take equally long, so they stand in the order of their ends as they stand in that of their ids. One that
/// is over before stays until the ones before it are too, or half of them are such.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// The first is under way.
    dials: VecDeque<Limit>,
    under_way: usize,
}

#[derive(Clone, Copy, Debug)]
struct Limit {
    dial: ConnectionId,
    at: Duration,
    is_over: bool,
}

impl Limits {
    /// A dial begins, after all others.
    pub(crate) fn begin(&mut self, dial: ConnectionId, at: Duration) {
        debug_assert!(self.dials.back().is_none_or(|last| last.dial < dial), "ids rise");
        self.under_way += 1;
        // Where the clock or the timeout goes back, a dial ends with the one before it.
        let at = self.dials.back().map_or(at, |last| last.at.max(at));
        self.dials.push_back(Limit {
            dial,
            at,
            is_over: false,
        });
    }

    /// The dial is over, if it was under way and within its limit.
    pub(crate) fn end(&mut self, dial: ConnectionId) {
        let place = self.dials.binary_search_by_key(&dial, |limit| limit.dial);
        let Some(limit) = place.ok().and_then(|place| self.dials.get_mut(place)) else {
            return;
        };
        if std::mem::replace(&mut limit.is_over, true) {
            return;
        }
        self.under_way -= 1;
        while self.dials.front().is_some_and(|limit| limit.is_over) {
            self.dials.pop_front();
        }
        if self.dials.len() > 2 * self.under_way + SLACK {
            self.dials.retain(|limit| !limit.is_over);
        }
    }

    /// When the first of the dials under way has had its time.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.dials.front().map(|limit| limit.at)
    }

    /// Ends the first of the dials, if it has had its time by then.
    pub(crate) fn next_overdue(&mut self, by: Duration) -> Option<ConnectionId> {
        let overdue = self.dials.front().filter(|limit| limit.at <= by)?.dial;
        self.end(overdue);
        Some(overdue)
    }

    /// The dials under way and within their limits.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn under_way(&self) -> impl Iterator<Item = ConnectionId> {
        let under_way = self.dials.iter().filter(|limit| !limit.is_over);
        under_way.map(|limit| limit.dial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits(at: impl IntoIterator<Item = Duration>) -> Limits {
        let mut limits = Limits::default();
        for (id, at) in (1..).zip(at) {
            limits.begin(ConnectionId(id), at);
        }
        limits
    }

    #[test]
    fn each_dial_has_its_own_limit_and_is_named_once() {
        let mut limits = limits([SECOND, 2 * SECOND, 2 * SECOND, 3 * SECOND]);
        assert_eq!(limits.next(), Some(SECOND));
        assert_eq!(limits.next_overdue(SECOND / 2), None);
        assert_eq!(limits.next_overdue(SECOND), Some(ConnectionId(1)));
        assert_eq!(limits.next_overdue(SECOND), None);
        assert_eq!(limits.next_overdue(2 * SECOND), Some(ConnectionId(2)));
        assert_eq!(limits.next_overdue(2 * SECOND), Some(ConnectionId(3)));
        assert_eq!(limits.next(), Some(3 * SECOND));
        limits.end(ConnectionId(1));
        assert!(limits.under_way().eq([ConnectionId(4)]));
    }

    #[test]
    fn a_dial_that_is_over_has_no_limit() {
        let mut limits = limits([SECOND, 2 * SECOND, 3 * SECOND]);
        limits.end(ConnectionId(2));
        limits.end(ConnectionId(2));
        assert_eq!(limits.next(), Some(SECOND));
        limits.end(ConnectionId(1));
        assert_eq!(limits.next(), Some(3 * SECOND));
        limits.end(ConnectionId(3));
        assert_eq!((limits.next(), limits.under_way), (None, 0));
        limits.end(ConnectionId(9));
    }

    #[test]
    fn dials_that_are_over_take_bounded_room() {
        let mut limits = limits([SECOND]);
        for id in 2..10_000 {
            limits.begin(ConnectionId(id), 2 * SECOND);
            limits.end(ConnectionId(id));
            assert!(limits.dials.len() <= 2 + SLACK);
        }
        assert_eq!(limits.next(), Some(SECOND));
    }

    #[test]
    fn the_end_of_time_is_a_limit() {
        let mut limits = limits([Duration::MAX, SECOND]);
        assert_eq!(limits.next_overdue(Duration::from_secs(u64::MAX)), None);
        assert_eq!(limits.next(), Some(Duration::MAX));
    }
}
