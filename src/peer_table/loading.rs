//! Peers that come from elsewhere: from the peer file, and from other peers' lists.

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::peer::{Peer, PeerRecord, PeerStatus, is_peer_address};
use crate::peer_table::entry::Moment;
use crate::peer_table::subnet::is_global;
use crate::peer_table::{Now, PeerTable};

impl PeerTable {
    /// Takes over what a peer file held, within the bounds of the config. This is no change.
    pub(crate) fn load(&mut self, now: Now, mut records: Vec<PeerRecord>) {
        let changes = self.changes;
        let banned = |record: &PeerRecord| record.peer.status == PeerStatus::Banned;
        let mut quiet_for_longest: Vec<_> = (0..records.len()).filter(|&place| banned(&records[place])).collect();
        quiet_for_longest.sort_by_key(|&place| records[place].peer.last_failure.min(Some(now.utc)));
        let mut events = vec![0; records.len()];
        for place in quiet_for_longest {
            self.last_event += 1;
            events[place] = self.last_event;
        }
        self.slots.reserve(records.len());
        self.indexes.begin_loading();
        for (record, event) in records.drain(..).zip(events) {
            self.load_record(now, record, event);
        }
        self.indexes.end_loading(&mut self.slots);
        self.changes = changes;
        self.counters.peers_added = 0;
    }

    /// Merges a peer list: adds who is not known and leaves who is as it was. Looks at no more addresses than there
    /// may be Idle peers.
    pub(crate) fn on_peer_list(&mut self, ips: impl IntoIterator<Item = IpAddr>) {
        for ip in ips.into_iter().take(self.config.max_idle_peers) {
            self.on_listed(ip);
        }
    }

    /// Merges one address of a peer list.
    pub(crate) fn on_listed(&mut self, ip: IpAddr) {
        let ip = ip.to_canonical();
        if self.id_of(ip).is_some() || self.own.contains(ip) {
            return;
        }
        if !is_peer_address(ip) || (self.config.global_peers_only && !is_global(ip)) {
            self.counters.addresses_refused += 1;
            return;
        }
        let (changes, added, forgotten) = (self.changes, self.counters.peers_added, self.counters.peers_forgotten);
        let id = self.add(Peer::new(ip), |_| {});
        self.keep_bounds(id);
        if self.id_of(ip).is_none() {
            // It was the worst itself: that is not an addition.
            (self.changes, self.counters.peers_added) = (changes, added);
            self.counters.peers_forgotten = forgotten;
        }
    }

    fn load_record(&mut self, now: Now, mut record: PeerRecord, event: u64) {
        let ip = record.peer.ip.to_canonical();
        record.peer.ip = ip;
        if self.own.contains(ip) || self.id_of(ip).is_some() {
            return;
        }
        let (status, streak) = (record.peer.status, record.peer.failures_in_row);
        let is_banned = status == PeerStatus::Banned;
        let streak = if is_banned { 0 } else { streak };
        let pause = self.pause_left(now, streak, record.peer.last_failure);
        let ban_end = self.ban_end(now, record.banned_at);
        let id = self.add(record.peer, |entry| {
            entry.believe_stored(now.utc);
            if record.other.is_some() {
                entry.rare_mut().other = record.other;
            }
            if is_banned {
                let rare = entry.rare_mut();
                rare.banned_at = record.banned_at;
                rare.deadline = ban_end;
                (rare.last_event, rare.listed_event) = (event, event);
            } else {
                entry.pause_until(pause);
            }
        });
        self.keep_bounds(id);
    }

    /// When a ban ends that goes on where it was: at once if that was meanwhile.
    fn ban_end(&self, now: Now, banned_at: Option<DateTime<Utc>>) -> Option<Moment> {
        let served = banned_at.map_or(Duration::ZERO, |at| since(at, now.utc));
        let left = self.config.ban_duration?.saturating_sub(served);
        Some(Moment::of(now.after(left)))
    }

    /// A peer with a streak waits until its last failure and the pause that followed from it.
    fn pause_left(&mut self, now: Now, streak: u32, last_failure: Option<DateTime<Utc>>) -> Option<Duration> {
        if streak == 0 {
            return None;
        }
        let pause = self.backoff(streak);
        let waited = last_failure.map_or(pause, |failure| since(failure, now.utc));
        let left = pause.saturating_sub(waited);
        (!left.is_zero()).then(|| now.after(left))
    }
}

/// How long ago a stored time was; not at all, where it lies in the future.
fn since(time: DateTime<Utc>, utc: DateTime<Utc>) -> Duration {
    (utc - time).to_std().unwrap_or(Duration::ZERO)
}
