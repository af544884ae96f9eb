//! Any sequence of inputs to the peer table, new configs among them, each followed by what a controller does then and by
//! a check of every invariant.
//!
//! Some 250 addresses, one crowded network and few others, and small caps, so that peers meet again, crossings and
//! evictions are frequent, and a check is quick.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use arbitrary::Arbitrary;
use chrono::{DateTime, TimeDelta, Utc};
use libfuzzer_sys::fuzz_target;
use network::internals::{
    Action, ConnectionId, DialFault, Now, ParkedId, PeerTable, Reached, Report, Verdict, stored_records,
};
use network::{IpPrefix, NetworkConfig};

const PORT: u16 = 4_000;
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), PORT);
/// Our address, in the middle of the peers': dials cross both ways.
const US: IpAddr = IpAddr::V4(Ipv4Addr::new(60, 12, 0, 3));

fuzz_target!(|input: (Limits, Vec<Step>)| {
    let (limits, steps) = input;
    let config = limits.config();
    if config.validate().is_err() {
        return;
    }
    let mut node = Node::new(config);
    for step in steps {
        node.take(step);
        node.check_lists();
        node.poll();
    }
});

#[derive(Arbitrary, Debug)]
struct Limits {
    outgoing: u8,
    dials: u8,
    incoming: u8,
    handshakes: u8,
    idle: u8,
    banned: u8,
    subnet: Option<u8>,
    ban_seconds: Option<u8>,
    handshake_seconds: Option<u8>,
    stagger_ms: u8,
    backoff_seconds: [u8; 2],
    rotation_seconds: Option<u8>,
    evicts: bool,
    global_only: bool,
    denies: bool,
    allows: bool,
    reserved: Vec<u8>,
}

impl Limits {
    fn config(&self) -> NetworkConfig {
        let some = |limit: u8, most: u8| usize::from(limit % (most + 1));
        let seconds = |seconds: Option<u8>| seconds.map(|seconds| Duration::from_secs(u64::from(seconds) + 1));
        let mut config = NetworkConfig::in_memory(PORT);
        config.target_outgoing_connections = some(self.outgoing, 8);
        config.max_simultaneous_outgoing_connection_attempts = some(self.dials, 8);
        config.max_incoming_connections = some(self.incoming, 12);
        config.max_simultaneous_incoming_connection_attempts = some(self.handshakes, 8);
        config.max_idle_peers = some(self.idle, 240);
        config.max_banned_peers = some(self.banned, 12);
        config.max_incoming_per_subnet = self.subnet.map(|limit| some(limit, 3) + 1);
        config.ban_duration = seconds(self.ban_seconds);
        config.handshake_timeout = seconds(self.handshake_seconds);
        config.dial_stagger = Duration::from_millis(u64::from(self.stagger_ms));
        let [first, longest] = self
            .backoff_seconds
            .map(|seconds| Duration::from_secs(u64::from(seconds) + 1));
        config.retry_backoff = first;
        config.max_retry_backoff = first.max(longest);
        config.rotation_interval = seconds(self.rotation_seconds);
        config.evict_incoming = self.evicts;
        config.global_peers_only = self.global_only;
        let prefixes = |list: &[&str]| list.iter().flat_map(|prefix| prefix.parse()).collect();
        if self.denies {
            config.denied = prefixes(&["60.11.4.0/24", "60.16.0.0/12", "2001:2000::/28"]);
        }
        if self.allows {
            config.allowed = prefixes(&["60.11.0.0/16", "60.14.0.0/15", "2001::/16"]);
        }
        config.reserved_peers = self.reserved.iter().take(3).map(|&peer| address(peer)).collect();
        config
    }
}

/// Connections are meant by their place among those that there are.
#[derive(Arbitrary, Debug)]
enum Step {
    Inbound { peer: u8, is_lost: bool },
    DialReaches { dial: u8 },
    DialFails { dial: u8, kind: u8 },
    Report { peer: u8, kind: u8, was_connected: bool },
    LeaseReport { connection: u8, kind: u8 },
    TakesLease { connection: u8 },
    DropsLease { connection: u8 },
    Reconfigure(Limits),
    List { peers: Vec<u8> },
    Wait { ms: u16 },
    WaitLong { seconds: u16 },
    WallClockJumps { hours: i16 },
    Restart { seed: u8, initial: Vec<u8> },
}

/// A table and what a controller would hold for it.
struct Node {
    table: PeerTable,
    now: Now,
    dials: BTreeMap<ConnectionId, IpAddr>,
    /// Those that are over, too: a lease may outlive its connection.
    leases: BTreeMap<ConnectionId, IpAddr>,
    connections: BTreeMap<ConnectionId, IpAddr>,
    parked: BTreeMap<ParkedId, SocketAddr>,
    /// Connections that leases hold.
    leased: BTreeSet<ConnectionId>,
    /// How full each cap was after the last call.
    used: Option<[usize; 6]>,
    last_port: u16,
}

/// A poll calls `on_time` this often at most: each call looks at 64 of some 250 peers for new lists, and forgets 32.
const CALLS: usize = 40;
/// As many peers as one call of `on_time` may forget: for each deadline and for each of the peers of the new lists.
const FORGOTTEN_PER_CALL: u64 = 64;

impl Node {
    fn new(config: NetworkConfig) -> Self {
        let utc = DateTime::from_timestamp(1_767_225_600, 0).expect("2026 is in range");
        let now = starting_at(utc);
        let mut table = PeerTable::new(config, LISTEN, 7, now);
        table.load(now, Vec::new(), &[]);
        Self::with(table, now)
    }

    fn with(table: PeerTable, now: Now) -> Self {
        Self {
            table,
            now,
            dials: BTreeMap::new(),
            leases: BTreeMap::new(),
            connections: BTreeMap::new(),
            parked: BTreeMap::new(),
            leased: BTreeSet::new(),
            used: None,
            last_port: 30_000,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Inbound { peer, is_lost } => {
                self.last_port = self.last_port.checked_add(1).unwrap_or(30_000);
                self.inbound(SocketAddr::new(address(peer), self.last_port), is_lost);
            }
            Step::DialReaches { dial } => self.dial_reaches(dial),
            Step::DialFails { dial, kind } => {
                if let Some((id, _)) = nth(&self.dials, dial) {
                    self.dials.remove(&id);
                    self.table.on_dial_failed(self.now, id, fault(kind));
                }
            }
            Step::Report {
                peer,
                kind,
                was_connected,
            } => {
                let ip = address(peer).to_canonical();
                let connection = self.table.connection(ip).map(|(id, _)| id);
                let connection = connection.filter(|_| was_connected);
                self.table.on_report(self.now, ip, connection, report(kind));
            }
            Step::LeaseReport { connection, kind } => {
                if let Some((id, ip)) = nth(&self.leases, connection) {
                    self.table.on_report(self.now, ip, Some(id), report(kind % 4));
                }
            }
            Step::TakesLease { connection } => {
                if let Some((id, _)) = nth(&self.connections, connection) {
                    self.table.on_leased(id);
                    self.leased.insert(id);
                }
            }
            Step::DropsLease { connection } => {
                if let Some((id, ip)) = nth(&self.leases, connection) {
                    self.leases.remove(&id);
                    self.table.on_report(self.now, ip, Some(id), Report::Failed);
                    self.table.on_lease_dropped(id);
                }
            }
            Step::Reconfigure(limits) => self.reconfigure(limits.config()),
            Step::List { peers } => self.table.on_peer_list(peers.into_iter().map(address)),
            Step::Wait { ms } => self.wait(Duration::from_millis(u64::from(ms))),
            Step::WaitLong { seconds } => self.wait(Duration::from_secs(u64::from(seconds))),
            Step::WallClockJumps { hours } => self.now.utc += TimeDelta::hours(i64::from(hours)),
            Step::Restart { seed, initial } => {
                let now = starting_at(self.now.utc);
                let config = self.table.config().clone();
                let mut table = PeerTable::new(config, LISTEN, seed.into(), now);
                let initial: Vec<_> = initial.into_iter().map(address).collect();
                table.load(now, stored_records(&self.table), &initial);
                *self = Self::with(table, now);
            }
        }
        self.settle();
    }

    /// What a controller does in a poll.
    fn poll(&mut self) {
        // Deadlines, and what a new config leaves to do, are dealt with some at a time.
        for _ in 0..CALLS {
            let forgotten = self.table.stats().counters.peers_forgotten;
            self.table.on_time(self.now);
            let forgotten = self.table.stats().counters.peers_forgotten - forgotten;
            assert!(forgotten <= FORGOTTEN_PER_CALL, "{forgotten} are forgotten in one call");
            self.settle();
            while let Some(id) = self.table.next_settled() {
                let remote = self.parked.remove(&id).expect("a settled socket is held");
                self.inbound(remote, false);
            }
            while let Some((id, ip)) = self.table.next_dial(self.now) {
                assert!(!self.is_denied(ip), "{ip} is dialed though it is denied");
                assert!(self.dials.insert(id, ip).is_none(), "an id is never used twice");
                self.settle();
            }
            if !self.is_anything_due() {
                return self.check_rest();
            }
        }
        let due = self.table.next_deadline();
        panic!("due at {due:?}, and yet nothing done at {:?}", self.now.since_start);
    }

    fn is_anything_due(&self) -> bool {
        let due = self.table.next_deadline();
        due.is_some_and(|due| due <= self.now.since_start)
    }

    /// What has been waiting goes on; no connection ends at once.
    fn reconfigure(&mut self, config: NetworkConfig) {
        let (before, connections) = (self.table.config().clone(), self.connections.clone());
        match self.table.reconfigure(self.now, config.clone()) {
            Ok(()) => assert_eq!(self.table.config().max_idle_peers, config.max_idle_peers),
            Err(_) => assert_eq!(self.table.config(), &before, "an error changes nothing"),
        }
        self.settle();
        assert_eq!(self.connections, connections, "closed by a new config");
    }

    fn is_denied(&self, ip: IpAddr) -> bool {
        let config = self.table.config();
        let is_in = |prefixes: &[IpPrefix]| prefixes.iter().any(|prefix| prefix.contains(ip));
        is_in(&config.denied) || !(config.allowed.is_empty() || is_in(&config.allowed))
    }

    /// Others are not told of a denied peer, from the moment on at which it is denied.
    fn check_lists(&mut self) {
        let mut told: Vec<_> = self.table.good_peer_ips().collect();
        told.extend(self.table.sample_peer_ips(8));
        assert!(
            !told.into_iter().any(|ip| self.is_denied(ip)),
            "a denied peer is told of"
        );
    }

    /// Nothing is left to do: denied peers have no dial and no connection under a lease.
    fn check_rest(&self) {
        let leased = self.leased.iter().filter_map(|id| self.connections.get(id));
        let ends = self.dials.values().chain(leased);
        for &ip in ends {
            assert!(!self.is_denied(ip), "{ip} is denied");
        }
    }

    /// No cap is exceeded by more than before: where one was lowered, there are only fewer until it is met. The target
    /// has room for the dial of a rotation.
    fn check_usage(&mut self) {
        let stats = self.table.stats();
        let spare = usize::from(stats.counters.rotations > 0);
        let usages = [
            (stats.outgoing_connections, spare),
            (stats.outgoing_attempts, 0),
            (stats.incoming_connections, 0),
            (stats.incoming_attempts, 0),
            (stats.idle_peers, 0),
            (stats.banned_peers, 0),
        ];
        if let Some(before) = self.used {
            for ((usage, spare), before) in usages.into_iter().zip(before) {
                assert!(
                    usage.used <= before.max(usage.limit + spare),
                    "from {before}: {usage:?}"
                );
            }
        }
        self.used = Some(usages.map(|(usage, _)| usage.used));
    }

    fn settle(&mut self) {
        while let Some(action) = self.table.next_action() {
            match action {
                Action::CallOff(id) => assert!(self.dials.remove(&id).is_some(), "{id:?} is no dial"),
                Action::RefuseParked(id) => assert!(self.parked.remove(&id).is_some(), "{id:?} is not parked"),
                Action::Ended(id, _) => assert!(self.connections.remove(&id).is_some(), "{id:?} is no connection"),
            }
        }
        self.table.check();
        self.check_usage();
    }

    fn inbound(&mut self, remote: SocketAddr, is_lost: bool) {
        match self.table.on_inbound(self.now, remote, US) {
            Verdict::Admit | Verdict::Park(_) if is_lost => {}
            Verdict::Admit => {
                assert!(
                    !self.is_denied(remote.ip().to_canonical()),
                    "{remote} is admitted though it is denied"
                );
                let id = self.table.on_admitted(self.now, remote.ip());
                self.connect(id, remote.ip());
            }
            Verdict::Park(self_dial) => {
                let id = self.table.on_parked(self.now, remote, self_dial);
                assert!(self.parked.insert(id, remote).is_none(), "an id is never used twice");
            }
            Verdict::Refuse(_) => {}
        }
        self.settle();
    }

    fn dial_reaches(&mut self, dial: u8) {
        let Some((id, ip)) = nth(&self.dials, dial) else {
            return;
        };
        self.dials.remove(&id);
        let local = if ip.is_loopback() { ip } else { US };
        match self.table.on_dialed(self.now, id, SocketAddr::new(local, 50_000)) {
            Reached::Peer(reached) => {
                assert_eq!(reached, ip);
                self.connect(id, ip);
            }
            Reached::Ourselves | Reached::Nothing => {}
        }
    }

    fn connect(&mut self, id: ConnectionId, ip: IpAddr) {
        assert!(
            self.connections.values().all(|other| *other != ip),
            "{ip} is connected twice"
        );
        self.connections.insert(id, ip);
        self.leases.insert(id, ip);
    }

    fn wait(&mut self, time: Duration) {
        self.now.since_start += time;
        self.now.utc += TimeDelta::from_std(time).expect("a day at most");
    }
}

/// Networks of eight, of both families; and some addresses that are special.
fn address(number: u8) -> IpAddr {
    let (net, host) = (number / 8, number % 8);
    match number {
        0..112 => IpAddr::from([60, 11, net, host]),
        112..184 => IpAddr::from([60, net, 0, host]),
        184..248 => IpAddr::from([0x2001, 0x2000 + u16::from(net), 0, 0, 0, 0, 0, u16::from(host)]),
        248 => IpAddr::from([127, 0, 0, 1]),
        249 => IpAddr::from([10, 0, 0, 1]),
        250 => IpAddr::from([224, 0, 0, 1]),
        251 => IpAddr::from([0, 0, 0, 0]),
        252 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        253 => IpAddr::V6(Ipv4Addr::new(60, 1, 0, 1).to_ipv6_mapped()),
        254 => IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]),
        255 => US,
    }
}

fn starting_at(utc: DateTime<Utc>) -> Now {
    let since_start = Duration::ZERO;
    Now { utc, since_start }
}

fn nth(connections: &BTreeMap<ConnectionId, IpAddr>, number: u8) -> Option<(ConnectionId, IpAddr)> {
    let number = usize::from(number) % connections.len().max(1);
    connections.iter().nth(number).map(|(&id, &ip)| (id, ip))
}

fn fault(kind: u8) -> DialFault {
    match kind % 5 {
        0 => DialFault::Peer,
        1 => DialFault::TimedOut,
        2 => DialFault::Unroutable { at_once: true },
        3 => DialFault::Unroutable { at_once: false },
        _ => DialFault::Host,
    }
}

fn report(kind: u8) -> Report {
    match kind % 10 {
        0 => Report::Alive,
        1 => Report::Failed,
        2 => Report::Closed,
        3 => Report::Banned,
        4 => Report::Ourselves,
        5 => Report::BannedFor(Duration::from_secs(40)),
        6 => Report::Reserve,
        7 => Report::Release,
        8 => Report::Dial,
        _ => Report::Unbanned,
    }
}
