//! Subnets of hundreds of peers. The model of `model.rs` is too slow for as many; what the table keeps is compared with
//! a recount after each few steps.

use super::world::{World, record};
use super::*;

const STEPS: usize = 500;
const STEPS_PER_CHECK: usize = 64;

/// Three networks of so many peers, and some lone ones.
fn peer(number: usize) -> IpAddr {
    let host = u8::try_from(number % 200).unwrap();
    match number / 200 {
        network @ 0..3 => IpAddr::from([60, u8::try_from(network).unwrap(), 0, host]),
        _ => IpAddr::from([61, host, 0, 1]),
    }
}

/// Dials that mostly end one way, and peers that are told of, banned, closed and come in meanwhile.
fn live(world: &mut World, random: &mut Random, steps: usize, good_of_ten: usize) {
    for step in 0..steps {
        let other = peer(random.below(700));
        match random.below(12) {
            0 => world.table.on_peer_list((0..8).map(|_| peer(random.below(700)))),
            1 => world.report(other, Report::Banned),
            2 => world.report(other, Report::Unbanned),
            3 => world.report(other, Report::Failed),
            4 => come_in(world, other),
            _ => {}
        }
        let is_over = |_: &IpAddr| random.below(4) == 0;
        let over: Vec<_> = connected(world).into_iter().filter(is_over).collect();
        over.into_iter().for_each(|ip| world.report(ip, Report::Closed));
        for (id, ip, _) in world.dials.clone() {
            // The one before may have met the target.
            if !world.is_dialing(id) {
                continue;
            }
            if random.below(10) < good_of_ten {
                world.dial_succeeds(ip);
                world.report(ip, Report::Alive);
            } else if random.below(2) == 0 {
                world.dial_fails(ip, DialFault::TimedOut);
            }
        }
        world.wait(Duration::from_millis(u64::try_from(random.below(3_000)).unwrap()));
        world.poll();
        if step.is_multiple_of(STEPS_PER_CHECK) {
            world.table.check();
        }
    }
}

fn connected(world: &World) -> Vec<IpAddr> {
    let connected = world.table.peers().filter(|peer| peer.status.is_connected());
    connected.map(|peer| peer.ip).collect()
}

fn come_in(world: &mut World, peer: IpAddr) {
    let verdict = world.table.on_inbound(world.now, at(peer, 30_000), ip("50.0.0.1"));
    if verdict == Verdict::Admit {
        world.table.on_admitted(world.now, peer);
        world.report(peer, Report::Alive);
    }
}

fn many(seed: u64, idle: usize) -> World {
    let mut config = config();
    config.target_outgoing_connections = 60;
    config.max_simultaneous_outgoing_connection_attempts = 40;
    config.max_incoming_connections = 60;
    config.max_idle_peers = idle;
    config.max_banned_peers = 150;
    config.dial_stagger = Duration::ZERO;
    config.retry_backoff = Duration::from_secs(1);
    config.max_retry_backoff = Duration::from_secs(8);
    let mut world = World::new(config, seed);
    let records = (0..700).step_by(2).map(|number| record(Peer::new(peer(number))));
    world.load(records.collect());
    world
}

#[test]
fn the_indexes_hold_while_subnets_grow_and_shrink() {
    for seed in 0..3 {
        let mut random = Random::new(seed);
        let mut world = many(seed, if seed == 0 { 5_000 } else { 400 });
        // Most become proven, then most fail until they are proven no more, and again.
        for good_of_ten in [8, 1, 9] {
            live(&mut world, &mut random, STEPS, good_of_ten);
            world.now.utc += TimeDelta::days(8);
        }
        world.table.check();
        let stats = world.table.stats();
        assert!(stats.counters.handshakes_succeeded > 500, "{stats:?}");
        assert!(seed == 0 || stats.counters.peers_forgotten > 50, "{stats:?}");
        let proven = world.table.peers.iter().filter(|entry| entry.is_proven).count();
        assert!(proven > 100, "{proven}");
    }
}

#[test]
fn the_indexes_hold_while_subnets_are_emptied_and_filled_again() {
    let mut world = many(9, 5_000);
    world.table.on_peer_list((0..700).map(peer));
    // Some of them pause.
    for _ in 0..60 {
        world.poll();
        for (_, ip, _) in world.dials.clone() {
            world.dial_fails(ip, DialFault::TimedOut);
        }
    }
    world.table.check();
    let paused = world
        .table
        .peers
        .iter()
        .filter(|entry| entry.paused_until.is_some())
        .count();
    assert!((200..600).contains(&paused), "{paused}");
    for number in 0..600 {
        world.report(peer(number), Report::Banned);
        if number % 10 == 0 {
            world.table.check();
        }
    }
    world.table.check();
    (450..600).for_each(|number| world.report(peer(number), Report::Unbanned));
    world.table.check();
}
