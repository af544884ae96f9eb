//! Which peer the design lets be dialed, and when.

use super::known::{Known, network};
use super::rules::Model;
use crate::peer_table::subnet::is_global;
use crate::peer_table::*;

/// What paces the dials.
#[derive(Clone, Debug)]
pub(super) struct DialPace {
    pub(super) race_at: Duration,
    pub(super) replacements: usize,
    pub(super) host_pause_until: Duration,
    pub(super) host_faults: u32,
    pub(super) tokens: usize,
    /// When the next token comes back, if the bucket is not full.
    pub(super) next_token: Option<Duration>,
    pub(super) taken_at: Duration,
}

impl DialPace {
    pub(super) fn new(config: &NetworkConfig) -> Self {
        Self {
            race_at: Duration::ZERO,
            replacements: 0,
            host_pause_until: Duration::ZERO,
            host_faults: 0,
            tokens: 2 * config.max_simultaneous_outgoing_connection_attempts,
            next_token: None,
            taken_at: Duration::ZERO,
        }
    }
}

/// The peers that a dial may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Proven,
    Drawn,
    /// A rotation's.
    Any,
}

impl Model {
    /// The table starts this dial, or says that none is due.
    pub(super) fn on_next_dial(&mut self, now: Now, dial: Option<(ConnectionId, IpAddr)>) {
        self.refill(now);
        self.drop_own();
        let first = self.beside_choices(now);
        if let Some(&expected) = first.first() {
            let (id, ip) = dial.expect("a dial beside the target is due");
            assert_eq!(ip, expected);
            return self.start_beside(id, ip);
        }
        let lawful = self.choices(now);
        match dial {
            Some((id, ip)) => {
                assert!(lawful.contains(&ip), "{ip} is dialed, not one of {lawful:?}");
                self.start(now, id, ip);
            }
            None => assert!(lawful.is_empty(), "none is dialed, not even one of {lawful:?}"),
        }
    }

    /// The earliest and the latest moment at which there is something to do without an input.
    pub(super) fn next_deadline(&self, now: Now) -> Option<(Duration, Duration)> {
        let ends = self.peers.values().filter_map(|peer| peer.deadline);
        let waits = self.parked.iter().filter_map(super::rules::Parked::deadline);
        let outage = self.outage_since.and(self.outage_over_at());
        let own = self.learnt.iter().map(|&(until, ..)| until);
        let hold = self.exchanges.held.map(|(.., until)| until);
        let exact = ends.chain(waits).chain(outage).chain(own).chain(hold).min();
        let all = [
            exact.map(|end| (end, end)),
            self.next_dial_time(now),
            self.next_beside_time(now),
        ];
        all.into_iter()
            .flatten()
            .reduce(|one, other| (one.0.min(other.0), one.1.min(other.1)))
    }

    fn next_beside_time(&self, now: Now) -> Option<(Duration, Duration)> {
        let gate = self.beside_gate()?;
        if !self.wanted.is_empty() || self.peers.values().any(|peer| self.is_reserved_candidate(peer, now)) {
            return Some((gate, gate));
        }
        let paused = self.peers.values().filter(|peer| peer.reserved && self.is_free(peer));
        let next = paused.filter_map(|peer| Some(peer.pause?.0)).min()?;
        Some((next.max(gate), next.max(gate)))
    }

    fn next_dial_time(&self, now: Now) -> Option<(Duration, Duration)> {
        let gate = self.gate()?;
        let candidates = self.ips(|peer| self.is_candidate(peer, now));
        if candidates.iter().any(|&ip| !self.is_taken(ip)) {
            return Some((gate, gate));
        }
        let paused = self.peers.values().filter(|peer| self.is_free(peer));
        let first = paused.filter_map(|peer| Some(peer.pause?.0)).min();
        let taken = (!candidates.is_empty()).then_some(self.pace.taken_at);
        let next = [first, taken].into_iter().flatten().min()?;
        Some((next.max(gate), next.max(gate)))
    }

    /// The shortage is dialed at once, each failed dial replaced at once, each further one after `dial_stagger`; each
    /// costs a token.
    pub(super) fn gate(&self) -> Option<Duration> {
        let under_way = self.count_for_target(PeerStatus::OutConnecting);
        let rotation = self.exchanges.rotation_due.filter(|_| self.may_rotate());
        let due = if self.shortage() == 0 {
            rotation?.0
        } else {
            Duration::ZERO
        };
        let host_pause_end = self.beside_gate()?;
        let at_once = self.shortage() == 0 || under_way < self.shortage() || self.pace.replacements > 0;
        let race_at = if at_once { Duration::ZERO } else { self.pace.race_at };
        let token_at = if self.pace.tokens > 0 {
            None
        } else {
            self.pace.next_token
        };
        let gates = [due, race_at, host_pause_end, token_at.unwrap_or_default()];
        gates.into_iter().max()
    }

    /// The turn's own kind of peers from subnets that are not taken; then from taken ones, if none of those was dialed
    /// for 10 s; then the other kind likewise.
    pub(super) fn choices(&self, now: Now) -> Vec<IpAddr> {
        if self.gate().is_none_or(|gate| gate > now.since_start) {
            return Vec::new();
        }
        let kinds: &[Kind] = match (self.shortage(), self.is_proven_turn) {
            (0, _) => &[Kind::Any],
            (_, true) => &[Kind::Proven, Kind::Drawn],
            (_, false) => &[Kind::Drawn, Kind::Proven],
        };
        for &kind in kinds {
            for taken in [false, true] {
                let candidates = self.candidates_of(now, kind, taken);
                if candidates.is_empty() || (taken && self.pace.taken_at > now.since_start) {
                    continue;
                }
                if kind != Kind::Proven {
                    return candidates;
                }
                let key = |ip: &&IpAddr| self.peer(**ip).dial_key();
                return candidates.iter().min_by_key(key).into_iter().copied().collect();
            }
        }
        Vec::new()
    }

    pub(super) fn candidates_of(&self, now: Now, kind: Kind, taken: bool) -> Vec<IpAddr> {
        self.ips(|peer: &Known| {
            let is_there = self.is_of(peer, kind) && self.is_taken(peer.ip) == taken;
            is_there && self.is_candidate(peer, now) && !self.is_own(peer.ip)
        })
    }

    pub(super) fn is_of(&self, peer: &Known, kind: Kind) -> bool {
        match kind {
            Kind::Any => true,
            Kind::Proven => peer.is_sound() || (peer.proven && self.outage_since.is_some()),
            Kind::Drawn => !peer.is_sound(),
        }
    }

    /// By an outgoing connection, or a dial, of a globally reachable address of the same subnet.
    pub(super) fn is_taken(&self, ip: IpAddr) -> bool {
        let mut outgoing = self
            .peers
            .values()
            .filter(|peer| peer.is_outgoing() && is_global(peer.ip));
        outgoing.any(|peer| network(peer.ip) == network(ip))
    }

    pub(super) fn takes_subnet_of(&self, taker: IpAddr, ip: IpAddr) -> bool {
        let is_outgoing = self.peers.get(&taker).is_some_and(Known::is_outgoing);
        is_outgoing && is_global(taker) && network(taker) == network(ip)
    }

    fn start(&mut self, now: Now, id: ConnectionId, ip: IpAddr) {
        let is_taken = self.is_taken(ip);
        if self.shortage() == 0 {
            self.on_rotation(now, id);
        } else {
            self.is_proven_turn = !self.is_proven_turn;
        }
        if is_taken {
            self.pace.taken_at = now.after(Duration::from_secs(10)).since_start();
        }
        self.pace.race_at = now.since_start + self.config.dial_stagger;
        self.pace.replacements = self.pace.replacements.saturating_sub(1);
        let interval = self.interval(now.since_start);
        self.pace.tokens -= 1;
        self.pace.next_token.get_or_insert(now.since_start + interval);
        let dialed = self.peers.get_mut(&ip).expect("a dialed peer is known");
        dialed.status = PeerStatus::OutConnecting;
        (dialed.connection, dialed.pause) = (Some(id), None);
        self.started.push(id);
    }

    fn refill(&mut self, now: Now) {
        let full = 2 * self.config.max_simultaneous_outgoing_connection_attempts;
        while let Some(next) = self.pace.next_token.filter(|&next| next <= now.since_start) {
            self.pace.tokens += 1;
            let following = next + self.interval(next);
            self.pace.next_token = (self.pace.tokens < full).then_some(following);
        }
    }

    /// How long a token takes to come back: doubled by each 30 s that an outage has lasted.
    pub(super) fn interval(&self, at: Duration) -> Duration {
        let outage = self
            .outage_since
            .map_or(Duration::ZERO, |since| at.saturating_sub(since));
        let mut interval = self.config.dial_stagger;
        for _ in 0..outage.as_secs() / 30 {
            interval = (2 * interval).min(self.config.retry_backoff);
        }
        interval
    }

    /// The full rate comes back.
    pub(super) fn recover_pace(&mut self, now: Now) {
        let soonest = now.since_start + self.config.dial_stagger;
        self.pace.next_token = self.pace.next_token.map(|next| next.min(soonest));
    }

    pub(super) fn refund(&mut self) {
        let full = 2 * self.config.max_simultaneous_outgoing_connection_attempts;
        self.pace.tokens = full.min(self.pace.tokens + 1);
        self.pace.next_token = self.pace.next_token.filter(|_| self.pace.tokens < full);
    }

    /// An own address that was to be dialed or told of is forgotten instead, unless the file names it.
    pub(super) fn drop_own(&mut self) {
        for ip in self.ips(Known::is_idle) {
            if self.is_own(ip) && self.script.is_gone(ip) {
                self.forget(ip);
            }
        }
    }

    pub(super) fn is_candidate(&self, peer: &Known, now: Now) -> bool {
        self.is_free(peer) && !peer.reserved && !peer.pauses(now.since_start)
    }

    pub(super) fn is_free(&self, peer: &Known) -> bool {
        let is_excluded = peer.own || peer.denied;
        peer.is_idle() && !is_excluded && self.parked_of(peer.ip).is_none() && !self.is_held(peer.ip)
    }
}
