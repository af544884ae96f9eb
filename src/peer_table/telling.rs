//! Which peers others are told of: all that are listed, but for our own addresses, those that `denied`,
//! `allowed` or `global_peers_only` exclude, and those that have only knocked, see `newcomers`.
//!
//! If a node told all others of its best peers, these would become hubs, and the rest would never be heard of. So there is
//! a random sample to tell, beside the list from best to worst.

use std::net::IpAddr;

use crate::peer::PeerStatus;
use crate::peer_table::PeerTable;
use crate::peer_table::entry::Entry;
use crate::peer_table::reconfiguring::PASSED_OVER_PER_SAMPLE;

impl PeerTable {
    /// All peers to tell of, best to worst.
    pub fn good_peer_ips(&self) -> impl Iterator<Item = IpAddr> {
        let any_own = self.own.any_known();
        // An address may turn out to be our own long after it was added.
        let is_own = move |entry: &Entry| any_own && self.own.contains(entry.peer.ip);
        let is_told = move |entry: &&Entry| entry.is_advertisable() && !is_own(entry) && self.lists_let_tell(entry);
        self.peers.in_order().filter(is_told).map(|entry| entry.peer.ip)
    }

    /// All that [`Self::good_peer_ips`] yields.
    pub fn all_good_peer_ips(&self) -> Vec<IpAddr> {
        let mut ips = Vec::with_capacity(self.peers.advertisable_len());
        ips.extend(self.good_peer_ips());
        ips
    }

    /// So many of the peers that [`Self::good_peer_ips`] yields, all of them if there are no more: drawn by lot, in random
    /// order, none twice.
    ///
    /// Addresses that turned out to be our own since they were added are noted as such when they are drawn, so each of
    /// them costs something once only.
    pub fn sample_peer_ips(&mut self, limit: usize) -> Vec<IpAddr> {
        let mut ips = Vec::with_capacity(limit.min(self.peers.advertisable_len()));
        let (mut drawn, mut passed_over) = (0, 0);
        while ips.len() < limit
            && passed_over < PASSED_OVER_PER_SAMPLE
            && let Some(id) = self.peers.draw_advertisable(drawn, &mut self.random)
        {
            if !self.lists_let_tell(self.peers.get(id)) {
                self.is_denied_now(id);
                passed_over += 1;
                continue;
            }
            let peer = &self.peers.get(id).peer;
            if !self.own.contains(peer.ip) {
                ips.push(peer.ip);
            } else if peer.status == PeerStatus::Idle {
                self.note_own(id);
                continue;
            }
            drawn += 1;
        }
        ips
    }

    /// A new entry, with what the config says of its address.
    pub(super) fn with_config(&self, mut entry: Entry) -> Entry {
        (entry.is_denied, entry.may_be_told) = self.said_by_lists(&entry);
        entry
    }
}
