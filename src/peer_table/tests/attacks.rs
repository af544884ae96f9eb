//! What an attacker gains by feeding addresses, by connecting to us, by earning bans and by waiting for a restart, in
//! figures.

mod eclipse;
mod races;

use super::world::{World, lone, one_by_one, proven, unproven};
use super::*;

fn of_one_network(number: u32) -> IpAddr {
    IpAddr::from((0xC633_0000_u32 + (number & 0xFFFF)).to_be_bytes())
}

fn of_one_64(number: u16) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, number])
}

fn flood(world: &mut World, addresses: impl IntoIterator<Item = IpAddr>) {
    let mut addresses = addresses.into_iter().peekable();
    while addresses.peek().is_some() {
        world.table.on_peer_list(addresses.by_ref().take(1_000));
    }
}

#[test]
fn a_network_that_feeds_200_000_addresses_displaces_no_other() {
    let mut config = config();
    config.max_idle_peers = 1_000;
    config.target_outgoing_connections = 0;
    let mut world = World::new(config, 1);
    let friends: Vec<_> = (0..20).map(lone).collect();
    // Some networks are crowded with honest peers too, but less so.
    let honest: Vec<_> = (20..120)
        .flat_map(|number| {
            let [a, b, ..] = lone_octets(number);
            (1..=5).map(move |host| IpAddr::from([a, b, 0, host]))
        })
        .collect();
    let records = friends.iter().map(|&ip| proven(ip));
    let records = records.chain(honest.iter().map(|&ip| unproven(ip)));
    world.load(records.collect());
    flood(&mut world, (0..200_000).map(of_one_network));
    world.table.check();
    assert_eq!(world.table.stats().peers.idle, 1_000);
    assert!(friends.iter().all(|&ip| world.knows(ip)));
    let left = honest.iter().filter(|&&ip| world.knows(ip)).count();
    assert!(left >= 450, "{left} of 500");
    println!("{left} of 500 honest peers and all 20 proven ones are left");
}

fn lone_octets(number: usize) -> [u8; 4] {
    match lone(number) {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(_) => unreachable!("lone peers are IPv4"),
    }
}

#[test]
fn strangers_that_connect_in_gain_one_subnets_share_of_the_unproven_turns() {
    const TURNS: usize = 10_000;
    let mut world = World::new(one_by_one(), 2);
    let records = (0..10).map(|number| proven(lone(number)));
    let records = records.chain((10..109).map(|number| unproven(lone(number))));
    world.load(records.collect());
    for visit in 0..1_000 {
        world.visited_by(of_one_64(visit % 300));
        world.wait(Duration::from_secs(1));
    }
    world.wait(Duration::from_secs(700));
    let is_stranger = |ip: &&IpAddr| ip.is_ipv6();
    let dialed = world.fruitless_dials(2 * TURNS);
    let (proven_turns, unproven_turns): (Vec<_>, Vec<_>) = dialed.chunks(2).map(|pair| (pair[0], pair[1])).unzip();
    assert_eq!(proven_turns.iter().filter(is_stranger).count(), 0);
    let gained = unproven_turns.iter().filter(is_stranger).count();
    // One of a hundred subnets: 100 turns are expected, the standard deviation is 10.
    assert!((60..=140).contains(&gained), "{gained}");
    println!("strangers were dialed in {gained} of {TURNS} unproven turns and in no proven one");
}

#[test]
fn a_network_that_earns_bans_up_to_the_cap_frees_no_other_ban() {
    let mut config = config();
    config.max_banned_peers = 100;
    let mut world = World::new(config, 4);
    let others: Vec<_> = (0..50).map(lone).collect();
    others.iter().for_each(|&ip| world.report(ip, Report::Banned));
    (0..10_000).for_each(|number| world.report(of_one_64(number), Report::Banned));
    world.table.check();
    let left = others.iter().filter(|&&ip| {
        world
            .table
            .peer(ip)
            .is_some_and(|peer| peer.status == PeerStatus::Banned)
    });
    assert_eq!(left.count(), 50);
    assert_eq!(world.table.stats().peers.banned, 100);
    println!("all 50 bans of others stay beside 10,000 new ones");
}

#[test]
fn after_a_night_without_a_network_the_proven_peers_are_there_and_dialed_first() {
    let mut config = config();
    config.max_idle_peers = 1_000;
    let mut world = World::new(config, 5);
    let friends: Vec<_> = (0..20).map(lone).collect();
    let records = friends.iter().map(|&ip| proven(ip));
    let records = records.chain((20..220).map(|number| unproven(lone(number))));
    world.load(records.collect());
    connect_all_of(&mut world, 8);
    let connected: Vec<_> = friends
        .iter()
        .copied()
        .filter(|&ip| world.table.connection(ip).is_some())
        .collect();
    connected.iter().for_each(|&ip| world.report(ip, Report::Failed));
    let morning = world.now.since_start + Duration::from_secs(8 * 3_600);
    while world.now.since_start < morning {
        world.poll();
        world.wait(Duration::from_secs(5));
        for (_, ip, _) in world.dials.clone() {
            world.dial_fails(ip, DialFault::TimedOut);
        }
    }
    let trash = (0..20_000).map(|number| IpAddr::from((0x5000_0000_u32 + number * 0x0001_0003).to_be_bytes()));
    flood(&mut world, trash.chain((0..20_000).map(of_one_network)));
    world.table.check();
    assert!(friends.iter().all(|&ip| world.is_proven(ip)));
    world.wait(Duration::from_secs(7));
    let mut dialed = Vec::new();
    while dialed.len() < 40 {
        for ip in world.poll() {
            dialed.push(ip);
            world.dial_fails(ip, DialFault::TimedOut);
        }
        world.wait(Duration::from_millis(10));
    }
    let first = dialed.iter().take(40).filter(|&ip| friends.contains(ip)).count();
    assert_eq!(first, 20, "every other dial");
    println!("all 20 proven peers are left and fill the first 20 proven turns");
}

/// Connects to proven peers until `count` connections are alive.
fn connect_all_of(world: &mut World, count: usize) {
    while world.table.stats().peers.out_alive < count {
        for ip in world.poll() {
            if world.is_proven(ip) {
                world.dial_succeeds(ip);
                world.report(ip, Report::Alive);
            } else {
                world.dial_fails(ip, DialFault::Peer);
            }
        }
        world.wait(Duration::from_millis(250));
    }
}
