//! Every index over the peers, moved together whenever a peer changes, so that none can be forgotten.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::peer::PeerStatus;
use crate::peer_table::eviction::Crowds;
use crate::peer_table::groups::Groups;
use crate::peer_table::order::Order;
use crate::peer_table::place::Place;
use crate::peer_table::slots::{PeerId, Slots};
use crate::peer_table::subnet::Subnet;
use crate::stats::StatusCounts;

#[derive(Debug)]
pub(crate) struct Indexes {
    pub(crate) counts: StatusCounts,
    /// Best to worst: all but banned peers and own addresses.
    pub(crate) order: Order,
    pub(crate) groups: Groups,
    /// Idle peers whose pause is not over, by its end.
    pub(crate) paused: BTreeSet<(Duration, PeerId)>,
    pub(crate) connecting: BTreeSet<PeerId>,
    pub(crate) bans: Crowds<Reverse<u64>>,
    /// Ends of handshakes and bans.
    pub(crate) deadlines: BTreeSet<(Duration, PeerId)>,
    /// Inbound connections, parked sockets not counted.
    pub(crate) inbound: HashMap<Subnet, usize>,
}

impl Indexes {
    pub(crate) fn new() -> Self {
        Self {
            counts: StatusCounts::default(),
            order: Order::default(),
            groups: Groups::new(),
            paused: BTreeSet::new(),
            connecting: BTreeSet::new(),
            bans: Crowds::new(),
            deadlines: BTreeSet::new(),
            inbound: HashMap::new(),
        }
    }

    /// Moves a peer from its place before a change to the one after it. `None` is no place at all: not known.
    pub(crate) fn shift(&mut self, slots: &mut Slots, id: PeerId, before: Option<Place>, after: Option<Place>) {
        if before == after {
            return;
        }
        if let Some((old, new)) = changed(before, after, |place| Some(place.status)) {
            self.shift_status(slots, id, old, new);
        }
        if let Some((old, new)) = changed(before, after, |place| place.listed) {
            old.into_iter().for_each(|rank| self.order.remove(slots, id, rank));
            new.into_iter().for_each(|rank| self.order.insert(slots, id, rank));
        }
        if let Some((old, new)) = changed(before, after, |place| place.standing) {
            self.groups.shift(slots, id, old, new);
        }
        if let Some((old, new)) = changed(before, after, |place| place.ban.map(Reverse)) {
            let subnet = Subnet::of(slots.get(id).peer.ip);
            old.into_iter().for_each(|event| self.bans.remove(subnet, event, id));
            new.into_iter().for_each(|event| self.bans.insert(subnet, event, id));
        }
        shift_in(&mut self.paused, id, before, after, |place| place.paused);
        shift_in(&mut self.deadlines, id, before, after, |place| place.deadline);
    }

    fn shift_status(&mut self, slots: &Slots, id: PeerId, old: Option<PeerStatus>, new: Option<PeerStatus>) {
        old.into_iter().for_each(|status| *self.counts.get_mut(status) -= 1);
        new.into_iter().for_each(|status| *self.counts.get_mut(status) += 1);
        if old == Some(PeerStatus::OutConnecting) {
            self.connecting.remove(&id);
        }
        if new == Some(PeerStatus::OutConnecting) {
            self.connecting.insert(id);
        }
        match (old.is_some_and(is_inbound), new.is_some_and(is_inbound)) {
            (true, false) => decrement(&mut self.inbound, Subnet::of_inbound(slots.get(id).peer.ip)),
            (false, true) => increment(&mut self.inbound, Subnet::of_inbound(slots.get(id).peer.ip)),
            (true, true) | (false, false) => {}
        }
    }
}

fn is_inbound(status: PeerStatus) -> bool {
    matches!(status, PeerStatus::InHandshaking | PeerStatus::InAlive)
}

pub(crate) fn increment(counts: &mut HashMap<Subnet, usize>, subnet: Subnet) {
    *counts.entry(subnet).or_default() += 1;
}

pub(crate) fn decrement(counts: &mut HashMap<Subnet, usize>, subnet: Subnet) {
    if let Some(count) = counts.get_mut(&subnet) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&subnet);
        }
    }
}

/// The keys before and after, if they differ.
fn changed<K: PartialEq>(
    before: Option<Place>,
    after: Option<Place>,
    key: impl Fn(&Place) -> Option<K>,
) -> Option<(Option<K>, Option<K>)> {
    let keys = (before.as_ref().and_then(&key), after.as_ref().and_then(&key));
    (keys.0 != keys.1).then_some(keys)
}

fn shift_in(
    index: &mut BTreeSet<(Duration, PeerId)>,
    id: PeerId,
    before: Option<Place>,
    after: Option<Place>,
    key: impl Fn(&Place) -> Option<Duration>,
) {
    if let Some((old, new)) = changed(before, after, key) {
        if let Some(old) = old {
            index.remove(&(old, id));
        }
        index.extend(new.map(|new| (new, id)));
    }
}
