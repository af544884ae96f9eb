//! Whom the design lets be dialed, and when.

use super::known::{Known, network};
use super::rules::Model;
use crate::peer_table::*;

impl Model {
    /// The table starts this dial, or says that none is due.
    pub(super) fn on_next_dial(&mut self, now: Now, dial: Option<(ConnectionId, IpAddr)>) {
        self.drop_own();
        let (lawful, how) = self.choices(now);
        match dial {
            Some((id, ip)) => {
                assert!(lawful.contains(&ip), "{ip} is dialed, not one of {lawful:?} ({how:?})");
                self.start(now, id, ip, how);
            }
            None => assert!(
                lawful.is_empty() || (how == How::InOutage && now.since_start < self.pace.outage.1),
                "none is dialed, not even one of {lawful:?} ({how:?})"
            ),
        }
    }

    /// The earliest and the latest moment at which there is something to do without an input.
    pub(super) fn next_deadline(&self, now: Now) -> Option<(Duration, Duration)> {
        let ends = self.peers.values().filter_map(|peer| peer.deadline);
        let waits = self.parked.iter().filter_map(super::rules::Parked::deadline);
        let exact = ends.chain(waits).min();
        let all = [exact.map(|end| (end, end)), self.next_dial_time(now)];
        all.into_iter()
            .flatten()
            .reduce(|one, other| (one.0.min(other.0), one.1.min(other.1)))
    }

    fn next_dial_time(&self, now: Now) -> Option<(Duration, Duration)> {
        let gate = self.gate()?;
        if !self.ips(|peer| self.is_candidate(peer, now)).is_empty() {
            return Some((gate, gate));
        }
        let paused = self.peers.values().filter(|peer| self.is_free(peer));
        let first = paused.filter_map(|peer| Some(peer.pause?.0)).min()?;
        let (mut earliest, mut latest) = (first, first);
        if self.is_outage() {
            let rested = self.rested_at(now).unwrap_or_default();
            earliest = earliest.min(self.pace.outage.0.max(rested));
            latest = latest.min(self.pace.outage.1.max(rested));
        }
        Some((earliest.max(gate), latest.max(gate)))
    }

    /// The shortage is dialed at once, each failed dial replaced at once, each further one after `dial_stagger`.
    fn gate(&self) -> Option<Duration> {
        let under_way = self.count(PeerStatus::OutConnecting);
        let attempts = under_way + self.count(PeerStatus::OutHandshaking);
        let limit = self.config.max_simultaneous_outgoing_connection_attempts;
        if self.shortage() == 0 || attempts >= limit {
            return None;
        }
        let at_once = under_way < self.shortage() || self.pace.replacements > 0;
        let race_at = if at_once { Duration::ZERO } else { self.pace.race_at };
        Some(race_at.max(self.pace.host_pause_until))
    }

    fn choices(&self, now: Now) -> (Vec<IpAddr>, How) {
        if self.gate().is_none_or(|gate| gate > now.since_start) {
            return (Vec::new(), How::NotNow);
        }
        let candidates = self.ips(|peer| self.is_candidate(peer, now));
        if candidates.is_empty() {
            return (self.best_in_outage(now), How::InOutage);
        }
        let taken: Vec<_> = self.ips(Known::is_outgoing).into_iter().map(network).collect();
        let untaken = || candidates.iter().filter(|ip| !taken.contains(&network(**ip))).copied();
        let counted = if untaken().next().is_some() {
            untaken().collect()
        } else {
            candidates
        };
        let (proven, unproven): (Vec<_>, Vec<_>) = counted.into_iter().partition(|&ip| self.peer(ip).proven);
        if unproven.is_empty() || (self.is_proven_turn && !proven.is_empty()) {
            let best = proven.into_iter().min_by_key(|&ip| self.peer(ip).key());
            return (best.into_iter().collect(), How::ProvenTurn);
        }
        (unproven, How::UnprovenTurn)
    }

    /// With no outgoing connection alive and all candidates pausing, the best of them; those that rest only when all do,
    /// and when their time is over.
    fn best_in_outage(&self, now: Now) -> Vec<IpAddr> {
        if !self.is_outage() || now.since_start < self.pace.outage.0 {
            return Vec::new();
        }
        let paused = self.ips(|peer| self.is_free(peer) && peer.pauses(now.since_start));
        let fresh = paused.iter().copied().filter(|&ip| !self.rests(ip));
        let best = fresh.min_by_key(|&ip| self.peer(ip).key());
        if let Some(best) = best {
            return vec![best];
        }
        // Two that ended in one moment may come in either order.
        let longest = self.rested_at(now).filter(|&until| until <= now.since_start);
        let rested = self
            .pace
            .resting
            .iter()
            .filter(|(ip, until)| Some(*until) == longest && paused.contains(ip));
        rested.map(|&(ip, _)| ip).collect()
    }

    /// When the first of the paused peers has rested, where all of them rest.
    fn rested_at(&self, now: Now) -> Option<Duration> {
        let paused = self.ips(|peer| self.is_free(peer) && peer.pauses(now.since_start));
        let resting = self.pace.resting.iter().filter(|(ip, _)| paused.contains(ip));
        let first = resting.map(|&(_, until)| until).min();
        first.filter(|_| paused.iter().all(|&ip| self.rests(ip)))
    }

    fn rests(&self, ip: IpAddr) -> bool {
        self.pace.resting.iter().any(|&(other, _)| other == ip)
    }

    fn start(&mut self, now: Now, id: ConnectionId, ip: IpAddr, how: How) {
        if how == How::InOutage {
            self.delay_outage(now);
        } else {
            self.is_proven_turn = how == How::UnprovenTurn;
        }
        self.pace.race_at = now.after(self.config.dial_stagger);
        self.pace.replacements = self.pace.replacements.saturating_sub(1);
        let dialed = self.peers.get_mut(&ip).expect("a dialed peer is known");
        dialed.status = PeerStatus::OutConnecting;
        (dialed.connection, dialed.pause) = (Some(id), None);
    }

    /// An own address that was to be dialed is forgotten instead.
    fn drop_own(&mut self) {
        for ip in self.ips(Known::is_idle) {
            if self.is_own(ip) && self.script.is_gone(ip) {
                self.forget(ip);
            }
        }
    }

    fn is_candidate(&self, peer: &Known, now: Now) -> bool {
        self.is_free(peer) && !peer.pauses(now.since_start)
    }

    fn is_free(&self, peer: &Known) -> bool {
        peer.is_idle() && self.parked_of(peer.ip).is_none()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    NotNow,
    ProvenTurn,
    UnprovenTurn,
    InOutage,
}
