//! Which peer is better.
//!
//! Only a connection that *we* made proves that a peer listens. A peer that only ever came in, or that somebody fed us,
//! is unproven however often it is alive; otherwise anyone would become promising by connecting to us. Bitcoin Core drew
//! this line after "Eclipse Attacks on Bitcoin's Peer-to-Peer Network" (Heilman et al., 2015).

use chrono::{DateTime, Utc};

use crate::peer::PeerStatus;
use crate::peer_table::entry::Entry;

/// A peer's place in the order: the smaller, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    class: Class,
    first: i64,
    second: i64,
    tie: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    OutAlive,
    InAlive,
    /// Proven, streak 0: most recently alive on a connection of ours first.
    Proven,
    /// Unproven, alive once and no failure since: most recent first.
    Met,
    NeverTried,
    /// By streak, then the oldest failure first.
    Rest,
}

impl Rank {
    pub(crate) fn of(entry: &Entry) -> Self {
        let (class, first, second) = match entry.peer.status {
            PeerStatus::OutAlive => (Class::OutAlive, 0, 0),
            PeerStatus::InAlive => (Class::InAlive, 0, 0),
            PeerStatus::Idle
            | PeerStatus::OutConnecting
            | PeerStatus::OutHandshaking
            | PeerStatus::InHandshaking
            | PeerStatus::Banned => Self::by_history(entry),
        };
        Self {
            class,
            first,
            second,
            tie: entry.tie,
        }
    }

    fn by_history(entry: &Entry) -> (Class, i64, i64) {
        let times = entry.believed_times();
        let streak = entry.peer.failures_in_row;
        let failed_since = times.last_failure > times.last_alive;
        if entry.proven && streak == 0 {
            (Class::Proven, latest_first(times.last_alive_outgoing), 0)
        } else if !entry.proven && times.last_alive.is_some() && !failed_since {
            (Class::Met, latest_first(times.last_alive), 0)
        } else if times.last_alive.is_none() && times.last_failure.is_none() && streak == 0 {
            (Class::NeverTried, 0, 0)
        } else {
            (Class::Rest, i64::from(streak), oldest_first(times.last_failure))
        }
    }
}

fn latest_first(time: Option<DateTime<Utc>>) -> i64 {
    -oldest_first(time)
}

fn oldest_first(time: Option<DateTime<Utc>>) -> i64 {
    // The whole range of chrono, in microseconds, fits with room for the sign.
    time.map_or(-i64::MAX, |time| time.timestamp_micros())
}
