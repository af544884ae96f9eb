//! Inbound sockets that are held, not handed over, until a dial or connection of ours settles.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::peer::{ConnectionId, ParkedId};
use crate::peer_table::subnet::Subnet;
use crate::peer_table::time::Moment;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked {
    pub(crate) remote: SocketAddr,
    /// The dial whose other end the socket may be; `None` where it crosses a dial or connection to the same peer.
    pub(crate) self_dial: Option<ConnectionId>,
    /// `None` while it waits for a dial, which has a limit of its own.
    deadline: Option<Moment>,
}

/// At most one socket a peer.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    sockets: HashMap<ParkedId, Parked>,
    by_ip: HashMap<IpAddr, ParkedId>,
    by_dial: BTreeSet<(ConnectionId, ParkedId)>,
    deadlines: BTreeSet<(Moment, ParkedId)>,
    /// What they waited for has settled: to be decided on in the next poll.
    settled: VecDeque<ParkedId>,
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
        id: ParkedId,
        remote: SocketAddr,
        self_dial: Option<ConnectionId>,
        deadline: Option<Moment>,
    ) {
        let ip = remote.ip();
        let other = self.by_ip.insert(ip, id);
        debug_assert!(other.is_none(), "at most one socket a peer is parked");
        let parked = Parked {
            remote,
            self_dial,
            deadline,
        };
        self.sockets.insert(id, parked);
        self.deadlines.extend(deadline.map(|deadline| (deadline, id)));
        self.by_dial.extend(self_dial.map(|dial| (dial, id)));
        *self.subnets.entry(Subnet::of_inbound(ip)).or_insert(0) += 1;
    }

    pub(crate) fn remove(&mut self, id: ParkedId) -> Option<Parked> {
        let parked = self.sockets.remove(&id)?;
        let ip = parked.remote.ip();
        self.by_ip.remove(&ip);
        self.end_wait(id, &parked);
        if let Some(dial) = parked.self_dial {
            self.by_dial.remove(&(dial, id));
        }
        let subnet = Subnet::of_inbound(ip);
        let left = self.in_subnet(subnet).saturating_sub(1);
        if left == 0 {
            self.subnets.remove(&subnet);
        } else {
            self.subnets.insert(subnet, left);
        }
        Some(parked)
    }

    /// The socket that crosses our dial of, or our connection with, this peer.
    pub(crate) fn crossing(&self, ip: IpAddr) -> Option<ParkedId> {
        let id = *self.by_ip.get(&ip)?;
        self.sockets.get(&id)?.self_dial.is_none().then_some(id)
    }

    /// The sockets that may be the other end of this dial.
    pub(crate) fn of_dial(&self, dial: ConnectionId) -> Vec<ParkedId> {
        let from_first = self.by_dial.range((dial, ParkedId::FIRST)..);
        let of_dial = from_first.take_while(|(other, _)| *other == dial);
        of_dial.map(|&(_, id)| id).collect()
    }

    pub(crate) fn remote(&self, id: ParkedId) -> Option<SocketAddr> {
        self.sockets.get(&id).map(|parked| parked.remote)
    }

    /// What the socket waited for is over.
    pub(crate) fn settle(&mut self, id: ParkedId) {
        if let Some(parked) = self.sockets.get(&id).copied()
            && !self.settled.contains(&id)
        {
            self.end_wait(id, &parked);
            self.settled.push_back(id);
        }
    }

    pub(crate) fn next_settled(&mut self) -> Option<ParkedId> {
        while let Some(id) = self.settled.pop_front() {
            if self.sockets.contains_key(&id) {
                return Some(id);
            }
        }
        None
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    pub(crate) fn overdue(&self, by: Moment) -> Option<ParkedId> {
        self.deadlines.first().filter(|&&(at, _)| at <= by).map(|&(_, id)| id)
    }

    fn end_wait(&mut self, id: ParkedId, parked: &Parked) {
        if let Some(deadline) = parked.deadline {
            self.deadlines.remove(&(deadline, id));
        }
    }

    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn check(&self) {
        let waits = |(id, parked): (&ParkedId, &Parked)| {
            let deadline = parked.deadline.filter(|_| !self.settled.contains(id))?;
            Some((deadline, *id))
        };
        assert_eq!(
            self.sockets.iter().filter_map(waits).collect::<BTreeSet<_>>(),
            self.deadlines
        );
        assert_eq!(self.by_ip.len(), self.sockets.len());
        for (ip, id) in &self.by_ip {
            assert_eq!(self.sockets[id].remote.ip(), *ip);
        }
        assert!(self.by_dial.iter().all(|(_, id)| self.sockets.contains_key(id)));
        assert_eq!(self.subnets.values().sum::<usize>(), self.sockets.len());
    }
}
