//! A new config for a table that has peers.
//!
//! What begins from then on goes by the new caps, times and lists. A lowered cap on connections closes none: no new one
//! is made or admitted until it is met. Idle and banned peers that are too many are forgotten, and what `denied`, `allowed` and
//! `global_peers_only` now say of each known peer is noted, some in each call of [`PeerTable::on_time`], so that a million
//! peers stall no poll. Until then a peer is judged when it is drawn, when its dial has succeeded, and when others are told
//! of it.
//!
//! A peer that is denied now is not dialed any more, and a connection with it ends if a lease holds it. Without a lease the
//! application could not learn of that, and ends the connection itself.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::change::Cause;
use crate::config::{ConfigError, NetworkConfig};
use crate::peer::{PeerId, PeerStatus};
use crate::peer_table::PeerTable;
use crate::peer_table::entry::Entry;
use crate::peer_table::exclusion::Exclusion;
use crate::peer_table::time::{Moment, Now};

/// How many slots of the store are looked at in one call.
const SLOTS_PER_CALL: usize = 64;
/// How many peers one sample passes over that may not be told of any more.
pub(super) const PASSED_OVER_PER_SAMPLE: usize = 256;

/// What is left to do since the config changed.
#[derive(Debug, Default)]
pub(crate) struct Reconfiguring {
    /// The first slot whose peer was not yet judged by the new lists; `None` when all were.
    pub(super) cursor: Option<usize>,
    /// The caps were met before; since they changed, there may be as many as there were then.
    #[cfg(any(test, feature = "internals", feature = "sim"))]
    pub(super) inherited: Inherited,
}

/// What a changed config lets stand that began before, for the invariants.
#[cfg(any(test, feature = "internals", feature = "sim"))]
#[derive(Clone, Debug, Default)]
pub(crate) struct Inherited {
    /// In the order in which [`PeerTable::usages`] has them.
    pub(super) used: [usize; 6],
    /// The largest `max_incoming_per_subnet` before.
    pub(super) per_subnet: usize,
    /// Handshakes that began with and without a timeout may be under way.
    pub(super) handshake_timeout: bool,
    /// Bans that began with and without a term may go on.
    pub(super) ban_duration: bool,
}

impl PeerTable {
    /// Goes on with another config.
    ///
    /// # Errors
    ///
    /// The first field that cannot work, or cannot change any more; nothing is changed then.
    pub fn reconfigure(&mut self, now: Now, mut config: NetworkConfig) -> Result<(), ConfigError> {
        config.validate()?;
        self.config.check_change(&config)?;
        let reserved = distinct(&config.reserved_peers);
        config.reserved_peers.clone_from(&self.config.reserved_peers);
        let before = std::mem::replace(&mut self.config, config);
        self.pace.reconfigure(now, &before, &self.config, self.outage.since());
        if before.rotation_interval != self.config.rotation_interval {
            self.rotation.begin(&self.config, &mut self.random, now);
        }
        if !has_same_lists(&before, &self.config) {
            self.exclusion = Exclusion::new(&self.config);
            self.reconfiguring.cursor = Some(0);
        }
        self.reserve_just(now, &reserved);
        if before.target_outgoing_connections > self.config.target_outgoing_connections {
            self.call_off_surplus(now);
        }
        #[cfg(any(test, feature = "internals", feature = "sim"))]
        self.inherit(&before);
        Ok(())
    }

    /// Does some of what is left to do.
    pub(super) fn go_on_reconfiguring(&mut self, now: Now) {
        for _ in 0..SLOTS_PER_CALL {
            let Some(slot) = self.reconfiguring.cursor else { break };
            let has_more = slot < self.peers.slots();
            self.reconfiguring.cursor = has_more.then_some(slot + 1);
            if let Some(id) = self.peers.in_slot(slot) {
                self.note_lists(id);
                self.end_denied(now, id);
            }
        }
        // Only then, as denied peers are forgotten first.
        if self.reconfiguring.cursor.is_none() {
            self.forget_idle(None);
            self.drop_bans();
        }
    }

    /// At once while there is anything left to do.
    pub(crate) fn next_reconfiguring(&self) -> Option<Moment> {
        let counts = self.peers.counts();
        let has_too_many = counts.idle > self.max_idle() || counts.banned > self.max_banned();
        (has_too_many || self.reconfiguring.cursor.is_some()).then_some(Moment::START)
    }

    /// Whether the peer, which may have been known before the lists changed, is denied; notes what they say.
    pub(super) fn is_denied_now(&mut self, id: PeerId) -> bool {
        if self.reconfiguring.cursor.is_some() {
            self.note_lists(id);
        }
        self.peers.get(id).is_denied
    }

    pub(super) fn note_lists_of(&mut self, ip: IpAddr) {
        if let Some(id) = self.peers.id_of(ip) {
            self.is_denied_now(id);
        }
    }

    /// Whether the lists let others be told of the peer, though that may not be noted yet.
    pub(super) fn lists_let_tell(&self, entry: &Entry) -> bool {
        let (is_denied, may_be_told) = self.said_by_lists(entry);
        self.reconfiguring.cursor.is_none() || (may_be_told && !is_denied)
    }

    /// Whether the config denies the peer, and whether it lets others be told of it.
    pub(super) fn said_by_lists(&self, entry: &Entry) -> (bool, bool) {
        let is_denied = self.exclusion.excludes(entry.peer.ip);
        (is_denied, !self.config.global_peers_only || entry.is_global)
    }

    fn note_lists(&mut self, id: PeerId) {
        let entry = self.peers.get(id);
        let said = self.said_by_lists(entry);
        if said != (entry.is_denied, entry.may_be_told) {
            let note = |entry: &mut Entry| (entry.is_denied, entry.may_be_told) = said;
            self.peers.update(id, note);
        }
    }

    fn end_denied(&mut self, now: Now, id: PeerId) {
        let entry = self.peers.get(id);
        if !entry.is_denied {
            return;
        }
        if entry.peer.status == PeerStatus::OutConnecting {
            self.call_off(now, id, Cause::Denied);
        } else if entry.is_leased {
            self.close_connection(now, id, Cause::Denied);
        }
    }

    /// Reserves and releases peers so that just these are reserved. None is forgotten yet: it may be the next one reserved.
    fn reserve_just(&mut self, now: Now, reserved: &[IpAddr]) {
        let wanted: HashSet<_> = reserved.iter().copied().collect();
        let before = std::mem::replace(&mut self.config.reserved_peers, reserved.to_vec());
        let released = before.into_iter().filter(|ip| !wanted.contains(ip));
        for ip in released {
            if let Some(id) = self.on_released(ip) {
                self.note_if_own(id);
            }
        }
        for &ip in reserved {
            if !self.is_reserved(ip) {
                let id = self.on_reserved(now, ip);
                self.note_if_own(id);
            }
        }
    }

    #[cfg(any(test, feature = "internals", feature = "sim"))]
    fn inherit(&mut self, before: &NetworkConfig) {
        let used = self.usages().map(|usage| usage.used);
        let inherited = &mut self.reconfiguring.inherited;
        inherited.used = used;
        let per_subnet = before.max_incoming_per_subnet.unwrap_or(usize::MAX);
        inherited.per_subnet = inherited.per_subnet.max(per_subnet);
        let has_timeout = |config: &NetworkConfig| config.handshake_timeout.is_some();
        inherited.handshake_timeout |= has_timeout(&self.config) != has_timeout(before);
        let has_term = |config: &NetworkConfig| config.ban_duration.is_some();
        inherited.ban_duration |= has_term(&self.config) != has_term(before);
    }
}

/// In canonical form, each once.
pub(super) fn distinct(ips: &[IpAddr]) -> Vec<IpAddr> {
    let mut seen = HashSet::new();
    let ips = ips.iter().map(IpAddr::to_canonical);
    ips.filter(|&ip| seen.insert(ip)).collect()
}

fn has_same_lists(one: &NetworkConfig, other: &NetworkConfig) -> bool {
    let are_same = one.denied == other.denied && one.allowed == other.allowed;
    are_same && one.global_peers_only == other.global_peers_only
}
