//! Peers that come from elsewhere: from the peer file, and from other peers' lists.

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::peer::{Peer, PeerRecord, PeerStatus, is_peer_address};
use crate::peer_table::entry::{Entry, Times};
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
        for (record, event) in records.drain(..).zip(events) {
            self.load_record(now, record, event);
        }
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
        let id = self.add(self.new_entry(Peer::new(ip)));
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
        let mut entry = self.new_entry(record.peer);
        let believed = believed(&entry, now.utc);
        if record.other.is_some() || believed.is_some() {
            let rare = entry.rare_mut();
            (rare.other, rare.believed) = (record.other, believed);
        }
        entry.judge_proven(now.utc);
        if entry.peer.status == PeerStatus::Banned {
            self.load_ban(now, &mut entry, record.banned_at, event);
        } else {
            self.load_pause(now, &mut entry);
        }
        let id = self.add(entry);
        self.keep_bounds(id);
    }

    /// A ban goes on where it was; one that ended meanwhile is over.
    fn load_ban(&mut self, now: Now, entry: &mut Entry, banned_at: Option<DateTime<Utc>>, event: u64) {
        let served = banned_at.map_or(Duration::ZERO, |at| since(at, now.utc));
        let duration = self.config.ban_duration;
        let rare = entry.rare_mut();
        rare.banned_at = banned_at;
        rare.last_event = event;
        rare.deadline = duration.map(|duration| now.after(duration.saturating_sub(served)));
    }

    /// A peer with a streak waits until its last failure and the pause that followed from it.
    fn load_pause(&mut self, now: Now, entry: &mut Entry) {
        if entry.peer.failures_in_row == 0 {
            return;
        }
        let pause = self.backoff(entry.peer.failures_in_row);
        let waited = entry.peer.last_failure.map_or(pause, |failure| since(failure, now.utc));
        let left = pause.saturating_sub(waited);
        entry.pause_until((!left.is_zero()).then(|| now.after(left)));
    }
}

/// How long ago a stored time was; not at all, where it lies in the future.
fn since(time: DateTime<Utc>, utc: DateTime<Utc>) -> Duration {
    (utc - time).to_std().unwrap_or(Duration::ZERO)
}

/// The times to go by, where those stored lie in the future.
fn believed(entry: &Entry, utc: DateTime<Utc>) -> Option<Times> {
    let stored = entry.believed_times();
    let believe = |time: Option<DateTime<Utc>>| time.map(|time| time.min(utc));
    let times = Times {
        last_alive: believe(stored.last_alive),
        last_failure: believe(stored.last_failure),
        last_alive_outgoing: believe(stored.last_alive_outgoing),
    };
    (times != stored).then_some(times)
}
