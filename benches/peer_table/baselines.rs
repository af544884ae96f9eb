//! Simpler ways to keep peers, with none of the table's rules.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::setup::Random;

/// How good a peer is: the least is the best. A streak, then a time.
type Key = (u32, i64);

const WHILE_CONNECTED: Key = (u32::MAX, 0);

/// Keys as a list of mixed peers has them.
fn keys() -> impl Iterator<Item = Key> {
    let mut random = Random::new(99);
    std::iter::repeat_with(move || {
        let streak = u32::try_from(random.below(5)).expect("it is below 5");
        (streak, i64::try_from(random.below(5_000_000)).expect("it is small"))
    })
}

/// An index from address to key, and one that is in order.
pub(crate) struct Bare {
    keys: HashMap<IpAddr, Key>,
    order: BTreeSet<(Key, IpAddr)>,
    now: i64,
}

impl Bare {
    pub(crate) fn new(ips: &[IpAddr]) -> Self {
        let mut bare = Self {
            keys: HashMap::new(),
            order: BTreeSet::new(),
            now: 5_000_000,
        };
        for (&ip, key) in ips.iter().zip(keys()) {
            bare.keys.insert(ip, key);
            bare.order.insert((key, ip));
        }
        bare
    }

    pub(crate) fn best(&self) -> Option<IpAddr> {
        self.order.first().map(|&(_, ip)| ip)
    }

    pub(crate) fn best_first(&self) -> impl Iterator<Item = IpAddr> {
        self.order.iter().map(|&(_, ip)| ip)
    }

    /// The best is on nobody's list while it is dialed.
    pub(crate) fn start_dial(&mut self) -> IpAddr {
        let (key, ip) = self.order.pop_first().expect("there are peers");
        self.keys.insert(ip, (key.0, WHILE_CONNECTED.1));
        ip
    }

    pub(crate) fn fail(&mut self, ip: IpAddr) {
        self.now += 1;
        let now = self.now;
        let key = self.keys.get_mut(&ip).expect("it is known");
        *key = (key.0 + 1, now);
        self.order.insert((*key, ip));
    }

    pub(crate) fn alive(&mut self, ip: IpAddr) {
        let key = self.keys.get_mut(&ip).expect("it is known");
        *key = (0, -self.now);
        self.order.insert((*key, ip));
    }

    /// Goes behind the others, so that each is dialed in its turn.
    pub(crate) fn close(&mut self, ip: IpAddr) {
        self.now += 1;
        let key = self.keys.get_mut(&ip).expect("it is known");
        self.order.remove(&(*key, ip));
        *key = (5, self.now);
        self.order.insert((*key, ip));
    }

    /// Whether it is new.
    pub(crate) fn add(&mut self, ip: IpAddr) -> bool {
        if self.keys.contains_key(&ip) {
            return false;
        }
        self.now += 1;
        let key = (2, self.now);
        self.keys.insert(ip, key);
        self.order.insert((key, ip))
    }

    pub(crate) fn keep_bound(&mut self, limit: usize) {
        while self.keys.len() > limit {
            let (_, ip) = self.order.pop_last().expect("there are peers");
            self.keys.remove(&ip);
        }
    }
}

/// One hash map: each question of order is a scan or a sort of all peers.
pub(crate) struct Plain {
    keys: HashMap<IpAddr, Key>,
    now: i64,
}

impl Plain {
    pub(crate) fn new(ips: &[IpAddr]) -> Self {
        Self {
            keys: ips.iter().copied().zip(keys()).collect(),
            now: 5_000_000,
        }
    }

    pub(crate) fn find(&self, ip: IpAddr) -> Option<Key> {
        self.keys.get(&ip).copied()
    }

    pub(crate) fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.keys.keys().copied()
    }

    pub(crate) fn best(&self) -> IpAddr {
        let best = self.keys.iter().min_by_key(|(_, key)| **key);
        *best.expect("there are peers").0
    }

    pub(crate) fn best_of(&self, count: usize) -> Vec<IpAddr> {
        let mut all: Vec<_> = self.keys.iter().map(|(&ip, &key)| (key, ip)).collect();
        let count = count.min(all.len());
        all.select_nth_unstable(count - 1);
        all.truncate(count);
        all.sort_unstable();
        all.into_iter().map(|(_, ip)| ip).collect()
    }

    pub(crate) fn sorted(&self) -> Vec<IpAddr> {
        let mut all: Vec<_> = self.keys.iter().map(|(&ip, &key)| (key, ip)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, ip)| ip).collect()
    }

    pub(crate) fn fail(&mut self, ip: IpAddr) {
        self.now += 1;
        let key = self.keys.get_mut(&ip).expect("it is known");
        *key = (key.0 + 1, self.now);
    }

    pub(crate) fn close(&mut self, ip: IpAddr) {
        self.now += 1;
        *self.keys.get_mut(&ip).expect("it is known") = (5, self.now);
    }

    pub(crate) fn add(&mut self, ip: IpAddr) {
        self.now += 1;
        self.keys.entry(ip).or_insert((2, self.now));
    }

    pub(crate) fn forget(&mut self, ip: IpAddr) {
        self.keys.remove(&ip);
    }

    pub(crate) fn forget_worst(&mut self) {
        let worst = self.keys.iter().max_by_key(|(_, key)| **key);
        let worst = *worst.expect("there are peers").0;
        self.forget(worst);
    }
}
