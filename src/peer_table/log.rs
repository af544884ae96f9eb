//! What has happened to peers since the controller last looked, while they are watched.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::change::ChangeKind;

/// Keeps the newest changes, up to a capacity. With a capacity of 0, as long as they are not watched, it does nothing.
#[derive(Debug, Default)]
pub(crate) struct Log {
    capacity: usize,
    changes: VecDeque<(IpAddr, ChangeKind)>,
    /// Changes that were dropped for want of room since the controller last looked.
    dropped: u64,
    /// Changes that were ever recorded.
    recorded: u64,
}

impl Log {
    /// Keeps up to so many changes from now on; drops none that is there.
    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    pub(super) fn record(&mut self, ip: IpAddr, kind: ChangeKind) {
        if self.capacity == 0 {
            return;
        }
        if self.changes.len() >= self.capacity {
            self.changes.pop_front();
            self.dropped += 1;
        }
        self.changes.push_back((ip, kind));
        self.recorded += 1;
    }

    /// For [`Self::undo_to`].
    pub(super) fn mark(&self) -> u64 {
        self.recorded
    }

    /// Takes back what was recorded since that mark.
    pub(super) fn undo_to(&mut self, mark: u64) {
        let undone = usize::try_from(self.recorded - mark).unwrap_or(usize::MAX);
        self.changes.truncate(self.changes.len().saturating_sub(undone));
        self.recorded = mark;
    }

    /// The oldest change that is there, to be taken after [`Self::take_dropped`].
    pub(super) fn pop(&mut self) -> Option<(IpAddr, ChangeKind)> {
        self.changes.pop_front()
    }

    /// How many changes before the oldest one were dropped.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    pub(super) fn has_any(&self) -> bool {
        !self.changes.is_empty()
    }
}
