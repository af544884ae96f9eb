//! What was reported from networks outside, played again in virtual time: how long it takes to reach the target, and how
//! many dials it costs.

use super::world::{Answer, World, lone, proven, unproven};
use super::*;

const TARGET: usize = 8;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn node(seed: u64, records: impl IntoIterator<Item = PeerRecord>) -> World {
    let mut world = World::new(config(), seed);
    assert_eq!(world.table.config.target_outgoing_connections, TARGET);
    world.load(records.into_iter().collect());
    world
}

/// Runs until the target is met; returns how long it takes, or `limit` if it takes longer.
fn time_to_target(world: &mut World, limit: Duration, mut answer: impl FnMut(IpAddr) -> Answer) -> Duration {
    let from = world.now.since_start;
    while world.alive() < TARGET && world.now.since_start - from < limit {
        world.run(Duration::from_millis(100), |_, peer| answer(peer));
    }
    world.now.since_start - from
}

fn is_ipv4(peer: IpAddr) -> bool {
    peer.is_ipv4()
}

fn ipv6(number: u16) -> IpAddr {
    IpAddr::from([0x2001, number, 0, 0, 0, 0, 0, 1])
}

#[test]
fn addresses_that_this_host_has_no_way_to_slow_nothing_down() {
    let limit = Duration::from_secs(60);
    for kind in [proven, unproven] {
        for number in [0, 8, 100, 300] {
            let records = (1..=number).map(|number| kind(ipv6(number)));
            let mut world = node(1, records.chain((0..8).map(|number| unproven(lone(number)))));
            let answer = |peer| if is_ipv4(peer) { Answer::Alive } else { Answer::NO_WAY };
            let time = time_to_target(&mut world, limit, answer);
            println!("8 live IPv4 peers and {number} IPv6 ones without a way: full after {time:?}");
            assert!(time <= Duration::from_secs(1), "{time:?} with {number}");
        }
    }
}

/// How long a node takes to reach its target again after nothing worked for so long, in the way that `down` says.
fn recovery(seed: u64, time: Duration, down: Answer) -> Duration {
    let mut world = node(seed, (0..12).map(|number| unproven(lone(number))));
    world.run(10 * MINUTE, |_, _| Answer::Alive);
    let connected: Vec<_> = (0..12)
        .map(lone)
        .filter(|&ip| world.table.connection(ip).is_some())
        .collect();
    assert_eq!(connected.len(), TARGET);
    connected.into_iter().for_each(|ip| world.report(ip, Report::Failed));
    world.run(time, |_, _| down);
    time_to_target(&mut world, HOUR, |_| Answer::Alive)
}

#[test]
fn after_an_outage_the_target_is_met_within_75_s() {
    let ways = [
        ("no way at once", Answer::NO_WAY),
        ("no way later", Answer::Fails(DialFault::Unroutable { at_once: false })),
        ("handshakes that fail", Answer::NoHandshake),
        ("refusals", Answer::REFUSES),
        ("silence", Answer::Silent),
    ];
    for minutes in [5, 60, 8 * 60] {
        for (name, down) in ways {
            let times: Vec<_> = (0..20).map(|seed| recovery(seed, minutes * MINUTE, down)).collect();
            let mean = times.iter().sum::<Duration>() / 20;
            let worst = times.into_iter().max().unwrap();
            println!("{minutes} minutes of {name}: full again after {mean:?} on average, {worst:?} at worst");
            assert!(
                worst <= Duration::from_secs(75),
                "{worst:?} after {minutes} minutes of {name}"
            );
        }
    }
}

#[test]
fn ten_thousand_peers_that_refuse_are_no_port_scan() {
    let mut world = node(1, (0..10_000).map(|number| unproven(lone(number))));
    let dials = world.run(HOUR, |_, _| Answer::REFUSES);
    let first = dials.iter().filter(|(at, _)| *at < Duration::from_secs(1)).count();
    println!(
        "10,000 peers that refuse: {first} dials in the first second, {} in the first hour",
        dials.len()
    );
    assert!(first <= 32 + 4 && dials.len() <= 1_000, "{first}, {}", dials.len());
    // The same beside a live connection, where they are to blame.
    let mut world = node(1, []);
    world.end_outage_with(lone(20_000));
    world.table.on_peer_list((0..10_000).map(lone));
    let dials = world.run(HOUR, |_, _| Answer::REFUSES);
    println!("beside a live connection {} in the first hour", dials.len());
    assert!(dials.len() <= 4 * 3_600 + 32, "{}", dials.len());
}

#[test]
fn a_single_peer_that_refuses_is_dialed_about_once_a_minute() {
    let mut world = node(1, [unproven(lone(1))]);
    let dials = world.run(HOUR, |_, _| Answer::REFUSES).len();
    println!("one peer that refuses, in an outage: {dials} dials in an hour");
    assert!((55..=75).contains(&dials), "{dials}");
    let mut world = node(1, []);
    world.end_outage_with(lone(2));
    world.table.on_peer_list([lone(1)]);
    let dials = world.run(HOUR, |_, _| Answer::REFUSES).len();
    println!("one peer that refuses, beside a live connection: {dials} dials in an hour");
    assert!((10..=16).contains(&dials), "{dials}");
}

#[test]
fn a_full_peer_is_asked_ever_more_rarely() {
    let mut world = node(1, []);
    world.end_outage_with(lone(2));
    world.table.on_peer_list([lone(1)]);
    let dials = world.run(HOUR, |_, _| Answer::Full).len();
    println!("one peer that says that it is full: {dials} dials in an hour");
    assert!((10..=16).contains(&dials), "{dials}");
}

/// Addresses at which no peer answers, each in a subnet of its own.
fn dead() -> impl Iterator<Item = PeerRecord> {
    (0..2_000).map(|number| unproven(lone(number)))
}

fn of_one_subnet(number: u8) -> IpAddr {
    IpAddr::from([198, 51, 0, number])
}

fn is_of_one_subnet(peer: IpAddr) -> bool {
    peer.to_string().starts_with("198.51.")
}

#[test]
fn dead_addresses_do_not_keep_a_node_from_the_live_proven_peers_of_one_subnet() {
    for seed in 0..10 {
        let mut world = node(seed, (1..=20).map(|number| proven(of_one_subnet(number))).chain(dead()));
        let answer = |peer| {
            if is_of_one_subnet(peer) {
                Answer::Alive
            } else {
                Answer::Silent
            }
        };
        let time = time_to_target(&mut world, HOUR, answer);
        println!("2,000 dead addresses, 20 live proven peers of one /16: full after {time:?}");
        assert!(time <= 2 * MINUTE, "{time:?}");
    }
}

/// The dials of 120 s to our only peer, which refuses; it connects to us and hangs up every 3 s, or not.
fn dials_to_a_caller(calls: bool, end: Report) -> Vec<Duration> {
    let caller = lone(1);
    let mut world = node(1, [unproven(caller)]);
    let mut dials = Vec::new();
    for _ in 0..40 {
        if calls && world.dials.is_empty() {
            world.comes_in(caller);
            world.report(caller, end);
        }
        dials.extend(world.run(Duration::from_secs(3), |_, _| Answer::REFUSES));
    }
    dials.into_iter().map(|(at, _)| at).collect()
}

#[test]
fn a_peer_that_calls_and_hangs_up_every_3_s_does_not_put_our_dials_off() {
    let expected = dials_to_a_caller(false, Report::Closed);
    assert!(expected.len() >= 4, "{expected:?}");
    for end in [Report::Closed, Report::Failed] {
        assert_eq!(dials_to_a_caller(true, end), expected);
    }
}

/// How often two nodes behind a translation of addresses cross before a dial gets through: neither can see that the other
/// dials it, and dials that start within 200 ms of each other both fail.
fn crossings(seed: u64, retry_backoff: Duration, max_retry_backoff: Duration) -> usize {
    let mut config = config();
    config.retry_backoff = retry_backoff;
    config.max_retry_backoff = max_retry_backoff;
    let mut ends = [2 * seed, 2 * seed + 1].map(|seed| World::new(config.clone(), seed));
    for end in &mut ends {
        end.table.on_peer_list([lone(1)]);
    }
    for crossings in 0.. {
        let dialed = ends.each_mut().map(|end| {
            while end.poll().is_empty() {
                let next = end.table.next_deadline().unwrap();
                end.wait(next - end.now.since_start);
            }
            end.now.since_start
        });
        if dialed[0].abs_diff(dialed[1]) > Duration::from_millis(200) {
            return crossings;
        }
        ends.iter_mut().for_each(|end| end.dial_fails(lone(1), DialFault::Peer));
    }
    unreachable!("there is a dial that gets through")
}

#[test]
fn nodes_that_dial_each_other_in_step_fall_out_of_it() {
    for (backoff, longest) in [(5, 600), (5, 5), (600, 600)] {
        let crossed = |seed| crossings(seed, Duration::from_secs(backoff), Duration::from_secs(longest));
        let crossed: Vec<_> = (0..200).map(crossed).collect();
        let worst = crossed.iter().max().unwrap();
        let mean = f64::from(u32::try_from(crossed.iter().sum::<usize>()).unwrap()) / 200.0;
        println!("backoff {backoff} s to {longest} s: {mean} crossings on average, {worst} at worst");
        assert!(*worst <= 6 && mean < 1.5, "{worst}, {mean}");
    }
}
