//! Which peer is better.
//!
//! Only a connection that *we* made proves that a peer listens. A peer that only ever came in, or that we were told of,
//! is unproven however often it is alive; otherwise anyone would become promising by connecting to us. Bitcoin Core drew
//! this line after "Eclipse Attacks on Bitcoin's Peer-to-Peer Network" (Heilman et al., 2015).

use std::cmp::Reverse;

use chrono::{DateTime, Utc};

use crate::peer::{PeerId, PeerStatus};
use crate::peer_table::entry::Entry;

/// How good a peer is: the least is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    OutAlive,
    InAlive,
    /// Proven, without a streak: most recently alive on a connection of ours first.
    Proven(Reverse<Micros>),
    /// Unproven, alive once and no failure since: most recently alive first.
    Met(Reverse<Micros>),
    NeverTried,
    /// By streak, then the oldest failure first.
    Failed {
        streak: u32,
        last_failure: Micros,
    },
    /// Neither dialed nor told of, by `denied` or `allowed`: nothing is lost with it.
    Denied,
}

/// A peer's position in the order of peers. No two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ranked {
    pub(crate) rank: Rank,
    pub(crate) tie: u32,
    pub(crate) id: PeerId,
}

/// Microseconds since 1970, the least number for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Micros(i64);

impl Rank {
    pub(crate) fn of(entry: &Entry) -> Self {
        match entry.peer.status {
            _ if entry.is_denied => Self::Denied,
            PeerStatus::OutAlive => Self::OutAlive,
            PeerStatus::InAlive => Self::InAlive,
            PeerStatus::Idle
            | PeerStatus::OutConnecting
            | PeerStatus::OutHandshaking
            | PeerStatus::InHandshaking
            | PeerStatus::Banned => Self::by_history(entry),
        }
    }

    fn by_history(entry: &Entry) -> Self {
        let (streak, times) = (entry.peer.failures_in_row, entry.times());
        if entry.is_proven && streak == 0 {
            Self::Proven(Reverse(times.last_alive_outgoing.into()))
        } else if !entry.is_proven && times.last_alive.is_some() && times.last_failure <= times.last_alive {
            Self::Met(Reverse(times.last_alive.into()))
        } else if times.last_alive.is_none() && times.last_failure.is_none() && streak == 0 {
            Self::NeverTried
        } else {
            Self::Failed {
                streak,
                last_failure: times.last_failure.into(),
            }
        }
    }
}

impl Ranked {
    pub(crate) fn of(entry: &Entry, id: PeerId) -> Self {
        Self {
            rank: Rank::of(entry),
            tie: entry.tie,
            id,
        }
    }
}

impl From<Option<DateTime<Utc>>> for Micros {
    fn from(time: Option<DateTime<Utc>>) -> Self {
        Self(time.map_or(i64::MIN, |time| time.timestamp_micros()))
    }
}
