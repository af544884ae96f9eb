//! Where a peer stands in every index, as follows from what is known of it.

use crate::peer::{Peer, PeerStatus};
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
    pub(crate) deadline: Option<Moment>,
    /// Among the bans that may be dropped, the event by which it stands there; 0 for who is not banned.
    pub(crate) ban: u64,
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
        is_listed: false,
        is_untried: false,
        standing: Standing::None,
        is_ranked: false,
        paused: None,
        deadline: None,
        ban: 0,
    };

    /// In the order of peers by more than its tie.
    pub(crate) fn is_in_blocks(&self) -> bool {
        self.is_listed && !self.is_untried
    }

    pub(crate) fn of(entry: Entry<'_>) -> Self {
        let Entry { peer, marks, .. } = entry;
        let (has_parked, deadline, event) = match marks.rare {
            None => (false, None, 0),
            Some(_) => {
                let rare = entry.rare();
                (rare.has_parked, rare.deadline, rare.listed_event)
            }
        };
        let (is_idle, is_banned) = (peer.status == PeerStatus::Idle, peer.status == PeerStatus::Banned);
        let is_free = is_idle && !has_parked;
        let standing = Standing::of(peer, is_free && marks.paused_until.is_none());
        let is_in_crowd = is_idle && marks.seat != Marks::NO_SEAT;
        Self {
            status: peer.status,
            is_listed: !is_banned && !peer.is_own(),
            is_untried: is_untried(peer),
            standing,
            is_ranked: standing == Standing::Proven || is_in_crowd,
            paused: marks.paused_until.filter(|_| is_free),
            deadline,
            ban: if is_banned { event } else { 0 },
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
