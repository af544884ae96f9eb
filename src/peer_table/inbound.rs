//! Inbound sockets: admitted, parked or refused.
//!
//! The kernel completes a TCP connection before it is accepted, so when two nodes dial each other both dials
//! succeed, and a node that refuses whatever comes second loses both. Both ends must keep the same one of the two: the
//! dial of the lower IP wins. A socket that may be needed still is parked.
//!
//! Such a socket may also be the other end of our own dial, which a router has sent back to us. By which port the dial
//! left is not known before it succeeds, so the higher end parks as well while it dials. Once its dial has settled it
//! refuses the socket if that is the other end, and otherwise drops the dial and admits the socket.

use std::net::{IpAddr, SocketAddr};

use crate::change::{Cause, ChangeKind, Refusal};
use crate::peer::{ConnectionId, ParkedId, Peer, PeerId, PeerStatus, is_peer_address};
use crate::peer_table::entry::{Connection, Entry, Source};
use crate::peer_table::parking::Parked;
use crate::peer_table::subnet::Subnet;
use crate::peer_table::time::Now;
use crate::peer_table::{Action, PeerTable};

/// What to do with an inbound socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it and say so by [`PeerTable::on_admitted`]; nothing has changed yet.
    Admit,
    /// Hold it and say so by [`PeerTable::on_parked`]; nothing has changed yet. It may be the other end of this dial.
    Park(Option<ConnectionId>),
    /// Turn it away.
    Refuse(Refusal),
}

impl PeerTable {
    /// A socket came in from `remote` to our address `local`.
    pub fn on_inbound(&mut self, now: Now, remote: SocketAddr, local: IpAddr) -> Verdict {
        let remote = canonical(remote);
        let verdict = self.judge(now, remote, local.to_canonical());
        if let Verdict::Refuse(refusal) = verdict {
            self.note_refusal(remote.ip(), refusal);
        }
        verdict
    }

    /// The socket that was to be admitted is in hand. What [`Verdict::Admit`] said must still hold.
    pub fn on_admitted(&mut self, now: Now, remote: IpAddr) -> ConnectionId {
        let ip = remote.to_canonical();
        let takes_slot = self.free_incoming() == Some(0);
        let is_own = self.own.contains(ip);
        let number = self.next_number();
        let deadline = self.handshake_deadline(now);
        self.counters.inbound_admitted += 1;
        let admit = |entry: &mut Entry| {
            debug_assert_eq!(entry.peer.status, PeerStatus::Idle, "{ip} is admitted");
            entry.peer.status = PeerStatus::InHandshaking;
            entry.is_own |= is_own;
            entry.on_admitted();
            entry.connection = Some(Connection {
                deadline,
                ..Connection::new(number, now)
            });
        };
        let id = match self.peers.id_of(ip) {
            Some(id) => {
                self.transition(id, Cause::Admitted, admit);
                id
            }
            None => {
                let mut entry = self.new_entry(Peer::new(ip));
                entry.source = Source::Admitted;
                admit(&mut entry);
                self.add_as(Cause::Admitted, entry)
            }
        };
        // Only now, as the peer that goes is one more Idle one, and may push out another: not the newcomer.
        if takes_slot {
            self.evict(now, ip);
        }
        ConnectionId { number, peer: id }
    }

    /// The socket that was to be parked is held. What [`Verdict::Park`] said must still hold. It goes by this id until
    /// [`Self::next_settled`] or an action names it.
    pub fn on_parked(&mut self, now: Now, remote: SocketAddr, self_dial: Option<ConnectionId>) -> ParkedId {
        let remote = canonical(remote);
        let peer = self.peers.id_of(remote.ip());
        let status = peer.map(|id| self.peers.get(id).peer.status);
        self.counters.inbound_parked += 1;
        let parked = ParkedId(self.next_number());
        // What waits for a dial ends with it, at its connect timeout at the latest.
        let waits_for_dial = self_dial.is_some() || status == Some(PeerStatus::OutConnecting);
        let deadline = (!waits_for_dial).then(|| now.after(self.config.connect_timeout));
        let socket = Parked {
            remote,
            self_dial,
            deadline,
            is_settled: false,
        };
        self.parking.park(parked, socket);
        if let Some(id) = peer {
            self.peers.update(id, |entry| entry.has_parked = true);
        }
        parked
    }

    /// A parked socket whose wait is over; it is parked no more and to be judged like a new one.
    pub fn next_settled(&mut self) -> Option<ParkedId> {
        let id = self.parking.next_settled()?;
        self.unpark(id);
        Some(id)
    }

    /// The parked socket that takes the slot of this dial once it has settled. Before that, see whether it is alive.
    pub fn rival_of(&self, dial: ConnectionId) -> Option<ParkedId> {
        let id = self.peer_of(dial)?;
        self.parking.rival(dial, self.peers.get(id).peer.ip)
    }

    /// A parked socket was found dead and dropped.
    pub fn on_parked_died(&mut self, id: ParkedId) {
        self.counters.inbound_dead += 1;
        self.unpark(id);
    }

    pub(super) fn refuse_parked(&mut self, id: ParkedId, refusal: Refusal) {
        if let Some(ip) = self.unpark(id) {
            self.note_refusal(ip, refusal);
        }
        self.actions.push_back(Action::RefuseParked(id));
    }

    /// What this peer's parked socket waited for is over: to be admitted, unless a ban was the end.
    pub(super) fn settle_crossing(&mut self, id: PeerId) {
        let peer = &self.peers.get(id).peer;
        let Some(parked) = self.parking.crossing(id, peer.ip) else {
            return;
        };
        if peer.status == PeerStatus::Banned {
            self.refuse_parked(parked, Refusal::Parked);
        } else {
            self.parking.settle(|id, _| id == parked);
        }
    }

    /// A dial is over, so it can be told of which sockets it was the other end.
    pub(super) fn settle_maybe_self(&mut self, dial: ConnectionId) {
        self.parking.settle(|_, parked| parked.self_dial == Some(dial));
    }

    /// Answers where the socket came from.
    fn unpark(&mut self, parked: ParkedId) -> Option<IpAddr> {
        let ip = self.parking.remove(parked)?.remote.ip();
        if let Some(id) = self.peers.id_of(ip) {
            self.peers.update(id, |entry| entry.has_parked = false);
        }
        Some(ip)
    }

    fn judge(&mut self, now: Now, remote: SocketAddr, local: IpAddr) -> Verdict {
        let ip = remote.ip();
        if !is_peer_address(ip) {
            return Verdict::Refuse(Refusal::NotAPeer);
        }
        let known = self.peers.id_of(ip);
        if self.own.take_expected(remote, now.moment()) {
            return Verdict::Refuse(Refusal::Ourselves);
        }
        if let Some(id) = known.filter(|&id| self.is_other_end_of(now, id, remote.port())) {
            self.on_reached_ourselves(now, id, local);
            return Verdict::Refuse(Refusal::Ourselves);
        }
        let self_dial = self.dial_that_may_end_at(local, ip);
        if self_dial.is_none() && self.own.is_elsewhere(ip, local) {
            self.disown(ip);
        }
        let status = known.map(|id| self.peers.get(id).peer.status);
        if let (Some(id), Some(PeerStatus::Banned), None) = (known, status, self_dial) {
            self.on_banned_attempt(now, id);
            return Verdict::Refuse(Refusal::Banned);
        }
        if self_dial.is_none() && self.exclusion.excludes(ip) {
            return Verdict::Refuse(Refusal::Denied);
        }
        if self.parking.has(ip) || self.is_held(ip) {
            return Verdict::Refuse(Refusal::Connected);
        }
        let crossing = known.map_or(Verdict::Admit, |id| self.cross(now, id, local));
        if self_dial.is_none() && matches!(crossing, Verdict::Refuse(_)) {
            return crossing;
        }
        match (self.full(ip), self_dial) {
            (Some(Refusal::IncomingFull), None) if crossing == Verdict::Admit && self.can_make_room(now, ip) => {
                crossing
            }
            (Some(refusal), _) => {
                if known.is_none() && self_dial.is_none() && ip != local {
                    self.remember_refused(ip);
                }
                Verdict::Refuse(refusal)
            }
            (None, Some(_)) => Verdict::Park(self_dial),
            (None, None) => crossing,
        }
    }

    /// Compares the two addresses of an inbound socket of this peer: the dial of the lower one wins.
    fn cross(&self, now: Now, id: PeerId, local: IpAddr) -> Verdict {
        let Entry { peer, connection, .. } = self.peers.get(id);
        let we_are_lower = local < peer.ip;
        match peer.status {
            PeerStatus::Idle | PeerStatus::Banned => Verdict::Admit,
            PeerStatus::OutConnecting if we_are_lower => Verdict::Park(None),
            PeerStatus::OutConnecting => Verdict::Park(self.connection_of(id)),
            PeerStatus::OutHandshaking | PeerStatus::OutAlive if we_are_lower => Verdict::Refuse(Refusal::Connected),
            PeerStatus::OutHandshaking => Verdict::Park(None),
            PeerStatus::OutAlive => {
                let since = connection.and_then(|connection| connection.alive_since);
                let lasts = since.map_or_else(Default::default, |since| now.moment().since(since));
                // After so long it crosses nothing: it is a second connection.
                if lasts > self.config.connect_timeout {
                    Verdict::Refuse(Refusal::Connected)
                } else {
                    Verdict::Park(None)
                }
            }
            PeerStatus::InHandshaking | PeerStatus::InAlive => Verdict::Refuse(Refusal::Connected),
        }
    }

    /// Whether a socket of this peer from `port` is the other end of our connection with it, which a router has sent
    /// back to us. One that comes in long after the handshake has its port by chance.
    fn is_other_end_of(&self, now: Now, id: PeerId, port: u16) -> bool {
        let entry = self.peers.get(id);
        let is_recent = |since| now.moment().since(since) <= self.config.connect_timeout;
        let alive_since = entry.connection.and_then(|connection| connection.alive_since);
        entry.local_port.is_some_and(|own| own.get() == port) && alive_since.is_none_or(is_recent)
    }

    /// Our dial of `local`, if an inbound socket from `remote` may be its other end.
    fn dial_that_may_end_at(&self, local: IpAddr, remote: IpAddr) -> Option<ConnectionId> {
        if self.peers.counts().out_connecting == 0 || !self.own.may_come_from_here(local, remote) {
            return None;
        }
        let id = self.peers.id_of(local)?;
        let is_dialed = self.peers.get(id).peer.status == PeerStatus::OutConnecting;
        self.connection_of(id).filter(|_| is_dialed)
    }

    /// The cap that leaves no slot for one more inbound socket of `ip`.
    fn full(&self, ip: IpAddr) -> Option<Refusal> {
        if self.free_incoming().is_none_or(|free| free == 0) {
            return Some(Refusal::IncomingFull);
        }
        self.full_beside_total(ip)
    }

    /// Whether `max_incoming_connections` alone is in the way of a socket of `ip`, and an eviction makes room: for a
    /// reserved peer, or with `evict_incoming`.
    fn can_make_room(&self, now: Now, ip: IpAddr) -> bool {
        self.free_incoming() == Some(0) && self.full_beside_total(ip).is_none() && self.may_evict(now, ip)
    }

    /// How many more incoming connections `max_incoming_connections` lets in; `None` if there are too many already.
    fn free_incoming(&self) -> Option<usize> {
        let counts = self.peers.counts();
        let used = counts.in_handshaking + counts.in_alive + self.parking.len();
        self.config.max_incoming_connections.checked_sub(used)
    }

    /// The other cap that leaves no slot.
    fn full_beside_total(&self, ip: IpAddr) -> Option<Refusal> {
        let attempts = self.peers.counts().in_handshaking + self.parking.len();
        if attempts >= self.config.max_simultaneous_incoming_connection_attempts {
            return Some(Refusal::AttemptsFull);
        }
        let limit = self.config.max_incoming_per_subnet?;
        let subnet = Subnet::of_inbound(ip);
        let held = self.peers.inbound_from(subnet) + self.parking.in_subnet(subnet);
        (held >= limit).then_some(Refusal::SubnetFull)
    }

    fn note_refusal(&mut self, ip: IpAddr, refusal: Refusal) {
        self.log.record(ip, ChangeKind::Refused(refusal));
        let counters = &mut self.counters;
        *match refusal {
            Refusal::NotAPeer => &mut counters.refused_address,
            Refusal::Ourselves => &mut counters.refused_self,
            Refusal::Banned => &mut counters.refused_banned,
            Refusal::Denied => &mut counters.refused_denied,
            Refusal::Connected => &mut counters.refused_connected,
            Refusal::AttemptsFull => &mut counters.refused_attempts_full,
            Refusal::IncomingFull => &mut counters.refused_incoming_full,
            Refusal::SubnetFull => &mut counters.refused_subnet_full,
            Refusal::Parked => &mut counters.refused_parked,
        } += 1;
    }
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
