//! Which addresses are this node's own: the one it listens on, and those on which a dial of its own came out at itself.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Hosts have few addresses; whoever routes a whole prefix to itself is not learnt beyond this.
const MAX_LEARNT: usize = 1024;

#[derive(Debug)]
pub(crate) struct OwnAddresses {
    listen: SocketAddr,
    /// Peers are dialed on our own port, so a dial can reach ourselves.
    reachable: bool,
    learnt: HashSet<IpAddr>,
    /// A dial of a loopback address came out at ourselves, so any would.
    loopback: bool,
    /// Our ends of such dials, with the time until which their other ends may still come in.
    legs: VecDeque<(Duration, SocketAddr)>,
}

impl OwnAddresses {
    pub(crate) fn new(listen: SocketAddr, peer_port: u16) -> Self {
        let listen = SocketAddr::new(listen.ip().to_canonical(), listen.port());
        Self {
            listen,
            reachable: peer_port == listen.port(),
            learnt: HashSet::new(),
            loopback: false,
            legs: VecDeque::new(),
        }
    }

    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        self.reachable && (self.listen.ip() == ip || self.learnt.contains(&ip) || (self.loopback && ip.is_loopback()))
    }

    /// Whether an address that a peer could have is known to be our own.
    #[inline]
    pub(crate) fn may_be_peers(&self) -> bool {
        self.reachable && !(self.listen.ip().is_unspecified() && self.learnt.is_empty() && !self.loopback)
    }

    /// Whether a dial of `peer` that left from `local` came out at ourselves.
    pub(crate) fn is_reached_by(&self, local: IpAddr, peer: IpAddr) -> bool {
        self.reachable && (local == peer || (self.listen.ip().is_unspecified() && peer.is_loopback()))
    }

    /// Whether an inbound socket between these addresses may be the other end of a dial of ours.
    pub(crate) fn may_come_from_here(&self, local: IpAddr, remote: IpAddr) -> bool {
        self.reachable && (remote == local || remote.is_loopback() || self.contains(remote))
    }

    pub(crate) fn learn(&mut self, ip: IpAddr) {
        if ip.is_loopback() && self.listen.ip().is_unspecified() {
            self.loopback = true;
        } else if self.learnt.len() < MAX_LEARNT {
            self.learnt.insert(ip);
        }
    }

    /// The other end of a dial that came out at ourselves is still to come in.
    pub(crate) fn expect_leg(&mut self, leg: SocketAddr, until: Duration) {
        if self.legs.len() == MAX_LEARNT {
            self.legs.pop_front();
        }
        self.legs.push_back((until, leg));
    }

    /// Whether `remote` is such an end; it is expected once.
    pub(crate) fn take_leg(&mut self, remote: SocketAddr, now: Duration) -> bool {
        while self.legs.front().is_some_and(|&(until, _)| until < now) {
            self.legs.pop_front();
        }
        let place = self.legs.iter().position(|&(_, leg)| leg == remote);
        place.and_then(|place| self.legs.remove(place)).is_some()
    }
}
