//! Randomness that can be replayed: everything drawn follows from one seed, by the same algorithm in every build.

use std::net::IpAddr;
use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, 2014): fast, seedable, good enough to draw peers and jitter with. Nothing secret
/// is made from it.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
    key: u64,
}

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self { state: seed, key: 0 };
        random.key = random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A uniform index below `len`, which must not be 0.
    pub(crate) fn below(&mut self, len: usize) -> usize {
        // Lemire's multiplication: the bias is under len / 2^64.
        let wide = u128::from(self.next()) * u128::try_from(len).unwrap_or(u128::MAX);
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// True with this probability.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        let draw = u32::try_from(self.next() >> 32).unwrap_or(0);
        f64::from(draw) < probability * (f64::from(u32::MAX) + 1.0)
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// `time` multiplied by a uniform factor of 0.75 to 1.25.
    pub(crate) fn jittered(&mut self, time: Duration) -> Duration {
        let half = time / 2;
        let least = time.saturating_sub(half / 2);
        least.saturating_add(self.part_of(half))
    }

    /// A uniform part of `time`, less than all of it.
    pub(crate) fn part_of(&mut self, time: Duration) -> Duration {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let part = (u128::from(nanos) * u128::from(self.next())) >> 64;
        Duration::from_nanos(u64::try_from(part).unwrap_or(0))
    }

    /// A keyed hash of an address: breaks ties in an order that an outsider cannot foresee.
    pub(crate) fn tie(&self, ip: IpAddr) -> u32 {
        let bits = ip.to_canonical();
        let bits = match bits {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        let [high, low] = [bits >> 64, bits & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0));
        let hash = mix(mix(self.key ^ low).wrapping_add(GAMMA) ^ high);
        u32::try_from(hash >> 32).unwrap_or(0)
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
