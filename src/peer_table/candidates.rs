//! The subnets that the next peer to dial is chosen from.

use std::collections::BTreeSet;

use crate::peer::PeerId;
use crate::peer_table::bag::{Bag, Positions};
use crate::peer_table::groups::{Groups, Summary};
use crate::peer_table::random::Random;
use crate::peer_table::rank::Ranked;
use crate::peer_table::subnet::GroupId;

/// In a rotation a subnet weighs no more than with so many known peers, so that one with thousands is not drawn always.
const WEIGHTIEST: usize = 32;
/// How many subnets are drawn until one is accepted by its weight. Where all are small, the last one is taken: then they
/// weigh alike anyway.
const DRAWS: usize = 64;

/// Which kind of peers a dial is for; the two take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The best by rank.
    Proven,
    /// By lot, first the subnet and then the peer: neither fresh gossip nor a frequent visitor gains by it.
    Unproven,
}

/// The subnets with peers that may be dialed. A subnet is taken while an outgoing connection, or a dial, of it exists.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    untaken: Lots,
    taken: Lots,
    /// Of groups among `unproven` of the one or the other.
    positions: Positions,
}

#[derive(Debug, Default)]
struct Lots {
    unproven: Bag<GroupId>,
    /// The best proven peer of each subnet that has one.
    proven: BTreeSet<Ranked>,
    /// The one without a streak of each subnet that has not been alive for longest.
    stalest: BTreeSet<Ranked>,
}

impl Turn {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Proven => Self::Unproven,
            Self::Unproven => Self::Proven,
        }
    }
}

impl Candidates {
    pub(crate) fn choose(&self, turn: Turn, from_taken: bool, groups: &Groups, random: &mut Random) -> Option<PeerId> {
        let lots = if from_taken { &self.taken } else { &self.untaken };
        match turn {
            Turn::Proven => lots.proven.first().map(|best| best.id),
            Turn::Unproven => {
                let subnets = lots.unproven.members();
                let subnet = (!subnets.is_empty()).then(|| subnets[random.below(subnets.len())])?;
                groups.get(subnet).draw(random)
            }
        }
    }

    /// An unproven peer for a rotation: a subnet weighs by its known peers, up to [`WEIGHTIEST`]. So peers of large subnets
    /// get incoming connections, too, which a uniform draw of subnets hardly gives them.
    pub(crate) fn draw_by_size(&self, from_taken: bool, groups: &Groups, random: &mut Random) -> Option<PeerId> {
        let lots = if from_taken { &self.taken } else { &self.untaken };
        let subnets = lots.unproven.members();
        if subnets.is_empty() {
            return None;
        }
        let mut subnet = subnets[random.below(subnets.len())];
        for _ in 0..DRAWS {
            if random.below(WEIGHTIEST) < groups.get(subnet).known() {
                break;
            }
            subnet = subnets[random.below(subnets.len())];
        }
        groups.get(subnet).draw(random)
    }

    /// The proven peer without a streak that has not been alive for longest; if each has a streak, the best.
    pub(crate) fn stalest_proven(&self, from_taken: bool) -> Option<PeerId> {
        let lots = if from_taken { &self.taken } else { &self.untaken };
        lots.stalest.last().or(lots.proven.first()).map(|stalest| stalest.id)
    }

    /// Whether any peer of a subnet that is taken, or of one that is not, may be dialed.
    pub(crate) fn has_any(&self, taken: bool) -> bool {
        let lots = if taken { &self.taken } else { &self.untaken };
        !lots.unproven.is_empty() || !lots.proven.is_empty()
    }

    /// Whether any peer of this kind in a subnet that is not taken may be dialed.
    pub(crate) fn has_any_untaken(&self, turn: Turn) -> bool {
        match turn {
            Turn::Proven => !self.untaken.proven.is_empty(),
            Turn::Unproven => !self.untaken.unproven.is_empty(),
        }
    }

    /// A group changes.
    pub(crate) fn shift(&mut self, group: GroupId, before: &Summary, after: &Summary) {
        let moves = before.is_taken != after.is_taken;
        if moves || before.has_ready != after.has_ready {
            if before.has_ready {
                let lots = lots(&mut self.untaken, &mut self.taken, before);
                lots.unproven.remove(group, &mut self.positions);
            }
            if after.has_ready {
                let lots = lots(&mut self.untaken, &mut self.taken, after);
                lots.unproven.insert(group, &mut self.positions);
            }
        }
        if moves || before.best_proven != after.best_proven {
            if let Some(best) = &before.best_proven {
                lots(&mut self.untaken, &mut self.taken, before).proven.remove(best);
            }
            let lots = lots(&mut self.untaken, &mut self.taken, after);
            lots.proven.extend(after.best_proven);
        }
        if moves || before.stalest_proven != after.stalest_proven {
            if let Some(stalest) = &before.stalest_proven {
                lots(&mut self.untaken, &mut self.taken, before).stalest.remove(stalest);
            }
            let lots = lots(&mut self.untaken, &mut self.taken, after);
            lots.stalest.extend(after.stalest_proven);
        }
    }

    #[cfg(any(test, feature = "internals", feature = "sim"))]
    pub(crate) fn check(&self, summaries: &[(GroupId, Summary)]) {
        for (lots, taken) in [(&self.untaken, false), (&self.taken, true)] {
            let of_kind = || summaries.iter().filter(move |(_, summary)| summary.is_taken == taken);
            let ready: BTreeSet<_> = of_kind().filter(|(_, it)| it.has_ready).map(|&(id, _)| id).collect();
            assert_eq!(lots.unproven.members().iter().copied().collect::<BTreeSet<_>>(), ready);
            assert_eq!(lots.unproven.len(), ready.len());
            let best: BTreeSet<_> = of_kind().filter_map(|(_, it)| it.best_proven).collect();
            assert_eq!(lots.proven, best);
            let stalest: BTreeSet<_> = of_kind().filter_map(|(_, it)| it.stalest_proven).collect();
            assert_eq!(lots.stalest, stalest);
        }
    }
}

fn lots<'a>(untaken: &'a mut Lots, taken: &'a mut Lots, summary: &Summary) -> &'a mut Lots {
    if summary.is_taken { taken } else { untaken }
}
