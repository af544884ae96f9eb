//! Which peer to forget when there are too many, and which ban to drop.
//!
//! One network can flush neither the list nor the bans: the victim is of the subnet that holds most. Nor can one that
//! tells of addresses of many networks flush the list: what it told of beyond its share goes first.

use crate::change::Cause;
use crate::peer::{PeerId, PeerStatus};
use crate::peer_table::PeerTable;
use crate::peer_table::random::Random;
use crate::peer_table::rank::Rank;

/// Of how many peers, drawn by lot, the worst is forgotten; Redis draws 5 for its approximated LRU.
const SAMPLE: usize = 5;
/// Of a subnet with no more peers than this, all are looked at.
const SMALL: usize = 32;
/// How many peers of a kind are forgotten in one call, so that a cap that was lowered far stalls no poll.
const FORGOTTEN_PER_CALL: usize = 32;
/// How many peers that were never tried one teller may hold while there is no room for all. A smaller share keeps more of
/// what others told of; a larger one lets a node whose peers have few tellers learn more at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct TellerShare {
    /// Of `max_idle_peers` …
    pub(super) divisor: usize,
    /// … but at least this many.
    pub(super) least: usize,
}

/// No more Idle and no more banned peers than this, whatever the config says: there are ids for both together and the
/// connected ones.
const MOST: usize = 1 << 30;

impl TellerShare {
    pub(super) const DEFAULT: Self = Self { divisor: 16, least: 16 };

    fn of(self, max_idle_peers: usize) -> usize {
        (max_idle_peers / self.divisor).max(self.least)
    }
}

impl PeerTable {
    /// Forgets what became too many by the last change of `id`.
    pub(super) fn keep_bounds(&mut self, id: PeerId) {
        self.keep_idle_bound(id);
        self.drop_bans();
    }

    /// The same where no ban was added.
    pub(super) fn keep_idle_bound(&mut self, id: PeerId) {
        self.note_if_own(id);
        self.forget_idle(Some(id));
    }

    pub(super) fn note_if_own(&mut self, id: PeerId) {
        let entry = self.peers.get(id);
        let is_own = entry.is_own || self.own.contains(entry.peer.ip);
        if is_own && entry.peer.status == PeerStatus::Idle {
            self.note_own(id);
        }
    }

    /// Forgets some of the Idle peers that are too many: one by the newcomer, more where the cap was lowered.
    pub(super) fn forget_idle(&mut self, newcomer: Option<PeerId>) {
        for _ in 0..FORGOTTEN_PER_CALL {
            if self.peers.counts().idle <= self.max_idle() {
                break;
            }
            let newcomer = newcomer.filter(|&id| self.is_idle(id));
            // All others may be own addresses of the file; a reserved peer goes before these.
            let victim = self.idle_victim(newcomer).or_else(|| self.own_victim(newcomer));
            let newcomer = newcomer.filter(|&id| !self.peers.get(id).is_reserved);
            let Some(victim) = victim.or(newcomer) else { break };
            self.counters.peers_forgotten += 1;
            self.forget(victim);
        }
    }

    /// Drops some of the bans that are too many.
    pub(super) fn drop_bans(&mut self) {
        for _ in 0..FORGOTTEN_PER_CALL {
            if self.peers.counts().banned <= self.max_banned() {
                break;
            }
            let Some(victim) = self.ban_victim() else { break };
            if self.peers.get(victim).is_reserved {
                self.lift_ban(victim, Cause::BanDropped);
                continue;
            }
            self.counters.peers_forgotten += 1;
            self.forget(victim);
        }
    }

    pub(super) fn max_idle(&self) -> usize {
        self.config.max_idle_peers.min(MOST)
    }

    pub(super) fn max_banned(&self) -> usize {
        self.config.max_banned_peers.min(MOST)
    }

    /// The address of an Idle peer is known to be our own: the operator's record stays in the file as it is, a reserved
    /// peer stays reserved, anything else is forgotten.
    pub(super) fn note_own(&mut self, id: PeerId) {
        let entry = self.peers.get(id);
        if entry.is_from_file || entry.is_reserved {
            self.peers.update(id, |entry| entry.is_own = true);
        } else {
            self.forget(id);
        }
    }

    /// If a teller holds more than its share of never-tried peers, one of these by lot; of several such tellers, of the one
    /// that holds most.
    ///
    /// Else, of the unproven Idle peers of the subnet that holds most of them, the worst of a few; a proven peer only if no
    /// unproven one is Idle. A newcomer among them that is as good as the worst is forgotten as often as not: otherwise
    /// a full list would never learn a fresh address.
    fn idle_victim(&mut self, newcomer: Option<PeerId>) -> Option<PeerId> {
        if self.peers.tellers().most() > self.teller_share.of(self.max_idle()) {
            return self.peers.tellers().draw_of_largest(&mut self.random);
        }
        if self.peers.largest_crowds().is_empty() {
            return self.peers.worst_proven_idle();
        }
        let Some((worst_rank, _, worst)) = self.worst_of_crowd(newcomer) else {
            return newcomer;
        };
        let Some(newcomer) = newcomer.filter(|&id| self.is_in_crowd(id)) else {
            return Some(worst);
        };
        let rank = Rank::of(self.peers.get(newcomer));
        let loses = rank > worst_rank || (rank == worst_rank && self.random.coin());
        Some(if loses { newcomer } else { worst })
    }

    fn own_victim(&self, newcomer: Option<PeerId>) -> Option<PeerId> {
        let goes_before = newcomer.is_none_or(|id| self.peers.get(id).is_reserved);
        self.peers.first_own_idle().filter(|_| goes_before)
    }

    /// Whether the peer is known still, and Idle.
    fn is_idle(&self, id: PeerId) -> bool {
        let entry = self.peers.find(id);
        entry.is_some_and(|entry| entry.peer.status == PeerStatus::Idle)
    }

    /// Whether the peer is one of those that [`Self::worst_of_crowd`] chooses from.
    fn is_in_crowd(&self, id: PeerId) -> bool {
        let entry = self.peers.find(id).filter(|entry| entry.is_unproven_idle());
        let size = |group| self.peers.groups().get(group).crowd_len();
        let most = self.peers.largest_crowds().first().map(|&group| size(group));
        entry.is_some_and(|entry| Some(size(entry.group)) == most)
    }

    /// The worst of at least a few peers, but for the newcomer, of the subnets that hold most; of equals by their keyed
    /// hashes.
    fn worst_of_crowd(&mut self, newcomer: Option<PeerId>) -> Option<(Rank, u32, PeerId)> {
        let (peers, random) = (&self.peers, &mut self.random);
        let mut worst = None;
        let mut looked_at = 0;
        for subnet in sample(peers.largest_crowds().len(), SAMPLE, random) {
            if looked_at >= SAMPLE {
                break;
            }
            let group = peers.groups().get(peers.largest_crowds()[subnet]);
            for number in sample(group.crowd_len(), SMALL, random) {
                let id = group.crowd_member(number);
                looked_at += 1;
                if Some(id) != newcomer {
                    let entry = peers.get(id);
                    worst = worst.max(Some((Rank::of(entry), entry.tie, id)));
                }
            }
        }
        worst
    }

    /// Of the subnet that holds most bans, the one that has been quiet for longest; of several such subnets, of a few.
    fn ban_victim(&mut self) -> Option<PeerId> {
        let crowds = self.peers.largest_ban_crowds();
        let subnets = sample(crowds.len(), SAMPLE, &mut self.random);
        let quietest = subnets.filter_map(|subnet| self.peers.groups().get(crowds[subnet]).quietest_ban());
        quietest.min().map(|(_, id)| id)
    }
}

/// All of `len` indices if there are no more than `small`, from one drawn by lot on; otherwise some by lot.
fn sample(len: usize, small: usize, random: &mut Random) -> impl Iterator<Item = usize> + use<> {
    let is_small = len <= small;
    let drawn: [usize; SAMPLE] = std::array::from_fn(|_| random.below(len.max(1)));
    let count = if is_small { len } else { SAMPLE };
    (0..count).map(move |index| {
        if is_small {
            (drawn[0] + index) % len
        } else {
            drawn[index]
        }
    })
}
