//! Where a peer stands in every index, as follows from what is known of it.

use crate::peer::PeerStatus;
use crate::peer_table::entry::{Entry, Moment};
use crate::peer_table::rank::Rank;

/// What an entry says of itself, so that a change moves just what it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) status: PeerStatus,
    /// In the order of peers.
    pub(crate) listed: Option<Rank>,
    /// In its subnet's group.
    pub(crate) standing: Standing,
    pub(crate) paused: Option<Moment>,
    /// Among the bans that may be dropped, with the event by which it stands there.
    pub(crate) ban: Option<u64>,
    pub(crate) deadline: Option<Moment>,
}

/// How a peer counts in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    None,
    /// Idle and unproven, so among those that may be forgotten; `is_ready` to be dialed or not.
    Member {
        is_ready: bool,
        rank: Rank,
    },
    /// Idle, proven and ready to be dialed.
    Proven(Rank),
    /// Dialed, or connected by a dial of ours: takes the subnet.
    Outgoing,
}

impl Place {
    /// Of a peer that is not known.
    pub(crate) const NOWHERE: Self = Self {
        status: PeerStatus::Idle,
        listed: None,
        standing: Standing::None,
        paused: None,
        ban: None,
        deadline: None,
    };

    pub(crate) fn of(entry: Entry<'_>) -> Self {
        let (status, rare) = (entry.peer.status, entry.rare());
        let rank = entry.rank();
        let is_free = status == PeerStatus::Idle && !rare.has_parked;
        let paused = entry.paused_until().filter(|_| is_free);
        let is_ready = is_free && paused.is_none();
        Self {
            status,
            listed: (status != PeerStatus::Banned && !entry.peer.is_own()).then_some(rank),
            standing: Standing::of(entry, is_ready, rank),
            paused,
            ban: (status == PeerStatus::Banned).then_some(rare.listed_event),
            deadline: rare.deadline,
        }
    }
}

impl Standing {
    pub(crate) fn is_ready(self) -> bool {
        match self {
            Self::Member { is_ready, .. } => is_ready,
            Self::Proven(_) => true,
            Self::None | Self::Outgoing => false,
        }
    }

    fn of(entry: Entry<'_>, is_ready: bool, rank: Rank) -> Self {
        match entry.peer.status {
            PeerStatus::Idle if !entry.peer.is_proven => Self::Member { is_ready, rank },
            PeerStatus::Idle if is_ready => Self::Proven(rank),
            PeerStatus::OutConnecting | PeerStatus::OutHandshaking | PeerStatus::OutAlive => Self::Outgoing,
            PeerStatus::Idle | PeerStatus::InHandshaking | PeerStatus::InAlive | PeerStatus::Banned => Self::None,
        }
    }
}
