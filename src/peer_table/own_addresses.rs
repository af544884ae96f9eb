//! Which addresses are this node's own: the one it listens on, those on which a dial of its own came out at itself, and
//! those of which the application says so.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::change::{Cause, Refusal};
use crate::peer::{PeerId, PeerStatus, is_peer_address};
use crate::peer_table::PeerTable;
use crate::peer_table::time::{Moment, Now};

/// Hosts have few addresses; of what a host that routes a whole prefix to itself has more, the oldest is forgotten.
const MAX_LEARNT: usize = 1024;
/// What was learnt is forgotten after this long: hosts move, and the address may be another one's by then.
const LEARNT_FOR: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(crate) struct OwnAddresses {
    listen: SocketAddr,
    /// Peers are dialed on our own port, so a dial of our address reaches ourselves.
    is_reachable: bool,
    /// Each with the local address that a dial of it had, if that is known.
    learnt: HashMap<IpAddr, Option<IpAddr>>,
    /// When to forget each of them.
    forget_at: VecDeque<(Moment, IpAddr)>,
    /// A dial of a loopback address reached ourselves, so a dial of any of them would. No other host can have them.
    is_all_loopback: bool,
    /// Our ends of dials that reached ourselves, each with the time until which the other end may still come in.
    self_dial_endpoints: VecDeque<(Moment, SocketAddr)>,
}

impl OwnAddresses {
    pub(crate) fn new(listen: SocketAddr, peer_port: u16) -> Self {
        let listen = SocketAddr::new(listen.ip().to_canonical(), listen.port());
        Self {
            listen,
            is_reachable: peer_port == listen.port(),
            learnt: HashMap::new(),
            forget_at: VecDeque::new(),
            is_all_loopback: false,
            self_dial_endpoints: VecDeque::new(),
        }
    }

    /// Whether any address that a peer can have is known to be our own.
    pub(crate) fn any_known(&self) -> bool {
        !self.learnt.is_empty() || self.is_all_loopback || !self.listen.ip().is_unspecified()
    }

    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        let is_loopback = self.is_all_loopback && ip.is_loopback();
        self.learnt.contains_key(&ip) || (self.is_reachable && (self.listen.ip() == ip || is_loopback))
    }

    /// Whether a dial of `peer` that left from `local` reached ourselves.
    fn is_reached_by(&self, local: IpAddr, peer: IpAddr) -> bool {
        self.is_reachable && (local == peer || self.is_loopback_of_ours(peer))
    }

    /// Whether an inbound socket between these addresses may be the other end of a dial of ours.
    pub(crate) fn may_come_from_here(&self, local: IpAddr, remote: IpAddr) -> bool {
        self.is_reachable && (remote == local || remote.is_loopback() || self.contains(remote))
    }

    /// Whether a socket that came in between these addresses, and not from ourselves, shows that another host has the
    /// address now.
    pub(crate) fn is_elsewhere(&self, remote: IpAddr, local: IpAddr) -> bool {
        let learnt_at = self.learnt.get(&remote).copied().flatten();
        learnt_at.is_some_and(|learnt_at| learnt_at != local)
    }

    /// Whether a dial of the address reached ourselves at another one, through a router that translates it.
    pub(crate) fn is_behind_router(&self, ip: IpAddr) -> bool {
        self.is_elsewhere(ip, ip)
    }

    fn learn(&mut self, now: Now, ip: IpAddr, local: Option<IpAddr>) {
        if self.is_reachable && self.is_loopback_of_ours(ip) {
            self.is_all_loopback = true;
        } else if self.learnt.insert(ip, local).is_none() {
            self.forget_at.push_back((now.after(LEARNT_FOR), ip));
        }
    }

    fn forget(&mut self, ip: IpAddr) {
        self.learnt.remove(&ip);
        self.forget_at.retain(|&(_, other)| other != ip);
    }

    /// An address to forget by then, or because there are too many.
    fn overdue(&self, by: Moment) -> Option<IpAddr> {
        let &(at, ip) = self.forget_at.front()?;
        (at <= by || self.forget_at.len() > MAX_LEARNT).then_some(ip)
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.forget_at.front().map(|&(at, _)| at)
    }

    /// The other end of a dial that reached ourselves is still to come in, from this address.
    fn expect(&mut self, endpoint: SocketAddr, until: Moment) {
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

    /// Whether a dial of it comes out here, as we listen on all of them.
    fn is_loopback_of_ours(&self, ip: IpAddr) -> bool {
        self.listen.ip().is_unspecified() && ip.is_loopback()
    }
}

impl PeerTable {
    /// Whether a dial of `ip` that left from `local` reached ourselves. Its other end is refused, now or when it comes
    /// in.
    pub(super) fn is_ourselves(&mut self, now: Now, ip: IpAddr, local: SocketAddr) -> bool {
        let other_end = self.parking.other_end(ip, local);
        if let Some(parked) = other_end {
            self.refuse_parked(parked, Refusal::Ourselves);
            return true;
        }
        let is_reached = self.own.is_reached_by(local.ip(), ip);
        if is_reached {
            self.own.expect(local, now.after(self.config.connect_timeout));
        }
        is_reached
    }

    /// A dial or connection of ours that left from `local` reached ourselves.
    pub(super) fn on_reached_ourselves(&mut self, now: Now, id: PeerId, local: IpAddr) {
        self.counters.dials_to_self += 1;
        if !self.peers.get(id).is_beside_target {
            self.pace.on_dial_failed();
        }
        self.learn_own(now, self.peers.get(id).peer.ip, Some(local));
        self.end_connection(now, id, Cause::Ourselves, |entry| entry.is_own = true);
    }

    /// The application says that the address is our own.
    pub(super) fn on_ourselves(&mut self, now: Now, ip: IpAddr) {
        if !is_peer_address(ip) {
            self.counters.feedback_stale += 1;
            return;
        }
        self.learn_own(now, ip, None);
        let Some(id) = self.peers.id_of(ip) else { return };
        match self.peers.get(id).peer.status {
            PeerStatus::Idle => self.keep_bounds(id),
            PeerStatus::Banned => self.lift_ban(id, Cause::Ourselves),
            PeerStatus::OutConnecting => self.call_off(now, id, Cause::Ourselves),
            PeerStatus::OutHandshaking | PeerStatus::OutAlive | PeerStatus::InHandshaking | PeerStatus::InAlive => {
                self.end_connection(now, id, Cause::Ourselves, |_| {});
            }
        }
    }

    /// Forgets own addresses that were learnt long ago.
    pub(super) fn forget_own(&mut self, now: Now) {
        while let Some(ip) = self.own.overdue(now.moment()) {
            self.disown(ip);
        }
    }

    /// An address that was our own is another host's.
    pub(super) fn disown(&mut self, ip: IpAddr) {
        self.own.forget(ip);
        let is_own = self.own.contains(ip);
        if let Some(id) = self.peers.id_of(ip) {
            self.peers.update(id, |entry| entry.is_own = is_own);
        }
    }

    fn learn_own(&mut self, now: Now, ip: IpAddr, local: Option<IpAddr>) {
        self.own.learn(now, ip, local);
        self.forget_own(now);
    }
}
