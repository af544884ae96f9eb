//! Dials: when one is due, which peer it is for, and what its outcome means.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use crate::change::{Cause, Refusal};
use crate::fault::{DialError, DialFault};
use crate::peer::{ConnectionId, PeerId, PeerStatus};
use crate::peer_table::entry::Connection;
use crate::peer_table::time::{Moment, Now, earlier};
use crate::peer_table::{Action, PeerTable};

/// How many candidates that turn out to be denied, or our own addresses, are passed over in one call.
const OWN_PER_CALL: usize = 64;

/// What a dial reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The peer: a candidate.
    Peer(IpAddr),
    /// This node itself.
    Ourselves,
    /// A peer whose dial was called off.
    Nothing,
}

impl PeerTable {
    /// Starts the next dial that is due, if one is: its id and the peer. To be asked again until there is none.
    pub fn next_dial(&mut self, now: Now) -> Option<(ConnectionId, IpAddr)> {
        self.end_pauses(now);
        self.pace.refill(now, &self.config, self.outage.since());
        if let Some(id) = self.choose_beside_target(now) {
            return Some(self.start_dial(now, id, true));
        }
        if self.dial_gate()? > now.moment() {
            return None;
        }
        let (id, to_taken) = self.choose_other(now)?;
        self.pace.on_dial(now, &self.config, self.outage.since(), to_taken);
        let is_rotation = self.shortage() == 0;
        let (dial, ip) = self.start_dial(now, id, false);
        if is_rotation {
            self.on_rotation(now, dial);
        } else {
            self.turn = self.turn.other();
        }
        Some((dial, ip))
    }

    /// A dial succeeded; `local` is our end of it.
    pub fn on_dialed(&mut self, now: Now, dial: ConnectionId, local: SocketAddr) -> Reached {
        let Some(id) = self.peer_of(dial) else {
            return Reached::Nothing;
        };
        self.pace.on_no_host_fault();
        let ip = self.peers.get(id).peer.ip;
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        if self.is_ourselves(now, ip, local) {
            self.on_reached_ourselves(now, id, local.ip());
            return Reached::Ourselves;
        }
        if self.parking.rival(dial, ip).is_some() {
            self.give_way(now, id, Cause::CameIn);
            return Reached::Nothing;
        }
        if self.is_denied_now(id) {
            self.give_way(now, id, Cause::Denied);
            return Reached::Nothing;
        }
        self.counters.dials_succeeded += 1;
        let deadline = self.handshake_deadline(now);
        let counts_for_target = self.transition(id, Cause::DialSucceeded, |entry| {
            entry.peer.status = PeerStatus::OutHandshaking;
            (entry.unroutable_in_row, entry.last_error) = (0, None);
            if let Some(connection) = &mut entry.connection {
                (connection.since, connection.deadline) = (now.moment(), deadline);
            }
            entry.local_port = NonZeroU16::new(local.port());
            !entry.is_beside_target
        });
        if counts_for_target {
            self.pace.on_attempt(now, &self.config);
        }
        if let Some(parked) = self.parking.crossing(id, ip) {
            self.refuse_parked(parked, Refusal::Parked);
        }
        self.settle_maybe_self(dial);
        if counts_for_target {
            self.call_off_surplus(now);
        }
        Reached::Peer(ip)
    }

    /// A dial failed.
    pub fn on_dial_failed(&mut self, now: Now, dial: ConnectionId, error: impl Into<DialError>) {
        let DialError { fault, kind } = error.into();
        let Some(id) = self.peer_of(dial) else {
            return;
        };
        let counts_for_target = !self.peers.get(id).is_beside_target;
        if counts_for_target {
            self.pace.on_dial_failed();
        }
        if fault == DialFault::Host {
            self.counters.dials_host_faults += 1;
            self.pace.on_host_fault(now);
            self.end_connection(now, id, Cause::DialHostFault(told(kind)), |_| {});
            return;
        }
        self.pace.on_no_host_fault();
        if self.rival_of(dial).is_some() {
            return self.give_way(now, id, Cause::CameIn);
        }
        match fault {
            DialFault::Unroutable { at_once } => {
                self.counters.dials_unroutable += 1;
                if at_once && counts_for_target {
                    self.pace.refund(now, &self.config);
                }
                self.set_aside(now, id, kind);
            }
            DialFault::TimedOut => {
                self.counters.dials_timed_out += 1;
                self.on_peer_failed(now, id, kind, self.outage.was_in_last(dial));
            }
            DialFault::Peer | DialFault::Host => {
                self.counters.dials_failed += 1;
                self.on_peer_failed(now, id, kind, false);
            }
        }
    }

    /// When a dial may start, if one is wanted and there is a peer to dial; in the past if at once.
    pub(crate) fn next_dial_time(&self) -> Option<Duration> {
        self.next_dial_at().map(Moment::since_start)
    }

    pub(super) fn next_dial_at(&self) -> Option<Moment> {
        earlier(self.next_dial_beside_target(), self.next_dial_for_target())
    }

    fn next_dial_for_target(&self) -> Option<Moment> {
        let gate = self.dial_gate()?;
        let candidates = self.peers.candidates();
        if candidates.has_any(false) {
            return Some(gate);
        }
        let to_taken = candidates.has_any(true).then(|| self.pace.next_to_taken_subnet());
        Some(gate.max(earlier(to_taken, self.peers.next_pause_end())?))
    }

    pub(super) fn handshake_deadline(&self, now: Now) -> Option<Moment> {
        self.config.handshake_timeout.map(|timeout| now.after(timeout))
    }

    /// Ends a dial without blame; its peer is as before.
    pub(super) fn call_off(&mut self, now: Now, id: PeerId, cause: Cause) {
        self.counters.dials_called_off += 1;
        self.actions.extend(self.connection_of(id).map(Action::CallOff));
        self.end_connection(now, id, cause, |_| {});
    }

    /// A dial has settled, and its peer has come in meanwhile, so that that socket takes the slot, or is denied now.
    fn give_way(&mut self, now: Now, id: PeerId, cause: Cause) {
        self.counters.dials_called_off += 1;
        self.end_connection(now, id, cause, |_| {});
    }

    /// From when on one more dial is wanted and allowed; `None` if none is wanted.
    pub(super) fn dial_gate(&self) -> Option<Moment> {
        let shortage = self.shortage();
        if shortage == 0 {
            return self.rotation_gate();
        }
        let connecting = self.peers.count_for_target(PeerStatus::OutConnecting);
        self.has_free_attempt()
            .then(|| self.pace.next_dial(connecting < shortage))
    }

    pub(super) fn has_free_attempt(&self) -> bool {
        let counts = self.peers.counts();
        let attempts = counts.out_connecting + counts.out_handshaking;
        attempts < self.config.max_simultaneous_outgoing_connection_attempts
    }

    pub(super) fn shortage(&self) -> usize {
        self.config
            .target_outgoing_connections
            .saturating_sub(self.outgoing_for_target())
    }

    /// How many outgoing connections count for the target.
    pub(super) fn outgoing_for_target(&self) -> usize {
        let statuses = [PeerStatus::OutHandshaking, PeerStatus::OutAlive];
        statuses.map(|status| self.peers.count_for_target(status)).iter().sum()
    }

    /// Chooses the peer to dial, and says whether its subnet is taken. Passes over peers that it would choose and whose
    /// addresses are known to be our own since they were added; may leave some of those to the next call.
    fn choose_other(&mut self, now: Now) -> Option<(PeerId, bool)> {
        for _ in 0..OWN_PER_CALL {
            let (id, to_taken) = self.choose(now)?;
            if self.is_denied_now(id) {
                continue;
            }
            if !self.own.contains(self.peers.get(id).peer.ip) {
                return Some((id, to_taken));
            }
            self.note_own(id);
        }
        None
    }

    /// The turn's own kind from subnets that are not taken, then from those that are; then the other kind likewise. A
    /// rotation has no turns.
    pub fn choose(&mut self, now: Now) -> Option<(PeerId, bool)> {
        let may_take_again = self.pace.next_to_taken_subnet() <= now.moment();
        let (is_rotation, is_outage) = (self.shortage() == 0, self.outage.since().is_some());
        let (candidates, groups, random) = (self.peers.candidates(), self.peers.groups(), &mut self.random);
        if is_rotation {
            let kinds = [false, true]
                .into_iter()
                .filter(|&from_taken| may_take_again || !from_taken);
            let mut drawn =
                kinds.map(|from_taken| Some((candidates.draw_by_size(from_taken, groups, random)?, from_taken)));
            return drawn.find_map(|drawn| drawn);
        }
        let turns = [self.turn, self.turn.other()].into_iter();
        let kinds = turns.flat_map(|turn| [(turn, false), (turn, true)]);
        let mut allowed = kinds.filter(|&(_, from_taken)| may_take_again || !from_taken);
        allowed.find_map(|kind| Some((candidates.choose(kind, is_outage, groups, random)?, kind.1)))
    }

    fn start_dial(&mut self, now: Now, id: PeerId, is_beside_target: bool) -> (ConnectionId, IpAddr) {
        self.counters.dials_started += 1;
        let number = self.next_number();
        let ip = self.transition(id, Cause::Dialed, |entry| {
            entry.peer.status = PeerStatus::OutConnecting;
            entry.connection = Some(Connection::new(number, now));
            entry.paused_until = None;
            entry.is_beside_target = is_beside_target;
            entry.peer.ip
        });
        (ConnectionId { number, peer: id }, ip)
    }

    /// Calls off the dials under way for the target once the target is met.
    pub(super) fn call_off_surplus(&mut self, now: Now) {
        if self.shortage() > 0 {
            return;
        }
        self.pace.on_target_met();
        while let Some(id) = self.peers.first_connecting() {
            self.call_off(now, id, Cause::TargetMet);
        }
    }

    /// The peer refused the dial, reset it, or did not answer.
    fn on_peer_failed(&mut self, now: Now, id: PeerId, error: Option<ErrorKind>, was_in_outage: bool) {
        let is_outage = self.is_outage(now);
        let streak = self.peers.get(id).peer.failures_in_row;
        let pause = if is_outage {
            self.pause_in_outage(id)
        } else {
            self.backoff(if was_in_outage { 1 } else { streak.saturating_add(1) })
        };
        let paused_until = self.pause_until(now, id, pause);
        self.end_connection(now, id, Cause::DialFailed(told(error)), |entry| {
            (entry.unroutable_in_row, entry.last_error) = (0, error);
            entry.paused_until = Some(paused_until);
            entry.on_failure(now.utc);
            entry.note_outage_failure(is_outage);
            if !is_outage && !was_in_outage {
                entry.lengthen_streak(now.utc);
            }
        });
    }

    /// No way to the address was found, which may be this host's fault or the peer's.
    fn set_aside(&mut self, now: Now, id: PeerId, error: Option<ErrorKind>) {
        let is_outage = self.is_outage(now);
        let in_row = self.peers.get(id).unroutable_in_row.saturating_add(1);
        let pause = if is_outage {
            self.pause_in_outage(id)
        } else {
            self.backoff(in_row.into())
        };
        let paused_until = self.pause_until(now, id, pause);
        self.end_connection(now, id, Cause::DialUnroutable(told(error)), |entry| {
            (entry.unroutable_in_row, entry.last_error) = (in_row, error);
            entry.paused_until = Some(paused_until);
            entry.on_failure(now.utc);
            entry.note_outage_failure(is_outage);
        });
    }
}

/// The kind of an error of which none is known, as that of a dial that panicked.
fn told(error: Option<ErrorKind>) -> ErrorKind {
    error.unwrap_or(ErrorKind::Other)
}
