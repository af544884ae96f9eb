//! Dials: when one is due, whom to dial, and what its outcome means.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::peer::{ConnectionId, PeerStatus};
use crate::peer_table::groups::Turn;
use crate::peer_table::place::Place;
use crate::peer_table::{Action, DUE_PER_CALL, Now, PeerId, PeerTable};

/// The first pause of all dialing after a fault of this host; it doubles with each further one in a row …
const FIRST_HOST_PAUSE: Duration = Duration::from_millis(100);
/// … up to this.
const MAX_HOST_PAUSE: Duration = Duration::from_secs(10);

/// How many of the paused peers take turns in an outage, the best of them.
const OUTAGE_ROUND: usize = 16;
/// How many peers that turned out to be ourselves are forgotten before one call.
const OWN_PER_CALL: usize = 64;

/// Whose fault a failed dial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialFailure {
    /// The peer's: refused, reset and the like.
    Peer,
    /// The peer's, for taking longer than `connect_timeout`.
    TimedOut,
    /// Nobody's that could be told: this host knows no way to the address.
    Unroutable,
    /// This host's: it ran out of files, memory or ports.
    Host,
}

/// Whom a dial reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// The peer: a candidate.
    Peer(IpAddr),
    /// This node itself; the peer is forgotten.
    Ourselves,
    /// Nobody that is waited for any more.
    Nobody,
}

/// What paces the dials.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When one more dial may be raced beside those that match the shortage.
    race_at: Duration,
    /// Dials that failed and may each be replaced at once.
    replacements: usize,
    /// When the best of the paused peers may be tried in an outage, …
    outage_at: Duration,
    /// … but for those that were dialed last, so that one dead peer that ranks first does not take every turn.
    dialed_in_outage: VecDeque<PeerId>,
    /// No dial before, because of this host's faults.
    host_pause_until: Duration,
    host_faults_in_row: u32,
}

impl Pace {
    pub(crate) fn new(now: Now, outage_wait: Duration) -> Self {
        Self {
            race_at: Duration::ZERO,
            replacements: 0,
            outage_at: now.after(outage_wait),
            dialed_in_outage: VecDeque::new(),
            host_pause_until: Duration::ZERO,
            host_faults_in_row: 0,
        }
    }

    fn remember_dial(&mut self, id: PeerId) {
        if self.dialed_in_outage.len() == OUTAGE_ROUND {
            self.dialed_in_outage.pop_front();
        }
        self.dialed_in_outage.push_back(id);
    }

    /// Its slot may be another peer's next, which has had no turn yet.
    pub(crate) fn forget(&mut self, id: PeerId) {
        self.dialed_in_outage.retain(|&other| other != id);
    }

    fn on_host_fault(&mut self, now: Now) {
        let pause = FIRST_HOST_PAUSE
            .saturating_mul(1 << self.host_faults_in_row.min(16))
            .min(MAX_HOST_PAUSE);
        self.host_faults_in_row = self.host_faults_in_row.saturating_add(1);
        self.host_pause_until = now.after(pause);
    }
}

impl PeerTable {
    /// Starts the next dial that is due, if one is: its id and whom to dial. To be asked again until there is none.
    pub(crate) fn next_dial(&mut self, now: Now) -> Option<(ConnectionId, IpAddr)> {
        self.end_pauses(now);
        if self.dial_gate()? > now.since_start {
            return None;
        }
        let (id, turn) = self.choose_other(now)?;
        if let Some(turn) = turn {
            self.indexes.groups.on_dial(turn);
        }
        self.pace.race_at = now.after(self.config.dial_stagger);
        self.pace.replacements = self.pace.replacements.saturating_sub(1);
        self.delay_outage(now);
        if self.is_outage() {
            self.pace.remember_dial(id);
        }
        Some(self.start_dial(id))
    }

    /// A dial succeeded; `local` is our end of it.
    pub(crate) fn on_dialed(&mut self, now: Now, connection: ConnectionId, local: SocketAddr) -> Reached {
        let Some(&id) = self.connections.get(&connection) else {
            return Reached::Nobody;
        };
        self.pace.host_faults_in_row = 0;
        let ip = self.slots.get(id).peer.ip;
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        if self.own.is_reached_by(local.ip(), ip) {
            self.on_reached_ourselves(now, id, local);
            return Reached::Ourselves;
        }
        self.counters.dials_succeeded += 1;
        let deadline = self.handshake_deadline(now);
        self.change(id, |entry| {
            entry.peer.status = PeerStatus::OutHandshaking;
            let rare = entry.rare_mut();
            rare.unroutable_in_row = 0;
            rare.deadline = deadline;
        });
        self.pace.race_at = now.after(self.config.dial_stagger);
        if let Some(loser) = self.parking.crossing(ip) {
            self.refuse_parked(loser);
        }
        self.settle_suspects(connection);
        self.call_off_surplus();
        Reached::Peer(ip)
    }

    /// A dial failed.
    pub(crate) fn on_dial_failed(&mut self, now: Now, connection: ConnectionId, failure: DialFailure) {
        let Some(&id) = self.connections.get(&connection) else {
            return;
        };
        self.pace.replacements = self.pace.replacements.saturating_add(1);
        match failure {
            DialFailure::Host => {
                self.counters.dials_host_faults += 1;
                self.pace.on_host_fault(now);
                self.end_connection(id, |_| {});
            }
            DialFailure::Unroutable => {
                self.pace.host_faults_in_row = 0;
                self.counters.dials_unroutable += 1;
                self.set_aside(now, id);
            }
            DialFailure::Peer | DialFailure::TimedOut => {
                self.pace.host_faults_in_row = 0;
                self.count_failed_dial(failure);
                self.blame_dial(now, id);
            }
        }
    }

    /// When a dial may start, if one is wanted and there is somebody to dial; in the past if at once.
    pub(crate) fn next_dial_time(&self) -> Option<Duration> {
        let gate = self.dial_gate()?;
        if !self.indexes.groups.none_ready() {
            return Some(gate);
        }
        let (pause_end, _) = *self.indexes.paused.first()?;
        let next = if self.is_outage() {
            pause_end.min(self.pace.outage_at)
        } else {
            pause_end
        };
        Some(gate.max(next))
    }

    pub(super) fn handshake_deadline(&self, now: Now) -> Option<Duration> {
        self.config.handshake_timeout.map(|timeout| now.after(timeout))
    }

    /// Makes candidates of the peers whose pause is over.
    pub(super) fn end_pauses(&mut self, now: Now) {
        for _ in 0..DUE_PER_CALL {
            match self.indexes.paused.first() {
                Some(&(until, id)) if until <= now.since_start => self.change(id, |entry| entry.pause_until(None)),
                _ => break,
            }
        }
    }

    /// Whoever was just dialed or connected is not tried again before its time, outage or not.
    pub(super) fn delay_outage(&mut self, now: Now) {
        let wait = self.random.jittered(self.config.retry_backoff);
        self.pace.outage_at = self.pace.outage_at.max(now.after(wait));
    }

    /// Ends a dial without blame; its peer is as before.
    pub(super) fn call_off(&mut self, id: PeerId) {
        self.counters.dials_called_off += 1;
        let connection = self.slots.get(id).connection();
        self.actions.extend(connection.map(Action::CallOff));
        self.end_connection(id, |_| {});
    }

    /// From when on one more dial is wanted and allowed; `None` if none is.
    fn dial_gate(&self) -> Option<Duration> {
        let counts = &self.indexes.counts;
        let shortage = self.shortage();
        let attempts = counts.out_connecting + counts.out_handshaking;
        if shortage == 0 || attempts >= self.config.max_simultaneous_outgoing_connection_attempts {
            return None;
        }
        let at_once = counts.out_connecting < shortage || self.pace.replacements > 0;
        let race_at = if at_once { Duration::ZERO } else { self.pace.race_at };
        Some(race_at.max(self.pace.host_pause_until))
    }

    fn shortage(&self) -> usize {
        let counts = &self.indexes.counts;
        self.config
            .target_outgoing_connections
            .saturating_sub(counts.out_handshaking + counts.out_alive)
    }

    /// No outgoing connection is alive: dials may fail for want of a network, which is not the peers' fault.
    fn is_outage(&self) -> bool {
        self.indexes.counts.out_alive == 0
    }

    /// Chooses whom to dial; forgets whom it would choose, where that is an own address by what was learnt since. May
    /// leave some of those to the next call.
    fn choose_other(&mut self, now: Now) -> Option<(PeerId, Option<Turn>)> {
        for _ in 0..OWN_PER_CALL {
            let (id, turn) = self.choose(now)?;
            if !self.own.contains(self.slots.get(id).peer.ip) {
                return Some((id, turn));
            }
            self.forget(id);
        }
        None
    }

    pub(crate) fn choose(&mut self, now: Now) -> Option<(PeerId, Option<Turn>)> {
        if let Some((id, turn)) = self.indexes.groups.choose(&mut self.random) {
            return Some((id, Some(turn)));
        }
        let may_try = self.is_outage() && self.pace.outage_at <= now.since_start && !self.indexes.paused.is_empty();
        may_try.then(|| self.best_paused().map(|id| (id, None))).flatten()
    }

    /// The best of the paused peers that was not among the last to be dialed; if all were, the one that was so first.
    ///
    /// Asked for only when every Idle peer pauses or has a parked socket, so those that it passes by are as few as
    /// connections may be.
    fn best_paused(&self) -> Option<PeerId> {
        let recent = &self.pace.dialed_in_outage;
        let is_paused = |id: &PeerId| self.slots.has(*id) && Place::of(self.slots.get(*id)).paused.is_some();
        let mut from_best = self.indexes.order.iter(&self.slots).filter(is_paused);
        from_best
            .find(|id| !recent.contains(id))
            .or_else(|| recent.iter().copied().find(is_paused))
    }

    fn start_dial(&mut self, id: PeerId) -> (ConnectionId, IpAddr) {
        self.counters.dials_started += 1;
        let connection = self.new_connection(id);
        let ip = self.change(id, |entry| {
            entry.peer.status = PeerStatus::OutConnecting;
            entry.rare_mut().connection = Some(connection);
            entry.pause_until(None);
            entry.peer.ip
        });
        (connection, ip)
    }

    /// Calls off the dials under way once the target is met.
    fn call_off_surplus(&mut self) {
        if self.shortage() > 0 {
            return;
        }
        self.pace.replacements = 0;
        while let Some(&id) = self.indexes.connecting.first() {
            self.call_off(id);
        }
    }

    fn count_failed_dial(&mut self, failure: DialFailure) {
        if failure == DialFailure::TimedOut {
            self.counters.dials_timed_out += 1;
        } else {
            self.counters.dials_failed += 1;
        }
    }

    fn blame_dial(&mut self, now: Now, id: PeerId) {
        let outage = self.is_outage();
        let streak = if outage {
            1
        } else {
            self.slots.get(id).peer.failures_in_row.saturating_add(1)
        };
        let pause = self.backoff(streak);
        self.end_connection(id, |entry| {
            if entry.rare().unroutable_in_row > 0 {
                entry.rare_mut().unroutable_in_row = 0;
            }
            entry.pause_until(Some(now.after(pause)));
            entry.on_failure(now.utc);
            if !outage {
                entry.lengthen_streak(now.utc);
            }
        });
    }

    fn set_aside(&mut self, now: Now, id: PeerId) {
        let in_row = self.slots.get(id).rare().unroutable_in_row.saturating_add(1);
        let pause = self.backoff(in_row);
        self.end_connection(id, |entry| {
            entry.rare_mut().unroutable_in_row = in_row;
            entry.pause_until(Some(now.after(pause)));
        });
    }

    fn on_reached_ourselves(&mut self, now: Now, id: PeerId, leg: SocketAddr) {
        self.counters.dials_to_self += 1;
        let entry = self.slots.get(id);
        let (ip, dial) = (entry.peer.ip, entry.connection());
        let suspects = dial.map(|dial| self.parking.of_dial(dial)).unwrap_or_default();
        let other_end = suspects
            .into_iter()
            .find(|&suspect| self.parking.remote(suspect) == Some(leg));
        match other_end {
            Some(other_end) => {
                self.counters.refused_self += 1;
                self.refuse_parked(other_end);
            }
            None => self.own.expect_leg(leg, now.after(self.config.connect_timeout)),
        }
        self.own.learn(ip);
        self.end_connection(id, |entry| entry.peer.is_own = true);
        self.pace.replacements = self.pace.replacements.saturating_add(1);
    }
}
