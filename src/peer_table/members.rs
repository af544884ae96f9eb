//! The unproven Idle peers of one subnet: to draw one from, and to find the worst among.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use crate::peer_table::entry::Marks;
use crate::peer_table::rank::{Grade, Ranked};
use crate::peer_table::seats::{index, seat};
use crate::peer_table::shelves::{self, Member, Shelf, Shelves};
use crate::peer_table::slots::{PeerId, Slots};

/// When a crowd shrinks to fewer, it stands on a shelf again: not at once, or one on the brink would build its tree
/// again and again.
const FEW_AGAIN: usize = shelves::MOST / 2;

/// So few that a glance along them finds the worst, or a crowd.
#[derive(Debug, Default)]
pub(crate) struct Members {
    few: Shelf,
    crowd: Option<Box<Crowd>>,
}

/// Too many to be looked through.
#[derive(Debug)]
struct Crowd {
    /// Each knows its place here. Those that are ready stand first.
    all: Vec<PeerId>,
    ready: usize,
    by_rank: BTreeSet<Ranked>,
}

/// How many members there are, and then how bad the worst of them is, roughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(NonZeroU32);

impl Size {
    pub(crate) fn members(self) -> usize {
        index(self.0.get() >> Grade::BITS)
    }
}

impl Members {
    pub(crate) fn len(&self) -> usize {
        self.crowd.as_ref().map_or(self.few.len(), |crowd| crowd.all.len())
    }

    /// The shelf that they stand on; that of a crowd is empty.
    pub(crate) fn shelf(&self) -> Shelf {
        self.few
    }

    pub(crate) fn shelf_mut(&mut self) -> &mut Shelf {
        &mut self.few
    }

    /// How many are ready to be dialed.
    pub(crate) fn ready(&self) -> usize {
        self.crowd.as_ref().map_or(self.few.ready(), |crowd| crowd.ready)
    }

    pub(crate) fn ready_at(&self, shelves: &Shelves, place: usize) -> PeerId {
        match &self.crowd {
            Some(crowd) => crowd.all[place],
            None => shelves.ready_at(self.few, place).id(),
        }
    }

    /// `None` without members.
    pub(crate) fn size(&self, shelves: &Shelves) -> Option<Size> {
        let (len, grade) = match &self.crowd {
            Some(crowd) => (crowd.all.len(), crowd.by_rank.last()?.rank.grade()),
            None => (self.few.len(), self.worst_grade(shelves)?),
        };
        let len = u32::try_from(len).unwrap_or(u32::MAX >> Grade::BITS);
        NonZeroU32::new(len << Grade::BITS | grade.bits()).map(Size)
    }

    pub(crate) fn worst(&self, shelves: &Shelves, slots: &Slots) -> Option<PeerId> {
        if let Some(crowd) = &self.crowd {
            return crowd.by_rank.last().map(|worst| worst.id);
        }
        let grade = self.worst_grade(shelves)?;
        let members = shelves.members(self.few).iter();
        let as_bad = members
            .filter(|member| member.grade() == grade)
            .map(|member| member.id());
        slots.touch(as_bad.clone());
        if grade == Grade::UNTRIED {
            as_bad.max_by_key(|&id| (slots.tie(id), id))
        } else {
            as_bad.map(|id| slots.ranked(id)).max().map(|worst| worst.id)
        }
    }

    pub(crate) fn insert(&mut self, shelves: &mut Shelves, slots: &mut Slots, peer: Ranked, is_ready: bool) {
        if self.crowd.is_none() && self.few.len() == shelves::MOST {
            self.become_many(shelves, slots);
        }
        match &mut self.crowd {
            Some(crowd) => crowd.insert(slots, peer, is_ready),
            None => shelves.insert(&mut self.few, Member::new(peer), is_ready),
        }
    }

    /// With the rank with which the peer was put in: in a crowd it is found by that.
    pub(crate) fn remove(&mut self, shelves: &mut Shelves, slots: &mut Slots, peer: Ranked) {
        match &mut self.crowd {
            Some(crowd) => {
                crowd.remove(slots, peer);
                if crowd.all.len() < FEW_AGAIN {
                    self.become_few(shelves, slots);
                }
            }
            None => shelves.remove(&mut self.few, peer.id),
        }
    }

    /// The last peer of the group was forgotten.
    pub(crate) fn end(&mut self, shelves: &mut Shelves) {
        shelves.give_back(&mut self.few);
    }

    fn worst_grade(&self, shelves: &Shelves) -> Option<Grade> {
        let (first, rest) = shelves.members(self.few).split_first()?;
        let worst = rest.iter().fold(*first, |worst, &member| worst.worse(member));
        Some(worst.grade())
    }

    fn become_many(&mut self, shelves: &mut Shelves, slots: &mut Slots) {
        let ready = self.few.ready();
        let all: Vec<_> = shelves.take(&mut self.few).into_iter().map(Member::id).collect();
        for (place, &id) in all.iter().enumerate() {
            slots.marks_mut(id).seat = seat(place);
        }
        let by_rank = all.iter().map(|&id| slots.ranked(id)).collect();
        self.crowd = Some(Box::new(Crowd { all, ready, by_rank }));
    }

    fn become_few(&mut self, shelves: &mut Shelves, slots: &mut Slots) {
        let Some(crowd) = self.crowd.take() else { return };
        for (place, &id) in crowd.all.iter().enumerate() {
            slots.marks_mut(id).seat = Marks::NO_SEAT;
            shelves.insert(&mut self.few, Member::new(slots.ranked(id)), place < crowd.ready);
        }
    }
}

impl Crowd {
    fn insert(&mut self, slots: &mut Slots, peer: Ranked, is_ready: bool) {
        let last = self.all.len();
        self.all.push(peer.id);
        slots.marks_mut(peer.id).seat = seat(last);
        if is_ready {
            self.swap(slots, last, self.ready);
            self.ready += 1;
        }
        self.by_rank.insert(peer);
    }

    fn remove(&mut self, slots: &mut Slots, peer: Ranked) {
        let gap = std::mem::replace(&mut slots.marks_mut(peer.id).seat, Marks::NO_SEAT);
        let mut gap = index(gap);
        if gap < self.ready {
            self.ready -= 1;
            self.swap(slots, gap, self.ready);
            gap = self.ready;
        }
        self.swap(slots, gap, self.all.len() - 1);
        self.all.pop();
        slots.marks_mut(peer.id).seat = Marks::NO_SEAT;
        let is_known = self.by_rank.remove(&peer);
        debug_assert!(is_known, "a member leaves with the rank that it came with");
    }

    fn swap(&mut self, slots: &mut Slots, one: usize, other: usize) {
        if one != other {
            self.all.swap(one, other);
            slots.marks_mut(self.all[one]).seat = seat(one);
            slots.marks_mut(self.all[other]).seat = seat(other);
        }
    }
}

#[cfg(any(test, feature = "internals"))]
impl Members {
    /// Panics unless just these are members and ready, with their grades and the worst at hand.
    pub(crate) fn check(&self, shelves: &Shelves, slots: &Slots, members: &BTreeSet<Ranked>, ready: &BTreeSet<PeerId>) {
        let all: Vec<PeerId> = match &self.crowd {
            Some(crowd) => crowd.all.clone(),
            None => shelves.members(self.few).iter().map(|member| member.id()).collect(),
        };
        assert_eq!(&all[..self.ready()].iter().copied().collect::<BTreeSet<_>>(), ready);
        assert_eq!(all.len(), members.len());
        assert_eq!(
            &all.iter().map(|&id| slots.ranked(id)).collect::<BTreeSet<_>>(),
            members
        );
        assert_eq!(self.worst(shelves, slots), members.last().map(|worst| worst.id));
        for (place, &id) in all.iter().enumerate() {
            let is_crowded = self.crowd.is_some();
            assert_eq!(
                slots.marks(id).seat,
                if is_crowded { seat(place) } else { Marks::NO_SEAT }
            );
        }
        match &self.crowd {
            Some(crowd) => {
                assert_eq!(&crowd.by_rank, members);
                assert_eq!(self.few, Shelf::default());
            }
            None => {
                let as_put = |member: &Member| *member == Member::new(slots.ranked(member.id()));
                assert!(shelves.members(self.few).iter().all(as_put));
            }
        }
    }
}
