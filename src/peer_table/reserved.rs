//! Peers that the operator wants connections with: reserved ones always, and one dial at once where `Dial` asks for it.
//!
//! Their dials go before all others, at no pace, to whatever subnet, whether or not the target is met, and their outgoing
//! connections count beside it. They take attempts as others do. A reserved peer is not forgotten.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::config::NetworkConfig;
use crate::peer::{Peer, PeerId, is_peer_address};
use crate::peer_table::PeerTable;
use crate::peer_table::entry::Entry;
use crate::peer_table::time::{Moment, Now};

/// The longest pause of a reserved peer before its jitter; 30 s with it.
const LONGEST_PAUSE: Duration = Duration::from_secs(24);
/// How many wanted dials that make no sense any more are dropped in one call.
const DROPS_PER_CALL: usize = 64;

/// Addresses to be dialed once and as soon as an attempt is free, known or not, each once.
#[derive(Debug, Default)]
pub(crate) struct WantedDials {
    queue: VecDeque<IpAddr>,
    members: HashSet<IpAddr>,
}

impl WantedDials {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        self.members.contains(&ip)
    }

    /// Answers whether there is room for it and it was not there.
    fn push(&mut self, ip: IpAddr, at_most: usize) -> bool {
        let is_new = self.queue.len() < at_most && self.members.insert(ip);
        if is_new {
            self.queue.push_back(ip);
        }
        is_new
    }

    fn pop(&mut self) -> Option<IpAddr> {
        let ip = self.queue.pop_front()?;
        self.members.remove(&ip);
        Some(ip)
    }
}

impl PeerTable {
    /// Keeps a connection with the peer from now on.
    pub(super) fn reserve(&mut self, now: Now, ip: IpAddr) {
        let has_room = self.config.reserved_peers.len() < most_reserved(&self.config);
        if !is_peer_address(ip) || self.is_reserved(ip) || !has_room {
            self.counters.feedback_stale += 1;
            return;
        }
        self.config.reserved_peers.push(ip);
        let id = self.on_reserved(now, ip);
        self.keep_bounds(id);
    }

    /// The config names it since now.
    pub(super) fn on_reserved(&mut self, now: Now, ip: IpAddr) -> PeerId {
        let soonest = now.after(self.random.jittered(LONGEST_PAUSE));
        let id = self.peers.id_of(ip).unwrap_or_else(|| self.add_reserved(ip));
        self.peers.update(id, |entry| {
            entry.is_reserved = true;
            entry.on_told();
            entry.is_beside_target |= entry.is_outgoing();
            entry.paused_until = entry.paused_until.map(|until| until.min(soonest));
        });
        id
    }

    /// Its connection stays, and counts beside the target until it ends.
    pub(super) fn release(&mut self, ip: IpAddr) {
        if !self.is_reserved(ip) {
            self.counters.feedback_stale += 1;
            return;
        }
        self.config.reserved_peers.retain(|&reserved| reserved != ip);
        if let Some(id) = self.on_released(ip) {
            self.keep_bounds(id);
        }
    }

    /// The config does not name it any more.
    pub(super) fn on_released(&mut self, ip: IpAddr) -> Option<PeerId> {
        let id = self.peers.id_of(ip)?;
        self.peers.update(id, |entry| entry.is_reserved = false);
        Some(id)
    }

    /// Wants one dial of the address.
    pub(super) fn want_dial(&mut self, ip: IpAddr) {
        self.note_lists_of(ip);
        // Most of the table, whatever is dialed at one time.
        let at_most = self
            .max_idle()
            .max(self.config.max_simultaneous_outgoing_connection_attempts);
        if !self.may_be_dialed_now(ip) || !self.wanted.push(ip, at_most) {
            self.counters.feedback_stale += 1;
        }
    }

    /// The peer of a dial that is beside the target: one that is wanted, else the best of the reserved peers that have
    /// rested.
    pub(super) fn choose_beside_target(&mut self, now: Now) -> Option<PeerId> {
        if self.beside_target_gate()? > now.moment() {
            return None;
        }
        for _ in 0..DROPS_PER_CALL {
            let Some(ip) = self.wanted.pop() else {
                return self.choose_reserved();
            };
            self.note_lists_of(ip);
            if self.may_be_dialed_now(ip) {
                let known = self.peers.id_of(ip);
                return Some(known.unwrap_or_else(|| self.add(self.new_entry(Peer::new(ip)))));
            }
            self.counters.feedback_stale += 1;
        }
        None
    }

    /// Passes over addresses that are known to be our own since they were added.
    fn choose_reserved(&mut self) -> Option<PeerId> {
        loop {
            let id = self.peers.best_reserved()?;
            if self.is_denied_now(id) {
                continue;
            }
            if !self.own.contains(self.peers.get(id).peer.ip) {
                return Some(id);
            }
            self.note_own(id);
        }
    }

    /// When the next dial beside the target may start; `None` while there is no peer to dial, or no attempt free.
    pub(super) fn next_dial_beside_target(&self) -> Option<Moment> {
        let gate = self.beside_target_gate()?;
        if !self.wanted.is_empty() || self.peers.best_reserved().is_some() {
            return Some(gate);
        }
        Some(gate.max(self.peers.next_reserved_pause_end()?))
    }

    /// How long a peer pauses, from now on and with its jitter.
    pub(super) fn pause_until(&mut self, now: Now, id: PeerId, pause: Duration) -> Moment {
        let longest = longest_pause(self.peers.get(id));
        now.after(self.random.jittered(pause.min(longest)))
    }

    pub(super) fn is_reserved(&self, ip: IpAddr) -> bool {
        self.peers.by_ip(ip).is_some_and(|entry| entry.is_reserved)
    }

    /// Whether a dial by hand of the address makes sense, whatever its pause.
    pub(super) fn may_be_dialed_now(&self, ip: IpAddr) -> bool {
        let is_excluded = !is_peer_address(ip) || self.own.contains(ip) || self.exclusion.excludes(ip);
        let may_be = |id: PeerId| self.peers.get(id).is_free();
        !is_excluded && !self.parking.has(ip) && !self.is_held(ip) && self.peers.id_of(ip).is_none_or(may_be)
    }

    #[cfg(test)]
    pub(crate) fn is_wanted(&self, ip: IpAddr) -> bool {
        self.wanted.contains(ip)
    }

    #[cfg(test)]
    pub(crate) fn is_beside_target(&self, ip: IpAddr) -> bool {
        self.peers.by_ip(ip).is_some_and(|entry| entry.is_beside_target)
    }

    fn beside_target_gate(&self) -> Option<Moment> {
        self.has_free_attempt().then(|| self.pace.host_pause_end())
    }

    pub(super) fn add_reserved(&mut self, ip: IpAddr) -> PeerId {
        let mut entry = self.new_entry(Peer::new(ip));
        entry.is_own = self.own.contains(ip);
        entry.is_reserved = true;
        self.add(entry)
    }
}

/// Before its jitter.
pub(crate) fn longest_pause(entry: &Entry) -> Duration {
    if entry.is_reserved {
        LONGEST_PAUSE
    } else {
        Duration::MAX
    }
}

/// The reserved peers may not be all that there is room for.
pub(crate) fn most_reserved(config: &NetworkConfig) -> usize {
    config.max_idle_peers / 2
}
