//! Which peers others may be told of, and what each of them offers.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use bitcoin::p2p::ServiceFlags;

/// The services of each peer that we have reached or that was announced to us. A peer that only connected to us is
/// missing: nobody knows whether it can be reached.
#[derive(Debug)]
pub(crate) struct AddressBook {
    entries: HashMap<IpAddr, Entry>,
    limit: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    services: ServiceFlags,
    /// Whether they are those of its own `version`.
    is_first_hand: bool,
}

impl AddressBook {
    /// An empty one, to be [cleared](Self::retain) of unknown peers whenever it would hold more than `limit` entries.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            entries: HashMap::new(),
            limit,
        }
    }

    /// A peer told us its own services. Those of a peer that we dialed are added, those of one that dialed us only
    /// correct what was announced.
    pub(crate) fn on_version(&mut self, ip: IpAddr, services: ServiceFlags, is_outgoing: bool) {
        let entry = Entry {
            services,
            is_first_hand: true,
        };
        if is_outgoing || self.entries.contains_key(&ip) {
            self.entries.insert(ip, entry);
        }
    }

    /// A peer was announced with these services.
    pub(crate) fn on_announcement(&mut self, ip: IpAddr, services: ServiceFlags) {
        let announced = Entry {
            services,
            is_first_hand: false,
        };
        let entry = self.entries.entry(ip).or_insert(announced);
        if !entry.is_first_hand {
            *entry = announced;
        }
    }

    /// Whether that many announcements may exceed the limit.
    pub(crate) fn is_full(&self, announcements: usize) -> bool {
        self.entries.len() + announcements > self.limit
    }

    /// Forgets all but these peers.
    pub(crate) fn retain(&mut self, known: &HashSet<IpAddr>) {
        self.entries.retain(|ip, _| known.contains(ip));
    }

    /// The first `limit` of these peers that others may be told of, each with its services.
    pub(crate) fn with_services(&self, peers: Vec<IpAddr>, limit: usize) -> Vec<(IpAddr, ServiceFlags)> {
        let known = peers
            .into_iter()
            .filter_map(|ip| Some((ip, self.entries.get(&ip)?.services)));
        known.take(limit).collect()
    }
}
