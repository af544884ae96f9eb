//! Dials: when one is due, whom to dial, and what its outcome means.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::fault::DialFault;
use crate::peer::{ConnectionId, PeerStatus};
use crate::peer_table::entry::Moment;
use crate::peer_table::groups::Choice;
use crate::peer_table::place::Place;
use crate::peer_table::resting::Resting;
use crate::peer_table::{Action, DUE_PER_CALL, Now, PeerId, PeerTable};

/// The first pause of all dialing after a fault of this host; it doubles with each further one in a row …
const FIRST_HOST_PAUSE: Duration = Duration::from_millis(100);
/// … up to this.
const MAX_HOST_PAUSE: Duration = Duration::from_secs(10);

/// How many peers that turned out to be ourselves are forgotten before one call.
const OWN_PER_CALL: usize = 64;

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
    /// … but for those that failed or were closed last, each of which is left alone for a first pause and then waits
    /// for its turn: one dead peer that ranks first does not take every try.
    resting: Resting,
    /// No dial before, because of this host's faults.
    host_pause_until: Duration,
    host_faults_in_row: u32,
    /// An outgoing connection has been alive.
    has_been_alive: bool,
    /// The last of the dials that started before the last outage ended: what they sent may have been lost in it.
    last_in_outage: Option<ConnectionId>,
}

impl Pace {
    pub(crate) fn new(now: Now, outage_wait: Duration) -> Self {
        Self {
            race_at: Duration::ZERO,
            replacements: 0,
            outage_at: now.after(outage_wait),
            resting: Resting::default(),
            host_pause_until: Duration::ZERO,
            host_faults_in_row: 0,
            has_been_alive: false,
            last_in_outage: None,
        }
    }

    /// The slot of a peer that is forgotten may be another's soon.
    pub(super) fn forget(&mut self, id: PeerId) {
        self.resting.remove(id);
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
        let (id, choice) = self.choose_other(now)?;
        match choice {
            Some(choice) => self.indexes.groups.on_dial(choice),
            None => self.pace.outage_at = now.after(self.random.jittered(self.config.retry_backoff)),
        }
        self.pace.race_at = now.after(self.config.dial_stagger);
        self.pace.replacements = self.pace.replacements.saturating_sub(1);
        Some(self.start_dial(id))
    }

    /// A dial succeeded; `local` is our end of it.
    pub(crate) fn on_dialed(&mut self, now: Now, connection: ConnectionId, local: SocketAddr) -> Reached {
        let Some(&id) = self.connections.get(&connection) else {
            return Reached::Nobody;
        };
        self.pace.host_faults_in_row = 0;
        let ip = self.slots.peer(id).ip;
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        if self.own.is_reached_by(local.ip(), ip) {
            self.on_reached_ourselves(now, id, local);
            return Reached::Ourselves;
        }
        self.counters.dials_succeeded += 1;
        let deadline = self.handshake_deadline(now);
        self.change(id, |entry| {
            entry.set_status(PeerStatus::OutHandshaking);
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
    pub(crate) fn on_dial_failed(&mut self, now: Now, connection: ConnectionId, failure: DialFault) {
        let Some(&id) = self.connections.get(&connection) else {
            return;
        };
        self.pace.replacements = self.pace.replacements.saturating_add(1);
        match failure {
            DialFault::Host => {
                self.counters.dials_host_faults += 1;
                self.pace.on_host_fault(now);
                self.end_connection(id, |_| {});
            }
            DialFault::Unroutable { .. } => {
                self.pace.host_faults_in_row = 0;
                self.counters.dials_unroutable += 1;
                self.set_aside(now, id);
            }
            DialFault::Peer | DialFault::TimedOut => {
                self.pace.host_faults_in_row = 0;
                self.count_failed_dial(failure);
                self.blame_dial(now, id, failure);
            }
        }
    }

    /// When a dial may start, if one is wanted and there is somebody to dial; in the past if at once.
    pub(crate) fn next_dial_time(&self) -> Option<Duration> {
        let gate = self.dial_gate()?;
        if !self.indexes.groups.none_ready() {
            return Some(gate);
        }
        let pause_end = self.indexes.paused.first()?.0.since_start();
        let next = if self.is_outage() {
            pause_end.min(self.next_outage_try())
        } else {
            pause_end
        };
        Some(gate.max(next))
    }

    pub(super) fn handshake_deadline(&self, now: Now) -> Option<Moment> {
        self.config
            .handshake_timeout
            .map(|timeout| Moment::of(now.after(timeout)))
    }

    /// Makes candidates of the peers whose pause is over.
    #[inline]
    pub(super) fn end_pauses(&mut self, now: Now) {
        if self.indexes.paused.is_due(now.moment()) {
            self.end_due_pauses(now);
        }
    }

    #[cold]
    fn end_due_pauses(&mut self, now: Now) {
        for _ in 0..DUE_PER_CALL {
            match self.indexes.paused.first() {
                Some((until, id)) if until <= now.moment() => self.change(id, |entry| entry.pause_until(None)),
                _ => break,
            }
        }
    }

    /// The peer's dial or connection ends: an outage leaves it alone for a first pause.
    pub(super) fn rest(&mut self, now: Now, id: PeerId) {
        self.pace.resting.push(id, now.after(self.config.retry_backoff));
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
    pub(super) fn is_outage(&self) -> bool {
        self.indexes.counts.out_alive == 0
    }

    /// An outgoing connection comes alive while no other is. At the start that ends no outage: nobody knows of one.
    pub(super) fn end_outage(&mut self) {
        if std::mem::replace(&mut self.pace.has_been_alive, true) {
            self.pace.last_in_outage = Some(ConnectionId(self.last_connection));
        }
    }

    /// Whether the peer's dial was under way when an outage ended.
    fn was_sent_into_outage(&self, id: PeerId) -> bool {
        let dial = self.slots.get(id).connection();
        dial.is_some_and(|dial| self.pace.last_in_outage.is_some_and(|last| dial <= last))
    }

    /// Chooses whom to dial; forgets whom it would choose, where that is an own address by what was learnt since. May
    /// leave some of those to the next call.
    fn choose_other(&mut self, now: Now) -> Option<(PeerId, Option<Choice>)> {
        for _ in 0..OWN_PER_CALL {
            let (id, choice) = self.choose(now)?;
            // They lie far apart in memory: one directly after the other, they take a single wait.
            self.slots.touch_all(id);
            choice.into_iter().for_each(|choice| self.indexes.groups.touch(choice));
            if !(self.own.may_be_peers() && self.own.contains(self.slots.peer(id).ip)) {
                return Some((id, choice));
            }
            self.forget(id);
        }
        None
    }

    pub(crate) fn choose(&mut self, now: Now) -> Option<(PeerId, Option<Choice>)> {
        if let Some(choice) = self.indexes.groups.choose(&mut self.random) {
            return Some((choice.id, Some(choice)));
        }
        let may_try = self.is_outage() && self.pace.outage_at <= now.since_start && !self.indexes.paused.is_empty();
        may_try.then(|| self.best_paused(now).map(|id| (id, None))).flatten()
    }

    /// The best of the paused peers that does not rest; if all do, the one that has done so for longest.
    ///
    /// Asked for only when every Idle peer pauses or has a parked socket, so those that it passes by are as few as
    /// connections may be.
    fn best_paused(&self, now: Now) -> Option<PeerId> {
        let resting = &self.pace.resting;
        let mut from_best = self.indexes.order.iter(&self.slots);
        let fresh = from_best.find(|&id| self.is_paused(id) && !resting.contains(id));
        let is_rested = |&(id, until): &(PeerId, Duration)| until <= now.since_start && self.is_paused(id);
        fresh.or_else(|| resting.iter().find(is_rested).map(|(id, _)| id))
    }

    /// When a paused peer may be tried in an outage; there is one.
    fn next_outage_try(&self) -> Duration {
        let paused = || self.pace.resting.iter().filter(|&(id, _)| self.is_paused(id));
        let all_rest = paused().count() == self.indexes.paused.len();
        let rested_at = paused().map(|(_, until)| until).min().filter(|_| all_rest);
        self.pace.outage_at.max(rested_at.unwrap_or_default())
    }

    fn is_paused(&self, id: PeerId) -> bool {
        Place::of(self.slots.get(id)).paused.is_some()
    }

    fn start_dial(&mut self, id: PeerId) -> (ConnectionId, IpAddr) {
        self.counters.dials_started += 1;
        let connection = self.new_connection(id);
        let ip = self.change(id, |entry| {
            entry.set_status(PeerStatus::OutConnecting);
            entry.rare_mut().connection = Some(connection);
            entry.pause_until(None);
            entry.peer().ip
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

    fn count_failed_dial(&mut self, failure: DialFault) {
        if failure == DialFault::TimedOut {
            self.counters.dials_timed_out += 1;
        } else {
            self.counters.dials_failed += 1;
        }
    }

    fn blame_dial(&mut self, now: Now, id: PeerId, failure: DialFault) {
        self.rest(now, id);
        let outage = self.is_outage() || (failure == DialFault::TimedOut && self.was_sent_into_outage(id));
        let streak = if outage {
            1
        } else {
            self.slots.peer(id).failures_in_row.saturating_add(1)
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
        self.rest(now, id);
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
        self.end_connection(id, |entry| entry.note_own(true));
        self.pace.replacements = self.pace.replacements.saturating_add(1);
    }
}
