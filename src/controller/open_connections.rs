//! Which connections are open: handed over to the application, and not over.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::peer::{ConnectionId, Revocation};

/// By id and by address; at most one an address.
#[derive(Debug, Default)]
pub(crate) struct OpenConnections {
    connections: HashMap<ConnectionId, OpenConnection>,
    ids: HashMap<IpAddr, ConnectionId>,
}

#[derive(Debug)]
struct OpenConnection {
    ip: IpAddr,
    is_outgoing: bool,
    /// Of its lease, once that is taken.
    lease: Option<Arc<LeaseState>>,
}

impl OpenConnections {
    pub(crate) fn insert(&mut self, id: ConnectionId, ip: IpAddr, is_outgoing: bool) {
        let connection = OpenConnection {
            ip,
            is_outgoing,
            lease: None,
        };
        self.connections.insert(id, connection);
        let other = self.ids.insert(ip, id);
        debug_assert_eq!(other, None, "a peer has one connection at most");
    }

    /// The connection is over. Its lease is to be revoked, where there is one.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Arc<LeaseState>> {
        let connection = self.connections.remove(&id)?;
        self.ids.remove(&connection.ip);
        connection.lease
    }

    pub(crate) fn of(&self, ip: IpAddr) -> Option<ConnectionId> {
        self.ids.get(&ip).copied()
    }

    /// The peer's connection, whether we made it, and the state of its one lease; `None` if that was taken before.
    pub(crate) fn lease(&mut self, ip: IpAddr) -> Option<(ConnectionId, bool, Arc<LeaseState>)> {
        let id = self.of(ip)?;
        let connection = self.connections.get_mut(&id)?;
        if connection.lease.is_some() {
            return None;
        }
        let lease = Arc::clone(connection.lease.insert(Arc::default()));
        Some((id, connection.is_outgoing, lease))
    }

    /// The leases of all.
    pub(crate) fn into_leases(self) -> impl Iterator<Item = Arc<LeaseState>> {
        self.connections.into_values().filter_map(|connection| connection.lease)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.connections.len(), self.ids.len());
        self.ids.len()
    }
}

/// Whether a connection's slot has ended by anything but its lease, and why.
#[derive(Debug, Default)]
pub(crate) struct LeaseState {
    revocation: OnceLock<Revocation>,
    waiting: Notify,
}

impl LeaseState {
    pub(crate) fn revocation(&self) -> Option<Revocation> {
        self.revocation.get().copied()
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.revocation().is_some()
    }

    /// The first reason stays.
    pub(crate) fn revoke(&self, why: Revocation) {
        let _ = self.revocation.set(why);
        self.waiting.notify_waiters();
    }

    pub(crate) async fn revoked(&self) -> Revocation {
        loop {
            // Before the look, so that a revocation in between is not missed.
            let waiting = self.waiting.notified();
            if let Some(why) = self.revocation() {
                return why;
            }
            waiting.await;
        }
    }
}
