//! Which peer to forget when there are too many, and which ban to drop.
//!
//! One network can neither flush the list nor the bans: the victim is of the subnet that holds most.

use crate::peer::{PeerId, PeerStatus};
use crate::peer_table::PeerTable;
use crate::peer_table::groups::GroupId;
use crate::peer_table::rank::Ranked;

/// How many peers of a subnet, and how many subnets of one size, are drawn; Redis draws 5 for its approximated LRU.
const SAMPLE: usize = 5;
/// Of a subnet with no more peers than this, all are looked at.
const SMALL: usize = 32;
/// No more Idle and no more banned peers than this, whatever the config says: there are ids for both together and the
/// connected ones.
const MOST: usize = 1 << 30;

impl PeerTable {
    /// Forgets what became too many by the last change of `id`.
    pub(super) fn keep_bounds(&mut self, id: PeerId) {
        let entry = self.peers.get(id);
        let is_own = entry.is_own || self.own.contains(entry.peer.ip);
        if is_own && entry.peer.status == PeerStatus::Idle {
            self.note_own(id);
        }
        while self.peers.counts().idle > self.max_idle() {
            let Some(victim) = self.idle_victim(id) else { break };
            self.counters.peers_forgotten += 1;
            self.peers.remove(victim);
        }
        while self.peers.counts().banned > self.config.max_banned_peers.min(MOST) {
            let group = self.peers.crowds().with_most_bans();
            let Some(victim) = group.and_then(|group| self.peers.groups().get(group).quietest_ban()) else {
                break;
            };
            self.counters.peers_forgotten += 1;
            self.peers.remove(victim);
        }
    }

    pub(super) fn max_idle(&self) -> usize {
        self.config.max_idle_peers.min(MOST)
    }

    /// The address of an Idle peer is known to be our own: the operator's record stays in the file as it is, anything
    /// else is forgotten.
    pub(super) fn note_own(&mut self, id: PeerId) {
        if self.peers.get(id).is_from_file {
            self.peers.update(id, |entry| entry.is_own = true);
        } else {
            self.peers.remove(id);
        }
    }

    /// Of the unproven peers of the subnet that holds most of them, the worst of a few; a proven peer only if no
    /// unproven one is Idle. A newcomer among them that is no better than the worst is forgotten as often as not:
    /// otherwise a full list would never learn a fresh address.
    fn idle_victim(&mut self, newcomer: PeerId) -> Option<PeerId> {
        let worst = self.worst_of_crowd(newcomer);
        let Some(worst) = worst else {
            let is_alone = !self.peers.crowds().largest().is_empty();
            return if is_alone { Some(newcomer) } else { self.peers.worst_idle() };
        };
        if !self.is_in_crowd(newcomer) {
            return Some(worst.id);
        }
        let rank = Ranked::of(self.peers.get(newcomer), newcomer).rank;
        let loses = rank > worst.rank || (rank == worst.rank && self.random.coin());
        Some(if loses { newcomer } else { worst.id })
    }

    /// Whether the peer is in one of the subnets that hold most.
    fn is_in_crowd(&self, id: PeerId) -> bool {
        let entry = self.peers.find(id).filter(|entry| entry.is_unproven_idle());
        let size = |group: GroupId| self.peers.groups().get(group).crowd_len();
        let most = self.peers.crowds().largest().first().map(|&group| size(group));
        entry.is_some_and(|entry| Some(size(entry.group)) == most)
    }

    /// The worst of a few peers, but for the newcomer, of a few of the subnets that hold most.
    fn worst_of_crowd(&mut self, newcomer: PeerId) -> Option<Ranked> {
        let largest = self.peers.crowds().largest();
        let subnets = draw(largest.len(), SAMPLE, SAMPLE, |len| self.random.below(len));
        let mut worst = None;
        for subnet in subnets {
            let group = self.peers.groups().get(largest[subnet]);
            let members = draw(group.crowd_len(), SAMPLE, SMALL, |len| self.random.below(len));
            let members = members.into_iter().map(|number| group.crowd_member(number));
            let others = members.filter(|&id| id != newcomer);
            worst = worst.max(others.map(|id| Ranked::of(self.peers.get(id), id)).max());
        }
        worst
    }
}

/// All of `len` numbers if there are no more than `small`, otherwise some by lot.
fn draw(len: usize, some: usize, small: usize, mut below: impl FnMut(usize) -> usize) -> Vec<usize> {
    if len <= small {
        (0..len).collect()
    } else {
        (0..some).map(|_| below(len)).collect()
    }
}
