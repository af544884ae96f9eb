//! Short arrays of members, side by side in one long one: drawing a member at random then costs a single far jump, and
//! an array takes four bytes a place and nothing else.

use std::num::NonZeroU32;

use crate::peer_table::rank::{Grade, Ranked};
use crate::peer_table::seats::index;
use crate::peer_table::slots::PeerId;

/// A shelf holds no more than this.
pub(crate) const MOST: usize = 64;
/// Shelves have room for 4, 8, 16, 32 or 64.
const SMALLEST: usize = 4;
const SIZES: usize = 5;

/// A peer and its grade, in one number whose highest bits are the grade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member(u32);

#[derive(Debug, Default)]
pub(crate) struct Shelves {
    cells: Vec<Member>,
    /// Where shelves of each size were given back.
    free: [Vec<u32>; SIZES],
}

/// Where an array begins, and how many members stand there; those that are ready to be dialed stand first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shelf {
    start: u32,
    len: u8,
    ready: u8,
    room: u8,
}

impl Member {
    pub(crate) fn new(peer: Ranked) -> Self {
        Self(peer.id.number().get() | peer.rank.grade().bits() << PeerId::BITS)
    }

    pub(crate) fn id(self) -> PeerId {
        let number = NonZeroU32::new(self.0 & ((1 << PeerId::BITS) - 1));
        PeerId::numbered(number.expect("a member was made of an id"))
    }

    pub(crate) fn grade(self) -> Grade {
        Grade::of_bits(self.0 >> PeerId::BITS)
    }

    pub(crate) fn worse(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }
}

impl Shelf {
    pub(crate) fn len(self) -> usize {
        usize::from(self.len)
    }

    pub(crate) fn ready(self) -> usize {
        usize::from(self.ready)
    }
}

impl Shelves {
    pub(crate) fn members(&self, shelf: Shelf) -> &[Member] {
        &self.cells[start(shelf)..][..shelf.len()]
    }

    pub(crate) fn ready_at(&self, shelf: Shelf, place: usize) -> Member {
        debug_assert!(place < shelf.ready());
        self.cells[start(shelf) + place]
    }

    /// There are fewer than [`MOST`].
    pub(crate) fn insert(&mut self, shelf: &mut Shelf, member: Member, is_ready: bool) {
        if shelf.len == shelf.room {
            self.widen(shelf);
        }
        let (len, ready) = (shelf.len(), shelf.ready());
        let cells = &mut self.cells[start(*shelf)..][..=len];
        cells[len] = member;
        if is_ready {
            cells.swap(len, ready);
            shelf.ready += 1;
        }
        shelf.len += 1;
    }

    pub(crate) fn remove(&mut self, shelf: &mut Shelf, id: PeerId) {
        let cells = &mut self.cells[start(*shelf)..][..shelf.len()];
        // Without a way out of the loop it is done for several at once.
        let found = cells.iter().enumerate();
        let mut gap = found.fold(usize::MAX, |found, (place, member)| {
            if member.id_bits() == id.number().get() {
                place
            } else {
                found
            }
        });
        debug_assert!(gap < cells.len(), "a member enters once and leaves once");
        if gap < shelf.ready() {
            shelf.ready -= 1;
            cells.swap(gap, shelf.ready());
            gap = shelf.ready();
        }
        let last = cells.len() - 1;
        cells.swap(gap, last);
        shelf.len -= 1;
    }

    /// Empties the shelf.
    pub(crate) fn take(&mut self, shelf: &mut Shelf) -> Vec<Member> {
        let members = self.members(*shelf).to_vec();
        self.give_back(shelf);
        members
    }

    pub(crate) fn give_back(&mut self, shelf: &mut Shelf) {
        if shelf.room > 0 {
            self.free[size(usize::from(shelf.room))].push(shelf.start);
        }
        *shelf = Shelf::default();
    }

    /// Moves all that there is together, without room for more. What `shelves` yields are all shelves in use.
    pub(crate) fn pack<'a>(&mut self, shelves: impl Iterator<Item = &'a mut Shelf>) {
        let mut packed = Self::default();
        for shelf in shelves {
            let members = self.members(*shelf);
            if members.is_empty() {
                *shelf = Shelf::default();
                continue;
            }
            let room = members.len().next_power_of_two().max(SMALLEST);
            let start = packed.cells.len();
            packed.cells.extend_from_slice(members);
            packed.cells.resize(start + room, Member(0));
            shelf.start = u32::try_from(start).expect("there are fewer places than 2^32");
            shelf.room = u8::try_from(room).expect("there are no more than 64 members");
        }
        packed.cells.shrink_to_fit();
        *self = packed;
    }

    fn widen(&mut self, shelf: &mut Shelf) {
        let room = (usize::from(shelf.room) * 2).max(SMALLEST);
        let mut wider = Shelf {
            start: self.free_start(room),
            room: u8::try_from(room).expect("there are no more than 64 members"),
            ..*shelf
        };
        let old = start(*shelf)..start(*shelf) + shelf.len();
        self.cells.copy_within(old, start(wider));
        std::mem::swap(shelf, &mut wider);
        self.give_back(&mut wider);
    }

    fn free_start(&mut self, room: usize) -> u32 {
        self.free[size(room)].pop().unwrap_or_else(|| {
            let start = self.cells.len();
            if self.cells.capacity() < start + room {
                self.cells.reserve_exact(room + start / 4);
            }
            self.cells.resize(start + room, Member(0));
            u32::try_from(start).expect("there are fewer places than 2^32")
        })
    }
}

impl Member {
    fn id_bits(self) -> u32 {
        self.0 & ((1 << PeerId::BITS) - 1)
    }
}

fn start(shelf: Shelf) -> usize {
    index(shelf.start)
}

/// Which of the sizes this is.
fn size(room: usize) -> usize {
    usize::try_from((room / SMALLEST).ilog2()).unwrap_or(0)
}

#[cfg(any(test, feature = "internals"))]
impl Shelves {
    /// Panics unless each place belongs to one of these shelves or is free.
    pub(crate) fn check(&self, shelves: impl Iterator<Item = Shelf>) {
        let used = shelves.map(|shelf| (start(shelf), usize::from(shelf.room)));
        let free = self.free.iter().enumerate().flat_map(|(size, starts)| {
            let room = SMALLEST << size;
            starts
                .iter()
                .map(move |&start| (usize::try_from(start).unwrap_or(0), room))
        });
        let mut all: Vec<_> = used.filter(|&(_, room)| room > 0).chain(free).collect();
        all.sort_unstable();
        let end = all.into_iter().fold(0, |end, (start, room)| {
            assert_eq!(start, end, "shelves overlap, or a place is lost");
            end + room
        });
        assert_eq!(end, self.cells.len());
    }
}
