//! How much of the list one teller can fill with addresses that it made up.

use super::world::{World, lone};
use super::*;
use crate::peer_table::tellers::Teller;

const TELLER: [u8; 4] = [50, 1, 0, 1];

/// A node that keeps `idle` peers and dials nothing.
fn keeping(idle: usize) -> World {
    let mut config = config();
    config.max_idle_peers = idle;
    config.target_outgoing_connections = 0;
    World::new(config, 1)
}

/// So many addresses, each of a network of its own; no two numbers are of one.
fn made_up(from: usize, count: usize) -> impl Iterator<Item = IpAddr> {
    (from..from + count).map(|number| {
        let [third, fourth] = u16::try_from(number).unwrap().to_be_bytes();
        IpAddr::from([0x2a00, u16::from_be_bytes([third, fourth]), 0, 0, 0, 0, 0, 1])
    })
}

fn tell(world: &mut World, teller: impl Into<IpAddr>, ips: impl IntoIterator<Item = IpAddr>) {
    world.table.on_peer_list_from(Some(teller.into()), ips);
}

fn known(world: &World, ips: impl IntoIterator<Item = IpAddr>) -> usize {
    ips.into_iter().filter(|&ip| world.knows(ip)).count()
}

/// The goal of the design: of 5,000 honest addresses that were never tried, nine of ten are left.
#[test]
fn one_teller_cannot_flush_the_list() {
    const HONEST: usize = 5_000;
    let spread: Vec<_> = (0..HONEST).map(lone).collect();
    let crowded: Vec<_> = (0..HONEST)
        .map(|number| IpAddr::from((0x3C00_0000 + u32::try_from(number).unwrap()).to_be_bytes()))
        .collect();
    for honest in [spread, crowded] {
        let mut world = keeping(HONEST);
        world.table.on_peer_list(honest.iter().copied());
        for list in 0..40 {
            tell(&mut world, TELLER, made_up(1_000 * list, 1_000));
        }
        world.table.check();
        assert_eq!(world.table.stats().peers.idle, HONEST);
        let left = known(&world, honest);
        assert!(left >= HONEST * 9 / 10, "{left}");
        // One more than its share is there while it takes the place of another.
        assert!(known(&world, made_up(0, 40_000)) <= HONEST / 16);
    }
}

#[test]
fn while_there_is_room_every_address_gets_in() {
    let mut world = keeping(100);
    tell(&mut world, TELLER, made_up(0, 100));
    assert_eq!(world.table.stats().peers.idle, 100);
}

/// At the limit of its share, the peers of a teller compete with those of others; beyond it, they go first.
#[test]
fn peers_of_a_teller_go_first_beyond_a_sixteenth_and_beyond_16() {
    // Of 160 peers a sixteenth is 10, of 320 it is 20, of 351 it is 21.9.
    for (idle, share) in [(160, 16), (320, 20), (351, 21)] {
        let fill = |told: usize| {
            let mut world = keeping(idle);
            tell(&mut world, TELLER, made_up(0, told));
            // Of one network, so that they go first unless a teller's share is exceeded.
            world.table.on_peer_list((0..idle - told).map(|number| {
                IpAddr::from([
                    60,
                    1,
                    u8::try_from(number / 256).unwrap(),
                    u8::try_from(number % 256).unwrap(),
                ])
            }));
            assert_eq!(world.table.stats().peers.idle, idle);
            world.table.on_peer_list([lone(999)]);
            (known(&world, made_up(0, told)), world.knows(lone(999)))
        };
        assert_eq!(fill(share), (share, true));
        assert_eq!(fill(share + 1), (share, true));
    }
}

#[test]
fn the_newcomer_of_a_greedy_teller_is_drawn_like_its_others() {
    let mut world = keeping(100);
    world.table.on_peer_list((0..100).map(lone));
    tell(&mut world, TELLER, made_up(0, 200));
    assert_eq!(known(&world, made_up(0, 200)), 16);
    let (mut won, mut before) = (0, world.table.stats().counters.peers_forgotten);
    for number in 200..1_200 {
        let changes = world.table.changes();
        tell(&mut world, TELLER, made_up(number, 1));
        let stays = world.knows(made_up(number, 1).next().unwrap());
        won += usize::from(stays);
        let forgotten = world.table.stats().counters.peers_forgotten;
        assert_eq!((forgotten > before, world.table.changes() > changes), (stays, stays));
        before = forgotten;
    }
    assert_eq!(known(&world, made_up(0, 1_200)), 16);
    // 16 of 17, with a standard deviation of 7.4.
    assert!((900..=985).contains(&won), "{won}");
}

#[test]
fn a_network_is_one_teller_and_a_lan_is_not() {
    let told_by = |tellers: [&str; 2]| {
        let mut world = keeping(100);
        world.table.on_peer_list((0..100).map(lone));
        for number in 0..2_000 {
            tell(&mut world, ip(tellers[number % 2]), made_up(number, 1));
        }
        world.table.check();
        known(&world, made_up(0, 2_000))
    };
    for one in [
        ["50.1.0.1", "50.1.255.1"],
        ["2a01:1::1", "2a01:1:ffff::1"],
        ["10.0.0.1", "::ffff:10.0.0.1"],
    ] {
        assert_eq!(told_by(one), 16, "{one:?}");
    }
    for two in [
        ["50.1.0.1", "50.2.0.1"],
        ["2a01:1::1", "2a01:2::1"],
        ["10.0.0.1", "10.0.0.2"],
    ] {
        assert_eq!(told_by(two), 32, "{two:?}");
    }
}

#[test]
fn the_first_teller_is_remembered_until_the_peer_is_tried() {
    let teller_of = |world: &World, peer| world.table.peers.tellers().of(world.table.peers.id_of(peer).unwrap());
    let (first, second) = (IpAddr::from(TELLER), ip("50.2.0.1"));
    let tried: [fn(&mut World, IpAddr); 4] = [
        |world, peer| {
            world.table.config.target_outgoing_connections = 1;
            assert_eq!(world.poll(), [peer]);
        },
        |world, peer| world.comes_in(peer),
        |world, peer| world.report(peer, Report::Failed),
        |world, peer| world.report(peer, Report::Banned),
    ];
    for try_it in tried {
        let mut world = keeping(100);
        tell(&mut world, first, [lone(1)]);
        tell(&mut world, second, [lone(1), lone(2)]);
        assert_eq!(teller_of(&world, lone(1)), Some(Teller::at(first)));
        assert_eq!(teller_of(&world, lone(2)), Some(Teller::at(second)));
        world.report(lone(2), Report::Ourselves);
        try_it(&mut world, lone(1));
        assert_eq!(teller_of(&world, lone(1)), None);
        world.table.check();
        assert_eq!(
            world.table.peers.tellers().most(),
            0,
            "nothing is kept of a teller without such peers"
        );
    }
    // A list without a teller has no share, and does not take a teller's either.
    let mut world = keeping(100);
    world.table.on_peer_list([lone(1)]);
    tell(&mut world, first, [lone(1)]);
    assert_eq!(teller_of(&world, lone(1)), None);
}

#[test]
fn the_one_that_holds_most_goes_first() {
    let mut world = keeping(100);
    tell(&mut world, ip("50.1.0.1"), made_up(0, 40));
    tell(&mut world, ip("50.2.0.1"), made_up(1_000, 30));
    world.table.on_peer_list((0..30).map(lone));
    let left = |world: &World| [known(world, made_up(0, 40)), known(world, made_up(1_000, 30))];
    for number in 0..10 {
        world.table.on_peer_list([lone(100 + number)]);
        assert_eq!(left(&world), [39 - number, 30]);
    }
    world.table.on_peer_list((200..228).map(lone));
    assert_eq!(left(&world), [16, 16]);
    world.table.on_peer_list([lone(300)]);
    assert_eq!(world.table.stats().peers.idle, 100);
}
