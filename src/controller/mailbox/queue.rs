//! A queue whose entries are also found by their keys.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

#[derive(Debug)]
pub(super) struct Queue<K, V> {
    /// By number, in the order of their coming.
    entries: BTreeMap<u64, (K, V)>,
    numbers: HashMap<K, u64>,
    next: u64,
}

impl<K, V> Default for Queue<K, V> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            numbers: HashMap::new(),
            next: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, V> Queue<K, V> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, key: K) -> bool {
        self.numbers.contains_key(&key)
    }

    /// The entry with this key; a new one at the end of the queue where there is none.
    pub(super) fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        let number = *self.numbers.entry(key).or_insert(self.next);
        self.next = self.next.max(number + 1);
        let (_, value) = self.entries.entry(number).or_insert_with(|| (key, new()));
        value
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let number = self.numbers.remove(&key)?;
        self.entries.remove(&number).map(|(_, value)| value)
    }

    pub(super) fn pop_first(&mut self) -> Option<(K, V)> {
        let (_, (key, value)) = self.entries.pop_first()?;
        self.numbers.remove(&key);
        Some((key, value))
    }
}

#[cfg(test)]
mod tests;
