//! How chance shares out dials and pauses, with fixed seeds.

use super::world::{World, lone, one_by_one, proven, record, unproven};
use super::*;

fn share(part: usize, whole: usize) -> f64 {
    f64::from(u32::try_from(part).unwrap()) / f64::from(u32::try_from(whole).unwrap())
}

/// Within five standard deviations of a binomial distribution.
fn is_likely(hits: usize, draws: usize, chance: f64) -> bool {
    let deviation = (chance * (1.0 - chance) / share(draws, 1)).sqrt();
    (share(hits, draws) - chance).abs() <= 5.0 * deviation
}

#[test]
fn half_of_the_dials_go_to_proven_peers_however_few_they_are() {
    for seed in 0..4 {
        let mut world = World::new(one_by_one(), seed);
        let ten = (0..10).map(|number| proven(lone(number)));
        let thousand = (10..1_010).map(|number| unproven(lone(number)));
        world.table.load(world.now, ten.chain(thousand).collect());
        let (mut to_proven, mut dials) = (0, 0);
        while dials < 2_000 {
            for peer in world.poll() {
                dials += 1;
                if world.table.peer(peer).unwrap().is_proven {
                    to_proven += 1;
                    world.visit(peer);
                } else {
                    world.dial_fails(peer, DialFault::TimedOut);
                }
            }
            world.wait(Duration::from_secs(1));
        }
        let share = share(to_proven, dials);
        assert!((0.48..=0.52).contains(&share), "{share}");
    }
}

/// Networks of one to ten unproven peers: never tried, once alive, or failed, by their number.
fn networks() -> Vec<Vec<IpAddr>> {
    let members = |network: u8| (1..=network).map(move |host| IpAddr::from([60, network, 0, host]));
    (1..=10).map(|network| members(network).collect()).collect()
}

fn with_some_history(ip: IpAddr, number: usize) -> PeerRecord {
    let mut peer = Peer::new(ip);
    let long_ago = Some(start() - TimeDelta::days(30));
    match number % 3 {
        0 => {}
        1 => peer.last_alive = long_ago,
        _ => (peer.last_failure, peer.failures_in_row) = (long_ago, 6),
    }
    record(peer)
}

#[test]
fn the_chance_of_an_unproven_peer_is_that_of_its_subnet_shared_among_its_members() {
    const DRAWS: usize = 20_000;
    let networks = networks();
    let mut world = World::new(one_by_one(), 11);
    let peers = networks.iter().flatten().enumerate();
    let records = peers.map(|(number, &ip)| with_some_history(ip, number)).collect();
    world.table.load(world.now, records);
    let mut hits: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for peer in world.fruitless_dials(DRAWS) {
        *hits.entry(peer).or_default() += 1;
    }
    let hits = |ip: &IpAddr| hits.get(ip).copied().unwrap_or(0);
    for members in &networks {
        let of_network = members.iter().map(hits).sum::<usize>();
        assert!(is_likely(of_network, DRAWS, 0.1), "{members:?}: {of_network}");
        let chance = 0.1 / share(members.len(), 1);
        for peer in members {
            assert!(is_likely(hits(peer), DRAWS, chance), "{peer}: {}", hits(peer));
        }
    }
}

#[test]
fn pauses_are_spread_over_a_quarter_and_not_beyond() {
    const PEERS: usize = 4_000;
    let mut world = World::new(one_by_one(), 5);
    let records = (0..PEERS).map(|number| unproven(lone(number))).collect();
    world.table.load(world.now, records);
    let mut factors = Vec::new();
    while factors.len() < PEERS {
        for peer in world.poll() {
            world.dial_fails(peer, DialFault::Peer);
            let entry = world.table.slots.get(world.table.id_of(peer).unwrap());
            let pause = entry.marks.paused_until.unwrap().since_start() - world.now.since_start;
            factors.push(pause.as_secs_f64() / world.table.config.retry_backoff.as_secs_f64());
        }
    }
    assert!(factors.iter().all(|factor| (1.0..=1.25).contains(factor)));
    for tenth in 0..10 {
        let from = 1.0 + 0.025 * f64::from(tenth);
        let inside = factors.iter().filter(|factor| (from..from + 0.025).contains(*factor));
        assert!(is_likely(inside.count(), PEERS, 0.1), "not evenly spread from {from}");
    }
}
