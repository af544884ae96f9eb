//! Which ban to drop when there are too many: of the subnet that holds most, the one that has been quiet for longest, so
//! that one network cannot flush the bans of others.
//!
//! A banned peer that tries to connect only has the number of that event noted. Where it stands here follows from an
//! earlier event until somebody asks for a victim and meets it: so a flood of refused attempts costs next to nothing.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use crate::peer_table::slots::{PeerId, Slots};
use crate::peer_table::subnet::Subnet;

/// Banned peers by subnet, and the event by which each stands here.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    members: HashMap<Subnet, BTreeSet<(u64, PeerId)>>,
    /// Of subnets that hold equally many, the one whose quietest has been quiet for longest is the last.
    sizes: BTreeSet<(usize, Reverse<u64>, Subnet)>,
}

impl Bans {
    pub(crate) fn insert(&mut self, subnet: Subnet, event: u64, id: PeerId) {
        self.change(subnet, |members| members.insert((event, id)));
    }

    pub(crate) fn remove(&mut self, subnet: Subnet, event: u64, id: PeerId) {
        self.change(subnet, |members| members.remove(&(event, id)));
    }

    /// The ban to drop first. Each earlier attempt of a banned peer is made up for here at most once.
    pub(crate) fn victim(&mut self, slots: &mut Slots) -> Option<PeerId> {
        loop {
            let &(_, _, subnet) = self.sizes.last()?;
            let &(listed, id) = self.members.get(&subnet)?.first()?;
            let last_event = slots.get(id).rare().last_event;
            if listed == last_event {
                return Some(id);
            }
            slots.get_mut(id).rare_mut().listed_event = last_event;
            self.change(subnet, |members| {
                members.remove(&(listed, id)) && members.insert((last_event, id))
            });
        }
    }

    fn change(&mut self, subnet: Subnet, edit: impl FnOnce(&mut BTreeSet<(u64, PeerId)>) -> bool) {
        let members = self.members.entry(subnet).or_default();
        let before = size_key(subnet, members);
        let changed = edit(members);
        debug_assert!(changed, "a ban enters once and leaves once");
        let after = size_key(subnet, members);
        if after.is_none() {
            self.members.remove(&subnet);
        }
        if let Some(key) = before {
            self.sizes.remove(&key);
        }
        self.sizes.extend(after);
    }

    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Subnet, u64, PeerId)> + '_ {
        self.members
            .iter()
            .flat_map(|(&subnet, members)| members.iter().map(move |&(event, id)| (subnet, event, id)))
    }

    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn sizes_are_right(&self) -> bool {
        self.sizes.len() == self.members.len()
            && self
                .members
                .iter()
                .all(|(&subnet, members)| size_key(subnet, members).is_some_and(|key| self.sizes.contains(&key)))
    }
}

fn size_key(subnet: Subnet, members: &BTreeSet<(u64, PeerId)>) -> Option<(usize, Reverse<u64>, Subnet)> {
    members
        .first()
        .map(|&(event, _)| (members.len(), Reverse(event), subnet))
}
