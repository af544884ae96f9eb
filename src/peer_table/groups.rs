//! Peers by subnet: whom to dial next and whom to forget first.
//!
//! Both questions are put to subnets before they are put to peers, so that whoever holds one network gains little by
//! filling it. The groups stand by size, so that the most crowded one is at hand, and those that may be drawn from stand
//! in bags.

use std::collections::{BTreeMap, HashMap};

use crate::peer_table::growth::grow_by_a_quarter;
use crate::peer_table::ladder::Ladder;
use crate::peer_table::members::{Members, Size};
use crate::peer_table::place::Standing;
use crate::peer_table::random::Random;
use crate::peer_table::rank::{Rank, Ranked};
use crate::peer_table::seats::{index, seat};
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

/// Whom to dial, as which kind, and the group of its subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) id: PeerId,
    pub(crate) turn: Turn,
    group: GroupId,
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
    /// Groups by their size when it last grew: each is that large or smaller. Whoever asks for the largest puts those
    /// right that it meets, so that a peer that leaves its group and comes back as bad as before moves nothing.
    crowds: BTreeMap<Size, Vec<GroupId>>,
    /// The subnets with an unproven peer that may be dialed: those in which no outgoing connection is held or being
    /// made, and the others.
    untaken: Vec<Lot>,
    taken: Vec<Lot>,
    /// The best proven peer of each subnet that has one that may be dialed. Whoever asks for the best of those in untaken
    /// subnets sets the taken ones that it meets aside.
    proven: BTreeMap<Ranked, GroupId>,
    aside: BTreeMap<Ranked, GroupId>,
    turn: Turn,
    ready: usize,
}

/// A subnet to draw from, and where its members stand, so that a draw needs no look at the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lot {
    group: GroupId,
    /// The empty one for a crowd.
    shelf: Shelf,
}

#[derive(Debug, Default)]
struct Group {
    /// Unproven Idle peers.
    members: Members,
    /// Peers of this subnet that are known at all.
    known: u32,
    taken_by: u32,
    /// Where its lot is.
    bag_seat: u32,
    /// Where it stands among the crowds.
    crowd_seat: u32,
    crowd: Option<Size>,
    /// The best proven peer that may be dialed, …
    best: Option<Ranked>,
    /// … and it and the others.
    proven: Option<Box<Ladder>>,
    is_aside: bool,
}

impl Groups {
    pub(crate) fn new() -> Self {
        Self {
            ids: HashMap::new(),
            groups: Vec::new(),
            free: Vec::new(),
            shelves: Shelves::default(),
            crowds: BTreeMap::new(),
            untaken: Vec::new(),
            taken: Vec::new(),
            proven: BTreeMap::new(),
            aside: BTreeMap::new(),
            turn: Turn::Proven,
            ready: 0,
        }
    }

    /// The group of a peer that becomes known.
    pub(crate) fn join(&mut self, subnet: Subnet) -> GroupId {
        let id = *self.ids.entry(subnet).or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                grow_by_a_quarter(&mut self.groups);
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
    pub(crate) fn shift(&mut self, slots: &mut Slots, peer: PeerId, before: (Standing, Rank), after: (Standing, Rank)) {
        let id = slots.marks(peer).group;
        let Self { groups, shelves, .. } = self;
        let group = &mut groups[place(id)];
        let (was_taken, had_ready) = (group.taken_by > 0, group.members.ready() > 0);
        self.ready -= usize::from(before.0.is_ready());
        self.ready += usize::from(after.0.is_ready());
        group.take_out(shelves, slots, peer, before);
        group.put_in(shelves, slots, peer, after);
        let is_taken = group.taken_by > 0;
        self.shift_lot(id, had_ready.then_some(was_taken));
        if before.0 == Standing::Proven || after.0 == Standing::Proven {
            self.shift_best(id);
        }
        if was_taken && !is_taken {
            self.fetch(id);
        }
        if after.0.is_member() {
            self.join_crowd(id);
        }
    }

    /// Packs the members together, after many were added.
    pub(crate) fn pack(&mut self) {
        let Self { groups, shelves, .. } = self;
        shelves.pack(groups.iter_mut().map(|group| group.members.shelf_mut()));
        for id in 0..self.groups.len() {
            let group = &self.groups[id];
            let lot = (group.members.ready() > 0).then_some(group.taken_by > 0);
            self.shift_lot(GroupId(seat(id)), lot);
        }
    }

    /// Whether nobody may be dialed now.
    pub(crate) fn none_ready(&self) -> bool {
        self.ready == 0
    }

    /// Whom to dial next, and as which kind. Takes neither the turn nor the peer: that is for [`Self::on_dial`].
    pub(crate) fn choose(&mut self, random: &mut Random) -> Option<Choice> {
        let other = self.turn.other();
        self.choose_untaken(self.turn, random)
            .or_else(|| self.choose_untaken(other, random))
            .or_else(|| self.choose_taken(self.turn, random))
            .or_else(|| self.choose_taken(other, random))
    }

    /// A dial of whom was chosen starts: the turn goes to the other kind.
    pub(crate) fn on_dial(&mut self, choice: Choice) {
        self.turn = choice.turn.other();
    }

    /// Reads a little of the group, so that it is at hand soon.
    pub(crate) fn touch(&self, choice: Choice) {
        std::hint::black_box(self.groups[place(choice.group)].known);
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

    fn choose_untaken(&mut self, turn: Turn, random: &mut Random) -> Option<Choice> {
        match turn {
            Turn::Proven => self.best_untaken(),
            Turn::Unproven => self.draw(&self.untaken, random),
        }
    }

    /// There is nobody in an untaken subnet.
    fn choose_taken(&self, turn: Turn, random: &mut Random) -> Option<Choice> {
        match turn {
            Turn::Proven => self.aside.first_key_value().map(Choice::best),
            Turn::Unproven => self.draw(&self.taken, random),
        }
    }

    fn best_untaken(&mut self) -> Option<Choice> {
        loop {
            let choice = self.proven.first_key_value().map(Choice::best)?;
            let group = &mut self.groups[place(choice.group)];
            if group.taken_by == 0 {
                return Some(choice);
            }
            group.is_aside = true;
            self.aside.extend(self.proven.pop_first());
        }
    }

    fn draw(&self, lots: &[Lot], random: &mut Random) -> Option<Choice> {
        if lots.is_empty() {
            return None;
        }
        let Lot { group, shelf } = lots[random.below(lots.len())];
        let id = if shelf.ready() > 0 {
            self.shelves.ready_at(shelf, random.below(shelf.ready())).id()
        } else {
            let members = &self.groups[place(group)].members;
            members.ready_at(&self.shelves, random.below(members.ready()))
        };
        let turn = Turn::Unproven;
        Some(Choice { id, turn, group })
    }

    /// Has the group's lot in the bag where it belongs now, if it has one, with where its members stand; `was_taken`
    /// tells in which it was, if it had one.
    fn shift_lot(&mut self, id: GroupId, was_taken: Option<bool>) {
        let group = &mut self.groups[place(id)];
        let is_taken = (group.members.ready() > 0).then_some(group.taken_by > 0);
        let lot = Lot {
            group: id,
            shelf: group.members.shelf(),
        };
        if was_taken == is_taken {
            if let Some(is_taken) = is_taken {
                let seat = index(group.bag_seat);
                self.bag(is_taken)[seat] = lot;
            }
            return;
        }
        if let Some(was_taken) = was_taken {
            self.leave_bag(id, was_taken);
        }
        if let Some(is_taken) = is_taken {
            let bag = self.bag(is_taken);
            bag.push(lot);
            self.groups[place(id)].bag_seat = seat(bag.len() - 1);
        }
    }

    fn leave_bag(&mut self, id: GroupId, is_taken: bool) {
        let gap = self.groups[place(id)].bag_seat;
        let bag = self.bag(is_taken);
        bag.swap_remove(index(gap));
        if let Some(moved) = bag.get(index(gap)) {
            let moved = place(moved.group);
            self.groups[moved].bag_seat = gap;
        }
    }

    fn bag(&mut self, is_taken: bool) -> &mut Vec<Lot> {
        if is_taken { &mut self.taken } else { &mut self.untaken }
    }

    /// Has the best of the group's proven peers among those of the other groups.
    fn shift_best(&mut self, id: GroupId) {
        let group = &mut self.groups[place(id)];
        let best = group.proven.as_ref().and_then(|proven| proven.best());
        let before = std::mem::replace(&mut group.best, best);
        if before == best {
            return;
        }
        let was_aside = std::mem::take(&mut group.is_aside);
        if let Some(before) = before {
            let among = if was_aside { &mut self.aside } else { &mut self.proven };
            among.remove(&before);
        }
        self.proven.extend(best.map(|best| (best, id)));
    }

    /// A group is not taken any more.
    fn fetch(&mut self, id: GroupId) {
        let group = &mut self.groups[place(id)];
        if std::mem::take(&mut group.is_aside)
            && let Some(best) = group.best
        {
            self.aside.remove(&best);
            self.proven.insert(best, id);
        }
    }

    /// Puts a group among the crowds of its size, if it is larger than where it stands.
    fn join_crowd(&mut self, id: GroupId) {
        let group = &self.groups[place(id)];
        if group.members.len() < group.crowd.map_or(0, Size::members) {
            return;
        }
        let size = group.members.size(&self.shelves);
        if size <= group.crowd {
            return;
        }
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

impl Choice {
    fn best((best, &group): (&Ranked, &GroupId)) -> Self {
        let (id, turn) = (best.id, Turn::Proven);
        Self { id, turn, group }
    }
}

impl Turn {
    fn other(self) -> Self {
        match self {
            Self::Proven => Self::Unproven,
            Self::Unproven => Self::Proven,
        }
    }
}

impl Group {
    fn put_in(&mut self, shelves: &mut Shelves, slots: &mut Slots, id: PeerId, (standing, rank): (Standing, Rank)) {
        let peer = Ranked { rank, id };
        match standing {
            Standing::None => {}
            Standing::Member | Standing::ReadyMember => {
                self.members.insert(shelves, slots, peer, standing.is_ready());
            }
            Standing::Proven => self.proven.get_or_insert_default().insert(peer),
            Standing::Outgoing => self.taken_by += 1,
        }
    }

    fn take_out(&mut self, shelves: &mut Shelves, slots: &mut Slots, id: PeerId, (standing, rank): (Standing, Rank)) {
        let peer = Ranked { rank, id };
        match standing {
            Standing::None => {}
            Standing::Member | Standing::ReadyMember => self.members.remove(shelves, slots, peer),
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

#[cfg(any(test, feature = "internals"))]
mod checks {
    use std::collections::BTreeSet;

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
                self.check_lot(id, group);
                self.check_best(id, group);
                self.check_crowd(id, group);
            }
            self.check_totals();
            let in_crowds: usize = self.crowds.values().map(Vec::len).sum();
            let with_crowd = self.groups.iter().filter(|group| group.crowd.is_some());
            assert_eq!(in_crowds, with_crowd.count());
            assert!(self.crowds.values().all(|ids| !ids.is_empty()));
            self.shelves
                .check(self.groups.iter().map(|group| group.members.shelf()));
        }

        /// Nothing of a group that is gone is left.
        fn check_totals(&self) {
            let count = |is_it: fn(&Group) -> bool| self.groups.iter().filter(|group| is_it(group)).count();
            let lots = self.untaken.len() + self.taken.len();
            assert_eq!(lots, count(|group| group.members.ready() > 0));
            let best = self.proven.len() + self.aside.len();
            assert_eq!(best, count(|group| group.best.is_some()));
            let members: usize = self.groups.iter().map(|group| group.members.ready()).sum();
            let proven = self.groups.iter().flat_map(|group| group.proven.as_deref());
            assert_eq!(
                self.ready,
                members + proven.map(|proven| proven.iter().count()).sum::<usize>()
            );
        }

        fn check_lot(&self, id: GroupId, group: &Group) {
            let is_taken = group.taken_by > 0;
            let lots = |bag: &[Lot]| bag.iter().filter(|lot| lot.group == id).count();
            let (here, there) = if is_taken {
                (&self.taken, &self.untaken)
            } else {
                (&self.untaken, &self.taken)
            };
            let has_lot = group.members.ready() > 0;
            assert_eq!((lots(here), lots(there)), (usize::from(has_lot), 0));
            if has_lot {
                let shelf = group.members.shelf();
                assert_eq!(here[index(group.bag_seat)], Lot { group: id, shelf });
            }
        }

        fn check_best(&self, id: GroupId, group: &Group) {
            let (here, there) = if group.is_aside {
                (&self.aside, &self.proven)
            } else {
                (&self.proven, &self.aside)
            };
            assert!(!group.is_aside || group.taken_by > 0);
            let is_ours = |(best, group): (&Ranked, &GroupId)| (*group == id).then_some(*best);
            assert!(here.iter().find_map(is_ours) == group.best && here.values().filter(|of| **of == id).count() <= 1);
            assert_eq!(there.iter().find_map(is_ours), None);
        }

        fn check_crowd(&self, id: GroupId, group: &Group) {
            assert!(
                group.crowd >= group.members.size(&self.shelves),
                "it may only be smaller"
            );
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
                    Standing::Member | Standing::ReadyMember => {
                        members.insert(peer);
                        if standing.is_ready() {
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
            assert_eq!(self.best, ladder.first().copied());
            assert_eq!(ladder, proven.into_iter().collect::<Vec<_>>());
        }
    }
}
