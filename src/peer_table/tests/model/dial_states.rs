//! What the design says of why a peer is dialed or not.

use super::dials::Kind;
use super::known::Known;
use super::rules::Model;
use super::*;
use crate::peer_table::dial_state::DialState;

impl Model {
    /// `seen` is what the table says: the model leaves open which of several peers takes a subnet, and how the last dial
    /// failed.
    pub(super) fn dial_state(&self, now: Now, ip: IpAddr, seen: &DialState) -> DialState {
        if self.is_own(ip) {
            return DialState::Own;
        }
        let is_wanted = self.wanted.contains(&ip);
        let Some(peer) = self.peers.get(&ip) else {
            return match (self.is_denied(ip), is_wanted) {
                (true, _) => DialState::Denied,
                (false, true) => self.beside_state(now),
                (false, false) => DialState::Unknown,
            };
        };
        if peer.status.is_connected() {
            return DialState::Connected;
        }
        match (peer.status, peer.pause) {
            (PeerStatus::OutConnecting, _) => self.known_time(seen),
            _ if peer.own => DialState::Own,
            _ if self.is_denied(ip) => DialState::Denied,
            (PeerStatus::Banned, _) => DialState::Banned {
                until: peer.deadline.map(|end| at(now, end)),
                since: peer.banned_at,
                is_reserved: peer.reserved,
            },
            _ if self.parked_of(ip).is_some() || self.is_held(ip) => DialState::Connected,
            _ if is_wanted => self.beside_state(now),
            (_, Some((end, _))) if end > now.since_start => paused(now, peer, end, seen),
            _ if peer.reserved => self.beside_state(now),
            _ => self.target_state(now, peer, seen),
        }
    }

    /// When a dial started is not followed.
    fn known_time(&self, seen: &DialState) -> DialState {
        assert!(matches!(seen, DialState::Dialing { .. }), "{seen:?}");
        seen.clone()
    }

    fn beside_state(&self, now: Now) -> DialState {
        match self.beside_gate() {
            None => DialState::AttemptsFull,
            Some(gate) if gate > now.since_start => DialState::HostPaused { until: at(now, gate) },
            Some(_) => DialState::Due,
        }
    }

    fn target_state(&self, now: Now, peer: &Known, seen: &DialState) -> DialState {
        if self.shortage() == 0 && self.gate().is_none_or(|gate| gate > now.since_start) {
            return DialState::TargetMet;
        }
        let has_to_wait = self.pace.taken_at > now.since_start;
        let mut kinds = self.kinds_of(peer).into_iter();
        let goes_last = has_to_wait || kinds.all(|kind| !self.candidates_of(now, kind, false).is_empty());
        if self.is_taken(peer.ip) && goes_last {
            return match *seen {
                DialState::SubnetTaken { by } if self.takes_subnet_of(by, peer.ip) => seen.clone(),
                _ => DialState::SubnetTaken { by: peer.ip },
            };
        }
        match (self.beside_state(now), self.gate()) {
            (DialState::Due, Some(gate)) if gate > now.since_start => DialState::Paced { until: at(now, gate) },
            (DialState::Due, _) => self.in_its_turn(now, peer),
            (state, _) => state,
        }
    }

    fn kinds_of(&self, peer: &Known) -> Vec<Kind> {
        let kinds = if self.shortage() == 0 {
            vec![Kind::Any]
        } else {
            vec![Kind::Proven, Kind::Drawn]
        };
        kinds.into_iter().filter(|&kind| self.is_of(peer, kind)).collect()
    }

    /// A peer that is due may be chosen on a turn of its kind.
    fn in_its_turn(&self, now: Now, peer: &Known) -> DialState {
        let has_its_turn = self.kinds_of(peer).into_iter().any(|kind| {
            let mut model = self.clone();
            model.is_proven_turn = kind == Kind::Proven;
            let is_before = |ip: &IpAddr| match kind {
                Kind::Proven => self.peer(*ip).dial_key() <= peer.dial_key(),
                Kind::Drawn | Kind::Any => *ip == peer.ip,
            };
            let choices = model.choices(now);
            choices
                .iter()
                .any(|ip| is_before(ip) && self.is_taken(*ip) == self.is_taken(peer.ip))
        });
        assert!(has_its_turn, "{} is not chosen in its turn", peer.ip);
        DialState::Due
    }
}

fn paused(now: Now, peer: &Known, end: Duration, seen: &DialState) -> DialState {
    let (DialState::Paused { last_error, .. } | DialState::SetAside { last_error, .. }) = *seen else {
        panic!("{seen:?}, and it pauses until {end:?}");
    };
    let (until, last_failure, is_reserved) = (at(now, end), peer.shown().last_failure, peer.reserved);
    if peer.unroutable > 0 {
        DialState::SetAside {
            until,
            failures_in_row: peer.unroutable,
            last_failure,
            last_error,
            is_reserved,
        }
    } else {
        DialState::Paused {
            until,
            failures_in_row: peer.streak + peer.outage_failures,
            last_failure,
            last_error,
            is_reserved,
        }
    }
}

fn at(now: Now, moment: Duration) -> DateTime<Utc> {
    let ahead = moment.saturating_sub(now.since_start);
    now.utc + ahead - now.since_start.saturating_sub(moment)
}
