//! What the design says of inbound sockets.

use super::super::known::inbound_network;
use super::*;
use crate::change::Refusal;
use crate::peer_table::subnet::is_global;

impl Model {
    /// What becomes of an inbound socket.
    pub(in super::super) fn on_inbound(&mut self, now: Now, remote: SocketAddr, local: IpAddr) -> Verdict {
        let ip = remote.ip();
        if !is_peer_address(ip) {
            return Verdict::Refuse(Refusal::NotAPeer);
        }
        self.legs.retain(|&(until, _)| until >= now.since_start);
        if let Some(place) = self.legs.iter().position(|&(_, leg)| leg == remote) {
            self.legs.remove(place);
            return Verdict::Refuse(Refusal::Ourselves);
        }
        if self.is_other_end(now, remote) {
            self.on_reached_ourselves(now, ip, local);
            return Verdict::Refuse(Refusal::Ourselves);
        }
        let suspect = self.dial_that_may_end_at(local, ip);
        let is_elsewhere =
            |&(_, own, at): &(Duration, IpAddr, Option<IpAddr>)| own == ip && at.is_some_and(|at| at != local);
        if suspect.is_none() && self.learnt.iter().any(is_elsewhere) {
            self.disown(ip);
        }
        let status = self.peers.get(&ip).map(|peer| peer.status);
        if status == Some(PeerStatus::Banned) && suspect.is_none() {
            self.events += 1;
            let event = self.events;
            let peer = self.peer_mut(ip);
            peer.ban_event = event;
            peer.fails(now.utc);
            return Verdict::Refuse(Refusal::Banned);
        }
        if self.is_denied(ip) && suspect.is_none() {
            return Verdict::Refuse(Refusal::Denied);
        }
        let we_are_lower = local < ip;
        let is_connected = match status {
            Some(PeerStatus::InHandshaking | PeerStatus::InAlive) => true,
            Some(PeerStatus::OutAlive) if self.has_lasted(now, ip) => true,
            Some(PeerStatus::OutHandshaking | PeerStatus::OutAlive) => we_are_lower,
            _ => false,
        };
        if self.parked_of(ip).is_some() || self.is_held(ip) || (is_connected && suspect.is_none()) {
            return Verdict::Refuse(Refusal::Connected);
        }
        let is_new = suspect.is_none() && matches!(status, None | Some(PeerStatus::Idle));
        if let Some(refusal) = self.full(ip) {
            if is_new && self.may_evict(now, ip) {
                return Verdict::Admit;
            }
            if status.is_none() && suspect.is_none() && ip != local {
                self.remember_refused(ip);
            }
            return Verdict::Refuse(refusal);
        }
        match status {
            _ if suspect.is_some() => Verdict::Park(suspect),
            Some(PeerStatus::OutConnecting) if we_are_lower => Verdict::Park(None),
            // It may be the other end of our dial, and takes its slot if it is not.
            Some(PeerStatus::OutConnecting) => Verdict::Park(self.peer(ip).connection),
            Some(PeerStatus::OutHandshaking | PeerStatus::OutAlive) => Verdict::Park(None),
            _ => Verdict::Admit,
        }
    }

    /// An unknown peer for which there is no room; one a network that is globally reachable.
    fn remember_refused(&mut self, ip: IpAddr) {
        let is_near = |peer: &Known| peer.refused && inbound_network(peer.ip) == inbound_network(ip);
        let is_second = is_global(ip) && self.peers.values().any(is_near);
        if !is_second && !self.is_own(ip) && self.count(PeerStatus::Idle) < self.config.max_idle_peers {
            self.add(ip);
            self.peer_mut(ip).refused = true;
        }
    }

    /// It comes from the port that our connection with the peer left from, and not long after that came alive.
    fn is_other_end(&self, now: Now, remote: SocketAddr) -> bool {
        self.peers.get(&remote.ip()).is_some_and(|peer| {
            let is_recent = |since| now.since_start - since <= self.config.connect_timeout;
            peer.local_port == Some(remote.port()) && peer.alive_since.is_none_or(is_recent)
        })
    }

    /// One that is to be parked takes the id that the table gave.
    pub(in super::super) fn on_parked(
        &mut self,
        now: Now,
        remote: SocketAddr,
        suspect: Option<ConnectionId>,
        id: ParkedId,
    ) {
        let status = self.peers.get(&remote.ip()).map(|peer| peer.status);
        let waits_for_dial = suspect.is_some() || status == Some(PeerStatus::OutConnecting);
        self.parked.push(Parked {
            id,
            remote,
            dial: suspect,
            dialed: suspect.and_then(|dial| self.peer_of(dial)),
            until: (!waits_for_dial).then(|| now.since_start + self.config.connect_timeout),
            has_settled: false,
        });
    }

    pub(in super::super) fn on_admitted(&mut self, now: Now, ip: IpAddr, id: ConnectionId) {
        let takes_slot = self.full(ip) == Some(Refusal::IncomingFull);
        if !self.peers.contains_key(&ip) {
            self.add(ip);
            self.peer_mut(ip).knocked = true;
        }
        let (own, deadline) = (self.is_own(ip), self.handshake_deadline(now));
        let peer = self.peer_mut(ip);
        peer.status = PeerStatus::InHandshaking;
        peer.own |= own;
        peer.knocked |= std::mem::take(&mut peer.refused);
        (peer.deadline, peer.since, peer.alive_since) = (deadline, now.since_start, None);
        assert_eq!(peer.connection.replace(id), None, "{ip} has a connection");
        if takes_slot {
            self.evict(now, ip);
        }
    }

    /// Our connection has been alive for longer than two dials can take to cross.
    fn has_lasted(&self, now: Now, ip: IpAddr) -> bool {
        let since = self.peer(ip).alive_since;
        since.is_some_and(|since| now.since_start - since > self.config.connect_timeout)
    }

    fn full(&self, ip: IpAddr) -> Option<Refusal> {
        if self.incoming() >= self.config.max_incoming_connections {
            return Some(Refusal::IncomingFull);
        }
        self.full_beside_total(ip)
    }

    pub(super) fn incoming(&self) -> usize {
        let attempts = self.count(PeerStatus::InHandshaking) + self.parked.len();
        attempts + self.count(PeerStatus::InAlive)
    }

    pub(super) fn full_beside_total(&self, ip: IpAddr) -> Option<Refusal> {
        let attempts = self.count(PeerStatus::InHandshaking) + self.parked.len();
        if attempts >= self.config.max_simultaneous_incoming_connection_attempts {
            return Some(Refusal::AttemptsFull);
        }
        let inbound = self.peers.values().filter(|peer| peer.is_inbound()).map(|peer| peer.ip);
        let held = inbound.chain(self.parked.iter().map(|parked| parked.remote.ip()));
        let near = held
            .filter(|&other| inbound_network(other) == inbound_network(ip))
            .count();
        let limit = self.config.max_incoming_per_subnet?;
        (near >= limit).then_some(Refusal::SubnetFull)
    }

    fn dial_that_may_end_at(&self, local: IpAddr, remote: IpAddr) -> Option<ConnectionId> {
        let from_here = remote == local || remote.is_loopback() || self.is_own(remote);
        let dialed = self.peers.get(&local)?;
        let is_dialed = dialed.status == PeerStatus::OutConnecting;
        dialed
            .connection
            .filter(|_| is_dialed && from_here && self.is_reachable())
    }
}
