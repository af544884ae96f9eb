//! The peer table for the benches and the fuzz target of this repository. No part of the public interface: it changes
//! without notice.

#![allow(missing_docs, reason = "see above")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::config::NetworkConfig;
use crate::peer::{ConnectionId, Peer, PeerRecord};
use crate::peer_table::{Action, DialFailure, Now, PeerTable, Reached, Report, Verdict};
use crate::stats::Stats;

/// A peer table; its inputs are the table's, with numbers for connections.
#[derive(Debug)]
pub struct Table {
    table: PeerTable,
    now: Now,
}

impl Table {
    #[must_use]
    pub fn new(config: NetworkConfig, listen: SocketAddr, seed: u64, utc: DateTime<Utc>) -> Self {
        let now = Now {
            utc,
            since_start: Duration::ZERO,
        };
        Self {
            table: PeerTable::new(config, listen, seed, now),
            now,
        }
    }

    pub fn set_time(&mut self, utc: DateTime<Utc>, since_start: Duration) {
        self.now = Now { utc, since_start };
        self.table.on_time(self.now);
    }

    pub fn load(&mut self, peers: impl IntoIterator<Item = Peer>) {
        let record = |peer| PeerRecord {
            peer,
            banned_at: None,
            other: None,
        };
        self.table.load(self.now, peers.into_iter().map(record).collect());
    }

    /// An idle peer, as a file would have it.
    #[must_use]
    pub fn peer(
        ip: IpAddr,
        last_alive: Option<DateTime<Utc>>,
        last_alive_outgoing: Option<DateTime<Utc>>,
        last_failure: Option<DateTime<Utc>>,
        failures_in_row: u32,
    ) -> Peer {
        Peer {
            last_alive,
            last_alive_outgoing,
            last_failure,
            failures_in_row,
            ..Peer::new(ip)
        }
    }

    /// Whom the table would dial next.
    pub fn choose(&mut self) -> bool {
        self.table.choose(self.now).is_some()
    }

    pub fn next_dial(&mut self) -> Option<(u64, IpAddr)> {
        self.table.next_dial(self.now).map(|(id, ip)| (id.0, ip))
    }

    pub fn dialed(&mut self, id: u64, local: SocketAddr) -> Option<IpAddr> {
        match self.table.on_dialed(self.now, ConnectionId(id), local) {
            Reached::Peer(ip) => Some(ip),
            Reached::Ourselves | Reached::Nobody => None,
        }
    }

    pub fn dial_failed(&mut self, id: u64) {
        self.table.on_dial_failed(self.now, ConnectionId(id), DialFailure::Peer);
    }

    pub fn alive(&mut self, ip: IpAddr) {
        self.table.on_report(self.now, ip, Report::Alive);
    }

    pub fn closed(&mut self, ip: IpAddr) {
        self.table.on_report(self.now, ip, Report::Closed);
    }

    pub fn failed(&mut self, ip: IpAddr) {
        self.table.on_report(self.now, ip, Report::Failed);
    }

    pub fn banned(&mut self, ip: IpAddr) {
        self.table.on_report(self.now, ip, Report::Banned);
    }

    /// Whether the socket would be admitted; it is then.
    pub fn inbound(&mut self, remote: SocketAddr, local: IpAddr) -> bool {
        let is_admitted = self.table.on_inbound(self.now, remote, local) == Verdict::Admit;
        if is_admitted {
            self.table.on_admitted(self.now, remote.ip());
        }
        is_admitted
    }

    pub fn list(&mut self, ips: impl IntoIterator<Item = IpAddr>) {
        self.table.on_peer_list(ips);
    }

    pub fn good_peer_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.table.good_peer_ips()
    }

    /// Carries out nothing and forgets what there was to be done.
    pub fn drain(&mut self) {
        while let Some(Action::CallOff(_) | Action::RefuseParked(_) | Action::Ended(_)) = self.table.next_action() {}
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        self.table.stats()
    }
}
