//! Inbound sockets that are held, not handed over, until a dial or connection of ours settles.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::peer::{ByConnection, ConnectionId};
use crate::peer_table::indexes::{decrement, increment};
use crate::peer_table::subnet::Subnet;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked {
    pub(crate) remote: SocketAddr,
    /// The dial whose other end the socket may be; `None` where it crosses a dial or connection to the same peer.
    pub(crate) dial: Option<ConnectionId>,
    /// `None` while it waits for a dial, which has a limit of its own.
    until: Option<Duration>,
}

/// At most one socket a peer.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    sockets: ByConnection<Parked>,
    by_ip: HashMap<IpAddr, ConnectionId>,
    by_dial: ByConnection<Vec<ConnectionId>>,
    deadlines: BTreeSet<(Duration, ConnectionId)>,
    /// What they waited for has settled: to be decided on in the next poll.
    settled: VecDeque<ConnectionId>,
    subnets: HashMap<Subnet, usize>,
}

impl Parking {
    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }

    pub(crate) fn in_subnet(&self, subnet: Subnet) -> usize {
        self.subnets.get(&subnet).copied().unwrap_or(0)
    }

    pub(crate) fn has(&self, ip: IpAddr) -> bool {
        self.by_ip.contains_key(&ip)
    }

    pub(crate) fn park(
        &mut self,
        id: ConnectionId,
        remote: SocketAddr,
        dial: Option<ConnectionId>,
        until: Option<Duration>,
    ) {
        let ip = remote.ip();
        let doubled = self.by_ip.insert(ip, id);
        debug_assert!(doubled.is_none(), "at most one socket a peer is parked");
        self.sockets.insert(id, Parked { remote, dial, until });
        self.deadlines.extend(until.map(|until| (until, id)));
        increment(&mut self.subnets, Subnet::of_inbound(ip));
        if let Some(dial) = dial {
            self.by_dial.entry(dial).or_default().push(id);
        }
    }

    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Parked> {
        let parked = self.sockets.remove(&id)?;
        let ip = parked.remote.ip();
        self.by_ip.remove(&ip);
        self.end_wait(id, parked.until);
        decrement(&mut self.subnets, Subnet::of_inbound(ip));
        if let Some(dial) = parked.dial {
            self.forget_dial(dial, id);
        }
        Some(parked)
    }

    /// The socket that crosses our dial of, or our connection with, this peer.
    pub(crate) fn crossing(&self, ip: IpAddr) -> Option<ConnectionId> {
        let id = *self.by_ip.get(&ip)?;
        self.sockets.get(&id)?.dial.is_none().then_some(id)
    }

    /// The sockets that may be the other end of this dial.
    pub(crate) fn of_dial(&self, dial: ConnectionId) -> Vec<ConnectionId> {
        self.by_dial.get(&dial).cloned().unwrap_or_default()
    }

    pub(crate) fn remote(&self, id: ConnectionId) -> Option<SocketAddr> {
        self.sockets.get(&id).map(|parked| parked.remote)
    }

    pub(crate) fn has_settled(&mut self, id: ConnectionId) {
        if let Some(parked) = self.sockets.get(&id).copied()
            && !self.settled.contains(&id)
        {
            self.end_wait(id, parked.until);
            self.settled.push_back(id);
        }
    }

    pub(crate) fn next_settled(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.settled.pop_front() {
            if self.sockets.contains_key(&id) {
                return Some(id);
            }
        }
        None
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|&(until, _)| until)
    }

    pub(crate) fn next_overdue(&self, now: Duration) -> Option<ConnectionId> {
        self.deadlines
            .first()
            .and_then(|&(until, id)| (until <= now).then_some(id))
    }

    fn end_wait(&mut self, id: ConnectionId, until: Option<Duration>) {
        if let Some(until) = until {
            self.deadlines.remove(&(until, id));
        }
    }

    fn forget_dial(&mut self, dial: ConnectionId, id: ConnectionId) {
        if let Some(ids) = self.by_dial.get_mut(&dial) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_dial.remove(&dial);
            }
        }
    }

    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn is_consistent(&self) -> bool {
        let waits = |(id, parked): (&ConnectionId, &Parked)| {
            let deadline = parked.until.filter(|_| !self.settled.contains(id))?;
            Some((deadline, *id))
        };
        self.sockets.iter().filter_map(waits).collect::<BTreeSet<_>>() == self.deadlines
            && self.by_ip.len() == self.sockets.len()
            && self
                .by_ip
                .iter()
                .all(|(ip, id)| self.sockets.get(id).is_some_and(|parked| parked.remote.ip() == *ip))
            && self.by_dial.values().flatten().all(|id| self.sockets.contains_key(id))
            && self.subnets.values().sum::<usize>() == self.sockets.len()
    }
}
