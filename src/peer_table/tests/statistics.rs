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
        let few = (0..2).map(|number| proven(lone(number)));
        let many = (10..1_010).map(|number| unproven(lone(number)));
        world.load(few.chain(many).collect());
        let dialed = world.fruitless_dials(2_000);
        let to_proven = dialed.into_iter().filter(|&peer| world.is_proven(peer)).count();
        assert_eq!(to_proven, 1_000);
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
    world.load(records);
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

/// Fails a dial of each of many peers with such a streak; returns the pauses as multiples of `base`.
fn pauses(streak: u32, base: Duration) -> Vec<f64> {
    let mut config = one_by_one();
    config.target_outgoing_connections = 2;
    config.max_simultaneous_outgoing_connection_attempts = 2;
    config.dial_stagger = Duration::ZERO;
    let mut world = World::new(config, 5);
    let failed = |number| {
        let mut peer = Peer::new(lone(number));
        (peer.failures_in_row, peer.last_failure) = (streak, Some(start() - TimeDelta::days(1)));
        record(peer)
    };
    world.load((0..PEERS).map(failed).collect());
    let witness = world.poll()[0];
    world.comes_alive(witness);
    world.wait(Duration::from_secs(5));
    let mut factors = Vec::new();
    loop {
        let dialed = world.poll();
        if dialed.is_empty() {
            return factors;
        }
        for peer in dialed {
            world.dial_fails(peer, DialFault::Peer);
            factors.push(world.pause_left(peer).unwrap().as_secs_f64() / base.as_secs_f64());
        }
    }
}

const PEERS: usize = 4_000;

#[test]
fn pauses_are_spread_evenly_from_three_quarters_to_five_quarters() {
    let longest = config().max_retry_backoff;
    for (streak, base) in [(0, config().retry_backoff), (40, longest)] {
        let factors = pauses(streak, base);
        assert!(factors.len() >= PEERS - 2);
        assert!(factors.iter().all(|factor| (0.75..=1.25).contains(factor)));
        for tenth in 0..10 {
            let from = 0.75 + 0.05 * f64::from(tenth);
            let inside = factors
                .iter()
                .filter(|factor| (from..from + 0.05).contains(*factor))
                .count();
            assert!(is_likely(inside, PEERS, 0.1), "{inside} from {from} on, at {base:?}");
        }
    }
}
