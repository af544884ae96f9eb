//! Where a peer stands in every index, as follows from what is known of it.

use crate::peer::{Peer, PeerStatus};
use crate::peer_table::entry::{Entry, Marks, Moment, is_untried};
use crate::peer_table::rank::Rank;

/// What an entry says of itself, so that a change moves just what it must. Its rank is asked for only where it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) status: PeerStatus,
    /// In the order of peers.
    pub(crate) listing: Listing,
    /// In its subnet's group.
    pub(crate) standing: Standing,
    pub(crate) paused: Option<Moment>,
    pub(crate) deadline: Option<Moment>,
    /// Among the bans that may be dropped, the event by which it stands there; 0 for who is not banned.
    pub(crate) ban: u64,
}

/// Where a peer stands in the order of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    /// Banned, or this node's own address: not told of.
    None,
    /// Never tried: its tie alone says how good it is.
    Untried,
    Ranked,
}

/// How a peer counts in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    None,
    /// Idle and unproven, so among those that may be forgotten.
    Member,
    /// The same, and ready to be dialed.
    ReadyMember,
    /// Idle, proven and ready to be dialed.
    Proven,
    /// Dialed, or connected by a dial of ours: takes the subnet.
    Outgoing,
}

impl Place {
    /// Of a peer that is not known.
    pub(crate) const NOWHERE: Self = Self {
        status: PeerStatus::Idle,
        listing: Listing::None,
        standing: Standing::None,
        paused: None,
        deadline: None,
        ban: 0,
    };

    pub(crate) fn of(entry: Entry<'_>) -> Self {
        let Entry { peer, marks, .. } = entry;
        let (has_parked, deadline, event) = match marks.rare {
            None => (false, None, 0),
            Some(_) => {
                let rare = entry.rare();
                (rare.has_parked, rare.deadline, rare.listed_event)
            }
        };
        let is_free = peer.status == PeerStatus::Idle && !has_parked;
        let is_banned = peer.status == PeerStatus::Banned;
        Self {
            status: peer.status,
            listing: Listing::of(peer),
            standing: Standing::of(peer, is_free && marks.paused_until.is_none()),
            paused: if is_free { marks.paused_until } else { None },
            deadline,
            ban: if is_banned { event } else { 0 },
        }
    }

    /// Its rank there, if in its group it is found by its rank.
    pub(crate) fn rank(&self, entry: Entry<'_>) -> Option<Rank> {
        let is_in_crowd = self.standing.is_member() && entry.marks.seat != Marks::NO_SEAT;
        (self.standing == Standing::Proven || is_in_crowd).then(|| entry.rank())
    }
}

impl Listing {
    pub(crate) fn of(peer: &Peer) -> Self {
        if peer.status == PeerStatus::Banned || peer.is_own() {
            Self::None
        } else if is_untried(peer) {
            Self::Untried
        } else {
            Self::Ranked
        }
    }
}

impl Standing {
    pub(crate) fn is_ready(self) -> bool {
        matches!(self, Self::ReadyMember | Self::Proven)
    }

    pub(crate) fn is_member(self) -> bool {
        matches!(self, Self::Member | Self::ReadyMember)
    }

    /// Whether the peer's rank has to do with it.
    pub(crate) fn has_rank(self) -> bool {
        matches!(self, Self::Member | Self::ReadyMember | Self::Proven)
    }

    fn of(peer: &Peer, is_ready: bool) -> Self {
        match peer.status {
            PeerStatus::Idle if !peer.is_proven && is_ready => Self::ReadyMember,
            PeerStatus::Idle if !peer.is_proven => Self::Member,
            PeerStatus::Idle if is_ready => Self::Proven,
            PeerStatus::OutConnecting | PeerStatus::OutHandshaking | PeerStatus::OutAlive => Self::Outgoing,
            PeerStatus::Idle | PeerStatus::InHandshaking | PeerStatus::InAlive | PeerStatus::Banned => Self::None,
        }
    }
}
