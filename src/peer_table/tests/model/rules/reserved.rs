//! What the design says of reserved peers and of dials by hand.

use super::*;

/// Before its jitter: with it, 30 s.
pub(super) fn longest_pause(peer: &Known) -> Duration {
    if peer.reserved {
        Duration::from_secs(24)
    } else {
        Duration::MAX
    }
}

impl Model {
    pub(super) fn reserve(&mut self, now: Now, ip: IpAddr) {
        let is_reserved = self.config.reserved_peers.contains(&ip);
        let has_room = self.config.reserved_peers.len() < self.config.max_idle_peers / 2;
        if is_reserved || !has_room || !is_peer_address(ip) {
            self.stale += 1;
            return;
        }
        self.config.reserved_peers.push(ip);
        self.on_reserved(now, ip);
        self.keep_bounds(ip);
    }

    pub(super) fn on_reserved(&mut self, now: Now, ip: IpAddr) {
        if !self.peers.contains_key(&ip) {
            self.add(ip);
            self.peer_mut(ip).own = self.is_own(ip);
        }
        let peer = self.peer_mut(ip);
        peer.reserved = true;
        if !(peer.own && peer.from_file) {
            (peer.knocked, peer.refused) = (false, false);
        }
        peer.beside |= peer.is_outgoing();
        let (shortest, longest) = jittered(now, longest_pause(peer));
        peer.pause = peer.pause.map(|pause| (pause.0.min(shortest), pause.1.min(longest)));
    }

    pub(super) fn release(&mut self, ip: IpAddr) {
        if !self.config.reserved_peers.contains(&ip) {
            self.stale += 1;
            return;
        }
        self.config.reserved_peers.retain(|&other| other != ip);
        self.peer_mut(ip).reserved = false;
        self.keep_bounds(ip);
    }

    pub(super) fn want_dial(&mut self, ip: IpAddr) {
        self.note_denied(ip);
        let most = self
            .config
            .max_idle_peers
            .max(self.config.max_simultaneous_outgoing_connection_attempts);
        if self.may_be_dialed_by_hand(ip) && !self.wanted.contains(&ip) && self.wanted.len() < most {
            self.wanted.push(ip);
        } else {
            self.stale += 1;
        }
    }

    /// Not our own, denied, banned, connected, being dialed or impossible.
    pub(in super::super) fn may_be_dialed_by_hand(&self, ip: IpAddr) -> bool {
        let is_excluded = !is_peer_address(ip) || self.is_own(ip) || self.is_denied(ip);
        let is_free = self.peers.get(&ip).is_none_or(|peer| peer.is_idle() && !peer.own);
        !is_excluded && is_free && self.parked_of(ip).is_none() && !self.is_held(ip)
    }

    /// An attempt is free, and this host is well.
    pub(in super::super) fn beside_gate(&self) -> Option<Duration> {
        let attempts = self.count(PeerStatus::OutConnecting) + self.count(PeerStatus::OutHandshaking);
        let is_free = attempts < self.config.max_simultaneous_outgoing_connection_attempts;
        is_free.then_some(self.pace.host_pause_until)
    }

    /// The addresses that are dialed before all others: the one that has been wanted for longest, or the best of the
    /// reserved peers.
    pub(in super::super) fn beside_choices(&mut self, now: Now) -> Vec<IpAddr> {
        if self.beside_gate().is_none_or(|gate| gate > now.since_start) {
            return Vec::new();
        }
        while let Some(&first) = self.wanted.first() {
            if self.may_be_dialed_by_hand(first) {
                return vec![first];
            }
            self.wanted.remove(0);
            self.stale += 1;
        }
        let reserved = self.ips(|peer| self.is_reserved_candidate(peer, now) && !self.is_own(peer.ip));
        reserved
            .into_iter()
            .min_by_key(|&ip| self.peer(ip).key())
            .into_iter()
            .collect()
    }

    pub(in super::super) fn start_beside(&mut self, id: ConnectionId, ip: IpAddr) {
        // A reserved peer is dialed only if nothing is wanted.
        self.wanted.retain(|&other| other != ip);
        if !self.peers.contains_key(&ip) {
            self.add(ip);
        }
        let peer = self.peer_mut(ip);
        peer.status = PeerStatus::OutConnecting;
        (peer.connection, peer.pause, peer.beside) = (Some(id), None, true);
        self.started.push(id);
    }

    pub(in super::super) fn is_reserved_candidate(&self, peer: &Known, now: Now) -> bool {
        peer.reserved && self.is_free(peer) && !peer.pauses(now.since_start)
    }

    /// The peer is not dialed for about so long.
    pub(super) fn rest(&mut self, now: Now, ip: IpAddr, pause: Duration) {
        let pause = pause.min(longest_pause(self.peer(ip)));
        self.peer_mut(ip).pause = Some(jittered(now, pause));
    }

    /// A ban of a reserved peer is dropped by lifting it.
    pub(super) fn drop_ban(&mut self, victims: &[IpAddr]) {
        let may_be = |ip: &&IpAddr| self.peer(**ip).reserved || self.script.is_gone(**ip);
        let possible: Vec<_> = victims.iter().filter(may_be).copied().collect();
        // If none of them is gone, the comparison with the table will tell.
        let victim = possible
            .get(self.script.ask(possible.len()))
            .map_or(victims[0], |&victim| victim);
        if self.peer(victim).reserved {
            self.lift_ban(victim);
        } else {
            self.forget(victim);
        }
    }
}
