//! Eviction: with `evict_incoming`, a newcomer that finds `max_incoming_connections` reached takes the slot of another
//! incoming connection. Otherwise a node that many start from is full for ever, and newcomers stay alone.
//!
//! Evictions are few, so that a host gains little by connecting again and again: one a second, and one per
//! `max_retry_backoff` for each globally reachable /24 (/48). The subnet that holds most slots loses one, so a single
//! network cannot take over the slots of all others.
//!
//! A reserved peer gets in so whatever `evict_incoming` says, at no pace, and its own connection is not ended.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::change::Cause;
use crate::peer::PeerId;
use crate::peer_table::PeerTable;
use crate::peer_table::subnet::{Subnet, is_global};
use crate::peer_table::time::{Moment, Now};

/// The least time between two evictions.
const PACE: Duration = Duration::from_secs(1);
/// So many subnets are remembered to have gained a slot: all of the last hour. Where `max_retry_backoff` is longer, those
/// whose pause ends first are forgotten early.
pub(super) const MAX_SUBNETS: usize = 3_600;

#[derive(Debug)]
pub(crate) struct Eviction {
    /// No eviction before.
    next: Moment,
    /// Subnets that have gained a slot, and until when they gain no other.
    gained: BTreeMap<Subnet, Moment>,
    /// The same by time. Pauses may differ in length, as the config can change.
    ends: BTreeSet<(Moment, Subnet)>,
}

impl Default for Eviction {
    fn default() -> Self {
        Self {
            next: Moment::START,
            gained: BTreeMap::new(),
            ends: BTreeSet::new(),
        }
    }
}

impl Eviction {
    pub(super) fn may_gain(&self, now: Now, ip: IpAddr) -> bool {
        let until = self.gained.get(&Subnet::of_inbound(ip));
        self.next <= now.moment() && until.is_none_or(|&until| until <= now.moment())
    }

    pub(super) fn on_gain(&mut self, now: Now, ip: IpAddr, pause: Duration) {
        self.next = now.after(PACE);
        while let Some(&(until, subnet)) = self.ends.first()
            && (until <= now.moment() || self.ends.len() >= MAX_SUBNETS)
        {
            self.ends.pop_first();
            self.gained.remove(&subnet);
        }
        if is_global(ip) {
            let (until, subnet) = (now.after(pause), Subnet::of_inbound(ip));
            self.gained.insert(subnet, until);
            self.ends.insert((until, subnet));
        }
    }
}

#[cfg(test)]
impl Eviction {
    pub(super) fn remembered(&self) -> usize {
        assert_eq!(self.ends.len(), self.gained.len());
        self.ends.len()
    }
}

impl PeerTable {
    /// Whether a newcomer from `ip` may take the slot of another incoming connection. Asked last, when nothing else is
    /// in its way. A reserved one always may, at no pace.
    pub(super) fn may_evict(&self, now: Now, ip: IpAddr) -> bool {
        let may_gain = self.config.evict_incoming && self.eviction.may_gain(now, ip);
        (may_gain || self.is_reserved(ip))
            && self.hold.is_none()
            && !self.is_rotating()
            && self.peers.leased_incoming().next().is_some()
    }

    /// Makes room for a newcomer from `ip`.
    pub(super) fn evict(&mut self, now: Now, ip: IpAddr) {
        debug_assert!(self.may_evict(now, ip), "{ip} takes a slot that it may not");
        let Some(victim) = self.evicted() else {
            return;
        };
        self.counters.evicted += 1;
        if !self.is_reserved(ip) {
            self.eviction.on_gain(now, ip, self.config.max_retry_backoff);
        }
        self.end_leased(now, victim, Cause::Evicted);
    }

    /// Looks at all incoming connections, so `max_incoming_connections` bounds the work, and [`PACE`] how often it is
    /// done: an index of them by subnet would cost more at each connection's begin and end.
    fn evicted(&self) -> Option<PeerId> {
        choose(self.peers.leased_incoming().filter_map(|id| {
            let entry = self.peers.get(id);
            Some((Subnet::of(entry.peer.ip), entry.connection?.number, id))
        }))
    }
}

/// Which of these incoming connections is ended: of the subnet that holds most of them the youngest; of several such
/// subnets, the youngest of all. Connections are numbered in the order in which they came in.
pub(super) fn choose(incoming: impl Iterator<Item = (Subnet, NonZeroU64, PeerId)>) -> Option<PeerId> {
    let mut subnets = BTreeMap::new();
    for (subnet, number, id) in incoming {
        let (held, youngest) = subnets.entry(subnet).or_insert((0_usize, (number, id)));
        *held += 1;
        *youngest = (*youngest).max((number, id));
    }
    let (_, (_, id)) = subnets.into_values().max()?;
    Some(id)
}
