//! The subnets that hold most: the next peer to forget, and the next ban to drop, is one of theirs.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::peer_table::bag::{Bag, Positions};
use crate::peer_table::groups::{GroupId, Summary};

/// Subnets by how many unproven Idle peers and how many bans they hold.
#[derive(Debug, Default)]
pub(crate) struct Crowds {
    /// By how many unproven Idle peers there are; the last bag is not empty.
    by_size: Vec<Bag<GroupId>>,
    positions: Positions,
    /// By how many bans there are; among those with equally many, the one that has been quiet for longest comes last.
    by_bans: BTreeSet<(usize, Reverse<u64>, GroupId)>,
}

impl Crowds {
    /// The subnets with most unproven Idle peers, all of one size.
    pub(crate) fn largest(&self) -> &[GroupId] {
        self.by_size.last().map_or(&[], Bag::members)
    }

    pub(crate) fn with_most_bans(&self) -> Option<GroupId> {
        self.by_bans.last().map(|&(.., group)| group)
    }

    /// A group changes.
    pub(crate) fn shift(&mut self, group: GroupId, before: &Summary, after: &Summary) {
        if before.crowd != after.crowd {
            if before.crowd > 0 {
                self.by_size[before.crowd].remove(group, &mut self.positions);
            }
            if after.crowd > 0 {
                if self.by_size.len() <= after.crowd {
                    self.by_size.resize_with(after.crowd + 1, Bag::default);
                }
                self.by_size[after.crowd].insert(group, &mut self.positions);
            }
            // A group shrinks or grows by one, so few bags at the end can be empty now.
            while self.by_size.last().is_some_and(Bag::is_empty) {
                self.by_size.pop();
            }
        }
        if before.bans != after.bans {
            if let Some((count, event)) = before.bans {
                self.by_bans.remove(&(count, Reverse(event), group));
            }
            self.by_bans
                .extend(after.bans.map(|(count, event)| (count, Reverse(event), group)));
        }
    }

    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn check(&self, summaries: &[(GroupId, Summary)]) {
        for (size, groups) in self.by_size.iter().enumerate().skip(1) {
            let expected = summaries.iter().filter(|(_, summary)| summary.crowd == size);
            let expected: BTreeSet<_> = expected.map(|&(id, _)| id).collect();
            assert_eq!(groups.members().iter().copied().collect::<BTreeSet<_>>(), expected);
            assert_eq!(groups.len(), expected.len());
        }
        let largest = summaries.iter().map(|(_, summary)| summary.crowd).max().unwrap_or(0);
        assert_eq!(self.by_size.len().saturating_sub(1), largest);
        let bans = summaries.iter().filter_map(|&(id, summary)| {
            let (count, event) = summary.bans?;
            Some((count, Reverse(event), id))
        });
        assert_eq!(self.by_bans, bans.collect());
    }
}
