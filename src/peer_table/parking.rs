//! Inbound sockets that are held, not handed over, until a dial or connection of ours settles.
//!
//! A socket is parked only where it crosses a dial or an outgoing connection, so there are no more of them than of those,
//! and most of the time none: they are looked through, not indexed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::peer::{ConnectionId, ParkedId, PeerId};
use crate::peer_table::subnet::Subnet;
use crate::peer_table::time::Moment;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked {
    pub(crate) remote: SocketAddr,
    /// The dial that the socket waits for, as it may be its other end. If it is not, and it is of the dialed peer, it
    /// takes the dial's slot. `None` where it crosses a dial or connection of ours that goes before it.
    pub(crate) self_dial: Option<ConnectionId>,
    /// `None` while it waits for a dial, which has a limit of its own, and once it has settled.
    pub(crate) deadline: Option<Moment>,
    /// What it waited for is over: to be decided on in the next poll.
    pub(crate) is_settled: bool,
}

/// At most one socket a peer.
#[derive(Debug, Default)]
pub(crate) struct Parking(BTreeMap<ParkedId, Parked>);

impl Parking {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn in_subnet(&self, subnet: Subnet) -> usize {
        let subnets = self.0.values().map(|parked| Subnet::of_inbound(parked.remote.ip()));
        subnets.filter(|&other| other == subnet).count()
    }

    pub(crate) fn has(&self, ip: IpAddr) -> bool {
        self.0.values().any(|parked| parked.remote.ip() == ip)
    }

    pub(crate) fn park(&mut self, id: ParkedId, parked: Parked) {
        debug_assert!(!self.has(parked.remote.ip()), "at most one socket a peer is parked");
        self.0.insert(id, parked);
    }

    pub(crate) fn remove(&mut self, id: ParkedId) -> Option<Parked> {
        self.0.remove(&id)
    }

    /// The socket that crosses our dial of, or our connection with, this peer.
    pub(crate) fn crossing(&self, id: PeerId, ip: IpAddr) -> Option<ParkedId> {
        let is_of_peer = |dial: ConnectionId| dial.peer == id;
        self.find(|parked| parked.remote.ip() == ip && parked.self_dial.is_none_or(is_of_peer))
    }

    /// The socket of the dialed peer that takes the slot of this dial.
    pub(crate) fn rival(&self, dial: ConnectionId, ip: IpAddr) -> Option<ParkedId> {
        self.find(|parked| parked.remote.ip() == ip && parked.self_dial == Some(dial))
    }

    /// The socket that is the other end of a dial of `ip` that left from `local`. A router that sends our own public
    /// address back to us puts that address in the place of ours, and keeps the port as a rule.
    pub(crate) fn other_end(&self, ip: IpAddr, local: SocketAddr) -> Option<ParkedId> {
        let ends = [local, SocketAddr::new(ip, local.port())];
        self.find(|parked| ends.contains(&parked.remote))
    }

    /// What these sockets waited for is over.
    pub(crate) fn settle(&mut self, which: impl Fn(ParkedId, &Parked) -> bool) {
        for (_, parked) in self.0.iter_mut().filter(|(id, parked)| which(**id, parked)) {
            (parked.is_settled, parked.deadline) = (true, None);
        }
    }

    pub(crate) fn next_settled(&self) -> Option<ParkedId> {
        self.find(|parked| parked.is_settled)
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.0.values().filter_map(|parked| parked.deadline).min()
    }

    pub(crate) fn overdue(&self, by: Moment) -> Option<ParkedId> {
        self.find(|parked| parked.deadline.is_some_and(|deadline| deadline <= by))
    }

    fn find(&self, which: impl Fn(&Parked) -> bool) -> Option<ParkedId> {
        let mut found = self.0.iter().filter(|(_, parked)| which(parked));
        found.next().map(|(&id, _)| id)
    }
}
