//! Every index over the peers, moved together whenever a peer changes, so that none can be forgotten.

use std::collections::{BTreeSet, HashMap};

use crate::peer::PeerStatus;
use crate::peer_table::entry::Moment;
use crate::peer_table::eviction::Bans;
use crate::peer_table::groups::Groups;
use crate::peer_table::order::Order;
use crate::peer_table::place::Place;
use crate::peer_table::rank::Ranked;
use crate::peer_table::slots::{PeerId, Slots};
use crate::peer_table::subnet::Subnet;
use crate::stats::StatusCounts;

#[derive(Debug)]
pub(crate) struct Indexes {
    pub(crate) counts: StatusCounts,
    /// Best to worst: all but banned peers and own addresses.
    pub(crate) order: Order,
    /// Peers are being added of which none is in the order yet: sorting them at once takes less.
    is_loading: bool,
    pub(crate) groups: Groups,
    /// Idle peers whose pause is not over, by its end.
    pub(crate) paused: BTreeSet<(Moment, PeerId)>,
    pub(crate) connecting: BTreeSet<PeerId>,
    pub(crate) bans: Bans,
    /// Ends of handshakes and bans.
    pub(crate) deadlines: BTreeSet<(Moment, PeerId)>,
    /// Inbound connections, parked sockets not counted.
    pub(crate) inbound: HashMap<Subnet, usize>,
}

impl Indexes {
    pub(crate) fn new() -> Self {
        Self {
            counts: StatusCounts::default(),
            order: Order::new(),
            is_loading: false,
            groups: Groups::new(),
            paused: BTreeSet::new(),
            connecting: BTreeSet::new(),
            bans: Bans::default(),
            deadlines: BTreeSet::new(),
            inbound: HashMap::new(),
        }
    }

    /// Many peers are to be added, which the order does without until [`Self::end_loading`].
    pub(crate) fn begin_loading(&mut self) {
        self.is_loading = self.order.len() == 0;
    }

    pub(crate) fn end_loading(&mut self, slots: &mut Slots) {
        if std::mem::take(&mut self.is_loading) {
            let listed = |id| {
                let rank = Place::of(slots.get(id)).listed?;
                Some(Ranked { rank, id })
            };
            let listed = slots.ids().filter_map(listed).collect();
            self.order.fill(slots, listed);
        }
    }

    /// A peer becomes known.
    pub(crate) fn add(&mut self, slots: &mut Slots, id: PeerId) {
        let place = Place::of(slots.get(id));
        *self.counts.get_mut(place.status) += 1;
        self.on_status(slots, id, None, Some(place.status));
        self.shift_place(slots, id, &Place::NOWHERE, &place);
    }

    /// A peer is forgotten.
    pub(crate) fn remove(&mut self, slots: &mut Slots, id: PeerId) {
        let place = Place::of(slots.get(id));
        *self.counts.get_mut(place.status) -= 1;
        self.on_status(slots, id, Some(place.status), None);
        self.shift_place(slots, id, &place, &Place::NOWHERE);
    }

    /// Moves a peer from its place before a change to the one after it.
    pub(crate) fn shift(&mut self, slots: &mut Slots, id: PeerId, before: &Place, after: &Place) {
        if before.status != after.status {
            *self.counts.get_mut(before.status) -= 1;
            *self.counts.get_mut(after.status) += 1;
            self.on_status(slots, id, Some(before.status), Some(after.status));
        }
        self.shift_place(slots, id, before, after);
    }

    fn shift_place(&mut self, slots: &mut Slots, id: PeerId, before: &Place, after: &Place) {
        if before.listed != after.listed {
            self.order.remove(slots, id);
            if let Some(rank) = after.listed.filter(|_| !self.is_loading) {
                self.order.insert(slots, Ranked { rank, id });
            }
        }
        if before.standing != after.standing {
            self.groups.shift(slots, id, before.standing, after.standing);
        }
        if before.ban != after.ban {
            let subnet = Subnet::of(slots.peer(id).ip);
            before.ban.into_iter().for_each(|event| self.bans.remove(subnet, event, id));
            after.ban.into_iter().for_each(|event| self.bans.insert(subnet, event, id));
        }
        shift_in(&mut self.paused, id, before.paused, after.paused);
        shift_in(&mut self.deadlines, id, before.deadline, after.deadline);
    }

    fn on_status(&mut self, slots: &Slots, id: PeerId, old: Option<PeerStatus>, new: Option<PeerStatus>) {
        if old == Some(PeerStatus::OutConnecting) {
            self.connecting.remove(&id);
        }
        if new == Some(PeerStatus::OutConnecting) {
            self.connecting.insert(id);
        }
        match (old.is_some_and(is_inbound), new.is_some_and(is_inbound)) {
            (true, false) => decrement(&mut self.inbound, Subnet::of_inbound(slots.peer(id).ip)),
            (false, true) => increment(&mut self.inbound, Subnet::of_inbound(slots.peer(id).ip)),
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

fn shift_in(index: &mut BTreeSet<(Moment, PeerId)>, id: PeerId, before: Option<Moment>, after: Option<Moment>) {
    if before != after {
        if let Some(old) = before {
            index.remove(&(old, id));
        }
        index.extend(after.map(|new| (new, id)));
    }
}
