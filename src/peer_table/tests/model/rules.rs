//! The rules of the design over plain peers: everything is scanned and sorted, nothing is indexed.

mod inbound;

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::known::{Known, When, network};
use super::script::Script;
use crate::fault::DialFault;
use crate::peer::{ConnectionId, PeerRecord, PeerStatus, is_peer_address};
use crate::peer_table::random::Random;
use crate::peer_table::*;

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) config: NetworkConfig,
    pub(super) listen: SocketAddr,
    pub(super) random: Random,
    pub(super) peers: BTreeMap<IpAddr, Known>,
    pub(super) parked: Vec<Parked>,
    pub(super) pace: DialPace,
    pub(super) is_proven_turn: bool,
    pub(super) actions: Vec<Action>,
    pub(super) stale: u64,
    /// Where the design leaves a choice, what to try.
    pub(super) script: Script,
    learnt: Vec<IpAddr>,
    knows_loopback: bool,
    legs: Vec<(Duration, SocketAddr)>,
    events: u64,
    /// When each dial has had its time, until the table says so.
    has_been_alive: bool,
    /// The dials that were under way when an outage ended.
    sent_into_outage: Vec<ConnectionId>,
}

#[derive(Clone, Debug)]
pub(super) struct Parked {
    pub(super) id: ConnectionId,
    remote: SocketAddr,
    dial: Option<ConnectionId>,
    pub(super) until: Option<Duration>,
    pub(super) has_settled: bool,
}

#[derive(Clone, Debug)]
pub(super) struct DialPace {
    pub(super) race_at: Duration,
    pub(super) replacements: usize,
    pub(super) host_pause_until: Duration,
    host_faults: u32,
    /// The earliest and the latest moment from which on a paused peer is tried in an outage.
    pub(super) outage: (Duration, Duration),
    pub(super) resting: VecDeque<(IpAddr, Duration)>,
}

/// How many peers that rest are remembered in an outage.
const OUTAGE_ROUND: usize = 16;

impl Model {
    pub(super) fn new(config: NetworkConfig, listen: SocketAddr, random: Random, now: Now) -> Self {
        let mut model = Self {
            config,
            listen,
            random,
            peers: BTreeMap::new(),
            parked: Vec::new(),
            pace: DialPace {
                race_at: Duration::ZERO,
                replacements: 0,
                host_pause_until: Duration::ZERO,
                host_faults: 0,
                outage: (Duration::ZERO, Duration::ZERO),
                resting: VecDeque::new(),
            },
            is_proven_turn: true,
            actions: Vec::new(),
            stale: 0,
            script: Script::default(),
            learnt: Vec::new(),
            knows_loopback: false,
            legs: Vec::new(),
            events: 0,
            has_been_alive: false,
            sent_into_outage: Vec::new(),
        };
        model.delay_outage(now);
        model
    }

    pub(super) fn load(&mut self, now: Now, records: &[PeerRecord]) {
        let mut bans: Vec<_> = records.iter().filter(|record| is_banned(record)).collect();
        bans.sort_by_key(|record| record.peer.last_failure.min(Some(now.utc)));
        let events: HashMap<_, _> = (1..).zip(bans).map(|(event, record)| (record.peer.ip, event)).collect();
        self.events = u64::try_from(events.len()).unwrap();
        for record in records {
            let ip = record.peer.ip;
            if self.is_own(ip) {
                continue;
            }
            let mut peer = Known::loaded(record, self.random.tie(ip), now.utc);
            if is_banned(record) {
                peer.ban_event = events[&ip];
                let served = peer.banned_at.map_or(Duration::ZERO, |at| since(at, now));
                let left = |duration: Duration| now.after(duration.saturating_sub(served));
                peer.deadline = self.config.ban_duration.map(left);
            } else {
                peer.pause = self.pause_left(now, &peer);
            }
            self.peers.insert(ip, peer);
            self.keep_bounds(ip);
        }
    }

    pub(super) fn on_listed(&mut self, ip: IpAddr) {
        let ip = ip.to_canonical();
        let may_be_added = is_peer_address(ip) && !self.is_own(ip) && !self.peers.contains_key(&ip);
        if may_be_added && self.config.max_idle_peers > 0 {
            self.add(ip);
            self.keep_bounds(ip);
        }
    }

    pub(super) fn on_time(&mut self, now: Now) {
        let due = |peer: &Known| peer.deadline.filter(|&deadline| deadline <= now.since_start);
        while let Some(first) = self.peers.values().filter_map(due).min() {
            let at_once = self.ips(|peer| peer.deadline == Some(first));
            let ip = at_once[self.script.ask(at_once.len())];
            if self.peer(ip).status == PeerStatus::Banned {
                self.lift_ban(ip);
            } else {
                self.fail(now, ip);
            }
        }
        let is_overdue = |parked: &Parked| parked.deadline().is_some_and(|until| until <= now.since_start);
        while let Some(overdue) = self.parked.iter().find(|parked| is_overdue(parked)) {
            self.refuse_parked(overdue.id);
        }
    }

    /// The table lets go of a parked socket.
    pub(super) fn on_settled(&mut self, id: Option<ConnectionId>) {
        let settled = |parked: &Parked| parked.has_settled && Some(parked.id) == id;
        assert!(self.parked.iter().any(settled), "{id:?} is not to be let go of");
        self.parked.retain(|parked| !settled(parked));
    }

    pub(super) fn on_dialed(&mut self, now: Now, id: ConnectionId, local: SocketAddr) -> Reached {
        let Some(ip) = self.peer_of(id) else {
            return Reached::Nobody;
        };
        self.pace.host_faults = 0;
        let reaches_any = self.listen.ip().is_unspecified() && ip.is_loopback();
        if self.is_reachable() && (local.ip() == ip || reaches_any) {
            self.on_reached_ourselves(now, ip, id, local);
            return Reached::Ourselves;
        }
        let deadline = self.handshake_deadline(now);
        let peer = self.peer_mut(ip);
        peer.status = PeerStatus::OutHandshaking;
        (peer.unroutable, peer.deadline) = (0, deadline);
        self.pace.race_at = now.after(self.config.dial_stagger);
        if let Some(loser) = self.crossing(ip) {
            self.refuse_parked(loser);
        }
        self.settle_suspects(id);
        if self.shortage() == 0 {
            self.pace.replacements = 0;
            self.call_off_all();
        }
        Reached::Peer(ip)
    }

    pub(super) fn on_dial_failed(&mut self, now: Now, id: ConnectionId, failure: DialFault) {
        let Some(ip) = self.peer_of(id) else { return };
        self.pace.replacements += 1;
        let sent_into_outage = failure == DialFault::TimedOut && self.sent_into_outage.contains(&id);
        let is_outage = self.is_outage() || sent_into_outage;
        if failure == DialFault::Host {
            let pause = Duration::from_millis(100 << self.pace.host_faults.min(16));
            self.pace.host_faults += 1;
            self.pace.host_pause_until = now.after(pause.min(Duration::from_secs(10)));
        } else {
            self.pace.host_faults = 0;
        }
        if failure != DialFault::Host {
            self.rest(now, ip);
        }
        let peer = self.peer_mut(ip);
        let pause = match failure {
            DialFault::Host => None,
            DialFault::Unroutable { .. } => {
                peer.unroutable += 1;
                Some(peer.unroutable)
            }
            DialFault::Peer | DialFault::TimedOut => {
                (peer.unroutable, peer.failure) = (0, When::now(now.utc));
                if !is_outage {
                    peer.streak += 1;
                    peer.judge(now.utc);
                }
                Some(if is_outage { 1 } else { peer.streak })
            }
        };
        self.peer_mut(ip).pause = pause.map(|failures| self.pause(now, failures));
        self.end(ip, PeerStatus::Idle);
    }

    pub(super) fn on_report(&mut self, now: Now, ip: IpAddr, report: Report) {
        let ip = ip.to_canonical();
        let status = self.peers.get(&ip).map(|peer| peer.status);
        let is_connected = status.is_some_and(PeerStatus::is_connected);
        match report {
            Report::Banned => self.ban(now, ip),
            Report::Unbanned if status == Some(PeerStatus::Banned) => self.lift_ban(ip),
            Report::Alive if is_connected => self.on_alive(now, ip),
            Report::Failed if is_connected => self.fail(now, ip),
            Report::Failed if status == Some(PeerStatus::Idle) => self.peer_mut(ip).failure = When::now(now.utc),
            Report::Closed if is_connected => {
                self.rest(now, ip);
                self.peer_mut(ip).pause = Some(self.pause(now, 1));
                self.end(ip, PeerStatus::Idle);
            }
            _ => self.stale += 1,
        }
    }

    pub(super) fn on_lease_report(&mut self, now: Now, ip: IpAddr, id: ConnectionId, report: Report) {
        if report == Report::Banned || self.peer_of(id).is_some() {
            self.on_report(now, ip, report);
        } else {
            self.stale += 1;
        }
    }

    pub(super) fn is_outage(&self) -> bool {
        self.count(PeerStatus::OutAlive) == 0
    }

    pub(super) fn shortage(&self) -> usize {
        let connected = self.count(PeerStatus::OutHandshaking) + self.count(PeerStatus::OutAlive);
        self.config.target_outgoing_connections - connected
    }

    pub(super) fn count(&self, status: PeerStatus) -> usize {
        self.peers.values().filter(|peer| peer.status == status).count()
    }

    pub(super) fn is_own(&self, ip: IpAddr) -> bool {
        let is_known = self.listen.ip() == ip || self.learnt.contains(&ip) || (self.knows_loopback && ip.is_loopback());
        self.is_reachable() && is_known
    }

    pub(super) fn parked_of(&self, ip: IpAddr) -> Option<&Parked> {
        self.parked.iter().find(|parked| parked.remote.ip() == ip)
    }

    pub(super) fn ips(&self, which: impl Fn(&Known) -> bool) -> Vec<IpAddr> {
        let chosen = self.peers.values().filter(|peer| which(peer));
        chosen.map(|peer| peer.ip).collect()
    }

    pub(super) fn peer(&self, ip: IpAddr) -> &Known {
        &self.peers[&ip]
    }

    pub(super) fn delay_outage(&mut self, now: Now) {
        let (earliest, latest) = jitter(self.config.retry_backoff);
        self.pace.outage = (now.after(earliest), now.after(latest));
    }

    /// An outage leaves a peer that fails or is closed alone for a first pause.
    fn rest(&mut self, now: Now, ip: IpAddr) {
        let until = now.after(self.config.retry_backoff);
        let resting = &mut self.pace.resting;
        resting.retain(|&(other, _)| other != ip);
        resting.push_back((ip, until));
        if resting.len() > OUTAGE_ROUND {
            resting.pop_front();
        }
    }

    fn is_reachable(&self) -> bool {
        let port = self.listen.port();
        self.config.peer_port.unwrap_or(port) == port
    }

    fn peer_mut(&mut self, ip: IpAddr) -> &mut Known {
        self.peers.get_mut(&ip).expect("the peer is known")
    }

    fn peer_of(&self, id: ConnectionId) -> Option<IpAddr> {
        self.ips(|peer| peer.connection == Some(id)).first().copied()
    }

    fn crossing(&self, ip: IpAddr) -> Option<ConnectionId> {
        let parked = self.parked_of(ip).filter(|parked| parked.dial.is_none());
        parked.map(|parked| parked.id)
    }

    fn add(&mut self, ip: IpAddr) {
        self.peers.insert(ip, Known::new(ip, self.random.tie(ip)));
    }

    fn on_alive(&mut self, now: Now, ip: IpAddr) {
        if self.peer(ip).is_outgoing() && self.is_outage() {
            let under_way = self
                .peers
                .values()
                .filter(|peer| peer.status == PeerStatus::OutConnecting);
            if self.has_been_alive {
                self.sent_into_outage = under_way.filter_map(|peer| peer.connection).collect();
            }
            self.has_been_alive = true;
        }
        let peer = self.peer_mut(ip);
        (peer.alive, peer.deadline) = (When::now(now.utc), None);
        if peer.is_outgoing() {
            (peer.alive_outgoing, peer.streak, peer.proven) = (When::now(now.utc), 0, true);
            peer.status = PeerStatus::OutAlive;
        } else {
            peer.status = PeerStatus::InAlive;
        }
    }

    fn fail(&mut self, now: Now, ip: IpAddr) {
        self.rest(now, ip);
        let crosses = self.crossing(ip).is_some();
        let peer = self.peer_mut(ip);
        peer.failure = When::now(now.utc);
        if peer.is_outgoing() && !crosses {
            peer.streak += 1;
            peer.judge(now.utc);
        }
        let streak = peer.streak;
        self.peer_mut(ip).pause = Some(self.pause(now, streak));
        self.end(ip, PeerStatus::Idle);
    }

    fn ban(&mut self, now: Now, ip: IpAddr) {
        let connected = self.peers.get(&ip).is_some_and(|peer| peer.status.is_connected());
        if !is_peer_address(ip) || self.is_own(ip) {
            self.stale += 1;
            if connected {
                self.end(ip, PeerStatus::Idle);
            }
            return;
        }
        if !self.peers.contains_key(&ip) {
            self.add(ip);
        }
        self.events += 1;
        let (event, deadline) = (self.events, self.config.ban_duration.map(|time| now.after(time)));
        let peer = self.peer_mut(ip);
        let dial = peer.connection.filter(|_| peer.status == PeerStatus::OutConnecting);
        (peer.failure, peer.banned_at, peer.ban_event) = (When::now(now.utc), Some(now.utc), event);
        peer.pause = None;
        self.actions.extend(dial.map(Action::CallOff));
        self.end_by(ip, PeerStatus::Banned, deadline);
    }

    fn lift_ban(&mut self, ip: IpAddr) {
        let peer = self.peer_mut(ip);
        (peer.banned_at, peer.deadline) = (None, None);
        peer.status = PeerStatus::Idle;
        self.keep_bounds(ip);
    }

    fn on_reached_ourselves(&mut self, now: Now, ip: IpAddr, id: ConnectionId, leg: SocketAddr) {
        let is_other_end = |parked: &&Parked| parked.dial == Some(id) && parked.remote == leg;
        match self.parked.iter().find(is_other_end).map(|parked| parked.id) {
            Some(other_end) => self.refuse_parked(other_end),
            None => self.legs.push((now.after(self.config.connect_timeout), leg)),
        }
        if ip.is_loopback() && self.listen.ip().is_unspecified() {
            self.knows_loopback = true;
        } else {
            self.learnt.push(ip);
        }
        self.peer_mut(ip).own = true;
        self.pace.replacements += 1;
        self.end(ip, PeerStatus::Idle);
    }

    /// In whatever order: it matters only where the list is full.
    fn call_off_all(&mut self) {
        loop {
            let dialed = self.ips(|peer| peer.status == PeerStatus::OutConnecting);
            if dialed.is_empty() {
                break;
            }
            let has_room = self.count(PeerStatus::Idle) + dialed.len() <= self.config.max_idle_peers;
            let ip = dialed[if has_room { 0 } else { self.script.ask(dialed.len()) }];
            self.actions.extend(self.peer(ip).connection.map(Action::CallOff));
            self.end(ip, PeerStatus::Idle);
        }
    }

    fn end(&mut self, ip: IpAddr, to: PeerStatus) {
        self.end_by(ip, to, None);
    }

    fn end_by(&mut self, ip: IpAddr, to: PeerStatus, deadline: Option<Duration>) {
        let peer = self.peer_mut(ip);
        let (connection, was) = (peer.connection.take(), peer.status);
        (peer.status, peer.deadline) = (to, deadline);
        match connection {
            Some(id) if was.is_connected() => self.actions.push(Action::Ended(id)),
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

    fn refuse_parked(&mut self, id: ConnectionId) {
        self.parked.retain(|parked| parked.id != id);
        self.actions.push(Action::RefuseParked(id));
    }

    fn keep_bounds(&mut self, ip: IpAddr) {
        if self.peer(ip).is_idle() && (self.peer(ip).own || self.is_own(ip)) {
            self.forget(ip);
        }
        while self.count(PeerStatus::Idle) > self.config.max_idle_peers {
            let victims = self.idle_victims();
            self.forget_one(&victims);
        }
        while self.count(PeerStatus::Banned) > self.config.max_banned_peers {
            let banned = |peer: &&Known| peer.status == PeerStatus::Banned;
            let victims = first_to_go(self.peers.values().filter(banned), |peer| {
                std::cmp::Reverse(peer.ban_event)
            });
            self.forget_one(&victims);
        }
    }

    fn idle_victims(&self) -> Vec<IpAddr> {
        let idle = || self.peers.values().filter(|peer| peer.is_idle());
        let unproven = first_to_go(idle().filter(|peer| !peer.proven), Known::key);
        if unproven.is_empty() {
            return idle()
                .max_by_key(|peer| peer.key())
                .map(|peer| peer.ip)
                .into_iter()
                .collect();
        }
        unproven
    }

    fn forget_one(&mut self, victims: &[IpAddr]) {
        let victim = self.script.victim(victims);
        self.forget(victim);
    }

    pub(super) fn forget(&mut self, ip: IpAddr) {
        self.peers.remove(&ip);
        self.pace.resting.retain(|&(other, _)| other != ip);
    }

    fn handshake_deadline(&self, now: Now) -> Option<Duration> {
        self.config.handshake_timeout.map(|timeout| now.after(timeout))
    }

    fn pause(&self, now: Now, failures: u32) -> (Duration, Duration) {
        let (shortest, longest) = self.backoff(failures);
        (now.after(shortest), now.after(longest))
    }

    fn pause_left(&self, now: Now, peer: &Known) -> Option<(Duration, Duration)> {
        let waited = since(peer.failure.filter(|_| peer.streak > 0)?.stored, now);
        let (shortest, longest) = self.backoff(peer.streak);
        let end = |pause: Duration| now.after(pause.saturating_sub(waited));
        Some((end(shortest), end(longest)))
    }

    fn backoff(&self, failures: u32) -> (Duration, Duration) {
        let (mut pause, longest) = (self.config.retry_backoff, self.config.max_retry_backoff);
        for _ in 1..failures.min(40) {
            pause = pause.saturating_mul(2).min(longest);
        }
        (pause.min(longest), jitter(pause).1.min(longest))
    }
}

impl Parked {
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.until.filter(|_| !self.has_settled)
    }
}

fn is_banned(record: &PeerRecord) -> bool {
    record.peer.status == PeerStatus::Banned
}

fn since(time: DateTime<Utc>, now: Now) -> Duration {
    (now.utc - time).to_std().unwrap_or_default()
}

fn jitter(pause: Duration) -> (Duration, Duration) {
    (pause, pause.saturating_add(pause / 4))
}

/// The worst of each subnet that holds most of these peers.
fn first_to_go<'a, K: Ord>(peers: impl Iterator<Item = &'a Known>, badness: impl Fn(&Known) -> K) -> Vec<IpAddr> {
    let mut by_network: BTreeMap<_, Vec<&Known>> = BTreeMap::new();
    peers.for_each(|peer| by_network.entry(network(peer.ip)).or_default().push(peer));
    let most = by_network.values().map(Vec::len).max();
    let crowded = by_network.into_values().filter(|members| Some(members.len()) == most);
    let worst = crowded.filter_map(|members| members.into_iter().max_by_key(|peer| badness(peer)));
    worst.map(|peer| peer.ip).collect()
}
