//! Which peers others are told of.

use super::world::{World, lone};
use super::*;

fn knowing(count: usize, seed: u64) -> World {
    let mut config = config();
    config.target_outgoing_connections = 0;
    let mut world = World::new(config, seed);
    world.table.on_peer_list((0..count).map(lone));
    world
}

fn good(table: &PeerTable) -> BTreeSet<IpAddr> {
    table.good_peer_ips().collect()
}

/// Asserts that a sample of so many has the right size, no address twice, and only those that may be told of.
fn assert_sample(world: &mut World, limit: usize) -> Vec<IpAddr> {
    let good = good(&world.table);
    let sample = world.table.sample_peer_ips(limit);
    assert_eq!(sample.len(), limit.min(good.len()));
    let distinct: BTreeSet<_> = sample.iter().copied().collect();
    assert!(distinct.len() == sample.len() && distinct.is_subset(&good));
    world.table.check();
    sample
}

#[test]
fn a_sample_has_as_many_peers_as_asked_for_or_all_there_are() {
    let mut world = knowing(20, 1);
    for limit in [0, 1, 19, 20, 21, usize::MAX] {
        assert_sample(&mut world, limit);
    }
    assert!(knowing(0, 1).table.sample_peer_ips(5).is_empty());
}

#[test]
fn a_sample_leaves_out_banned_peers_and_has_connected_ones() {
    let mut world = knowing(10, 1);
    (0..4).for_each(|number| world.report(lone(number), Report::Banned));
    world.comes_in(lone(4));
    world.report(lone(4), Report::Alive);
    let sample = assert_sample(&mut world, 10);
    assert_eq!(sample.len(), 6);
    assert!(sample.contains(&lone(4)));
    world.report(lone(0), Report::Unbanned);
    assert_eq!(assert_sample(&mut world, 10).len(), 7);
}

#[test]
fn own_addresses_are_not_in_a_sample_and_are_noted_when_drawn() {
    let loopback = |host: u8| IpAddr::from([127, 0, 1, host]);
    let mut world = knowing(3, 1);
    world.load(vec![Peer::new(loopback(200)).into()]);
    world.table.on_peer_list((0..100).map(loopback));
    world.comes_in(loopback(0));
    world.report(ip("127.0.0.1"), Report::Ourselves);
    assert_eq!(world.table.peers().count(), 104);
    for _ in 0..3 {
        let sample: BTreeSet<_> = assert_sample(&mut world, 10).into_iter().collect();
        assert_eq!(sample, (0..3).map(lone).collect());
    }
    // The operator's record stays, and so does the connection.
    assert_eq!(world.table.peers().count(), 5);
    assert!(world.knows(loopback(200)) && world.knows(loopback(0)));
}

#[test]
fn every_peer_is_as_likely_in_a_sample_and_at_each_position() {
    const ROUNDS: usize = 20_000;
    let mut world = knowing(10, 3);
    let mut counts = [[0_usize; 10]; 4];
    for _ in 0..ROUNDS {
        for (position, ip) in world.table.sample_peer_ips(4).into_iter().enumerate() {
            let number = (0..10).find(|&number| lone(number) == ip).unwrap();
            counts[position][number] += 1;
        }
    }
    // 2,000 with a standard deviation of 42.
    assert!(
        counts.iter().flatten().all(|count| (1_800..=2_200).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn a_sample_follows_from_the_seed() {
    let sample = |seed| knowing(100, seed).table.sample_peer_ips(10);
    assert_eq!(sample(1), sample(1));
    assert_ne!(sample(1), sample(2));
}
