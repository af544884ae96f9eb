//! Where a peer stands in every index, as follows from what is known of it.

use std::time::Duration;

use crate::peer::PeerStatus;
use crate::peer_table::entry::Entry;
use crate::peer_table::groups::Standing;
use crate::peer_table::rank::Rank;

/// What an entry says of itself, so that a change moves just what it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) status: PeerStatus,
    /// In the order of peers.
    pub(crate) listed: Option<Rank>,
    /// In its subnet's group.
    pub(crate) standing: Option<Standing>,
    pub(crate) paused: Option<Duration>,
    /// Among the bans that may be dropped, with the last event that concerned it.
    pub(crate) ban: Option<u64>,
    pub(crate) deadline: Option<Duration>,
}

impl Place {
    pub(crate) fn of(entry: &Entry) -> Self {
        let rank = Rank::of(entry);
        let status = entry.peer.status;
        let is_free = status == PeerStatus::Idle && !entry.rare().has_parked;
        let paused = entry.paused_until().filter(|_| is_free);
        let is_ready = is_free && paused.is_none();
        Self {
            status,
            listed: (status != PeerStatus::Banned && !entry.peer.is_own).then_some(rank),
            standing: standing(entry, is_ready, rank),
            paused,
            ban: (status == PeerStatus::Banned).then_some(entry.rare().last_event),
            deadline: entry.rare().deadline,
        }
    }
}

fn standing(entry: &Entry, is_ready: bool, rank: Rank) -> Option<Standing> {
    match entry.peer.status {
        PeerStatus::Idle if !entry.peer.is_proven => Some(Standing::Member { is_ready, rank }),
        PeerStatus::Idle => is_ready.then_some(Standing::Proven(rank)),
        PeerStatus::OutConnecting | PeerStatus::OutHandshaking | PeerStatus::OutAlive => Some(Standing::Outgoing),
        PeerStatus::InHandshaking | PeerStatus::InAlive | PeerStatus::Banned => None,
    }
}
