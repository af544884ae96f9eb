//! A table and the model side by side.

use super::known::{Known, Stored};
use super::rules::{Model, SHARE};
use super::script::Script;
use super::watching::Watcher;
use super::*;
use crate::peer_file;
use crate::peer_table::entry::Source;
use crate::peer_table::tellers::Teller;
use crate::peer_table::time::Moment;

/// Two crowded networks, lone peers below and above us, IPv6, loopback, ourselves, and one that is no peer.
pub(super) const PEERS: [&str; 26] = [
    "60.1.0.1",
    "60.1.0.2",
    "60.1.0.3",
    "60.1.0.4",
    "60.1.1.1",
    "60.1.1.2",
    "60.2.0.1",
    "60.2.0.2",
    "60.2.1.1",
    "60.3.0.1",
    "60.4.0.1",
    "60.5.0.1",
    "60.6.0.1",
    "60.150.0.1",
    "60.150.0.2",
    "60.160.0.1",
    "60.170.0.1",
    "::ffff:60.170.0.1",
    "2001:db8::1",
    "2001:db8:1::1",
    "2001:db9::1",
    "fd00::1",
    "127.0.0.1",
    "127.0.0.9",
    "60.100.0.1",
    "224.0.0.1",
];
/// Two of one network, others of their own, and two of a LAN.
const TELLERS: [&str; 6] = [
    "60.1.0.1",
    "60.1.9.9",
    "::ffff:60.170.0.1",
    "2a00:1::1",
    "10.0.0.1",
    "10.0.0.2",
];
const US: &str = "60.100.0.1";
/// The whole check is slow and looks at what the comparison with the model mostly sees too.
const STEPS_PER_CHECK: usize = 16;

pub(super) struct Trial {
    table: PeerTable,
    model: Model,
    now: Now,
    listen: SocketAddr,
    dials: Vec<(ConnectionId, IpAddr)>,
    /// Connections that there are, and some that are over.
    leases: VecDeque<(ConnectionId, IpAddr)>,
    sockets: Vec<(ParkedId, SocketAddr)>,
    stored: Vec<Stored>,
    watcher: Watcher,
    steps: usize,
    /// What happened how often, before the last restart.
    happened: BTreeMap<&'static str, u64>,
}

impl Trial {
    pub(super) fn new(config: NetworkConfig, listen: SocketAddr, seed: u64) -> Self {
        let now = Now {
            utc: start(),
            since_start: Duration::ZERO,
        };
        let table = new_table(config, listen, seed, now);
        let mut trial = Self {
            watcher: Watcher::default(),
            model: Model::new(table.config.clone(), listen, table.random.clone(), now),
            table,
            now,
            listen,
            dials: Vec::new(),
            leases: VecDeque::new(),
            sockets: Vec::new(),
            stored: Vec::new(),
            steps: 0,
            happened: BTreeMap::new(),
        };
        trial.apply_load(now, Vec::new());
        trial
    }

    pub(super) fn step(&mut self, step: &Step) {
        let now = self.now;
        match *step {
            Step::Inbound {
                peer,
                port,
                to_loopback,
                admit_works,
            } => {
                let local = if to_loopback { "127.0.0.1" } else { US };
                self.inbound(at(ip(PEERS[peer]), 40_000 + port), ip(local), admit_works);
            }
            Step::DialSucceeds { dial, port } => {
                if let Some((id, peer)) = pick(&self.dials, dial) {
                    self.dialed(id, peer, 40_000 + port);
                }
            }
            Step::DialFails(dial, failure) => {
                if let Some((id, _)) = pick(&self.dials, dial) {
                    self.dials.retain(|&(other, _)| other != id);
                    self.apply(
                        |table| table.on_dial_failed(now, id, failure),
                        |model, ()| model.on_dial_failed(now, id, failure),
                    );
                }
            }
            Step::Report {
                peer,
                was_connected,
                report,
            } => {
                let peer = ip(PEERS[peer]);
                let connection = self.table.connection(peer.to_canonical()).map(|(id, _)| id);
                self.report(peer, connection.filter(|_| was_connected), report);
            }
            Step::LeaseReport(lease, report) => {
                if let Some((id, peer)) = pick(self.leases.make_contiguous(), lease) {
                    self.report(peer, Some(id), report);
                }
            }
            Step::PeerList { teller, ref peers } => peers.iter().for_each(|&peer| {
                let (teller, peer) = (teller.map(|teller| ip(TELLERS[teller])), ip(PEERS[peer]));
                self.apply(
                    |table| table.on_peer_list_from(teller, [peer]),
                    |model, ()| model.on_listed(teller, peer),
                );
            }),
            Step::TakesLease(lease) => {
                if let Some((id, _)) = pick(self.leases.make_contiguous(), lease) {
                    self.apply(|table| table.on_leased(id), |model, ()| model.on_leased(id));
                }
            }
            Step::DropsLease(lease) => {
                if let Some((id, _)) = pick(self.leases.make_contiguous(), lease) {
                    self.apply(
                        |table| table.on_lease_dropped(id),
                        |model, ()| model.on_lease_dropped(id),
                    );
                }
            }
            Step::Wait(millis) => {
                self.now.since_start += Duration::from_millis(millis);
                self.now.utc += TimeDelta::milliseconds(i64::try_from(millis).unwrap());
            }
            Step::Jump(days) => self.now.utc += TimeDelta::days(days),
            Step::Restart(seed) => self.restart(seed),
            Step::Reconfigure(ref config) => {
                let reconfigure = |table: &mut PeerTable| {
                    table.reconfigure(now, NetworkConfig::clone(config)).unwrap();
                    table.config.clone()
                };
                self.apply(reconfigure, |model, config| model.reconfigure(now, config));
                self.compare_order();
            }
        }
    }

    /// What happened how often, by the table's own counters.
    pub(super) fn happened(&mut self) -> &BTreeMap<&'static str, u64> {
        let counters = std::mem::take(self.table.counters_mut());
        for (name, count) in counters.iter() {
            *self.happened.entry(name).or_default() += count;
        }
        &self.happened
    }

    pub(super) fn poll(&mut self) {
        let now = self.now;
        let order: Vec<_> = self.table.peers().map(|peer| peer.ip).collect();
        self.apply(|table| table.on_time(now), |model, ()| model.on_time(now, &order));
        while self.model.parked.iter().any(|parked| parked.has_settled) {
            let id = self.apply(PeerTable::next_settled, |model, id| model.on_settled(*id));
            let id = id.expect("a parked socket has settled");
            let place = self.sockets.iter().position(|&(other, _)| other == id).unwrap();
            let (_, remote) = self.sockets.swap_remove(place);
            self.inbound(remote, ip(US), true);
        }
        assert_eq!(self.table.next_settled(), None);
        loop {
            let due = self.compare_dial_states();
            let dial = self.apply(
                |table| table.next_dial(now),
                |model, &dial| model.on_next_dial(now, dial),
            );
            self.check_due(&due, dial.map(|(_, ip)| ip));
            let Some(dial) = dial else { break };
            self.dials.push(dial);
        }
        self.compare_deadline();
        self.compare_order();
        self.compare_sample(self.steps % 8);
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_PER_CHECK) {
            self.table.check();
        }
    }

    /// The table tells of each peer what the model does. Answers which are due, unless an own address is among the
    /// candidates that was not seen to be one: it is passed over when it is drawn.
    fn compare_dial_states(&self) -> Option<Vec<IpAddr>> {
        let peers: BTreeSet<_> = PEERS.iter().map(|peer| ip(peer).to_canonical()).collect();
        let is_unseen = |peer: &Known| peer.is_idle() && !peer.own && self.model.is_own(peer.ip);
        if self.model.peers.values().any(is_unseen) {
            return None;
        }
        let mut due = Vec::new();
        for &peer in &peers {
            let state = self.table.dial_state(self.now, peer);
            assert_eq!(state, self.model.dial_state(self.now, peer, &state), "of {peer}");
            due.extend((state == DialState::Due).then_some(peer));
        }
        Some(due)
    }

    /// What is dialed was due, and if nothing is then nothing was.
    fn check_due(&mut self, due: &Option<Vec<IpAddr>>, dialed: Option<IpAddr>) {
        let Some(due) = due else { return };
        match dialed {
            Some(ip) => assert!(due.contains(&ip), "{ip} is dialed, and was not due"),
            // What was wanted may have been dropped meanwhile.
            None => assert!(due.is_empty(), "{due:?} are due, and none is dialed"),
        }
    }

    fn report(&mut self, peer: IpAddr, connection: Option<ConnectionId>, report: Report) {
        let now = self.now;
        self.apply(
            |table| table.on_report(now, peer, connection, report),
            |model, ()| model.on_report(now, peer, connection, report),
        );
    }

    fn inbound(&mut self, remote: SocketAddr, local: IpAddr, admit_works: bool) {
        let now = self.now;
        let ip = remote.ip().to_canonical();
        let canonical = at(ip, remote.port());
        let verdict = self.apply(
            |table| table.on_inbound(now, remote, local),
            |model, verdict| assert_eq!(*verdict, model.on_inbound(now, canonical, local)),
        );
        match verdict {
            Verdict::Admit if admit_works => {
                let id = self.apply(
                    |table| table.on_admitted(now, remote.ip()),
                    |model, &id| model.on_admitted(now, ip, id),
                );
                self.hold(id, ip);
            }
            Verdict::Park(dial) if admit_works => {
                let id = self.apply(
                    |table| table.on_parked(now, remote, dial),
                    |model, &id| model.on_parked(now, canonical, dial, id),
                );
                self.sockets.push((id, canonical));
            }
            Verdict::Admit | Verdict::Park(_) | Verdict::Refuse(_) => {}
        }
    }

    fn dialed(&mut self, id: ConnectionId, peer: IpAddr, port: u16) {
        let now = self.now;
        self.dials.retain(|&(other, _)| other != id);
        let local = at(if peer.is_loopback() { ip("127.0.0.1") } else { ip(US) }, port);
        let reached = self.apply(
            |table| table.on_dialed(now, id, local),
            |model, reached| assert_eq!(*reached, model.on_dialed(now, id, local)),
        );
        if reached == Reached::Peer(peer) {
            self.hold(id, peer);
        }
    }

    fn hold(&mut self, id: ConnectionId, ip: IpAddr) {
        if self.leases.len() == 16 {
            self.leases.pop_front();
        }
        self.leases.push_back((id, ip));
    }

    /// Another process, with what the peer file brings over.
    fn restart(&mut self, seed: u64) {
        self.happened();
        let mut file = Vec::new();
        peer_file::encode_head(&mut file);
        let stored: Vec<_> = self.table.stored_from(0).flatten().collect();
        for (place, record) in stored.iter().enumerate() {
            peer_file::encode_record(&mut file, place == 0, *record);
        }
        peer_file::encode_tail(&mut file, !stored.is_empty());
        let records = peer_file::parse(&file).unwrap();
        let (config, now) = (self.table.config.clone(), self.now);
        self.table = new_table(config.clone(), self.listen, seed, now);
        self.model = Model::new(config, self.listen, self.table.random.clone(), now);
        self.dials.clear();
        self.sockets.clear();
        self.leases.clear();
        self.apply_load(now, records);
    }

    fn apply_load(&mut self, now: Now, records: Vec<PeerRecord>) {
        let copy = records.clone();
        self.table.load(now, records, &[]);
        let changes = self.table.changes();
        self.follow(&(), &[], |model, ()| {
            let begun = model.load(now, &copy);
            assert_eq!(
                changes > 0,
                begun > 0,
                "loading is no change, but for bans that begin now and reserved peers"
            );
        });
        self.stored = self.model.stored();
        self.watcher = Watcher::of(&mut self.table);
    }

    /// Lets the same happen to both, and compares all that can be seen of them.
    fn apply<R>(&mut self, act: impl FnOnce(&mut PeerTable) -> R, tell: impl Fn(&mut Model, &R)) -> R {
        let changes = self.table.changes();
        let result = act(&mut self.table);
        self.watcher.follow(&mut self.table);
        let actions: Vec<_> = std::iter::from_fn(|| self.table.next_action()).collect();
        self.follow(&result, &actions, tell);
        self.obey(&actions);
        let has_risen = self.table.changes() > changes;
        let before = std::mem::replace(&mut self.stored, self.model.stored());
        let has_changed = before != self.stored;
        // A ban for which there is no room at all comes and goes in one step.
        assert!(
            has_risen == has_changed || self.table.config.max_banned_peers == 0,
            "changes rise just when something stored has changed"
        );
        result
    }

    fn follow<R>(&mut self, result: &R, actions: &[Action], tell: impl Fn(&mut Model, &R)) {
        let mut script = Script::new(self.table.peers().map(|peer| peer.ip).collect());
        let mut differences = Vec::new();
        loop {
            let mut model = self.model.clone();
            model.script = script;
            tell(&mut model, result);
            match model.difference(&self.table, actions, self.now) {
                None => {
                    self.model = model;
                    return;
                }
                Some(difference) => differences.push(difference),
            }
            script = model
                .script
                .next()
                .unwrap_or_else(|| panic!("{}", differences.join("\n or ")));
        }
    }

    fn obey(&mut self, actions: &[Action]) {
        for action in actions {
            match *action {
                Action::CallOff(id) => self.dials.retain(|&(other, _)| other != id),
                Action::RefuseParked(id) => self.sockets.retain(|&(other, _)| other != id),
                Action::Ended(..) => {}
            }
        }
    }

    fn compare_sample(&mut self, limit: usize) {
        let told = self.model.told();
        let sample = self.apply(|table| table.sample_peer_ips(limit), |model, _| model.drop_own());
        assert_eq!(sample.len(), limit.min(told.len()));
        let distinct: BTreeSet<_> = sample.into_iter().collect();
        assert_eq!(distinct.len(), limit.min(told.len()));
        assert!(distinct.iter().all(|ip| told.contains(ip)), "{distinct:?} of {told:?}");
    }

    fn compare_order(&self) {
        let model = &self.model;
        let told = model.told();
        let mut sorted: Vec<_> = told.iter().map(|&ip| model.peer(ip)).collect();
        sorted.sort_by_key(|peer| peer.key());
        let order: Vec<_> = self.table.good_peer_ips().collect();
        assert_eq!(order, sorted.iter().map(|peer| peer.ip).collect::<Vec<_>>());
    }

    fn compare_deadline(&self) {
        let due = self.table.next_deadline();
        assert!(due.is_none_or(|due| due > self.now.since_start), "due, and not done");
        match (self.model.next_deadline(self.now), due) {
            (None, None) => {}
            (Some((earliest, latest)), Some(due)) if (earliest..=latest).contains(&due) => {}
            (expected, due) => panic!("due at {due:?}, not in {expected:?}"),
        }
    }
}

impl Model {
    fn stored(&self) -> Vec<Stored> {
        self.peers.values().filter_map(Known::stored).collect()
    }

    /// Compares, and learns from the table how long a pause became by its jitter.
    fn difference(&mut self, table: &PeerTable, actions: &[Action], now: Now) -> Option<String> {
        let mut expected = std::mem::take(&mut self.actions);
        let mut actions = actions.to_vec();
        expected.sort_by_key(|action| format!("{action:?}"));
        actions.sort_by_key(|action| format!("{action:?}"));
        if actions != expected {
            return Some(format!("{actions:?}, not {expected:?}"));
        }
        match (table.rotation.due.map(Moment::since_start), self.exchanges.rotation_due) {
            (None, None) => {}
            (Some(due), Some((first, last))) if (first..=last).contains(&due) => {
                self.exchanges.rotation_due = Some((due, due));
            }
            (due, expected) => return Some(format!("rotation at {due:?}, not {expected:?}")),
        }
        let stale = table.stats().counters.feedback_stale;
        if stale != self.stale {
            return Some(format!("{stale} stale reports, not {}", self.stale));
        }
        if table.peers().count() != self.peers.len() {
            let known: Vec<_> = table.peers().map(|peer| peer.ip).collect();
            return Some(format!("known are {known:?}, not {:?}", self.peers.keys()));
        }
        let ips: Vec<_> = self.peers.keys().copied().collect();
        ips.into_iter().find_map(|ip| self.difference_of(table, ip, now))
    }

    fn difference_of(&mut self, table: &PeerTable, ip: IpAddr, now: Now) -> Option<String> {
        let Some(id) = table.peers.id_of(ip) else {
            return Some(format!("{ip} is forgotten"));
        };
        let entry = table.peers.get(id);
        let (has_parked, is_held) = (self.parked_of(ip).is_some(), self.is_held(ip));
        let peer = self.peers.get_mut(&ip)?;
        peer.teller = peer.teller.filter(|_| peer.is_untried());
        if peer.is_idle() && (peer.from_file || peer.reserved) && !peer.own {
            // An own address that the file names is noticed when it was to be dialed.
            peer.own = entry.is_own;
        }
        let seen = (
            &entry.peer,
            (entry.is_proven, entry.is_own, entry.is_reserved, entry.is_beside_target),
            entry.source,
            entry.connection.map(|connection| connection.number),
            entry.deadline().map(Moment::since_start),
            (entry.ban_times().at, entry.ban_times().until),
            table.peers.tellers().of(id),
            (entry.has_parked, entry.is_held),
        );
        let shown = peer.shown();
        let source = match (peer.knocked, peer.refused) {
            (true, _) => Source::Admitted,
            (false, true) => Source::Refused,
            (false, false) => Source::Told,
        };
        let expected = (
            &shown,
            (peer.proven, peer.own, peer.reserved, peer.beside),
            source,
            peer.connection.map(|connection| connection.number),
            peer.deadline,
            (peer.banned_at, peer.banned_until),
            peer.teller.map(Teller::at),
            (has_parked, is_held),
        );
        if seen != expected {
            return Some(format!("{seen:?}\nnot {expected:?}"));
        }
        if !peer.is_idle() {
            return None;
        }
        match (entry.paused_until.map(Moment::since_start), peer.pause) {
            (Some(end), Some((shortest, longest))) if (shortest..=longest).contains(&end) => {
                peer.pause = Some((end, end));
                None
            }
            (None, None) => None,
            (None, Some((shortest, _))) if shortest <= now.since_start => {
                peer.pause = None;
                None
            }
            (end, pause) => Some(format!("{ip} pauses until {end:?}, not {pause:?}")),
        }
    }
}

fn new_table(config: NetworkConfig, listen: SocketAddr, seed: u64, now: Now) -> PeerTable {
    let mut table = PeerTable::new(config, listen, seed, now);
    table.teller_share = SHARE;
    table
}

fn pick<T: Copy>(among: &[T], number: usize) -> Option<T> {
    among.get(number % among.len().max(1)).copied()
}
