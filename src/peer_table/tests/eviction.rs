//! Which peer is forgotten when there are too many.

use super::world::{World, lone, proven, record, unproven};
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
fn a_peer_that_failed_goes_before_a_newcomer() {
    let mut config = config();
    config.max_idle_peers = 2;
    config.target_outgoing_connections = 0;
    let mut node = Node::new(config);
    node.list([ip("60.1.0.1"), ip("60.2.0.1")]);
    node.report(ip("60.1.0.1"), Report::Failed);
    node.list([ip("60.3.0.1")]);
    assert_eq!(node.status(ip("60.1.0.1")), None);
    assert_eq!(node.status(ip("60.3.0.1")), Some(PeerStatus::Idle));
}

/// A node that keeps `idle` peers, never dials, and knows these.
fn keeping(idle: usize, seed: u64, records: Vec<PeerRecord>) -> World {
    let mut config = config();
    config.max_idle_peers = idle;
    config.target_outgoing_connections = 0;
    let mut world = World::new(config, seed);
    world.load(records);
    world
}

fn host(number: usize) -> IpAddr {
    IpAddr::from([61, 1, 0, u8::try_from(number).unwrap()])
}

/// A peer of 61.1.0.0/16 with a streak of its number.
fn failed(number: usize) -> PeerRecord {
    let mut peer = Peer::new(host(number));
    peer.failures_in_row = u32::try_from(number).unwrap();
    peer.last_failure = Some(start() - TimeDelta::days(1));
    record(peer)
}

#[test]
fn of_up_to_32_members_of_the_largest_subnet_the_worst_of_all_goes() {
    let mut world = keeping(31, 1, (1..=31).map(failed).collect());
    for (newcomer, victim) in (100..).zip((2..=31).rev()) {
        world.table.on_peer_list([host(newcomer)]);
        assert!(world.knows(host(newcomer)) && !world.knows(host(victim)), "{victim}");
        assert!((1..victim).all(|better| world.knows(host(better))));
    }
}

#[test]
fn of_more_members_the_worst_of_5_drawn_by_lot_goes() {
    const SEEDS: usize = 400;
    let victim = |seed| {
        let mut world = keeping(100, seed, (1..=100).map(failed).collect());
        world.table.on_peer_list([host(200)]);
        (1..=100).find(|&number| !world.knows(host(number))).unwrap()
    };
    let victims: Vec<_> = (0..).take(SEEDS).map(victim).collect();
    assert!(victims.contains(&100) && victims.iter().any(|&victim| victim < 70));
    let mean = victims.iter().sum::<usize>() / SEEDS;
    // The greatest of 5 numbers from 1 to 100 is 83.8 on average, with a standard deviation of 14 for one draw.
    assert!((80..=87).contains(&mean), "{mean}");
}

#[test]
fn among_equals_the_newcomer_wins_as_often_as_not() {
    for idle in [2, 31, 100] {
        let mut world = keeping(idle, 1, (1..=idle).map(|number| unproven(host(number))).collect());
        let mut won = 0;
        for number in 0..1_000_u16 {
            let newcomer = IpAddr::from([61, 1, 1 + number.to_be_bytes()[0], number.to_be_bytes()[1]]);
            let (before, forgotten) = (world.table.changes(), world.table.stats().counters.peers_forgotten);
            world.table.on_peer_list([newcomer]);
            if world.knows(newcomer) {
                won += 1;
            } else {
                let stats = world.table.stats();
                assert_eq!(
                    (world.table.changes(), stats.counters.peers_forgotten),
                    (before, forgotten)
                );
            }
            assert_eq!(world.table.stats().peers.idle, idle);
        }
        // The standard deviation is 16.
        assert!((420..=580).contains(&won), "{won} of 1,000");
    }
}

#[test]
fn a_newcomer_that_is_better_always_wins_and_one_that_is_worse_always_goes() {
    for (report, stays) in [(Report::Alive, true), (Report::Failed, false)] {
        let mut world = keeping(20, 1, (1..=20).map(|number| unproven(host(number))).collect());
        for newcomer in 100..110 {
            world.comes_in(host(newcomer));
            world.report(host(newcomer), report);
            world.report(host(newcomer), Report::Closed);
            assert_eq!(world.knows(host(newcomer)), stays);
            assert_eq!(world.table.stats().peers.idle, 20);
        }
    }
}

#[test]
fn a_newcomer_of_a_smaller_subnet_always_gets_in() {
    let mut world = keeping(20, 1, (1..=20).map(|number| unproven(host(number))).collect());
    for number in 0..15 {
        world.table.on_peer_list([lone(number)]);
        assert!(world.knows(lone(number)));
    }
}

#[test]
fn a_proven_peer_goes_only_when_no_unproven_one_is_left() {
    let mut records: Vec<_> = (1..=10).map(host).map(proven).collect();
    records.extend((0..5).map(|number| unproven(lone(number))));
    let mut world = keeping(15, 1, records);
    let proven_left = |world: &World| (1..=10).filter(|&number| world.knows(host(number))).count();
    for newcomer in 100..120 {
        world.table.on_peer_list([host(newcomer)]);
        world.report(host(newcomer), Report::Failed);
    }
    assert_eq!(proven_left(&world), 10);
    // The newcomer is the only unproven peer.
    let mut world = keeping(10, 1, (1..=10).map(host).map(proven).collect());
    world.table.on_peer_list([lone(1), lone(2)]);
    assert_eq!((world.knows(lone(1)), proven_left(&world)), (false, 10));
}

#[test]
fn of_proven_peers_the_worst_goes() {
    let records = (1..=10).map(|number| {
        let mut record = proven(host(number));
        record.peer.last_alive_outgoing = Some(start() - TimeDelta::hours(i64::try_from(number).unwrap()));
        record
    });
    let mut world = keeping(10, 1, records.collect());
    // A connected peer is proven, too, and becomes Idle.
    world.table.config.target_outgoing_connections = 1;
    let best = world.poll();
    assert_eq!(best, [host(1)]);
    world.comes_alive(host(1));
    world.table.on_peer_list([lone(1)]);
    world.report(lone(1), Report::Banned);
    world.table.on_peer_list([lone(2)]);
    assert!(world.knows(lone(2)));
    world.report(host(1), Report::Closed);
    assert!(!world.knows(lone(2)) && (1..=10).all(|number| world.knows(host(number))));
    world.report(lone(1), Report::Unbanned);
    assert!(!world.knows(lone(1)), "unproven");
}

#[test]
fn a_peer_that_is_connected_or_dialed_is_never_forgotten() {
    let mut world = keeping(1, 1, Vec::new());
    for number in 0..10 {
        world.comes_in(lone(number));
        world.report(lone(number), Report::Alive);
    }
    world.table.on_peer_list((10..20).map(lone));
    assert!((0..10).all(|number| world.knows(lone(number))));
    assert_eq!(world.table.stats().peers.idle, 1);
}
