//! Peers by subnet: whom to dial next and whom to forget first.
//!
//! Both questions are put to subnets before they are put to peers, so that whoever holds one network gains little by
//! filling it. The groups stand by size, so that the most crowded one is at hand, and those that may be drawn from stand
//! in bags.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::peer_table::ladder::Ladder;
use crate::peer_table::members::{Members, Size};
use crate::peer_table::place::Standing;
use crate::peer_table::random::Random;
use crate::peer_table::rank::{Rank, Ranked};
use crate::peer_table::shelves::{Shelf, Shelves};
use crate::peer_table::slots::{PeerId, Slots};
use crate::peer_table::subnet::Subnet;

/// Whose turn it is to be dialed; the turns of the two kinds alternate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Peers that listened once when we dialed them; chosen by rank.
    Proven,
    /// Chosen by lot: first the subnet, then the peer, so that neither fresh gossip nor a frequent visitor gains.
    Unproven,
}

/// Names a subnet's group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct GroupId(u32);

#[derive(Debug)]
pub(crate) struct Groups {
    ids: HashMap<Subnet, GroupId>,
    groups: Vec<Group>,
    free: Vec<GroupId>,
    shelves: Shelves,
    /// Groups by their size when they last grew beyond it: each has that many members or fewer. Whoever asks for the
    /// largest puts those right that it meets, so that a peer that leaves its group and comes back, as each that is
    /// dialed in vain does, moves nothing.
    crowds: BTreeMap<Size, Vec<GroupId>>,
    /// What subnets offer in which no outgoing connection is held or being made, and what the others do.
    untaken: Choices,
    taken: Choices,
    turn: Turn,
    ready: usize,
}

/// The best proven peer of each subnet, and the subnets with an unproven one.
#[derive(Debug, Default)]
struct Choices {
    best_proven: BTreeSet<Ranked>,
    with_unproven: Vec<Lot>,
}

/// A subnet to draw from, and where its members stand, so that a draw needs no look at the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lot {
    group: GroupId,
    /// `None` for a crowd.
    shelf: Option<Shelf>,
}

#[derive(Debug, Default)]
struct Group {
    /// Unproven Idle peers.
    members: Members,
    /// Proven peers that may be dialed.
    proven: Option<Box<Ladder>>,
    /// Peers of this subnet that are known at all.
    known: u32,
    taken_by: u32,
    /// Where the group stands in the bag of its sort, …
    bag_seat: u32,
    /// … and among the crowds.
    crowd: Option<Size>,
    crowd_seat: u32,
}

/// What a group adds to the choices of its sort.
#[derive(Clone, Copy)]
struct Offer {
    is_taken: bool,
    has_unproven: bool,
    proven: Option<Ranked>,
}

impl Groups {
    pub(crate) fn new() -> Self {
        Self {
            ids: HashMap::new(),
            groups: Vec::new(),
            free: Vec::new(),
            shelves: Shelves::default(),
            crowds: BTreeMap::new(),
            untaken: Choices::default(),
            taken: Choices::default(),
            turn: Turn::Proven,
            ready: 0,
        }
    }

    /// The group of a peer that becomes known.
    pub(crate) fn join(&mut self, subnet: Subnet) -> GroupId {
        let id = *self.ids.entry(subnet).or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.groups.push(Group::default());
                GroupId(seat(self.groups.len() - 1))
            })
        });
        self.groups[place(id)].known += 1;
        id
    }

    /// A peer of the subnet and its group is forgotten.
    pub(crate) fn leave(&mut self, subnet: Subnet, id: GroupId) {
        let group = &mut self.groups[place(id)];
        group.known -= 1;
        if group.known == 0 {
            self.leave_crowd(id);
            self.groups[place(id)].members.end(&mut self.shelves);
            self.groups[place(id)] = Group::default();
            self.ids.remove(&subnet);
            self.free.push(id);
        }
    }

    /// Changes how a peer counts in its group; each standing with the rank that it goes by, if any.
    pub(crate) fn shift(
        &mut self,
        slots: &mut Slots,
        peer: PeerId,
        before: (Standing, Rank),
        after: (Standing, Rank),
    ) {
        let id = slots.marks(peer).group;
        let Self { groups, shelves, .. } = self;
        let group = &mut groups[place(id)];
        let offered = group.offer();
        self.ready -= usize::from(before.0.is_ready());
        self.ready += usize::from(after.0.is_ready());
        group.take_out(shelves, slots, peer, before);
        group.put_in(shelves, slots, peer, after);
        let offer = group.offer();
        self.shift_lot(id, offered, offer);
        if offered.proven.is_some() || offer.proven.is_some() {
            self.shift_proven(offered, offer);
        }
        if matches!(after.0, Standing::Member { .. }) {
            self.join_crowd(id);
        }
    }

    /// Whether nobody may be dialed now.
    pub(crate) fn none_ready(&self) -> bool {
        self.ready == 0
    }

    /// Whom to dial next, and as which kind. Takes neither the turn nor the peer: that is for [`Self::on_dial`].
    pub(crate) fn choose(&self, random: &mut Random) -> Option<(PeerId, Turn)> {
        let choices = if self.untaken.is_empty() {
            &self.taken
        } else {
            &self.untaken
        };
        let other = if self.turn == Turn::Proven {
            Turn::Unproven
        } else {
            Turn::Proven
        };
        [self.turn, other]
            .into_iter()
            .find_map(|turn| Some((self.choose_for(turn, choices, random)?, turn)))
    }

    /// A dial of a peer of this kind starts: the turn goes to the other kind.
    pub(crate) fn on_dial(&mut self, turn: Turn) {
        self.turn = match turn {
            Turn::Proven => Turn::Unproven,
            Turn::Unproven => Turn::Proven,
        };
    }

    /// The worst unproven Idle peer of the subnet that holds most of these; of several such subnets, of one whose worst
    /// is as bad as any, roughly.
    pub(crate) fn worst_of_most_crowded(&mut self, slots: &Slots) -> Option<PeerId> {
        loop {
            let (&size, ids) = self.crowds.last_key_value()?;
            let id = *ids.last().expect("a crowd without groups is removed");
            let members = &self.groups[place(id)].members;
            if members.size(&self.shelves) == Some(size) {
                return members.worst(&self.shelves, slots);
            }
            self.leave_crowd(id);
            self.join_crowd(id);
        }
    }

    fn choose_for(&self, turn: Turn, choices: &Choices, random: &mut Random) -> Option<PeerId> {
        match turn {
            Turn::Proven => choices.best_proven.first().map(|best| best.id),
            Turn::Unproven if choices.with_unproven.is_empty() => None,
            Turn::Unproven => {
                let Lot { group, shelf } = choices.with_unproven[random.below(choices.with_unproven.len())];
                if let Some(shelf) = shelf {
                    return Some(self.shelves.ready_at(shelf, random.below(shelf.ready())).id());
                }
                let members = &self.groups[place(group)].members;
                Some(members.ready_at(&self.shelves, random.below(members.ready())))
            }
        }
    }

    fn choices(&mut self, is_taken: bool) -> &mut Choices {
        if is_taken { &mut self.taken } else { &mut self.untaken }
    }

    /// Has the group's lot in the bag where it belongs now, if it has one, with where its members stand.
    fn shift_lot(&mut self, id: GroupId, before: Offer, now: Offer) {
        let stays = now.has_unproven && before.is_taken == now.is_taken;
        if before.has_unproven && !stays {
            self.leave_bag(id, before.is_taken);
        }
        if now.has_unproven {
            let Self { groups, taken, untaken, .. } = self;
            let group = &mut groups[place(id)];
            let bag = &mut if now.is_taken { taken } else { untaken }.with_unproven;
            let lot = Lot { group: id, shelf: group.members.shelf() };
            if before.has_unproven && stays {
                bag[index(group.bag_seat)] = lot;
            } else {
                group.bag_seat = seat(bag.len());
                bag.push(lot);
            }
        }
    }

    fn leave_bag(&mut self, id: GroupId, is_taken: bool) {
        let gap = self.groups[place(id)].bag_seat;
        let bag = &mut self.choices(is_taken).with_unproven;
        bag.swap_remove(index(gap));
        if let Some(moved) = bag.get(index(gap)) {
            let moved = place(moved.group);
            self.groups[moved].bag_seat = gap;
        }
    }

    /// Has the best of the group's proven peers among those of the other groups of its sort.
    fn shift_proven(&mut self, before: Offer, now: Offer) {
        if before.is_taken == now.is_taken && before.proven == now.proven {
            return;
        }
        if let Some(best) = before.proven {
            self.choices(before.is_taken).best_proven.remove(&best);
        }
        self.choices(now.is_taken).best_proven.extend(now.proven);
    }

    /// Puts a group among the crowds of its size, if it has more members than where it stands.
    fn join_crowd(&mut self, id: GroupId) {
        let group = &self.groups[place(id)];
        if group.members.len() <= group.crowd.map_or(0, Size::members) {
            return;
        }
        let size = group.members.size(&self.shelves);
        self.leave_crowd(id);
        if let Some(size) = size {
            let ids = self.crowds.entry(size).or_default();
            ids.push(id);
            let last = seat(ids.len() - 1);
            let group = &mut self.groups[place(id)];
            (group.crowd, group.crowd_seat) = (Some(size), last);
        }
    }

    fn leave_crowd(&mut self, id: GroupId) {
        let group = &mut self.groups[place(id)];
        let gap = group.crowd_seat;
        let Some(size) = group.crowd.take() else { return };
        let Some(ids) = self.crowds.get_mut(&size) else { return };
        ids.swap_remove(index(gap));
        if let Some(&moved) = ids.get(index(gap)) {
            self.groups[place(moved)].crowd_seat = gap;
        } else if ids.is_empty() {
            self.crowds.remove(&size);
        }
    }
}

impl Choices {
    fn is_empty(&self) -> bool {
        self.best_proven.is_empty() && self.with_unproven.is_empty()
    }
}

impl Group {
    fn offer(&self) -> Offer {
        Offer {
            is_taken: self.taken_by > 0,
            proven: self.proven.as_ref().and_then(|proven| proven.best()),
            has_unproven: self.members.ready() > 0,
        }
    }

    fn put_in(&mut self, shelves: &mut Shelves, slots: &mut Slots, id: PeerId, (standing, rank): (Standing, Rank)) {
        let peer = Ranked { rank, id };
        match standing {
            Standing::None => {}
            Standing::Member { is_ready } => self.members.insert(shelves, slots, peer, is_ready),
            Standing::Proven => self.proven.get_or_insert_default().insert(peer),
            Standing::Outgoing => self.taken_by += 1,
        }
    }

    fn take_out(&mut self, shelves: &mut Shelves, slots: &mut Slots, id: PeerId, (standing, rank): (Standing, Rank)) {
        let peer = Ranked { rank, id };
        match standing {
            Standing::None => {}
            Standing::Member { .. } => self.members.remove(shelves, slots, peer),
            Standing::Proven => {
                if let Some(proven) = &mut self.proven {
                    proven.remove(peer);
                }
            }
            Standing::Outgoing => self.taken_by -= 1,
        }
    }
}

fn place(id: GroupId) -> usize {
    index(id.0)
}

fn index(seat: u32) -> usize {
    usize::try_from(seat).expect("an address space has 32 bits or more")
}

fn seat(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends before 2^32 peers")
}

#[cfg(any(test, feature = "internals"))]
mod checks {
    use super::*;
    use crate::peer_table::place::Place;

    impl Groups {
        /// Panics unless the groups are just what follows from the entries.
        pub(crate) fn check(&self, slots: &Slots) {
            let mut known = HashMap::new();
            let mut standings: HashMap<_, Vec<_>> = HashMap::new();
            for id in slots.ids() {
                let group = self.ids[&Subnet::of(slots.peer(id).ip)];
                assert_eq!(slots.marks(id).group, group);
                *known.entry(group).or_insert(0) += 1;
                let standing = Place::of(slots.get(id)).standing;
                standings.entry(group).or_default().push((slots.ranked(id), standing));
            }
            assert_eq!(known.len(), self.ids.len());
            for (id, known) in known {
                let group = &self.groups[place(id)];
                assert_eq!(group.known, known);
                group.check(&self.shelves, slots, &standings[&id]);
                self.check_offer(id, group);
                self.check_crowd(id, group);
            }
            let in_crowds: usize = self.crowds.values().map(Vec::len).sum();
            let with_crowd = self.groups.iter().filter(|group| group.crowd.is_some());
            assert_eq!(in_crowds, with_crowd.count());
            assert!(self.crowds.values().all(|ids| !ids.is_empty()));
            self.shelves.check(self.groups.iter().filter_map(|group| group.members.shelf()));
        }

        fn check_offer(&self, id: GroupId, group: &Group) {
            let offer = group.offer();
            let (here, there) = if offer.is_taken {
                (&self.taken, &self.untaken)
            } else {
                (&self.untaken, &self.taken)
            };
            let lots = |choices: &Choices| choices.with_unproven.iter().filter(|lot| lot.group == id).count();
            assert_eq!((lots(here), lots(there)), (usize::from(offer.has_unproven), 0));
            if offer.has_unproven {
                let shelf = group.members.shelf();
                assert_eq!(here.with_unproven[index(group.bag_seat)], Lot { group: id, shelf });
            }
            for peer in group.proven.iter().flat_map(|proven| proven.iter()) {
                assert_eq!(here.best_proven.contains(&peer), offer.proven == Some(peer));
                assert!(!there.best_proven.contains(&peer));
            }
        }

        fn check_crowd(&self, id: GroupId, group: &Group) {
            assert!(group.crowd.map_or(0, Size::members) >= group.members.len(), "it may only be smaller");
            if let Some(size) = group.crowd {
                assert_eq!(self.crowds[&size][index(group.crowd_seat)], id);
            }
        }
    }

    impl Group {
        fn check(&self, shelves: &Shelves, slots: &Slots, standings: &[(Ranked, Standing)]) {
            let (mut members, mut ready) = (BTreeSet::new(), BTreeSet::new());
            let (mut proven, mut taken_by) = (BTreeSet::new(), 0);
            for &(peer, standing) in standings {
                match standing {
                    Standing::None => {}
                    Standing::Member { is_ready } => {
                        members.insert(peer);
                        if is_ready {
                            ready.insert(peer.id);
                        }
                    }
                    Standing::Proven => drop(proven.insert(peer)),
                    Standing::Outgoing => taken_by += 1,
                }
            }
            assert_eq!(self.taken_by, taken_by);
            self.members.check(shelves, slots, &members, &ready);
            let ladder: Vec<_> = self.proven.iter().flat_map(|proven| proven.iter()).collect();
            assert_eq!(ladder, proven.into_iter().collect::<Vec<_>>());
        }
    }
}
