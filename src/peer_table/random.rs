//! Randomness that can be replayed: everything drawn follows from one seed.

use std::hash::{DefaultHasher, Hasher as _};
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
