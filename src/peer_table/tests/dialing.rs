//! When a dial is due, which peer it is for, and what a fault of this host means.

use std::iter;

use super::world::{Answer, World, lone, one_by_one, proven, record, unproven};
use super::*;
use crate::peer_table::subnet::Subnet;

fn racing(peers: u8) -> Node {
    let mut config = config();
    config.target_outgoing_connections = 2;
    config.max_simultaneous_outgoing_connection_attempts = 4;
    let mut node = Node::new(config);
    node.list((1..=peers).map(|net| IpAddr::from([60, net, 0, 1])));
    node.poll();
    node
}

fn some_dialed(node: &Node) -> IpAddr {
    *node.dials.values().next().unwrap()
}

#[test]
fn the_shortage_is_dialed_at_once_and_more_are_raced_one_by_one() {
    let mut node = racing(20);
    assert_eq!(node.dials.len(), 2);
    node.wait(Duration::from_millis(249));
    node.poll();
    assert_eq!(node.dials.len(), 2);
    assert_eq!(node.table.next_deadline(), Some(Duration::from_millis(250)));
    for raced in [3, 4, 4] {
        node.wait(Duration::from_millis(250));
        node.poll();
        assert_eq!(node.dials.len(), raced);
    }
}

#[test]
fn a_failed_dial_is_replaced_at_once() {
    let mut node = racing(20);
    node.wait(Duration::from_millis(250));
    node.poll();
    assert_eq!(node.dials.len(), 3);
    let failed = some_dialed(&node);
    node.dial_err(failed, DialFault::Peer);
    node.poll();
    assert_eq!(node.dials.len(), 3);
    assert_eq!(node.status(failed), Some(PeerStatus::Idle));
}

#[test]
fn the_rest_is_called_off_without_blame_when_the_target_is_met() {
    let mut node = racing(20);
    for _ in 0..2 {
        node.wait(Duration::from_millis(250));
        node.poll();
    }
    let dialed: Vec<_> = node.dials.values().copied().collect();
    node.dial_ok(dialed[0]);
    assert_eq!(node.dials.len(), 3);
    node.dial_ok(dialed[1]);
    assert!(node.dials.is_empty());
    for peer in &dialed[2..] {
        assert_eq!(node.table.peer(*peer).unwrap(), &Peer::new(*peer));
    }
    assert_eq!(node.table.next_dial(node.now), None);
}

#[test]
fn a_fault_of_this_host_pauses_all_dialing_and_records_no_failure() {
    let mut node = racing(20);
    let failed = some_dialed(&node);
    node.dial_err(failed, DialFault::Host);
    assert_eq!(node.table.peer(failed).unwrap(), &Peer::new(failed));
    node.poll();
    assert_eq!(node.dials.len(), 1);
    node.wait(Duration::from_millis(100));
    node.poll();
    assert_eq!(node.dials.len(), 2);
    let failed = some_dialed(&node);
    node.dial_err(failed, DialFault::Host);
    node.wait(Duration::from_millis(100));
    node.poll();
    assert_eq!(node.dials.len(), 1, "the pause has doubled");
    node.wait(Duration::from_millis(100));
    node.poll();
    assert_eq!(node.dials.len(), 2);
}

/// A node without pace that knows these.
fn knowing(target: usize, records: impl IntoIterator<Item = PeerRecord>) -> World {
    let mut config = config();
    config.target_outgoing_connections = target;
    config.max_simultaneous_outgoing_connection_attempts = target;
    config.dial_stagger = Duration::ZERO;
    let mut world = World::new(config, 1);
    world.load(records.into_iter().collect());
    world
}

fn host(network: u8, number: u8) -> IpAddr {
    IpAddr::from([60, network, 0, number])
}

#[test]
fn turns_alternate_at_each_dial() {
    let mut world = knowing(
        10,
        (0..10)
            .map(|number| proven(lone(number)))
            .chain((10..30).map(|number| unproven(lone(number)))),
    );
    let dialed = world.poll();
    let kinds: Vec<_> = dialed.iter().map(|&ip| world.is_proven(ip)).collect();
    assert_eq!(kinds, [true, false].repeat(5));
    // However they end.
    let mut dials = 10;
    for (number, ip) in dialed.into_iter().enumerate() {
        match number % 3 {
            0 => world.dial_fails(ip, DialFault::Peer),
            1 => world.dial_fails(ip, DialFault::TimedOut),
            _ => world.dial_fails(ip, DialFault::Unroutable { at_once: true }),
        }
        for ip in world.poll() {
            let is_proven_turn = dials % 2 == 0;
            let proven_left = dials < 20;
            assert_eq!(world.is_proven(ip), is_proven_turn && proven_left, "dial {dials}");
            dials += 1;
        }
    }
    assert_eq!(dials, 20);
}

#[test]
fn a_proven_turn_is_for_the_best_by_rank() {
    let records = (1..=5).map(|network| {
        let mut record = proven(host(network, 1));
        record.peer.last_alive_outgoing = Some(start() - TimeDelta::minutes(i64::from(60 - network)));
        record
    });
    let mut world = knowing(5, records);
    assert_eq!(world.poll(), [5, 4, 3, 2, 1].map(|network| host(network, 1)));
}

/// A node that reaches `peer`, with this target and many untried peers; that connection ends after a minute.
fn after_the_end_of(peer: IpAddr, target: usize, others: Vec<PeerRecord>, end: Report) -> World {
    let mut best = proven(peer);
    best.peer.last_alive_outgoing = Some(start() - TimeDelta::seconds(1));
    let untried = (100..300).map(|number| unproven(lone(number)));
    let mut world = knowing(target, iter::once(best).chain(others).chain(untried));
    for dialed in world.poll() {
        world.dial_succeeds(dialed);
        world.report(dialed, Report::Alive);
    }
    world.wait(Duration::from_secs(60));
    world.report(peer, end);
    // Its pause is over.
    world.wait(Duration::from_secs(20));
    world
}

#[test]
fn a_proven_turn_passes_over_a_peer_whose_connection_has_ended() {
    for end in [Report::Closed, Report::Failed] {
        let mut world = after_the_end_of(host(1, 1), 2, vec![proven(host(2, 1))], end);
        assert_eq!(world.poll()[0], host(2, 1), "{end:?}");
    }
}

#[test]
fn a_peer_whose_connection_has_ended_is_drawn_like_untried_ones() {
    let mut config = config();
    config.target_outgoing_connections = 2;
    let mut world = World::new(config, 1);
    world.load((1..=4).map(|number| unproven(lone(number))).collect());
    let mut dialed = Vec::new();
    for _ in 0..100 {
        // One of the two ends, and its peer is one of three to draw from.
        for ip in world.poll() {
            dialed.push(ip);
            world.dial_succeeds(ip);
            world.report(ip, Report::Alive);
        }
        world.wait(Duration::from_secs(60));
        world.report(*dialed.last().unwrap(), Report::Closed);
        world.wait(Duration::from_secs(20));
    }
    let again = dialed.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!((15..60).contains(&again), "{again} of {}", dialed.len());
}

#[test]
fn in_an_outage_a_peer_whose_connection_has_ended_is_proven_again() {
    for end in [Report::Closed, Report::Failed] {
        let mut world = after_the_end_of(host(1, 1), 1, Vec::new(), end);
        let [drawn] = world.poll()[..] else { panic!("one dial") };
        assert_ne!(drawn, host(1, 1), "it is the turn of the others");
        world.dial_fails(drawn, DialFault::Peer);
        assert_eq!(world.poll(), [host(1, 1)], "{end:?}");
    }
}

#[test]
fn a_turn_asks_for_its_own_kind_in_subnets_that_are_not_taken_first() {
    // The best proven peer of each of two subnets, then the best of those that are taken.
    let records = [(1, 1, 1), (1, 2, 2), (2, 1, 3), (2, 2, 4)].map(|(network, number, minutes)| {
        let mut record = proven(host(network, number));
        record.peer.last_alive_outgoing = Some(start() - TimeDelta::minutes(minutes));
        record
    });
    let mut world = knowing(3, records);
    assert_eq!(world.poll(), [host(1, 1), host(2, 1), host(1, 2)]);
}

#[test]
fn a_turn_asks_for_its_own_kind_in_a_taken_subnet_before_the_other_kind() {
    let of_one_subnet = (1..=9).map(|number| proven(host(1, number)));
    let others = (2..=30).map(|network| unproven(host(network, 1)));
    let mut world = knowing(8, of_one_subnet.chain(others));
    let dialed = world.poll();
    let kinds: Vec<_> = dialed.into_iter().map(|ip| world.is_proven(ip)).collect();
    // The second proven turn has the one dial in 10 s to a taken subnet; the later ones go to the other kind.
    assert_eq!(kinds, [true, false, true, false, false, false, false, false]);
}

#[test]
fn at_most_one_dial_in_10_s_goes_to_a_taken_subnet() {
    for kind in [proven, unproven] {
        let mut world = knowing(8, (1..=50).map(|number| kind(host(1, number))));
        let dials = world.run(Duration::from_secs(100), |_, _| Answer::Alive);
        let seconds: Vec<_> = dials.iter().map(|(at, _)| at.as_secs()).collect();
        assert_eq!(seconds, [0, 0, 10, 20, 30, 40, 50, 60]);
    }
}

#[test]
fn the_next_dial_to_a_taken_subnet_is_due_10_s_after_the_last() {
    let mut world = knowing(8, (1..=50).map(|number| unproven(host(1, number))));
    for ip in world.poll() {
        world.comes_alive(ip);
    }
    assert_eq!(
        world.table.next_dial_time().unwrap(),
        world.now.since_start + Duration::from_secs(10)
    );
    world.wait(Duration::from_secs(10) - Duration::from_nanos(1));
    assert!(world.poll().is_empty());
    world.wait(Duration::from_nanos(1));
    assert_eq!(world.poll().len(), 1);
}

#[test]
fn dials_to_taken_subnets_fail_at_the_same_pace() {
    let mut world = knowing(8, (1..=250).map(|number| unproven(host(1, number))));
    let first = world.poll()[0];
    world.comes_alive(first);
    let dials = world.run(Duration::from_secs(600), |_, _| Answer::REFUSES);
    assert!((59..=60).contains(&dials.len()), "{}", dials.len());
}

#[test]
fn a_subnet_is_taken_by_a_dial_and_until_its_connection_ends() {
    let mut world = knowing(3, [unproven(host(1, 1)), unproven(host(1, 2)), unproven(host(1, 3))]);
    let dialed = world.poll();
    assert_eq!(dialed.len(), 2, "the second one spends the dial in 10 s");
    world.dial_fails(dialed[0], DialFault::Host);
    world.dial_fails(dialed[1], DialFault::Host);
    world.wait(Duration::from_secs(1));
    assert_eq!(world.poll().len(), 1, "it is not taken any more");
    let peer = world.dials[0].1;
    world.comes_alive(peer);
    world.wait(Duration::from_secs(2));
    assert!(world.poll().is_empty(), "taken");
    world.report(peer, Report::Closed);
    assert_eq!(world.poll().len(), 1, "not any more");
}

#[test]
fn an_inbound_connection_takes_no_subnet() {
    let mut world = knowing(1, []);
    world.comes_in(host(1, 9));
    world.report(host(1, 9), Report::Alive);
    world.table.on_peer_list([host(1, 1)]);
    assert_eq!(world.poll(), [host(1, 1)]);
    assert_eq!(
        world.table.pace.next_to_taken_subnet(),
        Moment::START,
        "no dial to a taken subnet"
    );
}

#[test]
fn a_subnet_of_ipv6_is_a_32() {
    let v6 = ["2a00:1:1::1", "2a00:1:2::1", "2a00:1:3::1", "2a00:2::1"].map(ip);
    let mut world = knowing(4, v6.map(unproven));
    let dialed = world.poll();
    let subnets: Vec<_> = dialed.iter().map(|&ip| Subnet::of(ip)).collect();
    assert_eq!(dialed.len(), 3, "one of a taken subnet");
    assert!(subnets[..2].contains(&Subnet::of(v6[0])) && subnets[..2].contains(&Subnet::of(v6[3])));
}

#[test]
fn addresses_that_are_not_globally_reachable_take_no_subnet() {
    let private: [fn(u8) -> IpAddr; 7] = [
        |number| IpAddr::from([100, 64, 0, number]),
        |number| IpAddr::from([0x2002, 0x0a00, u16::from(number), 0, 0, 0, 0, 1]),
        |number| IpAddr::from([10, 0, 0, number]),
        |number| IpAddr::from([192, 168, 0, number]),
        |number| IpAddr::from([172, 16, 0, number]),
        |number| IpAddr::from([169, 254, 0, number]),
        |number| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)]),
    ];
    for address in private {
        for kind in [proven, unproven] {
            let mut world = knowing(8, (1..=8).map(|number| kind(address(number))));
            assert_eq!(world.poll().len(), 8, "{}", address(1));
        }
    }
}

#[test]
fn a_subnet_of_private_addresses_is_drawn_as_one() {
    let lan = (1..=100).map(|number| IpAddr::from([10, 0, 0, number]));
    let mut world = World::new(one_by_one(), 1);
    world.load(lan.chain((0..9).map(lone)).map(unproven).collect());
    let of_lan = world
        .fruitless_dials(2_000)
        .iter()
        .filter(|ip| !ip.to_string().starts_with("60."))
        .count();
    // One of ten subnets; the standard deviation is 13.
    assert!((140..=260).contains(&of_lan), "{of_lan}");
}

#[test]
fn an_unproven_turn_does_not_look_at_what_happened_before() {
    let mut failed = Peer::new(lone(1));
    (failed.last_failure, failed.failures_in_row) = (Some(start() - TimeDelta::days(1)), 30);
    let mut met = Peer::new(lone(2));
    met.last_alive = Some(start());
    let mut world = World::new(one_by_one(), 1);
    world.load(vec![record(failed), record(met), unproven(lone(3))]);
    let dialed = world.fruitless_dials(3_000);
    for number in 1..=3 {
        let share = dialed.iter().filter(|&&ip| ip == lone(number)).count();
        // The standard deviation is 26.
        assert!((870..=1_130).contains(&share), "{share} of 3,000");
    }
}
