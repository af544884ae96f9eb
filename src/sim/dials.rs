//! How many dials were made, and what became of them.

use std::time::Duration;

/// The dials of one second of virtual time. [`Host`](super::Host) has an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DialCounts {
    /// Dials that started.
    pub started: u32,
    /// Dials that succeeded, though the other end may refuse the connection yet.
    pub connected: u32,
    /// Dials that were refused or reset.
    pub refused: u32,
    /// Dials that were dropped before an answer: they took too long, or were called off.
    pub unanswered: u32,
}

#[derive(Debug, Default)]
pub(super) struct DialLog(Vec<DialCounts>);

impl DialLog {
    pub(super) fn at(&mut self, now: Duration) -> &mut DialCounts {
        let second = usize::try_from(now.as_secs()).unwrap_or(usize::MAX);
        if self.0.len() <= second {
            self.0.resize(second + 1, DialCounts::default());
        }
        &mut self.0[second]
    }

    pub(super) fn seconds(&self) -> &[DialCounts] {
        &self.0
    }
}
