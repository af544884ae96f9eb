//! Every index over the peers, moved together whenever a peer changes, so that none can be forgotten.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::peer::PeerStatus;
use crate::peer_table::PeerId;
use crate::peer_table::candidates::Candidates;
use crate::peer_table::entry::is_outgoing;
use crate::peer_table::eviction::Crowds;
use crate::peer_table::place::Place;
use crate::peer_table::rank::Rank;
use crate::peer_table::subnet::Subnet;
use crate::stats::StatusCounts;

#[derive(Debug)]
pub(crate) struct Indexes {
    pub(crate) counts: StatusCounts,
    /// Best to worst: all but banned peers and own addresses.
    pub(crate) order: BTreeSet<(Rank, PeerId)>,
    pub(crate) candidates: Candidates,
    /// Idle peers whose pause is not over, by its end and by rank.
    pub(crate) paused: BTreeSet<(Duration, PeerId)>,
    pub(crate) paused_by_rank: BTreeSet<(Rank, PeerId)>,
    pub(crate) connecting: BTreeSet<PeerId>,
    pub(crate) idle_unproven: Crowds<Rank>,
    pub(crate) idle_proven: BTreeSet<(Rank, PeerId)>,
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
            order: BTreeSet::new(),
            candidates: Candidates::new(),
            paused: BTreeSet::new(),
            paused_by_rank: BTreeSet::new(),
            connecting: BTreeSet::new(),
            idle_unproven: Crowds::new(),
            idle_proven: BTreeSet::new(),
            bans: Crowds::new(),
            deadlines: BTreeSet::new(),
            inbound: HashMap::new(),
        }
    }

    /// Moves a peer from its place before a change to the one after it. `None` is no place at all: not known.
    pub(crate) fn shift(&mut self, id: PeerId, before: Option<Place>, after: Option<Place>) {
        if before == after {
            return;
        }
        self.shift_status(id, before, after);
        self.shift_dialing(id, before, after);
        self.shift_keeping(id, before, after);
    }

    fn shift_status(&mut self, id: PeerId, before: Option<Place>, after: Option<Place>) {
        if let Some((old, new)) = changed(before, after, |place| Some(place.status)) {
            let connecting = Some(PeerStatus::OutConnecting);
            old.into_iter().for_each(|status| *self.counts.get_mut(status) -= 1);
            new.into_iter().for_each(|status| *self.counts.get_mut(status) += 1);
            if old == connecting {
                self.connecting.remove(&id);
            }
            if new == connecting {
                self.connecting.insert(id);
            }
        }
        shift_in(&mut self.deadlines, id, before, after, |place| place.deadline);
        if let Some((old, new)) = changed(before, after, inbound) {
            old.into_iter().for_each(|subnet| decrement(&mut self.inbound, subnet));
            new.into_iter()
                .for_each(|subnet| *self.inbound.entry(subnet).or_default() += 1);
        }
    }

    fn shift_dialing(&mut self, id: PeerId, before: Option<Place>, after: Option<Place>) {
        if let Some((old, new)) = changed(before, after, |place| place.candidate.map(|kind| (place.subnet, kind))) {
            old.into_iter()
                .for_each(|(subnet, kind)| self.candidates.remove(subnet, id, kind));
            new.into_iter()
                .for_each(|(subnet, kind)| self.candidates.insert(subnet, id, kind));
        }
        if let Some((old, new)) = changed(before, after, |place| is_outgoing(place.status).then_some(place.subnet)) {
            old.into_iter().for_each(|subnet| self.candidates.release(subnet));
            new.into_iter().for_each(|subnet| self.candidates.take(subnet));
        }
        shift_in(&mut self.paused, id, before, after, |place| {
            place.paused.map(|(until, _)| until)
        });
        shift_in(&mut self.paused_by_rank, id, before, after, |place| {
            place.paused.map(|(_, rank)| rank)
        });
    }

    fn shift_keeping(&mut self, id: PeerId, before: Option<Place>, after: Option<Place>) {
        shift_in(&mut self.order, id, before, after, |place| place.listed);
        shift_in(&mut self.idle_proven, id, before, after, |place| idle_rank(place, true));
        if let Some((old, new)) = changed(before, after, |place| {
            idle_rank(place, false).map(|rank| (place.subnet, rank))
        }) {
            old.into_iter()
                .for_each(|(subnet, rank)| self.idle_unproven.remove(subnet, rank, id));
            new.into_iter()
                .for_each(|(subnet, rank)| self.idle_unproven.insert(subnet, rank, id));
        }
        if let Some((old, new)) = changed(before, after, |place| {
            place.ban.map(|event| (place.subnet, Reverse(event)))
        }) {
            old.into_iter()
                .for_each(|(subnet, event)| self.bans.remove(subnet, event, id));
            new.into_iter()
                .for_each(|(subnet, event)| self.bans.insert(subnet, event, id));
        }
    }
}

fn idle_rank(place: &Place, of_proven: bool) -> Option<Rank> {
    place
        .idle
        .and_then(|(proven, rank)| (proven == of_proven).then_some(rank))
}

fn inbound(place: &Place) -> Option<Subnet> {
    matches!(place.status, PeerStatus::InHandshaking | PeerStatus::InAlive).then_some(place.inbound_subnet)
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

fn shift_in<K: Ord>(
    index: &mut BTreeSet<(K, PeerId)>,
    id: PeerId,
    before: Option<Place>,
    after: Option<Place>,
    key: impl Fn(&Place) -> Option<K>,
) {
    if let Some((old, new)) = changed(before, after, key) {
        if let Some(old) = old {
            index.remove(&(old, id));
        }
        index.extend(new.map(|new| (new, id)));
    }
}
