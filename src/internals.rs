//! The peer table and the peer file for the benches and the fuzz targets of this repository. No part of the public
//! interface: it changes without notice.

#![allow(missing_docs, reason = "see above")]

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::task::{Poll, ready};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::Stream as _;

use crate::config::NetworkConfig;
use crate::controller::dumping::Cursor;
use crate::dump_interval::{DumpEvent, DumpInterval};
use crate::fault::DialFault;
use crate::peer::{ConnectionId, Peer, PeerRecord, PeerStatus};
use crate::peer_file::{self, PeerFileError};
use crate::peer_table::{self, Now, PeerTable, Reached, Verdict};
use crate::stats::Stats;

/// A peer table; its inputs are the table's, with numbers for connections.
#[derive(Debug)]
pub struct Table {
    table: PeerTable,
    now: Now,
}

/// What becomes of an inbound socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    Admit,
    Park(u64),
    Refuse,
}

/// What is to be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    CallOff(u64),
    RefuseParked(u64),
    Ended(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Peer,
    TimedOut,
    Unroutable,
    Host,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    Alive,
    Failed,
    Closed,
    Banned,
    Unbanned,
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

    /// The table that a file of this one makes.
    #[must_use]
    pub fn restarted(&self, listen: SocketAddr, seed: u64) -> Self {
        let mut next = Self::new(self.table.config().clone(), listen, seed, self.now.utc);
        let stored = self.table.stored_from(0).flatten();
        let records = stored.map(|stored| {
            let mut peer = stored.peer.clone();
            if peer.status != PeerStatus::Banned {
                peer.status = PeerStatus::Idle;
            }
            PeerRecord {
                peer,
                banned_at: stored.banned_at,
                other: None,
            }
        });
        next.table.load(next.now, records.collect());
        next
    }

    /// What a file held.
    pub fn load_records(&mut self, records: Vec<PeerRecord>) {
        self.table.load(self.now, records);
    }

    /// The file that a controller would write, a chunk at a time; the buffer's content is the caller's to take away.
    pub fn encode(&self, mut written: impl FnMut(&mut Vec<u8>)) {
        let (mut cursor, mut out) = (Cursor::default(), Vec::new());
        while !cursor.encode(&self.table, &mut out) {
            if out.len() >= peer_file::CHUNK {
                written(&mut out);
            }
        }
        written(&mut out);
    }

    /// Dumps as a controller does.
    pub fn dump(&self, path: &Path) -> impl Future<Output = Result<(), PeerFileError>> {
        let mut interval = Box::pin(DumpInterval::new(path.to_owned(), Duration::MAX));
        interval.as_mut().dump_now();
        let mut cursor = Cursor::default();
        std::future::poll_fn(move |cx| {
            loop {
                match ready!(interval.as_mut().poll_next(cx)) {
                    Some(DumpEvent::Room) => {
                        if cursor.encode(&self.table, interval.as_mut().room()) {
                            interval.as_mut().end_of_records();
                        }
                    }
                    Some(DumpEvent::Done(result)) => return Poll::Ready(result),
                    Some(DumpEvent::Due) | None => {}
                }
            }
        })
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

    pub fn dial_failed(&mut self, id: u64, failure: Failure) {
        let failure = match failure {
            Failure::Peer => DialFault::Peer,
            Failure::TimedOut => DialFault::TimedOut,
            Failure::Unroutable => DialFault::Unroutable { at_once: false },
            Failure::Host => DialFault::Host,
        };
        self.table.on_dial_failed(self.now, ConnectionId(id), failure);
    }

    /// A report about the connection that the peer has now, if it has one.
    pub fn report(&mut self, ip: IpAddr, report: Report) {
        let connection = self.table.connection(ip.to_canonical()).map(|(id, _)| id);
        self.table.on_report(self.now, ip, connection, report.into());
    }

    pub fn lease_report(&mut self, ip: IpAddr, id: u64, report: Report) {
        self.table
            .on_report(self.now, ip, Some(ConnectionId(id)), report.into());
    }

    pub fn inbound(&mut self, remote: SocketAddr, local: IpAddr) -> Inbound {
        match self.table.on_inbound(self.now, remote, local) {
            Verdict::Admit => Inbound::Admit,
            Verdict::Park(dial) => Inbound::Park(self.table.on_parked(self.now, remote, dial).0),
            Verdict::Refuse(_) => Inbound::Refuse,
        }
    }

    /// What [`Inbound::Admit`] asks for.
    pub fn admitted(&mut self, remote: IpAddr) -> u64 {
        self.table.on_admitted(self.now, remote).0
    }

    /// A parked socket that is to be judged again.
    pub fn next_settled(&mut self) -> Option<u64> {
        self.table.next_settled().map(|id| id.0)
    }

    pub fn list(&mut self, ips: impl IntoIterator<Item = IpAddr>) {
        self.table.on_peer_list(ips);
    }

    pub fn good_peer_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.table.good_peer_ips()
    }

    /// As the controller makes it.
    #[must_use]
    pub fn all_good_peer_ips(&self) -> Vec<IpAddr> {
        self.table.all_good_peer_ips()
    }

    pub fn next_action(&mut self) -> Option<Action> {
        Some(match self.table.next_action()? {
            peer_table::Action::CallOff(id) => Action::CallOff(id.0),
            peer_table::Action::RefuseParked(id) => Action::RefuseParked(id.0),
            peer_table::Action::Ended(id) => Action::Ended(id.0),
        })
    }

    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.table.next_deadline()
    }

    /// Panics unless every invariant holds. Looks at every peer.
    pub fn check(&self) {
        self.table.check();
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        self.table.stats()
    }
}

/// What a file holds.
///
/// # Errors
///
/// It is malformed.
pub fn parse(file: &[u8]) -> Result<Vec<PeerRecord>, PeerFileError> {
    peer_file::parse(file)
}

/// The file that holds these.
#[must_use]
pub fn encode(records: &[PeerRecord]) -> Vec<u8> {
    let mut out = Vec::new();
    peer_file::encode_head(&mut out);
    for (place, record) in records.iter().enumerate() {
        peer_file::encode_record(
            &mut out,
            place == 0,
            &record.peer,
            record.banned_at,
            record.other.as_deref(),
        );
    }
    peer_file::encode_tail(&mut out, !records.is_empty());
    out
}

impl From<Report> for peer_table::Report {
    fn from(report: Report) -> Self {
        match report {
            Report::Alive => Self::Alive,
            Report::Failed => Self::Failed,
            Report::Closed => Self::Closed,
            Report::Banned => Self::Banned,
            Report::Unbanned => Self::Unbanned,
        }
    }
}
