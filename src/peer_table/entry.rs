//! All that the table keeps of one peer.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::peer::{ConnectionId, OtherFields, Peer, PeerStatus};

/// A proven peer stays one until this many of our attempts failed in a row …
const UNPROVEN_STREAK: u32 = 10;
/// … and it was last alive on a connection of ours this long ago.
const UNPROVEN_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) peer: Peer,
    pub(crate) banned_at: Option<DateTime<Utc>>,
    pub(crate) other: Option<Box<OtherFields>>,
    /// Keyed hash of the address, the last word where two peers are equally good.
    pub(crate) tie: u64,
    pub(crate) proven: bool,
    /// The address is this node's own, the connection a local client's: neither listed, stored nor kept.
    pub(crate) is_own: bool,
    /// An inbound socket of the peer is parked: it is not dialed meanwhile.
    pub(crate) has_parked: bool,
    /// What to believe instead of the peer's times, where some of those lay in the future when they were loaded.
    pub(crate) believed: Option<Box<Times>>,
    /// Dials in a row for which this host found no way to the address.
    pub(crate) unroutable_in_row: u32,
    /// Not to be dialed before.
    pub(crate) paused_until: Option<Duration>,
    /// The dial or connection of a peer that is neither Idle nor Banned.
    pub(crate) connection: Option<ConnectionId>,
    /// When the handshake is given up or the ban ends.
    pub(crate) deadline: Option<Duration>,
    /// For a ban: the number of the last event that concerned it.
    pub(crate) last_event: u64,
}

/// The times that the order of peers goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) last_alive: Option<DateTime<Utc>>,
    pub(crate) last_failure: Option<DateTime<Utc>>,
    pub(crate) last_alive_outgoing: Option<DateTime<Utc>>,
}

impl Entry {
    pub(crate) fn new(peer: Peer, tie: u64) -> Self {
        Self {
            peer,
            banned_at: None,
            other: None,
            tie,
            proven: false,
            is_own: false,
            has_parked: false,
            believed: None,
            unroutable_in_row: 0,
            paused_until: None,
            connection: None,
            deadline: None,
            last_event: 0,
        }
    }

    pub(crate) fn believed_times(&self) -> Times {
        self.believed.as_deref().copied().unwrap_or(Times {
            last_alive: self.peer.last_alive,
            last_failure: self.peer.last_failure,
            last_alive_outgoing: self.peer.last_alive_outgoing,
        })
    }

    /// Whether the present or coming connection is one that we made.
    pub(crate) fn is_outgoing(&self) -> bool {
        is_outgoing(self.peer.status)
    }

    pub(crate) fn on_alive(&mut self, utc: DateTime<Utc>) {
        let outgoing = self.is_outgoing();
        self.peer.last_alive = Some(utc);
        if let Some(believed) = &mut self.believed {
            believed.last_alive = Some(utc);
        }
        if outgoing {
            self.peer.last_alive_outgoing = Some(utc);
            self.peer.failures_in_row = 0;
            self.proven = true;
            if let Some(believed) = &mut self.believed {
                believed.last_alive_outgoing = Some(utc);
            }
        }
    }

    pub(crate) fn on_failure(&mut self, utc: DateTime<Utc>) {
        self.peer.last_failure = Some(utc);
        if let Some(believed) = &mut self.believed {
            believed.last_failure = Some(utc);
        }
    }

    pub(crate) fn lengthen_streak(&mut self, utc: DateTime<Utc>) {
        self.peer.failures_in_row = self.peer.failures_in_row.saturating_add(1);
        self.judge_proven(utc);
    }

    /// Settles whether the peer is proven, from what is stored of it.
    pub(crate) fn judge_proven(&mut self, utc: DateTime<Utc>) {
        let alive = self.believed_times().last_alive_outgoing;
        let is_old = |alive: DateTime<Utc>| (utc - alive).to_std().is_ok_and(|age| age > UNPROVEN_AGE);
        let worn_out = self.peer.failures_in_row >= UNPROVEN_STREAK;
        self.proven = alive.is_some_and(|alive| !(worn_out && is_old(alive)));
    }
}

pub(crate) fn is_outgoing(status: PeerStatus) -> bool {
    matches!(
        status,
        PeerStatus::OutConnecting | PeerStatus::OutHandshaking | PeerStatus::OutAlive
    )
}

/// What the peer file would say of a peer, for telling whether it would say something else now.
#[derive(PartialEq, Eq)]
pub(crate) struct Stored {
    status: PeerStatus,
    times: [Option<DateTime<Utc>>; 4],
    failures_in_row: u32,
}

impl Stored {
    /// `None` for what is never stored.
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        let peer = &entry.peer;
        (!entry.is_own).then(|| Self {
            status: lasting(peer.status),
            times: [
                peer.last_alive,
                peer.last_failure,
                peer.last_alive_outgoing,
                entry.banned_at,
            ],
            failures_in_row: peer.failures_in_row,
        })
    }
}

/// A status that only passes through says nothing that would be worth a dump.
fn lasting(status: PeerStatus) -> PeerStatus {
    match status {
        PeerStatus::Idle | PeerStatus::OutConnecting | PeerStatus::OutHandshaking | PeerStatus::InHandshaking => {
            PeerStatus::Idle
        }
        PeerStatus::OutAlive | PeerStatus::InAlive | PeerStatus::Banned => status,
    }
}
