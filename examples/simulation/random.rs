//! [`Random`]: the random choices of an experiment itself, replayed by its seed.

use std::ops::Range;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): small, and the same in
/// every build. Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of one seed. Each `purpose` has numbers of its own, so that what one part of an experiment draws does
    /// not change what another part gets.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut random = Self(seed);
        for byte in purpose.bytes() {
            random.0 = random.next_u64() ^ u64::from(byte);
        }
        random
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range, each about as likely as the others (exactly so if its length is a power of two). 0 stands
    /// for an empty range.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The high half of the product is below the limit, so it fits.
        let product = u128::from(self.next_u64()) * u128::from(limit);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// An index of the range, which must not be empty.
    pub fn index(&mut self, range: Range<usize>) -> usize {
        let length = u64::try_from(range.len()).unwrap_or(u64::MAX);
        range.start + usize::try_from(self.below(length)).unwrap_or(0)
    }

    /// A number from 0 to below 1.
    pub fn share(&mut self) -> f64 {
        // The 53 bits that a double holds exactly.
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Puts the items into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(0..last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs for seed 0 of the authors' reference code.
    #[test]
    fn it_is_splitmix64() {
        let mut random = Random(0);
        assert_eq!(random.next_u64(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.next_u64(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn what_is_drawn_is_in_its_range_and_reaches_both_ends() {
        let mut random = Random::new(1, "test");
        let drawn: Vec<usize> = (0..1_000).map(|_| random.index(3..7)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&6)));
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&random.share())));
    }

    #[test]
    fn a_shuffle_keeps_the_items_and_moves_some() {
        let mut items: Vec<usize> = (0..100).collect();
        Random::new(1, "test").shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert!(items.into_iter().eq(0..100));
    }

    #[test]
    fn seeds_and_purposes_draw_differently() {
        let first = |seed, purpose| Random::new(seed, purpose).next_u64();
        assert_ne!(first(1, "a"), first(2, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
    }
}
