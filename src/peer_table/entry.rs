//! All that the table keeps of one peer, in as few bytes as it may take: there can be a million of them.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::peer::{ConnectionId, OtherFields, Peer, PeerStatus};
use crate::peer_table::slots::PeerId;

/// A proven peer stays one until this many of our attempts failed in a row …
const UNPROVEN_STREAK: u32 = 10;
/// … and it was last alive on a connection of ours this long ago.
const UNPROVEN_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) peer: Peer,
    /// Keyed hash of the address, the last word but one where two peers are equally good.
    pub(crate) tie: u32,
    /// Its neighbours in the order of peers, where that is a list.
    pub(crate) links: Links,
    /// Its subnet's group, and its seat among the members there.
    pub(crate) group: GroupId,
    pub(crate) seat: u32,
    paused_until: Pause,
    rare: Option<Box<Rare>>,
}

/// Names a subnet's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct GroupId(pub(crate) u32);

/// Neighbours in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    pub(crate) better: Option<PeerId>,
    pub(crate) worse: Option<PeerId>,
}

/// Nanoseconds since the start; 0 is no pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pause(u64);

/// What few peers have at one time: those that are connected or banned, and those with an odd record.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    pub(crate) banned_at: Option<DateTime<Utc>>,
    pub(crate) other: Option<Box<OtherFields>>,
    /// What to believe instead of the peer's times, where some of those lay in the future when they were loaded.
    pub(crate) believed: Option<Times>,
    /// Dials in a row for which this host found no way to the address.
    pub(crate) unroutable_in_row: u32,
    /// The dial or connection of a peer that is neither Idle nor Banned.
    pub(crate) connection: Option<ConnectionId>,
    /// When the handshake is given up or the ban ends.
    pub(crate) deadline: Option<Duration>,
    /// For a ban: the number of the last event that concerned it.
    pub(crate) last_event: u64,
    /// An inbound socket of the peer is parked: it is not dialed meanwhile.
    pub(crate) has_parked: bool,
}

/// The times that the order of peers goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) last_alive: Option<DateTime<Utc>>,
    pub(crate) last_failure: Option<DateTime<Utc>>,
    pub(crate) last_alive_outgoing: Option<DateTime<Utc>>,
}

static ORDINARY: Rare = Rare {
    banned_at: None,
    other: None,
    believed: None,
    unroutable_in_row: 0,
    connection: None,
    deadline: None,
    last_event: 0,
    has_parked: false,
};

impl Entry {
    pub(crate) fn new(peer: Peer, tie: u32) -> Self {
        Self {
            peer,
            tie,
            links: Links::default(),
            group: GroupId(0),
            seat: 0,
            paused_until: Pause(0),
            rare: None,
        }
    }

    /// What is out of the ordinary about the peer.
    pub(crate) fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&ORDINARY)
    }

    pub(crate) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Gives the memory back once nothing is out of the ordinary any more.
    pub(crate) fn tidy(&mut self) {
        if self.rare.as_deref().is_some_and(Rare::is_ordinary) {
            self.rare = None;
        }
    }

    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        self.rare().connection
    }

    /// Until when the peer is not to be dialed.
    pub(crate) fn paused_until(&self) -> Option<Duration> {
        (self.paused_until.0 > 0).then(|| Duration::from_nanos(self.paused_until.0))
    }

    pub(crate) fn pause_until(&mut self, until: Option<Duration>) {
        let nanos = |until: Duration| u64::try_from(until.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.paused_until = Pause(until.map_or(0, nanos));
    }

    pub(crate) fn believed_times(&self) -> Times {
        self.rare().believed.unwrap_or(Times {
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
        if outgoing {
            self.peer.last_alive_outgoing = Some(utc);
            self.peer.failures_in_row = 0;
            self.peer.is_proven = true;
        }
        if let Some(believed) = self.believed_mut() {
            believed.last_alive = Some(utc);
            if outgoing {
                believed.last_alive_outgoing = Some(utc);
            }
        }
    }

    pub(crate) fn on_failure(&mut self, utc: DateTime<Utc>) {
        self.peer.last_failure = Some(utc);
        if let Some(believed) = self.believed_mut() {
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
        self.peer.is_proven = alive.is_some_and(|alive| !(worn_out && is_old(alive)));
    }

    fn believed_mut(&mut self) -> Option<&mut Times> {
        self.rare.as_mut()?.believed.as_mut()
    }
}

impl Rare {
    fn is_ordinary(&self) -> bool {
        let Self {
            banned_at,
            other,
            believed,
            unroutable_in_row,
            connection,
            deadline,
            last_event,
            has_parked,
        } = self;
        banned_at.is_none()
            && other.is_none()
            && believed.is_none()
            && *unroutable_in_row == 0
            && connection.is_none()
            && deadline.is_none()
            && *last_event == 0
            && !has_parked
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
        (!peer.is_own).then(|| Self {
            status: lasting(peer.status),
            times: [
                peer.last_alive,
                peer.last_failure,
                peer.last_alive_outgoing,
                entry.rare().banned_at,
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
