//! Connections that a lease holds. Rotation and eviction end no others: without a lease the application could not learn
//! that its connection is over.
//!
//! The application may keep the socket of such a connection for a while. So until it drops the lease, or for
//! `handshake_timeout` at most, the address is held: neither dialed nor admitted, and no other connection is rotated or evicted.

use std::net::IpAddr;
use std::time::Duration;

use crate::change::Cause;
use crate::peer::{ConnectionId, PeerId};
use crate::peer_table::PeerTable;
use crate::peer_table::time::{Moment, Now};

/// How long an address is held at most where there is no `handshake_timeout`.
const HOLD_WITHOUT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that was ended under its lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    connection: ConnectionId,
    ip: IpAddr,
    until: Moment,
}

impl PeerTable {
    /// The application has taken the lease of a connection.
    pub fn on_leased(&mut self, connection: ConnectionId) {
        if let Some(id) = self.peer_of(connection) {
            self.peers.update(id, |entry| entry.is_leased = true);
        }
    }

    /// The application has dropped the lease of a connection. What that says of the connection is a report of its own.
    pub fn on_lease_dropped(&mut self, connection: ConnectionId) {
        if self.hold.is_some_and(|hold| hold.connection == connection) {
            self.release_hold();
        }
    }

    /// Ends a connection under its lease, as if the application had closed it, and holds its address.
    pub(super) fn end_leased(&mut self, now: Now, id: PeerId, cause: Cause) {
        let Some(connection) = self.connection_of(id) else {
            return;
        };
        let ip = self.peers.get(id).peer.ip;
        let at_most = self.config.handshake_timeout.unwrap_or(HOLD_WITHOUT_TIMEOUT);
        let until = now.after(at_most);
        self.hold = Some(Hold { connection, ip, until });
        self.peers.update(id, |entry| entry.is_held = true);
        self.close_connection(now, id, cause);
    }

    pub(super) fn is_held(&self, ip: IpAddr) -> bool {
        self.hold.is_some_and(|hold| hold.ip == ip)
    }

    pub(super) fn next_hold_end(&self) -> Option<Moment> {
        self.hold.map(|hold| hold.until)
    }

    pub(super) fn end_overdue_hold(&mut self, now: Now) {
        if self.hold.is_some_and(|hold| hold.until <= now.moment()) {
            self.release_hold();
        }
    }

    /// The address that is held, and until when at most.
    #[cfg(test)]
    pub(crate) fn held(&self) -> Option<(IpAddr, Duration)> {
        self.hold.map(|hold| (hold.ip, hold.until.since_start()))
    }

    fn release_hold(&mut self) {
        // Its peer may have been forgotten meanwhile.
        let held = self.hold.take().and_then(|hold| self.peers.id_of(hold.ip));
        if let Some(id) = held {
            self.peers.update(id, |entry| entry.is_held = false);
        }
    }
}
