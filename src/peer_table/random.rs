//! Randomness that can be replayed: everything drawn follows from one seed.

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;
use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, 2014): fast, seedable, good enough to draw peers and jitter with. Nothing secret
/// is made from it.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
    key: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self { state: seed, key: 0 };
        random.key = random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A uniform index below `len`, which must not be 0.
    pub(crate) fn below(&mut self, len: usize) -> usize {
        // Lemire's multiplication: the bias is under len / 2^64.
        let wide = u128::from(self.next()) * u128::try_from(len).unwrap_or(u128::MAX);
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// `pause` times a uniform factor of 1.0 to 1.25.
    pub(crate) fn jittered(&mut self, pause: Duration) -> Duration {
        let seconds = pause.as_secs().saturating_mul(1_000_000_000);
        let quarter = seconds.saturating_add(u64::from(pause.subsec_nanos())) / 4;
        let share = (u128::from(quarter) * u128::from(self.next())) >> 64;
        pause.saturating_add(Duration::from_nanos(u64::try_from(share).unwrap_or(0)))
    }

    /// A keyed hash of an address: breaks ties in an order that nobody outside can foresee.
    pub(crate) fn tie(&self, ip: IpAddr) -> u32 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.key);
        match ip {
            IpAddr::V4(ip) => hasher.write_u32(ip.to_bits()),
            IpAddr::V6(ip) => hasher.write_u128(ip.to_bits()),
        }
        u32::try_from(hasher.finish() >> 32).unwrap_or(0)
    }
}

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
