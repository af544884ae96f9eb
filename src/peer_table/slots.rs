//! The arena that holds the entries. A peer keeps its slot as long as it is known, so that a cursor over the slots can
//! rest while the table changes.

use crate::peer_table::entry::Entry;

/// Names a slot. A slot is used again once its peer is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PeerId(u32);

#[derive(Debug, Default)]
pub(crate) struct Slots {
    entries: Vec<Option<Entry>>,
    free: Vec<PeerId>,
}

impl Slots {
    pub(crate) fn insert(&mut self, entry: Entry) -> PeerId {
        if let Some(id) = self.free.pop() {
            self.entries[id.place()] = Some(entry);
            return id;
        }
        let id = u32::try_from(self.entries.len()).expect("memory ends before 2^32 peers");
        self.entries.push(Some(entry));
        PeerId(id)
    }

    pub(crate) fn remove(&mut self, id: PeerId) -> Option<Entry> {
        let entry = self.entries.get_mut(id.place())?.take()?;
        self.free.push(id);
        Some(entry)
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

    /// The slots from `cursor` on, empty ones as `None`.
    pub(crate) fn from(&self, cursor: usize) -> impl Iterator<Item = Option<&Entry>> {
        self.entries.iter().skip(cursor).map(Option::as_ref)
    }

    #[cfg(test)]
    pub(crate) fn iter_with_ids(&self) -> impl Iterator<Item = (PeerId, &Entry)> {
        (0..)
            .map(PeerId)
            .zip(&self.entries)
            .filter_map(|(id, entry)| Some((id, entry.as_ref()?)))
    }
}

impl PeerId {
    fn place(self) -> usize {
        usize::try_from(self.0).expect("an address space has 32 bits or more")
    }
}
