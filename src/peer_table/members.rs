//! The unproven Idle peers of one subnet: to draw one from, and to find the worst among.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use crate::peer_table::rank::{Grade, Ranked};
use crate::peer_table::slots::{PeerId, Slots};

/// More than this are not searched or glanced along any more: a tree tells the worst, and each knows its seat.
const GLANCE: usize = 64;

/// Those that are ready to be dialed stand first.
#[derive(Debug, Default)]
pub(crate) struct Members {
    all: Vec<Member>,
    ready: u32,
    /// For more than [`GLANCE`].
    by_rank: Option<Box<BTreeSet<Ranked>>>,
}

/// A peer and its grade, in one number whose highest bits are the grade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member(NonZeroU32);

/// How many members there are, and then how bad the worst of them is, roughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(NonZeroU32);

impl Members {
    pub(crate) fn ready(&self) -> &[Member] {
        &self.all[..self.ready_len()]
    }

    /// `None` without members.
    pub(crate) fn size(&self) -> Option<Size> {
        let grade = match &self.by_rank {
            Some(by_rank) => by_rank.last()?.rank.grade().bits(),
            None => self.worst_grade()?,
        };
        let len = u32::try_from(self.all.len()).unwrap_or(u32::MAX >> Grade::BITS);
        NonZeroU32::new(len << Grade::BITS | grade).map(Size)
    }

    pub(crate) fn worst(&self, slots: &Slots) -> Option<PeerId> {
        if let Some(by_rank) = &self.by_rank {
            return by_rank.last().map(|worst| worst.id);
        }
        let grade = self.worst_grade()?;
        let as_bad = self.all.iter().filter(|member| member.grade() == grade);
        let mut as_bad = as_bad.map(|member| member.id()).peekable();
        let first = as_bad.next()?;
        if as_bad.peek().is_none() {
            return Some(first);
        }
        let worst = as_bad.chain([first]).map(|id| slots.ranked(id)).max();
        worst.map(|worst| worst.id)
    }

    pub(crate) fn insert(&mut self, slots: &mut Slots, peer: Ranked, is_ready: bool) {
        let last = self.all.len();
        self.all.push(Member::new(peer));
        if self.by_rank.is_some() {
            slots.marks_mut(peer.id).seat = seat(last);
        }
        if is_ready {
            self.swap(slots, last, self.ready_len());
            self.ready += 1;
        }
        match &mut self.by_rank {
            Some(by_rank) => drop(by_rank.insert(peer)),
            None if self.all.len() > GLANCE => self.become_many(slots),
            None => {}
        }
    }

    pub(crate) fn remove(&mut self, slots: &mut Slots, peer: Ranked) {
        let Some(mut gap) = self.place_of(slots, peer.id) else {
            debug_assert!(false, "a member enters once and leaves once");
            return;
        };
        if gap < self.ready_len() {
            self.ready -= 1;
            self.swap(slots, gap, self.ready_len());
            gap = self.ready_len();
        }
        self.swap(slots, gap, self.all.len() - 1);
        self.all.pop();
        if let Some(by_rank) = &mut self.by_rank {
            by_rank.remove(&peer);
            // Not at once, or a group on the brink would build its tree again and again.
            if self.all.len() < GLANCE / 2 {
                self.by_rank = None;
            }
        }
    }

    fn worst_grade(&self) -> Option<u32> {
        let greatest = self.all.iter().fold(0, |greatest, member| member.0.get().max(greatest));
        (greatest > 0).then_some(greatest >> PeerId::BITS)
    }

    fn ready_len(&self) -> usize {
        usize::try_from(self.ready).expect("an address space has 32 bits or more")
    }

    fn place_of(&self, slots: &Slots, id: PeerId) -> Option<usize> {
        if self.by_rank.is_some() {
            return usize::try_from(slots.marks(id).seat).ok();
        }
        self.all.iter().position(|member| member.id() == id)
    }

    fn become_many(&mut self, slots: &mut Slots) {
        for (place, member) in self.all.iter().enumerate() {
            slots.marks_mut(member.id()).seat = seat(place);
        }
        let ranked = self.all.iter().map(|member| slots.ranked(member.id()));
        self.by_rank = Some(Box::new(ranked.collect()));
    }

    fn swap(&mut self, slots: &mut Slots, one: usize, other: usize) {
        if one == other {
            return;
        }
        self.all.swap(one, other);
        if self.by_rank.is_some() {
            slots.marks_mut(self.all[one].id()).seat = seat(one);
            slots.marks_mut(self.all[other].id()).seat = seat(other);
        }
    }
}

impl Member {
    fn new(peer: Ranked) -> Self {
        Self(peer.id.number() | peer.rank.grade().bits() << PeerId::BITS)
    }

    pub(crate) fn id(self) -> PeerId {
        let number = NonZeroU32::new(self.0.get() & ((1 << PeerId::BITS) - 1));
        PeerId::numbered(number.expect("a member was made of an id"))
    }

    fn grade(self) -> u32 {
        self.0.get() >> PeerId::BITS
    }
}

fn seat(index: usize) -> u32 {
    u32::try_from(index).expect("there are fewer peers than ids")
}

#[cfg(any(test, feature = "internals"))]
impl Members {
    /// Panics unless just these are members and ready, with their grades and the worst at hand.
    pub(crate) fn check(&self, slots: &Slots, members: &BTreeSet<Ranked>, ready: &BTreeSet<PeerId>) {
        let all: BTreeSet<_> = self.all.iter().map(|member| slots.ranked(member.id())).collect();
        assert_eq!((&all, all.len()), (members, self.all.len()));
        assert_eq!(&self.ready().iter().map(|member| member.id()).collect::<BTreeSet<_>>(), ready);
        for (place, member) in self.all.iter().enumerate() {
            assert_eq!(*member, Member::new(slots.ranked(member.id())));
            assert_eq!(self.place_of(slots, member.id()), Some(place));
        }
        assert_eq!(self.worst(slots), members.last().map(|worst| worst.id));
        assert!(self.by_rank.as_ref().is_none_or(|by_rank| **by_rank == *members));
    }
}
