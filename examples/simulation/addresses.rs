//! [`Addresses`]: where the nodes of an experiment live.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::random::Random;

/// Hands out addresses that look like those of the Internet, each once, and the same for the same seed.
///
/// Peers of real networks are spread unevenly: many /16 subnets hold one of them, a few (those of hosting companies) hold
/// dozens. [`spread`](Self::spread) follows Zipf's law: about one subnet in k holds k nodes or more, up to 128. Of 1,000
/// nodes about 95 are alone in their subnet, and about 300 live in three large ones.
#[derive(Debug)]
pub struct Addresses {
    random: Random,
    /// The first two octets of subnets that are in use.
    subnets: HashSet<[u8; 2]>,
    /// Subnets of `spread` so far.
    drawn: u32,
    /// Addresses of its last subnet that are not handed out yet.
    rest: Vec<IpAddr>,
}

/// The largest subnet of [`Addresses::spread`].
pub const LARGEST_SUBNET: usize = 128;

/// Blocks of which at least a part is private, reserved or otherwise not what a peer on the Internet has.
const SPECIAL_BLOCKS: [u8; 8] = [10, 100, 127, 169, 172, 192, 198, 203];

impl Addresses {
    /// All addresses of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed, "addresses"),
            subnets: HashSet::new(),
            drawn: 0,
            rest: Vec::new(),
        }
    }

    /// So many addresses, spread over subnets as in real networks, in random order.
    pub fn spread(&mut self, count: usize) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = (0..count).map(|_| self.draw()).collect();
        self.random.shuffle(&mut addresses);
        addresses
    }

    /// One address more, of the subnet of the last one while it has room.
    pub fn draw(&mut self) -> IpAddr {
        if self.rest.is_empty() {
            self.drawn += 1;
            self.rest = self.subnet(subnet_size(self.drawn));
        }
        self.rest.pop().expect("a subnet has at least one address")
    }

    /// So many addresses of one new /16, in random order. At most 60,000.
    pub fn subnet(&mut self, count: usize) -> Vec<IpAddr> {
        let [first, second] = self.unused_subnet();
        let mut taken = HashSet::new();
        while taken.len() < count.min(60_000) {
            taken.insert((self.octet(0..256), self.octet(1..255)));
        }
        let mut addresses: Vec<IpAddr> = taken
            .into_iter()
            .map(|(third, fourth)| Ipv4Addr::new(first, second, third, fourth).into())
            .collect();
        // The order of a set differs from run to run.
        addresses.sort_unstable();
        self.random.shuffle(&mut addresses);
        addresses
    }

    fn unused_subnet(&mut self) -> [u8; 2] {
        loop {
            let subnet = [self.octet(1..224), self.octet(0..256)];
            if !SPECIAL_BLOCKS.contains(&subnet[0]) && self.subnets.insert(subnet) {
                return subnet;
            }
        }
    }

    fn octet(&mut self, range: std::ops::Range<usize>) -> u8 {
        u8::try_from(self.random.index(range)).expect("an octet's range")
    }
}

/// How many nodes the subnet with this number has. The multiples of the golden ratio, without their whole parts, fill the
/// range from 0 to 1 evenly however many there are, so networks of all seeds have the same sizes of subnets.
fn subnet_size(number: u32) -> usize {
    const GOLDEN_RATIO: f64 = 1.618_033_988_749_895;
    let share = (f64::from(number) * GOLDEN_RATIO).fract();
    (1..LARGEST_SUBNET)
        .find(|&size| share * (size + 1) as f64 > 1.0)
        .unwrap_or(LARGEST_SUBNET)
}

/// The /16 of an IPv4 address, the /32 of an IPv6 address: what a controller takes for one subnet.
#[must_use]
pub fn subnet_of(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..2].to_vec(),
        IpAddr::V6(ip) => ip.octets()[..4].to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn subnet_sizes(addresses: &[IpAddr]) -> BTreeMap<Vec<u8>, usize> {
        let mut sizes = BTreeMap::new();
        for &ip in addresses {
            *sizes.entry(subnet_of(ip)).or_default() += 1;
        }
        sizes
    }

    #[test]
    fn some_nodes_are_alone_and_some_are_among_many() {
        for seed in 0..5 {
            let addresses = Addresses::new(seed).spread(1_000);
            let sizes = subnet_sizes(&addresses);
            let alone = sizes.values().filter(|&&size| size == 1).count();
            assert!((60..140).contains(&alone), "{alone} alone");
            let crowded: usize = sizes.values().filter(|&&size| size > 64).sum();
            assert!((65..400).contains(&crowded), "{crowded} of large subnets");
            assert!(sizes.values().all(|&size| size <= LARGEST_SUBNET));
        }
    }

    #[test]
    fn no_address_is_special_or_handed_out_twice() {
        let mut addresses = Addresses::new(1);
        let mut all = addresses.spread(20_000);
        all.extend(addresses.subnet(5_000));
        let distinct: HashSet<IpAddr> = all.iter().copied().collect();
        assert_eq!(distinct.len(), 25_000);
        assert!(all.iter().all(|ip| !SPECIAL_BLOCKS.contains(&subnet_of(*ip)[0])));
    }

    #[test]
    fn a_seed_gives_the_same_addresses_and_another_seed_others() {
        assert_eq!(Addresses::new(1).spread(500), Addresses::new(1).spread(500));
        assert_ne!(Addresses::new(1).spread(500), Addresses::new(2).spread(500));
    }

    #[test]
    fn a_subnet_is_one_subnet_of_its_own() {
        let mut addresses = Addresses::new(1);
        let (first, second) = (addresses.subnet(2_000), addresses.subnet(3));
        assert_eq!(subnet_sizes(&first).into_values().collect::<Vec<_>>(), [2_000]);
        assert_ne!(subnet_of(first[0]), subnet_of(second[0]));
    }
}
