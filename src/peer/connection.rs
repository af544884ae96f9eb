//! The names of dials and connections.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Names one dial or one inbound socket, from its start to the end of the connection that may come of it.
/// Ids are never used twice, so that whatever speaks of a connection that is over can be told from its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// Something for each of many dials or connections.
pub(crate) type ByConnection<V> = HashMap<ConnectionId, V, BuildHasherDefault<OwnIdHasher>>;

/// Hashes the numbers that this process gives to its own connections. Nobody outside chooses them, so one multiplication
/// spreads them well enough.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnIdHasher(u64);

impl Hasher for OwnIdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Fibonacci hashing: 2^64 over the golden ratio (Knuth, The Art of Computer Programming, 6.4). The map takes its
        // buckets from the low bits, and tells those in one apart by the high ones.
        let spread = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = spread ^ (spread >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
