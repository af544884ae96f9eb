//! How long a peer is left alone after its failures and after connections that were closed.

use std::time::Duration;

use crate::peer::PeerId;
use crate::peer_table::PeerTable;
use crate::peer_table::entry::Entry;
use crate::peer_table::time::Now;

/// How many pauses that are over are ended in one call, so that a million of them do not stall a poll.
const PAUSES_PER_CALL: usize = 32;

impl PeerTable {
    /// The pause after so many failures in a row, before its jitter: `retry_backoff`, doubled for each after the first,
    /// at most `max_retry_backoff`.
    pub(super) fn backoff(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let pause = self.config.retry_backoff.saturating_mul(1 << doublings);
        pause.min(self.config.max_retry_backoff)
    }

    /// The pause after an outgoing connection that ends now, before its jitter, and how many in a row have ended within
    /// `retry_backoff` of their start: the pause doubles for each, as a full peer may say so and hang up.
    pub(super) fn pause_after_end(&self, now: Now, id: PeerId) -> (Duration, u8) {
        let entry = self.peers.get(id);
        let lasted = entry
            .connection
            .map_or(Duration::ZERO, |it| now.moment().since(it.since));
        let short_in_row = if lasted < self.config.retry_backoff {
            entry.short_in_row.saturating_add(1)
        } else {
            0
        };
        (self.backoff(short_in_row.into()), short_in_row)
    }

    /// Makes candidates of the peers whose pause is over.
    pub(super) fn end_pauses(&mut self, now: Now) {
        for _ in 0..PAUSES_PER_CALL {
            let Some(id) = self.peers.rested(now.moment()) else {
                return;
            };
            self.peers.update(id, |entry| entry.paused_until = None);
        }
    }
}

impl Entry {
    /// A failure in an outage counts until the outage is over; any other one ends that count.
    pub(super) fn note_outage_failure(&mut self, is_outage: bool) {
        self.failures_in_outage = if is_outage {
            self.failures_in_outage.saturating_add(1)
        } else {
            0
        };
    }
}
