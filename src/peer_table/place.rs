//! Where a peer stands in every index, as follows from what is known of it.

use crate::peer::PeerStatus;
use crate::peer_table::entry::{Entry, Marks, Moment, is_untried};

/// What an entry says of itself, so that a change moves just what it must. Its rank is asked for only where it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) status: PeerStatus,
    /// In the order of peers.
    pub(crate) is_listed: bool,
    /// In that order by its tie alone.
    pub(crate) is_untried: bool,
    /// In its subnet's group.
    pub(crate) standing: Standing,
    /// In its group it is found by its rank.
    pub(crate) is_ranked: bool,
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
    },
    /// Idle, proven and ready to be dialed.
    Proven,
    /// Dialed, or connected by a dial of ours: takes the subnet.
    Outgoing,
}

impl Place {
    /// Of a peer that is not known.
    pub(crate) const NOWHERE: Self = Self {
        status: PeerStatus::Idle,
        is_listed: false,
        is_untried: false,
        standing: Standing::None,
        is_ranked: false,
        paused: None,
        ban: None,
        deadline: None,
    };

    /// In the order of peers by more than its tie.
    pub(crate) fn is_in_blocks(&self) -> bool {
        self.is_listed && !self.is_untried
    }

    pub(crate) fn of(entry: Entry<'_>) -> Self {
        let (status, rare) = (entry.peer.status, entry.rare());
        let is_free = status == PeerStatus::Idle && !rare.has_parked;
        let paused = entry.paused_until().filter(|_| is_free);
        let standing = Standing::of(entry, is_free && paused.is_none());
        let is_member = matches!(standing, Standing::Member { .. });
        let is_in_crowd = is_member && entry.marks.seat != Marks::NO_SEAT;
        Self {
            status,
            is_listed: status != PeerStatus::Banned && !entry.peer.is_own(),
            is_untried: is_untried(entry.peer),
            standing,
            is_ranked: standing == Standing::Proven || is_in_crowd,
            paused,
            ban: (status == PeerStatus::Banned).then_some(rare.listed_event),
            deadline: rare.deadline,
        }
    }
}

impl Standing {
    pub(crate) fn is_ready(self) -> bool {
        match self {
            Self::Member { is_ready } => is_ready,
            Self::Proven => true,
            Self::None | Self::Outgoing => false,
        }
    }

    /// Whether the peer's rank has to do with it.
    pub(crate) fn has_rank(self) -> bool {
        matches!(self, Self::Member { .. } | Self::Proven)
    }

    fn of(entry: Entry<'_>, is_ready: bool) -> Self {
        match entry.peer.status {
            PeerStatus::Idle if !entry.peer.is_proven => Self::Member { is_ready },
            PeerStatus::Idle if is_ready => Self::Proven,
            PeerStatus::OutConnecting | PeerStatus::OutHandshaking | PeerStatus::OutAlive => Self::Outgoing,
            PeerStatus::Idle | PeerStatus::InHandshaking | PeerStatus::InAlive | PeerStatus::Banned => Self::None,
        }
    }
}
