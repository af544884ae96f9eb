//! What the design says of connections that leases hold: rotation and eviction.

use super::super::known::inbound_network;
use super::*;
use crate::peer_table::subnet::is_global;

/// What has to be remembered of rotations and evictions.
#[derive(Clone, Debug)]
pub(in super::super) struct Exchanges {
    /// The earliest and the latest time of the next rotation, as its jitter may have it.
    pub(in super::super) rotation_due: Option<(Duration, Duration)>,
    rotation: Option<ConnectionId>,
    /// The connection that was ended last, until its lease is dropped or this time.
    pub(in super::super) held: Option<(ConnectionId, IpAddr, Duration)>,
    evict_at: Duration,
    /// Newcomers that took a slot.
    gained: Vec<(Duration, IpAddr)>,
}

impl Exchanges {
    pub(super) fn new(config: &NetworkConfig, now: Now) -> Self {
        let mut exchanges = Self {
            rotation_due: None,
            rotation: None,
            held: None,
            evict_at: Duration::ZERO,
            gained: Vec::new(),
        };
        exchanges.plan_rotation(config, now);
        exchanges
    }

    pub(super) fn plan_rotation(&mut self, config: &NetworkConfig, now: Now) {
        let latest = Duration::from_secs(75);
        let first = |interval: Duration| (now.since_start, now.since_start + interval.min(latest));
        self.rotation_due = config.rotation_interval.map(first);
    }
}

impl Model {
    pub(in super::super) fn on_leased(&mut self, id: ConnectionId) {
        if let Some(ip) = self.peer_of(id) {
            self.peer_mut(ip).is_leased = true;
        }
    }

    pub(in super::super) fn on_lease_dropped(&mut self, id: ConnectionId) {
        self.exchanges.held = self.exchanges.held.filter(|&(held, ..)| held != id);
    }

    pub(in super::super) fn is_held(&self, ip: IpAddr) -> bool {
        self.exchanges.held.is_some_and(|(_, held, _)| held == ip)
    }

    pub(super) fn end_hold(&mut self, now: Now) {
        self.exchanges.held = self.exchanges.held.filter(|&(.., until)| until > now.since_start);
    }

    /// As many as the target are alive, one of them is leased, nothing is dialed, no address is held.
    pub(in super::super) fn may_rotate(&self) -> bool {
        let dialed = self.count(PeerStatus::OutConnecting) + self.count(PeerStatus::OutHandshaking);
        let alive = self.count_for_target(PeerStatus::OutAlive);
        let is_leased = !self.leased(PeerStatus::OutAlive).is_empty();
        alive == self.config.target_outgoing_connections && is_leased && dialed == 0 && self.exchanges.held.is_none()
    }

    pub(in super::super) fn on_rotation(&mut self, now: Now, id: ConnectionId) {
        self.exchanges.rotation = Some(id);
        let target = u32::try_from(self.config.target_outgoing_connections).unwrap();
        let young = (2 * now.since_start / (3 * target)).max(Duration::from_secs(10));
        let interval = self.config.rotation_interval;
        self.exchanges.rotation_due = interval.map(|interval| jittered(now, interval.min(young)));
    }

    /// A dial of ours has come alive: first the new, then the old.
    pub(super) fn finish_rotation(&mut self, now: Now, ip: IpAddr) {
        let is_rotation = self.exchanges.rotation.is_some() && self.exchanges.rotation == self.peer(ip).connection;
        let connected = self.count_for_target(PeerStatus::OutHandshaking) + self.count_for_target(PeerStatus::OutAlive);
        if !is_rotation || connected <= self.config.target_outgoing_connections {
            return;
        }
        let leased = self.leased(PeerStatus::OutAlive);
        let others: Vec<_> = leased.iter().copied().filter(|&other| other != ip).collect();
        if !others.is_empty() {
            let victim = others[self.script.ask(others.len())];
            self.exchange(now, victim, Revocation::Rotated);
        } else if !leased.is_empty() {
            self.exchange(now, ip, Revocation::Rotated);
        }
    }

    pub(super) fn may_evict(&self, now: Now, ip: IpAddr) -> bool {
        let rotation = self.exchanges.rotation.and_then(|dial| self.peer_of(dial));
        let rotates = rotation.is_some_and(|ip| self.peer(ip).status != PeerStatus::OutAlive);
        let mut gained = self.exchanges.gained.iter();
        let has_gained = gained.any(|&(at, other)| {
            let ends = at + self.config.max_retry_backoff;
            inbound_network(other) == inbound_network(ip) && is_global(ip) && ends > now.since_start
        });
        let may_gain = self.config.evict_incoming && self.exchanges.evict_at <= now.since_start && !has_gained;
        (may_gain || self.is_reserved(ip))
            && self.incoming() == self.config.max_incoming_connections
            && self.full_beside_total(ip).is_none()
            && self.exchanges.held.is_none()
            && !(rotates || self.leased(PeerStatus::InAlive).is_empty())
    }

    /// Of the subnet with most of them the youngest; of several such, the youngest of all.
    pub(super) fn evict(&mut self, now: Now, newcomer: IpAddr) {
        let leased = self.leased(PeerStatus::InAlive);
        let crowds = largest_crowds(leased.iter().map(|&ip| self.peer(ip)));
        let youngest = crowds.into_iter().flatten().max_by_key(|peer| peer.connection);
        let victim = youngest.expect("a connection can be evicted").ip;
        if !self.is_reserved(newcomer) {
            self.exchanges.evict_at = now.since_start + Duration::from_secs(1);
            self.exchanges.gained.push((now.since_start, newcomer));
        }
        self.exchange(now, victim, Revocation::Evicted);
    }

    fn is_reserved(&self, ip: IpAddr) -> bool {
        self.peers.get(&ip).is_some_and(|peer| peer.reserved)
    }

    /// Of reserved peers and beside the target none is ended.
    fn leased(&self, status: PeerStatus) -> Vec<IpAddr> {
        self.ips(|peer| peer.is_leased && peer.status == status && !peer.reserved && !peer.beside)
    }

    /// As if it had been closed; and its address is held.
    fn exchange(&mut self, now: Now, ip: IpAddr, why: Revocation) {
        let at_most = self.config.handshake_timeout.unwrap_or(Duration::from_secs(10));
        let id = self.peer(ip).connection.expect("it is connected");
        self.exchanges.held = Some((id, ip, now.since_start + at_most));
        self.close(now, ip, why);
    }
}
