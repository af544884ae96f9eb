//! Whom to forget when a bound is reached: the worst of the subnet that holds most, so that one network can flush
//! neither the list of peers nor the list of bans.

use std::collections::{BTreeSet, HashMap};

use crate::peer_table::slots::PeerId;
use crate::peer_table::subnet::Subnet;

/// Peers by subnet. `K` orders the peers of a subnet, the greatest is the first to go; of subnets that hold equally
/// many, the one whose worst is greatest.
#[derive(Debug)]
pub(crate) struct Crowds<K> {
    members: HashMap<Subnet, BTreeSet<(K, PeerId)>>,
    sizes: BTreeSet<(usize, K, PeerId, Subnet)>,
}

impl<K: Ord + Copy> Crowds<K> {
    pub(crate) fn new() -> Self {
        Self {
            members: HashMap::new(),
            sizes: BTreeSet::new(),
        }
    }

    pub(crate) fn insert(&mut self, subnet: Subnet, key: K, id: PeerId) {
        self.change(subnet, |members| members.insert((key, id)));
    }

    pub(crate) fn remove(&mut self, subnet: Subnet, key: K, id: PeerId) {
        self.change(subnet, |members| members.remove(&(key, id)));
    }

    /// The worst of the most crowded subnet.
    pub(crate) fn victim(&self) -> Option<PeerId> {
        self.sizes.last().map(|&(_, _, id, _)| id)
    }

    fn change(&mut self, subnet: Subnet, edit: impl FnOnce(&mut BTreeSet<(K, PeerId)>) -> bool) {
        let members = self.members.entry(subnet).or_default();
        let before = size_key(subnet, members);
        let changed = edit(members);
        debug_assert!(changed, "a peer enters its crowd once and leaves it once");
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
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Subnet, K, PeerId)> + '_ {
        self.members
            .iter()
            .flat_map(|(&subnet, members)| members.iter().map(move |&(key, id)| (subnet, key, id)))
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

fn size_key<K: Ord + Copy>(subnet: Subnet, members: &BTreeSet<(K, PeerId)>) -> Option<(usize, K, PeerId, Subnet)> {
    members.last().map(|&(key, id)| (members.len(), key, id, subnet))
}
