//! What must hold after every step, checked the slow and obvious way.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::peer::PeerStatus;
use crate::peer_table::candidates::Kind;
use crate::peer_table::entry::{Entry, is_outgoing};
use crate::peer_table::place::Place;
use crate::peer_table::rank::Rank;
use crate::peer_table::subnet::Subnet;
use crate::peer_table::{PeerId, PeerTable};
use crate::stats::StatusCounts;

impl PeerTable {
    /// Panics unless every invariant of the design holds.
    pub(crate) fn check(&self) {
        self.check_identities();
        self.check_counts();
        self.check_caps();
        self.check_order();
        self.check_candidates();
        self.check_keeping();
        self.check_deadlines();
        assert!(self.parking.is_consistent(), "parking: {:?}", self.parking);
    }

    fn entries(&self) -> impl Iterator<Item = (PeerId, &Entry)> {
        self.slots.iter_with_ids()
    }

    /// One status, so at most one connection, per canonical address.
    fn check_identities(&self) {
        let mut seen = HashSet::new();
        for (id, entry) in self.entries() {
            let ip = entry.peer.ip;
            assert_eq!(ip, ip.to_canonical());
            assert!(seen.insert(ip), "{ip} is known twice");
            assert_eq!(self.ids.get(&ip), Some(&id));
            let has_connection = !matches!(entry.peer.status, PeerStatus::Idle | PeerStatus::Banned);
            assert_eq!(entry.connection.is_some(), has_connection, "{ip}");
            if let Some(connection) = entry.connection {
                assert_eq!(self.connections.get(&connection), Some(&id), "{ip}");
            }
            assert_eq!(entry.has_parked, self.parking.has(ip), "{ip}");
            assert!(!entry.is_own || has_connection, "{ip} is kept though it is our own");
        }
        assert_eq!(self.ids.len(), seen.len());
        let with_connection = self.entries().filter(|(_, entry)| entry.connection.is_some()).count();
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
        assert_eq!(self.indexes.inbound, inbound);
        assert_eq!(self.indexes.connecting, connecting);
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
            for (&subnet, &count) in &self.indexes.inbound {
                assert!(count + self.parking.in_subnet(subnet) <= limit, "{subnet:?}");
            }
        }
    }

    /// The order equals a full sort of whoever is neither banned nor ourselves.
    fn check_order(&self) {
        let listed = |entry: &Entry| entry.peer.status != PeerStatus::Banned && !entry.is_own;
        let sorted: BTreeSet<_> = self
            .entries()
            .filter(|(_, entry)| listed(entry))
            .map(|(id, entry)| (Rank::of(entry), id))
            .collect();
        assert_eq!(self.indexes.order, sorted);
        assert!(
            self.good_peer_ips()
                .all(|ip| self.peer(ip).is_some_and(|peer| peer.status != PeerStatus::Banned))
        );
    }

    /// The candidates are just the peers that may be dialed, and subnets are taken by outgoing connections alone.
    fn check_candidates(&self) {
        let free = |entry: &Entry| entry.peer.status == PeerStatus::Idle && !entry.has_parked;
        let expected: BTreeSet<_> = self
            .entries()
            .filter(|(_, entry)| free(entry) && entry.paused_until.is_none())
            .map(|(id, entry)| (Subnet::of(entry.peer.ip), id, entry.proven.then(|| Rank::of(entry))))
            .collect();
        let candidates: BTreeSet<_> = self.indexes.candidates.iter().collect();
        assert_eq!(candidates, expected);
        assert_eq!(self.indexes.candidates.is_empty(), expected.is_empty());
        assert!(self.indexes.candidates.choices_are_right());
        let paused: BTreeSet<_> = self
            .entries()
            .filter(|(_, entry)| free(entry))
            .filter_map(|(id, entry)| Some((entry.paused_until?, id)))
            .collect();
        assert_eq!(self.indexes.paused, paused);
        let by_rank: BTreeSet<_> = paused
            .iter()
            .map(|&(_, id)| (Rank::of(self.slots.get(id)), id))
            .collect();
        assert_eq!(self.indexes.paused_by_rank, by_rank);
        let mut taken = HashMap::new();
        for (_, entry) in self.entries().filter(|(_, entry)| is_outgoing(entry.peer.status)) {
            *taken.entry(Subnet::of(entry.peer.ip)).or_insert(0) += 1;
        }
        for (_, entry) in self.entries() {
            let subnet = Subnet::of(entry.peer.ip);
            assert_eq!(
                self.indexes.candidates.taken_by(subnet),
                taken.get(&subnet).copied().unwrap_or(0)
            );
        }
        for (_, entry) in self.entries() {
            if let Some(Kind::Proven(_)) = Place::of(entry).candidate {
                assert!(
                    entry.peer.last_alive_outgoing.is_some(),
                    "only a dial of ours proves a peer"
                );
            }
        }
    }

    fn check_keeping(&self) {
        let idle = |entry: &Entry| entry.peer.status == PeerStatus::Idle;
        let unproven: BTreeSet<_> = self
            .entries()
            .filter(|(_, entry)| idle(entry) && !entry.proven)
            .map(|(id, entry)| (Subnet::of(entry.peer.ip), Rank::of(entry), id))
            .collect();
        assert_eq!(self.indexes.idle_unproven.iter().collect::<BTreeSet<_>>(), unproven);
        assert!(self.indexes.idle_unproven.sizes_are_right());
        let proven: BTreeSet<_> = self
            .entries()
            .filter(|(_, entry)| idle(entry) && entry.proven)
            .map(|(id, entry)| (Rank::of(entry), id))
            .collect();
        assert_eq!(self.indexes.idle_proven, proven);
        let banned: BTreeSet<_> = self
            .entries()
            .filter(|(_, entry)| entry.peer.status == PeerStatus::Banned)
            .map(|(id, entry)| (Subnet::of(entry.peer.ip), entry.last_event, id))
            .collect();
        let bans: BTreeSet<_> = self
            .indexes
            .bans
            .iter()
            .map(|(subnet, event, id)| (subnet, event.0, id))
            .collect();
        assert_eq!(bans, banned);
        assert!(self.indexes.bans.sizes_are_right());
    }

    /// Handshakes and bans that are bounded in time have a deadline. (A dial's is the connector pool's, a parked
    /// socket's the parking's.)
    fn check_deadlines(&self) {
        let mut expected = BTreeSet::new();
        for (id, entry) in self.entries() {
            let bounded = match entry.peer.status {
                PeerStatus::OutHandshaking | PeerStatus::InHandshaking => self.config.handshake_timeout.is_some(),
                PeerStatus::Banned => self.config.ban_duration.is_some(),
                PeerStatus::Idle | PeerStatus::OutConnecting | PeerStatus::OutAlive | PeerStatus::InAlive => false,
            };
            assert_eq!(entry.deadline.is_some(), bounded, "{:?}", entry.peer);
            expected.extend(entry.deadline.map(|deadline| (deadline, id)));
        }
        assert_eq!(self.indexes.deadlines, expected);
    }
}
