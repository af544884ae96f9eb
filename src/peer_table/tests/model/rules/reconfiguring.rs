//! What the design says of a new config.

use super::*;

impl Model {
    pub(in super::super) fn reconfigure(&mut self, now: Now, new: &NetworkConfig) {
        let old = std::mem::replace(&mut self.config, new.clone());
        self.change_pace(now, &old);
        self.has_new_lists |= (&old.denied, &old.allowed) != (&new.denied, &new.allowed);
        if old.rotation_interval != new.rotation_interval {
            self.exchanges.plan_rotation(new, now);
        }
        for ip in old.reserved_peers {
            if !new.reserved_peers.contains(&ip) {
                self.peer_mut(ip).reserved = false;
                self.note_if_own(ip);
            }
        }
        for &ip in &new.reserved_peers {
            if self.peers.get(&ip).is_none_or(|peer| !peer.reserved) {
                self.on_reserved(now, ip);
                self.note_if_own(ip);
            }
        }
        if new.target_outgoing_connections < old.target_outgoing_connections && self.shortage() == 0 {
            self.pace.replacements = 0;
            self.call_off_all(now);
        }
    }

    /// What is left to do is done by the next call, as few peers are known; in this order, as those that are denied are
    /// forgotten first.
    pub(super) fn finish_reconfiguring(&mut self, now: Now, order: &[IpAddr]) {
        let has_new_lists = std::mem::take(&mut self.has_new_lists);
        for ip in order.iter().filter(|_| has_new_lists) {
            let Some(peer) = self.peers.get(ip) else { continue };
            let (status, is_leased) = (peer.status, peer.is_leased);
            self.note_denied(*ip);
            if !self.peer(*ip).denied {
                continue;
            }
            if status == PeerStatus::OutConnecting {
                self.actions.extend(self.peer(*ip).connection.map(Action::CallOff));
                self.end(now, *ip, NO_LEASE);
            } else if is_leased {
                self.close(now, *ip, Revocation::Denied);
            }
        }
        self.forget_idle(None);
        self.drop_bans();
    }

    pub(super) fn note_denied(&mut self, ip: IpAddr) {
        let denied = self.is_denied(ip);
        if let Some(peer) = self.peers.get_mut(&ip) {
            peer.denied = denied;
        }
    }

    fn change_pace(&mut self, now: Now, old: &NetworkConfig) {
        let [was, is] = [old, &self.config].map(|config| 2 * config.max_simultaneous_outgoing_connection_attempts);
        let stagger = self.config.dial_stagger;
        let soonest = now.since_start + self.interval(now.since_start);
        let pace = &mut self.pace;
        pace.tokens = (pace.tokens + is.saturating_sub(was)).min(is);
        pace.next_token = pace.next_token.filter(|_| pace.tokens < is);
        pace.next_token = pace.next_token.map(|next| next.min(soonest));
        pace.race_at = pace.race_at.min(now.since_start + stagger);
    }
}
