//! When something is due, for each of many peers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::peer_table::entry::Moment;
use crate::peer_table::slots::PeerId;

/// So many timers of no more use are kept, beside as many as are in use.
const SLACK: usize = 64;

/// A heap in which a timer that is stopped stays until it comes to the top, or half of the heap are such: what is set is
/// mostly later than what is there, so setting a timer moves nothing, and most run out. Who is asked, the peers, says
/// whether a timer is in use still.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Moment, PeerId)>>,
    len: usize,
}

impl Timers {
    /// How many are in use.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The one that is due first.
    pub(crate) fn first(&self) -> Option<(Moment, PeerId)> {
        self.heap.peek().map(|&Reverse(first)| first)
    }

    pub(crate) fn is_due(&self, now: Moment) -> bool {
        self.first().is_some_and(|(when, _)| when <= now)
    }

    /// Changes when the peer's timer is due; `due` tells that of the others.
    pub(crate) fn shift(
        &mut self,
        id: PeerId,
        before: Option<Moment>,
        after: Option<Moment>,
        due: impl Fn(PeerId) -> Option<Moment>,
    ) {
        if let Some(after) = after {
            self.len += 1;
            self.heap.push(Reverse((after, id)));
        }
        if before.is_some() {
            self.len -= 1;
            self.tidy(|&(when, other)| Some(when) == if other == id { after } else { due(other) });
        }
    }

    /// Leaves a timer in use on the top, and not too many others below.
    fn tidy(&mut self, is_used: impl Fn(&(Moment, PeerId)) -> bool) {
        if self.heap.len() > 2 * self.len + SLACK {
            let mut timers = std::mem::take(&mut self.heap).into_vec();
            timers.retain(|Reverse(timer)| is_used(timer));
            // One that was stopped and set again for the same moment, as the end of time is, looks used twice.
            timers.sort_unstable();
            timers.dedup();
            self.heap = timers.into();
        }
        while self.heap.peek().is_some_and(|Reverse(timer)| !is_used(timer)) {
            self.heap.pop();
        }
    }

    /// Panics unless these are the timers in use.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn check(&self, used: &std::collections::BTreeSet<(Moment, PeerId)>) {
        let kept: std::collections::BTreeSet<_> = self.heap.iter().map(|&Reverse(timer)| timer).collect();
        assert!(kept.is_superset(used));
        assert_eq!((self.len, self.first()), (used.len(), used.first().copied()));
        assert!(self.heap.len() <= 2 * self.len + SLACK);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    /// Stops and sets timers again and again, each for these moments in turn, below one that stays.
    fn restart(moments: &[u64]) {
        let moment = |nanos| Moment::of(Duration::from_nanos(nanos));
        let (mut timers, mut set) = (Timers::default(), BTreeMap::new());
        let mut times_without_any_other = 0;
        let mut shift = |number: usize, after: Option<Moment>| {
            let number = u32::try_from(number).ok().and_then(NonZeroU32::new);
            let id = PeerId::numbered(number.unwrap());
            let before = set.insert(id, after).flatten();
            timers.shift(id, before, after, |other| *set.get(&other)?);
            let used = set.iter().filter_map(|(&id, &due)| Some((due?, id)));
            timers.check(&used.collect::<BTreeSet<_>>());
            times_without_any_other += usize::from(set.len() > 100 && timers.heap.len() == timers.len);
        };
        shift(1_000, Some(moment(1)));
        for round in 0..2_000 {
            let number = round % 100 + 1;
            shift(number, None);
            shift(number, Some(moment(moments[round / 100 % moments.len()])));
        }
        assert!(times_without_any_other > 5, "{times_without_any_other}");
    }

    #[test]
    fn timers_that_are_stopped_take_bounded_room() {
        restart(&[9, 7, 5, 11]);
        // So it is at the end of time, where all moments are one.
        restart(&[u64::MAX]);
    }
}
