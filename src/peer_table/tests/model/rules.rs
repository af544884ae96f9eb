//! The rules of the design over plain peers: everything is scanned and sorted, nothing is indexed.

mod forgetting;
mod inbound;
mod leased;
mod own_addresses;
mod reconfiguring;
mod reserved;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use self::forgetting::largest_crowds;
use self::leased::Exchanges;
use self::reserved::longest_pause;
use super::dials::DialPace;
use super::known::{Known, When};
use super::script::Script;
use crate::IpPrefix;
use crate::fault::DialFault;
use crate::peer::{ConnectionId, ParkedId, PeerRecord, PeerStatus, Revocation, is_peer_address};
use crate::peer_table::random::Random;
use crate::peer_table::*;

/// Small enough that tellers of a few peers exceed it.
pub(super) const SHARE: TellerShare = TellerShare { divisor: 4, least: 2 };
/// Why a dial ends, of which no lease is told.
const NO_LEASE: Revocation = Revocation::Closed;

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) config: NetworkConfig,
    pub(super) listen: SocketAddr,
    pub(super) random: Random,
    pub(super) peers: BTreeMap<IpAddr, Known>,
    pub(super) parked: Vec<Parked>,
    pub(super) pace: DialPace,
    /// Addresses that are to be dialed once.
    pub(super) wanted: Vec<IpAddr>,
    pub(super) is_proven_turn: bool,
    pub(super) exchanges: Exchanges,
    pub(super) actions: Vec<Action>,
    pub(super) stale: u64,
    /// Where the design leaves a choice, what to try.
    pub(super) script: Script,
    /// Own addresses: until when, and which local address a dial of it had.
    pub(super) learnt: Vec<(Duration, IpAddr, Option<IpAddr>)>,
    knows_loopback: bool,
    legs: Vec<(Duration, SocketAddr)>,
    events: u64,
    pub(super) outage_since: Option<Duration>,
    /// An outgoing connection stayed alive once.
    has_been_alive: bool,
    /// `denied` or `allowed` has changed, and the peers are yet to be judged by them.
    has_new_lists: bool,
    /// All dials so far.
    pub(super) started: Vec<ConnectionId>,
    /// The dials that had started when the last outage ended.
    sent_into_outage: Vec<ConnectionId>,
}

#[derive(Clone, Debug)]
pub(super) struct Parked {
    pub(super) id: ParkedId,
    remote: SocketAddr,
    dial: Option<ConnectionId>,
    /// The peer of that dial.
    dialed: Option<IpAddr>,
    pub(super) until: Option<Duration>,
    pub(super) has_settled: bool,
}

impl Model {
    pub(super) fn new(config: NetworkConfig, listen: SocketAddr, random: Random, now: Now) -> Self {
        let pace = DialPace::new(&config);
        Self {
            exchanges: Exchanges::new(&config, now),
            config,
            listen,
            random,
            peers: BTreeMap::new(),
            parked: Vec::new(),
            pace,
            wanted: Vec::new(),
            is_proven_turn: true,
            actions: Vec::new(),
            stale: 0,
            script: Script::default(),
            learnt: Vec::new(),
            knows_loopback: false,
            legs: Vec::new(),
            events: 0,
            outage_since: Some(now.since_start),
            has_been_alive: false,
            has_new_lists: false,
            started: Vec::new(),
            sent_into_outage: Vec::new(),
        }
    }

    /// Answers how many bans began only now, and how many peers were added.
    pub(super) fn load(&mut self, now: Now, records: &[PeerRecord]) -> usize {
        let loaded = |record: &PeerRecord| Known {
            denied: self.is_denied(record.peer.ip),
            reserved: self.config.reserved_peers.contains(&record.peer.ip),
            ..Known::loaded(record, self.random.tie(record.peer.ip), now.utc)
        };
        let mut peers: Vec<_> = records.iter().map(loaded).collect();
        let mut bans: Vec<_> = peers.iter_mut().filter(|peer| is_banned(peer)).collect();
        bans.sort_by_key(|peer| peer.believed_failure());
        let mut begun = 0;
        for peer in bans {
            let stored = peer.banned_at.or(peer.failure.map(|when| when.stored));
            let at = stored.filter(|&at| at <= now.utc);
            begun += usize::from(at.is_none());
            peer.banned_at = at.or(Some(now.utc));
            self.events += 1;
            peer.ban_event = self.events;
            let served = since(at.unwrap_or(now.utc), now);
            let left = |duration: Duration| now.since_start + duration.saturating_sub(served);
            peer.deadline = match peer.banned_until {
                Some(until) => Some(now.since_start + (until - now.utc).to_std().unwrap_or_default()),
                None => self.config.ban_duration.map(left),
            };
        }
        let is_missing = |ip: &IpAddr| !peers.iter().any(|peer| peer.ip == *ip);
        let missing: Vec<_> = self.config.reserved_peers.iter().copied().filter(is_missing).collect();
        let mut idle: Vec<_> = peers.iter().filter(|peer| !is_banned(peer)).collect();
        idle.sort_by_key(|peer| (!peer.reserved, peer.key()));
        let kept: Vec<_> = idle
            .iter()
            .take(self.config.max_idle_peers - missing.len())
            .map(|peer| peer.ip)
            .collect();
        for mut peer in peers {
            let ip = peer.ip;
            peer.own = self.is_own(ip);
            peer.knocked &= !peer.reserved || peer.own;
            if is_banned(&peer) {
                self.peers.insert(ip, peer);
                self.keep_bounds(ip);
            } else if kept.contains(&ip) {
                peer.pause = self.pause_left(now, &peer);
                self.peers.insert(ip, peer);
            }
        }
        for ip in missing {
            self.add(ip);
            let own = self.is_own(ip);
            (self.peer_mut(ip).reserved, self.peer_mut(ip).own) = (true, own);
            begun += usize::from(!own);
        }
        begun
    }

    pub(super) fn on_listed(&mut self, teller: Option<IpAddr>, ip: IpAddr) {
        let ip = ip.to_canonical();
        if self.config.max_idle_peers == 0 {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&ip).filter(|peer| !(peer.own && peer.from_file)) {
            (peer.knocked, peer.refused) = (false, false);
        }
        let is_fresh = !self.is_own(ip) && !self.peers.contains_key(&ip);
        let may_be_added = is_peer_address(ip) && is_fresh && !self.is_denied(ip);
        // A lowered cap is to be met first.
        let has_room = self.count(PeerStatus::Idle) <= self.config.max_idle_peers;
        if may_be_added && has_room {
            self.add(ip);
            self.peer_mut(ip).teller = teller.map(|teller| teller.to_canonical());
            self.keep_bounds(ip);
        }
    }

    /// `order` is that of the peers in the table.
    pub(super) fn on_time(&mut self, now: Now, order: &[IpAddr]) {
        self.judge_outage(now);
        let due = |peer: &Known| peer.deadline.filter(|&deadline| deadline <= now.since_start);
        while let Some(first) = self.peers.values().filter_map(due).min() {
            let at_once = self.ips(|peer| peer.deadline == Some(first));
            let ip = at_once[self.script.ask(at_once.len())];
            if self.peer(ip).status == PeerStatus::Banned {
                self.lift_ban(ip);
            } else {
                self.fail(now, ip, Revocation::HandshakeTimeout);
            }
        }
        let is_overdue = |parked: &Parked| parked.deadline().is_some_and(|until| until <= now.since_start);
        while let Some(overdue) = self.parked.iter().find(|parked| is_overdue(parked)) {
            self.refuse_parked(overdue.id);
        }
        self.end_hold(now);
        self.finish_reconfiguring(now, order);
        self.forget_own(now);
    }

    /// The table lets go of a parked socket.
    pub(super) fn on_settled(&mut self, id: Option<ParkedId>) {
        let settled = |parked: &Parked| parked.has_settled && Some(parked.id) == id;
        assert!(self.parked.iter().any(settled), "{id:?} is not to be let go of");
        self.parked.retain(|parked| !settled(parked));
    }

    pub(super) fn on_dialed(&mut self, now: Now, id: ConnectionId, local: SocketAddr) -> Reached {
        let Some(ip) = self.peer_of(id) else {
            return Reached::Nothing;
        };
        self.pace.host_faults = 0;
        if self.reaches_ourselves(now, ip, local) {
            return Reached::Ourselves;
        }
        if self.is_awaited(ip, id) {
            self.end(now, ip, NO_LEASE);
            return Reached::Nothing;
        }
        if self.is_denied(ip) {
            self.note_denied(ip);
            self.end(now, ip, NO_LEASE);
            return Reached::Nothing;
        }
        let deadline = self.handshake_deadline(now);
        let peer = self.peer_mut(ip);
        peer.status = PeerStatus::OutHandshaking;
        (peer.unroutable, peer.deadline) = (0, deadline);
        (peer.since, peer.local_port) = (now.since_start, Some(local.port()));
        if !self.peer(ip).beside {
            self.pace.race_at = now.since_start + self.config.dial_stagger;
        }
        if let Some(loser) = self.crossing(ip) {
            self.refuse_parked(loser);
        }
        self.settle_suspects(id);
        if self.shortage() == 0 && !self.peer(ip).beside {
            self.pace.replacements = 0;
            self.call_off_all(now);
        }
        Reached::Peer(ip)
    }

    pub(super) fn on_dial_failed(&mut self, now: Now, id: ConnectionId, fault: DialFault) {
        let Some(ip) = self.peer_of(id) else { return };
        let beside = self.peer(ip).beside;
        self.pace.replacements += usize::from(!beside);
        if fault == DialFault::Host {
            let pause = Duration::from_millis(100 << self.pace.host_faults.min(16));
            self.pace.host_faults += 1;
            self.pace.host_pause_until = now.since_start + pause.min(Duration::from_secs(10));
            return self.end(now, ip, NO_LEASE);
        }
        self.pace.host_faults = 0;
        if self.is_awaited(ip, id) {
            return self.end(now, ip, NO_LEASE);
        }
        let is_outage = self.is_outage(now);
        let was_in_outage = fault == DialFault::TimedOut && self.sent_into_outage.contains(&id);
        if fault == (DialFault::Unroutable { at_once: true }) && !beside {
            self.refund();
        }
        let peer = self.peer_mut(ip);
        peer.fails(now.utc);
        peer.outage_failures = if is_outage { peer.outage_failures + 1 } else { 0 };
        let failures = if matches!(fault, DialFault::Unroutable { .. }) {
            peer.unroutable += 1;
            peer.unroutable
        } else if is_outage || was_in_outage {
            peer.unroutable = 0;
            1
        } else {
            (peer.unroutable, peer.streak) = (0, peer.streak + 1);
            peer.judge(now.utc);
            peer.streak
        };
        let pause = if is_outage {
            self.outage_pause(ip)
        } else {
            self.backoff(failures)
        };
        self.rest(now, ip, pause);
        self.end(now, ip, NO_LEASE);
    }

    /// A report, made while the peer had this connection, or none.
    pub(super) fn on_report(&mut self, now: Now, ip: IpAddr, connection: Option<ConnectionId>, report: Report) {
        let ip = ip.to_canonical();
        let status = self.peers.get(&ip).map(|peer| peer.status);
        let current = connection.and_then(|id| self.peer_of(id));
        let is_connected = current.is_some_and(|ip| self.peer(ip).status.is_connected());
        match report {
            Report::Banned => self.ban(now, ip, None),
            Report::BannedFor(term) => self.ban(now, ip, Some(term)),
            Report::Reserve => self.reserve(now, ip),
            Report::Release => self.release(ip),
            Report::Dial => self.want_dial(ip),
            Report::Ourselves if is_peer_address(ip) => self.on_ourselves(now, ip),
            Report::Unbanned if status == Some(PeerStatus::Banned) => self.lift_ban(ip),
            Report::Alive if is_connected => {
                let is_new = self.peer(ip).status == PeerStatus::OutHandshaking;
                self.on_alive(now, ip);
                if is_new {
                    self.finish_rotation(now, ip);
                }
            }
            Report::Failed if is_connected => self.fail(now, ip, Revocation::Feedback),
            Report::Failed if connection.is_none() && status == Some(PeerStatus::Idle) => {
                self.peer_mut(ip).fails(now.utc);
            }
            Report::Closed if is_connected => self.close(now, ip, Revocation::Feedback),
            _ => self.stale += 1,
        }
    }

    /// From the end of the last outgoing connection until one has been alive for `retry_backoff`.
    pub(super) fn is_outage(&self, now: Now) -> bool {
        self.outage_since.is_some() && self.outage_over_at().is_none_or(|at| at > now.since_start)
    }

    pub(super) fn outage_over_at(&self) -> Option<Duration> {
        let alive = self.peers.values().filter(|peer| peer.status == PeerStatus::OutAlive);
        let since = alive.filter_map(|peer| peer.alive_since).min()?;
        Some(since + self.config.retry_backoff)
    }

    /// At its end the peers that failed in it may be dialed, unless it was the one at the start.
    fn judge_outage(&mut self, now: Now) {
        if self.outage_since.is_none() || self.is_outage(now) {
            return;
        }
        self.outage_since = None;
        self.sent_into_outage = self.started.clone();
        self.recover_pace(now);
        let is_first = !std::mem::replace(&mut self.has_been_alive, true);
        for peer in self.peers.values_mut().filter(|peer| peer.outage_failures > 0) {
            peer.outage_failures = 0;
            peer.pause = peer.pause.filter(|_| is_first);
        }
    }

    pub(super) fn shortage(&self) -> usize {
        let connected = [PeerStatus::OutHandshaking, PeerStatus::OutAlive].map(|status| self.count_for_target(status));
        let connected: usize = connected.iter().sum();
        self.config.target_outgoing_connections.saturating_sub(connected)
    }

    pub(super) fn count(&self, status: PeerStatus) -> usize {
        self.peers.values().filter(|peer| peer.status == status).count()
    }

    pub(super) fn count_for_target(&self, status: PeerStatus) -> usize {
        let counted = |peer: &&Known| peer.status == status && !peer.beside;
        self.peers.values().filter(counted).count()
    }

    pub(super) fn parked_of(&self, ip: IpAddr) -> Option<&Parked> {
        self.parked.iter().find(|parked| parked.remote.ip() == ip)
    }

    pub(super) fn ips(&self, which: impl Fn(&Known) -> bool) -> Vec<IpAddr> {
        let chosen = self.peers.values().filter(|peer| which(peer));
        chosen.map(|peer| peer.ip).collect()
    }

    /// The peers that others are told of.
    pub(super) fn told(&self) -> Vec<IpAddr> {
        self.ips(|peer| {
            !is_banned(peer)
                && !peer.own
                && !self.is_own(peer.ip)
                && !peer.knocked
                && !peer.denied
                && !self.is_denied(peer.ip)
        })
    }

    pub(super) fn peer(&self, ip: IpAddr) -> &Known {
        &self.peers[&ip]
    }

    fn peer_mut(&mut self, ip: IpAddr) -> &mut Known {
        self.peers.get_mut(&ip).expect("the peer is known")
    }

    fn peer_of(&self, id: ConnectionId) -> Option<IpAddr> {
        self.ips(|peer| peer.connection == Some(id)).first().copied()
    }

    fn crossing(&self, ip: IpAddr) -> Option<ParkedId> {
        let parked = self
            .parked_of(ip)
            .filter(|parked| parked.dialed.is_none_or(|dialed| dialed == ip));
        parked.map(|parked| parked.id)
    }

    /// Whether the peer came in and waits for the outcome of this dial of ours.
    fn is_awaited(&self, ip: IpAddr, dial: ConnectionId) -> bool {
        self.parked_of(ip).is_some_and(|parked| parked.dial == Some(dial))
    }

    fn add(&mut self, ip: IpAddr) {
        let denied = self.is_denied(ip);
        let known = Known::new(ip, self.random.tie(ip));
        self.peers.insert(ip, Known { denied, ..known });
    }

    pub(super) fn is_denied(&self, ip: IpAddr) -> bool {
        let NetworkConfig { denied, allowed, .. } = &self.config;
        let is_in = |prefixes: &[IpPrefix]| prefixes.iter().any(|prefix| prefix.contains(ip));
        is_in(denied) || !(allowed.is_empty() || is_in(allowed))
    }

    fn on_alive(&mut self, now: Now, ip: IpAddr) {
        let peer = self.peer_mut(ip);
        peer.deadline = None;
        peer.alive_since.get_or_insert(now.since_start);
        if peer.own && peer.from_file {
            // The operator's record stays as it was.
            peer.status = match peer.status {
                PeerStatus::OutHandshaking | PeerStatus::OutAlive => PeerStatus::OutAlive,
                _ => PeerStatus::InAlive,
            };
            return;
        }
        peer.alive = When::now(now.utc);
        (peer.knocked, peer.refused) = (false, false);
        if peer.is_outgoing() {
            (peer.alive_outgoing, peer.streak, peer.proven) = (When::now(now.utc), 0, true);
            peer.ended = false;
            (peer.status, peer.outage_failures) = (PeerStatus::OutAlive, 0);
        } else {
            peer.status = PeerStatus::InAlive;
        }
    }

    fn close(&mut self, now: Now, ip: IpAddr, why: Revocation) {
        if self.peer(ip).is_outgoing() {
            let pause = self.pause_after_end(now, ip);
            self.rest(now, ip, pause);
            let peer = self.peer_mut(ip);
            peer.outage_failures = 0;
            peer.ended = true;
        }
        self.end(now, ip, why);
    }

    fn fail(&mut self, now: Now, ip: IpAddr, why: Revocation) {
        self.peer_mut(ip).fails(now.utc);
        if self.peer(ip).is_outgoing() {
            let crosses = self.crossing(ip).is_some();
            let is_outage = self.is_outage(now);
            let least = if is_outage {
                Duration::ZERO
            } else {
                self.pause_after_end(now, ip)
            };
            let peer = self.peer_mut(ip);
            let counts = if crosses { 0 } else { 1 };
            let streak = peer.streak + counts;
            peer.outage_failures = if is_outage { peer.outage_failures + 1 } else { 0 };
            if !crosses && !is_outage {
                peer.streak += 1;
                peer.judge(now.utc);
            }
            let pause = if is_outage {
                self.outage_pause(ip)
            } else {
                self.backoff(streak)
            };
            self.rest(now, ip, pause.max(least));
        }
        self.end(now, ip, why);
    }

    /// The pause after an outgoing connection, which doubles for each further one in a row that ended soon.
    fn pause_after_end(&mut self, now: Now, ip: IpAddr) -> Duration {
        let soon = self.config.retry_backoff;
        let peer = self.peer_mut(ip);
        let is_short = now.since_start - peer.since < soon;
        peer.short_in_row = if is_short { peer.short_in_row + 1 } else { 0 };
        let short_in_row = peer.short_in_row;
        self.backoff(short_in_row)
    }

    fn outage_pause(&self, ip: IpAddr) -> Duration {
        let pause = self.backoff(self.peer(ip).outage_failures);
        pause.min(12 * self.config.retry_backoff)
    }

    fn ban(&mut self, now: Now, ip: IpAddr, term: Option<Duration>) {
        let connected = self.peers.get(&ip).is_some_and(|peer| peer.status.is_connected());
        if !is_peer_address(ip) || self.is_own(ip) {
            self.stale += 1;
            if connected {
                self.end(now, ip, Revocation::Ourselves);
            }
            self.doubt(ip);
            return;
        }
        if !self.peers.contains_key(&ip) {
            self.add(ip);
        }
        self.events += 1;
        let lasts = term.or(self.config.ban_duration);
        let (event, deadline) = (self.events, lasts.map(|time| now.since_start + time));
        let peer = self.peer_mut(ip);
        let dial = peer.connection.filter(|_| peer.status == PeerStatus::OutConnecting);
        peer.fails(now.utc);
        (peer.banned_at, peer.ban_event) = (Some(now.utc), event);
        peer.banned_until = term.map(|term| now.utc + term);
        (peer.pause, peer.outage_failures) = (None, 0);
        self.actions.extend(dial.map(Action::CallOff));
        self.end_by(now, ip, PeerStatus::Banned, Revocation::Banned, deadline);
    }

    fn lift_ban(&mut self, ip: IpAddr) {
        let peer = self.peer_mut(ip);
        (peer.banned_at, peer.banned_until, peer.deadline) = (None, None, None);
        peer.status = PeerStatus::Idle;
        self.keep_idle_bound(ip);
    }

    /// In whatever order: it matters only where the list is full.
    fn call_off_all(&mut self, now: Now) {
        loop {
            let dialed = self.ips(|peer| peer.status == PeerStatus::OutConnecting && !peer.beside);
            if dialed.is_empty() {
                break;
            }
            let has_room = self.count(PeerStatus::Idle) + dialed.len() <= self.config.max_idle_peers;
            let ip = dialed[if has_room { 0 } else { self.script.ask(dialed.len()) }];
            self.actions.extend(self.peer(ip).connection.map(Action::CallOff));
            self.end(now, ip, NO_LEASE);
        }
    }

    fn end(&mut self, now: Now, ip: IpAddr, why: Revocation) {
        self.end_by(now, ip, PeerStatus::Idle, why, None);
    }

    fn end_by(&mut self, now: Now, ip: IpAddr, to: PeerStatus, why: Revocation, deadline: Option<Duration>) {
        self.judge_outage(now);
        let peer = self.peer_mut(ip);
        let (connection, was) = (peer.connection.take(), peer.status);
        (peer.status, peer.deadline, peer.alive_since) = (to, deadline, None);
        (peer.local_port, peer.is_leased, peer.beside) = (None, false, false);
        if self.count(PeerStatus::OutAlive) == 0 {
            self.outage_since.get_or_insert(now.since_start);
        }
        match connection {
            Some(id) if was.is_connected() => self.actions.push(Action::Ended(id, why)),
            Some(id) => self.settle_suspects(id),
            None => {}
        }
        match self.crossing(ip) {
            Some(parked) if to == PeerStatus::Banned => self.refuse_parked(parked),
            Some(parked) => self.settle(|socket| socket.id == parked),
            None => {}
        }
        self.keep_bounds(ip);
    }

    fn settle_suspects(&mut self, dial: ConnectionId) {
        self.settle(|socket| socket.dial == Some(dial));
    }

    fn settle(&mut self, which: impl Fn(&Parked) -> bool) {
        let settled = self.parked.iter_mut().filter(|parked| which(parked));
        settled.for_each(|parked| parked.has_settled = true);
    }

    fn refuse_parked(&mut self, id: ParkedId) {
        self.parked.retain(|parked| parked.id != id);
        self.actions.push(Action::RefuseParked(id));
    }

    fn handshake_deadline(&self, now: Now) -> Option<Duration> {
        self.config.handshake_timeout.map(|timeout| now.since_start + timeout)
    }

    fn pause_left(&self, now: Now, peer: &Known) -> Option<(Duration, Duration)> {
        let waited = since(peer.failure.filter(|_| peer.streak > 0)?.stored, now);
        let pause = self.backoff(peer.streak).min(longest_pause(peer));
        let longest = self.config.max_retry_backoff;
        let end = |pause: Duration| now.since_start + pause.saturating_sub(waited).min(longest);
        let (shortest, longest) = jitter(pause);
        Some((end(shortest), end(longest)))
    }

    fn backoff(&self, failures: u32) -> Duration {
        let (mut pause, longest) = (self.config.retry_backoff, self.config.max_retry_backoff);
        for _ in 1..failures.min(40) {
            pause = pause.saturating_mul(2).min(longest);
        }
        pause.min(longest)
    }
}

impl Parked {
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.until.filter(|_| !self.has_settled)
    }
}

fn is_banned(peer: &Known) -> bool {
    peer.status == PeerStatus::Banned
}

fn since(time: DateTime<Utc>, now: Now) -> Duration {
    (now.utc - time).to_std().unwrap_or_default()
}

fn jitter(pause: Duration) -> (Duration, Duration) {
    let quarter = pause / 4 + Duration::from_nanos(1);
    (pause - quarter, pause + quarter)
}

/// The earliest and the latest end of a pause that begins now.
fn jittered(now: Now, pause: Duration) -> (Duration, Duration) {
    let (shortest, longest) = jitter(pause);
    (now.since_start + shortest, now.since_start + longest)
}
