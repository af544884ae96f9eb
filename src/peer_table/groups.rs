//! Peers by subnet: whom to dial next and whom to forget first.
//!
//! Both questions are put to subnets before they are put to peers, so that whoever holds one network gains little by
//! filling it. A group keeps its unproven Idle peers in one short array, those that may be dialed first, so that drawing
//! one is a look-up, and the worst of them is found by a glance along it; only a crowded group keeps a tree beside it.
//! The groups themselves stand by size, so that the most crowded one is at hand, and those that may be drawn from stand
//! in bags.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::peer_table::entry::GroupId;
use crate::peer_table::random::Random;
use crate::peer_table::rank::{Badness, Rank};
use crate::peer_table::slots::{PeerId, Slots};
use crate::peer_table::subnet::Subnet;

/// A group that is larger than this finds its worst member by a tree.
const GLANCE: usize = 64;

/// Whose turn it is to be dialed; the turns of the two kinds alternate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Peers that listened once when we dialed them; chosen by rank.
    Proven,
    /// Chosen by lot: first the subnet, then the peer, so that neither fresh gossip nor a frequent visitor gains.
    Unproven,
}

/// How a peer counts in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Idle and unproven, so among those that may be forgotten; `is_ready` to be dialed or not.
    Member { is_ready: bool, rank: Rank },
    /// Idle, proven and ready to be dialed.
    Proven(Rank),
    /// Dialed, or connected by a dial of ours: takes the subnet.
    Outgoing,
}

#[derive(Debug)]
pub(crate) struct Groups {
    ids: HashMap<Subnet, GroupId>,
    groups: Vec<Group>,
    free: Vec<GroupId>,
    /// Groups by size and by how bad their worst member is.
    crowds: BTreeMap<Crowd, Vec<GroupId>>,
    /// What subnets offer in which no outgoing connection is held or being made, and what the others do.
    untaken: Choices,
    taken: Choices,
    turn: Turn,
    ready: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crowd {
    size: usize,
    worst: u8,
}

/// The best proven peer of each subnet, and the subnets with an unproven one.
#[derive(Debug, Default)]
struct Choices {
    best_proven: BTreeSet<(Rank, PeerId)>,
    with_unproven: Vec<GroupId>,
}

#[derive(Debug)]
struct Group {
    subnet: Subnet,
    /// Peers of this subnet that are known at all.
    known: u32,
    taken_by: u32,
    /// Those that are ready stand first.
    members: Vec<Member>,
    ready: usize,
    /// For a group beyond [`GLANCE`].
    by_rank: Option<BTreeSet<(Rank, PeerId)>>,
    proven: BTreeSet<(Rank, PeerId)>,
    /// Where the group stands among the crowds, and in the bag of its sort.
    crowd: Option<(Crowd, u32)>,
    bag_seat: u32,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    id: PeerId,
    badness: Badness,
}

/// What a group adds to the choices of its sort.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Offer {
    is_taken: bool,
    proven: Option<(Rank, PeerId)>,
    has_unproven: bool,
}

impl Groups {
    pub(crate) fn new() -> Self {
        Self {
            ids: HashMap::new(),
            groups: Vec::new(),
            free: Vec::new(),
            crowds: BTreeMap::new(),
            untaken: Choices::default(),
            taken: Choices::default(),
            turn: Turn::Proven,
            ready: 0,
        }
    }

    /// The group of a peer that becomes known.
    pub(crate) fn join(&mut self, subnet: Subnet) -> GroupId {
        let id = *self.ids.entry(subnet).or_insert_with(|| match self.free.pop() {
            Some(id) => {
                self.groups[place(id)] = Group::new(subnet);
                id
            }
            None => {
                self.groups.push(Group::new(subnet));
                GroupId(seat(self.groups.len() - 1))
            }
        });
        self.groups[place(id)].known += 1;
        id
    }

    /// A peer of the group is forgotten.
    pub(crate) fn leave(&mut self, id: GroupId) {
        let group = &mut self.groups[place(id)];
        group.known -= 1;
        if group.known == 0 {
            self.ids.remove(&group.subnet);
            self.free.push(id);
        }
    }

    /// Changes how a peer counts in its group.
    pub(crate) fn shift(&mut self, slots: &mut Slots, id: PeerId, before: Option<Standing>, after: Option<Standing>) {
        let group_id = slots.get(id).group;
        let group = &mut self.groups[place(group_id)];
        let offered = group.offer();
        self.ready -= usize::from(before.is_some_and(Standing::is_ready));
        self.ready += usize::from(after.is_some_and(Standing::is_ready));
        if let Some(before) = before {
            group.take_out(slots, id, before);
        }
        if let Some(after) = after {
            group.put_in(slots, id, after);
        }
        let offer = group.offer();
        if offered != offer {
            self.withdraw(group_id, offered);
            self.offer(group_id, offer);
        }
        self.shift_crowd(group_id);
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

    /// The worst unproven Idle peer of the subnet that holds most of these.
    pub(crate) fn worst_of_most_crowded(&self, slots: &Slots) -> Option<PeerId> {
        let (_, ids) = self.crowds.last_key_value()?;
        self.groups[place(*ids.last()?)].worst(slots)
    }

    fn choose_for(&self, turn: Turn, choices: &Choices, random: &mut Random) -> Option<PeerId> {
        match turn {
            Turn::Proven => choices.best_proven.first().map(|&(_, id)| id),
            Turn::Unproven if choices.with_unproven.is_empty() => None,
            Turn::Unproven => {
                let id = choices.with_unproven[random.below(choices.with_unproven.len())];
                let group = &self.groups[place(id)];
                Some(group.members[random.below(group.ready)].id)
            }
        }
    }

    fn offer(&mut self, id: GroupId, offer: Offer) {
        let choices = if offer.is_taken {
            &mut self.taken
        } else {
            &mut self.untaken
        };
        choices.best_proven.extend(offer.proven);
        if offer.has_unproven {
            self.groups[place(id)].bag_seat = seat(choices.with_unproven.len());
            choices.with_unproven.push(id);
        }
    }

    fn withdraw(&mut self, id: GroupId, offer: Offer) {
        let choices = if offer.is_taken {
            &mut self.taken
        } else {
            &mut self.untaken
        };
        if let Some(best) = &offer.proven {
            choices.best_proven.remove(best);
        }
        if offer.has_unproven {
            let gap = self.groups[place(id)].bag_seat;
            choices.with_unproven.swap_remove(index(gap));
            if let Some(&moved) = choices.with_unproven.get(index(gap)) {
                self.groups[place(moved)].bag_seat = gap;
            }
        }
    }

    fn shift_crowd(&mut self, id: GroupId) {
        let group = &self.groups[place(id)];
        let (before, after) = (group.crowd, group.measure());
        if before.map(|(crowd, _)| crowd) == after {
            return;
        }
        if let Some((crowd, gap)) = before {
            self.leave_crowd(crowd, gap);
        }
        self.groups[place(id)].crowd = after.map(|crowd| {
            let ids = self.crowds.entry(crowd).or_default();
            ids.push(id);
            (crowd, seat(ids.len() - 1))
        });
    }

    fn leave_crowd(&mut self, crowd: Crowd, gap: u32) {
        let Some(ids) = self.crowds.get_mut(&crowd) else {
            return;
        };
        ids.swap_remove(index(gap));
        if let Some(&moved) = ids.get(index(gap)) {
            self.groups[place(moved)].crowd = Some((crowd, gap));
        }
        if ids.is_empty() {
            self.crowds.remove(&crowd);
        }
    }
}

impl Choices {
    fn is_empty(&self) -> bool {
        self.best_proven.is_empty() && self.with_unproven.is_empty()
    }
}

impl Standing {
    fn is_ready(self) -> bool {
        match self {
            Self::Member { is_ready, .. } => is_ready,
            Self::Proven(_) => true,
            Self::Outgoing => false,
        }
    }
}

impl Group {
    fn new(subnet: Subnet) -> Self {
        Self {
            subnet,
            known: 0,
            taken_by: 0,
            members: Vec::new(),
            ready: 0,
            by_rank: None,
            proven: BTreeSet::new(),
            crowd: None,
            bag_seat: 0,
        }
    }

    fn offer(&self) -> Offer {
        Offer {
            is_taken: self.taken_by > 0,
            proven: self.proven.first().copied(),
            has_unproven: self.ready > 0,
        }
    }

    /// How crowded the group is; `None` if it holds nobody who could be forgotten.
    fn measure(&self) -> Option<Crowd> {
        let worst = match &self.by_rank {
            Some(by_rank) => by_rank.last().map(|(rank, _)| rank.badness()),
            None => self.members.iter().map(|member| member.badness).max(),
        };
        worst.map(|worst| Crowd {
            size: self.members.len(),
            worst: worst.coarse(),
        })
    }

    fn worst(&self, slots: &Slots) -> Option<PeerId> {
        if let Some(by_rank) = &self.by_rank {
            return by_rank.last().map(|&(_, id)| id);
        }
        let badness = self.members.iter().map(|member| member.badness).max()?;
        let as_bad = self
            .members
            .iter()
            .filter(|member| member.badness == badness)
            .map(|member| member.id);
        let mut as_bad = as_bad.peekable();
        let first = as_bad.next()?;
        if as_bad.peek().is_none() {
            return Some(first);
        }
        as_bad.chain([first]).max_by_key(|&id| (Rank::of(slots.get(id)), id))
    }

    fn put_in(&mut self, slots: &mut Slots, id: PeerId, standing: Standing) {
        match standing {
            Standing::Member { is_ready, rank } => {
                let last = self.members.len();
                self.members.push(Member {
                    id,
                    badness: rank.badness(),
                });
                slots.get_mut(id).seat = seat(last);
                if is_ready {
                    self.swap(slots, last, self.ready);
                    self.ready += 1;
                }
                self.rank_member(slots, id, rank);
            }
            Standing::Proven(rank) => drop(self.proven.insert((rank, id))),
            Standing::Outgoing => self.taken_by += 1,
        }
    }

    fn take_out(&mut self, slots: &mut Slots, id: PeerId, standing: Standing) {
        match standing {
            Standing::Member { is_ready, rank } => {
                let mut gap = index(slots.get(id).seat);
                if is_ready {
                    self.ready -= 1;
                    self.swap(slots, gap, self.ready);
                    gap = self.ready;
                }
                self.swap(slots, gap, self.members.len() - 1);
                self.members.pop();
                self.unrank_member(rank, id);
            }
            Standing::Proven(rank) => drop(self.proven.remove(&(rank, id))),
            Standing::Outgoing => self.taken_by -= 1,
        }
    }

    fn swap(&mut self, slots: &mut Slots, one: usize, other: usize) {
        if one != other {
            self.members.swap(one, other);
            slots.get_mut(self.members[one].id).seat = seat(one);
            slots.get_mut(self.members[other].id).seat = seat(other);
        }
    }

    fn rank_member(&mut self, slots: &Slots, id: PeerId, rank: Rank) {
        match &mut self.by_rank {
            Some(by_rank) => drop(by_rank.insert((rank, id))),
            None if self.members.len() > GLANCE => {
                let ranked = self
                    .members
                    .iter()
                    .map(|member| (Rank::of(slots.get(member.id)), member.id));
                self.by_rank = Some(ranked.collect());
            }
            None => {}
        }
    }

    fn unrank_member(&mut self, rank: Rank, id: PeerId) {
        if let Some(by_rank) = &mut self.by_rank {
            by_rank.remove(&(rank, id));
            // Not at once, or a group on the brink would build its tree again and again.
            if self.members.len() < GLANCE / 2 {
                self.by_rank = None;
            }
        }
        if self.members.is_empty() {
            self.members = Vec::new();
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
                let entry = slots.get(id);
                let group = self.ids[&Subnet::of(entry.peer.ip)];
                assert_eq!(entry.group, group);
                *known.entry(group).or_insert(0) += 1;
                standings
                    .entry(group)
                    .or_default()
                    .extend(Place::of(entry).standing.map(|standing| (id, standing)));
            }
            assert_eq!(known.len(), self.ids.len());
            for (id, known) in known {
                let group = &self.groups[place(id)];
                assert_eq!(group.known, known);
                group.check(slots, &standings[&id]);
                self.check_offer(id, group);
                self.check_crowd(id, group);
            }
            let in_crowds: usize = self.crowds.values().map(Vec::len).sum();
            assert_eq!(
                in_crowds,
                self.ids
                    .values()
                    .filter(|id| self.groups[place(**id)].crowd.is_some())
                    .count()
            );
        }

        fn check_offer(&self, id: GroupId, group: &Group) {
            let offer = group.offer();
            let (here, there) = if offer.is_taken {
                (&self.taken, &self.untaken)
            } else {
                (&self.untaken, &self.taken)
            };
            assert_eq!(here.with_unproven.contains(&id), offer.has_unproven);
            assert!(!there.with_unproven.contains(&id));
            if offer.has_unproven {
                assert_eq!(here.with_unproven[index(group.bag_seat)], id);
            }
            for &peer in &group.proven {
                assert_eq!(here.best_proven.contains(&peer), offer.proven == Some(peer));
                assert!(!there.best_proven.contains(&peer));
            }
        }

        fn check_crowd(&self, id: GroupId, group: &Group) {
            assert_eq!(group.crowd.map(|(crowd, _)| crowd), group.measure());
            if let Some((crowd, seat)) = group.crowd {
                assert_eq!(self.crowds[&crowd][index(seat)], id);
                assert_eq!(crowd.size, group.members.len());
            }
        }
    }

    impl Group {
        fn check(&self, slots: &Slots, standings: &[(PeerId, Standing)]) {
            let mut members = BTreeSet::new();
            let (mut ready, mut proven, mut taken_by) = (BTreeSet::new(), BTreeSet::new(), 0);
            for &(id, standing) in standings {
                match standing {
                    Standing::Member { is_ready, rank } => {
                        members.insert((rank, id));
                        if is_ready {
                            ready.insert(id);
                        }
                        let member = self.members[index(slots.get(id).seat)];
                        assert_eq!((member.id, member.badness), (id, rank.badness()));
                    }
                    Standing::Proven(rank) => drop(proven.insert((rank, id))),
                    Standing::Outgoing => taken_by += 1,
                }
            }
            assert_eq!(self.taken_by, taken_by);
            assert_eq!(self.members.len(), members.len());
            assert_eq!(
                self.members[..self.ready]
                    .iter()
                    .map(|member| member.id)
                    .collect::<BTreeSet<_>>(),
                ready
            );
            assert_eq!(self.worst(slots), members.last().map(|&(_, id)| id));
            assert!(self.by_rank.as_ref().is_none_or(|by_rank| *by_rank == members));
            assert_eq!(self.proven, proven);
        }
    }
}
