//! The table against seeded sequences of everything that can happen, and against single rules.

mod attacks;
mod model;
mod statistics;
mod time;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::inbound::Refusal;
use super::random::Random;
use super::*;
use crate::peer::PeerRecord;

const PORT: u16 = 4000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

fn start() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
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
    connections: BTreeMap<ConnectionId, IpAddr>,
    parked: BTreeMap<ConnectionId, SocketAddr>,
    ended: BTreeSet<ConnectionId>,
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
            connections: BTreeMap::new(),
            parked: BTreeMap::new(),
            ended: BTreeSet::new(),
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
                Action::Ended(id) => {
                    assert!(self.connections.remove(&id).is_some(), "{id:?} is no connection");
                    assert!(self.ended.insert(id), "{id:?} ended twice");
                }
            }
        }
        self.table.check();
    }

    fn poll(&mut self) {
        self.table.on_time(self.now);
        self.settle();
        while let Some(id) = self.table.next_settled() {
            let remote = self.parked.remove(&id).expect("a settled socket is held");
            self.inbound_at(remote, true);
        }
        while let Some((id, ip)) = self.table.next_dial(self.now) {
            assert!(self.dials.insert(id, ip).is_none());
            self.settle();
        }
        assert!(
            self.table.next_deadline().is_none_or(|due| due > self.now.since_start),
            "due, and yet nothing done"
        );
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
            Verdict::Park(id) => {
                self.parked.insert(id, remote);
            }
            Verdict::Admit | Verdict::Refuse(_) => {}
        }
        self.settle();
        verdict
    }

    fn report(&mut self, ip: IpAddr, report: Report) {
        self.table.on_report(self.now, ip, report);
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

    fn dial_err(&mut self, peer: IpAddr, failure: DialFailure) {
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

/// One random step of everything that can happen to a table.
fn step(node: &mut Node, random: &mut Random, pool: &[IpAddr]) {
    let peer = pool[random.below(pool.len())];
    match random.below(20) {
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
                    DialFailure::Peer,
                    DialFailure::TimedOut,
                    DialFailure::Unroutable,
                    DialFailure::Host,
                ];
                node.dial_err(peer, failures[random.below(4)]);
            }
        }
        11 | 12 => node.report(peer, Report::Alive),
        13 => node.report(peer, [Report::Failed, Report::Closed][random.below(2)]),
        14 => node.report(peer, [Report::Banned, Report::Unbanned][random.below(2)]),
        15 | 16 => lease_report(node, random),
        17 => node.list(
            (0..random.below(12))
                .map(|_| pool[random.below(pool.len())])
                .collect::<Vec<_>>(),
        ),
        18 => node.wait(Duration::from_millis(u64::try_from(random.below(9_000)).unwrap())),
        _ => node.now.utc += TimeDelta::days(i64::try_from(random.below(800)).unwrap() - 400),
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
    node.table.on_lease_report(node.now, ip, id, reports[random.below(5)]);
    node.settle();
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

mod crossing {
    use super::*;

    fn dialing(peer: IpAddr) -> Node {
        let mut node = Node::new(config());
        node.list([peer]);
        node.poll();
        assert_eq!(node.status(peer), Some(PeerStatus::OutConnecting));
        node
    }

    #[test]
    fn the_lower_end_parks_while_it_dials_and_refuses_when_its_dial_succeeds() {
        let peer = IpAddr::from(ABOVE);
        let mut node = dialing(peer);
        assert!(matches!(node.inbound(peer), Verdict::Park(_)));
        assert_eq!(node.inbound(peer), Verdict::Refuse(Refusal::Connected), "a second one");
        node.dial_ok(peer);
        assert!(node.parked.is_empty());
        assert_eq!(node.status(peer), Some(PeerStatus::OutHandshaking));
        assert_eq!(node.inbound(peer), Verdict::Refuse(Refusal::Connected));
    }

    #[test]
    fn the_lower_end_admits_the_parked_one_when_its_dial_fails() {
        let peer = IpAddr::from(ABOVE);
        let mut node = dialing(peer);
        node.inbound(peer);
        node.dial_err(peer, DialFailure::Peer);
        assert_eq!(node.status(peer), Some(PeerStatus::Idle));
        node.poll();
        assert_eq!(node.status(peer), Some(PeerStatus::InHandshaking));
    }

    #[test]
    fn a_late_poll_does_not_refuse_the_parked_one_before_the_dial_has_timed_out() {
        let peer = IpAddr::from(ABOVE);
        let mut node = dialing(peer);
        node.inbound(peer);
        node.wait(Duration::from_secs(60));
        node.poll();
        assert_eq!(node.parked.len(), 1);
        node.dial_err(peer, DialFailure::TimedOut);
        node.poll();
        assert_eq!(node.status(peer), Some(PeerStatus::InHandshaking));
    }

    #[test]
    fn the_lower_end_admits_the_parked_one_when_its_target_is_met_meanwhile() {
        let (peer, other) = (IpAddr::from(ABOVE), ip("60.3.0.1"));
        let mut config = config();
        config.target_outgoing_connections = 1;
        let mut node = Node::new(config);
        node.list([peer, other]);
        node.poll();
        node.wait(Duration::from_secs(1));
        node.poll();
        node.inbound(peer);
        node.dial_ok(other);
        assert!(node.dials.is_empty(), "called off");
        node.poll();
        assert_eq!(node.status(peer), Some(PeerStatus::InHandshaking));
    }

    #[test]
    fn the_higher_end_calls_its_dial_off() {
        let peer = IpAddr::from(BELOW);
        let mut node = dialing(peer);
        assert_eq!(node.inbound(peer), Verdict::Admit);
        assert!(node.dials.is_empty());
        assert_eq!(node.status(peer), Some(PeerStatus::InHandshaking));
        assert_eq!(node.table.peer(peer).unwrap().last_failure, None);
    }

    #[test]
    fn the_higher_end_parks_beside_its_connection_and_blames_nobody_when_that_fails() {
        let peer = IpAddr::from(BELOW);
        let mut node = dialing(peer);
        node.dial_ok(peer);
        assert!(matches!(node.inbound(peer), Verdict::Park(_)));
        node.report(peer, Report::Failed);
        assert_eq!(node.streak(peer), 0);
        node.poll();
        assert_eq!(node.status(peer), Some(PeerStatus::InHandshaking));
        node.report(peer, Report::Alive);
        assert_eq!(node.status(peer), Some(PeerStatus::InAlive));
    }

    #[test]
    fn a_parked_socket_is_dropped_after_the_connect_timeout() {
        let peer = IpAddr::from(BELOW);
        let mut node = Node::new(config());
        node.connect(peer);
        node.inbound(peer);
        node.wait(Duration::from_millis(4_999));
        node.poll();
        assert_eq!(node.parked.len(), 1);
        node.wait(Duration::from_millis(1));
        node.poll();
        assert!(node.parked.is_empty());
        assert_eq!(node.status(peer), Some(PeerStatus::OutAlive));
    }

    #[test]
    fn a_ban_refuses_the_parked_one() {
        for peer in [IpAddr::from(ABOVE), IpAddr::from(BELOW)] {
            let mut node = dialing(peer);
            if peer == IpAddr::from(BELOW) {
                node.dial_ok(peer);
            }
            node.inbound(peer);
            assert_eq!(node.parked.len(), 1);
            node.report(peer, Report::Banned);
            assert!(node.parked.is_empty() && node.dials.is_empty() && node.connections.is_empty());
            node.poll();
            assert_eq!(node.status(peer), Some(PeerStatus::Banned));
        }
    }

    #[test]
    fn a_failing_admission_leaves_our_dial_alone() {
        let peer = IpAddr::from(BELOW);
        let mut node = dialing(peer);
        assert_eq!(node.inbound_at(at(peer, 9), false), Verdict::Admit);
        assert_eq!(node.status(peer), Some(PeerStatus::OutConnecting));
        assert_eq!(node.dials.len(), 1);
    }

    #[test]
    fn a_cap_leaves_our_dial_alone() {
        let (peer, other) = (IpAddr::from(BELOW), ip("60.3.0.1"));
        let mut config = config();
        config.max_incoming_connections = 1;
        let mut node = Node::new(config);
        node.inbound(other);
        node.list([peer]);
        node.poll();
        assert_eq!(node.inbound(peer), Verdict::Refuse(Refusal::IncomingFull));
        assert_eq!(node.status(peer), Some(PeerStatus::OutConnecting));
    }
}

mod ourselves {
    use super::*;

    fn dialing(us: &str, listen: &str) -> (Node, IpAddr) {
        let us = ip(us);
        let mut node = Node::at(listen, config());
        node.us = us;
        node.list([us]);
        node.poll();
        (node, us)
    }

    fn reach(node: &mut Node, peer: IpAddr, leg: SocketAddr) {
        let id = node.dial_of(peer);
        node.dials.remove(&id);
        assert_eq!(node.table.on_dialed(node.now, id, leg), Reached::Ourselves);
        node.settle();
    }

    #[test]
    fn the_inbound_leg_first() {
        let (mut node, us) = dialing("60.100.0.1", "0.0.0.0");
        let leg = at(us, 40_001);
        assert!(matches!(node.inbound_at(leg, true), Verdict::Park(_)));
        reach(&mut node, us, leg);
        assert!(node.parked.is_empty());
        assert_eq!(node.status(us), None);
        node.list([us]);
        assert_eq!(node.status(us), None, "never listed again");
    }

    #[test]
    fn the_dial_first() {
        let (mut node, us) = dialing("60.100.0.1", "::");
        let leg = at(us, 40_001);
        reach(&mut node, us, leg);
        assert_eq!(node.inbound_at(leg, true), Verdict::Refuse(Refusal::Ourselves));
        assert_eq!(node.inbound_at(at(us, 40_002), true), Verdict::Admit, "a local client");
        node.report(us, Report::Alive);
        assert_eq!(node.table.good_peer_ips().count(), 0);
        assert_eq!(node.table.stored_from(0).flatten().count(), 0);
        node.report(us, Report::Closed);
        assert_eq!(node.status(us), None, "forgotten afterwards");
    }

    #[test]
    fn a_leg_that_never_comes_is_not_expected_for_ever() {
        let (mut node, us) = dialing("60.100.0.1", "::");
        let leg = at(us, 40_001);
        reach(&mut node, us, leg);
        node.wait(Duration::from_secs(6));
        assert_eq!(node.inbound_at(leg, true), Verdict::Admit);
    }

    #[test]
    fn loopback_through_an_unspecified_address() {
        let (mut node, us) = dialing("127.0.0.9", "::");
        let leg = at(ip("127.0.0.1"), 40_001);
        assert!(
            matches!(node.inbound_at(leg, true), Verdict::Park(_)),
            "the kernel dials from 127.0.0.1"
        );
        assert!(
            matches!(node.inbound_at(at(ip("127.0.0.2"), 5), true), Verdict::Park(_)),
            "may be it as well"
        );
        reach(&mut node, us, leg);
        node.poll();
        assert_eq!(
            node.status(ip("127.0.0.2")),
            Some(PeerStatus::InHandshaking),
            "a local client after all"
        );
        node.list([ip("127.0.0.10")]);
        assert_eq!(node.status(ip("127.0.0.10")), None, "would come out here too");
    }

    #[test]
    fn a_dial_that_fails_lets_the_suspect_in() {
        let (mut node, us) = dialing("60.100.0.1", "::");
        node.inbound_at(at(us, 40_001), true);
        node.dial_err(us, DialFailure::Peer);
        node.poll();
        assert_eq!(node.status(us), Some(PeerStatus::InHandshaking));
    }

    #[test]
    fn the_listen_address_is_never_added() {
        let (node, us) = dialing("60.100.0.1", "60.100.0.1");
        assert_eq!(node.status(us), None);
        let mut config = config();
        config.peer_port = Some(PORT + 1);
        let mut node = Node::at("60.100.0.1", config);
        node.list([us]);
        assert_eq!(
            node.status(us),
            Some(PeerStatus::Idle),
            "another node, on the peers' port"
        );
    }
}

mod dialing {
    use super::*;

    fn racing(peers: u8) -> Node {
        let mut config = config();
        config.target_outgoing_connections = 2;
        config.max_simultaneous_outgoing_connection_attempts = 4;
        let mut node = Node::new(config);
        node.list((1..=peers).map(|net| IpAddr::from([60, net, 0, 1])));
        node.poll();
        node
    }

    fn some_dialed(node: &Node) -> IpAddr {
        *node.dials.values().next().unwrap()
    }

    #[test]
    fn the_shortage_is_dialed_at_once_and_more_are_raced_one_by_one() {
        let mut node = racing(20);
        assert_eq!(node.dials.len(), 2);
        node.wait(Duration::from_millis(249));
        node.poll();
        assert_eq!(node.dials.len(), 2);
        assert_eq!(node.table.next_deadline(), Some(Duration::from_millis(250)));
        for raced in [3, 4, 4] {
            node.wait(Duration::from_millis(250));
            node.poll();
            assert_eq!(node.dials.len(), raced);
        }
    }

    #[test]
    fn a_failed_dial_is_replaced_at_once() {
        let mut node = racing(20);
        node.wait(Duration::from_millis(250));
        node.poll();
        assert_eq!(node.dials.len(), 3);
        let failed = some_dialed(&node);
        node.dial_err(failed, DialFailure::Peer);
        node.poll();
        assert_eq!(node.dials.len(), 3);
        assert_eq!(node.status(failed), Some(PeerStatus::Idle));
    }

    #[test]
    fn the_rest_is_called_off_without_blame_when_the_target_is_met() {
        let mut node = racing(20);
        for _ in 0..2 {
            node.wait(Duration::from_millis(250));
            node.poll();
        }
        let dialed: Vec<_> = node.dials.values().copied().collect();
        node.dial_ok(dialed[0]);
        assert_eq!(node.dials.len(), 3);
        node.dial_ok(dialed[1]);
        assert!(node.dials.is_empty());
        for peer in &dialed[2..] {
            assert_eq!(node.table.peer(*peer).unwrap(), &Peer::new(*peer));
        }
        assert_eq!(node.table.next_dial(node.now), None);
    }

    #[test]
    fn a_failed_dial_blames_the_peer_only_while_another_is_alive() {
        let (peer, witness) = (ip("60.2.0.1"), ip("60.9.0.1"));
        let mut node = Node::new(config());
        node.list([peer]);
        node.poll();
        node.dial_err(peer, DialFailure::TimedOut);
        assert_eq!(
            (node.streak(peer), node.table.peer(peer).unwrap().last_failure),
            (0, Some(start()))
        );
        node.connect(witness);
        for streak in 1..=4 {
            node.wait(Duration::from_secs(700));
            node.poll();
            node.dial_err(peer, DialFailure::Peer);
            assert_eq!(node.streak(peer), streak);
        }
        let pause = node.table.next_deadline().unwrap() - node.now.since_start;
        assert!(
            (Duration::from_secs(40)..Duration::from_secs(50)).contains(&pause),
            "{pause:?}"
        );
    }

    #[test]
    fn an_unroutable_peer_is_set_aside_and_not_blamed() {
        let (peer, witness) = (ip("60.2.0.1"), ip("60.9.0.1"));
        let mut node = Node::new(config());
        node.connect(witness);
        node.list([peer]);
        for doubling in 0..4_u32 {
            node.poll();
            node.dial_err(peer, DialFailure::Unroutable);
            assert_eq!(node.table.peer(peer).unwrap(), &Peer::new(peer));
            let pause = node.table.next_deadline().unwrap() - node.now.since_start;
            let least = Duration::from_secs(5) * 2_u32.pow(doubling);
            assert!((least..=least * 5 / 4).contains(&pause), "{pause:?}");
            node.wait(pause);
        }
    }

    #[test]
    fn a_fault_of_this_host_pauses_all_dialing_and_blames_nobody() {
        let mut node = racing(20);
        let failed = some_dialed(&node);
        node.dial_err(failed, DialFailure::Host);
        assert_eq!(node.table.peer(failed).unwrap(), &Peer::new(failed));
        node.poll();
        assert_eq!(node.dials.len(), 1);
        node.wait(Duration::from_millis(100));
        node.poll();
        assert_eq!(node.dials.len(), 2);
        let failed = some_dialed(&node);
        node.dial_err(failed, DialFailure::Host);
        node.wait(Duration::from_millis(100));
        node.poll();
        assert_eq!(node.dials.len(), 1, "the pause has doubled");
        node.wait(Duration::from_millis(100));
        node.poll();
        assert_eq!(node.dials.len(), 2);
    }

    #[test]
    fn in_an_outage_the_best_is_tried_at_the_first_failure_pace() {
        let (best, other) = (ip("60.2.0.1"), ip("60.9.0.1"));
        let mut config = config();
        config.target_outgoing_connections = 2;
        let mut node = Node::new(config);
        for peer in [other, best] {
            node.wait(Duration::from_secs(60));
            node.connect(peer);
        }
        node.report(best, Report::Failed);
        for _ in 0..6 {
            node.wait(Duration::from_secs(700));
            node.poll();
            node.dial_err(best, DialFailure::Peer);
        }
        node.report(other, Report::Failed);
        assert!(node.streak(best) >= 6);
        node.poll();
        assert!(node.dials.is_empty());
        let wait = node.table.next_deadline().unwrap() - node.now.since_start;
        assert!(wait <= Duration::from_millis(6_250), "{wait:?}");
        node.wait(wait);
        node.poll();
        assert_eq!(
            node.dials.values().collect::<Vec<_>>(),
            [&best],
            "who has rested for longer comes first"
        );
        node.dial_err(best, DialFailure::Peer);
        node.wait(Duration::from_secs(6));
        node.poll();
        assert!(node.dials.values().any(|&peer| peer == other), "and then the next");
    }

    #[test]
    fn turns_alternate_and_subnets_are_spread() {
        let mut config = config();
        config.target_outgoing_connections = 4;
        config.max_simultaneous_outgoing_connection_attempts = 4;
        let mut node = Node::new(config);
        let record = |ip: IpAddr, proven: bool| {
            let mut peer = Peer::new(ip);
            peer.last_alive = proven.then(start);
            peer.last_alive_outgoing = peer.last_alive;
            PeerRecord {
                peer,
                banned_at: None,
                other: None,
            }
        };
        let proven = (1..=9).map(|host| record(IpAddr::from([60, 1, 0, host]), true));
        let unproven = (2..=20).map(|net| record(IpAddr::from([60, net, 0, 1]), false));
        node.table.load(node.now, proven.chain(unproven).collect());
        node.poll();
        let subnets: BTreeSet<_> = node.dials.values().map(|&ip| Subnet::of(ip)).collect();
        assert_eq!(subnets.len(), 4, "{:?}", node.dials);
        let first = *node.dials.values().next().unwrap();
        assert_eq!(Subnet::of(first), Subnet::of(ip("60.1.0.1")), "proven peers come first");
    }

    use super::super::subnet::Subnet;
}

mod keeping {
    use super::*;

    #[test]
    fn one_subnet_cannot_flush_the_list() {
        let mut config = config();
        config.max_idle_peers = 20;
        config.target_outgoing_connections = 0;
        let mut node = Node::new(config);
        node.list((1..=10).map(|net| IpAddr::from([60, net, 0, 1])));
        node.list((0..200).map(|host| IpAddr::from([61, 1, 0, host])));
        assert_eq!(node.table.stats().peers.idle, 20);
        for net in 1..=10 {
            assert!(node.table.peer(IpAddr::from([60, net, 0, 1])).is_some());
        }
    }

    #[test]
    fn a_newcomer_that_would_go_first_is_no_change() {
        let mut config = config();
        config.max_idle_peers = 2;
        config.target_outgoing_connections = 0;
        let mut node = Node::new(config);
        node.list([ip("61.1.0.1"), ip("61.1.0.2")]);
        let (changes, stats) = (node.table.changes(), node.table.stats());
        let mut refused = 0;
        for host in 3..100 {
            let before = node.table.changes();
            node.list([IpAddr::from([61, 1, 0, host])]);
            refused += usize::from(node.table.changes() == before);
        }
        assert!(refused > 60, "{refused}");
        assert!(node.table.changes() > changes && node.table.stats().peers == stats.peers);
    }

    #[test]
    fn one_subnet_cannot_flush_the_bans() {
        let mut config = config();
        config.max_banned_peers = 6;
        let mut node = Node::new(config);
        let others = [ip("60.1.0.1"), ip("60.2.0.1")];
        others.into_iter().for_each(|peer| node.report(peer, Report::Banned));
        for host in 0..100 {
            node.report(IpAddr::from([61, 1, 0, host]), Report::Banned);
        }
        assert!(
            others
                .into_iter()
                .all(|peer| node.status(peer) == Some(PeerStatus::Banned))
        );
        assert_eq!(node.status(ip("61.1.0.99")), Some(PeerStatus::Banned));
        assert_eq!(node.status(ip("61.1.0.95")), None);
    }

    #[test]
    fn a_ban_that_is_tested_counts_as_recent() {
        let mut config = config();
        config.max_banned_peers = 2;
        let mut node = Node::new(config);
        let [a, b, c] = [ip("61.1.0.1"), ip("61.1.0.2"), ip("61.1.0.3")];
        node.report(a, Report::Banned);
        node.report(b, Report::Banned);
        assert_eq!(node.inbound(a), Verdict::Refuse(Refusal::Banned));
        node.report(c, Report::Banned);
        assert_eq!([a, b, c].map(|peer| node.status(peer).is_some()), [true, false, true]);
    }

    #[test]
    fn a_ban_ends_after_its_duration_counted_from_when_it_was_set() {
        let mut config = config();
        config.ban_duration = Some(Duration::from_secs(100));
        let mut node = Node::new(config);
        let peer = ip("61.1.0.1");
        node.report(peer, Report::Banned);
        node.wait(Duration::from_secs(99));
        node.inbound(peer);
        assert_eq!(node.table.peer(peer).unwrap().last_failure, Some(node.now.utc));
        node.poll();
        assert_eq!(node.status(peer), Some(PeerStatus::Banned));
        node.wait(Duration::from_secs(1));
        node.table.on_time(node.now);
        node.settle();
        assert_eq!(node.status(peer), Some(PeerStatus::Idle));
    }

    #[test]
    fn loading_keeps_the_bounds_and_is_no_change() {
        let mut config = config();
        config.max_idle_peers = 3;
        config.max_banned_peers = 2;
        let mut node = Node::new(config);
        let mut records = Vec::new();
        for host in 1..=9 {
            let mut peer = Peer::new(IpAddr::from([61, 1, 0, host]));
            if host > 4 {
                peer.status = PeerStatus::Banned;
                peer.last_failure = Some(start() - TimeDelta::hours(i64::from(host)));
            }
            records.push(PeerRecord {
                peer,
                banned_at: None,
                other: None,
            });
        }
        node.table.load(node.now, records);
        node.settle();
        assert_eq!(node.table.stats().peers.idle, 3);
        assert_eq!(node.table.changes(), 0);
        assert!(
            node.status(ip("61.1.0.5")).is_some() && node.status(ip("61.1.0.6")).is_some(),
            "the latest bans"
        );
    }

    #[test]
    fn times_in_the_future_are_kept_and_not_believed() {
        let mut node = Node::new(config());
        let record = |text: &str, alive: DateTime<Utc>| {
            let mut peer = Peer::new(ip(text));
            (peer.last_alive, peer.last_alive_outgoing) = (Some(alive), Some(alive));
            PeerRecord {
                peer,
                banned_at: None,
                other: None,
            }
        };
        let year = TimeDelta::days(365);
        let future = start() + year;
        node.table.load(
            node.now,
            vec![record("60.1.0.1", future), record("60.2.0.1", start() - year)],
        );
        node.settle();
        assert_eq!(node.table.peer(ip("60.1.0.1")).unwrap().last_alive, Some(future));
        node.connect(ip("60.2.0.1"));
        node.wait(Duration::from_secs(1));
        node.report(ip("60.2.0.1"), Report::Alive);
        node.report(ip("60.2.0.1"), Report::Closed);
        assert_eq!(
            node.table.good_peer_ips().next(),
            Some(ip("60.2.0.1")),
            "alive later than the start"
        );
    }

    #[test]
    fn what_only_passes_through_is_no_change() {
        let peer = ip("60.2.0.1");
        let mut node = Node::new(config());
        node.list([peer]);
        let changes = node.table.changes();
        node.poll();
        node.dial_ok(peer);
        node.report(peer, Report::Closed);
        assert_eq!(node.table.changes(), changes);
        node.wait(Duration::from_secs(9));
        node.poll();
        node.dial_ok(peer);
        node.report(peer, Report::Alive);
        assert!(node.table.changes() > changes);
        let changes = node.table.changes();
        node.report(peer, Report::Closed);
        assert!(node.table.changes() > changes, "from alive to idle is one");
    }
}

mod order {
    use super::*;

    #[test]
    fn peers_stand_as_the_design_says() {
        let mut node = Node::new(config());
        let time = |hours: i64| Some(start() - TimeDelta::hours(hours));
        let mut records = Vec::new();
        let mut add = |text: &str, out, alive, failure, streak| {
            let mut peer = Peer::new(ip(text));
            (peer.last_alive_outgoing, peer.last_alive, peer.last_failure) = (out, alive, failure);
            peer.failures_in_row = streak;
            records.push(PeerRecord {
                peer,
                banned_at: None,
                other: None,
            });
        };
        add("60.14.0.1", None, None, time(1), 2);
        add("60.13.0.1", None, None, time(2), 2);
        add("60.12.0.1", time(5), time(5), time(3), 1);
        add("60.11.0.1", None, None, None, 0);
        add("60.10.0.1", None, time(9), None, 0);
        add("60.9.0.1", None, time(1), time(2), 0);
        add("60.8.0.1", time(8), time(1), None, 0);
        add("60.7.0.1", time(7), time(7), time(1), 0);
        add("60.15.0.1", time(400), time(400), time(0), 10);
        node.table.load(node.now, records);
        node.inbound(ip("60.6.0.1"));
        node.report(ip("60.6.0.1"), Report::Alive);
        let nets: Vec<_> = node.table.good_peer_ips().map(|ip| ip.to_string()).collect();
        let expected = [6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map(|net| format!("60.{net}.0.1"));
        assert_eq!(nets, expected);
    }
}
