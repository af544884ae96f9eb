//! What must hold after every step, checked the slow and obvious way.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::peer::PeerStatus;
use crate::peer_table::PeerTable;
use crate::peer_table::entry::{Entry, Marks, Moment};
use crate::peer_table::place::{Listing, Place};
use crate::peer_table::rank::Level;
use crate::peer_table::slots::PeerId;
use crate::peer_table::subnet::Subnet;
use crate::stats::StatusCounts;

impl PeerTable {
    /// Panics unless every invariant of the design holds.
    pub(crate) fn check(&self) {
        self.check_identities();
        self.check_counts();
        self.check_caps();
        self.check_order();
        self.check_pauses();
        self.check_bans();
        self.check_deadlines();
        self.indexes.groups.check(&self.slots);
        assert!(self.parking.is_consistent(), "parking: {:?}", self.parking);
    }

    fn entries(&self) -> impl Iterator<Item = (PeerId, Entry<'_>)> {
        self.slots.ids().map(|id| (id, self.slots.get(id)))
    }

    /// One status, so at most one connection, per canonical address.
    fn check_identities(&self) {
        let mut seen = HashSet::new();
        for (id, entry) in self.entries() {
            let ip = entry.peer.ip;
            assert_eq!(ip, ip.to_canonical());
            assert!(seen.insert(ip), "{ip} is known twice");
            assert_eq!(self.id_of(ip), Some(id));
            let has_connection = !matches!(entry.peer.status, PeerStatus::Idle | PeerStatus::Banned);
            assert_eq!(entry.connection().is_some(), has_connection, "{ip}");
            if let Some(connection) = entry.connection() {
                assert_eq!(self.connections.get(&connection), Some(&id), "{ip}");
            }
            assert_eq!(entry.rare().has_parked, self.parking.has(ip), "{ip}");
            assert!(
                !entry.peer.is_own() || has_connection,
                "{ip} is kept though it is our own"
            );
            let proof = entry.peer.last_alive_outgoing;
            assert!(
                !entry.peer.is_proven || proof.is_some(),
                "only a dial of ours proves a peer"
            );
        }
        assert_eq!(self.slots.len(), seen.len());
        let (used, kept) = self.slots.rares_in_use();
        assert_eq!(used, kept);
        let with_connection = self.entries().filter(|(_, entry)| entry.connection().is_some()).count();
        assert_eq!(self.connections.len(), with_connection);
    }

    fn check_counts(&self) {
        let mut counts = StatusCounts::default();
        let mut inbound = HashMap::new();
        let mut connecting = BTreeSet::new();
        for (id, entry) in self.entries() {
            *counts.get_mut(entry.peer.status) += 1;
            match entry.peer.status {
                PeerStatus::InHandshaking | PeerStatus::InAlive => {
                    *inbound.entry(Subnet::of_inbound(entry.peer.ip)).or_insert(0) += 1;
                }
                PeerStatus::OutConnecting => {
                    connecting.insert(id);
                }
                PeerStatus::Idle | PeerStatus::OutHandshaking | PeerStatus::OutAlive | PeerStatus::Banned => {}
            }
        }
        assert_eq!(self.indexes.counts, counts);
        let counts_subnets = self.config.max_incoming_per_subnet.is_some();
        assert_eq!(self.indexes.inbound, counts_subnets.then_some(inbound));
        let seated = self.indexes.connecting.iter().copied();
        assert_eq!(seated.clone().collect::<BTreeSet<_>>(), connecting);
        assert_eq!(seated.len(), connecting.len());
        for (seat, id) in seated.enumerate() {
            assert_eq!(usize::try_from(self.slots.marks(id).seat), Ok(seat));
        }
        for (_, entry) in self.entries() {
            let may_have_seat = entry.peer.status == PeerStatus::OutConnecting || Place::of(entry).standing.is_member();
            assert!(may_have_seat || entry.marks.seat == Marks::NO_SEAT, "{:?}", entry.peer);
        }
    }

    fn check_caps(&self) {
        let stats = self.stats();
        for usage in [
            stats.outgoing_attempts,
            stats.outgoing_connections,
            stats.incoming_attempts,
            stats.incoming_connections,
            stats.idle_peers,
            stats.banned_peers,
        ] {
            assert!(usage.used <= usage.limit, "{stats:?}");
        }
        if let Some(limit) = self.config.max_incoming_per_subnet {
            for (&subnet, &count) in self.indexes.inbound.iter().flatten() {
                assert!(count + self.parking.in_subnet(subnet) <= limit, "{subnet:?}");
            }
        }
    }

    /// The order equals a full sort of whoever is neither banned nor ourselves.
    fn check_order(&self) {
        let is_listed = |&(_, entry): &(PeerId, Entry<'_>)| Listing::of(entry.peer) != Listing::None;
        let listed: Vec<_> = self.entries().filter(is_listed).collect();
        assert_eq!(self.indexes.listed, listed.len());
        let listed = listed.into_iter().map(|(id, _)| self.slots.ranked(id));
        self.indexes.order.check(&self.slots, listed.collect());
        self.slots.check_index();
        let (mut ips, mut left) = (self.good_peer_ips(), self.good_peer_ips().count());
        while let (least, Some(most)) = ips.size_hint()
            && ips.next().is_some()
        {
            assert!(least <= left && left <= most, "{least} to {most}, but {left}");
            left -= 1;
        }
        assert!(left == 0 && (self.own.may_be_peers() || ips.size_hint() == (0, Some(0))));
        for (_, entry) in self.entries() {
            let listing = Listing::of(entry.peer);
            assert_eq!(
                entry.marks.block.is_some(),
                listing == Listing::Ranked,
                "{:?}",
                entry.peer
            );
            let is_level = entry.rank().level() == Level::UNTRIED;
            assert_eq!(
                listing == Listing::Untried,
                listing != Listing::None && is_level,
                "{:?}",
                entry.peer
            );
        }
    }

    /// Who pauses is just who may not be dialed for a time.
    fn check_pauses(&self) {
        let free = |entry: Entry<'_>| entry.peer.status == PeerStatus::Idle && !entry.rare().has_parked;
        let paused: BTreeSet<(Moment, PeerId)> = self
            .entries()
            .filter(|(_, entry)| free(*entry))
            .filter_map(|(id, entry)| Some((entry.marks.paused_until?, id)))
            .collect();
        self.indexes.paused.check(&paused);
        let may_be_dialed = self
            .entries()
            .filter(|(_, entry)| free(*entry) && entry.marks.paused_until.is_none())
            .count();
        assert_eq!(self.indexes.groups.none_ready(), may_be_dialed == 0);
    }

    fn check_bans(&self) {
        let banned: HashSet<_> = self
            .entries()
            .filter(|(_, entry)| entry.peer.status == PeerStatus::Banned)
            .map(|(id, entry)| (Subnet::of(entry.peer.ip), entry.rare().listed_event, id))
            .collect();
        let are_listed_early = |entry: Entry<'_>| entry.rare().listed_event <= entry.rare().last_event;
        assert!(self.entries().all(|(_, entry)| are_listed_early(entry)));
        let bans: HashSet<_> = self.indexes.bans.iter().collect();
        assert_eq!(bans, banned);
        assert!(self.indexes.bans.sizes_are_right());
    }

    /// Handshakes and bans that are bounded in time have a deadline. (A dial's is the pool's, a parked socket's in the parking.)
    fn check_deadlines(&self) {
        let mut expected = BTreeSet::new();
        for (id, entry) in self.entries() {
            let bounded = match entry.peer.status {
                PeerStatus::OutHandshaking | PeerStatus::InHandshaking => self.config.handshake_timeout.is_some(),
                PeerStatus::Banned => self.config.ban_duration.is_some(),
                PeerStatus::Idle | PeerStatus::OutConnecting | PeerStatus::OutAlive | PeerStatus::InAlive => false,
            };
            let deadline = entry.rare().deadline;
            assert_eq!(deadline.is_some(), bounded, "{:?}", entry.peer);
            expected.extend(deadline.map(|deadline| (deadline, id)));
        }
        self.indexes.deadlines.check(&expected);
    }
}
