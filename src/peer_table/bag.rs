//! A set of numbered things to draw from: adding, removing and drawing take constant time.

/// Something that has a small number of its own.
pub(crate) trait Numbered: Copy {
    fn number(self) -> usize;
}

/// Several things to draw from. Where each of them stands is kept outside, in one [`Positions`] for all bags that a
/// thing moves between, since it is in one of them at a time.
#[derive(Debug)]
pub(crate) struct Bag<T>(Vec<T>);

/// Where each thing stands in its bag, by its number.
#[derive(Debug, Default)]
pub(crate) struct Positions(Vec<u32>);

impl<T> Default for Bag<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Numbered> Bag<T> {
    pub(crate) fn members(&self) -> &[T] {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn insert(&mut self, thing: T, positions: &mut Positions) {
        positions.set(thing.number(), self.0.len());
        self.0.push(thing);
    }

    /// Swaps the members at two positions.
    pub(crate) fn swap(&mut self, one: usize, other: usize, positions: &mut Positions) {
        self.0.swap(one, other);
        positions.set(self.0[one].number(), one);
        positions.set(self.0[other].number(), other);
    }

    /// Removes a member; the last one takes its position.
    pub(crate) fn remove(&mut self, thing: T, positions: &mut Positions) {
        let position = positions.get(thing.number());
        self.0.swap_remove(position);
        if let Some(moved) = self.0.get(position) {
            positions.set(moved.number(), position);
        }
        // A bag that is empty again gives its memory back: most subnets have a moment's members at most.
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }
}

impl Positions {
    fn get(&self, number: usize) -> usize {
        self.0[number].try_into().unwrap_or(usize::MAX)
    }

    fn set(&mut self, number: usize, position: usize) {
        if number >= self.0.len() {
            self.0.resize(number + 1, 0);
        }
        self.0[number] = u32::try_from(position).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests;
