//! Inbound sockets: admitted, parked or refused.
//!
//! The kernel completes a TCP connection before anybody accepts it, so when two nodes dial each other both dials
//! succeed, and a node that refuses whatever comes second loses both. Both ends must keep the same one of the two: the
//! dial of the lower IP wins. A socket that may be needed still is parked.

use std::net::{IpAddr, SocketAddr};

use crate::peer::{ConnectionId, Peer, PeerStatus};
use crate::peer_table::subnet::Subnet;
use crate::peer_table::{Action, Now, PeerId, PeerTable};

/// What to do with an inbound socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Take it and say so by [`PeerTable::on_admitted`]; nothing has changed yet.
    Admit,
    /// Hold it and say so by [`PeerTable::on_parked`]; nothing has changed yet. This may be the dial whose other end it
    /// is.
    Park(Option<ConnectionId>),
    Refuse(Refusal),
}

/// Why an inbound socket is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Ourselves,
    Banned,
    Connected,
    AttemptsFull,
    IncomingFull,
    SubnetFull,
}

impl PeerTable {
    /// A socket came in from `remote` to our address `local`.
    pub(crate) fn on_inbound(&mut self, now: Now, remote: SocketAddr, local: IpAddr) -> Verdict {
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let verdict = self.judge(now, remote, local.to_canonical());
        if let Verdict::Refuse(refusal) = verdict {
            self.count_refusal(refusal);
        }
        verdict
    }

    /// The socket that was to be admitted is in hand. What [`Verdict::Admit`] said must still hold. A dial of the same
    /// peer is called off: its place in the order of peers passes straight to the inbound connection.
    pub(crate) fn on_admitted(&mut self, now: Now, remote: IpAddr) -> ConnectionId {
        let ip = remote.to_canonical();
        let id = self.id_of(ip).unwrap_or_else(|| self.add_inbound(ip));
        let is_own = self.own.contains(ip);
        let connection = self.new_connection(id);
        let deadline = self.handshake_deadline(now);
        self.counters.inbound_admitted += 1;
        let dial = self.change(id, |entry| {
            debug_assert!(
                matches!(entry.peer().status, PeerStatus::Idle | PeerStatus::OutConnecting),
                "only the socket of an unconnected peer is admitted"
            );
            entry.set_status(PeerStatus::InHandshaking);
            entry.note_own(is_own);
            entry.pause_until(None);
            entry.rare_mut().deadline = deadline;
            entry.rare_mut().connection.replace(connection)
        });
        if let Some(dial) = dial {
            self.counters.dials_called_off += 1;
            self.connections.remove(&dial);
            self.actions.push_back(Action::CallOff(dial));
            self.settle_suspects(dial);
        }
        connection
    }

    /// The socket that was to be parked is held. What [`Verdict::Park`] said must still hold. It goes by this id until
    /// [`Self::next_settled`] or an action names it.
    pub(crate) fn on_parked(&mut self, now: Now, remote: SocketAddr, dial: Option<ConnectionId>) -> ConnectionId {
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        self.counters.inbound_parked += 1;
        let parked = self.new_connection_id();
        // What waits for a dial ends with it, at its connect timeout at the latest.
        let waits_for_dial = dial.is_some() || self.status(remote.ip()) == Some(PeerStatus::OutConnecting);
        let until = (!waits_for_dial).then(|| now.after(self.config.connect_timeout));
        self.parking.park(parked, remote, dial, until);
        if let Some(id) = self.id_of(remote.ip()) {
            self.change(id, |entry| entry.rare_mut().has_parked = true);
        }
        parked
    }

    /// A parked socket whose wait is over; it is parked no more and to be judged like a new one.
    pub(crate) fn next_settled(&mut self) -> Option<ConnectionId> {
        let id = self.parking.next_settled()?;
        self.unpark(id);
        Some(id)
    }

    pub(super) fn refuse_parked(&mut self, id: ConnectionId) {
        self.counters.refused_parked += 1;
        self.unpark(id);
        self.actions.push_back(Action::RefuseParked(id));
    }

    /// What this peer's parked socket waited for is over: to be admitted, unless a ban was the end.
    pub(super) fn settle_crossing(&mut self, id: PeerId) {
        let peer = self.slots.peer(id);
        let Some(parked) = self.parking.crossing(peer.ip) else {
            return;
        };
        if peer.status == PeerStatus::Banned {
            self.refuse_parked(parked);
        } else {
            self.parking.has_settled(parked);
        }
    }

    /// A dial is over, so the sockets that may have been its other end can be told now.
    pub(super) fn settle_suspects(&mut self, dial: ConnectionId) {
        for suspect in self.parking.of_dial(dial) {
            self.parking.has_settled(suspect);
        }
    }

    fn unpark(&mut self, parked: ConnectionId) {
        let Some(socket) = self.parking.remove(parked) else {
            return;
        };
        if let Some(id) = self.id_of(socket.remote.ip()) {
            self.change(id, |entry| entry.rare_mut().has_parked = false);
        }
    }

    fn judge(&mut self, now: Now, remote: SocketAddr, local: IpAddr) -> Verdict {
        let ip = remote.ip();
        if self.own.take_leg(remote, now.since_start) {
            return Verdict::Refuse(Refusal::Ourselves);
        }
        let suspect = self.dial_that_may_end_at(local, ip);
        let status = self.id_of(ip).map(|id| (id, self.slots.peer(id).status));
        if suspect.is_none()
            && let Some((id, PeerStatus::Banned)) = status
        {
            self.on_banned_attempt(now, id);
            return Verdict::Refuse(Refusal::Banned);
        }
        if self.parking.has(ip) {
            return Verdict::Refuse(Refusal::Connected);
        }
        let crossing = status.map_or(Crossing::None, |(_, status)| Crossing::of(status, local, ip));
        if suspect.is_none() && crossing == Crossing::Refuse {
            return Verdict::Refuse(Refusal::Connected);
        }
        if let Some(refusal) = self.full(ip) {
            return Verdict::Refuse(refusal);
        }
        match crossing {
            _ if suspect.is_some() => Verdict::Park(suspect),
            Crossing::Park => Verdict::Park(None),
            Crossing::None | Crossing::CallOff | Crossing::Refuse => Verdict::Admit,
        }
    }

    /// Our dial of `local`, if an inbound socket from `remote` may be its other end.
    fn dial_that_may_end_at(&self, local: IpAddr, remote: IpAddr) -> Option<ConnectionId> {
        if self.indexes.connecting.is_empty() || !self.own.may_come_from_here(local, remote) {
            return None;
        }
        let entry = self.slots.get(self.id_of(local)?);
        entry
            .connection()
            .filter(|_| entry.peer.status == PeerStatus::OutConnecting)
    }

    /// Moves nothing, as no place of a banned peer follows from what this changes, so that a flood of these is cheap:
    /// where a ban stands among the others is put right when one of them has to go.
    fn on_banned_attempt(&mut self, now: Now, id: PeerId) {
        self.last_event += 1;
        let mut entry = self.slots.get_mut(id);
        entry.rare_mut().last_event = self.last_event;
        entry.on_failure(now.utc);
        if entry.edited().stored {
            self.changes += 1;
        }
    }

    /// The cap that leaves no place for one more inbound socket of `ip`.
    fn full(&self, ip: IpAddr) -> Option<Refusal> {
        let counts = &self.indexes.counts;
        let attempts = counts.in_handshaking + self.parking.len();
        if attempts + counts.in_alive >= self.config.max_incoming_connections {
            return Some(Refusal::IncomingFull);
        }
        if attempts >= self.config.max_simultaneous_incoming_connection_attempts {
            return Some(Refusal::AttemptsFull);
        }
        let limit = self.config.max_incoming_per_subnet?;
        let subnet = Subnet::of_inbound(ip);
        let connected = self.indexes.inbound.as_ref()?.get(&subnet).copied().unwrap_or(0);
        (connected + self.parking.in_subnet(subnet) >= limit).then_some(Refusal::SubnetFull)
    }

    fn add_inbound(&mut self, ip: IpAddr) -> PeerId {
        let is_own = self.own.contains(ip);
        self.add(Peer::new(ip), |entry| entry.note_own(is_own))
    }

    fn count_refusal(&mut self, refusal: Refusal) {
        let counters = &mut self.counters;
        *match refusal {
            Refusal::Ourselves => &mut counters.refused_self,
            Refusal::Banned => &mut counters.refused_banned,
            Refusal::Connected => &mut counters.refused_connected,
            Refusal::AttemptsFull => &mut counters.refused_attempts_full,
            Refusal::IncomingFull => &mut counters.refused_incoming_full,
            Refusal::SubnetFull => &mut counters.refused_subnet_full,
        } += 1;
    }
}

/// How an inbound socket meets what there is with its peer already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Crossing {
    /// Nothing is in its way.
    None,
    /// It takes the place of our dial.
    CallOff,
    /// Our dial or connection should win, or is about to be refused by the other end.
    Park,
    Refuse,
}

impl Crossing {
    fn of(status: PeerStatus, local: IpAddr, remote: IpAddr) -> Self {
        let we_are_lower = local < remote;
        match status {
            PeerStatus::Idle | PeerStatus::Banned => Self::None,
            PeerStatus::OutConnecting if we_are_lower => Self::Park,
            PeerStatus::OutConnecting => Self::CallOff,
            PeerStatus::OutHandshaking | PeerStatus::OutAlive if we_are_lower => Self::Refuse,
            PeerStatus::OutHandshaking | PeerStatus::OutAlive => Self::Park,
            PeerStatus::InHandshaking | PeerStatus::InAlive => Self::Refuse,
        }
    }
}
