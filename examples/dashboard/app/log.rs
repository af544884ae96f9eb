//! The last changes.

use std::collections::VecDeque;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use network::{Change, ChangeKind};

/// More than is worth scrolling through.
const CAPACITY: usize = 1_000;

/// The last changes, oldest first, and how far the view is scrolled back.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    /// How many of the newest ones are below the screen; 0 follows the newest.
    pub(crate) scrolled: usize,
}

/// One change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) at: DateTime<Utc>,
    pub(crate) ip: IpAddr,
    pub(crate) kind: ChangeKind,
}

impl From<Change> for Entry {
    fn from(change: Change) -> Self {
        let Change { at, ip, kind, .. } = change;
        Self { at, ip, kind }
    }
}

impl Log {
    pub(crate) fn push(&mut self, entry: Entry) {
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        // What is on the screen stays there, as long as it is kept.
        if self.scrolled > 0 {
            self.scroll(1);
        }
    }

    /// Scrolls back by so many entries, or forward by a negative number of them.
    pub(crate) fn scroll(&mut self, entries: isize) {
        let last = self.entries.len().saturating_sub(1);
        self.scrolled = self.scrolled.saturating_add_signed(entries).min(last);
    }

    /// As many as fit into so many lines, oldest first.
    pub(crate) fn visible(&self, lines: usize) -> impl Iterator<Item = &Entry> {
        let end = self.entries.len() - self.scrolled;
        self.entries.range(end.saturating_sub(lines)..end)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(last: usize) -> Entry {
        Entry {
            at: DateTime::UNIX_EPOCH,
            ip: u32::try_from(last).map(std::net::Ipv4Addr::from_bits).unwrap().into(),
            kind: ChangeKind::Added,
        }
    }

    fn visible(log: &Log, lines: usize) -> Vec<IpAddr> {
        log.visible(lines).map(|entry| entry.ip).collect()
    }

    #[test]
    fn it_keeps_the_newest_and_follows_them() {
        let mut log = Log::default();
        assert!(visible(&log, 3).is_empty());
        (0..=CAPACITY).for_each(|number| log.push(entry(number)));
        assert_eq!(log.len(), CAPACITY);
        assert_eq!(visible(&log, 2), [entry(CAPACITY - 1).ip, entry(CAPACITY).ip]);
        assert_eq!(
            visible(&log, 2 * CAPACITY)[0],
            entry(1).ip,
            "the oldest one was dropped"
        );
    }

    #[test]
    fn scrolled_back_it_stands_still() {
        let mut log = Log::default();
        (0..10).for_each(|number| log.push(entry(number)));
        log.scroll(4);
        let before = visible(&log, 3);
        assert_eq!(before, [3, 4, 5].map(|number| entry(number).ip));
        log.push(entry(10));
        assert_eq!(visible(&log, 3), before);
        log.scroll(-100);
        assert_eq!(visible(&log, 1), [entry(10).ip]);
        log.scroll(100);
        assert_eq!(visible(&log, 5), [entry(0).ip], "not beyond the oldest");
    }
}
