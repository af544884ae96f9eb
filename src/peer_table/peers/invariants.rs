//! Everything that follows from the records, once more the slow and obvious way.

use std::collections::{BTreeMap, BTreeSet};

use super::{Facts, Peers};
use crate::peer::{PeerId, PeerStatus};
use crate::peer_table::bag::Numbered;
use crate::peer_table::groups::{Membership, Summary};
use crate::peer_table::rank::Ranked;
use crate::peer_table::subnet::Subnet;
use crate::stats::StatusCounts;

impl Peers {
    /// Panics unless every index says what the records say.
    pub(crate) fn check(&self) {
        let ids = || (0..u32::MAX).map(PeerId).take(self.entries.len());
        let facts: Vec<_> = ids()
            .filter_map(|id| Some((id, Facts::of(self.find(id)?, id))))
            .collect();
        let (mut counts, mut beside_target) = (StatusCounts::default(), StatusCounts::default());
        for status in facts.iter().filter_map(|(_, facts)| facts.status) {
            *counts.get_mut(status) += 1;
        }
        for status in facts
            .iter()
            .filter_map(|(_, facts)| facts.status.filter(|_| facts.is_beside_target))
        {
            *beside_target.get_mut(status) += 1;
        }
        assert_eq!((self.counts, self.beside_target), (counts, beside_target));
        assert_eq!(self.ids.len(), facts.len());
        assert_eq!(self.entries.len(), facts.len() + self.free.len());
        assert!(self.ids.iter().all(|(&key, &id)| key == self.get(id).peer.ip.into()));

        let ranked = |of: fn(&Facts) -> Option<Ranked>| -> BTreeSet<_> {
            facts.iter().filter_map(|(_, facts)| of(facts)).collect()
        };
        assert_eq!(self.order, ranked(|facts| facts.ranked));
        assert_eq!(self.proven_idle, ranked(|facts| facts.proven_idle));
        assert_eq!(self.reserved, ranked(|facts| facts.reserved));
        let advertisable: BTreeSet<_> = facts
            .iter()
            .filter(|(_, it)| it.is_advertisable)
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(self.advertisable.len(), advertisable.len());
        assert_eq!(
            self.advertisable.members().iter().copied().collect::<BTreeSet<_>>(),
            advertisable
        );
        self.check_timers(&facts);
        self.check_members(&facts);
        self.check_groups(&facts);
    }

    fn check_timers(&self, facts: &[(PeerId, Facts)]) {
        let timers = |of: fn(&Facts) -> Option<_>| -> BTreeSet<_> {
            facts.iter().filter_map(|(id, facts)| Some((of(facts)?, *id))).collect()
        };
        assert_eq!(self.pauses, timers(|facts| facts.pause));
        assert_eq!(self.reserved_pauses, timers(|facts| facts.reserved_pause));
        assert_eq!(self.deadlines, timers(|facts| facts.deadline));
        assert_eq!(self.out_alive, timers(|facts| facts.out_alive_since));
    }

    fn check_members(&self, facts: &[(PeerId, Facts)]) {
        let members = |of: fn(&Facts) -> bool| -> BTreeSet<_> {
            facts.iter().filter(|(_, facts)| of(facts)).map(|&(id, _)| id).collect()
        };
        assert_eq!(self.connecting, members(Facts::is_ordinary_dial));
        assert_eq!(self.own_idle, members(|facts| facts.is_own_idle));
        self.tellers.check(&members(|facts| facts.is_untried));
        assert_eq!(self.strangers, members(|facts| facts.is_stranger));
        let refused: Vec<_> = facts.iter().filter_map(|(_, facts)| facts.refused_in).collect();
        assert_eq!(self.refused.len(), refused.len(), "one a subnet is remembered");
        assert_eq!(self.refused, refused.into_iter().collect());
        assert_eq!(self.failed_in_outage, members(|facts| facts.has_failed_in_outage));
        let leased = |status| {
            facts
                .iter()
                .filter(move |(_, facts)| facts.is_expendable && facts.is(status))
        };
        let ids = |status| leased(status).map(|&(id, _)| id).collect::<BTreeSet<_>>();
        assert_eq!(self.leased_outgoing, ids(PeerStatus::OutAlive));
        assert_eq!(self.leased_incoming, ids(PeerStatus::InAlive));
    }

    fn check_groups(&self, facts: &[(PeerId, Facts)]) {
        let mut members: BTreeMap<Subnet, Vec<(PeerId, Membership)>> = BTreeMap::new();
        for (id, facts) in facts {
            let subnet = Subnet::of(self.get(*id).peer.ip);
            members.entry(subnet).or_default().push((*id, facts.membership));
        }
        let mut summaries = Vec::new();
        for (subnet, id, group) in self.groups.iter() {
            let members = members.remove(&subnet).unwrap_or_default();
            assert_eq!(group.known(), members.len());
            assert!(members.iter().all(|&(peer, _)| self.get(peer).group == id));
            let summary = summary(&members);
            assert_eq!(group.summary(), summary, "{subnet:?}");
            let is_in_crowd = |of: &Membership| matches!(of, Membership::Ready | Membership::Waiting);
            let crowd = members.iter().filter(|(_, of)| is_in_crowd(of));
            let crowd: BTreeSet<_> = crowd.map(|&(peer, _)| peer.number()).collect();
            let kept = (0..group.crowd_len()).map(|number| group.crowd_member(number).number());
            assert_eq!(kept.collect::<BTreeSet<_>>(), crowd);
            summaries.push((id, summary));
        }
        assert!(members.is_empty(), "each known peer has its group");
        self.candidates.check(&summaries);
        self.crowds
            .check(summaries.iter().map(|&(id, summary)| (id, summary.crowd)));
        self.ban_crowds
            .check(summaries.iter().map(|&(id, summary)| (id, summary.bans)));
    }
}

fn summary(members: &[(PeerId, Membership)]) -> Summary {
    let mut summary = Summary {
        is_taken: false,
        can_draw: false,
        best_proven: None,
        best_lapsed: None,
        crowd: 0,
        bans: 0,
    };
    for &(_, member) in members {
        match member {
            Membership::None => {}
            Membership::Ready => {
                summary.can_draw = true;
                summary.crowd += 1;
            }
            Membership::Waiting => summary.crowd += 1,
            Membership::Proven(ranked) => {
                summary.best_proven = Some(summary.best_proven.map_or(ranked, |best| best.min(ranked)));
            }
            Membership::Lapsed(ranked) => {
                summary.can_draw = true;
                summary.best_lapsed = Some(summary.best_lapsed.map_or(ranked, |best| best.min(ranked)));
            }
            Membership::Outgoing { takes_subnet } => summary.is_taken |= takes_subnet,
            Membership::Banned(_) => {
                summary.bans += 1;
            }
        }
    }
    summary
}
