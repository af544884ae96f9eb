//! Every index over the peers, moved together whenever a peer changes, so that none can be forgotten.

use std::collections::HashMap;

use crate::peer::PeerStatus;
use crate::peer_table::entry::Marks;
use crate::peer_table::eviction::Bans;
use crate::peer_table::groups::Groups;
use crate::peer_table::order::Order;
use crate::peer_table::place::{Listing, Place};
use crate::peer_table::rank::{Rank, Ranked};
use crate::peer_table::seats::{index, seat};
use crate::peer_table::slots::{PeerId, Slots};
use crate::peer_table::subnet::Subnet;
use crate::peer_table::timers::Timers;
use crate::stats::StatusCounts;

#[derive(Debug)]
pub(crate) struct Indexes {
    pub(crate) counts: StatusCounts,
    /// Best to worst: all but banned peers, own addresses and those that were never tried.
    pub(crate) order: Order,
    /// How many may be told of, never tried or not.
    pub(crate) listed: usize,
    /// Peers are being added of which none is in the order yet: sorting them at once takes less.
    is_loading: bool,
    pub(crate) groups: Groups,
    /// Idle peers whose pause is not over, by its end.
    pub(crate) paused: Timers,
    /// Peers that are dialed; each knows its seat.
    pub(crate) connecting: Vec<PeerId>,
    pub(crate) bans: Bans,
    /// Ends of handshakes and bans.
    pub(crate) deadlines: Timers,
    /// Inbound connections, parked sockets not counted; `None` where no cap asks for it.
    pub(crate) inbound: Option<HashMap<Subnet, usize>>,
}

impl Indexes {
    pub(crate) fn new(counts_subnets: bool) -> Self {
        Self {
            counts: StatusCounts::default(),
            order: Order::new(),
            listed: 0,
            is_loading: false,
            groups: Groups::new(),
            paused: Timers::default(),
            connecting: Vec::new(),
            bans: Bans::default(),
            deadlines: Timers::default(),
            inbound: counts_subnets.then(HashMap::new),
        }
    }

    /// Many peers are to be added, which the order does without until [`Self::end_loading`].
    pub(crate) fn begin_loading(&mut self) {
        self.is_loading = self.order.is_empty();
    }

    pub(crate) fn end_loading(&mut self, slots: &mut Slots) {
        if std::mem::take(&mut self.is_loading) {
            let is_ranked = |&id: &PeerId| Listing::of(slots.peer(id)) == Listing::Ranked;
            let listed = slots.ids().filter(is_ranked).map(|id| slots.ranked(id));
            self.order.fill(slots, listed.collect());
            self.groups.pack();
        }
    }

    /// A peer becomes known.
    pub(crate) fn add(&mut self, slots: &mut Slots, id: PeerId) {
        let place = Place::of(slots.get(id));
        self.shift_place(slots, id, (&Place::NOWHERE, None), (&place, true));
        self.enter(slots, id, place.status);
    }

    /// A peer is forgotten.
    pub(crate) fn remove(&mut self, slots: &mut Slots, id: PeerId) {
        let entry = slots.get(id);
        let place = Place::of(entry);
        let rank = place.rank(entry);
        self.leave(slots, id, place.status);
        self.shift_place(slots, id, (&place, rank), (&Place::NOWHERE, false));
    }

    /// Moves a peer from its place before a change, with its rank there if that place is ranked, to the one after it.
    pub(crate) fn shift(
        &mut self,
        slots: &mut Slots,
        id: PeerId,
        before: (&Place, Option<Rank>),
        after: (&Place, bool),
    ) {
        let (old, new) = (before.0.status, after.0.status);
        if old != new {
            self.leave(slots, id, old);
        }
        self.shift_place(slots, id, before, after);
        if old != new {
            self.enter(slots, id, new);
        }
    }

    fn shift_place(
        &mut self,
        slots: &mut Slots,
        id: PeerId,
        (before, old_rank): (&Place, Option<Rank>),
        (after, has_new_rank): (&Place, bool),
    ) {
        let is_ranked = after.listing == Listing::Ranked && !self.is_loading;
        let moves = before.listing != after.listing || (has_new_rank && is_ranked);
        let regroups = before.standing != after.standing || (has_new_rank && after.standing.has_rank());
        let needs_rank = (moves && is_ranked) || (regroups && after.standing.has_rank());
        let rank = if needs_rank { slots.rank(id) } else { Rank::BEST };
        if moves {
            self.relist(slots, Ranked { rank, id }, before.listing, after.listing);
        }
        if regroups {
            let old_rank = old_rank.unwrap_or(Rank::BEST);
            let (before, after) = ((before.standing, old_rank), (after.standing, rank));
            self.groups.shift(slots, id, before, after);
        }
        if before.ban != after.ban {
            self.shift_ban(slots, id, before.ban, after.ban);
        }
        if before.paused != after.paused {
            let paused = |id| Place::of(slots.get_if_known(id)?).paused;
            self.paused.shift(id, before.paused, after.paused, paused);
        }
        if before.deadline != after.deadline {
            let deadline = |id| slots.get_if_known(id)?.rare().deadline;
            self.deadlines.shift(id, before.deadline, after.deadline, deadline);
        }
    }

    /// Moves a peer in the order.
    fn relist(&mut self, slots: &mut Slots, peer: Ranked, before: Listing, after: Listing) {
        self.listed += usize::from(after != Listing::None);
        self.listed -= usize::from(before != Listing::None);
        match before {
            Listing::None => {}
            Listing::Untried => slots.tally_untried(peer.id, false),
            Listing::Ranked => self.order.remove(slots, peer.id),
        }
        match after {
            Listing::Ranked if !self.is_loading => self.order.insert(slots, peer),
            Listing::None | Listing::Ranked => {}
            Listing::Untried => slots.tally_untried(peer.id, true),
        }
    }

    fn shift_ban(&mut self, slots: &Slots, id: PeerId, before: u64, after: u64) {
        let subnet = Subnet::of(slots.peer(id).ip);
        if before > 0 {
            self.bans.remove(subnet, before, id);
        }
        if after > 0 {
            self.bans.insert(subnet, after, id);
        }
    }

    fn enter(&mut self, slots: &mut Slots, id: PeerId, status: PeerStatus) {
        *self.counts.get_mut(status) += 1;
        if status == PeerStatus::OutConnecting {
            slots.marks_mut(id).seat = seat(self.connecting.len());
            self.connecting.push(id);
        } else if is_inbound(status) {
            self.inbound
                .iter_mut()
                .for_each(|counts| increment(counts, Subnet::of_inbound(slots.peer(id).ip)));
        }
    }

    fn leave(&mut self, slots: &mut Slots, id: PeerId, status: PeerStatus) {
        *self.counts.get_mut(status) -= 1;
        if status == PeerStatus::OutConnecting {
            let gap = std::mem::replace(&mut slots.marks_mut(id).seat, Marks::NO_SEAT);
            self.connecting.swap_remove(index(gap));
            if let Some(&moved) = self.connecting.get(index(gap)) {
                slots.marks_mut(moved).seat = gap;
            }
        } else if is_inbound(status) {
            self.inbound
                .iter_mut()
                .for_each(|counts| decrement(counts, Subnet::of_inbound(slots.peer(id).ip)));
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
