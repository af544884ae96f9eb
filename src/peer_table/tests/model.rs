//! The table against a simple model of the design, over random sequences of everything that can happen.
//!
//! `PROPTEST_RNG_SEED` replays a run, or makes another one; `PROPTEST_CASES` makes it longer.

mod dial_states;
mod dials;
mod known;
mod rules;
mod script;
mod trial;
mod watching;

use std::cell::{Cell, RefCell};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use self::trial::{PEERS, Trial};
use super::*;

const CASES: u32 = 256;
const STEPS_IN_ALL: usize = 100_000;
/// In a run, on average.
const STEPS: usize = 430;

/// Everything that can happen to a table. Numbers pick a peer, dial or connection among those that there are.
#[derive(Clone, Debug)]
enum Step {
    Inbound {
        peer: usize,
        port: u16,
        to_loopback: bool,
        admit_works: bool,
    },
    DialSucceeds {
        dial: usize,
        port: u16,
    },
    DialFails(usize, DialFault),
    /// `was_connected`: it is about the connection that the peer has, if any.
    Report {
        peer: usize,
        was_connected: bool,
        report: Report,
    },
    LeaseReport(usize, Report),
    PeerList {
        teller: Option<usize>,
        peers: Vec<usize>,
    },
    TakesLease(usize),
    DropsLease(usize),
    Wait(u64),
    Jump(i64),
    Restart(u64),
    /// With the rest to be done by the next poll.
    Reconfigure(Box<NetworkConfig>),
}

fn steps() -> impl Strategy<Value = Step> {
    let peer = || 0..PEERS.len();
    let port = || 0..3_u16;
    let failures = || {
        select(vec![
            DialFault::Peer,
            DialFault::TimedOut,
            DialFault::Peer,
            DialFault::Unroutable { at_once: true },
            DialFault::Unroutable { at_once: false },
            DialFault::Host,
        ])
    };
    let end = || select([Report::Alive, Report::Failed, Report::Closed].to_vec());
    let reports = [
        Report::Banned,
        Report::BannedFor(Duration::from_secs(30)),
        Report::BannedFor(Duration::from_secs(100_000)),
        Report::Unbanned,
        Report::Failed,
        Report::Closed,
        Report::Ourselves,
        Report::Reserve,
        Report::Release,
        Report::Dial,
        Report::Dial,
    ];
    let any_report = move || select(reports.to_vec());
    let lease = || {
        select(
            [
                Report::Alive,
                Report::Alive,
                Report::Failed,
                Report::Closed,
                Report::Banned,
                Report::BannedFor(Duration::from_secs(3)),
            ]
            .to_vec(),
        )
    };
    let inbound = (peer(), port(), prop::bool::weighted(0.1), prop::bool::weighted(0.8));
    let inbound = inbound.prop_map(|(peer, port, to_loopback, admit_works)| Step::Inbound {
        peer,
        port,
        to_loopback,
        admit_works,
    });
    let report = |(peer, was_connected, report)| Step::Report {
        peer,
        was_connected,
        report,
    };
    let list = (prop::option::of(0..6_usize), vec(peer(), 0..8));
    prop_oneof![
        6 => inbound,
        12 => (0..9_usize, port()).prop_map(|(dial, port)| Step::DialSucceeds { dial, port }),
        6 => (0..9_usize, failures()).prop_map(|(dial, failure)| Step::DialFails(dial, failure)),
        4 => (peer(), prop::bool::weighted(0.9), Just(Report::Alive)).prop_map(report),
        3 => (peer(), prop::bool::weighted(0.8), any_report()).prop_map(report),
        8 => (0..16_usize, lease()).prop_map(|(lease, report)| Step::LeaseReport(lease, report)),
        3 => (0..16_usize, end()).prop_map(|(lease, report)| Step::LeaseReport(lease, report)),
        4 => list.prop_map(|(teller, peers)| Step::PeerList { teller, peers }),
        8 => (0..16_usize).prop_map(|lease| Step::LeaseReport(lease, Report::Alive)),
        12 => (0..16_usize).prop_map(Step::TakesLease),
        3 => (0..16_usize).prop_map(Step::DropsLease),
        8 => (0..9_000_u64).prop_map(Step::Wait),
        1 => (0..2_000_000_u64).prop_map(Step::Wait),
        1 => (-900..900_i64).prop_map(Step::Jump),
        1 => (0..u64::MAX).prop_map(Step::Restart),
        1 => configs().prop_map(|config| Step::Reconfigure(Box::new(config))),
    ]
}

fn configs() -> impl Strategy<Value = NetworkConfig> {
    let outgoing = (0..5_usize, 1..6_usize);
    let incoming = (0..7_usize, 0..5_usize, select(vec![None, None, Some(1), Some(2)]));
    let kept = (select(vec![0, 2, 5, 9, 14, 40]), select(vec![0, 1, 3, 30]));
    let times = (
        select(vec![None, Some(20), Some(100_000)]),
        select(vec![None, Some(10)]),
        select(vec![None, Some(2), Some(15)]),
        any::<bool>(),
    );
    let prefixes = |some: &'static [&str]| select(vec![&[][..], &[], &[], some]);
    let denied = prefixes(&["60.1.1.0/24", "60.3.0.1", "60.1.1.2", "2001:db8::/32"]);
    let allowed = prefixes(&["60.0.0.0/8", "127.0.0.0/8", "2001:db8::/31"]);
    let lists = (denied, allowed).prop_map(|lists| {
        <[_; 2]>::from(lists).map(|list| list.iter().map(|prefix| prefix.parse().unwrap()).collect())
    });
    let reserved = vec(0..PEERS.len(), 0..3);
    let lists = (lists, reserved);
    (outgoing, incoming, kept, times, lists).prop_map(|(outgoing, incoming, kept, times, (lists, reserved))| {
        let mut config = config();
        [config.denied, config.allowed] = lists;
        (
            config.target_outgoing_connections,
            config.max_simultaneous_outgoing_connection_attempts,
        ) = outgoing;
        (
            config.max_incoming_connections,
            config.max_simultaneous_incoming_connection_attempts,
            config.max_incoming_per_subnet,
        ) = incoming;
        (config.max_idle_peers, config.max_banned_peers) = kept;
        config.ban_duration = times.0.map(Duration::from_secs);
        config.handshake_timeout = times.1.map(Duration::from_secs);
        config.rotation_interval = times.2.map(Duration::from_secs);
        config.evict_incoming = times.3;
        let reserved = reserved.into_iter().map(|peer| ip(PEERS[peer]));
        config.reserved_peers = reserved.filter(|ip| !ip.is_multicast()).collect();
        config.reserved_peers.truncate(config.max_idle_peers / 2);
        config
    })
}

fn runner() -> TestRunner {
    let mut config = Config {
        failure_persistence: None,
        max_shrink_iters: 20_000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(7);
    }
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    TestRunner::new(config)
}

#[test]
fn the_table_does_what_the_model_does() {
    let listens = select(vec!["::", "::", "0.0.0.0", "60.100.0.1"]);
    let polls = vec((steps(), prop::bool::weighted(0.8)), 0..=2 * STEPS);
    let runs = (configs(), listens, any::<u64>(), polls);
    let taken = Cell::new(0);
    let happened = RefCell::new(BTreeMap::<_, u64>::new());
    let outcome = runner().run(&runs, |(config, listen, seed, steps)| {
        let mut trial = Trial::new(config, at(ip(listen), PORT), seed);
        taken.set(taken.get() + steps.len());
        for (step, is_polled) in steps {
            trial.step(&step);
            if is_polled {
                trial.poll();
            }
        }
        for (&name, count) in trial.happened() {
            *happened.borrow_mut().entry(name).or_default() += count;
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let is_default = ["PROPTEST_CASES", "PROPTEST_RNG_SEED"].map(std::env::var_os) == [None, None];
    let is_elsewhere = |name: &str| {
        ["accepts", "dumps", "inbound_dead"]
            .iter()
            .any(|of| name.starts_with(of))
    };
    let never: Vec<_> = happened
        .take()
        .into_iter()
        .filter(|&(name, count)| count == 0 && !is_elsewhere(name))
        .collect();
    assert!(!is_default || never.is_empty(), "never happened: {never:?}");
    assert!(!is_default || taken.get() >= STEPS_IN_ALL, "only {} steps", taken.get());
}
