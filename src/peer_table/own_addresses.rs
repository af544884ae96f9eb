//! Which addresses are this node's own: the one it listens on, and those on which a dial of its own came out at itself.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::peer_table::time::Moment;

/// Hosts have few addresses; what a host that routes a whole prefix to itself has more is not learnt.
const MAX_LEARNT: usize = 1024;

#[derive(Debug)]
pub(crate) struct OwnAddresses {
    listen: SocketAddr,
    /// Peers are dialed on our own port, so a dial can reach ourselves.
    is_reachable: bool,
    learnt: HashSet<IpAddr>,
    /// A dial of a loopback address reached ourselves, so a dial of any of them would.
    is_all_loopback: bool,
    /// Our ends of such dials, each with the time until which the other end may still come in.
    self_dial_endpoints: VecDeque<(Moment, SocketAddr)>,
}

impl OwnAddresses {
    pub(crate) fn new(listen: SocketAddr, peer_port: u16) -> Self {
        let listen = SocketAddr::new(listen.ip().to_canonical(), listen.port());
        Self {
            listen,
            is_reachable: peer_port == listen.port(),
            learnt: HashSet::new(),
            is_all_loopback: false,
            self_dial_endpoints: VecDeque::new(),
        }
    }

    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        let is_loopback = || self.is_all_loopback && ip.is_loopback();
        self.is_reachable && (self.listen.ip() == ip || self.learnt.contains(&ip) || is_loopback())
    }

    /// Whether a dial of `peer` that left from `local` reached ourselves.
    pub(crate) fn is_reached_by(&self, local: IpAddr, peer: IpAddr) -> bool {
        self.is_reachable && (local == peer || (self.listen.ip().is_unspecified() && peer.is_loopback()))
    }

    /// Whether an inbound socket between these addresses may be the other end of a dial of ours.
    pub(crate) fn may_come_from_here(&self, local: IpAddr, remote: IpAddr) -> bool {
        self.is_reachable && (remote == local || remote.is_loopback() || self.contains(remote))
    }

    pub(crate) fn learn(&mut self, ip: IpAddr) {
        if ip.is_loopback() && self.listen.ip().is_unspecified() {
            self.is_all_loopback = true;
        } else if self.learnt.len() < MAX_LEARNT {
            self.learnt.insert(ip);
        }
    }

    /// The other end of a dial that reached ourselves is still to come in, from this address.
    pub(crate) fn expect(&mut self, endpoint: SocketAddr, until: Moment) {
        if self.self_dial_endpoints.len() == MAX_LEARNT {
            self.self_dial_endpoints.pop_front();
        }
        self.self_dial_endpoints.push_back((until, endpoint));
    }

    /// Whether `remote` is such an end; it is expected once.
    pub(crate) fn take_expected(&mut self, remote: SocketAddr, now: Moment) -> bool {
        let expected = &mut self.self_dial_endpoints;
        while expected.front().is_some_and(|&(until, _)| until < now) {
            expected.pop_front();
        }
        let found = expected.iter().position(|&(_, endpoint)| endpoint == remote);
        found.and_then(|index| expected.remove(index)).is_some()
    }
}
