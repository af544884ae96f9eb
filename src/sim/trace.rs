//! A hash of everything that happened.

/// Two runs that did the same have the same hash. It is as FNV-1a, but takes words; std's hasher may change with its release.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace(u64);

const OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01B3;

impl Trace {
    pub(super) fn new() -> Self {
        Self(OFFSET)
    }

    pub(super) fn add(&mut self, word: u64) {
        // The high bits of a product are its best; the rotation lets them meet the next word.
        self.0 = (self.0.rotate_left(29) ^ word).wrapping_mul(PRIME);
    }

    pub(super) fn hash(self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
