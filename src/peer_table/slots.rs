//! The arena that holds the entries, and the way from an address to its entry.
//!
//! A peer keeps its slot as long as it is known, so that a cursor over the slots can rest while the table changes. The
//! index from addresses holds nothing but ids: it takes a fifth of what a map with its own keys would.

use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::peer_table::entry::Entry;

/// Names a slot. A slot is used again once its peer is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PeerId(NonZeroU32);

#[derive(Debug, Default)]
pub(crate) struct Slots {
    entries: Vec<Option<Entry>>,
    free: Vec<PeerId>,
    /// Open addressing with linear probing; a power of two in length, at most three quarters full. The place to begin
    /// at is that of the entry's tie, a keyed hash that nobody outside can aim at.
    index: Vec<Option<PeerId>>,
}

impl Slots {
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Adds an entry whose address is not there yet.
    pub(crate) fn insert(&mut self, entry: Entry) -> PeerId {
        self.grow_index();
        let tie = entry.tie;
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id.place()] = Some(entry);
                id
            }
            None => {
                self.entries.push(Some(entry));
                PeerId::last_of(self.entries.len())
            }
        };
        self.index_id(tie, id);
        id
    }

    pub(crate) fn remove(&mut self, id: PeerId) -> Option<Entry> {
        let tie = self.entries.get(id.place())?.as_ref()?.tie;
        self.unindex(tie, id);
        self.free.push(id);
        self.entries[id.place()].take()
    }

    /// The peer with this address, whose tie is `tie`.
    pub(crate) fn find(&self, ip: IpAddr, tie: u32) -> Option<PeerId> {
        let mut place = self.home(tie);
        while let Some(id) = *self.index.get(place)? {
            let entry = self.get(id);
            if entry.tie == tie && entry.peer.ip == ip {
                return Some(id);
            }
            place = self.after(place);
        }
        None
    }

    pub(crate) fn get(&self, id: PeerId) -> &Entry {
        self.entries[id.place()]
            .as_ref()
            .expect("ids in the indexes name peers that are known")
    }

    pub(crate) fn get_mut(&mut self, id: PeerId) -> &mut Entry {
        self.entries[id.place()]
            .as_mut()
            .expect("ids in the indexes name peers that are known")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = PeerId> {
        (1..=self.entries.len())
            .map(PeerId::last_of)
            .filter(|id| self.entries[id.place()].is_some())
    }

    /// The slots from `cursor` on, empty ones as `None`.
    pub(crate) fn from(&self, cursor: usize) -> impl Iterator<Item = Option<&Entry>> {
        self.entries.iter().skip(cursor).map(Option::as_ref)
    }

    fn grow_index(&mut self) {
        if (self.len() + 1) * 4 <= self.index.len() * 3 {
            return;
        }
        let len = (self.index.len() * 2).max(16);
        self.index.clear();
        self.index.resize(len, None);
        let ids: Vec<_> = self.ids().collect();
        for id in ids {
            self.index_id(self.get(id).tie, id);
        }
    }

    fn index_id(&mut self, tie: u32, id: PeerId) {
        let mut place = self.home(tie);
        while self.index[place].is_some() {
            place = self.after(place);
        }
        self.index[place] = Some(id);
    }

    /// Takes an id out and moves those behind it up, so that no search ends at the gap too early.
    fn unindex(&mut self, tie: u32, id: PeerId) {
        let mut gap = self.home(tie);
        while self.index[gap] != Some(id) {
            gap = self.after(gap);
        }
        let mut place = gap;
        loop {
            place = self.after(place);
            let Some(next) = self.index[place] else { break };
            let home = self.home(self.get(next).tie);
            if self.distance(home, place) >= self.distance(gap, place) {
                self.index[gap] = Some(next);
                gap = place;
            }
        }
        self.index[gap] = None;
    }

    fn home(&self, tie: u32) -> usize {
        usize::try_from(tie).unwrap_or(0) & self.index.len().wrapping_sub(1)
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.index.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.index.len() - 1)
    }
}

impl PeerId {
    fn last_of(len: usize) -> Self {
        let number = u32::try_from(len).ok().and_then(NonZeroU32::new);
        Self(number.expect("memory ends before 2^32 peers"))
    }

    fn place(self) -> usize {
        usize::try_from(self.0.get() - 1).expect("an address space has 32 bits or more")
    }
}
