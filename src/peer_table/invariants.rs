//! What must hold after every step, checked the slow and obvious way.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::peer::PeerStatus;
use crate::peer_table::PeerTable;
use crate::peer_table::entry::Entry;
use crate::peer_table::subnet::Subnet;
use crate::stats::Usage;

impl PeerTable {
    /// Panics unless every invariant of the design holds.
    pub fn check(&self) {
        self.peers.check();
        self.check_entries();
        self.check_reserved();
        self.check_caps();
    }

    /// One status, so at most one connection, per canonical address.
    fn check_entries(&self) {
        let mut seen = HashSet::new();
        for entry in self.peers.iter() {
            let ip = entry.peer.ip;
            assert_eq!(ip, ip.to_canonical());
            assert!(seen.insert(ip), "{ip} is known twice");
            let is_idle_or_banned = matches!(entry.peer.status, PeerStatus::Idle | PeerStatus::Banned);
            assert_eq!(entry.connection.is_none(), is_idle_or_banned, "{ip}");
            assert_eq!(entry.has_parked, self.parking.has(ip), "{ip}");
            assert_eq!(entry.is_held, self.is_held(ip), "{ip}");
            let is_connected = entry.peer.status.is_connected();
            assert!(is_connected || !entry.is_leased, "{ip} has no connection to be leased");
            assert!(
                !(entry.is_held && is_connected),
                "{ip} has a new connection though it is held"
            );
            assert!(
                !entry.is_own || entry.is_from_file || entry.is_reserved || !is_idle_or_banned,
                "{ip} is kept though it is our own"
            );
            assert!(
                !entry.is_proven || entry.peer.last_alive_outgoing.is_some(),
                "only a dial of ours proves a peer"
            );
            let is_dialed = matches!(entry.peer.status, PeerStatus::OutConnecting);
            if self.reconfiguring.cursor.is_none() {
                assert_eq!((entry.is_denied, entry.may_be_told), self.said_by_lists(entry), "{ip}");
                assert!(!(entry.is_denied && is_dialed), "{ip} is dialed though it is denied");
            }
            assert!(!entry.is_beside_target || entry.is_outgoing(), "{ip}");
            self.check_deadline(entry);
        }
    }

    /// Handshakes and bans that are bounded in time have a deadline. (A dial's is the connector pool's, a parked socket's
    /// the parking's.)
    fn check_deadline(&self, entry: &Entry) {
        let is_bounded = match entry.peer.status {
            PeerStatus::OutHandshaking | PeerStatus::InHandshaking => self.config.handshake_timeout.is_some(),
            PeerStatus::Banned => self.config.ban_duration.is_some() || entry.ban_times().until.is_some(),
            PeerStatus::Idle | PeerStatus::OutConnecting | PeerStatus::OutAlive | PeerStatus::InAlive => false,
        };
        let inherited = &self.reconfiguring.inherited;
        let may_differ = match entry.peer.status {
            PeerStatus::Banned => inherited.ban_duration,
            _ => inherited.handshake_timeout && is_handshaking(entry),
        };
        assert!(
            may_differ || entry.deadline().is_some() == is_bounded,
            "{:?}",
            entry.peer
        );
    }

    /// The config names just the reserved peers.
    fn check_reserved(&self) {
        let named: BTreeSet<_> = self.config.reserved_peers.iter().copied().collect();
        let reserved = self.peers.iter().filter(|entry| entry.is_reserved);
        assert_eq!(reserved.map(|entry| entry.peer.ip).collect::<BTreeSet<_>>(), named);
        assert_eq!(named.len(), self.config.reserved_peers.len());
    }

    /// How full each cap is, the target first.
    pub(super) fn usages(&self) -> [Usage; 6] {
        let stats = self.stats();
        [
            stats.outgoing_connections,
            stats.outgoing_attempts,
            stats.incoming_attempts,
            stats.incoming_connections,
            stats.idle_peers,
            stats.banned_peers,
        ]
    }

    pub(crate) fn check_caps(&self) {
        let stats = self.stats();
        let inherited = &self.reconfiguring.inherited;
        // The new connection of a rotation comes before another one ends, and may stay.
        let spare = [usize::from(stats.counters.rotations > 0), 0, 0, 0, 0, 0];
        for ((usage, inherited), spare) in self.usages().iter().zip(inherited.used).zip(spare) {
            let most = usage.limit.saturating_add(spare).max(inherited);
            assert!(usage.used <= most, "{stats:?}");
        }
        let mut inbound: HashMap<Subnet, usize> = HashMap::new();
        for entry in self.peers.iter() {
            if matches!(entry.peer.status, PeerStatus::InHandshaking | PeerStatus::InAlive) {
                *inbound.entry(Subnet::of_inbound(entry.peer.ip)).or_default() += 1;
            }
        }
        for (&subnet, &count) in &inbound {
            assert_eq!(self.peers.inbound_from(subnet), count);
            let limit = self.config.max_incoming_per_subnet.unwrap_or(usize::MAX);
            let limit = limit.max(inherited.per_subnet);
            assert!(count + self.parking.in_subnet(subnet) <= limit, "{subnet:?}");
        }
        assert!(
            self.peers.counts().out_alive > 0 || self.outage.since().is_some(),
            "no outgoing connection is an outage"
        );
        let candidates: BTreeSet<_> = [false, true].map(|taken| self.peers.candidates().has_any(taken)).into();
        let may_be_dialed = |entry: &Entry| entry.is_free() && !entry.is_reserved && entry.paused_until.is_none();
        assert_eq!(candidates.contains(&true), self.peers.iter().any(may_be_dialed));
    }
}

fn is_handshaking(entry: &Entry) -> bool {
    matches!(
        entry.peer.status,
        PeerStatus::OutHandshaking | PeerStatus::InHandshaking
    )
}
