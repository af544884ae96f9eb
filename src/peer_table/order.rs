//! All peers that may be told of, from best to worst.
//!
//! Most changes put a peer at one end of its class: whoever was just alive is the first of its class, whoever just
//! failed the last of those with its streak. Such a class is a linked list through the entries, where that costs
//! nothing. What does not fit at an end, because a clock went back or a time came from a file, stands in a tree beside
//! the list. Peers that were never tried have no order in time, just a keyed hash, and stand in a tree of that.

use std::collections::{BTreeMap, BTreeSet, btree_set};
use std::iter::Peekable;

use crate::peer_table::entry::Links;
use crate::peer_table::rank::{Class, Rank};
use crate::peer_table::slots::{PeerId, Slots};

#[derive(Debug, Default)]
pub(crate) struct Order {
    out_alive: BTreeSet<(u32, PeerId)>,
    in_alive: BTreeSet<(u32, PeerId)>,
    proven: Run,
    met: Run,
    never_tried: BTreeSet<(u32, PeerId)>,
    rest: BTreeMap<u32, Run>,
    len: usize,
}

/// Peers of one class: a list from best to worst, and a tree of those that came too late to stand in it.
#[derive(Debug, Default)]
struct Run {
    ends: Option<(PeerId, PeerId)>,
    strays: BTreeSet<(Rank, PeerId)>,
}

impl Order {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a peer that has the rank `rank` already.
    pub(crate) fn insert(&mut self, slots: &mut Slots, id: PeerId, rank: Rank) {
        self.len += 1;
        match rank.class {
            Class::OutAlive => drop(self.out_alive.insert((rank.tie, id))),
            Class::InAlive => drop(self.in_alive.insert((rank.tie, id))),
            Class::Proven => self.proven.insert(slots, id, rank),
            Class::Met => self.met.insert(slots, id, rank),
            Class::NeverTried => drop(self.never_tried.insert((rank.tie, id))),
            Class::Rest(streak) => self.rest.entry(streak).or_default().insert(slots, id, rank),
        }
    }

    /// Takes a peer out that had the rank `rank`.
    pub(crate) fn remove(&mut self, slots: &mut Slots, id: PeerId, rank: Rank) {
        self.len -= 1;
        match rank.class {
            Class::OutAlive => drop(self.out_alive.remove(&(rank.tie, id))),
            Class::InAlive => drop(self.in_alive.remove(&(rank.tie, id))),
            Class::Proven => self.proven.remove(slots, id, rank),
            Class::Met => self.met.remove(slots, id, rank),
            Class::NeverTried => drop(self.never_tried.remove(&(rank.tie, id))),
            Class::Rest(streak) => self.remove_from_rest(slots, id, rank, streak),
        }
    }

    /// From best to worst.
    pub(crate) fn iter<'a>(&'a self, slots: &'a Slots) -> impl Iterator<Item = PeerId> + 'a {
        let by_tie = |set: &'a BTreeSet<(u32, PeerId)>| set.iter().map(|&(_, id)| id);
        by_tie(&self.out_alive)
            .chain(by_tie(&self.in_alive))
            .chain(self.proven.iter(slots))
            .chain(self.met.iter(slots))
            .chain(by_tie(&self.never_tried))
            .chain(self.rest.values().flat_map(|run| run.iter(slots)))
    }

    /// The proven peers, from worst to best; those with a connection of any kind are among them.
    pub(crate) fn proven_from_worst<'a>(&'a self, slots: &'a Slots) -> impl Iterator<Item = PeerId> + 'a {
        let rest = self.rest.values().rev().flat_map(|run| run.iter_back(slots));
        rest.chain(self.proven.iter_back(slots))
            .filter(|&id| slots.get(id).peer.is_proven)
    }

    fn remove_from_rest(&mut self, slots: &mut Slots, id: PeerId, rank: Rank, streak: u32) {
        if let Some(run) = self.rest.get_mut(&streak) {
            run.remove(slots, id, rank);
            if run.ends.is_none() && run.strays.is_empty() {
                self.rest.remove(&streak);
            }
        }
    }
}

impl Run {
    fn insert(&mut self, slots: &mut Slots, id: PeerId, rank: Rank) {
        let key = |id| (Rank::of(slots.get(id)), id);
        match self.ends {
            None => {
                slots.get_mut(id).links = Links::default();
                self.ends = Some((id, id));
            }
            Some((best, worst)) if (rank, id) < key(best) => {
                slots.get_mut(id).links = Links {
                    better: None,
                    worse: Some(best),
                };
                slots.get_mut(best).links.better = Some(id);
                self.ends = Some((id, worst));
            }
            Some((best, worst)) if (rank, id) > key(worst) => {
                slots.get_mut(id).links = Links {
                    better: Some(worst),
                    worse: None,
                };
                slots.get_mut(worst).links.worse = Some(id);
                self.ends = Some((best, id));
            }
            Some(_) => {
                self.strays.insert((rank, id));
            }
        }
    }

    fn remove(&mut self, slots: &mut Slots, id: PeerId, rank: Rank) {
        if self.strays.remove(&(rank, id)) {
            return;
        }
        let Links { better, worse } = std::mem::take(&mut slots.get_mut(id).links);
        if let Some(better) = better {
            slots.get_mut(better).links.worse = worse;
        }
        if let Some(worse) = worse {
            slots.get_mut(worse).links.better = better;
        }
        self.ends = match (self.ends, better, worse) {
            (Some((_, worst)), None, Some(worse)) => Some((worse, worst)),
            (Some((best, _)), Some(better), None) => Some((best, better)),
            (ends, Some(_), Some(_)) => ends,
            (_, None, None) | (None, ..) => None,
        };
    }

    fn iter<'a>(&'a self, slots: &'a Slots) -> Merged<'a, btree_set::Iter<'a, (Rank, PeerId)>> {
        Merged {
            slots,
            next: self.ends.map(|(best, _)| best),
            strays: self.strays.iter().peekable(),
            towards_worse: true,
        }
    }

    fn iter_back<'a>(&'a self, slots: &'a Slots) -> Merged<'a, std::iter::Rev<btree_set::Iter<'a, (Rank, PeerId)>>> {
        Merged {
            slots,
            next: self.ends.map(|(_, worst)| worst),
            strays: self.strays.iter().rev().peekable(),
            towards_worse: false,
        }
    }
}

/// A list and its strays in one order.
struct Merged<'a, S: Iterator<Item = &'a (Rank, PeerId)>> {
    slots: &'a Slots,
    next: Option<PeerId>,
    strays: Peekable<S>,
    towards_worse: bool,
}

impl<'a, S: Iterator<Item = &'a (Rank, PeerId)>> Iterator for Merged<'a, S> {
    type Item = PeerId;

    fn next(&mut self) -> Option<PeerId> {
        let Some(listed) = self.next else {
            return self.strays.next().map(|&(_, id)| id);
        };
        let entry = self.slots.get(listed);
        if let Some(&&stray) = self.strays.peek() {
            let stray_is_better = stray < (Rank::of(entry), listed);
            if stray_is_better == self.towards_worse {
                self.strays.next();
                return Some(stray.1);
            }
        }
        self.next = if self.towards_worse {
            entry.links.worse
        } else {
            entry.links.better
        };
        Some(listed)
    }
}
