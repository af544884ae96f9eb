//! A few peers by rank in an array, or many in a tree.

use std::collections::BTreeSet;

use crate::peer_table::rank::Ranked;

/// More than this are kept in a tree, …
const FEW: usize = 64;
/// … until so few are left: not at once, or a ladder on the brink would be built again and again.
const FEW_AGAIN: usize = 32;

#[derive(Debug)]
pub(crate) enum Ladder {
    /// From worst to best: whoever was just alive is the best, and the best is taken.
    Few(Vec<Ranked>),
    Many(BTreeSet<Ranked>),
}

impl Ladder {
    pub(crate) fn best(&self) -> Option<Ranked> {
        match self {
            Self::Few(peers) => peers.last().copied(),
            Self::Many(peers) => peers.first().copied(),
        }
    }

    pub(crate) fn insert(&mut self, peer: Ranked) {
        match self {
            Self::Few(peers) if peers.len() < FEW => {
                if let Err(place) = find(peers, peer) {
                    // Most have very few, and there are many of them.
                    peers.reserve_exact(usize::from(peers.len() == peers.capacity()) * (peers.len() / 2 + 1));
                    peers.insert(place, peer);
                }
            }
            Self::Few(peers) => {
                let peers = peers.drain(..).chain([peer]);
                *self = Self::Many(peers.collect());
            }
            Self::Many(peers) => drop(peers.insert(peer)),
        }
    }

    pub(crate) fn remove(&mut self, peer: Ranked) {
        match self {
            Self::Few(peers) => {
                if let Ok(place) = find(peers, peer) {
                    peers.remove(place);
                }
            }
            Self::Many(peers) => {
                peers.remove(&peer);
                if peers.len() <= FEW_AGAIN {
                    *self = Self::Few(peers.iter().rev().copied().collect());
                }
            }
        }
    }

    /// From best to worst.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = Ranked> + '_> {
        match self {
            Self::Few(peers) => Box::new(peers.iter().rev().copied()),
            Self::Many(peers) => Box::new(peers.iter().copied()),
        }
    }
}

impl Default for Ladder {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

fn find(worst_first: &[Ranked], peer: Ranked) -> Result<usize, usize> {
    worst_first.binary_search_by(|other| peer.cmp(other))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::peer_table::rank::Rank;
    use crate::peer_table::slots::PeerId;

    fn peer(number: u32) -> Ranked {
        Ranked {
            rank: Rank::BEST,
            id: PeerId::numbered(NonZeroU32::new(number).unwrap()),
        }
    }

    #[test]
    fn a_ladder_is_in_order_at_every_length() {
        let mut ladder = Ladder::default();
        // 7 goes through all numbers below 199 in some order.
        let numbers: Vec<u32> = (1..199).map(|step| step * 7 % 199).collect();
        for (count, &number) in (1..).zip(&numbers) {
            ladder.insert(peer(number));
            assert_eq!(ladder.best(), ladder.iter().next());
            assert!(ladder.iter().is_sorted());
            assert_eq!(ladder.iter().count(), count);
        }
        assert!(matches!(ladder, Ladder::Many(_)));
        for (gone, &number) in (1..).zip(numbers.iter().rev()) {
            ladder.remove(peer(number));
            assert_eq!(ladder.best(), ladder.iter().next());
            assert!(ladder.iter().is_sorted());
            assert_eq!(ladder.iter().count(), 198 - gone);
        }
        assert!(matches!(ladder, Ladder::Few(_)));
    }
}
