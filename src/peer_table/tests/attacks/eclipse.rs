//! "Eclipse Attacks on Bitcoin's Peer-to-Peer Network" (Heilman et al., 2015): fill the victim's lists with addresses of
//! the attacker and with trash, have it restart, and take all of its outgoing connections.

use super::*;
use crate::peer_table::tests::world::record;

const RESTARTS: u64 = 50;
const ATTACKERS: u32 = 4_600;
const TARGET: usize = 8;

/// 4,600 addresses in 32 /24s, each of a /16 of its own, which is the best that they can be for the attacker.
fn attacker(number: u32) -> IpAddr {
    let (network, host) = (number % 32, number / 32 + 1);
    IpAddr::from([150, u8::try_from(network).unwrap(), 7, u8::try_from(host).unwrap()])
}

fn is_attacker(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 150)
}

/// Addresses from all over the Internet at which no peer answers.
fn trash(number: u32) -> IpAddr {
    let bits = number.wrapping_mul(0x9E37_79B1);
    IpAddr::from((0x5000_0000 | (bits >> 4)).to_be_bytes())
}

fn is_honest(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 60)
}

/// A node with 20 proven and so many unproven honest peers, after the attacker has prepared it.
fn prepared(unproven_peers: usize, trash_addresses: u32) -> World {
    let mut config = config();
    config.target_outgoing_connections = TARGET;
    config.max_idle_peers = 5_000;
    let mut world = World::new(config, 3);
    let records = (0..20).map(|number| proven(lone(number)));
    let records = records.chain((20..20 + unproven_peers).map(|number| unproven(lone(number))));
    world.load(records.collect());
    connect_all_of(&mut world, TARGET);
    for number in 0..ATTACKERS {
        world.visited_by(attacker(number));
        world.wait(Duration::from_secs(1));
    }
    flood(&mut world, (0..trash_addresses).map(trash));
    flood(&mut world, (0..ATTACKERS).map(attacker));
    world
}

fn restarted(before: &World, seed: u64) -> World {
    let stored = before.table.stored_from(0).flatten();
    let records = stored.map(|stored| {
        let mut peer = stored.peer.clone();
        peer.status = PeerStatus::Idle;
        record(peer)
    });
    let mut world = World::new(before.table.config.clone(), seed);
    world.now.utc = before.now.utc + TimeDelta::minutes(10);
    world.load(records.collect());
    world
}

/// The attacker answers every dial, and first; of the honest peers each other one is full; trash never answers. More
/// gossip comes in meanwhile. Returns how many of the target's connections are to honest peers.
fn honest_after_restart(world: &mut World, seed: u64, gossip: u32) -> usize {
    let mut random = Random::new(seed);
    for round in 1.. {
        if world.table.stats().peers.out_alive == TARGET {
            break;
        }
        let fresh = 1_000_000 + round * gossip;
        flood(world, (fresh..fresh + gossip).map(trash));
        world.poll();
        answer(world, is_attacker, |_| true);
        world.wait(Duration::from_millis(100));
        answer(world, is_honest, |_| random.below(2) == 0);
        world.wait(Duration::from_millis(150));
        if round % 20 == 0 {
            answer(world, |_| true, |_| false);
        }
    }
    let alive = world.table.peers().filter(|peer| peer.status == PeerStatus::OutAlive);
    alive.filter(|peer| is_honest(peer.ip)).count()
}

fn answer(world: &mut World, is_asked: impl Fn(IpAddr) -> bool, mut succeeds: impl FnMut(IpAddr) -> bool) {
    for (id, ip, _) in world.dials.clone() {
        if !is_asked(ip) || !world.is_dialing(id) {
            continue;
        }
        if succeeds(ip) {
            world.dial_succeeds(ip);
            world.report(ip, Report::Alive);
        } else {
            world.dial_fails(ip, DialFault::TimedOut);
        }
    }
}

/// How many of the restarts found an honest peer, and the mean share of connections to honest peers.
fn outcome(before: &World, gossip: u32) -> (usize, f64) {
    let honest = |seed| honest_after_restart(&mut restarted(before, seed), seed, gossip);
    let connections: Vec<_> = (0..RESTARTS).map(honest).collect();
    let all = u32::try_from(TARGET * connections.len()).unwrap();
    let share = f64::from(u32::try_from(connections.iter().sum::<usize>()).unwrap()) / f64::from(all);
    (connections.into_iter().filter(|&honest| honest > 0).count(), share)
}

#[test]
fn a_restart_among_4_600_attackers_finds_honest_peers() {
    let (restarts, share) = outcome(&prepared(180, 30_000), 500);
    assert!(restarts >= 48 && share > 0.9, "{restarts} of {RESTARTS}, {share}");
    println!("with trash and unproven honest peers: {restarts} of {RESTARTS} restarts, mean share {share:.3}");
}

/// All unproven peers are the attacker's, and each other proven peer is full: the hardest case.
#[test]
fn proven_peers_alone_keep_a_third_of_the_connections() {
    let (restarts, share) = outcome(&prepared(0, 0), 0);
    assert!(restarts >= 48 && share > 0.3, "{restarts} of {RESTARTS}, {share}");
    println!("with attackers alone beside proven peers: {restarts} of {RESTARTS} restarts, mean share {share:.3}");
}
