//! Bans: a banned peer is neither dialed nor admitted nor told of, until the ban is lifted, ends, or is dropped for want
//! of room.

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::change::Cause;
use crate::peer::{Peer, PeerId, PeerStatus, is_peer_address};
use crate::peer_table::entry::BanTimes;
use crate::peer_table::time::{Moment, Now};
use crate::peer_table::{Action, PeerTable};

impl PeerTable {
    /// Bans the address, for `term` or else as long as `ban_duration` says. Replaces the term of a ban before.
    pub(super) fn ban(&mut self, now: Now, ip: IpAddr, term: Option<Duration>) {
        if !is_peer_address(ip) || self.own.contains(ip) {
            self.counters.feedback_stale += 1;
            return self.end_banned_own(now, ip);
        }
        self.counters.bans_set += 1;
        let event = self.next_event();
        let times = BanTimes {
            at: Some(now.utc),
            until: term.map(|term| now.utc_after(term)),
        };
        let ban_end = term.or(self.config.ban_duration).map(|term| now.after(term));
        let cause = Cause::Banned(self.reporter);
        let id = self.peers.id_of(ip).unwrap_or_else(|| self.add_banned(ip, cause));
        if self.peers.get(id).peer.status == PeerStatus::OutConnecting {
            self.counters.dials_called_off += 1;
            self.actions.extend(self.connection_of(id).map(Action::CallOff));
        }
        self.end_connection(now, id, cause, |entry| {
            entry.peer.status = PeerStatus::Banned;
            entry.on_failure(now.utc);
            entry.paused_until = None;
            entry.failures_in_outage = 0;
            let rare = entry.rare_mut();
            (rare.ban_times, rare.ban_end, rare.ban_event) = (times, ban_end, event);
        });
    }

    pub(super) fn unban(&mut self, ip: IpAddr) {
        match self.peers.id_of(ip) {
            Some(id) if self.peers.get(id).peer.status == PeerStatus::Banned => self.lift_ban(id, Cause::Unbanned),
            _ => self.counters.feedback_stale += 1,
        }
    }

    pub(super) fn lift_ban(&mut self, id: PeerId, cause: Cause) {
        self.transition(id, cause, |entry| {
            entry.peer.status = PeerStatus::Idle;
            let rare = entry.rare_mut();
            (rare.ban_times, rare.ban_end) = (BanTimes::default(), None);
        });
        self.keep_idle_bound(id);
    }

    /// A banned peer tried to connect.
    pub(super) fn on_banned_attempt(&mut self, now: Now, id: PeerId) {
        let event = self.next_event();
        self.peers.update(id, |entry| {
            entry.rare_mut().ban_event = event;
            entry.on_failure(now.utc);
        });
    }

    /// When a loaded ban ends that was set `at`: at the end of its own term, or `ban_duration` after it was set.
    pub(super) fn ban_end(&self, now: Now, at: DateTime<Utc>, until: Option<DateTime<Utc>>) -> Option<Moment> {
        let left = match until {
            Some(until) => (until - now.utc).to_std().unwrap_or_default(),
            None => {
                let served = (now.utc - at).to_std().unwrap_or_default();
                self.config.ban_duration?.saturating_sub(served)
            }
        };
        Some(now.after(left))
    }

    /// Numbers the events that concern bans.
    pub(super) fn next_event(&mut self) -> u64 {
        self.last_event += 1;
        self.last_event
    }

    /// An own address is not banned, but its connection ends all the same.
    fn end_banned_own(&mut self, now: Now, ip: IpAddr) {
        if let Some(id) = self.peers.id_of(ip)
            && self.peers.get(id).peer.status.is_connected()
        {
            self.end_connection(now, id, Cause::Ourselves, |_| {});
        }
        // A stranger can feign to be us, by calling from the port that our dial left from: its next ban counts.
        if self.own.is_behind_router(ip) {
            self.disown(ip);
        }
    }

    fn add_banned(&mut self, ip: IpAddr, cause: Cause) -> PeerId {
        let mut entry = self.new_entry(Peer::new(ip));
        entry.peer.status = PeerStatus::Banned;
        self.add_as(cause, entry)
    }
}
