//! The table against seeded sequences of everything that can happen, and against single rules.

mod attacks;
mod backoff;
mod bans;
mod changed_times;
mod changes;
mod clocks;
mod crossing;
mod dial_state;
mod dialing;
mod dials_by_hand;
mod evict_incoming;
mod eviction;
mod exclusion;
mod inbound;
mod loading;
mod many_peers;
mod model;
mod newcomers;
mod outage;
mod own_addresses;
mod pacing;
mod peer_lists;
mod ranking;
mod reconfiguring;
mod reserved;
mod reserved_leased;
mod rotation;
mod scenarios;
mod statistics;
mod tellers;
mod telling;
mod watching;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::random::Random;
use super::*;
use crate::change::Refusal;
use crate::fault::DialFault;
use crate::peer::PeerRecord;
use crate::tests::{ip, start};

const PORT: u16 = 4000;

fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

fn config() -> NetworkConfig {
    NetworkConfig::in_memory(PORT)
}

/// A table with a clock, and what a controller would hold for it.
struct Node {
    table: PeerTable,
    now: Now,
    us: IpAddr,
    dials: BTreeMap<ConnectionId, IpAddr>,
    dialed_at: BTreeMap<ConnectionId, Duration>,
    connections: BTreeMap<ConnectionId, IpAddr>,
    parked: BTreeMap<ParkedId, SocketAddr>,
    ended: BTreeSet<ConnectionId>,
    /// Why connections ended, in the order in which they did.
    revoked: Vec<(IpAddr, Revocation)>,
    last_port: u16,
}

impl Node {
    fn new(config: NetworkConfig) -> Self {
        Self::at("::", config)
    }

    fn at(listen: &str, config: NetworkConfig) -> Self {
        let now = Now {
            utc: start(),
            since_start: Duration::ZERO,
        };
        config.validate().unwrap();
        Self {
            table: PeerTable::new(config, at(ip(listen), PORT), 7, now),
            now,
            us: ip("60.100.0.1"),
            dials: BTreeMap::new(),
            dialed_at: BTreeMap::new(),
            connections: BTreeMap::new(),
            parked: BTreeMap::new(),
            ended: BTreeSet::new(),
            revoked: Vec::new(),
            last_port: 30_000,
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now.since_start += time;
        self.now.utc += TimeDelta::from_std(time).unwrap();
    }

    /// What a controller does after each input.
    fn settle(&mut self) {
        while let Some(action) = self.table.next_action() {
            match action {
                Action::CallOff(id) => assert!(self.dials.remove(&id).is_some(), "{id:?} is no dial"),
                Action::RefuseParked(id) => assert!(self.parked.remove(&id).is_some(), "{id:?} is not parked"),
                Action::Ended(id, why) => {
                    let ip = self.connections.remove(&id);
                    self.revoked.push((ip.expect("a connection ends"), why));
                    assert!(self.ended.insert(id), "{id:?} ended twice");
                }
            }
        }
        self.table.check();
    }

    fn poll(&mut self) {
        self.table.on_time(self.now);
        self.settle();
        self.time_out_dials();
        while let Some(id) = self.table.next_settled() {
            let remote = self.parked.remove(&id).expect("a settled socket is held");
            self.inbound_at(remote, true);
        }
        while let Some((id, ip)) = self.table.next_dial(self.now) {
            assert!(self.dials.insert(id, ip).is_none());
            self.dialed_at.insert(id, self.now.since_start);
            self.settle();
        }
        assert!(
            self.table.next_deadline().is_none_or(|due| due > self.now.since_start),
            "due, and yet nothing done"
        );
    }

    /// What a connector pool does.
    fn time_out_dials(&mut self) {
        let limit = self.table.config().connect_timeout;
        for (id, at) in std::mem::take(&mut self.dialed_at) {
            if !self.dials.contains_key(&id) {
                continue;
            }
            if at.saturating_add(limit) > self.now.since_start {
                self.dialed_at.insert(id, at);
                continue;
            }
            self.dials.remove(&id);
            self.table.on_dial_failed(self.now, id, DialFault::TimedOut);
            self.settle();
        }
    }

    fn inbound(&mut self, from: IpAddr) -> Verdict {
        self.last_port += 1;
        self.inbound_at(at(from, self.last_port), true)
    }

    fn inbound_at(&mut self, remote: SocketAddr, admit_works: bool) -> Verdict {
        let verdict = self.table.on_inbound(self.now, remote, self.us);
        match verdict {
            Verdict::Admit if admit_works => {
                let id = self.table.on_admitted(self.now, remote.ip());
                self.connections.insert(id, remote.ip());
            }
            Verdict::Park(dial) => {
                let id = self.table.on_parked(self.now, remote, dial);
                self.parked.insert(id, remote);
            }
            Verdict::Admit | Verdict::Refuse(_) => {}
        }
        self.settle();
        verdict
    }

    /// A report by address, made now.
    fn report(&mut self, ip: IpAddr, report: Report) {
        let connection = self.table.connection(ip).map(|(id, _)| id);
        self.report_of(ip, connection, report);
    }

    fn report_of(&mut self, ip: IpAddr, connection: Option<ConnectionId>, report: Report) {
        self.table.on_report(self.now, ip, connection, report);
        self.settle();
    }

    fn load(&mut self, records: Vec<PeerRecord>) {
        self.table.load(self.now, records, &[]);
        self.settle();
    }

    fn dial_of(&self, peer: IpAddr) -> ConnectionId {
        *self
            .dials
            .iter()
            .find(|(_, ip)| **ip == peer)
            .expect("the peer is dialed")
            .0
    }

    fn dial_ok(&mut self, peer: IpAddr) {
        let id = self.dial_of(peer);
        self.dial_ok_id(id);
    }

    fn dial_ok_id(&mut self, id: ConnectionId) {
        let peer = self.dials.remove(&id).unwrap();
        if self.table.on_dialed(self.now, id, at(self.us, 50_000)) == Reached::Peer(peer) {
            self.connections.insert(id, peer);
        }
        self.settle();
    }

    fn dial_err(&mut self, peer: IpAddr, failure: DialFault) {
        let id = self.dial_of(peer);
        self.dials.remove(&id);
        self.table.on_dial_failed(self.now, id, failure);
        self.settle();
    }

    fn list(&mut self, ips: impl IntoIterator<Item = IpAddr>) {
        self.table.on_peer_list(ips);
        self.settle();
    }

    fn status(&self, peer: IpAddr) -> Option<PeerStatus> {
        self.table.peer(peer).map(|peer| peer.status)
    }

    fn streak(&self, peer: IpAddr) -> u32 {
        self.table.peer(peer).unwrap().failures_in_row
    }

    /// The application takes the lease of the peer's connection, and drops it, perhaps when that is over.
    fn lease(&mut self, peer: IpAddr) -> ConnectionId {
        let (id, _) = self.table.connection(peer).expect("the peer is connected");
        self.table.on_leased(id);
        self.table.check();
        id
    }

    fn drop_lease(&mut self, id: ConnectionId) {
        self.table.on_lease_dropped(id);
        self.settle();
    }

    /// An outgoing connection to `peer`, reported alive.
    fn connect(&mut self, peer: IpAddr) {
        self.list([peer]);
        self.poll();
        self.dial_ok(peer);
        self.report(peer, Report::Alive);
        assert_eq!(self.status(peer), Some(PeerStatus::OutAlive));
    }
}

fn pool() -> Vec<IpAddr> {
    let near = (1..=6).map(|host| IpAddr::from([60, 1, 0, host]));
    let far = (2..=120).step_by(7).map(|net| IpAddr::from([60, net, 0, 1]));
    let v6 = (1..=4).map(|host| format!("2001:db8:{host}::1").parse().unwrap());
    near.chain(far)
        .chain(v6)
        .chain([ip("127.0.0.1"), ip("127.0.0.9"), ip("60.100.0.1"), ip("224.0.0.1")])
        .collect()
}

/// A connection that no table has.
fn a_connection(number: u64) -> ConnectionId {
    ConnectionId {
        number: NonZeroU64::new(number).unwrap(),
        peer: PeerId(0),
    }
}

/// One random step of everything that can happen to a table.
fn step(node: &mut Node, random: &mut Random, pool: &[IpAddr]) {
    let peer = pool[random.below(pool.len())];
    match random.below(23) {
        0..=3 => {
            node.inbound(peer);
        }
        4 => {
            node.inbound_at(at(peer, 31), false);
        }
        5..=8 => {
            if let Some(&id) = node.dials.keys().nth(random.below(node.dials.len().max(1))) {
                node.dial_ok_id(id);
            }
        }
        9 | 10 => {
            if let Some((_, &peer)) = node.dials.iter().nth(random.below(node.dials.len().max(1))) {
                let failures = [
                    DialFault::Peer,
                    DialFault::TimedOut,
                    DialFault::Unroutable { at_once: false },
                    DialFault::Host,
                ];
                node.dial_err(peer, failures[random.below(4)]);
            }
        }
        11 => node.report(peer, Report::Alive),
        12 => {
            let reports = [Report::Reserve, Report::Release, Report::Dial, Report::Dial];
            node.report(peer, reports[random.below(4)]);
        }
        13 => node.report(peer, [Report::Failed, Report::Closed][random.below(2)]),
        14 => node.report(
            peer,
            [
                Report::Banned,
                Report::BannedFor(Duration::from_secs(9)),
                Report::Unbanned,
            ][random.below(3)],
        ),
        15 | 16 => lease_report(node, random),
        17 => node.list(
            (0..random.below(12))
                .map(|_| pool[random.below(pool.len())])
                .collect::<Vec<_>>(),
        ),
        18 => node.wait(Duration::from_millis(u64::try_from(random.below(9_000)).unwrap())),
        19..=20 => leases(node, random),
        21 => {
            let ended = node.ended.iter().next_back().copied();
            ended.into_iter().for_each(|id| node.drop_lease(id));
        }
        _ => node.now.utc += TimeDelta::days(i64::try_from(random.below(800)).unwrap() - 400),
    }
}

fn leases(node: &mut Node, random: &mut Random) {
    let held: Vec<_> = node.connections.values().copied().collect();
    if !held.is_empty() {
        node.lease(held[random.below(held.len())]);
    }
}

fn lease_report(node: &mut Node, random: &mut Random) {
    let held: Vec<_> = node.connections.iter().map(|(&id, &ip)| (id, ip)).collect();
    if held.is_empty() {
        return;
    }
    let (id, ip) = held[random.below(held.len())];
    let reports = [
        Report::Alive,
        Report::Alive,
        Report::Failed,
        Report::Closed,
        Report::Banned,
    ];
    node.report_of(ip, Some(id), reports[random.below(5)]);
}

fn run(config: NetworkConfig, listen: &str, seed: u64, steps: usize) -> Node {
    let mut node = Node::at(listen, config);
    let mut random = Random::new(seed);
    let pool = pool();
    for _ in 0..steps {
        step(&mut node, &mut random, &pool);
        node.poll();
    }
    node
}

#[test]
fn invariants_hold_whatever_happens() {
    for seed in 0..24 {
        let mut config = config();
        config.target_outgoing_connections = 3;
        config.max_simultaneous_outgoing_connection_attempts = 4;
        config.max_incoming_connections = 5;
        config.max_simultaneous_incoming_connection_attempts = 3;
        config.max_idle_peers = [0, 4, 12, 40][usize::try_from(seed % 4).unwrap()];
        config.max_banned_peers = [0, 2, 30][usize::try_from(seed % 3).unwrap()];
        config.max_incoming_per_subnet = (seed % 2 == 0).then_some(2);
        config.ban_duration = (seed % 5 == 0).then_some(Duration::from_secs(20));
        config.rotation_interval = (seed % 3 != 0).then_some(Duration::from_secs(5));
        config.evict_incoming = seed % 2 == 1;
        config.handshake_timeout = (seed % 7 != 0).then_some(Duration::from_secs(10));
        let listen = if seed % 6 == 0 { "60.100.0.1" } else { "::" };
        let node = run(config, listen, seed, 600);
        assert!(node.table.stats().counters.dials_started > 10 || seed % 4 == 0);
    }
}

#[test]
fn a_run_can_be_replayed() {
    let outcome = |seed| {
        let node = run(config(), "::", seed, 600);
        (node.table.good_peer_ips().collect::<Vec<_>>(), node.table.stats())
    };
    assert_eq!(outcome(3), outcome(3));
    assert_ne!(outcome(3), outcome(4));
}

/// We are 60.100.0.1: this peer is above us, so our dial wins, …
const ABOVE: [u8; 4] = [60, 200, 0, 1];
/// … and this one below, so its dial wins.
const BELOW: [u8; 4] = [60, 7, 0, 1];

#[test]
fn addresses_are_canonical_at_every_door() {
    let (mapped, plain) = (ip("::ffff:60.1.0.1"), ip("60.1.0.1"));
    let doors: [fn(&mut Node, IpAddr); 5] = [
        |node, ip| node.list([ip]),
        |node, ip| node.report(ip, Report::Banned),
        |node, ip| assert_eq!(node.inbound(ip), Verdict::Admit),
        |node, ip| node.report_of(ip, Some(a_connection(99)), Report::Banned),
        |node, ip| node.load(vec![Peer::new(ip).into()]),
    ];
    for enter in doors {
        let mut node = Node::new(config());
        enter(&mut node, mapped);
        let known: Vec<_> = node.table.peers().map(|peer| peer.ip).collect();
        assert_eq!(known, [plain]);
    }
}
