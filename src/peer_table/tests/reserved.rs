//! Reserved peers. Dials by hand are tested in `dials_by_hand`.

use super::world::{World, dialed, lone, one_by_one, proven, record, without_target};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A node that reserves these peers.
fn reserving(peers: &[IpAddr], config: NetworkConfig) -> Node {
    let mut config = config;
    config.reserved_peers = peers.to_vec();
    let mut node = Node::new(config);
    node.load(Vec::new());
    node
}

#[test]
fn a_reserved_peer_is_dialed_beside_the_target_and_no_other() {
    let mut node = reserving(&[lone(1)], without_target());
    node.list([lone(2)]);
    node.poll();
    assert_eq!(dialed(&node), [lone(1)]);
    node.dial_ok(lone(1));
    node.report(lone(1), Report::Alive);
    assert_eq!(node.table.stats().outgoing_connections.used, 0);
    assert_eq!(node.table.stats().peers.out_alive, 1);
}

#[test]
fn reserved_connections_leave_the_target_to_others() {
    let mut config = config();
    config.target_outgoing_connections = 1;
    let mut node = reserving(&[lone(1), lone(2)], config);
    node.list([lone(3), lone(4)]);
    for peer in [lone(1), lone(2)] {
        node.poll();
        node.dial_ok(peer);
        node.report(peer, Report::Alive);
    }
    node.poll();
    let other = dialed(&node)[0];
    assert!([lone(3), lone(4)].contains(&other));
    node.dial_ok(other);
    node.report(other, Report::Alive);
    node.wait(100 * SECOND);
    node.poll();
    assert!(node.dials.is_empty(), "the target is met");
    assert_eq!(node.table.stats().peers.out_alive, 3);
}

#[test]
fn a_target_that_is_met_calls_off_no_dial_beside_it() {
    let mut config = config();
    config.target_outgoing_connections = 1;
    let mut node = reserving(&[lone(1)], config);
    node.list([lone(2), lone(3)]);
    node.report(lone(4), Report::Dial);
    node.poll();
    node.wait(SECOND);
    node.poll();
    assert_eq!(dialed(&node), [1, 2, 3, 4].map(lone));
    node.dial_ok(lone(2));
    assert_eq!(dialed(&node), [lone(1), lone(4)]);
}

#[test]
fn dials_beside_the_target_take_attempts_and_no_tokens() {
    let mut config = without_target();
    config.max_simultaneous_outgoing_connection_attempts = 2;
    let peers: Vec<_> = (0..40).map(lone).collect();
    let mut node = reserving(&peers, config);
    let mut dials = 0;
    // Far more than the bucket of tokens holds, at one time.
    while dials < 40 {
        node.poll();
        assert_eq!(node.dials.len(), 2, "no more than there are attempts");
        for peer in dialed(&node) {
            dials += 1;
            node.dial_err(peer, DialFault::Peer);
        }
    }
    node.poll();
    assert!(node.dials.is_empty(), "all pause");
}

#[test]
fn a_failed_dial_beside_the_target_is_not_replaced_by_an_ordinary_one() {
    let mut config = config();
    config.target_outgoing_connections = 1;
    config.dial_stagger = 100 * SECOND;
    let mut node = reserving(&[lone(1)], config);
    node.list((2..9).map(lone));
    node.poll();
    assert_eq!(node.dials.len(), 2, "the reserved peer and one for the target");
    node.dial_err(lone(1), DialFault::Peer);
    node.poll();
    assert_eq!(node.dials.len(), 1);
}

#[test]
fn a_reserved_peer_pauses_for_thirty_seconds_at_most() {
    let mut world = World::new(without_target(), 1);
    world.table.load(world.now, Vec::new(), &[]);
    world.report(lone(1), Report::Reserve);
    for failure in [DialFault::Peer, DialFault::Unroutable { at_once: false }] {
        for _ in 0..12 {
            assert_eq!(world.poll(), [lone(1)]);
            world.dial_fails(lone(1), failure);
            let pause = world.pause_left(lone(1)).unwrap();
            assert!(pause <= 30 * SECOND, "{pause:?}");
            world.wait(pause);
        }
    }
    assert_eq!(world.poll(), [lone(1)]);
    world.dial_succeeds(lone(1));
    world.report(lone(1), Report::Failed);
    assert!(world.pause_left(lone(1)).unwrap() <= 30 * SECOND);
}

#[test]
fn reserving_a_peer_shortens_its_pause() {
    let mut failed = Peer::new(lone(1));
    (failed.failures_in_row, failed.last_failure) = (20, Some(start()));
    let mut node = Node::new(without_target());
    node.load(vec![record(failed.clone())]);
    node.report(lone(1), Report::Reserve);
    node.wait(30 * SECOND);
    node.poll();
    assert_eq!(dialed(&node), [lone(1)]);

    let mut config = without_target();
    config.reserved_peers = vec![lone(1)];
    let mut node = Node::new(config);
    node.load(vec![record(failed)]);
    node.poll();
    assert!(node.dials.is_empty(), "it pauses after a restart, too");
    node.wait(30 * SECOND);
    node.poll();
    assert_eq!(dialed(&node), [lone(1)]);
}

#[test]
fn a_reserved_peer_that_is_banned_or_denied_is_not_dialed_and_stays_reserved() {
    let mut config = without_target();
    config.denied = vec![lone(2).into()];
    let mut node = reserving(&[lone(1), lone(2)], config);
    node.report(lone(1), Report::BannedFor(10 * SECOND));
    node.poll();
    assert!(node.dials.is_empty());
    assert_eq!(node.inbound(lone(1)), Verdict::Refuse(Refusal::Banned));
    node.wait(10 * SECOND);
    node.poll();
    assert_eq!(dialed(&node), [lone(1)]);
    assert_eq!(node.table.config().reserved_peers, [lone(1), lone(2)]);
}

#[test]
fn a_ban_of_a_reserved_peer_is_not_forgotten_but_lifted_for_want_of_room() {
    let mut config = without_target();
    config.max_banned_peers = 1;
    let mut node = reserving(&[lone(1)], config);
    node.report(lone(1), Report::Banned);
    node.report(lone(2), Report::Banned);
    assert_eq!(node.status(lone(1)), Some(PeerStatus::Idle));
    assert_eq!(node.status(lone(2)), Some(PeerStatus::Banned));
}

#[test]
fn a_reserved_peer_is_not_forgotten() {
    let mut config = without_target();
    config.max_idle_peers = 4;
    for peers in [vec![record(Peer::new(lone(1)))], vec![proven(lone(1))]] {
        let mut config = config.clone();
        config.reserved_peers = vec![lone(1)];
        config.max_simultaneous_outgoing_connection_attempts = 0;
        let mut node = Node::new(config);
        node.load(peers);
        node.list((2..200).map(lone));
        for number in 200..210 {
            node.inbound(lone(number));
            node.report(lone(number), Report::Alive);
            node.report(lone(number), Report::Closed);
        }
        assert_eq!(node.table.stats().peers.idle, 4);
        assert!(node.status(lone(1)).is_some());
        node.report(lone(1), Report::Release);
        node.list((300..900).map(lone));
    }
}

#[test]
fn a_reserved_peer_gets_in_though_the_list_is_full_of_proven_ones() {
    let mut config = without_target();
    config.max_idle_peers = 4;
    let mut node = Node::new(config);
    node.load((1..=4).map(|number| proven(lone(number))).collect());
    node.report(lone(9), Report::Reserve);
    assert!(node.status(lone(9)).is_some());
    assert_eq!(node.table.stats().peers.idle, 4);
}

#[test]
fn reserved_peers_get_in_first_at_the_start() {
    let mut config = without_target();
    config.max_idle_peers = 4;
    config.reserved_peers = vec![lone(50), lone(60)];
    let mut node = Node::new(config);
    let records = vec![record(Peer::new(lone(60)))];
    let initial: Vec<_> = (1..40).map(lone).collect();
    node.table.load(node.now, records, &initial);
    node.settle();
    assert!([50, 60].iter().all(|&number| node.status(lone(number)).is_some()));
    assert_eq!(node.table.stats().peers.idle, 4);
}

#[test]
fn at_most_half_of_the_room_is_reserved() {
    let mut config = without_target();
    config.max_idle_peers = 5;
    let mut node = Node::new(config);
    (1..=3).for_each(|number| node.report(lone(number), Report::Reserve));
    assert_eq!(node.table.config().reserved_peers, [lone(1), lone(2)]);
    assert_eq!(node.table.stats().counters.feedback_stale, 1);
    node.report(lone(1), Report::Release);
    node.report(lone(3), Report::Reserve);
    assert_eq!(node.table.config().reserved_peers, [lone(2), lone(3)]);
}

#[test]
fn what_is_reserved_or_released_twice_or_can_be_no_peer_is_stale() {
    let mut node = Node::new(without_target());
    for (report, stale) in [
        (Report::Release, 1),
        (Report::Reserve, 1),
        (Report::Reserve, 2),
        (Report::Release, 2),
    ] {
        node.report(lone(1), report);
        assert_eq!(node.table.stats().counters.feedback_stale, stale);
    }
    node.report(ip("224.0.0.1"), Report::Reserve);
    assert_eq!(node.table.stats().counters.feedback_stale, 3);
}

#[test]
fn a_connection_counts_beside_the_target_from_its_reservation_to_its_end() {
    let mut config = config();
    config.target_outgoing_connections = 1;
    let mut node = Node::new(config);
    node.connect(lone(1));
    node.report(lone(1), Report::Reserve);
    assert_eq!(node.table.stats().outgoing_connections.used, 0);
    node.connect(lone(2));
    node.report(lone(1), Report::Release);
    assert_eq!(
        node.status(lone(1)),
        Some(PeerStatus::OutAlive),
        "`Release` closes nothing"
    );
    assert_eq!(node.table.stats().outgoing_connections.used, 1);
    node.report(lone(2), Report::Closed);
    node.report(lone(1), Report::Closed);
    node.wait(10 * SECOND);
    node.poll();
    assert_eq!(
        node.dials.len(),
        1,
        "one for the target, as both are ordinary peers again"
    );
}

#[test]
fn reserved_peers_are_dialed_in_the_order_of_their_rank() {
    let mut config = one_by_one();
    config.target_outgoing_connections = 0;
    config.reserved_peers = vec![lone(1), lone(2)];
    let mut node = Node::new(config);
    node.load(vec![proven(lone(2))]);
    node.poll();
    assert_eq!(dialed(&node), [lone(2)]);
    node.dial_err(lone(2), DialFault::Peer);
    node.poll();
    assert_eq!(dialed(&node), [lone(1)]);
}

#[test]
fn a_reserved_peer_is_dialed_though_its_subnet_is_taken() {
    let mut node = Node::new(config());
    node.connect(ip("60.1.0.1"));
    node.report(ip("60.1.0.2"), Report::Reserve);
    node.poll();
    assert_eq!(dialed(&node), [ip("60.1.0.2")]);
}

#[test]
fn a_reserved_address_that_is_our_own_is_not_dialed_until_it_is_another_hosts() {
    let mut node = reserving(&[lone(1)], without_target());
    node.report(lone(1), Report::Ourselves);
    node.poll();
    assert!(node.dials.is_empty() && node.table.all_good_peer_ips().is_empty());
    assert_eq!(node.table.stored_from(0).flatten().count(), 0);
    node.wait(3_600 * SECOND);
    node.poll();
    node.poll();
    assert_eq!(dialed(&node), [lone(1)]);
}

#[test]
fn an_own_address_that_is_released_is_forgotten() {
    let mut node = reserving(&[lone(1)], without_target());
    node.report(lone(1), Report::Ourselves);
    node.report(lone(1), Report::Release);
    assert_eq!(node.status(lone(1)), None);
}

#[test]
fn a_fault_of_this_host_holds_back_dials_beside_the_target_too() {
    let mut node = Node::new(without_target());
    node.report(lone(1), Report::Dial);
    node.poll();
    node.dial_err(lone(1), DialFault::Host);
    node.report(lone(2), Report::Dial);
    node.poll();
    assert!(node.dials.is_empty());
    node.wait(Duration::from_millis(100));
    node.poll();
    assert_eq!(dialed(&node), [lone(2)]);
}

#[test]
fn a_dial_beside_the_target_gives_no_token_back_as_it_cost_none() {
    let mut config = one_by_one();
    config.dial_stagger = 100 * SECOND;
    config.retry_backoff = 100 * SECOND;
    let mut node = Node::new(config);
    node.list((1..9).map(lone));
    for _ in 0..2 {
        node.poll();
        node.dial_err(dialed(&node)[0], DialFault::Peer);
    }
    node.report(lone(9), Report::Dial);
    node.poll();
    node.dial_err(lone(9), DialFault::Unroutable { at_once: true });
    node.poll();
    assert!(node.dials.is_empty(), "both tokens are spent");
}

#[test]
fn of_proven_peers_a_reserved_one_is_not_forgotten() {
    let mut config = config();
    (config.max_idle_peers, config.target_outgoing_connections) = (4, 1);
    let mut oldest = proven(lone(1));
    oldest.peer.last_alive_outgoing = Some(start() - TimeDelta::days(1));
    let mut node = Node::new(config);
    node.load(vec![oldest, proven(lone(2)), proven(lone(3)), proven(lone(4))]);
    node.report(lone(1), Report::Reserve);
    node.report(lone(9), Report::Dial);
    node.poll();
    node.dial_ok(lone(9));
    node.report(lone(9), Report::Alive);
    for dial in dialed(&node) {
        node.dial_err(dial, DialFault::Host);
    }
    node.report(lone(9), Report::Closed);
    assert_eq!(node.table.stats().peers.idle, 4);
    assert_eq!([1, 9].map(|number| node.status(lone(number)).is_some()), [true; 2]);
}

#[test]
fn a_reserved_peer_of_the_file_is_loaded_before_initial_ones() {
    let mut config = without_target();
    config.max_idle_peers = 4;
    config.reserved_peers = vec![lone(9)];
    let mut failed = Peer::new(lone(9));
    failed.failures_in_row = 9;
    let mut node = Node::new(config);
    let initial: Vec<_> = (1..=4).map(lone).collect();
    let mut records: Vec<_> = initial.iter().map(|&peer| proven(peer)).collect();
    records.push(record(failed));
    node.table.load(node.now, records, &initial);
    node.settle();
    assert!(node.status(lone(9)).is_some());
}

#[test]
fn our_own_address_can_be_reserved_and_is_neither_dialed_nor_stored_nor_told_of() {
    let us = ip("60.100.0.1");
    for is_in_config in [true, false] {
        let mut config = without_target();
        config.reserved_peers = if is_in_config { vec![us] } else { Vec::new() };
        let mut node = Node::at("60.100.0.1", config);
        node.load(Vec::new());
        if !is_in_config {
            node.report(us, Report::Reserve);
        }
        assert_eq!(node.table.config().reserved_peers, [us]);
        assert_eq!(node.table.stored_from(0).flatten().count(), 0);
        assert_eq!(node.table.changes(), 0);
        node.poll();
        assert!(node.dials.is_empty() && node.table.all_good_peer_ips().is_empty());
    }
}

/// Records of own addresses are kept, but not where a reserved peer needs the room.
#[test]
fn a_reserved_peer_is_not_forgotten_for_records_of_our_own_addresses() {
    let mut config = without_target();
    (config.max_idle_peers, config.reserved_peers) = (2, vec![lone(9)]);
    let mut node = Node::new(config);
    let mut banned = proven(lone(2));
    banned.peer.status = PeerStatus::Banned;
    node.load(vec![proven(lone(1)), banned]);
    node.report(lone(1), Report::Ourselves);
    node.inbound(lone(9));
    node.report(lone(2), Report::Ourselves);
    assert_eq!(node.table.stats().peers.idle, 2);
    node.report(lone(9), Report::Closed);
    assert_eq!(node.status(lone(9)), Some(PeerStatus::Idle));
    assert_eq!(node.table.stats().peers.idle, 2);
}
