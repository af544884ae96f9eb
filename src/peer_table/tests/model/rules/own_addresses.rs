//! What the design says of this node's own addresses.

use super::*;

impl Model {
    pub(in super::super) fn is_own(&self, ip: IpAddr) -> bool {
        let is_here = self.listen.ip() == ip || (self.knows_loopback && ip.is_loopback());
        self.learnt.iter().any(|&(_, other, _)| other == ip) || (self.is_reachable() && is_here)
    }

    pub(super) fn is_reachable(&self) -> bool {
        let port = self.listen.port();
        self.config.peer_port.unwrap_or(port) == port
    }

    pub(super) fn reaches_ourselves(&mut self, now: Now, ip: IpAddr, local: SocketAddr) -> bool {
        let reaches_any = self.listen.ip().is_unspecified() && ip.is_loopback();
        let is_other_end = |parked: &&Parked| parked.remote == local || parked.remote == (ip, local.port()).into();
        let other_end = self.parked.iter().find(is_other_end).map(|parked| parked.id);
        match other_end {
            Some(other_end) => self.refuse_parked(other_end),
            None if self.is_reachable() && (local.ip() == ip || reaches_any) => {
                self.legs.push((now.since_start + self.config.connect_timeout, local));
            }
            None => return false,
        }
        self.on_reached_ourselves(now, ip, local.ip());
        true
    }

    /// An address that was learnt through a router is banned: it may only seem to be ours, and its next ban counts.
    pub(super) fn doubt(&mut self, ip: IpAddr) {
        let is_feigned = |&(_, own, local): &(_, IpAddr, Option<IpAddr>)| own == ip && local.is_some_and(|at| at != ip);
        if self.learnt.iter().any(is_feigned) {
            self.disown(ip);
        }
    }

    pub(in super::super) fn on_reached_ourselves(&mut self, now: Now, ip: IpAddr, local: IpAddr) {
        self.learn_own(now, ip, Some(local));
        self.peer_mut(ip).own = true;
        self.pace.replacements += usize::from(!self.peer(ip).beside);
        self.end(now, ip, Revocation::Ourselves);
    }

    pub(super) fn on_ourselves(&mut self, now: Now, ip: IpAddr) {
        self.learn_own(now, ip, None);
        let Some(peer) = self.peers.get(&ip) else { return };
        match peer.status {
            PeerStatus::Idle => self.keep_bounds(ip),
            PeerStatus::Banned => self.lift_ban(ip),
            status => {
                let dial = peer.connection.filter(|_| status == PeerStatus::OutConnecting);
                self.actions.extend(dial.map(Action::CallOff));
                self.end(now, ip, Revocation::Ourselves);
            }
        }
    }

    pub(super) fn learn_own(&mut self, now: Now, ip: IpAddr, local: Option<IpAddr>) {
        let hour = Duration::from_secs(3600);
        if self.is_reachable() && ip.is_loopback() && self.listen.ip().is_unspecified() {
            self.knows_loopback = true;
        } else if let Some(known) = self.learnt.iter_mut().find(|known| known.1 == ip) {
            known.2 = local;
        } else {
            self.learnt.push((now.since_start + hour, ip, local));
        }
        self.forget_own(now);
    }

    pub(super) fn forget_own(&mut self, now: Now) {
        while let Some(&(_, ip, _)) = self.learnt.iter().find(|known| known.0 <= now.since_start) {
            self.disown(ip);
        }
    }

    pub(in super::super) fn disown(&mut self, ip: IpAddr) {
        self.learnt.retain(|known| known.1 != ip);
        let is_own = self.is_own(ip);
        if let Some(peer) = self.peers.get_mut(&ip) {
            peer.own = is_own;
        }
    }
}
