//! The subnets that the next peer to dial is chosen from.

use std::collections::BTreeSet;

use crate::peer::PeerId;
use crate::peer_table::bag::{Bag, Positions};
use crate::peer_table::groups::{Groups, Summary};
use crate::peer_table::random::Random;
use crate::peer_table::rank::Ranked;
use crate::peer_table::subnet::GroupId;

/// In a rotation a subnet weighs no more than with so many known peers, so that one with thousands is not always drawn.
/// `docs/policies.md` has the table of what other numbers do to in-degrees and to an eclipse.
const WEIGHTIEST: usize = 8;
/// How many subnets are drawn until one is accepted by its weight. Where all are small, the last one is taken: then they
/// weigh alike anyway.
const DRAWS: usize = 64;

/// Which kind of peers a dial is for; the two take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The best proven one by rank that has not lapsed.
    Proven,
    /// An unproven or a lapsed one at random, first the subnet and then the peer: neither fresh gossip nor a frequent
    /// visitor gains by it.
    Drawn,
}

/// The subnets with peers that may be dialed. A subnet is taken while an outgoing connection, or a dial, of it exists.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    untaken: Lots,
    taken: Lots,
    /// Of groups among `drawn` of the one or the other.
    positions: Positions,
    /// Of groups among `all` of the one or the other.
    all_positions: Positions,
}

#[derive(Debug, Default)]
struct Lots {
    /// The subnets to draw from.
    drawn: Bag<GroupId>,
    /// All subnets with a peer that may be dialed.
    all: Bag<GroupId>,
    /// The best proven peer of each subnet that has one.
    proven: BTreeSet<Ranked>,
    /// The best lapsed peer of each subnet that has one.
    lapsed: BTreeSet<Ranked>,
}

impl Turn {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Proven => Self::Drawn,
            Self::Drawn => Self::Proven,
        }
    }
}

impl Candidates {
    /// A peer of this kind. While no outgoing connection is alive, a lapsed one is as good as proven, as what failed or
    /// ended may not be its fault.
    pub(crate) fn choose(
        &self,
        (turn, from_taken): (Turn, bool),
        is_outage: bool,
        groups: &Groups,
        random: &mut Random,
    ) -> Option<PeerId> {
        let lots = self.lots(from_taken);
        match turn {
            Turn::Proven => {
                let lapsed = lots.lapsed.first().filter(|_| is_outage);
                lots.proven.first().or(lapsed).map(|best| best.id)
            }
            Turn::Drawn => {
                let subnets = lots.drawn.members();
                let subnet = (!subnets.is_empty()).then(|| subnets[random.below(subnets.len())])?;
                groups.get(subnet).draw(false, random)
            }
        }
    }

    /// Any peer, for a rotation. A subnet weighs by its known peers, up to [`WEIGHTIEST`]: so peers of large subnets get
    /// incoming connections, too, which a uniform draw of subnets hardly gives them.
    pub(crate) fn draw_by_size(&self, from_taken: bool, groups: &Groups, random: &mut Random) -> Option<PeerId> {
        let subnets = self.lots(from_taken).all.members();
        let mut subnet = (!subnets.is_empty()).then(|| subnets[random.below(subnets.len())])?;
        for _ in 0..DRAWS {
            if random.below(WEIGHTIEST) < groups.get(subnet).known() {
                break;
            }
            subnet = subnets[random.below(subnets.len())];
        }
        groups.get(subnet).draw(true, random)
    }

    fn lots(&self, taken: bool) -> &Lots {
        if taken { &self.taken } else { &self.untaken }
    }

    /// Whether any peer of a subnet that is taken, or of one that is not, may be dialed.
    pub(crate) fn has_any(&self, taken: bool) -> bool {
        !self.lots(taken).all.is_empty()
    }

    /// Whether any peer of this kind in a subnet that is not taken may be dialed.
    pub(crate) fn has_any_untaken(&self, turn: Turn, is_outage: bool) -> bool {
        match turn {
            Turn::Proven => !self.untaken.proven.is_empty() || (is_outage && !self.untaken.lapsed.is_empty()),
            Turn::Drawn => !self.untaken.drawn.is_empty(),
        }
    }

    /// A group changes.
    pub(crate) fn shift(&mut self, group: GroupId, before: &Summary, after: &Summary) {
        if choosable(before) == choosable(after) {
            return;
        }
        self.leave(group, before);
        self.enter(group, after);
    }

    fn leave(&mut self, group: GroupId, summary: &Summary) {
        let lots = lots(&mut self.untaken, &mut self.taken, summary);
        if summary.can_draw {
            lots.drawn.remove(group, &mut self.positions);
        }
        if summary.has_any() {
            lots.all.remove(group, &mut self.all_positions);
        }
        if let Some(best) = &summary.best_proven {
            lots.proven.remove(best);
        }
        if let Some(best) = &summary.best_lapsed {
            lots.lapsed.remove(best);
        }
    }

    fn enter(&mut self, group: GroupId, summary: &Summary) {
        let lots = lots(&mut self.untaken, &mut self.taken, summary);
        if summary.can_draw {
            lots.drawn.insert(group, &mut self.positions);
        }
        if summary.has_any() {
            lots.all.insert(group, &mut self.all_positions);
        }
        lots.proven.extend(summary.best_proven);
        lots.lapsed.extend(summary.best_lapsed);
    }

    #[cfg(any(test, feature = "internals", feature = "sim"))]
    pub(crate) fn check(&self, summaries: &[(GroupId, Summary)]) {
        for (lots, taken) in [(&self.untaken, false), (&self.taken, true)] {
            let of_kind = || summaries.iter().filter(move |(_, summary)| summary.is_taken == taken);
            let drawn: BTreeSet<_> = of_kind().filter(|(_, it)| it.can_draw).map(|&(id, _)| id).collect();
            assert_eq!(lots.drawn.members().iter().copied().collect::<BTreeSet<_>>(), drawn);
            assert_eq!(lots.drawn.len(), drawn.len());
            let all: BTreeSet<_> = of_kind().filter(|(_, it)| it.has_any()).map(|&(id, _)| id).collect();
            assert_eq!(lots.all.members().iter().copied().collect::<BTreeSet<_>>(), all);
            assert_eq!(lots.all.len(), all.len());
            let best: BTreeSet<_> = of_kind().filter_map(|(_, it)| it.best_proven).collect();
            assert_eq!(lots.proven, best);
            let lapsed: BTreeSet<_> = of_kind().filter_map(|(_, it)| it.best_lapsed).collect();
            assert_eq!(lots.lapsed, lapsed);
        }
    }
}

/// What a subnet is chosen by.
fn choosable(of: &Summary) -> (bool, bool, Option<Ranked>, Option<Ranked>) {
    (of.is_taken, of.can_draw, of.best_proven, of.best_lapsed)
}

fn lots<'a>(untaken: &'a mut Lots, taken: &'a mut Lots, summary: &Summary) -> &'a mut Lots {
    if summary.is_taken { taken } else { untaken }
}
