//! Peers that come from elsewhere: from the peer file, from the config, and from other peers' lists.

use std::collections::HashSet;
use std::mem::take;
use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::peer::{Peer, PeerRecord, PeerStatus, is_peer_address};
use crate::peer_table::PeerTable;
use crate::peer_table::entry::{BanTimes, Entry};
use crate::peer_table::rank::Rank;
use crate::peer_table::reserved::longest_pause;
use crate::peer_table::subnet::is_global;
use crate::peer_table::tellers::Teller;
use crate::peer_table::time::{Moment, Now};

impl PeerTable {
    /// Takes over what the peer file held, in its order, and the operator's initial peers. The latter always get in, as
    /// long as there is room for any, and reserved peers before them; of the file's records the best do.
    ///
    /// What the file says already is no change.
    pub fn load(&mut self, now: Now, records: Vec<PeerRecord>, initial: &[IpAddr]) {
        let reserved: HashSet<_> = self.config.reserved_peers.iter().copied().collect();
        let mut entries: Vec<_> = records.into_iter().map(|record| self.loaded(now, record)).collect();
        for entry in &mut entries {
            entry.is_reserved = reserved.contains(&entry.peer.ip);
        }
        let initial = initial.iter().map(IpAddr::to_canonical);
        let initial: HashSet<_> = initial.chain(reserved.iter().copied()).collect();
        for entry in entries.iter_mut().filter(|entry| initial.contains(&entry.peer.ip)) {
            entry.on_told();
        }
        let ips = entries.iter().map(|entry| entry.peer.ip);
        let known: HashSet<_> = ips.filter(|ip| initial.contains(ip)).collect();
        let may_be_added = |ip| is_peer_address(ip) && !self.own.contains(ip) && !self.exclusion.excludes(ip);
        let is_missing = |ip: &IpAddr| !known.contains(ip) && (reserved.contains(ip) || may_be_added(*ip));
        let mut missing: Vec<_> = initial.iter().copied().filter(is_missing).collect();
        missing.sort_unstable_by_key(|ip| (!reserved.contains(ip), *ip));
        let known_reserved = known.intersection(&reserved).count();
        missing.truncate(self.max_idle().saturating_sub(known_reserved));

        let dropped = beyond_room(&entries, &initial, self.max_idle() - missing.len());
        let bans_begun = self.add_loaded(now, entries, &dropped);
        let dropped = u64::try_from(dropped.len()).unwrap_or(u64::MAX);
        self.counters.records_dropped = dropped + take(&mut self.counters.peers_forgotten);
        self.peers.set_changes(bans_begun);
        self.counters.peers_added = 0;
        for ip in missing {
            if reserved.contains(&ip) {
                self.add_reserved(ip);
            } else {
                self.add(self.new_entry(Peer::new(ip)));
            }
        }
    }

    /// Merges a peer list that names no teller.
    #[cfg(any(test, feature = "internals"))]
    pub fn on_peer_list(&mut self, ips: impl IntoIterator<Item = IpAddr>) {
        self.on_peer_list_from(None, ips);
    }

    /// Merges a peer list: adds peers that are not known, and lets others be told of those that had only knocked. Looks at
    /// no more addresses than there may be Idle peers. That `teller` told of the peers that are added is remembered.
    pub fn on_peer_list_from(&mut self, teller: Option<IpAddr>, ips: impl IntoIterator<Item = IpAddr>) {
        for ip in ips.into_iter().take(self.config.max_idle_peers) {
            self.on_listed(teller, ip);
        }
    }

    /// Merges one address of a peer list.
    pub fn on_listed(&mut self, teller: Option<IpAddr>, ip: IpAddr) {
        let ip = ip.to_canonical();
        if let Some(id) = self.peers.id_of(ip) {
            return self.on_known_listed(id);
        }
        if self.own.contains(ip) {
            return;
        }
        let is_local = self.config.global_peers_only && !is_global(ip);
        if !is_peer_address(ip) || is_local || self.exclusion.excludes(ip) {
            self.counters.addresses_refused += 1;
            return;
        }
        if self.peers.counts().idle > self.max_idle() {
            // The cap was lowered, and is yet to be met.
            return;
        }
        let (changes, counters, logged) = (self.peers.changes(), self.counters, self.log.mark());
        let entry = self.new_entry(Peer::new(ip));
        let id = self.add_told(entry, teller.map(Teller::at));
        self.keep_bounds(id);
        if self.peers.id_of(ip).is_none() {
            // It was forgotten at once: nothing has changed.
            self.peers.set_changes(changes);
            self.counters = counters;
            self.log.undo_to(logged);
        }
    }

    /// Adds loaded peers but for those dropped; answers how many bans began only now, which the file does not say yet.
    fn add_loaded(&mut self, now: Now, mut entries: Vec<Entry>, dropped: &HashSet<usize>) -> u64 {
        let mut bans_begun = 0;
        let mut bans: Vec<_> = entries.iter_mut().filter(|entry| is_banned(entry)).collect();
        bans.sort_by_key(|entry| entry.times().last_failure);
        for ban in bans {
            bans_begun += u64::from(self.resume_ban(now, ban));
        }
        self.peers.reserve(entries.len() - dropped.len());
        for (index, mut entry) in entries.into_iter().enumerate() {
            if dropped.contains(&index) || self.peers.id_of(entry.peer.ip).is_some() {
                continue;
            }
            if !is_banned(&entry) {
                entry.paused_until = self.pause_left(now, &entry);
            }
            let is_banned = is_banned(&entry);
            let id = self.add(entry);
            if is_banned {
                self.keep_bounds(id);
            }
        }
        bans_begun
    }

    /// A ban goes on where it was. One without a beginning, or with one in the future, begins now: answers whether it
    /// does.
    fn resume_ban(&mut self, now: Now, entry: &mut Entry) -> bool {
        let BanTimes { at, until } = entry.ban_times();
        let begun = at.or(entry.peer.last_failure).filter(|&at| at <= now.utc);
        let at = begun.unwrap_or(now.utc);
        let ban_end = self.ban_end(now, at, until);
        let event = self.next_event();
        let rare = entry.rare_mut();
        rare.ban_times.at = Some(at);
        (rare.ban_end, rare.ban_event) = (ban_end, event);
        begun.is_none()
    }

    fn loaded(&self, now: Now, mut record: PeerRecord) -> Entry {
        record.peer.ip = record.peer.ip.to_canonical();
        let tie = self.random.tie(record.peer.ip);
        let mut entry = self.with_config(Entry::loaded(record, tie, now));
        entry.is_own = self.own.contains(entry.peer.ip);
        entry
    }

    /// A peer with a streak waits until its last failure and the pause that followed from it.
    fn pause_left(&mut self, now: Now, entry: &Entry) -> Option<Moment> {
        let peer = &entry.peer;
        if peer.failures_in_row == 0 {
            return None;
        }
        let pause = self.backoff(peer.failures_in_row).min(longest_pause(entry));
        let pause = self.random.jittered(pause);
        let since = |failure: DateTime<Utc>| (now.utc - failure).to_std().unwrap_or_default();
        let waited = peer.last_failure.map_or(Duration::MAX, since);
        let left = pause.saturating_sub(waited).min(self.config.max_retry_backoff);
        (!left.is_zero()).then(|| now.after(left))
    }
}

fn is_banned(entry: &Entry) -> bool {
    entry.peer.status == PeerStatus::Banned
}

/// The entries that are dropped because no more than `room` Idle peers may be kept: the worst, and initial peers last.
fn beyond_room(entries: &[Entry], initial: &HashSet<IpAddr>, room: usize) -> HashSet<usize> {
    let mut idle: Vec<_> = (0..entries.len())
        .filter(|&index| !is_banned(&entries[index]))
        .collect();
    if idle.len() <= room {
        return HashSet::new();
    }
    idle.sort_by_cached_key(|&index| {
        let entry = &entries[index];
        let is_initial = initial.contains(&entry.peer.ip);
        (!entry.is_reserved, !is_initial, Rank::of(entry), entry.tie)
    });
    idle.split_off(room).into_iter().collect()
}
