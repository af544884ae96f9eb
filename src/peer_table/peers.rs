//! The store: every known peer, and whatever follows from what is recorded of a peer alone: its position in the order,
//! whether it may be dialed, what it is to its subnet, its timers, the counts.
//!
//! [`Peers::update`] is the one place where a peer changes. It compares the facts of the peer before and after and moves
//! it where they differ. No rule is here, and no rule touches an index.

mod facts;
#[cfg(any(test, feature = "internals", feature = "sim"))]
mod invariants;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use self::facts::{Facts, has_knocked, is_stored};
use crate::peer::{PeerId, PeerStatus, StoredPeer};
use crate::peer_table::bag::{Bag, Numbered, Positions};
use crate::peer_table::candidates::Candidates;
use crate::peer_table::crowds::Crowds;
use crate::peer_table::entry::Entry;
use crate::peer_table::groups::Groups;
use crate::peer_table::ip_key::IpKey;
use crate::peer_table::random::Random;
use crate::peer_table::rank::Ranked;
use crate::peer_table::subnet::{GroupId, Subnet};
use crate::peer_table::tellers::{Teller, Tellers};
use crate::peer_table::time::Moment;
use crate::stats::StatusCounts;

#[derive(Debug, Default)]
pub(crate) struct Peers {
    entries: Vec<Option<Entry>>,
    free: Vec<PeerId>,
    ids: HashMap<IpKey, PeerId>,
    counts: StatusCounts,
    /// Of these, dials and connections that do not count for the target.
    beside_target: StatusCounts,
    /// Best to worst, without banned peers and own addresses.
    order: BTreeSet<Ranked>,
    /// The peers that others may be told of, to draw from.
    advertisable: Bag<PeerId>,
    /// Of peers in `advertisable`.
    advertisable_positions: Positions,
    groups: Groups,
    candidates: Candidates,
    /// By unproven Idle peers.
    crowds: Crowds,
    tellers: Tellers,
    /// By bans.
    ban_crowds: Crowds,
    /// Proven Idle peers that may be forgotten.
    proven_idle: BTreeSet<Ranked>,
    /// Idle records of own addresses, without reserved ones.
    own_idle: BTreeSet<PeerId>,
    /// Reserved peers that may be dialed.
    reserved: BTreeSet<Ranked>,
    /// Ends of the pauses of peers that could be dialed otherwise.
    pauses: BTreeSet<(Moment, PeerId)>,
    /// Those of reserved peers among them.
    reserved_pauses: BTreeSet<(Moment, PeerId)>,
    /// Ends of handshakes and of bans.
    deadlines: BTreeSet<(Moment, PeerId)>,
    /// Dials under way that count for the target.
    connecting: BTreeSet<PeerId>,
    /// Outgoing connections that are alive, by since when.
    out_alive: BTreeSet<(Moment, PeerId)>,
    failed_in_outage: BTreeSet<PeerId>,
    /// Peers that no list named and that were never alive.
    strangers: BTreeSet<PeerId>,
    /// The subnets of those that were refused for want of room, where they are globally reachable: at most one each.
    refused: BTreeSet<Subnet>,
    /// Connections that are alive and held by leases, but for those that neither rotation nor eviction may end.
    leased_outgoing: BTreeSet<PeerId>,
    leased_incoming: BTreeSet<PeerId>,
    /// How many inbound connections each subnet has.
    inbound: HashMap<Subnet, usize>,
    changes: u64,
}

impl Peers {
    pub(crate) fn get(&self, id: PeerId) -> &Entry {
        let entry = self.entries[id.number()].as_ref();
        entry.expect("an id is kept no longer than its peer is known")
    }

    pub(crate) fn find(&self, id: PeerId) -> Option<&Entry> {
        self.entries.get(id.number())?.as_ref()
    }

    pub(crate) fn id_of(&self, ip: IpAddr) -> Option<PeerId> {
        self.ids.get(&ip.into()).copied()
    }

    pub(crate) fn by_ip(&self, ip: IpAddr) -> Option<&Entry> {
        self.id_of(ip).map(|id| self.get(id))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    /// How many slots there are, with and without a peer.
    pub(crate) fn slots(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn in_slot(&self, slot: usize) -> Option<PeerId> {
        let id = PeerId(u32::try_from(slot).ok()?);
        self.find(id).map(|_| id)
    }

    /// The slots from `cursor` on: `None` for one that holds nothing to be stored.
    pub(crate) fn stored_from(&self, cursor: usize) -> impl Iterator<Item = Option<StoredPeer<'_>>> {
        let slots = self.entries.get(cursor..).unwrap_or_default();
        slots.iter().map(|entry| {
            entry.as_ref().filter(|entry| is_stored(entry)).map(|entry| StoredPeer {
                peer: &entry.peer,
                banned_at: entry.ban_times().at,
                banned_until: entry.ban_times().until,
                knocked: has_knocked(entry),
                other: entry.rare.as_ref().and_then(|rare| rare.other.as_deref()),
            })
        })
    }

    /// Best to worst, without banned peers and own addresses.
    pub(crate) fn in_order(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.order.iter().map(|ranked| self.get(ranked.id))
    }

    /// How many peers others may be told of.
    pub(crate) fn advertisable_len(&self) -> usize {
        self.advertisable.len()
    }

    /// Draws one of those peers by lot, but for `drawn` that were drawn before: as the next one of a shuffle that is made
    /// as far as it is needed.
    pub(crate) fn draw_advertisable(&mut self, drawn: usize, random: &mut Random) -> Option<PeerId> {
        let left = self.advertisable.len().checked_sub(drawn).filter(|&left| left > 0)?;
        let chosen = drawn + random.below(left);
        self.advertisable.swap(drawn, chosen, &mut self.advertisable_positions);
        Some(self.advertisable.members()[drawn])
    }

    /// The worst proven Idle peer that is not reserved.
    pub(crate) fn worst_proven_idle(&self) -> Option<PeerId> {
        self.proven_idle.last().map(|worst| worst.id)
    }

    /// A record of an own address that may be forgotten.
    pub(crate) fn first_own_idle(&self) -> Option<PeerId> {
        self.own_idle.first().copied()
    }

    /// The best reserved peer that may be dialed.
    pub(crate) fn best_reserved(&self) -> Option<PeerId> {
        self.reserved.first().map(|best| best.id)
    }

    pub(crate) fn counts(&self) -> &StatusCounts {
        &self.counts
    }

    /// How many dials or outgoing connections of this status count for the target.
    pub(crate) fn count_for_target(&self, status: PeerStatus) -> usize {
        self.counts.get(status) - self.beside_target.get(status)
    }

    pub(crate) fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(crate) fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    /// The subnets with most unproven Idle peers.
    pub(crate) fn largest_crowds(&self) -> &[GroupId] {
        self.crowds.largest()
    }

    /// The subnets with most bans.
    pub(crate) fn largest_ban_crowds(&self) -> &[GroupId] {
        self.ban_crowds.largest()
    }

    pub(crate) fn tellers(&self) -> &Tellers {
        &self.tellers
    }

    pub(crate) fn next_pause_end(&self) -> Option<Moment> {
        self.pauses.first().map(|&(end, _)| end)
    }

    pub(crate) fn next_reserved_pause_end(&self) -> Option<Moment> {
        self.reserved_pauses.first().map(|&(end, _)| end)
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// A peer whose pause is over by then.
    pub(crate) fn rested(&self, by: Moment) -> Option<PeerId> {
        self.pauses.first().filter(|&&(end, _)| end <= by).map(|&(_, id)| id)
    }

    /// A peer whose handshake or ban is over by then.
    pub(crate) fn overdue(&self, by: Moment) -> Option<PeerId> {
        self.deadlines.first().filter(|&&(at, _)| at <= by).map(|&(_, id)| id)
    }

    pub(crate) fn first_connecting(&self) -> Option<PeerId> {
        self.connecting.first().copied()
    }

    /// Since when the outgoing connection that has been alive for longest has been so.
    pub(crate) fn out_alive_since(&self) -> Option<Moment> {
        self.out_alive.first().map(|&(since, _)| since)
    }

    pub(crate) fn first_failed_in_outage(&self) -> Option<PeerId> {
        self.failed_in_outage.first().copied()
    }

    /// Whether no list named the peer and it was never alive.
    pub(crate) fn is_stranger(&self, id: PeerId) -> bool {
        // Mostly there are few, so this costs less than to look at the peer.
        self.strangers.contains(&id)
    }

    /// Whether a newcomer from this subnet is remembered that was refused. (Of one that is not globally reachable it does
    /// not matter.)
    pub(crate) fn has_refused(&self, subnet: Subnet) -> bool {
        self.refused.contains(&subnet)
    }

    /// Outgoing connections that are alive, held by leases, and count for the target.
    pub(crate) fn leased_outgoing(&self) -> impl Iterator<Item = PeerId> + use<'_> {
        self.leased_outgoing.iter().copied()
    }

    /// Incoming connections that are alive and held by leases, without those of reserved peers.
    pub(crate) fn leased_incoming(&self) -> impl Iterator<Item = PeerId> + use<'_> {
        self.leased_incoming.iter().copied()
    }

    /// How many inbound connections there are from this subnet.
    pub(crate) fn inbound_from(&self, subnet: Subnet) -> usize {
        self.inbound.get(&subnet).copied().unwrap_or(0)
    }

    /// Rises whenever something that is stored has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn set_changes(&mut self, changes: u64) {
        self.changes = changes;
    }

    pub(crate) fn reserve(&mut self, additional: usize) {
        self.entries.reserve_exact(additional);
        self.ids.reserve(additional);
    }

    /// Adds a peer that is not known, and remembers its teller while it is untried.
    pub(crate) fn add(&mut self, mut entry: Entry, teller: Option<Teller>) -> PeerId {
        let ip = entry.peer.ip;
        entry.group = self.groups.join(Subnet::of(ip));
        let id = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            PeerId(u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX))
        });
        let known = self.ids.insert(ip.into(), id);
        debug_assert!(known.is_none(), "{ip} is known already");
        let (group, after) = (entry.group, Facts::of(&entry, id));
        self.entries[id.number()] = Some(entry);
        self.shift(id, ip, group, &Facts::default(), &after);
        if let Some(teller) = teller.filter(|_| after.is_untried) {
            self.tellers.join(id, teller);
        }
        id
    }

    pub(crate) fn update<R>(&mut self, id: PeerId, edit: impl FnOnce(&mut Entry) -> R) -> R {
        let entry = self.entries[id.number()].as_mut();
        let entry = entry.expect("an id is kept no longer than its peer is known");
        let before = Facts::of(entry, id);
        let result = edit(entry);
        debug_assert_eq!(
            entry.connection.is_some(),
            !matches!(entry.peer.status, PeerStatus::Idle | PeerStatus::Banned),
            "a peer has a connection just while it is dialed or connected"
        );
        let (ip, group, after) = (entry.peer.ip, entry.group, Facts::of(entry, id));
        self.shift(id, ip, group, &before, &after);
        result
    }

    pub(crate) fn remove(&mut self, id: PeerId) {
        let Some(entry) = self.entries[id.number()].take() else {
            return;
        };
        let (ip, group) = (entry.peer.ip, entry.group);
        self.shift(id, ip, group, &Facts::of(&entry, id), &Facts::default());
        self.groups.part(group);
        self.ids.remove(&ip.into());
        self.free.push(id);
    }

    /// Moves a peer from where it stood to where it stands now.
    fn shift(&mut self, id: PeerId, ip: IpAddr, group: GroupId, before: &Facts, after: &Facts) {
        if before.status != after.status {
            self.shift_status(ip, before, after);
        }
        self.shift_beside_target(before, after);
        shift_ranked(&mut self.order, before.ranked, after.ranked);
        shift_ranked(&mut self.proven_idle, before.proven_idle, after.proven_idle);
        shift_ranked(&mut self.reserved, before.reserved, after.reserved);
        if before.is_advertisable != after.is_advertisable {
            let positions = &mut self.advertisable_positions;
            if after.is_advertisable {
                self.advertisable.insert(id, positions);
            } else {
                self.advertisable.remove(id, positions);
            }
        }
        if before.is_untried && !after.is_untried {
            self.tellers.leave(id);
        }
        if before.membership != after.membership {
            let (was, is) = self.groups.shift(group, id, before.membership, after.membership);
            self.candidates.shift(group, &was, &is);
            self.crowds.shift(group, was.crowd, is.crowd);
            self.ban_crowds.shift(group, was.bans, is.bans);
        }
        self.shift_timers(id, before, after);
        self.shift_members(id, before, after);
        if before.refused_in != after.refused_in {
            before.refused_in.map(|subnet| self.refused.remove(&subnet));
            self.refused.extend(after.refused_in);
        }
        if before.stored != after.stored {
            self.changes += 1;
        }
    }

    fn shift_timers(&mut self, id: PeerId, before: &Facts, after: &Facts) {
        shift_timer(&mut self.pauses, id, before.pause, after.pause);
        shift_timer(
            &mut self.reserved_pauses,
            id,
            before.reserved_pause,
            after.reserved_pause,
        );
        shift_timer(&mut self.deadlines, id, before.deadline, after.deadline);
        shift_timer(&mut self.out_alive, id, before.out_alive_since, after.out_alive_since);
    }

    fn shift_members(&mut self, id: PeerId, before: &Facts, after: &Facts) {
        let is_dial = (before.is_ordinary_dial(), after.is_ordinary_dial());
        shift_member(&mut self.connecting, id, is_dial);
        let own_idle = (before.is_own_idle, after.is_own_idle);
        shift_member(&mut self.own_idle, id, own_idle);
        let in_outage = (before.has_failed_in_outage, after.has_failed_in_outage);
        shift_member(&mut self.failed_in_outage, id, in_outage);
        shift_member(&mut self.strangers, id, (before.is_stranger, after.is_stranger));
        for (members, status) in [
            (&mut self.leased_outgoing, PeerStatus::OutAlive),
            (&mut self.leased_incoming, PeerStatus::InAlive),
        ] {
            let is_member = [before, after].map(|facts| facts.is_expendable && facts.is(status));
            shift_member(members, id, is_member.into());
        }
    }

    fn shift_beside_target(&mut self, before: &Facts, after: &Facts) {
        let status_of = |facts: &Facts| facts.status.filter(|_| facts.is_beside_target);
        if let Some(status) = status_of(before) {
            *self.beside_target.get_mut(status) -= 1;
        }
        if let Some(status) = status_of(after) {
            *self.beside_target.get_mut(status) += 1;
        }
    }

    fn shift_status(&mut self, ip: IpAddr, before: &Facts, after: &Facts) {
        if let Some(status) = before.status {
            *self.counts.get_mut(status) -= 1;
        }
        if let Some(status) = after.status {
            *self.counts.get_mut(status) += 1;
        }
        if before.is_inbound() != after.is_inbound() {
            let subnet = Subnet::of_inbound(ip);
            let count = self.inbound.entry(subnet).or_insert(0);
            *count = if after.is_inbound() { *count + 1 } else { *count - 1 };
            if *count == 0 {
                self.inbound.remove(&subnet);
            }
        }
    }
}

fn shift_ranked(order: &mut BTreeSet<Ranked>, before: Option<Ranked>, after: Option<Ranked>) {
    if before != after {
        before.map(|before| order.remove(&before));
        order.extend(after);
    }
}

fn shift_timer(timers: &mut BTreeSet<(Moment, PeerId)>, id: PeerId, before: Option<Moment>, after: Option<Moment>) {
    if before != after {
        before.map(|before| timers.remove(&(before, id)));
        timers.extend(after.map(|after| (after, id)));
    }
}

fn shift_member(members: &mut BTreeSet<PeerId>, id: PeerId, (was, is): (bool, bool)) {
    if was && !is {
        members.remove(&id);
    } else if is && !was {
        members.insert(id);
    }
}
