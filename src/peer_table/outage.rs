//! Outages: times without an outgoing connection, from the start on. They may be our own network's, so they are not
//! held against the peers.
//!
//! In an outage a failed dial or handshake adds nothing to the peer's stored streak. The peer pauses all the same,
//! longer with each failure, up to [`LONGEST_PAUSE`] times `retry_backoff`. An outage is over when an outgoing
//! connection has stayed alive for `retry_backoff`, so that one peer that comes and goes does not end it each time.
//! Then, unless it was the one at the start, peers that failed in it become candidates at once.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::peer::{ConnectionId, PeerId};
use crate::peer_table::PeerTable;
use crate::peer_table::time::{Moment, Now};

/// The longest pause of a peer in an outage, in units of `retry_backoff`.
const LONGEST_PAUSE: u32 = 12;
/// How many peers become candidates again in one call after an outage.
const RELEASES_PER_CALL: usize = 32;

#[derive(Debug)]
pub(crate) struct Outage {
    /// Since when there is one.
    since: Option<Moment>,
    /// An outgoing connection was alive for long enough once.
    has_been_over: bool,
    /// The last dial that started before the last outage was over: what it sent may have been lost.
    last_dial: Option<NonZeroU64>,
    /// What is noted of the peers that failed in the last outage is to be forgotten.
    is_releasing: bool,
    /// Their pauses are, too.
    ends_pauses: bool,
}

impl Outage {
    /// The one at the start.
    pub(crate) fn new(now: Now) -> Self {
        Self {
            since: Some(now.moment()),
            has_been_over: false,
            last_dial: None,
            is_releasing: false,
            ends_pauses: false,
        }
    }

    pub(crate) fn since(&self) -> Option<Moment> {
        self.since
    }

    /// Whether a dial was under way when the last outage was over.
    pub(crate) fn was_in_last(&self, dial: ConnectionId) -> bool {
        self.last_dial.is_some_and(|last| dial.number <= last)
    }
}

impl PeerTable {
    /// Whether there is one now: also one that has just become over is none.
    pub(super) fn is_outage(&self, now: Now) -> bool {
        self.outage.since.is_some() && self.outage_over_at().is_none_or(|at| at > now.moment())
    }

    /// When [`Self::judge_outage`] has something to do.
    pub(super) fn next_outage_change(&self) -> Option<Moment> {
        if self.outage.is_releasing {
            return Some(Moment::START);
        }
        self.outage.since.and(self.outage_over_at())
    }

    /// Ends the outage if an outgoing connection has been alive for long enough, and releases some of its peers.
    pub(super) fn judge_outage(&mut self, now: Now) {
        if self.outage.since.is_some() && !self.is_outage(now) {
            self.outage.since = None;
            self.outage.last_dial = self.last_number;
            self.outage.is_releasing = true;
            self.outage.ends_pauses = std::mem::replace(&mut self.outage.has_been_over, true);
            self.pace.on_outage_over(now, &self.config);
        }
        if self.outage.is_releasing {
            self.release_some();
        }
    }

    /// Begins an outage if an outgoing connection that has just ended was the last.
    pub(super) fn begin_outage(&mut self, now: Now) {
        if self.outage.since.is_none() && self.peers.counts().out_alive == 0 {
            self.outage.since = Some(now.moment());
            self.outage.is_releasing = false;
        }
    }

    /// The pause of a peer after another failure in an outage, before its jitter.
    pub(super) fn pause_in_outage(&self, id: PeerId) -> Duration {
        let longest = self.config.retry_backoff.saturating_mul(LONGEST_PAUSE);
        let failures = u32::from(self.peers.get(id).failures_in_outage).saturating_add(1);
        self.backoff(failures).min(longest)
    }

    fn outage_over_at(&self) -> Option<Moment> {
        let since = self.peers.out_alive_since()?;
        Some(since.plus(self.config.retry_backoff))
    }

    fn release_some(&mut self) {
        let ends_pauses = self.outage.ends_pauses;
        for _ in 0..RELEASES_PER_CALL {
            let Some(id) = self.peers.first_failed_in_outage() else {
                self.outage.is_releasing = false;
                return;
            };
            self.peers.update(id, |entry| {
                entry.failures_in_outage = 0;
                if ends_pauses {
                    entry.paused_until = None;
                }
            });
        }
    }
}
