//! Where a peer stands in every index, as follows from what is known of it.

use std::time::Duration;

use crate::peer::PeerStatus;
use crate::peer_table::candidates::Kind;
use crate::peer_table::entry::Entry;
use crate::peer_table::rank::Rank;
use crate::peer_table::subnet::Subnet;

/// Where a peer stands in each index; what an entry says of itself, so that a change moves just what it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) status: PeerStatus,
    pub(crate) subnet: Subnet,
    pub(crate) inbound_subnet: Subnet,
    /// In the order of peers.
    pub(crate) listed: Option<Rank>,
    pub(crate) candidate: Option<Kind>,
    pub(crate) paused: Option<(Duration, Rank)>,
    /// Among those that may be forgotten.
    pub(crate) idle: Option<(bool, Rank)>,
    /// Among the bans that may be dropped, with the last event that concerned it.
    pub(crate) ban: Option<u64>,
    pub(crate) deadline: Option<Duration>,
}

impl Place {
    pub(crate) fn of(entry: &Entry) -> Self {
        let rank = Rank::of(entry);
        let idle = entry.peer.status == PeerStatus::Idle;
        let banned = entry.peer.status == PeerStatus::Banned;
        let dialable = idle && !entry.has_parked;
        let kind = if entry.proven {
            Kind::Proven(rank)
        } else {
            Kind::Unproven
        };
        Self {
            status: entry.peer.status,
            subnet: Subnet::of(entry.peer.ip),
            inbound_subnet: Subnet::of_inbound(entry.peer.ip),
            listed: (!banned && !entry.is_own).then_some(rank),
            candidate: (dialable && entry.paused_until.is_none()).then_some(kind),
            paused: entry.paused_until.filter(|_| dialable).map(|until| (until, rank)),
            idle: idle.then_some((entry.proven, rank)),
            ban: banned.then_some(entry.last_event),
            deadline: entry.deadline,
        }
    }
}
