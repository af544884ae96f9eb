//! Whom to dial next: the peers that may be dialed now, by subnet, and whose turn it is.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use crate::peer_table::PeerId;
use crate::peer_table::random::Random;
use crate::peer_table::rank::Rank;
use crate::peer_table::subnet::Subnet;

/// What kind of candidate a peer is; its turns alternate with the other kind's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Listened once when we dialed it; chosen by rank.
    Proven(Rank),
    /// Chosen by lot: first the subnet, then the peer, so that neither fresh gossip nor a frequent visitor gains.
    Unproven,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Proven,
    Unproven,
}

impl Turn {
    fn other(self) -> Self {
        match self {
            Self::Proven => Self::Unproven,
            Self::Unproven => Self::Proven,
        }
    }
}

/// The peers that may be dialed now.
#[derive(Debug)]
pub(crate) struct Candidates {
    subnets: HashMap<Subnet, SubnetCandidates>,
    /// Subnets in which no outgoing connection is held or being made.
    untaken: Choices,
    taken: Choices,
    turn: Turn,
    len: usize,
}

#[derive(Debug, Default)]
struct SubnetCandidates {
    /// Outgoing connections and dials in this subnet.
    taken_by: usize,
    proven: BTreeSet<(Rank, PeerId)>,
    unproven: Bag<PeerId>,
}

/// What subnets of one sort offer: the best proven peer of each, and the subnets with an unproven one.
#[derive(Debug, Default)]
struct Choices {
    best_proven: BTreeSet<(Rank, PeerId)>,
    with_unproven: Bag<Subnet>,
}

impl Candidates {
    pub(crate) fn new() -> Self {
        Self {
            subnets: HashMap::new(),
            untaken: Choices::default(),
            taken: Choices::default(),
            turn: Turn::Proven,
            len: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn insert(&mut self, subnet: Subnet, id: PeerId, kind: Kind) {
        self.len += 1;
        self.change(subnet, |candidates| match kind {
            Kind::Proven(rank) => candidates.proven.insert((rank, id)),
            Kind::Unproven => candidates.unproven.insert(id),
        });
    }

    pub(crate) fn remove(&mut self, subnet: Subnet, id: PeerId, kind: Kind) {
        self.len -= 1;
        self.change(subnet, |candidates| match kind {
            Kind::Proven(rank) => candidates.proven.remove(&(rank, id)),
            Kind::Unproven => candidates.unproven.remove(id),
        });
    }

    /// An outgoing connection or dial begins in `subnet`.
    pub(crate) fn take(&mut self, subnet: Subnet) {
        self.change(subnet, |candidates| {
            candidates.taken_by += 1;
            true
        });
    }

    /// An outgoing connection or dial in `subnet` is over.
    pub(crate) fn release(&mut self, subnet: Subnet) {
        self.change(subnet, |candidates| {
            debug_assert!(candidates.taken_by > 0, "a subnet is released as often as it was taken");
            candidates.taken_by -= 1;
            true
        });
    }

    /// Chooses the next peer to dial. Takes neither the turn nor the peer: that is for [`Self::on_dial`].
    pub(crate) fn choose(&self, random: &mut Random) -> Option<(PeerId, Kind)> {
        let choices = if self.untaken.is_empty() {
            &self.taken
        } else {
            &self.untaken
        };
        self.choose_for(self.turn, choices, random)
            .or_else(|| self.choose_for(self.turn.other(), choices, random))
    }

    /// A dial of a peer of this kind starts: the turn goes to the other kind.
    pub(crate) fn on_dial(&mut self, kind: Kind) {
        self.turn = match kind {
            Kind::Proven(_) => Turn::Unproven,
            Kind::Unproven => Turn::Proven,
        };
    }

    fn choose_for(&self, turn: Turn, choices: &Choices, random: &mut Random) -> Option<(PeerId, Kind)> {
        match turn {
            Turn::Proven => choices.best_proven.first().map(|&(rank, id)| (id, Kind::Proven(rank))),
            Turn::Unproven => {
                let subnet = choices.with_unproven.draw(random)?;
                let id = self.subnets.get(&subnet)?.unproven.draw(random)?;
                Some((id, Kind::Unproven))
            }
        }
    }

    fn change(&mut self, subnet: Subnet, edit: impl FnOnce(&mut SubnetCandidates) -> bool) {
        let candidates = self.subnets.entry(subnet).or_default();
        let before = candidates.offer();
        let changed = edit(candidates);
        debug_assert!(changed, "a candidate enters once and leaves once");
        let after = candidates.offer();
        if candidates.is_idle() {
            self.subnets.remove(&subnet);
        }
        if before != after {
            self.choices(before.taken).withdraw(subnet, before);
            self.choices(after.taken).add(subnet, after);
        }
    }

    fn choices(&mut self, taken: bool) -> &mut Choices {
        if taken { &mut self.taken } else { &mut self.untaken }
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Subnet, PeerId, Option<Rank>)> + '_ {
        self.subnets.iter().flat_map(|(&subnet, candidates)| {
            let proven = candidates
                .proven
                .iter()
                .map(move |&(rank, id)| (subnet, id, Some(rank)));
            proven.chain(candidates.unproven.items.iter().map(move |&id| (subnet, id, None)))
        })
    }

    #[cfg(test)]
    pub(crate) fn taken_by(&self, subnet: Subnet) -> usize {
        self.subnets.get(&subnet).map_or(0, |candidates| candidates.taken_by)
    }

    #[cfg(test)]
    pub(crate) fn choices_are_right(&self) -> bool {
        self.subnets.iter().all(|(subnet, candidates)| {
            let offer = candidates.offer();
            let (here, there) = if offer.taken {
                (&self.taken, &self.untaken)
            } else {
                (&self.untaken, &self.taken)
            };
            here.with_unproven.contains(*subnet) == offer.unproven
                && !there.with_unproven.contains(*subnet)
                && offer
                    .proven
                    .is_none_or(|best| here.best_proven.contains(&best) && !there.best_proven.contains(&best))
        })
    }
}

/// What a subnet adds to the choices of its sort.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Offer {
    taken: bool,
    proven: Option<(Rank, PeerId)>,
    unproven: bool,
}

impl SubnetCandidates {
    fn offer(&self) -> Offer {
        Offer {
            taken: self.taken_by > 0,
            proven: self.proven.first().copied(),
            unproven: !self.unproven.is_empty(),
        }
    }

    fn is_idle(&self) -> bool {
        self.taken_by == 0 && self.proven.is_empty() && self.unproven.is_empty()
    }
}

impl Choices {
    fn is_empty(&self) -> bool {
        self.best_proven.is_empty() && self.with_unproven.is_empty()
    }

    fn add(&mut self, subnet: Subnet, offer: Offer) {
        self.best_proven.extend(offer.proven);
        if offer.unproven {
            self.with_unproven.insert(subnet);
        }
    }

    fn withdraw(&mut self, subnet: Subnet, offer: Offer) {
        if let Some(best) = offer.proven {
            self.best_proven.remove(&best);
        }
        if offer.unproven {
            self.with_unproven.remove(subnet);
        }
    }
}

/// A set to draw from uniformly.
#[derive(Debug)]
struct Bag<T> {
    items: Vec<T>,
    places: HashMap<T, usize>,
}

impl<T> Default for Bag<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<T: Copy + Eq + Hash> Bag<T> {
    fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[cfg(test)]
    fn contains(&self, item: T) -> bool {
        self.places.contains_key(&item)
    }

    fn insert(&mut self, item: T) -> bool {
        let added = self.places.insert(item, self.items.len()).is_none();
        if added {
            self.items.push(item);
        }
        added
    }

    fn remove(&mut self, item: T) -> bool {
        let Some(place) = self.places.remove(&item) else {
            return false;
        };
        self.items.swap_remove(place);
        if let Some(&moved) = self.items.get(place) {
            self.places.insert(moved, place);
        }
        true
    }

    fn draw(&self, random: &mut Random) -> Option<T> {
        if self.items.is_empty() {
            return None;
        }
        self.items.get(random.below(self.items.len())).copied()
    }
}
