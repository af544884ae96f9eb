//! The arena that holds the peers, and the way from an address to its peer.
//!
//! A peer keeps its slot as long as it is known, so that a cursor over the slots can rest while the table changes.

use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::peer::Peer;
use crate::peer_table::entry::{Entry, EntryMut, Marks, Record, is_untried};
use crate::peer_table::growth::grow_by_a_quarter;
use crate::peer_table::index::{Index, Seat};
use crate::peer_table::rank::{Rank, Ranked};
use crate::peer_table::rares::Rares;
use crate::peer_table::seats::index;

/// Names a slot. A slot is used again once its peer is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PeerId(NonZeroU32);

#[derive(Debug, Default)]
pub(crate) struct Slots {
    records: Vec<Option<Record>>,
    marks: Vec<Marks>,
    rares: Rares,
    free: Vec<PeerId>,
    index: Index,
}

impl Slots {
    /// Makes room for as many peers as are about to come, and no more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.records.reserve_exact(more);
        self.marks.reserve_exact(more);
    }

    /// Adds a peer whose address is not there yet.
    pub(crate) fn insert(&mut self, peer: Peer, tie: u32) -> PeerId {
        let records = &self.records;
        let is_untried = |id: PeerId| {
            records[id.place()]
                .as_ref()
                .is_some_and(|record| is_untried(&record.peer))
        };
        self.index.reserve(records.len() - self.free.len(), is_untried);
        let record = Some(Record { peer, tie });
        let id = match self.free.pop() {
            Some(id) => {
                self.records[id.place()] = record;
                id
            }
            None => {
                grow_by_a_quarter(&mut self.records);
                grow_by_a_quarter(&mut self.marks);
                self.records.push(record);
                self.marks.push(Marks::default());
                PeerId::last_of(self.records.len())
            }
        };
        self.index.insert(tie, id);
        id
    }

    /// The peer is in no index any more.
    pub(crate) fn remove(&mut self, id: PeerId) {
        let Some(record) = self.records[id.place()].take() else {
            return;
        };
        let marks = std::mem::take(&mut self.marks[id.place()]);
        if let Some(rare) = marks.rare {
            self.rares.remove(rare);
        }
        self.index.remove(record.tie, id);
        self.free.push(id);
    }

    /// The peer with this address, whose tie is `tie`.
    pub(crate) fn find(&self, ip: IpAddr, tie: u32) -> Option<PeerId> {
        self.index.find(tie, |id| self.record(id).peer.ip == ip)
    }

    #[inline]
    pub(crate) fn peer(&self, id: PeerId) -> &Peer {
        &self.record(id).peer
    }

    pub(crate) fn tie(&self, id: PeerId) -> u32 {
        self.record(id).tie
    }

    pub(crate) fn get(&self, id: PeerId) -> Entry<'_> {
        self.entry(self.record(id), &self.marks[id.place()])
    }

    /// What is in the slot now, if it is not that of a peer that was forgotten.
    pub(crate) fn get_if_known(&self, id: PeerId) -> Option<Entry<'_>> {
        let record = self.records[id.place()].as_ref()?;
        Some(self.entry(record, &self.marks[id.place()]))
    }

    pub(crate) fn get_mut(&mut self, id: PeerId) -> EntryMut<'_> {
        let record = self.records[id.place()].as_mut();
        let record = record.expect("ids in the indexes name peers that are known");
        EntryMut::new(record, &mut self.marks[id.place()], &mut self.rares)
    }

    pub(crate) fn marks(&self, id: PeerId) -> &Marks {
        &self.marks[id.place()]
    }

    pub(crate) fn marks_mut(&mut self, id: PeerId) -> &mut Marks {
        &mut self.marks[id.place()]
    }

    pub(crate) fn rank(&self, id: PeerId) -> Rank {
        self.get(id).rank()
    }

    pub(crate) fn ranked(&self, id: PeerId) -> Ranked {
        Ranked {
            rank: self.rank(id),
            id,
        }
    }

    /// Peers that may be told of and were never tried come and go by their tie.
    pub(crate) fn tally_untried(&mut self, id: PeerId, is_more: bool) {
        let tie = self.record(id).tie;
        self.index.tally_untried(tie, is_more);
    }

    /// The next few of these, best first, and others among them, from a place of the index on; and the place behind.
    pub(crate) fn untried_from(&self, place: usize) -> Option<(&[Seat], usize)> {
        let places = self.index.untried_from(place)?;
        let behind = places.end;
        Some((self.index.seats(places), behind))
    }

    pub(crate) fn is_untried(&self, id: PeerId) -> bool {
        is_untried(self.peer(id))
    }

    /// Reads a little of a peer and its marks, so that both are at hand soon.
    pub(crate) fn touch_all(&self, id: PeerId) {
        std::hint::black_box((self.record(id).tie, self.marks(id).seat));
    }

    /// Reads a little of each of these peers, one directly after the other.
    pub(crate) fn touch(&self, ids: impl Iterator<Item = PeerId>) {
        for id in ids {
            std::hint::black_box(self.record(id).tie);
        }
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.records.iter().flatten().map(|record| &record.peer)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = PeerId> {
        (1..=self.records.len())
            .map(PeerId::last_of)
            .filter(|id| self.records[id.place()].is_some())
    }

    /// The slots from `cursor` on, empty ones as `None`.
    pub(crate) fn from(&self, cursor: usize) -> impl Iterator<Item = Option<Entry<'_>>> {
        let slots = self.records.iter().skip(cursor).zip(self.marks.iter().skip(cursor));
        slots.map(|(record, marks)| Some(self.entry(record.as_ref()?, marks)))
    }

    fn entry<'a>(&'a self, record: &'a Record, marks: &'a Marks) -> Entry<'a> {
        Entry {
            peer: &record.peer,
            tie: record.tie,
            marks,
            rares: &self.rares,
        }
    }

    #[inline]
    fn record(&self, id: PeerId) -> &Record {
        let record = self.records[id.place()].as_ref();
        record.expect("ids in the indexes name peers that are known")
    }

    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn check_index(&self) {
        self.index.check(|id| is_untried(&self.record(id).peer));
    }

    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn rares_in_use(&self) -> (usize, usize) {
        let used = self.marks.iter().filter(|marks| marks.rare.is_some());
        (used.count(), self.rares.len())
    }
}

impl PeerId {
    /// No id is smaller.
    pub(crate) const FIRST: Self = Self(NonZeroU32::MIN);
    /// Ids have so many bits; no table can be larger.
    pub(crate) const BITS: u32 = 29;

    pub(crate) fn number(self) -> NonZeroU32 {
        self.0
    }

    /// The id that has this number, which is that of an id.
    pub(crate) fn numbered(number: NonZeroU32) -> Self {
        Self(number)
    }

    fn last_of(len: usize) -> Self {
        let number = u32::try_from(len).ok().and_then(NonZeroU32::new);
        let number = number.filter(|number| number.ilog2() < Self::BITS);
        Self(number.expect("the table keeps fewer peers than there are ids"))
    }

    #[inline]
    fn place(self) -> usize {
        index(self.0.get() - 1)
    }
}
