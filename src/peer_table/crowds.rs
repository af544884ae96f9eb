//! The subnets that hold most: the next peer to forget, or the next ban to drop, is one of theirs.

use crate::peer_table::bag::{Bag, Positions};
use crate::peer_table::subnet::GroupId;

/// Groups by how many members they have.
#[derive(Debug, Default)]
pub(crate) struct Crowds {
    /// By size; the last bag is not empty, and the first one always is.
    by_size: Vec<Bag<GroupId>>,
    positions: Positions,
}

impl Crowds {
    /// The groups with most members, all of one size.
    pub(crate) fn largest(&self) -> &[GroupId] {
        self.by_size.last().map_or(&[], Bag::members)
    }

    /// A group has grown or shrunk.
    pub(crate) fn shift(&mut self, group: GroupId, before: usize, after: usize) {
        if before == after {
            return;
        }
        if before > 0 {
            self.by_size[before].remove(group, &mut self.positions);
        }
        if after > 0 {
            if self.by_size.len() <= after {
                self.by_size.resize_with(after + 1, Bag::default);
            }
            self.by_size[after].insert(group, &mut self.positions);
        }
        // A group grows or shrinks by one member, so few bags at the end can have become empty.
        while self.by_size.last().is_some_and(Bag::is_empty) {
            self.by_size.pop();
        }
    }

    #[cfg(any(test, feature = "internals", feature = "sim"))]
    pub(crate) fn check(&self, sizes: impl Iterator<Item = (GroupId, usize)>) {
        let is_not_empty = |&(_, size): &(GroupId, usize)| size > 0;
        let expected: std::collections::BTreeSet<_> = sizes.filter(is_not_empty).collect();
        let bags = self.by_size.iter().enumerate();
        let kept = bags.flat_map(|(size, bag)| bag.members().iter().map(move |&group| (group, size)));
        assert_eq!(kept.clone().count(), expected.len());
        assert_eq!(kept.collect::<std::collections::BTreeSet<_>>(), expected);
        assert!(self.by_size.last().is_none_or(|bag| !bag.is_empty()));
    }
}
