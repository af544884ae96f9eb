//! [`Agenda`]: events in the order of their time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Events in the order of their time, and those of one time in the order in which they were added: so a run can be
/// replayed.
#[derive(Debug)]
pub(super) struct Agenda<E> {
    heap: BinaryHeap<Planned<E>>,
    added: u64,
}

#[derive(Debug)]
struct Planned<E> {
    at: Duration,
    number: u64,
    event: E,
}

impl<E> Agenda<E> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            added: 0,
        }
    }

    pub(super) fn add(&mut self, at: Duration, event: E) {
        self.added += 1;
        self.heap.push(Planned {
            at,
            number: self.added,
            event,
        });
    }

    /// The time of the next event.
    pub(super) fn next_time(&self) -> Option<Duration> {
        self.heap.peek().map(|planned| planned.at)
    }

    /// The next event, if its time has come.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<E> {
        self.next_time().filter(|&at| at <= now)?;
        self.heap.pop().map(|planned| planned.event)
    }
}

/// The earliest is the greatest, as the heap yields the greatest first.
impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<E> Eq for Planned<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_those_of_one_time_as_they_were_added() {
        let mut agenda = Agenda::new();
        for (at, event) in [(2, 'c'), (1, 'a'), (2, 'd'), (1, 'b'), (3, 'e')] {
            agenda.add(Duration::from_secs(at), event);
        }
        assert_eq!(agenda.next_time(), Some(Duration::from_secs(1)));
        let due: String = std::iter::from_fn(|| agenda.pop_due(Duration::from_secs(2))).collect();
        assert_eq!(due, "abcd");
        assert_eq!(agenda.next_time(), Some(Duration::from_secs(3)));
    }
}
