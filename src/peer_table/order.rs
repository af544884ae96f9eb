//! All peers that may be told of, from best to worst.
//!
//! Peers that were never tried stand in the index of addresses, which is in the order of their ties anyway. For the
//! others, the order is cut into blocks of up to thirteen ids, a cache line each. A peer knows its block, so taking it
//! out touches that line alone. Ranks stand with the peers; a block holds peers of one [`Level`] only, as whoever just
//! failed or was just alive comes to an end of its level, so that the block there is known and one comparison tells the
//! place. Whoever belongs elsewhere is brought to its block by a tree.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crate::peer_table::index::{SEATS, Seat};
use crate::peer_table::rank::{Level, Ranked};
use crate::peer_table::seats::index;
use crate::peer_table::slots::{PeerId, Slots};

/// How many ids a block holds.
const ROOM: usize = 13;
/// A block that shrinks to this joins a neighbour, …
const FEW: usize = 3;
/// … if they then hold no more than this.
const JOINED: usize = 10;
/// For how many levels the block that was filled last is remembered.
const HINTS: usize = 16;

/// Names a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockId(NonZeroU32);

#[derive(Debug)]
pub(crate) struct Order {
    blocks: Vec<Block>,
    /// Of each block, its key in the tree: no peer of the block is better, and none of the blocks before is as bad. The
    /// first block of a level begins with the level.
    firsts: Vec<Ranked>,
    free: Vec<BlockId>,
    tree: BTreeMap<Ranked, BlockId>,
    best: Option<BlockId>,
    worst: Option<BlockId>,
    hints: [Option<BlockId>; HINTS],
}

/// Best first.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Block {
    ids: [PeerId; ROOM],
    len: u32,
    better: Option<BlockId>,
    worse: Option<BlockId>,
}

/// Goes through the order from best to worst.
///
/// The peers are all over memory. So those of the next block are touched all at once before those of this one are gone
/// through one by one: then they are fetched side by side.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    order: &'a Order,
    slots: &'a Slots,
    in_block: std::slice::Iter<'a, PeerId>,
    next_block: Option<BlockId>,
    in_index: Few,
    /// Where in the index to go on with those that were never tried, until they are done.
    next_place: Option<usize>,
}

/// Some of those who stand in the index.
#[derive(Clone, Debug)]
struct Few {
    ids: [PeerId; SEATS],
    next: usize,
    len: usize,
}

impl Order {
    pub(crate) fn new() -> Self {
        Self {
            blocks: Vec::new(),
            firsts: Vec::new(),
            free: Vec::new(),
            tree: BTreeMap::new(),
            best: None,
            worst: None,
            hints: [None; HINTS],
        }
    }

    /// From best to worst.
    pub(crate) fn iter<'a>(&'a self, slots: &'a Slots) -> Walk<'a> {
        Walk {
            order: self,
            slots,
            in_block: [].iter(),
            next_block: self.best,
            in_index: Few::default(),
            next_place: Some(0),
        }
    }

    /// From worst to best, without those that were never tried.
    pub(crate) fn tried_from_worst(&self) -> impl Iterator<Item = PeerId> {
        let blocks = std::iter::successors(self.worst, |&block| self.block(block).better);
        blocks.flat_map(|block| self.block(block).ids().iter().rev().copied())
    }

    /// Whether there is no peer, those that were never tried aside.
    pub(crate) fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Adds many peers at once, of which none was never tried, to an order without any.
    pub(crate) fn fill(&mut self, slots: &mut Slots, mut peers: Vec<Ranked>) {
        debug_assert!(self.is_empty(), "it is filled once");
        peers.sort_unstable();
        let mut tree = Vec::with_capacity(peers.len() / ROOM + 1);
        for level in peers.chunk_by(|one, other| one.rank.level() == other.rank.level()) {
            let firsts = std::iter::once(level[0].rank.level().first());
            let firsts = firsts.chain(level.iter().skip(ROOM).step_by(ROOM).copied());
            for (first, chunk) in firsts.zip(level.chunks(ROOM)) {
                let ids: Vec<_> = chunk.iter().map(|peer| peer.id).collect();
                let block = self.link_block(first, self.worst, &ids);
                ids.iter().for_each(|&id| slots.marks_mut(id).block = Some(block));
                tree.push((first, block));
            }
        }
        // A tree that is made of what is sorted has full nodes.
        self.tree = tree.into_iter().collect();
    }

    /// Adds a peer that has the rank already.
    pub(crate) fn insert(&mut self, slots: &mut Slots, peer: Ranked) {
        debug_assert!(
            peer.rank.level() != Level::UNTRIED,
            "they stand in the index of addresses"
        );
        let hint = peer.rank.level().number() % HINTS;
        let block = match self.hints[hint].filter(|&block| self.belongs(peer, block)) {
            Some(block) => self.insert_in(slots, peer, block),
            None => match self.block_for(peer) {
                Ok(block) => self.insert_in(slots, peer, block),
                Err(better) => self.add_block(slots, peer.rank.level().first(), better, peer.id),
            },
        };
        self.hints[hint] = Some(block);
    }

    /// Takes a peer out, if it is in.
    pub(crate) fn remove(&mut self, slots: &mut Slots, id: PeerId) {
        let Some(block_id) = slots.marks_mut(id).block.take() else {
            return;
        };
        let block = self.block_mut(block_id);
        block.remove(id);
        match block.len() {
            0 => self.drop_block(block_id),
            FEW => self.join(slots, block_id),
            _ => {}
        }
    }

    fn block(&self, block: BlockId) -> &Block {
        &self.blocks[block.place()]
    }

    fn block_mut(&mut self, block: BlockId) -> &mut Block {
        &mut self.blocks[block.place()]
    }

    fn first(&self, block: BlockId) -> Ranked {
        self.firsts[block.place()]
    }

    /// Whether this is the block for a peer; it may not be in use.
    fn belongs(&self, peer: Ranked, block_id: BlockId) -> bool {
        let (block, first) = (self.block(block_id), self.first(block_id));
        let is_before_next = |next| peer < self.first(next);
        block.len() > 0
            && first <= peer
            && first.rank.level() == peer.rank.level()
            && block.worse.is_none_or(is_before_next)
    }

    /// The block of its level where a peer belongs; if there is none, the block behind which it is to be made.
    fn block_for(&self, peer: Ranked) -> Result<BlockId, Option<BlockId>> {
        let Some((first, &block)) = self.tree.range(..=peer).next_back() else {
            return Err(None);
        };
        if first.rank.level() == peer.rank.level() {
            Ok(block)
        } else {
            Err(Some(block))
        }
    }

    /// Adds a peer to a block or, where that is full, to a new one; returns which.
    fn insert_in(&mut self, slots: &mut Slots, peer: Ranked, block_id: BlockId) -> BlockId {
        let block = self.block_mut(block_id);
        let place = block.place_for(slots, peer);
        if block.len() < ROOM {
            block.insert(place, peer.id);
            slots.marks_mut(peer.id).block = Some(block_id);
            return block_id;
        }
        match place {
            ROOM => self.add_block(slots, peer, Some(block_id), peer.id),
            0 => self.push_front(slots, peer, block_id),
            _ => {
                let worse = self.split(slots, block_id);
                let half = if place <= ROOM / 2 { block_id } else { worse };
                self.insert_in(slots, peer, half)
            }
        }
    }

    /// Makes a block of its own for a peer that is better than all of a full one, and gives it the full one's key.
    fn push_front(&mut self, slots: &mut Slots, peer: Ranked, full: BlockId) -> BlockId {
        let key = self.first(full);
        self.firsts[full.place()] = slots.ranked(self.block(full).ids[0]);
        self.tree.insert(self.first(full), full);
        let better = self.block(full).better;
        self.add_block(slots, key, better, peer.id)
    }

    /// Moves the worse half of a full block to a new one.
    fn split(&mut self, slots: &mut Slots, block_id: BlockId) -> BlockId {
        let worse = self.block_mut(block_id).split_off(ROOM / 2);
        let first = slots.ranked(worse[0]);
        let new = self.link_block(first, Some(block_id), &worse);
        self.tree.insert(first, new);
        worse.into_iter().for_each(|id| slots.marks_mut(id).block = Some(new));
        new
    }

    /// Joins a small block with one of its neighbours of its level, if that has room.
    fn join(&mut self, slots: &mut Slots, block_id: BlockId) {
        let level = self.first(block_id).rank.level();
        let block = self.block(block_id);
        let is_joined = |&other: &BlockId| {
            let has_room = self.block(other).len() + FEW <= JOINED;
            has_room && self.first(other).rank.level() == level
        };
        if let Some(worse) = block.worse.filter(is_joined) {
            self.pour(slots, worse, block_id);
        } else if let Some(better) = block.better.filter(is_joined) {
            self.pour(slots, block_id, better);
        }
    }

    /// Moves all of a block to the end of the one before it.
    fn pour(&mut self, slots: &mut Slots, from: BlockId, to: BlockId) {
        let moved = self.block_mut(from).split_off(0);
        let block = self.block_mut(to);
        for id in moved {
            block.insert(block.len(), id);
            slots.marks_mut(id).block = Some(to);
        }
        self.drop_block(from);
    }

    fn add_block(&mut self, slots: &mut Slots, first: Ranked, better: Option<BlockId>, id: PeerId) -> BlockId {
        let block = self.link_block(first, better, &[id]);
        self.tree.insert(first, block);
        slots.marks_mut(id).block = Some(block);
        block
    }

    /// Makes a block behind another; it is not in the tree yet.
    fn link_block(&mut self, first: Ranked, better: Option<BlockId>, ids: &[PeerId]) -> BlockId {
        let worse = better.map_or(self.best, |better| self.block(better).worse);
        let block = Block::new(ids, better, worse);
        let block_id = if let Some(block_id) = self.free.pop() {
            self.blocks[block_id.place()] = block;
            self.firsts[block_id.place()] = first;
            block_id
        } else {
            self.blocks.push(block);
            self.firsts.push(first);
            BlockId::at(self.blocks.len() - 1)
        };
        self.link(better, Some(block_id));
        self.link(Some(block_id), worse);
        block_id
    }

    fn drop_block(&mut self, block_id: BlockId) {
        let &Block { better, worse, .. } = self.block(block_id);
        self.link(better, worse);
        self.tree.remove(&self.first(block_id));
        self.free.push(block_id);
    }

    /// Makes neighbours of two blocks, or of one and an end.
    fn link(&mut self, better: Option<BlockId>, worse: Option<BlockId>) {
        match better {
            Some(better) => self.block_mut(better).worse = worse,
            None => self.best = worse,
        }
        match worse {
            Some(worse) => self.block_mut(worse).better = better,
            None => self.worst = better,
        }
    }
}

impl Block {
    fn new(ids: &[PeerId], better: Option<BlockId>, worse: Option<BlockId>) -> Self {
        let mut block = Self {
            ids: [PeerId::FIRST; ROOM],
            len: 0,
            better,
            worse,
        };
        block.ids[..ids.len()].copy_from_slice(ids);
        block.set_len(ids.len());
        block
    }

    fn len(&self) -> usize {
        usize::try_from(self.len).unwrap_or(ROOM).min(ROOM)
    }

    fn ids(&self) -> &[PeerId] {
        &self.ids[..self.len()]
    }

    /// Where a peer of this rank belongs; asks the ends first.
    fn place_for(&self, slots: &Slots, peer: Ranked) -> usize {
        let is_better = |&other: &PeerId| slots.ranked(other) < peer;
        match self.ids() {
            [] => 0,
            [.., worst] if is_better(worst) => self.len(),
            [best, ..] if !is_better(best) => 0,
            ids => ids.partition_point(is_better),
        }
    }

    fn insert(&mut self, place: usize, id: PeerId) {
        let len = self.len();
        for to in (place..len).rev() {
            self.ids[to + 1] = self.ids[to];
        }
        self.ids[place] = id;
        self.set_len(len + 1);
    }

    fn remove(&mut self, id: PeerId) {
        let len = self.len();
        if let Some(place) = self.ids().iter().position(|&other| other == id) {
            for to in place..len - 1 {
                self.ids[to] = self.ids[to + 1];
            }
            self.set_len(len - 1);
        }
    }

    fn split_off(&mut self, at: usize) -> Vec<PeerId> {
        let rest = self.ids()[at..].to_vec();
        self.set_len(at);
        rest
    }

    fn set_len(&mut self, len: usize) {
        self.len = u32::try_from(len).unwrap_or(0);
    }
}

impl Walk<'_> {
    fn next_elsewhere(&mut self) -> Option<PeerId> {
        loop {
            let slots = self.slots;
            let untried = self.in_index.find(|&id| slots.is_untried(id));
            if untried.is_some() {
                return untried;
            }
            self.read_on()?;
            if let Some(&id) = self.in_block.next() {
                return Some(id);
            }
        }
    }

    /// Goes on to the next few peers, perhaps none; `None` at the end.
    fn read_on(&mut self) -> Option<()> {
        let is_better = |block| self.order.first(block).rank.level() < Level::UNTRIED;
        if let Some(place) = self.next_place.filter(|_| !self.next_block.is_some_and(is_better)) {
            let untried = self.slots.untried_from(place);
            self.next_place = untried.map(|(_, behind)| behind);
            let (seats, _) = untried.unwrap_or_default();
            self.in_index = Few::of(seats);
            self.slots.touch(self.in_index.clone());
            return Some(());
        }
        let block = self.order.block(self.next_block?);
        if let Some(next) = block.worse {
            self.slots.touch(self.order.block(next).ids().iter().copied());
        }
        self.in_block = block.ids().iter();
        self.next_block = block.worse;
        Some(())
    }
}

impl Few {
    /// Without a branch, as no processor could tell which seats are taken: it would go ahead in vain half of the time.
    fn of(seats: &[Seat]) -> Self {
        let mut few = Self::default();
        for seat in seats.iter().take(SEATS) {
            few.ids[few.len] = seat.id.unwrap_or(PeerId::FIRST);
            few.len += usize::from(seat.id.is_some());
        }
        few
    }
}

impl Default for Few {
    fn default() -> Self {
        Self {
            ids: [PeerId::FIRST; SEATS],
            next: 0,
            len: 0,
        }
    }
}

impl Iterator for Few {
    type Item = PeerId;

    fn next(&mut self) -> Option<PeerId> {
        let id = *self.ids[..self.len].get(self.next)?;
        self.next += 1;
        Some(id)
    }
}

impl Iterator for Walk<'_> {
    type Item = PeerId;

    #[inline]
    fn next(&mut self) -> Option<PeerId> {
        self.in_block.next().copied().or_else(|| self.next_elsewhere())
    }
}

impl BlockId {
    fn at(place: usize) -> Self {
        let number = u32::try_from(place + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("there are fewer blocks than peers"))
    }

    fn place(self) -> usize {
        index(self.0.get() - 1)
    }
}

#[cfg(any(test, feature = "internals"))]
impl Order {
    /// Panics unless the order is a full sort of these peers, and the blocks are as they should be.
    pub(crate) fn check(&self, slots: &Slots, mut listed: Vec<Ranked>) {
        listed.sort_unstable();
        assert!(self.iter(slots).eq(listed.iter().map(|peer| peer.id)));
        let tried = listed.iter().filter(|peer| peer.rank.level() != Level::UNTRIED);
        assert!(self.tried_from_worst().eq(tried.rev().map(|peer| peer.id)));
        assert_eq!(self.tree.len() + self.free.len(), self.blocks.len());
        let linked = std::iter::successors(self.best, |&block| self.block(block).worse);
        assert!(self.tree.values().copied().eq(linked));
        let (mut until, mut level) = (None, None);
        for (&first, &block_id) in self.tree.iter().rev() {
            assert_eq!(self.first(block_id), first);
            assert!(!self.block(block_id).ids().is_empty());
            for &id in self.block(block_id).ids() {
                assert_eq!(slots.marks(id).block, Some(block_id));
                let ranked = slots.ranked(id);
                assert!(first <= ranked && until.is_none_or(|until| ranked < until));
                assert_eq!(ranked.rank.level(), first.rank.level());
            }
            assert!(level == Some(first.rank.level()) || level.is_none_or(|level: Level| first.rank.level() < level));
            (until, level) = (Some(first), Some(first.rank.level()));
        }
    }
}
