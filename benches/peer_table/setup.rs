//! The addresses and the node that are measured.

use std::collections::HashSet;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use network::internals::{DialFault, Now, PeerTable, Reached, Report, Verdict};
use network::{NetworkConfig, Peer, PeerRecord};

/// Our end of every connection; no peer's address.
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 50_000);
/// Longer than any pause.
const AFTER_PAUSES: Duration = Duration::from_secs(15 * 60);
/// How far the clock moves with each step.
const STEP: Duration = Duration::from_millis(1);

/// The same numbers in each run (xorshift, after Marsaglia).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// From 1.0.0.0 to 126.255.255.255, so of 32,000 subnets.
pub(crate) fn addresses_v4(count: usize) -> Vec<IpAddr> {
    let mut random = Random::new(88_172_645_463_325_252);
    distinct(count, || {
        let [_, _, _, _, a, b, c, d] = random.next().to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(1 + a % 126, b, c, d))
    })
}

/// Of 50,000 subnets.
pub(crate) fn addresses_v6(count: usize) -> Vec<IpAddr> {
    let mut random = Random::new(88_172_645_463_325_252);
    distinct(count, || {
        let subnet = 0x2001_0000 + u128::from(random.below(50_000));
        IpAddr::V6(Ipv6Addr::from_bits((subnet << 96) + u128::from(random.next())))
    })
}

/// Of 64 subnets.
pub(crate) fn addresses_crowded(count: usize) -> Vec<IpAddr> {
    let mut random = Random::new(88_172_645_463_325_252);
    distinct(count, || {
        let [_, _, _, _, _, b, c, d] = random.next().to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(60, b % 64, c, d))
    })
}

/// Each of a subnet of its own.
pub(crate) fn addresses_lone(count: usize) -> Vec<IpAddr> {
    let subnets = (0x2001_0000_u128..).take(count);
    subnets
        .map(|subnet| IpAddr::V6(Ipv6Addr::from_bits((subnet << 96) + 1)))
        .collect()
}

fn distinct(count: usize, mut draw: impl FnMut() -> IpAddr) -> Vec<IpAddr> {
    let mut seen = HashSet::new();
    std::iter::repeat_with(&mut draw)
        .filter(|&ip| seen.insert(ip))
        .take(count)
        .collect()
}

/// What a file of a node that ran for some months might hold: of ten peers two were alive, one of them by our dial, one
/// never answered, and the others were never tried.
fn records(ips: &[IpAddr], now: DateTime<Utc>) -> Vec<PeerRecord> {
    let mut random = Random::new(99);
    let record = |(index, &ip): (usize, &IpAddr)| {
        let ago = i64::try_from(10_000 + random.below(5_000_000)).expect("it is small");
        let then = Some(now - TimeDelta::seconds(ago));
        let mut peer = Peer::new(ip);
        match index % 10 {
            0 => (peer.last_alive, peer.last_alive_outgoing) = (then, then),
            1 => peer.last_alive = then,
            2 => {
                peer.last_failure = then;
                peer.failures_in_row = 1 + u32::try_from(ago % 5).expect("it is below 5");
            }
            _ => {}
        }
        PeerRecord::from(peer)
    };
    ips.iter().enumerate().map(record).collect()
}

/// A table full of peers, one of them connected by a dial, and its clock.
pub(crate) struct Node {
    pub(crate) table: PeerTable,
    pub(crate) now: Now,
    /// The moments to come, last one first.
    plan: Vec<Now>,
}

impl Node {
    pub(crate) fn new(ips: &[IpAddr]) -> Self {
        let now = Now {
            utc: DateTime::from_timestamp(1_767_225_600, 0).expect("2026 is in range"),
            since_start: Duration::ZERO,
        };
        let mut config = NetworkConfig::in_memory(4_000);
        config.max_idle_peers = ips.len();
        config.max_banned_peers = 10_000;
        config.target_outgoing_connections = 9;
        config.max_simultaneous_outgoing_connection_attempts = 16;
        config.max_incoming_connections = 500;
        config.max_simultaneous_incoming_connection_attempts = 500;
        config.dial_stagger = Duration::ZERO;
        let mut table = PeerTable::new(config, "[::]:4000".parse().expect("an address"), 7, now);
        table.load(now, records(ips, now.utc), &[]);
        let mut node = Self {
            table,
            now,
            plan: Vec::new(),
        };
        // Without an outgoing connection it would be an outage, in which failures are not counted.
        let ip = node.dial();
        node.report(ip, Report::Alive);
        node.plan_after_pauses();
        node.step();
        node
    }

    /// Makes the moments of so many steps ready.
    pub(crate) fn plan(&mut self, steps: usize) {
        let mut now = self.now;
        let moments = std::iter::repeat_with(|| {
            now = after(now, STEP);
            now
        });
        self.plan = moments.take(steps).collect();
        self.plan.reverse();
    }

    /// The next step's moment is one at which every pause is over.
    pub(crate) fn plan_after_pauses(&mut self) {
        self.plan = vec![after(self.now, AFTER_PAUSES)];
    }

    /// Ends every pause.
    pub(crate) fn wait_for_all(&mut self) {
        self.plan_after_pauses();
        self.end_pauses(1_000);
    }

    /// Ends so many pauses or more, if there are as many.
    pub(crate) fn end_pauses(&mut self, count: usize) {
        self.step();
        for _ in 0..count.div_ceil(256) {
            self.table.on_time(self.now);
        }
    }

    pub(crate) fn fail_dials(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            let (dial, _) = self.table.next_dial(self.now).expect("there are candidates");
            self.table.on_dial_failed(self.now, dial, DialFault::Peer);
            self.carry_out();
        }
    }

    pub(crate) fn come_and_go(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            let ip = self.dial();
            self.report(ip, Report::Alive);
            self.report(ip, Report::Closed);
            self.carry_out();
        }
    }

    /// Bans so many peers and lets as many others connect.
    pub(crate) fn ban_and_connect(&mut self, count: usize) -> (Vec<IpAddr>, Vec<IpAddr>) {
        let ips: Vec<_> = self.table.good_peer_ips().skip(1).take(2 * count).collect();
        let (banned, connected) = ips.split_at(count);
        for &ip in banned {
            self.report(ip, Report::Banned);
        }
        for &ip in connected {
            let verdict = self.table.on_inbound(self.now, SocketAddr::new(ip, 5), LOCAL.ip());
            assert_eq!(verdict, Verdict::Admit);
            self.table.on_admitted(self.now, ip);
            self.report(ip, Report::Alive);
        }
        self.carry_out();
        (banned.to_vec(), connected.to_vec())
    }

    pub(crate) fn refuse_all(&mut self, ips: &[IpAddr]) {
        for &ip in ips {
            black_box(self.table.on_inbound(self.now, SocketAddr::new(ip, 5), LOCAL.ip()));
        }
    }

    /// A dial that succeeds.
    fn dial(&mut self) -> IpAddr {
        let (dial, ip) = self.table.next_dial(self.now).expect("there are candidates");
        let reached = self.table.on_dialed(self.now, dial, LOCAL);
        assert_eq!(reached, Reached::Peer(ip));
        ip
    }

    /// As a controller does it for feedback by address.
    fn report(&mut self, ip: IpAddr, report: Report) {
        let connection = self.table.connection(ip).map(|(id, _)| id);
        self.table.on_report(self.now, ip, connection, report);
    }

    /// There are no sockets to do anything with.
    fn carry_out(&mut self) {
        while self.table.next_action().is_some() {}
    }

    fn step(&mut self) {
        self.now = self.plan.pop().unwrap_or(self.now);
        self.table.on_time(self.now);
    }
}

fn after(now: Now, wait: Duration) -> Now {
    Now {
        utc: now.utc + wait,
        since_start: now.since_start + wait,
    }
}
