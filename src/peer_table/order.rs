//! All peers that may be told of, from best to worst.
//!
//! The order is cut into blocks of up to fifteen ids, a cache line each, which a tree finds by the least rank that a
//! block may hold. A peer knows its block, so taking it out touches that line alone, and the tree only where a block
//! comes or goes. Ranks stand with the peers: putting one in asks a few of its new neighbours, which are those that
//! were last put there where peers come to the end of their class, as whoever just failed or was just alive does.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Bound::{Excluded, Unbounded};

use crate::peer_table::rank::{Rank, Ranked};
use crate::peer_table::slots::{PeerId, Slots};

/// How many ids a block holds.
const ROOM: usize = 15;
/// A block that shrinks to this joins a neighbour, …
const FEW: usize = 3;
/// … if they then hold no more than this.
const JOINED: usize = 12;

/// Names a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockId(NonZeroU32);

#[derive(Debug)]
pub(crate) struct Order {
    blocks: Vec<Block>,
    /// Of each block, the key in the tree: no peer of the block is better, and none of the blocks before is as bad.
    firsts: Vec<Ranked>,
    free: Vec<BlockId>,
    /// There is always the block that begins with [`FIRST`].
    tree: BTreeMap<Ranked, BlockId>,
    len: usize,
}

/// Best first.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Block {
    len: u32,
    ids: [PeerId; ROOM],
}

const FIRST: Ranked = Ranked {
    rank: Rank::BEST,
    id: PeerId::FIRST,
};

impl Order {
    pub(crate) fn new() -> Self {
        let mut order = Self {
            blocks: Vec::new(),
            firsts: Vec::new(),
            free: Vec::new(),
            tree: BTreeMap::new(),
            len: 0,
        };
        order.add_block(FIRST, &[]);
        order
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// From best to worst, or back.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = PeerId> {
        let blocks = self.tree.values().map(|block| self.blocks[block.place()].ids());
        blocks.flat_map(|ids| ids.iter().copied())
    }

    /// Adds many peers at once to an order without any.
    pub(crate) fn fill(&mut self, slots: &mut Slots, mut peers: Vec<Ranked>) {
        debug_assert_eq!(self.len, 0, "it is filled once");
        peers.sort_unstable();
        *self = Self {
            len: peers.len(),
            ..Self::new()
        };
        let mut tree = Vec::with_capacity(peers.len() / ROOM + 1);
        for chunk in peers.chunks(ROOM) {
            let first = if tree.is_empty() { FIRST } else { chunk[0] };
            let ids: Vec<_> = chunk.iter().map(|peer| peer.id).collect();
            let block = if tree.is_empty() {
                self.blocks[0] = Block::new(&ids);
                BlockId::at(0)
            } else {
                self.new_block(first, &ids)
            };
            ids.iter().for_each(|&id| slots.marks_mut(id).block = Some(block));
            tree.push((first, block));
        }
        if !tree.is_empty() {
            // A tree that is made of what is sorted has full nodes.
            self.tree = tree.into_iter().collect();
        }
    }

    /// Adds a peer that has the rank already.
    pub(crate) fn insert(&mut self, slots: &mut Slots, peer: Ranked) {
        self.len += 1;
        let block_id = self.block_for(peer);
        let block = &mut self.blocks[block_id.place()];
        let place = block.place_for(slots, peer);
        if block.ids().len() < ROOM {
            block.insert(place, peer.id);
            slots.marks_mut(peer.id).block = Some(block_id);
        } else if place == ROOM {
            self.insert_behind(slots, peer);
        } else {
            self.split(slots, block_id);
            self.len -= 1;
            self.insert(slots, peer);
        }
    }

    /// Takes a peer out, if it is in.
    pub(crate) fn remove(&mut self, slots: &mut Slots, id: PeerId) {
        let Some(block_id) = slots.marks_mut(id).block.take() else {
            return;
        };
        self.len -= 1;
        let block = &mut self.blocks[block_id.place()];
        block.remove(id);
        match block.ids().len() {
            0 => self.drop_block(block_id),
            FEW => self.join(slots, block_id),
            _ => {}
        }
    }

    fn block_for(&self, peer: Ranked) -> BlockId {
        let found = self.tree.range(..=peer).next_back();
        *found.expect("no rank is better than that of the first block").1
    }

    /// Adds a peer that is worse than all of a full block and better than all of the next.
    fn insert_behind(&mut self, slots: &mut Slots, peer: Ranked) {
        let next = self.tree.range((Excluded(peer), Unbounded)).next();
        let block_id = match next.map(|(&first, &block)| (first, block)) {
            Some((first, next)) if self.blocks[next.place()].ids().len() < ROOM => {
                self.tree.remove(&first);
                self.tree.insert(peer, next);
                self.firsts[next.place()] = peer;
                self.blocks[next.place()].insert(0, peer.id);
                next
            }
            _ => self.add_block(peer, &[peer.id]),
        };
        slots.marks_mut(peer.id).block = Some(block_id);
    }

    /// Moves the worse half of a full block to a new one.
    fn split(&mut self, slots: &mut Slots, block_id: BlockId) {
        let worse = self.blocks[block_id.place()].split_off(ROOM / 2);
        let new = self.add_block(slots.ranked(worse[0]), &worse);
        worse.into_iter().for_each(|id| slots.marks_mut(id).block = Some(new));
    }

    /// Joins a small block with one of its neighbours, if that has room.
    fn join(&mut self, slots: &mut Slots, block_id: BlockId) {
        let first = self.firsts[block_id.place()];
        let has_room = |block: &BlockId| self.blocks[block.place()].ids().len() + FEW <= JOINED;
        let next = self.tree.range((Excluded(first), Unbounded)).next();
        let previous = self.tree.range(..first).next_back();
        let is_next = |next: &&BlockId| has_room(next);
        if let Some(&next) = next.map(|(_, next)| next).filter(is_next) {
            self.pour(slots, next, block_id);
        } else if let Some(&previous) = previous.map(|(_, previous)| previous).filter(is_next) {
            self.pour(slots, block_id, previous);
        }
    }

    /// Moves all of a block to the end of the one before it.
    fn pour(&mut self, slots: &mut Slots, from: BlockId, to: BlockId) {
        let moved = self.blocks[from.place()].split_off(0);
        let block = &mut self.blocks[to.place()];
        for id in moved {
            block.insert(block.ids().len(), id);
            slots.marks_mut(id).block = Some(to);
        }
        self.drop_block(from);
    }

    fn add_block(&mut self, first: Ranked, ids: &[PeerId]) -> BlockId {
        let block_id = self.new_block(first, ids);
        self.tree.insert(first, block_id);
        block_id
    }

    fn new_block(&mut self, first: Ranked, ids: &[PeerId]) -> BlockId {
        if let Some(block_id) = self.free.pop() {
            self.blocks[block_id.place()] = Block::new(ids);
            self.firsts[block_id.place()] = first;
            return block_id;
        }
        self.blocks.push(Block::new(ids));
        self.firsts.push(first);
        BlockId::at(self.blocks.len() - 1)
    }

    /// The first block stays, even without a peer.
    fn drop_block(&mut self, block_id: BlockId) {
        let first = self.firsts[block_id.place()];
        if first != FIRST {
            self.tree.remove(&first);
            self.free.push(block_id);
        }
    }
}

impl Block {
    fn new(ids: &[PeerId]) -> Self {
        let mut block = Self {
            len: 0,
            ids: [PeerId::FIRST; ROOM],
        };
        block.ids[..ids.len()].copy_from_slice(ids);
        block.set_len(ids.len());
        block
    }

    fn ids(&self) -> &[PeerId] {
        &self.ids[..self.len_usize()]
    }

    /// Where a peer of this rank belongs; asks the worst first.
    fn place_for(&self, slots: &Slots, peer: Ranked) -> usize {
        let Some((&worst, better)) = self.ids().split_last() else {
            return 0;
        };
        if slots.ranked(worst) < peer {
            return better.len() + 1;
        }
        better.partition_point(|&other| slots.ranked(other) < peer)
    }

    fn insert(&mut self, place: usize, id: PeerId) {
        let len = self.len_usize();
        self.ids.copy_within(place..len, place + 1);
        self.ids[place] = id;
        self.set_len(len + 1);
    }

    fn remove(&mut self, id: PeerId) {
        let len = self.len_usize();
        if let Some(place) = self.ids().iter().position(|&other| other == id) {
            self.ids.copy_within(place + 1..len, place);
            self.set_len(len - 1);
        }
    }

    fn split_off(&mut self, at: usize) -> Vec<PeerId> {
        let rest = self.ids()[at..].to_vec();
        self.set_len(at);
        rest
    }

    fn len_usize(&self) -> usize {
        usize::try_from(self.len).unwrap_or(ROOM).min(ROOM)
    }

    fn set_len(&mut self, len: usize) {
        self.len = u32::try_from(len).unwrap_or(0);
    }
}

impl BlockId {
    fn at(place: usize) -> Self {
        let number = u32::try_from(place + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("there are fewer blocks than peers"))
    }

    fn place(self) -> usize {
        usize::try_from(self.0.get() - 1).expect("an address space has 32 bits or more")
    }
}

#[cfg(any(test, feature = "internals"))]
impl Order {
    /// Panics unless the order is a full sort of these peers, and the blocks are as they should be.
    pub(crate) fn check(&self, slots: &Slots, mut listed: Vec<Ranked>) {
        listed.sort_unstable();
        assert!(self.iter().eq(listed.iter().map(|peer| peer.id)));
        assert_eq!(self.len, listed.len());
        assert_eq!(self.tree.len() + self.free.len(), self.blocks.len());
        let mut until = None;
        for (&first, &block_id) in self.tree.iter().rev() {
            let block = &self.blocks[block_id.place()];
            assert_eq!(self.firsts[block_id.place()], first);
            assert!(first == FIRST || !block.ids().is_empty());
            for &id in block.ids() {
                assert_eq!(slots.marks(id).block, Some(block_id));
                let ranked = slots.ranked(id);
                assert!(first <= ranked && until.is_none_or(|until| ranked < until));
            }
            until = Some(first);
        }
    }
}
